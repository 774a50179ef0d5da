// The kernel of the linear layers on Hopper: a list of products in one launch, one block per
// multiprocessor. A lane streams the weights of all products through a ring of stages without ever
// waiting for results, so that memory stays busy while blocks wait for each other; a second one
// streams the activations, which it may read once the product before has ended. Two warpgroups
// multiply; what becomes of the sums is in linear_finish.cuh.
#pragma once

#include "tessera/backend/cuda/linear_decode.cuh"
#include "tessera/backend/cuda/linear_finish.cuh"
#include "tessera/backend/cuda/wgmma.cuh"

namespace tessera::cuda {

// kInt8Fine: groups of 32. kInt4Offset: asymmetric, or codes that saturate.
enum class Kind : uint8_t { kBF16, kF8, kInt8, kInt8Fine, kInt4, kInt4Offset };

// What a launch is compiled for: how weights are stored, and how many rows are multiplied at once.
template <Kind kKind, int kTileRows>
struct StreamShape {
  static constexpr bool kInt8Any = kKind == Kind::kInt8 || kKind == Kind::kInt8Fine;
  static constexpr bool kInt4Any = kKind == Kind::kInt4 || kKind == Kind::kInt4Offset;
  static constexpr int kInputs = kKind == Kind::kBF16 ? 64 : kInt4Any ? 256 : 128;  // of a stage
  // Warps read weights themselves, at their own pace; those of bf16 go to the tensor cores
  // straight.
  static constexpr bool kDecodes = kKind != Kind::kBF16;
  // The most that a stage of this kind holds (groups of 32).
  static constexpr int kWeightBytes = kKind == Kind::kInt8         ? 16384 + 2 * 256
                                      : kKind == Kind::kInt8Fine   ? 16384 + 4 * 256
                                      : kKind == Kind::kInt4       ? 16384 + 256 + 8 * 128
                                      : kKind == Kind::kInt4Offset ? 16384 + 256 + 16 * 128
                                                                   : 16384;
  static constexpr int kRowBytes = kTileRows * kInputs * 2;
  static constexpr int kStageBytes = kWeightBytes + kRowBytes;
  static constexpr int kBudget = 226 * 1024 - 8 * kTileRows * 4 - 1024;
  static constexpr int kStages = kBudget / kStageBytes < 16 ? kBudget / kStageBytes : 16;
  static constexpr int kSharedBytes = kStages * kStageBytes + 8 * kTileRows * 4 + 1024;
  // Rows of one instruction, and how many instructions make a tile. Only bf16 has registers for
  // more than 128 rows.
  static constexpr int kHalves =
      kTileRows == 256 || (kTileRows == 128 && kKind != Kind::kBF16) ? 2 : 1;
  static constexpr int kRows = kTileRows / kHalves;
  // Both blocks of a pair multiply the same inputs; they share the copies when rows are many bytes
  // next to the weights.
  static constexpr bool kShare = kRowBytes >= 8192;
};

template <Kind kKind, int kTileRows>
struct StreamShared {
  using Shape = StreamShape<kKind, kTileRows>;
  unsigned char* base;

  __device__ unsigned char* Weights(int slot) const { return base + slot * Shape::kStageBytes; }
  __device__ unsigned char* Rows(int slot) const { return Weights(slot) + Shape::kWeightBytes; }
  __device__ float* RowScales() const {  // [8][tile rows]
    return reinterpret_cast<float*>(base + Shape::kStages * Shape::kStageBytes);
  }
  __device__ float* Scratch() const { return RowScales() + 8 * kTileRows; }  // [64] floats
  __device__ uint32_t Full(int slot) const { return Barrier(slot); }
  __device__ uint32_t WeightsFree(int slot) const { return Barrier(16 + slot); }
  __device__ uint32_t RowsFree(int slot) const { return Barrier(32 + slot); }

 private:
  __device__ uint32_t Barrier(int index) const {
    return SharedAddress(Scratch() + 64) + 8 * static_cast<uint32_t>(index);
  }
};

// Slot of the ring and the parity of its use.
template <int kStages>
struct RingPosition {
  int slot = 0;
  uint32_t parity = 0;
  __device__ void Next() {
    if (++slot == kStages) slot = 0, parity ^= 1;
  }
};

// A part that a block sums, or, with last == first, the end of a tile of rows.
struct Part {
  int step, tile;
  int band, first, last;  // stages
  int slot;
  bool whole;
  bool last_tile;

  __device__ bool ends_tile() const { return first == last; }
};

// Calls f(part) for every part of this block, in order, and for the end of each tile of rows.
template <int kTileRows, typename Function>
__device__ __forceinline__ void ForEachPart(const LinearProgram& program, Function&& f) {
  const int pair = static_cast<int>(blockIdx.x / 2);
  const int tiles = (program.padded_rows + kTileRows - 1) / kTileRows;
  for (int step = 0; step < program.count; ++step) {
    const LinearPlan& plan = program.plans[step];
    const int begin = pair < plan.runs ? plan.Begin(pair) : 0;
    const int end = pair < plan.runs ? plan.Begin(pair + 1) : 0;
    for (int tile = 0; tile < tiles; ++tile) {
      int whole = 0, at = begin;
      Part part = {step, tile, 0, 0, 1, 0, false, tile + 1 == tiles};
      while (!part.ends_tile()) {
        part.whole = whole < plan.whole;
        part.first = part.last = 0;
        if (part.whole) {
          part.band = pair + whole++ * plan.pairs;
          part.last = plan.stages;
          part.slot = plan.WholeSlot(pair);
        } else if (at < end) {
          const int band = at / plan.stages;
          part.first = at - band * plan.stages;
          part.last = min(plan.stages, part.first + end - at);
          at += part.last - part.first;
          part.slot = plan.SplitSlot(band, pair);
          part.band = plan.split_begin() + band;
        }
        f(part);
      }
    }
  }
}

template <Kind kKind, int kTileRows>
__device__ __forceinline__ void StreamWeights(const LinearProgram& program,
                                              const StreamShared<kKind, kTileRows>& shared) {
  using Shape = StreamShape<kKind, kTileRows>;
  RingPosition<Shape::kStages> ring;
  ForEachPart<kTileRows>(program, [&](const Part& part) {
    const LinearStep& linear = program.steps[part.step];
    const StageLayout layout = LayoutOf(linear.weight.format);
    const auto* from =
        static_cast<const unsigned char*>(linear.weight.data) +
        StageOffset(layout, linear.weight.in, part.band + linear.feature_begin / kBand,
                    blockIdx.x % 2, part.first);
    for (int stage = part.first; stage < part.last; ++stage, from += layout.bytes, ring.Next()) {
      BarrierWait(shared.WeightsFree(ring.slot), ring.parity ^ 1);
      BarrierExpect(shared.Full(ring.slot), layout.bytes);
      BulkCopy(SharedAddress(shared.Weights(ring.slot)), from, layout.bytes,
               shared.Full(ring.slot));
    }
  });
}

// By one warp: the bytes of a tile of rows over the inputs of a stage. Packed activations are tiles
// of up to 128 rows; a tile of 256 rows is two of them, of which the second may be missing.
template <Kind kKind, int kTileRows>
__device__ __forceinline__ void StreamRows(const LinearProgram& program,
                                           const StreamShared<kKind, kTileRows>& shared) {
  using Shape = StreamShape<kKind, kTileRows>;
  constexpr int kPacked = kTileRows < 128 ? kTileRows : 128;
  constexpr uint32_t kPackedBytes = kPacked * Shape::kInputs * 2;
  constexpr int kPackedTiles = kTileRows / kPacked;
  const uint32_t rank = blockIdx.x % 2;
  RingPosition<Shape::kStages> ring;
  uint32_t passed = 0;  // barriers of the grid so far
  ForEachPart<kTileRows>(program, [&](const Part& part) {
    if (part.ends_tile()) {
      // Every tile ends with a barrier, every product with a second one, behind which the next
      // product's inputs are ready.
      ++passed;
      if (!part.last_tile || part.step + 1 == program.count) return;
      ++passed;
      while (LoadAcquire(program.counters) < passed * gridDim.x) {
      }
      ProxyFence();
      return;
    }
    const LinearStep& linear = program.steps[part.step];
    const int64_t width = PaddedInputs(linear.weight.in);
    const auto* from = reinterpret_cast<const unsigned char*>(
        linear.x + (static_cast<int64_t>(part.tile) * kTileRows * width +
                    static_cast<int64_t>(part.first) * Shape::kInputs * kPacked));
    const int present = min(kPackedTiles, (program.padded_rows - part.tile * kTileRows) / kPacked);
    for (int stage = part.first; stage < part.last; ++stage, from += kPackedBytes, ring.Next()) {
      const uint32_t full = shared.Full(ring.slot), to = SharedAddress(shared.Rows(ring.slot));
      BarrierWait(shared.RowsFree(ring.slot), ring.parity ^ 1);
      BarrierExpect(full, present * kPackedBytes);
      for (int t = 0; t < present; ++t) {
        const unsigned char* source = from + t * (128 * width * 2);
        const uint32_t place = to + t * kPackedBytes;
        if constexpr (!Shape::kShare) {
          BulkCopy(place, source, kPackedBytes, full);
        } else {
          constexpr uint32_t kHalf = kPackedBytes / 2;
          BulkCopyToPair(place + rank * kHalf, source + rank * kHalf, kHalf, full);
        }
      }
    }
  });
}

// By the two other warps of the producers: the factors of the norms, while the products are summed.
template <Kind kKind, int kTileRows>
__device__ __forceinline__ void ScaleRows(const LinearProgram& program,
                                          const StreamShared<kKind, kTileRows>& shared) {
  const int tiles = (program.padded_rows + kTileRows - 1) / kTileRows;
  uint32_t passed = 0;
  bool used = false;
  for (int step = 0; step < program.count; ++step) {
    if (step > 0) ++passed;
    if (program.steps[step].square_sums != nullptr) {
      // One thread: as many as there are would keep the writers away.
      if (threadIdx.x % kScalers == 0) {
        while (LoadAcquire(program.counters) < passed * gridDim.x) {
        }
      }
      ScalersSync();
    }
    for (int tile = 0; tile < tiles; ++tile, ++passed) {
      if (program.steps[step].square_sums == nullptr) continue;
      if (used) ScalesUsed::Wait();
      used = true;
      NormFactors<kTileRows>(program.steps[step], program.padded_rows, tile * kTileRows,
                             shared.RowScales());
      ScalesReady::Arrive();
    }
  }
  if (used) ScalesUsed::Wait();
}

// --- The products of one stage, by one warpgroup
// -----------------------------------------------------

template <int kRows>
using Sums = float[kRows / 2];

// The A operands of kSteps steps of 16 inputs, from step `from` of the stage.
template <Kind kKind, int kSteps>
__device__ __forceinline__ void Decode(const unsigned char* stage, const StageLayout& layout,
                                       int from, uint32_t (&a)[kSteps * 4]) {
  const int warp = static_cast<int>(threadIdx.x / 32 % 8),
            lane = static_cast<int>(threadIdx.x % 32);
  if constexpr (kKind == Kind::kInt4 || kKind == Kind::kInt4Offset) {
    static_assert(kSteps == 4);
    const uint4 words =
        *reinterpret_cast<const uint4*>(stage + ((from / 4 * 8 + warp) * 32 + lane) * 16);
    const uint32_t word[4] = {words.x, words.y, words.z, words.w};
    const int feature = warp * 16 + lane / 4;
    const int group_bits = 31 - __clz(layout.group);
#pragma unroll
    for (int half = 0; half < 2; ++half) {  // a group is 32 inputs or more
      const int group = (from * 16 + half * 32) >> group_bits;
      const auto* ratios = reinterpret_cast<const signed char*>(stage + layout.ratios_at) +
                           group * kHalfBand + feature;
      const auto* offsets = reinterpret_cast<const signed char*>(stage + layout.offsets_at) +
                            group * kHalfBand + feature;
      constexpr bool kOffset = kKind == Kind::kInt4Offset;
      const bool stored = kOffset && layout.offsets_at < layout.bytes;
      const Int4Table first(ratios[0], stored ? offsets[0] : 0);
      const Int4Table second(ratios[8], stored ? offsets[8] : 0);
      DecodeInt4<kOffset>(word[half * 2], first, second, a + half * 8);
      DecodeInt4<kOffset>(word[half * 2 + 1], first, second, a + half * 8 + 4);
    }
  } else {
#pragma unroll
    for (int pair = 0; pair < kSteps / 2; ++pair) {
      const uint4 words = *reinterpret_cast<const uint4*>(
          stage + (((from / 2 + pair) * 8 + warp) * 32 + lane) * 16);
      if constexpr (kKind == Kind::kF8) {
        DecodeF8(words.x, words.y, a + pair * 8);
        DecodeF8(words.z, words.w, a + pair * 8 + 4);
      } else {
        DecodeInt8(words.x, words.y, a + pair * 8);
        DecodeInt8(words.z, words.w, a + pair * 8 + 4);
      }
    }
  }
}

// total += scale * sums, the scales of this lane's two features over the inputs from step `from`.
template <int kRows>
__device__ __forceinline__ void Fold(const unsigned char* stage, const StageLayout& layout,
                                     int from, const Sums<kRows>& sums, Sums<kRows>& total) {
  const int feature = static_cast<int>(threadIdx.x / 32 % 8 * 16 + threadIdx.x % 32 / 4);
  const unsigned char* at =
      stage + layout.scales_at +
      ((from * 16 >> (31 - __clz(layout.scale_inputs))) * kHalfBand + feature) * 2;
  const float first = StoredScaleValue(at), second = StoredScaleValue(at + 16);
#pragma unroll
  for (int i = 0; i < kRows / 2; i += 4) {
    total[i] = fmaf(first, sums[i], total[i]);
    total[i + 1] = fmaf(first, sums[i + 1], total[i + 1]);
    total[i + 2] = fmaf(second, sums[i + 2], total[i + 2]);
    total[i + 3] = fmaf(second, sums[i + 3], total[i + 3]);
  }
}

// kSteps instructions over the rows from `rows`, of which those of one step lie k_stride bytes per
// 8 inputs apart.
template <int kRows, int kSteps>
__device__ __forceinline__ void MultiplyRegisters(const uint32_t (&a)[kSteps * 4], uint32_t rows,
                                                  uint32_t k_stride, bool add, Sums<kRows>& sums) {
#pragma unroll
  for (int s = 0; s < kSteps; ++s) {
    Wgmma<kRows>::Registers(sums, a + s * 4, MatrixDescriptor(rows + s * 2 * k_stride, k_stride),
                            add || s > 0 ? 1 : 0);
  }
}

// One stage of a narrow format, finished when this returns.
template <Kind kKind, int kTileRows, int kRows, int kHalves>
__device__ __forceinline__ void MultiplyNarrow(const unsigned char* stage, uint32_t rows,
                                               const StageLayout& layout, bool first,
                                               Sums<kRows> (&total)[kHalves]) {
  using Shape = StreamShape<kKind, kTileRows>;
  constexpr uint32_t kStride = kTileRows * 16;  // bytes of 8 inputs of all rows
  constexpr bool kFolds = kKind != Kind::kF8;   // fp8 has one scale per feature, applied at the end
  constexpr int kSteps = kKind == Kind::kInt8Fine ? 2 : 4;  // between two foldings
  constexpr int kUnits = Shape::kInputs / 16 / kSteps;
  if constexpr (kHalves == 1) {
    // While one unit is multiplied, the next is decoded.
    uint32_t a[2][kSteps * 4];
    float sums[2][kFolds ? kRows / 2 : 1];
    Decode<kKind, kSteps>(stage, layout, 0, a[0]);
#pragma unroll
    for (int unit = 0; unit < kUnits; ++unit) {
      const uint32_t at = rows + unit * kSteps * 2 * kStride;
      WgmmaFence();
      if constexpr (kFolds) {
        KeepOrder(sums[unit % 2]);
        MultiplyRegisters<kRows, kSteps>(a[unit % 2], at, kStride, false, sums[unit % 2]);
      } else {
        KeepOrder(total[0]);
        MultiplyRegisters<kRows, kSteps>(a[unit % 2], at, kStride, !first || unit > 0, total[0]);
      }
      WgmmaCommit();
      if (unit > 0) {
        WgmmaWait<1>();
        if constexpr (kFolds) {
          KeepOrder(sums[(unit + 1) % 2]);
          Fold<kRows>(stage, layout, (unit - 1) * kSteps, sums[(unit + 1) % 2], total[0]);
        }
      }
      if (unit + 1 < kUnits)
        Decode<kKind, kSteps>(stage, layout, (unit + 1) * kSteps, a[(unit + 1) % 2]);
    }
    WgmmaWait<0>();
    if constexpr (kFolds) {
      KeepOrder(sums[(kUnits - 1) % 2]);
      Fold<kRows>(stage, layout, (kUnits - 1) * kSteps, sums[(kUnits - 1) % 2], total[0]);
    } else {
      KeepOrder(total[0]);
    }
  } else {
    // Two halves of the rows share what is decoded.
    uint32_t a[kSteps * 4];
    float sums[kHalves][kFolds ? kRows / 2 : 1];
#pragma unroll
    for (int unit = 0; unit < kUnits; ++unit) {
      Decode<kKind, kSteps>(stage, layout, unit * kSteps, a);
      WgmmaFence();
#pragma unroll
      for (int half = 0; half < kHalves; ++half) {
        const uint32_t at = rows + unit * kSteps * 2 * kStride + half * kRows * 16;
        if constexpr (kFolds) {
          KeepOrder(sums[half]);
          MultiplyRegisters<kRows, kSteps>(a, at, kStride, false, sums[half]);
        } else {
          KeepOrder(total[half]);
          MultiplyRegisters<kRows, kSteps>(a, at, kStride, !first || unit > 0, total[half]);
        }
      }
      WgmmaCommit();
      WgmmaWait<0>();
#pragma unroll
      for (int half = 0; half < kHalves; ++half) {
        if constexpr (kFolds) {
          KeepOrder(sums[half]);
          Fold<kRows>(stage, layout, unit * kSteps, sums[half], total[half]);
        } else {
          KeepOrder(total[half]);
        }
      }
    }
  }
}

// One stage of bf16, both operands in shared memory; only started.
template <int kTileRows, int kRows, int kHalves>
__device__ __forceinline__ void MultiplyBF16(uint32_t stage, uint32_t rows, bool first,
                                             Sums<kRows> (&total)[kHalves]) {
  constexpr uint32_t kWeightStride = kHalfBand * 16;
  constexpr int kPacked = kTileRows < 128 ? kTileRows : 128;
  constexpr uint32_t kRowStride = kPacked * 16;
  const uint32_t a = stage + threadIdx.x / 128 % 2 * (64 * 16);
  WgmmaFence();
#pragma unroll
  for (int half = 0; half < kHalves; ++half) {
    KeepOrder(total[half]);
#pragma unroll
    for (int s = 0; s < 4; ++s) {
      Wgmma<kRows>::Shared(
          total[half], MatrixDescriptor(a + s * 2 * kWeightStride, kWeightStride),
          MatrixDescriptor(rows + half * (kPacked * 128) + s * 2 * kRowStride, kRowStride),
          first && s == 0 ? 0 : 1);
    }
  }
  WgmmaCommit();
}

template <Kind kKind, int kTileRows>
__device__ __forceinline__ void Release(const StreamShared<kKind, kTileRows>& shared, int slot) {
  using Shape = StreamShape<kKind, kTileRows>;
  if (Shape::kDecodes && threadIdx.x % 32 == 0) BarrierArrive(shared.WeightsFree(slot));
  if (threadIdx.x % 128 != 0) return;
  if (!Shape::kDecodes) BarrierArrive(shared.WeightsFree(slot));
  if constexpr (Shape::kShare) {
    BarrierArriveRemote(shared.RowsFree(slot), 0);
    BarrierArriveRemote(shared.RowsFree(slot), 1);
  } else {
    BarrierArrive(shared.RowsFree(slot));
  }
}

template <Kind kKind, int kTileRows>
__device__ __forceinline__ void Consume(const LinearProgram& program,
                                        const StreamShared<kKind, kTileRows>& shared) {
  using Shape = StreamShape<kKind, kTileRows>;
  constexpr int kRows = Shape::kRows, kHalves = Shape::kHalves;
  RingPosition<Shape::kStages> ring;
  uint32_t passed = 0;
  int parity = 0;
  ScalesOfTile scales;
  ForEachPart<kTileRows>(program, [&](const Part& part) {
    const LinearStep& linear = program.steps[part.step];
    const int group = static_cast<int>(blockIdx.x % 2 * 2 + threadIdx.x / 128 % 2);
    if (!part.ends_tile()) {
      const StageLayout layout = LayoutOf(linear.weight.format);
      Sums<kRows> total[kHalves];
      if constexpr (kKind != Kind::kBF16) {
#pragma unroll
        for (int half = 0; half < kHalves; ++half) {
#pragma unroll
          for (int i = 0; i < kRows / 2; ++i) total[half][i] = 0;
        }
      }
      int before = -1;
      for (int stage = part.first; stage < part.last; ++stage, ring.Next()) {
        BarrierWait(shared.Full(ring.slot), ring.parity);
        const uint32_t rows = SharedAddress(shared.Rows(ring.slot));
        const bool first = stage == part.first;
        if constexpr (kKind == Kind::kBF16) {
          MultiplyBF16<kTileRows, kRows, kHalves>(SharedAddress(shared.Weights(ring.slot)), rows,
                                                  first, total);
          WgmmaWait<1>();
          if (before >= 0) Release(shared, before);
          before = ring.slot;
        } else {
          MultiplyNarrow<kKind, kTileRows, kRows, kHalves>(shared.Weights(ring.slot), rows, layout,
                                                           first, total);
          Release(shared, ring.slot);
        }
      }
      if constexpr (kKind == Kind::kBF16) {
        WgmmaWait<0>();
#pragma unroll
        for (int half = 0; half < kHalves; ++half) KeepOrder(total[half]);
        Release(shared, before);
      }
      float4* to = program.parts + PartIndex(program, parity, part.slot, kTileRows, group, 0) +
                   threadIdx.x % 128;
#pragma unroll
      for (int half = 0; half < kHalves; ++half) {
#pragma unroll
        for (int j = 0; j < kRows / 8; ++j) {
          to[(half * (kRows / 8) + j) * 128] =
              make_float4(total[half][j * 4], total[half][j * 4 + 1], total[half][j * 4 + 2],
                          total[half][j * 4 + 3]);
        }
      }
      if (!part.whole) return;
    } else {
      GridArriveAndWait(program, ++passed);
    }
    // Whole bands are finished by who has summed them, split ones by all blocks.
    scales.Need(linear);
    const LinearPlan& plan = program.plans[part.step];
    const int row_groups = RowGroups<kTileRows>(program, part.tile * kTileRows);
    FinishRange range = {part.band * 4 + group, 0, 1, row_groups, true};
    if (part.ends_tile()) {
      const int begin = plan.split_begin() * 4;
      const int end = linear.output == LinearStep::Output::kSilu
                          ? static_cast<int>(PaddedInputs(linear.weight.out / 2) / 32)
                          : begin + plan.split * 4;
      range = {begin, static_cast<int>(blockIdx.x * 2 + threadIdx.x / 128 % 2),
               static_cast<int>(gridDim.x * 2), (end - begin) * row_groups, false};
    }
    Finish<kTileRows>(program, part.step, part.tile, parity, range, shared.RowScales(),
                      shared.Scratch());
    if (!part.ends_tile()) return;
    scales.Release(linear);
    parity ^= 1;
    if (part.last_tile && part.step + 1 < program.count) GridArriveAndWait(program, ++passed);
  });
  // The last block to end leaves the counters at zero for the next launch.
  asm volatile("bar.sync 1, %0;" ::"n"(kConsumers) : "memory");
  if (threadIdx.x % kConsumers == 0 && atomicAdd(program.counters + 1, 1) + 1 == gridDim.x) {
    program.counters[0] = 0;
    program.counters[1] = 0;
  }
}

template <Kind kKind, int kTileRows>
__global__ void __launch_bounds__(kThreads, 1)
    LinearStream(const __grid_constant__ LinearProgram program) {
  using Shape = StreamShape<kKind, kTileRows>;
  extern __shared__ __align__(1024) unsigned char memory[];
  const StreamShared<kKind, kTileRows> shared{memory};
  if (threadIdx.x == 0) {
    for (int slot = 0; slot < Shape::kStages; ++slot) {
      BarrierInit(shared.Full(slot), 2);
      BarrierInit(shared.WeightsFree(slot), Shape::kDecodes ? kConsumers / 32 : 2);
      BarrierInit(shared.RowsFree(slot), Shape::kShare ? 4 : 2);
    }
    BarrierInitFence();
  }
  ClusterSync();
  // Consumers are the first two warpgroups, as named threads 0..255.
  if (threadIdx.x >= kConsumers) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (threadIdx.x == kConsumers) {
      StreamWeights<kKind, kTileRows>(program, shared);
    } else if (threadIdx.x == kConsumers + 32) {
      WaitForPredecessor();
      StreamRows<kKind, kTileRows>(program, shared);
    } else if (threadIdx.x >= kConsumers + 64) {
      WaitForPredecessor();
      ScaleRows<kKind, kTileRows>(program, shared);
    }
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    WaitForPredecessor();
    Consume<kKind, kTileRows>(program, shared);
  }
  // Neither block of a pair ends while the other may still write to its memory.
  __syncwarp();
  ClusterSync();
}

}  // namespace tessera::cuda
