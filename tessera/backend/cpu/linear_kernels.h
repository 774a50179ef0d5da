// The linear entries of the kernel tables: one table per instruction-set level.
//
// Plain structs and function pointers only, so that files built with instruction-set flags can
// include this header. Use linear.h unless you write a kernel.
#pragma once

#include <stdint.h>

namespace tessera::cpu {

// x [rows, in] f32 -> the activation layout of one kernel, inputs zero padded to padded_in.
// Rows are packed in blocks that only the kernel understands; blocks [block_begin, block_end) of
// the call are written, so that threads can share the work.
struct PackRowsArgs {
  const float* x;  // [rows, x_stride], any alignment
  int64_t x_stride;
  int64_t rows;
  int64_t in;
  int64_t padded_in;
  int64_t block_begin;
  int64_t block_end;
  void* packed;  // 64-byte aligned

  // Integer kernels only.
  int64_t segment = 0;   // QuantLayout::segment
  float scale_unit = 0;  // QuantLayout::scale_unit
  float min_unit = 0;    // QuantLayout::min_unit
};

// A panel of integer weights: scales [groups][16] f16, mins [groups][16] f16 if any, then codes.
//
// With q the signed code (-128..127), s and m the stored scale and min of an input's group, and xq,
// xs the code and scale of a row's activation (quantised per row and segment), the kernels compute
//   sum over segments, ascending:  sum = fma(float(dot), (xs * scale_unit) * s, sum)
//                                  sum = fma((xs * min_unit) * sum of xq, m, sum)   if mins
// with dot = sum of q * xq, an exact integer: every level with fused multiply-add, every row count
// and every kernel gives the same bits.
struct QuantLayout {
  int64_t segment;      // inputs that share an activation scale: 32, 64 or 128
  int64_t panel_bytes;  // from panel to panel
  int64_t codes;        // offset of the codes in a panel, a multiple of 64
  int64_t scale_step;   // bytes from the scales of a segment to the next: 32; 0: one per feature
  int64_t mins;         // offset of the mins in a panel; 0: none
  float scale_unit;     // w = (q * scale) * scale_unit + min * min_unit
  float min_unit;
};

// Output features of panels [panel_begin, panel_end) for all rows:
//   y[r, c] = (accumulate ? y[r, c] : 0) + (sum + bias[c]),  sum over inputs in ascending order
struct PanelsArgs {
  const void* packed_x;
  int64_t rows;
  int64_t padded_in;
  const void* weights;  // the whole packed matrix
  int64_t out;          // output features of the whole matrix
  int64_t panel_begin;
  int64_t panel_end;
  const float* bias;  // [out] or null
  float* y;           // [rows, y_stride]; column 0 is feature 16 * panel_begin
  int64_t y_stride;
  int accumulate;           // 0 or 1
  QuantLayout layout = {};  // integer kernels only
};

// Kernels for one weight format at one level.
struct LinearKernel {
  const char* isa;            // the level whose code really runs
  int32_t x_bytes;            // bytes of one packed activation
  int32_t segment_bytes = 0;  // further bytes per row and segment: activation scales
  int32_t row_multiple;       // packed rows are padded to a multiple of this
  int32_t max_block_rows;     // packed blocks are NumBlocks(rows) even shares of the rows
  void (*pack_rows)(const PackRowsArgs& args);
  void (*panels)(const PanelsArgs& args);
};

struct LinearKernels {
  const char* name;
  LinearKernel f32;
  LinearKernel bf16;
  LinearKernel int8;
  LinearKernel int4;
  // Integer kernels for at most few_rows rows, where they are faster; 0: never.
  int64_t few_rows = 0;
  LinearKernel int8_few = {};
  LinearKernel int4_few = {};
};

// Static: an inline function would be a weak symbol, built with instruction-set flags in some
// files.
static inline int64_t NumBlocks(int64_t rows, int64_t max_block_rows) {
  return (rows + max_block_rows - 1) / max_block_rows;
}

namespace generic {
extern const LinearKernel kLinearF32;
extern const LinearKernel kLinearBf16;
extern const LinearKernel kLinearInt8;
extern const LinearKernel kLinearInt4;
}  // namespace generic
namespace avx2 {
extern const LinearKernel kLinearF32;
extern const LinearKernel kLinearBf16;
extern const LinearKernel kLinearInt8;
extern const LinearKernel kLinearInt4;
}  // namespace avx2
namespace avx512 {
extern const LinearKernel kLinearF32;
extern const LinearKernel kLinearBf16;
}  // namespace avx512
namespace avx512vnni {
extern const LinearKernel kLinearInt8;
extern const LinearKernel kLinearInt4;
}  // namespace avx512vnni
namespace avx512bf16 {
extern const LinearKernel kLinearBf16;
}  // namespace avx512bf16
namespace amx {
extern const LinearKernel kLinearBf16;
extern const LinearKernel kLinearInt8;
extern const LinearKernel kLinearInt4;
}  // namespace amx

}  // namespace tessera::cpu
