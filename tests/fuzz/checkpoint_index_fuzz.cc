// model.safetensors.index.json: every accepted shard name stays inside the folder.
#include <algorithm>

#include "tessera/formats/checkpoint.h"
#include "tests/fuzz/fuzz_check.h"

namespace tessera {

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto index = ParseCheckpointIndex(FuzzText(data, size), kFuzzName);
  CheckRefusal(index.status());
  if (!index.ok()) return 0;
  TESSERA_CHECK(!index->shards.empty() && index->shards.size() <= index->weight_map.size());
  TESSERA_CHECK(std::is_sorted(index->shards.begin(), index->shards.end()));
  for (const auto& [tensor, shard] : index->weight_map) {
    TESSERA_CHECK(shard.find_first_of(std::string_view("/\\\0", 3)) == shard.npos);
    TESSERA_CHECK(shard != ".." && shard.ends_with(".safetensors"));
    TESSERA_CHECK(std::binary_search(index->shards.begin(), index->shards.end(), shard));
  }
  return 0;
}

}  // namespace tessera
