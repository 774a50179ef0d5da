#include "apps/eval/fingerprint.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <vector>

#include "apps/eval/errors.h"

namespace tessera::eval {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kPiece = 1 << 20;
constexpr uint64_t kPieces = 64;

bool ChangesOutput(const fs::path& file) {
  const std::string name = file.filename().string();
  return name.ends_with(".json") ? name != "training.json"
                                 : name.ends_with(".safetensors") || name.ends_with(".model") ||
                                       name.ends_with(".jinja") || name.ends_with(".tiktoken") ||
                                       name.ends_with(".gguf") || name == "merges.txt";
}

Status AddFile(const fs::path& path, Fingerprint* fingerprint) {
  std::error_code error;
  const uint64_t size = fs::file_size(path, error);
  std::ifstream file(path, std::ios::binary);
  if (error || !file) return Missing("{}: cannot be read", path.string());
  fingerprint->Add(path.filename().string()).Add(size);
  const uint64_t pieces = std::min(kPieces, (size + kPiece - 1) / kPiece);
  std::vector<char> piece(kPiece);
  for (uint64_t i = 0; i < pieces; ++i) {
    const uint64_t last = size > kPiece ? size - kPiece : 0;
    // Up to 64 MB every byte; beyond, the first and the last piece and 62 between them.
    const uint64_t offset = size <= kPiece * kPieces ? i * kPiece : last / (pieces - 1) * i;
    const uint64_t count = std::min(kPiece, size - offset);
    file.seekg(static_cast<std::streamoff>(offset));
    file.read(piece.data(), static_cast<std::streamsize>(count));
    if (!file) return Missing("{}: cannot be read to its end", path.string());
    fingerprint->Add(std::string_view(piece.data(), count));
  }
  return OkStatus();
}

}  // namespace

void Fingerprint::Mix(std::string_view bytes) {
  for (const char byte : bytes) {
    hash_ = (hash_ ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  }
}

Fingerprint& Fingerprint::Add(std::string_view bytes) {
  Add(static_cast<uint64_t>(bytes.size()));
  Mix(bytes);
  return *this;
}

Fingerprint& Fingerprint::Add(uint64_t number) {
  char bytes[8];
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(number >> (8 * i));
  Mix({bytes, sizeof(bytes)});
  return *this;
}

// FNV's low bits depend on little of the input; a final mix (MurmurHash3's) spreads it.
uint64_t Fingerprint::value() const {
  uint64_t h = hash_;
  h = (h ^ (h >> 33)) * 0xff51afd7ed558ccd;
  h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53;
  return h ^ (h >> 33);
}

std::string Fingerprint::text() const { return fmt::format("{:016x}", value()); }

Result<std::string> FingerprintOfModel(const std::string& path) {
  std::error_code error;
  Fingerprint fingerprint;
  if (fs::is_regular_file(path, error)) {
    TESSERA_RETURN_IF_ERROR(AddFile(path, &fingerprint));
    return fingerprint.text();
  }
  std::vector<fs::path> files;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    if (ChangesOutput(it->path())) files.push_back(it->path());
  }
  if (error) return Missing("{}: cannot be listed: {}", path, error.message());
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) TESSERA_RETURN_IF_ERROR(AddFile(file, &fingerprint));
  return fingerprint.text();
}

}  // namespace tessera::eval
