// config.json as models read it: typed fields with ranges, nested objects, lists.
#include "tessera/formats/json.h"
#include "tests/fuzz/fuzz_check.h"

namespace tessera {

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto json = ParseJson(FuzzText(data, size), kFuzzName, {.max_bytes = size_t{1} << 20});
  CheckRefusal(json.status());
  if (!json.ok()) return 0;
  const auto config = JsonObject::Of(*json, kFuzzName);
  CheckRefusal(config.status());
  if (!config.ok()) return 0;
  for (const char* field : {"hidden_size", "num_hidden_layers", "vocab_size", "head_dim"}) {
    const auto value = config->GetInt(field, {.min = 1, .max = 1 << 20});
    CheckRefusal(value.status());
    TESSERA_CHECK(!value.ok() || (*value >= 1 && *value <= 1 << 20));
    CheckRefusal(config->GetIntOr(field, 1).status());
  }
  for (const char* field : {"rms_norm_eps", "rope_theta"}) {
    const auto value = config->GetFloat(field, {.min = 0, .max = 1e12});
    CheckRefusal(value.status());
    TESSERA_CHECK(!value.ok() || (*value >= 0 && *value <= 1e12));
    CheckRefusal(config->GetFloatOr(field, 1).status());
  }
  CheckRefusal(config->GetBool("tie_word_embeddings").status());
  CheckRefusal(config->GetBoolOr("attention_bias", false).status());
  CheckRefusal(config->GetString("model_type").status());
  CheckRefusal(config->GetStringOr("torch_dtype", "").status());
  CheckRefusal(config->GetInts("eos_token_id", {.min = 0}).status());
  CheckRefusal(config->GetStrings("architectures").status());
  const auto scaling = config->GetObject("rope_scaling");
  CheckRefusal(scaling.status());
  if (scaling.ok()) CheckRefusal(scaling->GetFloat("factor").status());
  // Field names come from the file too when a reader walks an object.
  for (const auto& item : config->json().items()) {
    CheckRefusal(config->GetInt(item.key(), {.max = -1}).status());
  }
  return 0;
}

}  // namespace tessera
