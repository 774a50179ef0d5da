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
  int64_t segment = 0;  // QuantLayout::segment
};

// A panel of integer weights (ops/weight_rounding.h says what they mean): headers, then codes.
//   header  one per segment: scales [16] f16; int4: ratios [groups][16], then offsets [groups][16]
//   int8    [padded_in / tile][16][tile] bytes, tile = min(64, segment)
//   int4    [padded_in / 64][16][32] bytes: byte j holds input j in its low four bits and input
//           32 + j in its high four, as two's complement
// A row of tiles is the A operand of an AMX product.
//
// Activations are quantised per row and segment to signed bytes. With dot the exact integer sum of
// a segment's products, xs the activations' scale and s the feature's (stored scale * 2^-10),
//   sum over segments, ascending:  sum = fma(float(dot), xs * s, sum)
// so every level with fused multiply-add, every row count and every kernel gives the same bits.
struct QuantLayout {
  int64_t segment;  // inputs that share a scale, the last may be shorter; 0: not an integer format
  int64_t panel_bytes;  // from panel to panel
  int64_t codes;        // offset of the codes in a panel, a multiple of 64
  int64_t header_step;  // bytes from header to header, a multiple of 32; 0: one for all segments
  int32_t group_shift;  // int4: 2^group_shift inputs share a ratio
  int32_t offsets;      // int4: bytes from the ratios to the offsets, 0: none
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
  // Integer kernels for a single row and segments of at least 64, where there are faster ones.
  bool has_one_row = false;
  LinearKernel int8_one_row = {};
  LinearKernel int4_one_row = {};
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
extern const LinearKernel kDotInt8;
extern const LinearKernel kDotInt4;
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
