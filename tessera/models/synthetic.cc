#include "tessera/models/synthetic.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "tessera/base/rng.h"
#include "tessera/formats/safetensors_writer.h"

namespace tessera::models {
namespace {

constexpr int64_t kChunkElements = int64_t{1} << 20;

uint64_t HashName(const std::string& name) {  // FNV-1a
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return hash;
}

// Uniform in center ± reach with 16 random bits: eight values per Philox block, because an 8B
// model needs 8e9 of them.
struct Distribution {
  float center = 0;
  float reach = 0;
};

Distribution DistributionOf(const TensorSpec& tensor) {
  if (tensor.shape.size() == 1) {
    return tensor.name.ends_with("bias") ? Distribution{0, 0.1f} : Distribution{1, 0.1f};
  }
  // Variance 1 / inputs; a uniform distribution of reach a has variance a^2 / 3.
  return {0, std::sqrt(3.0f / static_cast<float>(tensor.shape.back()))};
}

void Fill(const Distribution& distribution, uint64_t key, int64_t begin, std::span<float> values) {
  for (size_t i = 0; i < values.size(); i += 8) {
    const uint64_t block = (static_cast<uint64_t>(begin) + i) / 8;
    const auto words = Philox4x32({static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32),
                                   0, static_cast<uint32_t>(RngPurpose::kWeights)},
                                  key);
    for (size_t j = 0; j < 8 && i + j < values.size(); ++j) {
      const int16_t bits = static_cast<int16_t>(words[j / 2] >> (16 * (j % 2)));
      values[i + j] =
          distribution.center + distribution.reach * (static_cast<float>(bits) + 0.5f) * 0x1p-15f;
    }
  }
}

// f16 by truncation of a normal number: synthetic values have no need of exact rounding.
uint16_t F16FromFloat(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const int32_t exponent = static_cast<int32_t>((bits >> 23) & 0xff) - 112;
  if (exponent <= 0) return static_cast<uint16_t>((bits >> 16) & 0x8000);
  return static_cast<uint16_t>(((bits >> 16) & 0x8000) | (exponent << 10) | ((bits >> 13) & 0x3ff));
}

void Convert(std::span<const float> values, DType dtype, std::vector<std::byte>* bytes) {
  bytes->resize(values.size() * static_cast<size_t>(SizeOf(dtype)));
  if (dtype == DType::kF32) {
    std::memcpy(bytes->data(), values.data(), bytes->size());
    return;
  }
  uint16_t* out = reinterpret_cast<uint16_t*>(bytes->data());
  for (size_t i = 0; i < values.size(); ++i) {
    out[i] = dtype == DType::kBF16 ? BF16FromFloat(values[i]) : F16FromFloat(values[i]);
  }
}

}  // namespace

Status WriteSyntheticWeights(const DecoderConfig& config, const std::string& folder,
                             const SyntheticOptions& options) {
  const std::vector<TensorSpec> tensors = ListTensors(config);
  std::vector<tessera::TensorSpec> files;
  for (const TensorSpec& tensor : tensors) {
    files.push_back({.name = tensor.name, .dtype = options.dtype, .shape = tensor.shape});
  }
  TESSERA_ASSIGN_OR_RETURN(
      std::unique_ptr<ShardedSafetensorsWriter> writer,
      ShardedSafetensorsWriter::Create(
          folder, files, {{"format", "pt"}, {"made_by", "tessera synth: random weights"}},
          options.max_shard_bytes));
  std::vector<float> values;
  std::vector<std::byte> bytes;
  int64_t written = 0;
  for (const TensorSpec& tensor : tensors) {
    const Distribution distribution = DistributionOf(tensor);
    const uint64_t key = options.seed ^ HashName(tensor.name);
    const int64_t count = NumElements(tensor.shape);
    for (int64_t begin = 0; begin < count; begin += kChunkElements) {
      values.resize(static_cast<size_t>(std::min(kChunkElements, count - begin)));
      Fill(distribution, key, begin, values);
      Convert(values, options.dtype, &bytes);
      TESSERA_RETURN_IF_ERROR(writer->Append(bytes));
      written += static_cast<int64_t>(bytes.size());
      if (options.progress && !options.progress(written, writer->total_bytes())) {
        return Cancelled("{}: writing was cancelled", folder);
      }
    }
  }
  return writer->Finish();
}

}  // namespace tessera::models
