// A GGUF file: whatever is accepted lies inside the file, and every tensor can be read or is
// refused by name.
#include "tessera/formats/gguf.h"
#include "tests/fuzz/fuzz_check.h"

namespace tessera {

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = GgufFile::Parse(FuzzBytes(data, size), kFuzzName);
  CheckRefusal(file.status());
  if (!file.ok()) return 0;
  TESSERA_CHECK((*file)->total_bytes() < static_cast<int64_t>(size));
  CheckRefusal((*file)->Config().status());
  for (const auto& [key, value] : (*file)->metadata().values()) {
    CheckRefusal((*file)->metadata().GetInt(key).status());
    CheckRefusal((*file)->metadata().GetFloat(key).status());
    CheckRefusal((*file)->metadata().GetString(key).status());
    CheckRefusal((*file)->metadata().GetStrings(key).status());
    CheckRefusal((*file)->metadata().GetInts(key).status());
  }
  for (const std::string& name : (*file)->names()) {
    const auto info = (*file)->Describe(name);
    TESSERA_CHECK(info.ok() && info->bytes <= static_cast<int64_t>(size));
    if (const QuantizedTensor* tensor = (*file)->FindQuantized(name)) {
      CheckRefusal((*file)->GetQuantizedFinite(name, tensor->shape()).status());
      std::vector<uint8_t> codes(static_cast<size_t>(tensor->shape()[1]));
      std::vector<float> scales(codes.size()), mins(codes.size());
      tensor->ReadRow(tensor->shape()[0] - 1, codes.data(), scales.data(), mins.data());
      continue;
    }
    const auto tensor = (*file)->Get(name, Accept::kAnyDType);
    CheckRefusal(tensor.status());
    if (tensor.ok()) CheckRefusal(CheckFinite(*tensor, name).WithContext(kFuzzName));
  }
  return 0;
}

}  // namespace tessera
