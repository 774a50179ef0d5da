// Random weights on the host: their exact values, and their packed form written element by element
// with the index functions of layout.h. What the packer and the products are compared with.
#pragma once

#include <cstring>
#include <utility>
#include <vector>

#include "tessera/backend/cuda/kernels.h"
#include "tessera/base/thread_pool.h"
#include "tessera/ops/weight_rounding.h"
#include "tessera/tensor/f8.h"

namespace tessera::cuda {

// Uniform in [-1, 1).
inline float RandomAt(uint64_t seed, uint64_t index) {
  uint64_t z = seed * 0x9e3779b97f4a7c15 + index * 0xbf58476d1ce4e5b9 + 0x94d049bb133111eb;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  z ^= z >> 31;
  return static_cast<float>(static_cast<int32_t>(z >> 40) - (1 << 23)) * 0x1p-23f;
}

class HostWeight {
 public:
  // `paired`: two parts of equal height, in turns; otherwise two of unequal height, stacked.
  HostWeight(const ops::WeightFormat& format, int64_t out, int64_t in, bool paired, uint64_t seed,
             ThreadPool& pool)
      : format_(format),
        layout_(LayoutOf(format)),
        out_(out),
        in_(in),
        paired_(paired),
        floats_(static_cast<size_t>(out * in)),
        values_(floats_.size()),
        packed_(static_cast<size_t>(PackedBytes(layout_, out, in))) {
    if (format.type == ops::WeightType::kF8) {
      feature_scales_.resize(static_cast<size_t>(NumBands(out) * kBand));
    }
    pool.ParallelFor(out, 16, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin * in; i < end * in; ++i) {
        const auto at = static_cast<uint64_t>(i);
        // Groups differ in size and in mean.
        floats_[static_cast<size_t>(i)] =
            0.03f * RandomAt(seed, at) * (1.5f + RandomAt(seed + 1, at / 32)) +
            0.01f * RandomAt(seed + 2, at / 32);
      }
    });
    // A byte of int4 belongs to two of 16 features.
    pool.ParallelFor(NumBands(out) * kBand, 16, [&](int64_t begin, int64_t end, int) {
      ops::RowReader reader(format_, in_);
      std::vector<uint8_t> codes(static_cast<size_t>(in_));
      for (int64_t row = begin; row < end; ++row) PackRow(row, reader, codes);
    });
  }

  ops::MatrixSource Source() const {
    const int64_t first = paired_ ? out_ / 2 : out_ / 3;
    const auto part = [&](int64_t begin, int64_t end) {
      return TensorView{.data = reinterpret_cast<const std::byte*>(floats_.data() + begin * in_),
                        .dtype = DType::kF32,
                        .shape = {end - begin, in_}};
    };
    return {.parts = {part(0, first), part(first, out_)}, .format = format_, .paired = paired_};
  }

  // Without addresses.
  WeightView View() const { return {.format = format_, .out = out_, .in = in_, .paired = paired_}; }
  // Of feature `row` of the stacked parts.
  const float* Row(int64_t row) const { return values_.data() + row * in_; }
  int64_t out() const { return out_; }
  int64_t in() const { return in_; }
  const std::vector<std::byte>& packed() const { return packed_; }
  const std::vector<float>& feature_scales() const { return feature_scales_; }

 private:
  void PackRow(int64_t packed_row, ops::RowReader& reader, std::vector<uint8_t>& codes) {
    using ops::WeightType;
    const int64_t f = packed_row % kHalfBand;
    const auto stage = [&](int64_t k) {
      return packed_.data() + StageOffset(layout_, in_, packed_row / kBand,
                                          packed_row % kBand / kHalfBand, k / layout_.inputs);
    };
    const bool known = packed_row < out_;
    const int64_t row = known && paired_ ? PairedRow(packed_row, out_ / 2) : packed_row;
    const float* from = floats_.data() + row * in_;
    float* values = values_.data() + row * in_;
    const TensorView view = {.data = reinterpret_cast<const std::byte*>(floats_.data()),
                             .dtype = DType::kF32,
                             .shape = {out_, in_}};
    const ops::CodedRow* coded = nullptr;
    float scale = 0;
    if (known && ops::IsInteger(format_.type)) coded = &reader.ReadCodes(view, row);
    if (known && format_.type == WeightType::kF8) {
      scale = ops::CodeF8({from, codes.size()}, codes.data());
      feature_scales_[static_cast<size_t>(packed_row)] = scale;
    }
    for (int64_t k = 0; k < PaddedInputs(in_); ++k) {
      const bool inside = known && k < in_;
      const auto at = static_cast<size_t>(k);
      const int64_t input = k % layout_.inputs;
      if (format_.type == WeightType::kBF16) {
        const uint16_t bits = inside ? BF16FromFloat(from[k]) : uint16_t{0};
        std::memcpy(stage(k) + ElementBF16(f, input) * 2, &bits, 2);
        if (inside) values[k] = FloatFromBF16(bits);
      } else if (format_.type == WeightType::kF8) {
        const uint8_t code = inside ? codes[at] : uint8_t{0};
        stage(k)[ElementByte(f, input)] = static_cast<std::byte>(code);
        if (inside) values[k] = FloatFromF8(code) * scale;
      } else {
        const int code = inside ? coded->codes[at] : 0;
        if (inside) values[k] = ops::DecodeInput(*coded, format_, k);
        if (format_.type == WeightType::kInt8) {
          stage(k)[ElementByte(f, input)] = static_cast<std::byte>(code);
        } else {
          const int64_t nibble = ElementNibble(f, input);
          stage(k)[nibble / 2] |= static_cast<std::byte>((code + 8) << (nibble % 2 * 4));
        }
        if (inside) PackGroup(stage(k), *coded, f, k);
      }
    }
  }

  void PackGroup(std::byte* stage, const ops::CodedRow& coded, int64_t f, int64_t k) {
    const int64_t input = k % layout_.inputs;
    const uint16_t scale = coded.scales[static_cast<size_t>(k / ops::SegmentOf(format_))];
    std::memcpy(stage + layout_.scales_at + (input / layout_.scale_inputs * kHalfBand + f) * 2,
                &scale, 2);
    if (format_.type != ops::WeightType::kInt4) return;
    const auto group = static_cast<size_t>(k / layout_.group);
    const int64_t at = input / layout_.group * kHalfBand + f;
    stage[layout_.ratios_at + at] = static_cast<std::byte>(coded.ratios[group]);
    if (!format_.symmetric) {
      stage[layout_.offsets_at + at] = static_cast<std::byte>(coded.offsets[group]);
    }
  }

  const ops::WeightFormat format_;
  const StageLayout layout_;
  const int64_t out_, in_;
  const bool paired_;
  std::vector<float> floats_, values_;  // [out, in]: as given, as packed
  std::vector<std::byte> packed_;
  std::vector<float> feature_scales_;  // fp8, in packed order
};

}  // namespace tessera::cuda
