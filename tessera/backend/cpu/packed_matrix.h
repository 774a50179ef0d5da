// Weight matrices as the CPU kernels read them: one layout for every instruction-set level.
//
// Output features come in panels of 16, the last one padded with zero features:
//   bf16  [out/16][in/2][16][2]  64 bytes are 16 outputs x 2 consecutive inputs: one row of an AMX
//                                B tile, one vdpbf16ps operand, two AVX2 registers
//   f32   [out/16][in][16]       64 bytes are 16 outputs x 1 input
//   int8, int4                   headers and codes of a panel: QuantLayout
// Inputs are padded with zeros to a multiple of kInputPad (integers: kIntegerPad), so kernels have
// no input remainder.
// Immutable after PackMatrix; any number of threads may read it.
#pragma once

#include <cstdint>
#include <memory>

#include "tessera/backend/cpu/linear_kernels.h"
#include "tessera/base/status.h"
#include "tessera/base/thread_pool.h"
#include "tessera/ops/matrix.h"

namespace tessera::cpu {

inline constexpr int64_t kPanel = 16;     // output features of a panel
inline constexpr int64_t kInputPad = 32;  // inputs of one AMX bf16 tile row
inline constexpr int64_t kIntegerPad = 64;

class PackedMatrix : public ops::Matrix {
 public:
  ~PackedMatrix() override;
  PackedMatrix(const PackedMatrix&) = delete;
  PackedMatrix& operator=(const PackedMatrix&) = delete;

  int64_t bytes() const override { return num_panels() * panel_bytes(); }
  int64_t num_panels() const { return (out() + kPanel - 1) / kPanel; }
  int64_t padded_in() const { return padded_in_; }
  int64_t panel_bytes() const { return layout_.panel_bytes; }
  const QuantLayout& layout() const { return layout_; }  // of floats: panel_bytes only
  int64_t num_segments() const { return (padded_in_ + layout_.segment - 1) / layout_.segment; }
  const std::byte* data() const { return data_; }

  // Weights of one output feature (a row of an embedding table); out: [in].
  void ReadRow(int64_t row, float* out) const;

 private:
  friend Result<std::unique_ptr<PackedMatrix>> PackMatrix(const ops::MatrixSource& source,
                                                          ThreadPool& pool);
  PackedMatrix(int64_t out, int64_t in, ops::WeightFormat format, int64_t padded_in,
               const QuantLayout& layout)
      : Matrix(out, in, format), padded_in_(padded_in), layout_(layout) {}

  int64_t padded_in_;
  QuantLayout layout_;
  std::byte* data_ = nullptr;  // mapping of mapped_bytes_
  size_t mapped_bytes_ = 0;
};

// Packs F32, F16, BF16 or quantised tensors [out_i, in], stacked, as f32, bf16 (round to nearest
// even), int8 or int4 (ops/weight_rounding.h) with groups of 32, 64, 128, 256 or all inputs.
// Refuses other dtypes and groups, shapes that do not stack, and weights that the format cannot
// hold.
Result<std::unique_ptr<PackedMatrix>> PackMatrix(const ops::MatrixSource& source, ThreadPool& pool);

}  // namespace tessera::cpu
