// Row records: one output feature of a band on its way to the GPU, before it is permuted into the
// layouts of layout.h. Shared by host and device code.
#pragma once

#include <cstddef>

#include "tessera/backend/cuda/layout.h"
#include "tessera/base/status.h"

struct CUstream_st;

namespace tessera::cuda {

// elements | scales | ratios | offsets, of PaddedInputs(in) inputs, those beyond `in` zero (codes,
// too: the permutation turns int4 codes into nibbles). Elements are bf16 or bytes, int4 one code
// per byte; the rest is as in a stage, for the whole feature. The features that pad the last band
// are zero bytes.
struct RowRecord {
  int64_t element_bytes = 0;
  int64_t scales_at = 0, ratios_at = 0, offsets_at = 0;
  int64_t bytes = 0;  // a multiple of 16

  RowRecord() = default;
  TESSERA_HD constexpr RowRecord(const ops::WeightFormat& format, int64_t in)
      : element_bytes(format.type == ops::WeightType::kBF16 ? 2 : 1) {
    const StageLayout layout = LayoutOf(format);
    const int64_t inputs = PaddedInputs(in);
    const int64_t scales = layout.scale_inputs > 0 ? inputs / layout.scale_inputs : 0;
    const int64_t groups = layout.group > 0 ? inputs / layout.group : 0;
    scales_at = inputs * element_bytes;
    ratios_at = scales_at + scales * 2;
    offsets_at = ratios_at + groups;
    bytes = RoundUp(offsets_at + groups, 16);
  }
};

// The records of a band, kBand of them, into its two halves at `to`.
Status PackBand(CUstream_st* stream, const ops::WeightFormat& format, int64_t in,
                const std::byte* records, std::byte* to);

}  // namespace tessera::cuda
