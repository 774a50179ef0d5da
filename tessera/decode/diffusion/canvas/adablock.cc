// AdaBlock (arXiv 2509.26432): a block ends at a delimiter, such as a line end, that the model
// predicts with confidence; without one it has the default length. The forward that sizes the block
// also serves its first commits, so sizing costs nothing.
#include <algorithm>
#include <charconv>

#include "tessera/decode/diffusion/canvas/registry.h"

namespace tessera::decode::canvas {
namespace {

struct AdaBlockConfig {
  int32_t block = 32;
  double threshold = 0.3;
  double look = 0.25;
  std::vector<TokenId> delimiters;
};

class AdaBlockPolicy : public CanvasPolicy {
 public:
  explicit AdaBlockPolicy(AdaBlockConfig config) : config_(std::move(config)) {}

  Result<int32_t> BeginCanvas(int32_t prompt_length, int32_t max_new_tokens) override {
    return prompt_length + max_new_tokens;
  }

  Window Next(const SequenceView& view) override {
    const int32_t first = FirstUndecided(view);
    if (origin_ < 0) {
      origin_ = end_ = first;
      canvas_ = view.canvas();
    }
    end_ = std::min(end_, view.canvas());
    sizing_ = first >= end_;
    if (sizing_) {
      begin_ = first;
      // floor(0.25 G) positions are searched; the window must also hold the default block.
      look_end_ = first + static_cast<int32_t>(config_.look * (canvas_ - origin_));
      look_end_ = std::min(look_end_, view.canvas());
      end_ = std::max(look_end_, std::min(first + config_.block, view.canvas()));
    }
    begin_ = std::min(begin_, first);  // a rule that takes tokens back may reopen what lies before
    return {.begin = begin_,
            .end = end_,
            .block_begin = begin_,
            .block_end = end_,
            .num_windows = (canvas_ - origin_ + config_.block - 1) / config_.block,
            .observed = sizing_};
  }

  void Observe(const SequenceView& view, std::span<const Candidate> predictions,
               Window* window) override {
    if (!sizing_) return;
    const Candidate* best = nullptr;
    for (const Candidate& prediction : predictions) {
      if (prediction.position >= look_end_ || !IsDelimiter(prediction.stats->argmax)) continue;
      if (best == nullptr || prediction.stats->p1 > best->stats->p1) best = &prediction;
    }
    end_ = best != nullptr && best->stats->p1 >= config_.threshold
               ? best->position + 1
               : std::min(begin_ + config_.block, view.canvas());
    window->end = window->block_end = end_;
  }

 private:
  bool IsDelimiter(TokenId token) const {
    return std::find(config_.delimiters.begin(), config_.delimiters.end(), token) !=
           config_.delimiters.end();
  }

  AdaBlockConfig config_;
  int32_t origin_ = -1;  // first undecided position of all
  int32_t canvas_ = 0;   // when decoding began
  int32_t begin_ = 0, end_ = 0;
  int32_t look_end_ = 0;
  bool sizing_ = false;
};

// "198+271": token ids.
Result<std::vector<TokenId>> ParseDelimiters(const std::string& text, const ModelTraits& traits) {
  if (text == "auto") {
    if (traits.delimiter_ids.empty()) {
      return InvalidArgument(
          "canvas=adablock: no token that ends a line is known for this model; name them: "
          "delimiters=198+271");
    }
    return traits.delimiter_ids;
  }
  std::vector<TokenId> ids;
  const char* at = text.data();
  const char* const end = text.data() + text.size();
  while (true) {
    TokenId id = -1;
    const auto [next, error] = std::from_chars(at, end, id);
    if (error != std::errc() || id < 0 || id >= traits.vocab_size ||
        (next != end && (*next != '+' || next + 1 == end))) {
      return InvalidArgument(
          "option delimiters: got '{}', accepted: auto, or token ids of 0..{} joined by +", text,
          traits.vocab_size - 1);
    }
    ids.push_back(id);
    if (next == end) return ids;
    at = next + 1;
  }
}

}  // namespace

const CanvasPolicyEntry& AdaBlock() {
  static const CanvasPolicyEntry entry = {
      .name = "adablock",
      .source = "AdaBlock-dLLM, arXiv 2509.26432",
      .help = "blocks that end where the model predicts a line end",
      .options =
          {IntOption("block", 32, 1, 1 << 20, "positions of a block without such a prediction"),
           FloatOption("delimiter_threshold", 0.3, 0, 2,
                       "least probability of the delimiter (Dream: 0.5); above 1: fixed blocks"),
           FloatOption("look", 0.25, 0, 1, "share of the canvas that is searched for a delimiter"),
           ChoiceOption("delimiters", "auto", {},
                        "tokens that end a block: auto (line ends, from the tokenizer), or ids "
                        "joined by +")},
      .make = [](const Options& options,
                 const ModelTraits& traits) -> Result<std::unique_ptr<CanvasPolicy>> {
        if (traits.attention == ops::AttentionKind::kBlockCausal) {
          return InvalidArgument(
              "canvas=adablock chooses the block length, which this block-causal model was trained "
              "with: use canvas=blocks or multiblock");
        }
        AdaBlockConfig config{.block = static_cast<int32_t>(options.Int("block")),
                              .threshold = options.Float("delimiter_threshold"),
                              .look = options.Float("look"),
                              .delimiters = {}};
        TESSERA_ASSIGN_OR_RETURN(config.delimiters,
                                 ParseDelimiters(options.String("delimiters"), traits));
        return std::unique_ptr<CanvasPolicy>(std::make_unique<AdaBlockPolicy>(std::move(config)));
      }};
  return entry;
}

}  // namespace tessera::decode::canvas
