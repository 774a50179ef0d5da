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

  int32_t EndAfter(const SequenceView& view, std::span<const Candidate> candidates,
                   std::span<const Placement> commits) override {
    int32_t end = base().EndAfter(view, candidates, commits);
    bool decided = false;
    int32_t last_word = view.prompt_length - 1;  // last decided position that is not end-of-text
    for (int32_t position = view.prompt_length; position < end; ++position) {
      if (!view.is_committed(position)) continue;
      if (IsStop(view.tokens[static_cast<size_t>(position)])) {
        end = position + 1;
        decided = true;
      } else {
        last_word = position;
      }
    }
    for (const Placement& commit : commits) {
      if (commit.position < view.prompt_length) continue;
      if (IsStop(commit.token)) {
        end = std::min(end, commit.position + 1);
        decided = true;
      } else {
        last_word = std::max(last_word, commit.position);
      }
    }
    if (decided || rule_ == EndOfTextRule::kDecided) return end;

    const Candidate* best = nullptr;
    for (const Candidate& candidate : candidates) {
      if (candidate.position <= last_word || candidate.position >= end) continue;
      if (!IsStop(candidate.stats->argmax) || candidate.stats->p1 < threshold_) continue;
      if (best == nullptr || candidate.stats->p1 > best->stats->p1) best = &candidate;
    }
    return best == nullptr ? end : best->position + 1;
  }

 private:
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
