#include "tessera/quantize/calibration.h"

#include <algorithm>

#include "tessera/base/rng.h"

namespace tessera::quantize {
namespace {

// Random numbers of one drawing; position -1 holds those of the drawing itself.
class Draw {
 public:
  Draw(uint64_t seed, int32_t number) : seed_(seed), number_(number) {}
  double ForText(uint32_t index) const { return At(-1, index); }
  double ForToken(int32_t position) const { return At(position, 0); }

 private:
  double At(int32_t position, uint32_t index) const {
    return Uniform({.seed = seed_, .position = position, .step = number_}, RngPurpose::kCalibration,
                   index);
  }
  uint64_t seed_;
  int32_t number_;
};

// Masks tokens [begin, end) with a ratio of its own, one at least.
int64_t Mask(const Draw& draw, ops::TokenId mask, int32_t begin, int32_t end,
             std::vector<ops::TokenId>* tokens) {
  const double ratio = draw.ForText(0);
  int64_t masked = 0;
  for (int32_t i = begin; i < end; ++i) {
    if (draw.ForToken(i) >= ratio) continue;
    (*tokens)[static_cast<size_t>(i)] = mask;
    ++masked;
  }
  if (masked > 0) return masked;
  const int32_t one = begin + static_cast<int32_t>(draw.ForText(1) * (end - begin));
  (*tokens)[static_cast<size_t>(one)] = mask;
  return 1;
}

}  // namespace

Result<CalibrationSet> MakeCalibration(std::span<const CalibrationText> texts,
                                       const ops::ModelTraits& traits,
                                       const CalibrationOptions& options) {
  CalibrationSet set;
  const bool causal = traits.attention == ops::AttentionKind::kCausal;
  const bool blocks = traits.attention == ops::AttentionKind::kBlockCausal;
  const auto length_of = [&](const CalibrationText& text) {
    return std::min(static_cast<int32_t>(text.tokens.size()), traits.max_positions);
  };
  const bool any = std::any_of(texts.begin(), texts.end(), [&](const CalibrationText& text) {
    return length_of(text) > (causal ? 0 : text.given);
  });
  if (!any) return InvalidArgument("the calibration texts hold no tokens to mask or predict");
  for (int32_t number = 0; set.rows < options.max_rows; ++number) {
    const size_t index = static_cast<size_t>(number) % texts.size();
    if (causal && static_cast<size_t>(number) == texts.size()) break;
    const CalibrationText& text = texts[index];
    const int32_t length = length_of(text);
    std::vector<ops::TokenId> tokens(text.tokens.begin(), text.tokens.begin() + length);
    if (!causal) {
      if (text.given >= length) continue;
      const Draw draw(options.seed, number);
      int32_t begin = text.given, end = length;
      if (blocks) {
        const int32_t first = begin / traits.block, last = (length - 1) / traits.block;
        const int32_t chosen = first + static_cast<int32_t>(draw.ForText(2) * (last - first + 1));
        begin = std::max(begin, chosen * traits.block);
        end = std::min(length, (chosen + 1) * traits.block);
        tokens.resize(static_cast<size_t>(end));
      }
      set.maskable += end - begin;
      set.masked += Mask(draw, traits.mask_id, begin, end, &tokens);
    }
    if (tokens.empty()) continue;
    set.rows += static_cast<int64_t>(tokens.size());
    set.sequences.push_back(std::move(tokens));
  }
  return set;
}

}  // namespace tessera::quantize
