// A safetensors file: whatever is accepted has tensors that lie inside the input and tile it.
#include "tessera/formats/safetensors.h"
#include "tests/fuzz/fuzz_check.h"

namespace tessera {

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = FuzzBytes(data, size);
  const auto file = SafetensorsFile::Parse(bytes, kFuzzName);
  CheckRefusal(file.status());
  if (!file.ok()) return 0;
  int64_t total = 0;
  bool all = true;
  for (const std::string& name : (*file)->names()) {
    const TensorView* tensor = (*file)->Find(name);
    if (tensor == nullptr) {
      all = false;
      CheckRefusal((*file)->Get(name).status());
      continue;
    }
    TESSERA_CHECK(tensor->data >= bytes.data());
    TESSERA_CHECK(tensor->bytes() >= 0);
    TESSERA_CHECK(tensor->data + tensor->bytes() <= bytes.data() + bytes.size());
    total += tensor->bytes();
    CheckRefusal(CheckFinite(*tensor, name).WithContext(kFuzzName));
    CheckRefusal((*file)->GetFinite(name, {kAnyExtent, 2}).status());
    (*file)->Advise(name, MapAdvice::kDontNeed);
  }
  TESSERA_CHECK(!all || total == (*file)->total_bytes());
  TESSERA_CHECK((*file)->total_bytes() <= static_cast<int64_t>(size));
  CheckRefusal((*file)->Get("no such tensor").status());
  return 0;
}

}  // namespace tessera
