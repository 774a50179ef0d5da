// A quantised checkpoint: config text, a zero byte, a safetensors file. Whatever is accepted reads
// inside the file, and a tensor whose scales pass has finite weights.
#include <cmath>

#include "tessera/formats/quantized_checkpoint.h"
#include "tessera/formats/safetensors.h"
#include "tests/fuzz/fuzz_check.h"

namespace tessera {
namespace {

void ReadAll(const QuantizedTensor& tensor) {
  const int64_t out = tensor.shape()[0], in = tensor.shape()[1];
  const size_t groups = static_cast<size_t>(tensor.layout().NumGroups(in));
  const int64_t group = tensor.layout().group > 0 ? tensor.layout().group : in;
  std::vector<uint8_t> codes(static_cast<size_t>(in));
  std::vector<float> scales(groups), mins(groups);
  for (int64_t row = 0; row < out; ++row) {
    tensor.ReadRow(row, codes.data(), scales.data(), mins.data());
    for (int64_t k = 0; k < in; ++k) {
      const uint8_t code = codes[static_cast<size_t>(k)];
      const size_t g = static_cast<size_t>(k / group);
      TESSERA_CHECK(code < 1 << tensor.layout().bits);
      TESSERA_CHECK(std::isfinite(scales[g] * code + mins[g]));
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = FuzzText(data, size);
  const size_t end = std::min(text.find('\0'), size);
  const auto json = ParseJson(text.substr(0, end), kFuzzName);
  if (!json.ok()) return 0;
  const auto config = JsonObject::Of(*json, kFuzzName);
  if (!config.ok()) return 0;
  const auto matrices = ParseQuantizationConfig(*config);
  CheckRefusal(matrices.status());
  if (!matrices.ok()) return 0;
  const size_t begin = std::min(end + 1, size);
  auto file = SafetensorsFile::Parse(FuzzBytes(data + begin, size - begin), kFuzzName);
  if (!file.ok()) return 0;
  const auto checkpoint = QuantizedCheckpoint::Open(std::move(*file), *matrices);
  CheckRefusal(checkpoint.status());
  if (!checkpoint.ok()) return 0;
  for (const std::string& name : (*checkpoint)->names()) {
    const QuantizedTensor* tensor = (*checkpoint)->FindQuantized(name);
    if (tensor == nullptr) continue;
    TESSERA_CHECK((*checkpoint)->Find(name) == nullptr);
    TESSERA_CHECK(tensor->bytes() <= static_cast<int64_t>(size));
    CheckRefusal((*checkpoint)->Get(name).status());
    const auto finite = (*checkpoint)->GetQuantizedFinite(name, tensor->shape());
    CheckRefusal(finite.status());
    if (finite.ok()) ReadAll(*tensor);
    (*checkpoint)->Advise(name, MapAdvice::kDontNeed);
  }
  return 0;
}

}  // namespace tessera
