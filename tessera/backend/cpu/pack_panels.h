// Packing of one panel, 16 output features, into the layouts of packed_matrix.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tessera/backend/cpu/packed_matrix.h"
#include "tessera/ops/weight_rounding.h"

namespace tessera::cpu {

// One output feature of the source; part is null for the zero features that pad the last panel.
struct SourceRow {
  const ops::MatrixPart* part = nullptr;
  int64_t row = 0;
};

// Padded inputs and panel layout of a matrix in this format.
int64_t PaddedInputs(const ops::WeightFormat& format, int64_t in);
QuantLayout LayoutFor(const ops::WeightFormat& format, int64_t in);

// Packs panels of one matrix; one per thread.
class PanelPacker {
 public:
  PanelPacker(const ops::WeightFormat& format, int64_t in);

  // rows: [16]; to: a panel of LayoutFor(format, in).panel_bytes. False if a scale is too
  // large to store.
  bool Pack(const SourceRow* rows, std::byte* to);

 private:
  void PackFloats(const SourceRow* rows, std::byte* to);
  bool PackCodes(const SourceRow* rows, std::byte* to);

  ops::WeightFormat format_;
  int64_t in_, padded_in_;
  QuantLayout layout_;
  ops::RowReader reader_;
  std::vector<std::byte> features_;  // [16][padded_in] of the stored type
  std::vector<float> floats_;        // [in]
};

// Weights of one output feature, read back out of a panel of integer codes.
void UnpackFeature(const std::byte* panel, int64_t column, const ops::WeightFormat& format,
                   const QuantLayout& layout, int64_t in, float* out);

}  // namespace tessera::cpu
