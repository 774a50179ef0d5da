#include "tessera/backend/cpu/packed_matrix.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "tessera/backend/cpu/pack_panels.h"

namespace tessera::cpu {

using ops::WeightType;

PackedMatrix::~PackedMatrix() {
  if (data_ != nullptr) munmap(data_, mapped_bytes_);
}

void PackedMatrix::ReadRow(int64_t row, float* out) const {
  const std::byte* panel = data_ + row / kPanel * panel_bytes();
  const int64_t column = row % kPanel;
  if (ops::IsInteger(format().type)) {
    UnpackFeature(panel, column, format(), layout_, in(), out);
  } else if (format().type == WeightType::kF32) {
    const float* from = reinterpret_cast<const float*>(panel) + column;
    for (int64_t k = 0; k < in(); ++k) out[k] = from[k * kPanel];
  } else {
    const uint16_t* from = reinterpret_cast<const uint16_t*>(panel) + column * 2;
    for (int64_t k = 0; k < in(); ++k) out[k] = FloatFromBF16(from[k / 2 * 2 * kPanel + k % 2]);
  }
}

Result<std::unique_ptr<PackedMatrix>> PackMatrix(const ops::MatrixSource& source,
                                                 ThreadPool& pool) {
  TESSERA_RETURN_IF_ERROR(ops::CheckSource(source));
  if (source.format.type == WeightType::kF8) {
    return InvalidArgument(
        "dtype: fp8 needs a GPU (device cuda:N); accepted on device cpu: auto, f32, bf16, int8, "
        "int4");
  }
  int64_t out = 0;
  for (const ops::MatrixPart& part : source.parts) out += part.shape()[0];
  const int64_t in = source.parts[0].shape()[1];
  const QuantLayout layout = LayoutFor(source.format, in);
  auto matrix = std::unique_ptr<PackedMatrix>(
      new PackedMatrix(out, in, source.format, PaddedInputs(source.format, in), layout));
  const int64_t panels = matrix->num_panels();

  const size_t bytes = static_cast<size_t>(panels * layout.panel_bytes);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return ResourceExhausted("no memory for a packed weight matrix of {} bytes", bytes);
  }
  // Huge pages: packing into fresh memory is 3 to 4 times faster (Zen4: 5.4 against 1.7 GB/s), and
  // reading crosses a page 512 times less often. Only a hint: failure is harmless.
  madvise(memory, bytes, MADV_HUGEPAGE);
  matrix->data_ = static_cast<std::byte*>(memory);
  matrix->mapped_bytes_ = bytes;

  std::vector<SourceRow> rows(static_cast<size_t>(panels * kPanel));
  int64_t next = 0;
  for (const ops::MatrixPart& part : source.parts) {
    for (int64_t row = 0; row < part.shape()[0]; ++row) rows[next++] = {&part, row};
  }
  std::atomic<bool> fits = true;
  pool.ParallelFor(panels, /*grain=*/4, [&](int64_t begin, int64_t end, int) {
    PanelPacker packer(source.format, in);
    for (int64_t panel = begin; panel < end; ++panel) {
      if (!packer.Pack(&rows[panel * kPanel], matrix->data_ + panel * layout.panel_bytes)) {
        fits = false;
      }
    }
  });
  if (!fits) {
    return InvalidArgument(
        "weights too large for an integer format (scales reach 64); accepted: "
        "bf16, f32");
  }
  return matrix;
}

}  // namespace tessera::cpu
