// Learn2PD (arXiv 2509.25188, section 3): a small network looks at the confidences of all positions
// of a block, decided ones included, and says which predictions already equal the final token.
// A prediction is committed when sigmoid(logit) exceeds the threshold, and the best one always.
//
// The filter is a safetensors file for blocks of B positions and any hidden width H (the paper: 32
// and 32): fc1.weight [H, B], fc1.bias [H], fc2.weight [B, H], fc2.bias [B]. The paper does not
// name the function between the layers; the file's metadata may ("activation": "relu" or "none").
// The confidence of a position is the probability of the best token there; where its row is not
// computed in a step it is the last known one, and 1 before it is known. Windows longer than B are
// filtered in parts of B; positions past the end of a shorter one count as known for certain.
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "tessera/decode/diffusion/commit/registry.h"

namespace tessera::decode::commit {
namespace {

struct Filter {
  size_t block = 0, hidden = 0;
  std::vector<float> weight1, bias1, weight2, bias2;
  bool relu = true;

  // [block] -> [block]
  std::vector<float> Logits(std::span<const float> confidences) const {
    std::vector<float> middle(bias1), logits(bias2);
    for (size_t h = 0; h < hidden; ++h) {
      for (size_t b = 0; b < block; ++b) middle[h] += weight1[h * block + b] * confidences[b];
      if (relu) middle[h] = std::max(middle[h], 0.0f);
    }
    for (size_t b = 0; b < block; ++b) {
      for (size_t h = 0; h < hidden; ++h) logits[b] += weight2[b * hidden + h] * middle[h];
    }
    return logits;
  }
};

class Learn2PdRule : public CommitRule {
 public:
  Learn2PdRule(Filter filter, float threshold) : filter_(std::move(filter)) {
    // sigmoid(z) > t as z > ln(t / (1 - t)).
    least_logit_ = std::log(threshold / (1 - threshold));
  }

  RuleNeeds needs() const override { return {.decided = true, .decided_rows = true}; }

  void Select(const CommitContext& context, std::vector<int32_t>* chosen) override {
    if (context.window_step == 0) known_.clear();
    const size_t parts =
        (static_cast<size_t>(context.window_length) + filter_.block - 1) / filter_.block;
    known_.resize(parts * filter_.block, 1);
    const auto index = [&](int32_t position) {
      return static_cast<size_t>(position - context.window_begin);
    };
    for (const Decided& decided : context.decided) {
      if (decided.stats != nullptr) known_[index(decided.position)] = decided.stats->p1;
    }
    for (const Candidate& candidate : context.candidates) {
      known_[index(candidate.position)] = candidate.confidence;
    }
    std::vector<float> logits;
    for (size_t part = 0; part < parts; ++part) {
      const std::vector<float> more =
          filter_.Logits(std::span(known_).subspan(part * filter_.block, filter_.block));
      logits.insert(logits.end(), more.begin(), more.end());
    }
    const int32_t best = MostConfident(context.candidates);
    for (int32_t i = 0; i < static_cast<int32_t>(context.candidates.size()); ++i) {
      const int32_t position = context.candidates[static_cast<size_t>(i)].position;
      if (i == best || logits[index(position)] > least_logit_) chosen->push_back(i);
    }
  }

 private:
  Filter filter_;
  float least_logit_;
  std::vector<float> known_;  // [window, rounded up]: last known confidence
};

constexpr const char* kFileName = "filter.safetensors";
constexpr int64_t kMostUnits = 4096;  // of either layer

Result<std::vector<float>> Take(const Artefact& file, const std::string& name,
                                const std::vector<int64_t>& shape) {
  const auto it = file.tensors.find(name);
  if (it == file.tensors.end()) {
    return InvalidArgument(
        "learn2pd: {}: no tensor {}; a filter has fc1.weight, fc1.bias, fc2.weight and fc2.bias",
        file.path, name);
  }
  if (it->second.shape != shape) {
    return InvalidArgument("learn2pd: {}: {} has shape [{}]; accepted: [{}], to fit fc1.weight",
                           file.path, name, fmt::join(it->second.shape, ", "),
                           fmt::join(shape, ", "));
  }
  return it->second.values;
}

Result<Filter> ToFilter(const Artefact& file, const std::string& activation) {
  const auto first = file.tensors.find("fc1.weight");
  if (first == file.tensors.end() || first->second.shape.size() != 2 ||
      first->second.shape[0] < 1 || first->second.shape[0] > kMostUnits ||
      first->second.shape[1] < 1 || first->second.shape[1] > kMostUnits) {
    return InvalidArgument(
        "learn2pd: {}: accepted: fc1.weight of shape [hidden, block], each 1..{}", file.path,
        kMostUnits);
  }
  const int64_t hidden = first->second.shape[0], block = first->second.shape[1];
  Filter filter;
  filter.hidden = static_cast<size_t>(hidden);
  filter.block = static_cast<size_t>(block);
  TESSERA_ASSIGN_OR_RETURN(filter.weight1, Take(file, "fc1.weight", {hidden, block}));
  TESSERA_ASSIGN_OR_RETURN(filter.bias1, Take(file, "fc1.bias", {hidden}));
  TESSERA_ASSIGN_OR_RETURN(filter.weight2, Take(file, "fc2.weight", {block, hidden}));
  TESSERA_ASSIGN_OR_RETURN(filter.bias2, Take(file, "fc2.bias", {block}));
  std::string wanted = activation;
  if (wanted == "auto") {
    const auto it = file.metadata.find("activation");
    wanted = it == file.metadata.end() ? "relu" : it->second;
  }
  if (wanted != "relu" && wanted != "none") {
    return InvalidArgument("learn2pd: {}: activation '{}'; accepted: relu or none", file.path,
                           wanted);
  }
  filter.relu = wanted == "relu";
  return filter;
}

Result<std::unique_ptr<CommitRule>> Make(const Options& options, const RuleSetup& setup) {
  if (!setup.load) return InvalidArgument("learn2pd: files cannot be read here");
  const std::string& path = options.String("filter");
  Result<Artefact> file = setup.load(path, kFileName);
  if (!file.ok() && path.empty() && file.status().code() == StatusCode::kNotFound) {
    return InvalidArgument(
        "learn2pd needs a filter trained for this model: learn2pd=FILE.safetensors (there is no {} "
        "in the model's folder)",
        kFileName);
  }
  if (!file.ok()) return file.status();
  TESSERA_ASSIGN_OR_RETURN(Filter filter, ToFilter(*file, options.String("activation")));
  return std::unique_ptr<CommitRule>(std::make_unique<Learn2PdRule>(
      std::move(filter), static_cast<float>(options.Float("accept"))));
}

}  // namespace

const CommitRuleEntry& Learn2Pd() {
  static const CommitRuleEntry entry = {
      .name = "learn2pd",
      .source = "Learn2PD, arXiv 2509.25188",
      .help = "what a small trained network takes for final, and always the best prediction",
      .main_option = "filter",
      .options = {TextOption("filter", "",
                             "safetensors file of the trained filter, or its folder; empty: "
                             "filter.safetensors in the model's folder"),
                  FloatOption("accept", 0.96, 0, 1, "probability that must be exceeded"),
                  ChoiceOption("activation", "auto", {"auto", "relu", "none"},
                               "between the filter's layers; auto: as its file says, or relu")},
      .make_checked = Make};
  return entry;
}

}  // namespace tessera::decode::commit
