// Runs one fuzz target without libFuzzer: over every file of the folders it is given, each file's
// prefixes and its single-byte changes. Deterministic; a finding ends the process.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

// A copy of exactly the right size, so that AddressSanitizer sees a read one byte too far.
void RunOne(const std::vector<uint8_t>& input) {
  const std::vector<uint8_t> exact(input.begin(), input.end());
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

size_t RunWithNeighbours(std::vector<uint8_t> input) {
  constexpr size_t kMaxPositions = 256;
  size_t runs = 1;
  RunOne(input);
  const size_t step = std::max<size_t>(1, input.size() / kMaxPositions);
  for (size_t i = 0; i < input.size(); i += step) {
    RunOne({input.begin(), input.begin() + static_cast<std::ptrdiff_t>(i)});
    for (const uint8_t change : std::initializer_list<uint8_t>{0x01, 0x80, 0xff}) {
      input[i] ^= change;
      RunOne(input);
      input[i] ^= change;
    }
    runs += 4;
  }
  return runs;
}

}  // namespace

int main(int argc, char** argv) {
  size_t files = 0, runs = RunWithNeighbours({});
  for (int i = 1; i < argc; ++i) {
    if (!std::filesystem::is_directory(argv[i])) continue;
    std::vector<std::filesystem::path> paths;
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      if (entry.is_regular_file()) paths.push_back(entry.path());
    }
    std::sort(paths.begin(), paths.end());
    for (const auto& path : paths) {
      std::ifstream file(path, std::ios::binary);
      runs += RunWithNeighbours({std::istreambuf_iterator<char>(file), {}});
      ++files;
    }
  }
  std::printf("%zu corpus files, %zu inputs, no failure\n", files, runs);
  return 0;
}
