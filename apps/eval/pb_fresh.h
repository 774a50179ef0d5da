// Fresh cases in ParallelBench's file format, from names, words and symbols of our own.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tessera/api/model.h"

namespace tessera::eval {

// JSON lines of a task of PbTasks() that can be made. `length`: of the lists; 0: 3, 4, 5, 6 in turn
// (15 for waiting_line_n15), as the benchmark has them. Line i does not depend on `count`.
Result<std::string> FreshPbLines(std::string_view task, uint64_t seed, size_t count, int length);

}  // namespace tessera::eval
