#include "tessera/backend/cpu/packed_matrix.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "tessera/base/check.h"

namespace tessera::cpu {
namespace {

std::string_view TypeName(ops::WeightType type) {
  switch (type) {
    case ops::WeightType::kF32: return "f32";
    case ops::WeightType::kBF16: return "bf16";
    case ops::WeightType::kInt8: return "int8";
    case ops::WeightType::kInt4: return "int4";
  }
  return "unknown";
}

// One output feature of the source; data is null for the zero features that pad the last panel.
struct SourceRow {
  const std::byte* data = nullptr;
  DType dtype = DType::kF32;
};

template <typename T>
T LoadUnaligned(const std::byte* from, int64_t index) {
  T value;
  std::memcpy(&value, from + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

float ElementAsFloat(const SourceRow& row, int64_t index) {
  switch (row.dtype) {
    case DType::kF32: return LoadUnaligned<float>(row.data, index);
    case DType::kF16: return FloatFromF16(LoadUnaligned<uint16_t>(row.data, index));
    default: return FloatFromBF16(LoadUnaligned<uint16_t>(row.data, index));
  }
}

// Panels are packed in blocks of this many inputs: 16 rows of 256 bf16 and the packed block are
// 8 KiB each and stay in L1.
constexpr int64_t kBlock = 256;

// rows: 16 features; to: [padded_in/2][16][2].
void PackPanelBF16(const SourceRow* rows, int64_t in, int64_t padded_in, uint16_t* to) {
  uint16_t block[kPanel][kBlock];
  for (int64_t begin = 0; begin < padded_in; begin += kBlock) {
    const int64_t count = std::min(kBlock, padded_in - begin);
    const int64_t valid = std::clamp<int64_t>(in - begin, 0, count);
    for (int64_t o = 0; o < kPanel; ++o) {
      const SourceRow& row = rows[o];
      const int64_t copied = row.data == nullptr ? 0 : valid;
      if (row.dtype == DType::kBF16) {
        if (copied > 0)
          std::memcpy(block[o], row.data + begin * 2, static_cast<size_t>(copied) * 2);
      } else {
        for (int64_t k = 0; k < copied; ++k) {
          block[o][k] = BF16FromFloat(ElementAsFloat(row, begin + k));
        }
      }
      std::fill(block[o] + copied, block[o] + count, uint16_t{0});
    }
    for (int64_t k = 0; k < count; k += 2) {
      for (int64_t o = 0; o < kPanel; ++o) std::memcpy(to + o * 2, &block[o][k], 4);
      to += 2 * kPanel;
    }
  }
}

// rows: 16 features; to: [padded_in][16].
void PackPanelF32(const SourceRow* rows, int64_t in, int64_t padded_in, float* to) {
  float block[kPanel][kBlock];
  for (int64_t begin = 0; begin < padded_in; begin += kBlock) {
    const int64_t count = std::min(kBlock, padded_in - begin);
    const int64_t valid = std::clamp<int64_t>(in - begin, 0, count);
    for (int64_t o = 0; o < kPanel; ++o) {
      const int64_t copied = rows[o].data == nullptr ? 0 : valid;
      for (int64_t k = 0; k < copied; ++k) block[o][k] = ElementAsFloat(rows[o], begin + k);
      std::fill(block[o] + copied, block[o] + count, 0.0f);
    }
    for (int64_t k = 0; k < count; ++k) {
      for (int64_t o = 0; o < kPanel; ++o) to[o] = block[o][k];
      to += kPanel;
    }
  }
}

}  // namespace

PackedMatrix::~PackedMatrix() {
  if (data_ != nullptr) munmap(data_, mapped_bytes_);
}

void PackedMatrix::ReadRow(int64_t row, float* out) const {
  const std::byte* panel = data_ + row / kPanel * panel_bytes_;
  const int64_t column = row % kPanel;
  if (format().type == ops::WeightType::kF32) {
    const float* from = reinterpret_cast<const float*>(panel) + column;
    for (int64_t k = 0; k < in(); ++k) out[k] = from[k * kPanel];
  } else {
    const uint16_t* from = reinterpret_cast<const uint16_t*>(panel) + column * 2;
    for (int64_t k = 0; k < in(); ++k) out[k] = FloatFromBF16(from[k / 2 * 2 * kPanel + k % 2]);
  }
}

Result<std::unique_ptr<PackedMatrix>> PackMatrix(const ops::MatrixSource& source,
                                                 ThreadPool& pool) {
  const ops::WeightType type = source.format.type;
  if (type != ops::WeightType::kF32 && type != ops::WeightType::kBF16) {
    return Unimplemented("linear weights of type {} on device cpu; accepted: f32, bf16",
                         TypeName(type));
  }
  if (source.parts.empty()) return InvalidArgument("weight matrix has no parts");
  int64_t out = 0;
  for (const TensorView& part : source.parts) {
    if (part.shape.size() != 2 || part.shape[0] < 1 || part.shape[1] < 1 ||
        part.shape[1] != source.parts[0].shape[1]) {
      return InvalidArgument("weight matrix part has shape {}; accepted: [out, in] with one in",
                             ToString(part.shape));
    }
    if (part.dtype != DType::kF32 && part.dtype != DType::kF16 && part.dtype != DType::kBF16) {
      return InvalidArgument("weight matrix part has dtype {}; accepted: f32, f16, bf16",
                             Name(part.dtype));
    }
    out += part.shape[0];
  }
  const int64_t in = source.parts[0].shape[1];

  const int64_t padded_in = (in + kInputPad - 1) / kInputPad * kInputPad;
  const int64_t panel_bytes = padded_in * kPanel * (type == ops::WeightType::kF32 ? 4 : 2);
  auto matrix =
      std::unique_ptr<PackedMatrix>(new PackedMatrix(out, in, source.format, panel_bytes));
  const int64_t panels = matrix->num_panels();

  const size_t bytes = static_cast<size_t>(panels * panel_bytes);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return ResourceExhausted("no memory for a packed weight matrix of {} bytes", bytes);
  }
  madvise(memory, bytes, MADV_HUGEPAGE);
  matrix->data_ = static_cast<std::byte*>(memory);
  matrix->mapped_bytes_ = bytes;

  std::vector<SourceRow> rows(static_cast<size_t>(panels * kPanel));
  int64_t next = 0;
  for (const TensorView& part : source.parts) {
    for (int64_t row = 0; row < part.shape[0]; ++row) {
      rows[next++] = {part.data + row * in * SizeOf(part.dtype), part.dtype};
    }
  }
  pool.ParallelFor(panels, /*grain=*/1, [&](int64_t begin, int64_t end, int) {
    for (int64_t panel = begin; panel < end; ++panel) {
      std::byte* to = matrix->data_ + panel * panel_bytes;
      const SourceRow* from = &rows[panel * kPanel];
      if (type == ops::WeightType::kF32) {
        PackPanelF32(from, in, padded_in, reinterpret_cast<float*>(to));
      } else {
        PackPanelBF16(from, in, padded_in, reinterpret_cast<uint16_t*>(to));
      }
    }
  });
  return matrix;
}

}  // namespace tessera::cpu
