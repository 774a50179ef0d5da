// The kernel of the linear layers on Hopper: a list of products in one launch, one block per
// multiprocessor. A lane streams the weights of all products through a ring of stages without ever
// waiting for results, so that memory stays busy while blocks wait for each other; a second one
// streams the activations, which it may read once the product before has ended. Two warpgroups
// multiply; what becomes of the sums is in linear_finish.cuh.
#pragma once

#include "tessera/backend/cuda/linear_decode.cuh"
#include "tessera/backend/cuda/linear_finish.cuh"
#include "tessera/backend/cuda/linear_multiply.cuh"

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
  // Beside the stages: two arrays of 8 floats per row, and barriers.
  static constexpr int kOtherBytes = 2 * 8 * kTileRows * 4 + 512;
  static constexpr int kBudget = 226 * 1024 - kOtherBytes;
  static constexpr int kStages = kBudget / kStageBytes < 16 ? kBudget / kStageBytes : 16;
  static constexpr int kSharedBytes = kStages * kStageBytes + kOtherBytes;
  // Rows of one instruction, and how many instructions make a tile. Only bf16 has registers for
  // more than 128 rows.
  static constexpr int kHalves =
      kTileRows == 256 || (kTileRows == 128 && kKind != Kind::kBF16) ? 2 : 1;
  static constexpr int kRows = kTileRows / kHalves;
  // Few rows are fetched by the lanes of a warp: bulk copies are done in turn, so that at the start
  // of a product they would come after the weights that were asked for ahead.
  static constexpr bool kRowsByLanes = kTileRows <= 32;
  // Both blocks of a pair multiply the same inputs; they share the copies of many rows.
  static constexpr bool kShare = !kRowsByLanes && kRowBytes >= 8192;
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
  __device__ float* Squares() const { return RowScales() + 8 * kTileRows; }  // [8][tile rows]
  __device__ uint32_t Full(int slot) const { return Barrier(slot); }
  __device__ uint32_t WeightsFree(int slot) const { return Barrier(16 + slot); }
  __device__ uint32_t RowsFree(int slot) const { return Barrier(32 + slot); }

 private:
  __device__ uint32_t Barrier(int index) const {
    return SharedAddress(Squares() + 8 * kTileRows) + 8 * static_cast<uint32_t>(index);
  }
};

// Calls on_piece(step, tile, piece) for every piece of this block, in order, and on_end(step, tile)
// at the end of every tile of rows.
template <int kTileRows, typename OnPiece, typename OnEnd>
__device__ __forceinline__ void ForEachPiece(const LinearProgram& program, OnPiece&& on_piece,
                                             OnEnd&& on_end) {
  const int tiles = (program.padded_rows + kTileRows - 1) / kTileRows;
  for (int step = 0; step < program.count; ++step) {
    const LinearRun run(program.plans[step], static_cast<int>(blockIdx.x / 2));
    const int pieces = run.NumPieces();
    for (int tile = 0; tile < tiles; ++tile) {
      for (int i = 0; i < pieces; ++i) on_piece(step, tile, run.Piece(i));
      on_end(step, tile);
    }
  }
}

template <Kind kKind, int kTileRows>
__device__ __forceinline__ void StreamWeights(const LinearProgram& program,
                                              const StreamShared<kKind, kTileRows>& shared) {
  using Shape = StreamShape<kKind, kTileRows>;
  RingPosition<Shape::kStages> ring;
  const auto on_piece = [&](int step, int /*tile*/, const LinearPiece& piece) {
    const LinearStep& linear = program.steps[step];
    const StageLayout layout = LayoutOf(linear.weight.format);
    const auto* from =
        static_cast<const unsigned char*>(linear.weight.data) +
        StageOffset(layout, linear.weight.in, piece.band + linear.feature_begin / kBand,
                    blockIdx.x % 2, piece.first);
    for (int stage = piece.first; stage < piece.last; ++stage, from += layout.bytes, ring.Next()) {
      BarrierWait(shared.WeightsFree(ring.slot), ring.parity ^ 1);
      BarrierExpect(shared.Full(ring.slot), layout.bytes);
      BulkCopy(SharedAddress(shared.Weights(ring.slot)), from, layout.bytes,
               shared.Full(ring.slot));
    }
  };
  ForEachPiece<kTileRows>(program, on_piece, [](int, int) {});
}

// By a warp, or one lane of it: the bytes of a tile of rows over the inputs of a stage. Packed
// activations are tiles of up to 128 rows; a tile of 256 rows is two of them, of which the second
// may be missing.
template <Kind kKind, int kTileRows>
__device__ __forceinline__ void StreamRows(const LinearProgram& program,
                                           const StreamShared<kKind, kTileRows>& shared) {
  using Shape = StreamShape<kKind, kTileRows>;
  constexpr int kPacked = kTileRows < 128 ? kTileRows : 128;
  constexpr uint32_t kBytes = kPacked * Shape::kInputs * 2, kHalf = kBytes / 2;
  const uint32_t rank = blockIdx.x % 2;
  const int tiles = (program.padded_rows + kTileRows - 1) / kTileRows;
  RingPosition<Shape::kStages> ring;
  uint32_t finished = 0;  // tiles before those of this product
  const auto on_piece = [&](int step, int tile, const LinearPiece& piece) {
    const LinearStep& linear = program.steps[step];
    const int64_t width = PaddedInputs(linear.weight.in);
    const auto* from = reinterpret_cast<const unsigned char*>(
        linear.x + (static_cast<int64_t>(tile) * kTileRows * width +
                    static_cast<int64_t>(piece.first) * Shape::kInputs * kPacked));
    const int present =
        min(kTileRows / kPacked, (program.padded_rows - tile * kTileRows) / kPacked);
    for (int stage = piece.first; stage < piece.last; ++stage, from += kBytes, ring.Next()) {
      const uint32_t full = shared.Full(ring.slot), to = SharedAddress(shared.Rows(ring.slot));
      BarrierWait(shared.RowsFree(ring.slot), ring.parity ^ 1);
      if constexpr (Shape::kRowsByLanes) {
#pragma unroll
        for (uint32_t at = threadIdx.x % 32 * 16; at < kBytes; at += 512) {
          CopyAsync(to + at, from + at);
        }
        ArriveAfterCopies(full);
        continue;
      }
      BarrierExpect(full, static_cast<uint32_t>(present) * kBytes);
      for (int t = 0; t < present; ++t) {
        const unsigned char* source = from + t * (kPacked * width * 2);
        const uint32_t place = to + static_cast<uint32_t>(t) * kBytes;
        if constexpr (Shape::kShare) {
          BulkCopyToMany(place + rank * kHalf, source + rank * kHalf, kHalf, full, /*ranks=*/3);
        } else {
          BulkCopy(place, source, kBytes, full);
        }
      }
    }
  };
  ForEachPiece<kTileRows>(program, on_piece, [&](int step, int tile) {
    ++finished;
    // The next product's inputs are what this one writes.
    if (tile + 1 < tiles || step + 1 == program.count) return;
    if (!Shape::kRowsByLanes || threadIdx.x % 32 == 0) WaitForTiles(program, finished);
    if (Shape::kRowsByLanes) __syncwarp();
    ProxyFence();
  });
}

// By the two other warps of the producers: the factors of the norms, while the products are summed.
template <Kind kKind, int kTileRows>
__device__ __forceinline__ void ScaleRows(const LinearProgram& program,
                                          const StreamShared<kKind, kTileRows>& shared) {
  const int tiles = (program.padded_rows + kTileRows - 1) / kTileRows;
  bool used = false;
  for (int step = 0; step < program.count; ++step) {
    if (program.steps[step].square_sums == nullptr) continue;
    if (threadIdx.x % kScalers == 0) WaitForTiles(program, static_cast<uint32_t>(step * tiles));
    ScalersSync();
    for (int tile = 0; tile < tiles; ++tile) {
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

// The sums of one piece.
template <Kind kKind, int kTileRows, int kRows, int kHalves>
__device__ __forceinline__ void SumPiece(const StreamShared<kKind, kTileRows>& shared,
                                         const StageLayout& layout, const LinearPiece& piece,
                                         RingPosition<StreamShape<kKind, kTileRows>::kStages>& ring,
                                         Sums<kRows> (&total)[kHalves]) {
  if constexpr (kKind != Kind::kBF16) {
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
#pragma unroll
      for (int i = 0; i < kRows / 2; ++i) total[half][i] = 0;
    }
  }
  int before = -1;
  for (int stage = piece.first; stage < piece.last; ++stage, ring.Next()) {
    BarrierWait(shared.Full(ring.slot), ring.parity);
    if constexpr (StreamShape<kKind, kTileRows>::kRowsByLanes) SharedProxyFence();
    const uint32_t rows = SharedAddress(shared.Rows(ring.slot));
    const bool first = stage == piece.first;
    if constexpr (kKind == Kind::kBF16) {
      MultiplyBF16<kTileRows, kRows, kHalves>(SharedAddress(shared.Weights(ring.slot)), rows, first,
                                              total);
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
}

template <Kind kKind, int kTileRows>
__device__ __forceinline__ void Consume(const LinearProgram& program,
                                        const StreamShared<kKind, kTileRows>& shared) {
  using Shape = StreamShape<kKind, kTileRows>;
  constexpr int kRows = Shape::kRows, kHalves = Shape::kHalves;
  RingPosition<Shape::kStages> ring;
  const int pair = static_cast<int>(blockIdx.x / 2);
  const int group = static_cast<int>(blockIdx.x % 2 * 2 + threadIdx.x / 128 % 2);
  uint32_t finished = 0;  // tiles
  ScalesOfTile scales;
  const auto on_piece = [&](int step, int tile, const LinearPiece& piece) {
    const LinearStep& linear = program.steps[step];
    FinishBand<kTileRows> band(program, linear, tile * kTileRows, piece.band, group);
    Sums<kRows> total[kHalves];
    SumPiece<kKind, kTileRows, kRows, kHalves>(shared, LayoutOf(linear.weight.format), piece, ring,
                                               total);
    const PartsOfTile<kTileRows> parts(program, group, finished);
    if (!piece.closes) {
      parts.Write(pair, total);
      return;
    }
    const int first_run = program.plans[step].RunOf(piece.band * program.plans[step].stages);
    constexpr int kTogether = FinishBand<kTileRows>::kTogether;
    if constexpr (kTileRows == kTogether * 8) {
      auto& sums = reinterpret_cast<float(&)[kTogether][4]>(total);
      band.LoadHidden(0);
      if (piece.first > 0) parts.Await(first_run, pair);
      parts.AddTo(first_run, pair, 0, sums);
      scales.Need(linear);
      band.Finish(0, sums, shared.RowScales(), shared.Squares());
    } else {
      parts.Keep(total);
      if (piece.first > 0) parts.Await(first_run, pair);
      scales.Need(linear);
#pragma unroll 1
      for (int j = 0; j < band.NumGroups(); j += kTogether) {
        float sums[kTogether][4];
        band.LoadHidden(j);
        parts.LoadKept(j, sums);
        parts.AddTo(first_run, pair, j, sums);
        band.Finish(j, sums, shared.RowScales(), shared.Squares());
      }
    }
    band.End(shared.Squares());
  };
  ForEachPiece<kTileRows>(program, on_piece, [&](int step, int /*tile*/) {
    scales.Need(program.steps[step]);  // also where no band ends: the barrier counts all
    scales.Release(program.steps[step]);
    FinishTile(program, finished++);
  });
  // The last block to end leaves the counters at zero for the next launch.
  asm volatile("bar.sync 1, %0;" ::"n"(kConsumers) : "memory");
  if (threadIdx.x == 0 && atomicAdd(&program.signals->done, 1) + 1 == gridDim.x) {
    for (uint32_t tile = 0; tile < finished; ++tile) program.signals->finished[tile] = 0;
    program.signals->done = 0;
  }
}

template <Kind kKind, int kTileRows>
__global__ void __launch_bounds__(kThreads, 1)
    LinearStream(const __grid_constant__ LinearProgram program) {
  using Shape = StreamShape<kKind, kTileRows>;
  extern __shared__ __align__(1024) unsigned char memory[];
  const StreamShared<kKind, kTileRows> shared{memory};
  AllowSuccessor();
  if (threadIdx.x == 0) {
    for (int slot = 0; slot < Shape::kStages; ++slot) {
      BarrierInit(shared.Full(slot), Shape::kRowsByLanes ? 33 : 2);
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
    } else if (threadIdx.x / 32 == kConsumers / 32 + 1) {
      if (Shape::kRowsByLanes || threadIdx.x % 32 == 0) {
        WaitForPredecessor();
        StreamRows<kKind, kTileRows>(program, shared);
      }
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
