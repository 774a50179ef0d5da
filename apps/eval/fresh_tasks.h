// Freshly made cases of the project's own tasks: grids, sums, infilling.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "apps/eval/case.h"

namespace tessera::eval {

struct FreshTask {
  const char* name;  // "grid/sudoku"
  const char* help;
  Case (*make)(uint64_t seed, uint64_t index);
};
const std::vector<FreshTask>& FreshTasks();

// Case i does not depend on `count`.
std::vector<Case> MakeFresh(const FreshTask& task, uint64_t seed, size_t count);

}  // namespace tessera::eval
