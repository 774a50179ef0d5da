// Checks and times attention (kernels.h: Attention) against arithmetic in double precision.
//
//   nvcc -std=c++20 -O3 -I. --expt-relaxed-constexpr -DFMT_USE_CONSTEXPR=1
//     -gencode arch=compute_90a,code=sm_90a tests/cuda/attention_check.cu
//     tessera/backend/cuda/{attention.cu,attention_stream.cu,launch.cc,step_table.cc} -lfmt
//     -o attention_check
//   attention_check small   few cases, for compute-sanitizer
//   attention_check check   all cases
//   attention_check time    LLaDA-8B, Qwen3 and Qwen2; or one case, by its number from 0
//   attention_check         all cases, then the timings
#include <cstring>
#include <string_view>

#include "tests/cuda/attention_scene.h"
#include "tests/cuda/attention_time.h"
#include "tests/cuda/need_gpu.h"

namespace tessera::cuda {
namespace {

int failures = 0;

void Expect(bool passed, const std::string& what) {
  if (passed) return;
  ++failures;
  std::printf("FAIL %s\n", what.c_str());
}

std::string Name(const Heads& heads, KvType type) {
  return std::to_string(heads.heads) + "/" + std::to_string(heads.kv_heads) + " heads of " +
         std::to_string(heads.dim) + (type == KvType::kBF16 ? ", bf16" : ", f32");
}

int32_t Uniform(std::mt19937& random, int32_t low, int32_t high) {
  return std::uniform_int_distribution<int32_t>(low, high)(random);
}

// `count` ranges with gaps below `end`, some of them within one unit of 8 slots.
std::vector<SlotRange> RandomRanges(std::mt19937& random, int32_t count, int32_t end) {
  std::vector<int32_t> borders;
  for (int32_t i = 0; i < 2 * count; ++i) borders.push_back(Uniform(random, 0, end));
  std::sort(borders.begin(), borders.end());
  std::vector<SlotRange> ranges;
  for (size_t i = 0; i < borders.size(); i += 2) {
    ranges.push_back({borders[i], borders[i + 1]});  // may be empty, may touch
  }
  return ranges;
}

// Rows in the slots before `end`.
SceneGroup Group(MaskRule rule, int32_t rows, int32_t end, std::vector<SlotRange> ranges) {
  SceneGroup group;
  group.rule = rule;
  group.block = rule == MaskRule::kBlockCausal ? 24 : 0;
  group.ranges = std::move(ranges);
  for (int32_t row = 0; row < rows; ++row) group.slots.push_back(end - rows + row);
  return group;
}

// A tree of fresh rows after `keys` listed slots; `scattered`: in slots of no order, some of them
// listed.
SceneGroup Tree(std::mt19937& random, int32_t rows, int32_t keys, bool scattered) {
  SceneGroup group = Group(MaskRule::kBits, rows, keys + rows, {{0, keys}});
  if (scattered) {
    group.ranges = RandomRanges(random, 3, keys + rows);
    std::shuffle(group.slots.begin(), group.slots.end(), random);
  }
  group.bits.assign(group.slots.size() * group.words(), 0);
  for (int32_t row = 0; row < rows; ++row) {
    uint64_t* word = group.bits.data() + static_cast<size_t>(row) * group.words();
    for (int32_t j = 0; j <= row; ++j) {
      if (j == row || Uniform(random, 0, 2) == 0) word[j / 64] |= uint64_t{1} << (j % 64);
    }
  }
  return group;
}

std::vector<SceneGroup> Groups(std::mt19937& random, bool small) {
  std::vector<SceneGroup> groups;
  const int32_t keys = small ? 150 : 700;
  groups.push_back(Group(MaskRule::kFull, 32, keys, {{0, keys}}));
  groups.push_back(Group(MaskRule::kFull, 5, 1, {}));  // sees nothing
  groups.back().slots = {0, 1, 2, 3, 4};
  groups.push_back(Group(MaskRule::kCausal, small ? 40 : 150, keys, {{0, keys}}));
  groups.push_back(Group(MaskRule::kCausal, 1, keys / 2, {{3, keys}}));
  groups.push_back(Tree(random, small ? 9 : 70, keys - 3, false));
  if (small) return groups;
  groups.push_back(Group(MaskRule::kFull, 33, keys, {{5, 6}, {7, 9}, {10, 300}, {301, keys - 5}}));
  groups.push_back(Group(MaskRule::kBlockCausal, 77, keys, RandomRanges(random, 4, keys)));
  groups.push_back(Group(MaskRule::kBlockCausal, 30, 64, {{0, 400}}));
  groups.push_back(Tree(random, 25, 64, true));
  groups.push_back(Tree(random, 3, 0, false));
  groups.push_back(Group(MaskRule::kCausal, 20, 30, {{0, 8}, {12, 128}}));
  // More splits than keys would make.
  SceneGroup comb = Group(MaskRule::kFull, 4, 8 * 300, {});
  for (int32_t i = 0; i < 300; ++i) comb.ranges.push_back({8 * i + i % 8, 8 * i + i % 8 + 1});
  groups.push_back(comb);
  for (int32_t i = 0; i < 6; ++i) {
    const int32_t end = Uniform(random, 40, 900);
    const auto rule = static_cast<MaskRule>(Uniform(random, 0, 2));
    groups.push_back(Group(rule, Uniform(random, 1, 39), end, RandomRanges(random, 3, end)));
  }
  return groups;
}

bool SameBits(const float* a, const float* b, int64_t count) {
  return std::memcmp(a, b, static_cast<size_t>(count) * sizeof(float)) == 0;
}

void CheckPacked(const Outputs& got, const Heads& heads, const std::string& what) {
  const int64_t width = heads.width(), rows = static_cast<int64_t>(got.out.size()) / width;
  bool equal = true;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t k = 0; k < PaddedInputs(width); ++k) {
      const float value = k < width ? got.out[static_cast<size_t>(row * width + k)] : 0.f;
      const int64_t at = ActivationIndex(row, k, PaddedRows(rows), width);
      equal = equal && got.packed[static_cast<size_t>(at)] == ToBits(value);
    }
  }
  Expect(equal, what + ": packed activations");
}

// One row of a group as a group of its own.
SceneGroup Alone(const SceneGroup& group, int32_t row, const Heads& heads) {
  SceneGroup alone = group;
  alone.slots = {group.slots[static_cast<size_t>(row)]};
  const auto begin = group.q.begin() + row * heads.width();
  alone.q.assign(begin, begin + heads.width());
  return alone;
}

void Check(const Gpu& gpu, const Heads& heads, KvType type, bool small, std::mt19937& random,
           const GpuBytes& scratch, int64_t scratch_bytes) {
  const std::string name = Name(heads, type);
  const int before = failures;
  const Scene scene(gpu, heads, type, Groups(random, small), random, scratch, scratch_bytes);
  const std::vector<SceneGroup>& groups = scene.groups();
  const Outputs all = scene.Run(groups);
  CheckPacked(all, heads, name);
  double worst = 0;
  const float* got = all.out.data();
  for (size_t i = 0; i < groups.size(); ++i) {
    const SceneGroup& group = groups[i];
    const std::string what = name + ", group " + std::to_string(i);
    double error = 0;
    const int32_t row_step = small ? 1 : 1 + group.rows() / 12;
    for (int32_t row = 0; row < group.rows(); row += row_step) {
      for (int32_t head = 0; head < heads.heads; head += small ? 1 : 1 + heads.heads / 5) {
        error = std::max(
            error, scene.Error(group, row, head, got + row * heads.width() + head * heads.dim));
      }
    }
    Expect(error < 1, what + ": error " + std::to_string(error) + " of what rounding explains");
    worst = std::max(worst, error);
    const int64_t count = group.rows() * heads.width();
    const Outputs single = scene.Run({group});
    Expect(SameBits(single.out.data(), got, count), what + ": alone or in a batch");
    CheckPacked(single, heads, what);
    if (group.rule != MaskRule::kBits) {
      for (const int32_t row : {0, group.rows() / 2, group.rows() - 1}) {
        const Outputs one = scene.Run({Alone(group, row, heads)});
        Expect(SameBits(one.out.data(), got + row * heads.width(), heads.width()),
               what + ": row " + std::to_string(row) + " alone or with its group");
      }
    }
    got += count;
  }
  // So many that no launch spreads splits over blocks.
  std::vector<SceneGroup> many;
  for (int i = 0; i < (small ? 2 : 12); ++i) many.insert(many.end(), groups.begin(), groups.end());
  const Outputs batch = scene.Run(many);
  for (size_t at = 0; at < batch.out.size(); at += all.out.size()) {
    Expect(SameBits(batch.out.data() + at, all.out.data(), static_cast<int64_t>(all.out.size())),
           name + ": in a big batch");
  }
  const Outputs again = scene.Run(groups);
  Expect(SameBits(again.out.data(), all.out.data(), static_cast<int64_t>(all.out.size())),
         name + ": the same step again");
  std::printf("%s %s: worst error %.3f of what rounding explains\n",
              failures == before ? "PASS" : "FAIL", name.c_str(), worst);
}

void CheckAll(const Gpu& gpu, bool small) {
  constexpr int64_t kScratchBytes = int64_t{512} << 20;
  const GpuBytes scratch(kScratchBytes);
  // Only zeros at first, and then whatever the launches before left.
  Must(cudaMemset(scratch.as<void>(), 0, kScratchBytes));
  std::mt19937 random(7);
  std::vector<Heads> tiles = {{4, 2, 128}, {2, 2, 64}};
  std::vector<Heads> others = {{4, 2, 24}};
  if (!small) {
    tiles = {{32, 32, 128}, {32, 8, 128}, {28, 4, 128}, {14, 2, 64}, {3, 3, 64},
             {4, 2, 128},   {6, 2, 128},  {1, 1, 128},  {16, 1, 64}};
    others = {{4, 2, 8}, {3, 1, 16}, {4, 4, 24}, {2, 1, 80}, {2, 2, 96}, {2, 1, 256}};
  }
  for (const Heads& heads : tiles) {
    Check(gpu, heads, KvType::kBF16, small, random, scratch, kScratchBytes);
  }
  for (const Heads& heads : others) {
    Check(gpu, heads, KvType::kBF16, small, random, scratch, kScratchBytes);
    Check(gpu, heads, KvType::kF32, small, random, scratch, kScratchBytes);
  }
  Check(gpu, tiles.back(), KvType::kF32, small, random, scratch, kScratchBytes);
  if (!gpu.wgmma()) return;
  std::printf("As on GPUs without wgmma:\n");
  Gpu older = gpu;
  older.capability = 80;
  for (const Heads& heads : {Heads{4, 2, 128}, Heads{2, 2, 64}, Heads{28, 4, 128}}) {
    Check(older, heads, KvType::kBF16, small, random, scratch, kScratchBytes);
  }
}

Gpu OpenFirstGpu() {
  cudaDeviceProp properties;
  Must(cudaGetDeviceProperties(&properties, 0));
  std::printf("%s\n", properties.name);
  return {.ordinal = 0,
          .multiprocessors = properties.multiProcessorCount,
          .capability = properties.major * 10 + properties.minor};
}

int Main(std::string_view mode, int only) {
  const Gpu gpu = OpenFirstGpu();
  if (mode != "time") CheckAll(gpu, mode == "small");
  if (mode == "time" || mode.empty()) TimeAll(gpu, only);
  std::printf("%s\n", failures == 0 ? "PASS" : "FAIL");
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace tessera::cuda

int main(int argc, char** argv) {
  if (!tessera::cuda::HasGpu()) return tessera::cuda::kSkipped;
  return tessera::cuda::Main(argc > 1 ? argv[1] : "", argc > 2 ? std::atoi(argv[2]) : -1);
}
