// Every task by name: what there is, and the cases of one.
//
// Names are paths. A name that stands for a folder ("parallelbench/waiting_line") means every task
// below it. NAME@N: lists of N items only.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apps/eval/case.h"
#include "apps/eval/text.h"

namespace tessera::eval {

struct TaskInfo {
  std::string name, help;
  std::string refused;      // why it cannot be run here; "" otherwise
  bool likelihood = false;  // measures the model's likelihood of the answers; nothing is decoded
};

struct TaskOptions {
  std::string heldout;  // file of cases for heldout/... and likelihood; "" = there is none
  std::string data;     // benchmark files; "" = ParallelBench freshly made, no GSM8K
};

// Reads each file once; cases come in the same order every time.
class TaskSource {
 public:
  explicit TaskSource(TaskOptions options) : options_(std::move(options)) {}

  // All tasks, those that need a file that is not there with the reason.
  Result<std::vector<TaskInfo>> List();
  // The tasks that `name` stands for, without those that are refused; an error when nothing is left
  // or when `name` itself is refused.
  Result<Strings> Expand(const std::string& name);
  // At most `count` cases, spread evenly over files, fresh ones by `seed`; 0: all of a file.
  Result<std::vector<Case>> Cases(const std::string& name, uint64_t seed, size_t count);
  static bool IsLikelihood(std::string_view name);

 private:
  Result<std::vector<Case>> HeldOut(std::string_view task, size_t count);
  Status LoadHeldOut();

  TaskOptions options_;
  std::optional<std::vector<Case>> heldout_;
};

}  // namespace tessera::eval
