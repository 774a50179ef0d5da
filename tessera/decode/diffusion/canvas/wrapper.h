// A canvas policy around another one; a subclass changes what it overrides.
#pragma once

#include <memory>
#include <utility>

#include "tessera/decode/diffusion/canvas_policy.h"

namespace tessera::decode::canvas {

class CanvasWrapper : public CanvasPolicy {
 public:
  explicit CanvasWrapper(std::unique_ptr<CanvasPolicy> base) : base_(std::move(base)) {}

  Result<int32_t> BeginCanvas(int32_t prompt_length, int32_t max_new_tokens) override {
    return base_->BeginCanvas(prompt_length, max_new_tokens);
  }
  Window Next(const SequenceView& view) override { return base_->Next(view); }
  void Observe(const SequenceView& view, std::span<const Candidate> predictions,
               Window* window) override {
    base_->Observe(view, predictions, window);
  }
  void Adjust(const SequenceView& view, std::span<const Candidate> candidates,
              std::vector<int32_t>* chosen) override {
    base_->Adjust(view, candidates, chosen);
  }
  int32_t EndAfter(const CanvasFeedback& feedback) override { return base_->EndAfter(feedback); }

 protected:
  CanvasPolicy& base() { return *base_; }

 private:
  std::unique_ptr<CanvasPolicy> base_;
};

}  // namespace tessera::decode::canvas
