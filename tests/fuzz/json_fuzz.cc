// The bounded JSON parser against the library's own: same answer where both accept, and limits
// that hold.
#include "tessera/formats/json.h"
#include "tests/fuzz/fuzz_check.h"

namespace tessera {
namespace {

template <typename Json>
size_t Depth(const Json& json) {
  size_t depth = 0;
  if (!json.is_structured()) return 0;
  for (const auto& item : json) depth = std::max(depth, Depth(item));
  return depth + 1;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = FuzzText(data, size);
  const JsonLimits limits{.max_depth = 20, .max_values = 1000};
  const auto json = ParseJson(text, kFuzzName, limits);
  const auto ordered = ParseOrderedJson(text, kFuzzName, limits);
  CheckRefusal(json.status());
  TESSERA_CHECK(json.ok() == ordered.ok());
  TESSERA_CHECK(json.status().message() == ordered.status().message());
  const auto reference = nlohmann::json::parse(text, nullptr, false);
  if (json.ok()) {
    TESSERA_CHECK(*json == reference);
    TESSERA_CHECK(Depth(*json) <= limits.max_depth);
    TESSERA_CHECK(nlohmann::json::parse(ordered->dump()) == *json);
  } else if (size <= limits.max_depth) {
    TESSERA_CHECK(reference.is_discarded());  // too short to break a limit
  }
  JsonLimits strict = limits;
  strict.duplicate_keys = DuplicateKeys::kRefuse;
  const auto unique = ParseJson(text, kFuzzName, strict);
  CheckRefusal(unique.status());
  TESSERA_CHECK(!unique.ok() || (json.ok() && *unique == *json));
  TESSERA_CHECK(ParseOrderedJson(text, kFuzzName, strict).ok() == unique.ok());
  return 0;
}

}  // namespace tessera
