#include "apps/cli/generate_options.h"

#include <algorithm>
#include <map>
#include <vector>

#include "apps/cli/text_util.h"
#include "tessera/api/tools.h"

namespace tessera::cli {
namespace {

constexpr int64_t kDefaultTokens = 128;
constexpr int64_t kMaxTokens = 1 << 20;

}  // namespace

void AddGenerateOptions(Parser& parser, GenerateOptions* options) {
  parser.Text("--strategy", &options->strategy, "TEXT", "how to decode; see below");
  parser.Int(
      "-n,--max-tokens", &options->max_tokens, 1, kMaxTokens,
      fmt::format("new tokens at most; default: {}, or what the context leaves", kDefaultTokens));
  parser.Flag("--ignore-eos", &options->ignore_eos, "do not end at end-of-text tokens");
  parser.Flag("--whole-canvas", &options->whole_canvas,
              "decide every position even after the text has ended");
  parser.Group("Sampling");
  api::SamplingOptions& sampling = options->sampling;
  parser.Float("--temperature", &sampling.temperature, 0, 100, "0: always the likeliest token");
  parser.Int("--top-k", &sampling.top_k, 0, kMaxTokens, "sample among the K likeliest; 0: off");
  parser.Float("--top-p", &sampling.top_p, 0.0001f, 1,
               "sample among the likeliest with this mass; 1: off");
  parser.Float("--min-p", &sampling.min_p, 0, 0.9999f,
               "sample among those this likely beside the likeliest; 0: off");
  parser.Float("--repetition-penalty", &sampling.repetition_penalty, 0.01f, 100, "1: off");
  parser.Seed(&sampling.seed, "the same seed gives the same text");
  parser.Group("Options");
}

std::string StrategyHelp() {
  std::string help = "Strategies (items joined by commas; `tessera strategies` explains them):\n";
  std::map<std::string, std::vector<std::string>> items;
  for (const api::StrategyMember& member : api::ListStrategyMembers()) {
    std::vector<std::string>& slot = items[member.slot];
    if (member.slot != "diffusion") slot.push_back(member.name);
    for (const api::StrategyOption& option : member.options) {
      const std::string text = option.name + "=" + option.default_value;
      if (option.name == member.main_option && member.slot == "commit") {
        slot.back() += "=" + option.default_value;
      } else if (member.slot == "diffusion") {
        slot.push_back(text);
      }
    }
  }
  const std::vector<std::pair<std::string, std::string>> slots = {{"decoder", "causal models"},
                                                                  {"commit", "commit rule"},
                                                                  {"cache", "cache="},
                                                                  {"canvas", "canvas="},
                                                                  {"diffusion", "options"}};
  for (const auto& [slot, label] : slots) {
    if (items[slot].empty()) continue;
    help += fmt::format("  {:<16}{}\n", label, fmt::join(items[slot], ", "));
  }
  return help + "  for example     threshold=0.9,cache=dual,block=32\n";
}

api::GenerateRequest MakeRequest(const GenerateOptions& options, const api::ModelInfo& info,
                                 int64_t prompt_tokens) {
  api::GenerateRequest request;
  request.strategy = options.strategy;
  request.sampling = options.sampling;
  request.ignore_stop = options.ignore_eos;
  request.whole_canvas = options.whole_canvas;
  request.max_new_tokens = options.max_tokens;
  if (options.max_tokens == 0) {
    // A prompt that fills the context is reported by the library, with its numbers.
    const int64_t room = std::max<int64_t>(1, info.context - prompt_tokens);
    request.max_new_tokens = static_cast<int32_t>(std::min(kDefaultTokens, room));
  }
  return request;
}

}  // namespace tessera::cli
