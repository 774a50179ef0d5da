#include "tessera/backend/cuda/packed_matrix.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "tessera/backend/cuda/row_record.h"
#include "tessera/ops/weight_rounding.h"

namespace tessera::cuda {
namespace {

using ops::WeightType;

// Whether a group's codes may expand beyond a byte; see WeightView::saturates.
bool MaySaturate(int8_t ratio) { return ratio < -119 || ratio > 120; }

// Writes row records of one matrix; one per thread.
class RecordWriter {
 public:
  RecordWriter(const ops::WeightFormat& format, int64_t in)
      : format_(format),
        layout_(LayoutOf(format)),
        record_(format, in),
        in_(in),
        reader_(format, in),
        floats_(static_cast<size_t>(ops::IsInteger(format.type) ? 0 : in)) {}

  // Plain rows of f32 are their own records.
  void WriteF32(const ops::MatrixPart& part, int64_t row, std::byte* to) {
    reader_.ReadFloats(part, row, floats_.data());
    std::memcpy(to, floats_.data(), floats_.size() * sizeof(float));
  }

  void WriteBF16(const ops::MatrixPart& part, int64_t row, std::byte* to) {
    const int64_t written = in_ * int64_t{sizeof(BF16)};
    if (part.quantized == nullptr && part.floats.dtype == DType::kBF16) {
      std::memcpy(to, part.floats.data + row * written, static_cast<size_t>(written));
    } else {
      reader_.ReadFloats(part, row, floats_.data());
      auto* elements = reinterpret_cast<BF16*>(to);
      for (int64_t k = 0; k < in_; ++k) elements[k] = BF16FromFloat(floats_[k]);
    }
    std::fill(to + written, to + record_.bytes, std::byte{0});
  }

  // Returns the scale.
  float WriteF8(const ops::MatrixPart& part, int64_t row, std::byte* to) {
    reader_.ReadFloats(part, row, floats_.data());
    std::fill(to + in_, to + record_.bytes, std::byte{0});
    return ops::CodeF8(floats_, reinterpret_cast<uint8_t*>(to));
  }

  void WriteCodes(const ops::MatrixPart& part, int64_t row, std::byte* to,
                  std::atomic<bool>* too_large, std::atomic<bool>* saturates) {
    const ops::CodedRow& coded = reader_.ReadCodes(part, row);
    std::memcpy(to, coded.codes.data(), coded.codes.size());
    std::fill(to + in_, to + record_.bytes, std::byte{0});
    auto* scales = reinterpret_cast<uint16_t*>(to + record_.scales_at);
    // A stage of int8 may be shorter than the segment of a scale, which it then repeats.
    const int64_t segment = ops::SegmentOf(format_);
    for (int64_t k = 0; k < in_; k += layout_.scale_inputs) {
      constexpr uint16_t kInfinity = 0x7c00;
      const uint16_t scale = coded.scales[static_cast<size_t>(k / segment)];
      if (scale == kInfinity) *too_large = true;
      scales[k / layout_.scale_inputs] = scale;
    }
    if (format_.type != WeightType::kInt4) return;
    std::memcpy(to + record_.ratios_at, coded.ratios.data(), coded.ratios.size());
    std::memcpy(to + record_.offsets_at, coded.offsets.data(), coded.offsets.size());
    if (std::any_of(coded.ratios.begin(), coded.ratios.end(), MaySaturate)) *saturates = true;
  }

 private:
  const ops::WeightFormat format_;
  const StageLayout layout_;
  const RowRecord record_;
  const int64_t in_;
  ops::RowReader reader_;
  std::vector<float> floats_;
};

struct SourceRow {
  const ops::MatrixPart* part;
  int64_t row;
};

// In the order of packed rows.
std::vector<SourceRow> SourceRows(const ops::MatrixSource& source, bool paired) {
  std::vector<SourceRow> rows;
  for (const ops::MatrixPart& part : source.parts) {
    for (int64_t row = 0; row < part.shape()[0]; ++row) rows.push_back({&part, row});
  }
  if (!paired) return rows;
  std::vector<SourceRow> ordered(rows.size());
  const auto half = static_cast<int64_t>(rows.size() / 2);
  for (size_t i = 0; i < rows.size(); ++i) {
    ordered[i] = rows[static_cast<size_t>(PairedRow(static_cast<int64_t>(i), half))];
  }
  return ordered;
}

bool IsPaired(const ops::MatrixSource& source) {
  return source.paired && source.format.type != WeightType::kF32 && source.parts.size() == 2 &&
         source.parts[0].shape()[0] == source.parts[1].shape()[0] &&
         source.parts[0].shape()[0] % 8 == 0;
}

}  // namespace

Result<std::unique_ptr<PackedMatrix>> MatrixPacker::Pack(Stream stream,
                                                         const ops::MatrixSource& source) {
  TESSERA_RETURN_IF_ERROR(ops::CheckSource(source));
  const WeightType type = source.format.type;
  const bool plain = type == WeightType::kF32;
  WeightView view = {.format = source.format, .paired = IsPaired(source)};
  const std::vector<SourceRow> rows = SourceRows(source, view.paired);
  view.out = static_cast<int64_t>(rows.size());
  view.in = source.parts[0].shape()[1];
  const int64_t row_bytes =
      plain ? view.in * int64_t{sizeof(float)} : RowRecord(view.format, view.in).bytes;
  const int64_t band_bytes =
      plain ? kBand * row_bytes : PackedBytes(LayoutOf(view.format), kBand, view.in);
  const int64_t bands = NumBands(view.out);
  const int64_t bytes = plain ? view.out * row_bytes : bands * band_bytes;
  TESSERA_ASSIGN_OR_RETURN(DeviceMemory data,
                           DeviceMemory::Create(static_cast<size_t>(bytes), "a weight matrix"));
  for (Slot& slot : slots_) {
    if (slot.free.get() == nullptr) {
      TESSERA_ASSIGN_OR_RETURN(slot.free, EventHandle::Create());
    }
    TESSERA_RETURN_IF_ERROR(
        slot.host.Grow(static_cast<size_t>(kBand * row_bytes), "a band of weights"));
  }
  if (!plain) {
    TESSERA_RETURN_IF_ERROR(
        records_.Grow(static_cast<size_t>(kBand * row_bytes), "a band of weights"));
  }
  std::vector<float> scales(type == WeightType::kF8 ? static_cast<size_t>(bands * kBand) : 0);
  std::vector<RecordWriter> writers(static_cast<size_t>(pool_.size()),
                                    RecordWriter(view.format, view.in));
  std::atomic<bool> too_large = false, saturates = false;
  const auto write = [&](int64_t packed_row, RecordWriter& writer, std::byte* to) {
    if (packed_row >= view.out) {
      std::fill(to, to + row_bytes, std::byte{0});
      return;
    }
    const auto& [part, row] = rows[static_cast<size_t>(packed_row)];
    switch (type) {
      case WeightType::kF32: writer.WriteF32(*part, row, to); break;
      case WeightType::kBF16: writer.WriteBF16(*part, row, to); break;
      case WeightType::kF8:
        scales[static_cast<size_t>(packed_row)] = writer.WriteF8(*part, row, to);
        break;
      case WeightType::kInt8:
      case WeightType::kInt4: writer.WriteCodes(*part, row, to, &too_large, &saturates); break;
    }
  };
  for (int64_t band = 0; band < bands; ++band) {
    Slot& slot = slots_[band % 2];
    TESSERA_RETURN_IF_ERROR(slot.free.Wait());
    pool_.ParallelFor(kBand, /*grain=*/4, [&](int64_t begin, int64_t end, int worker) {
      for (int64_t i = begin; i < end; ++i) {
        write(band * kBand + i, writers[static_cast<size_t>(worker)],
              slot.host.as<std::byte>() + i * row_bytes);
      }
    });
    std::byte* to = data.as<std::byte>() + band * band_bytes;
    const int64_t count = plain ? std::min(kBand, view.out - band * kBand) : kBand;
    TESSERA_RETURN_IF_ERROR(CopyToGpu(stream, plain ? to : records_.as<std::byte>(),
                                      slot.host.data(), static_cast<size_t>(count * row_bytes)));
    TESSERA_RETURN_IF_ERROR(slot.free.Record(stream));
    if (!plain) {
      TESSERA_RETURN_IF_ERROR(PackBand(stream, view.format, view.in, records_.as<std::byte>(), to));
    }
  }
  DeviceMemory feature_scales;
  if (!scales.empty()) {
    TESSERA_ASSIGN_OR_RETURN(
        feature_scales, UploadedCopy(stream, std::span<const float>(scales), "scales of weights"));
  }
  TESSERA_RETURN_IF_ERROR(Synchronize(stream));
  if (too_large) {
    return InvalidArgument(
        "weights too large for an integer format (scales reach 64); accepted: bf16, fp8, f32");
  }
  view.data = data.data();
  view.feature_scales = feature_scales.as<float>();
  view.saturates = saturates;
  return std::make_unique<PackedMatrix>(
      view, std::move(data), std::move(feature_scales),
      bytes + static_cast<int64_t>(scales.size() * sizeof(float)));
}

}  // namespace tessera::cuda
