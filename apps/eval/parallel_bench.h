// ParallelBench (arXiv 2510.04767): its list, puzzle and text tasks as cases, from its own files or
// freshly made in the same format. Instructions are in our words and nothing of its data is here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "apps/eval/case.h"

namespace tessera::eval {

// A task of the benchmark: the path of its file without ".jsonl", and what can be done offline.
struct PbTask {
  const char* name;     // "waiting_line/copy"
  const char* refused;  // why it cannot be graded here, or null
  bool fresh;           // whether cases can be made without the files
};
const std::vector<PbTask>& PbTasks();
const PbTask* FindPbTask(std::string_view name);

// The folder that holds waiting_line/, puzzle/ and so on: `folder` itself, or one of the places
// below it where the benchmark's repository, or a collection of benchmarks, has it.
Result<std::string> FindPbFolder(const std::string& folder);

// Lines in the benchmark's format to cases; errors name file and line.
Result<std::vector<Case>> ParsePb(const PbTask& task, std::string_view text,
                                  const std::string& file);
// `length`: of the lists; 0: as the benchmark has them, 3 to 6 in turn, or 15.
Result<std::vector<Case>> ReadPb(const PbTask& task, const std::string& folder);
Result<std::vector<Case>> MakePb(const PbTask& task, uint64_t seed, size_t count, int length);

}  // namespace tessera::eval
