// A llama2.c file: whatever is accepted has exactly the size its header asks for.
#include "tessera/formats/llama2c.h"
#include "tests/fuzz/fuzz_check.h"

namespace tessera {

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = Llama2cFile::Parse(FuzzBytes(data, size), kFuzzName);
  CheckRefusal(file.status());
  if (!file.ok()) return 0;
  TESSERA_CHECK((*file)->total_bytes() < static_cast<int64_t>(size));
  for (const std::string& name : (*file)->names()) {
    const auto tensor = (*file)->Get(name);
    TESSERA_CHECK(tensor.ok());
    CheckRefusal(CheckFinite(*tensor, name).WithContext(kFuzzName));
  }
  TESSERA_CHECK((*file)->Config()["hidden_size"] == (*file)->header().dim);
  return 0;
}

}  // namespace tessera
