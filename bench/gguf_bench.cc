// How fast blocks of GGUF files decode, one core: the floor under packing a quantised model.
//
//   gguf_bench
//
// Rows of 4096 weights from 64 MiB of blocks, codes and scales written to one row's buffers. Times
// are the fastest and the median of 15 turns of processor time; a turn runs every type once.
#include <algorithm>
#include <cstdio>
#include <vector>

#include "tessera/backend/cpu/rates.h"
#include "tessera/tensor/gguf_blocks.h"

int main() {
  using tessera::FormatOf;
  using tessera::kGgufBlocks;
  constexpr int64_t kRow = 4096, kBytes = 64 << 20;
  std::vector<std::byte> blocks(kBytes, std::byte{0x21});
  std::vector<uint8_t> codes(kRow);
  std::vector<float> scales(kRow), mins(kRow);
  std::vector<double> seconds[std::size(kGgufBlocks)];
  for (int turn = 0; turn < 15; ++turn) {
    for (size_t t = 0; t < std::size(kGgufBlocks); ++t) {
      const tessera::GgufBlockFormat& format = FormatOf(kGgufBlocks[t]);
      const int64_t row_blocks = kRow / format.weights, row_bytes = row_blocks * format.bytes;
      const double begin = tessera::cpu::ThreadNow();
      for (int64_t row = 0; row < kBytes / row_bytes; ++row) {
        tessera::DecodeBlocks(kGgufBlocks[t], blocks.data() + row * row_bytes, row_blocks,
                              codes.data(), scales.data(), mins.data());
      }
      seconds[t].push_back(tessera::cpu::ThreadNow() - begin);
    }
  }
  std::printf("%-6s %14s %14s %10s\n", "type", "median Gw/s", "best Gw/s", "GB/s");
  for (size_t t = 0; t < std::size(kGgufBlocks); ++t) {
    const tessera::GgufBlockFormat& format = FormatOf(kGgufBlocks[t]);
    std::sort(seconds[t].begin(), seconds[t].end());
    const int64_t rows = kBytes / (kRow / format.weights * format.bytes);
    const double weights = static_cast<double>(rows * kRow) * 1e-9;
    const double median = weights / seconds[t][seconds[t].size() / 2];
    std::printf("%-6s %14.2f %14.2f %10.2f\n", format.name.data(), median,
                weights / seconds[t].front(),
                median * static_cast<double>(format.bytes) / static_cast<double>(format.weights));
  }
  return 0;
}
