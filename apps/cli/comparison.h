// Runs the same prompts with several models and strategies and adds up what each cost and got
// right; bench and demo show it.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "apps/cli/json_output.h"
#include "apps/eval/case.h"
#include "tessera/api/model.h"

namespace tessera::cli {

using eval::Case;

struct Contender {
  api::Model* model = nullptr;
  std::string strategy;
};

// One prompt for all contenders. The answer, when there is one, decides how long the output may be.
struct Trial {
  const Case* graded = nullptr;   // or:
  std::vector<api::TokenId> ids;  // for models without a tokenizer
};

struct Tally {
  std::vector<double> tokens_per_second;  // one per run
  int64_t runs = 0, tokens = 0;
  int64_t full = 0, window = 0, finalise = 0;
  int64_t weight_bytes = 0;  // read by all forwards
  int64_t rows = 0, reused_rows = 0, dropped = 0;
  int64_t drift_forwards = 0;
  double drift_sum = 0, drift_max = 0;  // over those forwards
  double seconds = 0;
  int64_t graded = 0, right = 0;
  struct Task {
    int64_t graded = 0, right = 0;
  };
  std::map<std::string, Task> tasks;

  int64_t forwards() const { return full + window + finalise; }
  void Add(const api::GenerateResult& result);
};

struct ComparisonOptions {
  int32_t max_tokens = 64;  // more when an answer is longer
  int32_t repeat = 1;
  api::SamplingOptions sampling;
};

// Token ids of the prompt: through the chat template if the model has one.
Result<std::vector<api::TokenId>> EncodeTrial(const api::Model& model, const Trial& trial);

// Runs every trial `repeat` times with every contender, the contenders taking turns so that a slow
// moment of the machine hits all of them. One untimed run of each comes first.
Result<std::vector<Tally>> Compare(std::span<const Contender> contenders,
                                   std::span<const Trial> trials, const ComparisonOptions& options);

std::string ComparisonTable(std::span<const Contender> contenders, std::span<const Tally> tallies);
// Share of right answers by task, one column per contender.
std::string TaskTable(std::span<const Contender> contenders, std::span<const Tally> tallies);
Json ToJson(const Contender& contender, const Tally& tally);

double Median(std::vector<double> values);

}  // namespace tessera::cli
