#include "tessera/decode/diffusion/canvas/end_of_text.h"

#include <algorithm>

#include "tessera/decode/diffusion/canvas/wrapper.h"

namespace tessera::decode::canvas {
namespace {

class EndOfTextTruncation : public CanvasWrapper {
 public:
  EndOfTextTruncation(std::unique_ptr<CanvasPolicy> base, EndOfTextRule rule, double threshold,
                      std::vector<TokenId> stop_ids)
      : CanvasWrapper(std::move(base)),
        rule_(rule),
        threshold_(threshold),
        stop_ids_(std::move(stop_ids)) {}

  int32_t EndAfter(const CanvasFeedback& feedback) override {
    const int32_t begin = feedback.view.prompt_length;
    int32_t end = base().EndAfter(feedback);
    bool decided = false;
    int32_t last_word = begin - 1;  // last decided position that is not end-of-text
    const std::vector<TokenId> tokens = TokensAfter(feedback);
    for (int32_t position = begin; position < end; ++position) {
      const TokenId token = tokens[static_cast<size_t>(position)];
      if (token == kUndecided) continue;
      if (!IsStop(token)) {
        last_word = position;
      } else if (position < feedback.outcome.open_from) {  // cannot be taken back any more
        end = position + 1;
        decided = true;
      }
    }
    if (decided || rule_ == EndOfTextRule::kDecided) return end;

    const Candidate* best = nullptr;
    for (const Candidate& candidate : feedback.candidates) {
      if (candidate.position <= last_word || candidate.position >= end) continue;
      if (!IsStop(candidate.stats->argmax) || candidate.stats->p1 < threshold_) continue;
      if (best == nullptr || candidate.stats->p1 > best->stats->p1) best = &candidate;
    }
    return best == nullptr ? end : best->position + 1;
  }

 private:
  static constexpr TokenId kUndecided = -1;

  // The canvas once the step's outcome is applied.
  static std::vector<TokenId> TokensAfter(const CanvasFeedback& feedback) {
    const SequenceView& view = feedback.view;
    std::vector<TokenId> tokens(view.tokens.begin(), view.tokens.end());
    const auto at = [&](int32_t position) -> TokenId& {
      return tokens[static_cast<size_t>(position)];
    };
    for (int32_t position = 0; position < view.canvas(); ++position) {
      if (!view.is_committed(position)) at(position) = kUndecided;
    }
    for (const Placement& commit : feedback.outcome.commits) at(commit.position) = commit.token;
    for (const Placement& edit : feedback.outcome.edits) at(edit.position) = edit.token;
    for (const int32_t position : feedback.outcome.remasks) at(position) = kUndecided;
    return tokens;
  }

  bool IsStop(TokenId token) const {
    return std::find(stop_ids_.begin(), stop_ids_.end(), token) != stop_ids_.end();
  }

  EndOfTextRule rule_;
  double threshold_;
  std::vector<TokenId> stop_ids_;
};

}  // namespace

std::unique_ptr<CanvasPolicy> WithEndOfTextTruncation(std::unique_ptr<CanvasPolicy> base,
                                                      EndOfTextRule rule, double threshold,
                                                      std::vector<TokenId> stop_ids) {
  return std::make_unique<EndOfTextTruncation>(std::move(base), rule, threshold,
                                               std::move(stop_ids));
}

}  // namespace tessera::decode::canvas
