// A model for tests: bytes are tokens, and replies come from a function of prompt and strategy.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/api/model.h"

namespace tessera::eval {

class FakeModel : public api::Model {
 public:
  static constexpr api::TokenId kMask = 256, kEnd = 257;
  static constexpr int64_t kVocab = 258;
  using Reply = std::function<std::string(const std::string& prompt, const std::string& strategy)>;

  explicit FakeModel(Reply reply, std::string path = "fake") : reply_(std::move(reply)) {
    info_.path = std::move(path);
    info_.attention = "bidirectional";
    info_.dtype = "f32";
    info_.device = "cpu:fake";
    info_.default_strategy = "one";
    info_.vocab = kVocab;
    info_.context = 4096;
    info_.mask_id = kMask;
    info_.stop_ids = {kEnd};
    info_.has_tokenizer = info_.has_chat_template = true;
  }

  api::ModelInfo& mutable_info() { return info_; }
  int64_t generated() const { return generated_; }

  const api::ModelInfo& info() const override { return info_; }
  Result<std::vector<api::TokenId>> Encode(std::string_view text, bool) const override {
    std::vector<api::TokenId> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string Decode(std::span<const api::TokenId> ids) const override {
    std::string text;
    for (const api::TokenId id : ids) {
      if (id < 256) text += static_cast<char>(id);
    }
    return text;
  }
  std::string TokenText(api::TokenId id) const override {
    return id == kEnd ? "<|eot_id|>" : Decode({&id, 1});
  }
  Result<std::vector<api::TokenId>> EncodeChat(
      const std::vector<api::Message>& messages) const override {
    return Encode(messages.back().content + "\n", true);
  }
  Result<api::GenerateResult> Generate(const api::GenerateRequest& request) override {
    return std::move(GenerateBatch({&request, 1}, 1).front());
  }
  std::vector<Result<api::GenerateResult>> GenerateBatch(
      std::span<const api::GenerateRequest> requests, int32_t) override {
    std::vector<Result<api::GenerateResult>> results;
    for (const api::GenerateRequest& request : requests) results.push_back(One(request));
    return results;
  }
  Status CheckStrategy(const std::string& strategy) const override {
    return strategy == "nonsense" ? Status(StatusCode::kInvalidArgument, "nonsense: not known")
                                  : OkStatus();
  }
  // Every token is as likely as any other.
  Result<api::Score> ScoreIds(std::span<const api::TokenId> ids) override {
    return api::Score{.tokens = static_cast<int64_t>(ids.size()) - 1,
                      .nll_per_token = std::log(static_cast<double>(kVocab))};
  }
  Result<std::vector<float>> Logits(std::span<const api::TokenId> ids) override {
    return std::vector<float>(ids.size() * kVocab, 0.5f);
  }
  Result<api::ForwardTiming> TimeForward(const api::ForwardShape&, int32_t) override {
    return api::ForwardTiming();
  }

 private:
  // A token per step, left to right; holes first to last.
  Result<api::GenerateResult> One(const api::GenerateRequest& request) {
    ++generated_;
    if (request.strategy == "broken") return Status(StatusCode::kUnimplemented, "cannot do that");
    const std::vector<api::TokenId>& ids = request.ids;
    const std::string reply = reply_(Decode(ids), request.strategy);
    api::GenerateResult result;
    result.canvas = ids;
    std::vector<size_t> places;
    for (size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] == kMask) places.push_back(i);
    }
    const bool infill = !places.empty();
    for (size_t i = 0; !infill && i < reply.size(); ++i) {
      places.push_back(ids.size() + i);
      result.canvas.push_back(kMask);
    }
    const size_t count = std::min(places.size(), reply.size());
    for (size_t i = 0; i < count; ++i) {
      const api::Placed placed{.position = static_cast<int32_t>(places[i]),
                               .token = static_cast<unsigned char>(reply[i]),
                               .confidence = 0.75f};
      result.canvas[places[i]] = placed.token;
      if (!infill) result.output.push_back(placed.token);
      const api::StepView view{.step = static_cast<int32_t>(i),
                               .kind = "full",
                               .rows = static_cast<int32_t>(result.canvas.size()),
                               .placed = {&placed, 1},
                               .canvas = result.canvas,
                               .confidence = {},
                               .prompt_length = static_cast<int32_t>(ids.size())};
      ++result.metrics.full_forwards;
      if (request.on_step && !request.on_step(view)) {
        result.finish_reason = "cancelled";
        return result;
      }
    }
    result.text = Decode(result.output);
    result.finish_reason = "stop";
    result.metrics.output_tokens = static_cast<int64_t>(result.output.size());
    result.metrics.seconds = 0.5;
    return result;
  }

  Reply reply_;
  api::ModelInfo info_;
  int64_t generated_ = 0;
};

}  // namespace tessera::eval
