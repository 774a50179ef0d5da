// The architectures we know: how to recognise one in config.json and derive a DecoderConfig.
// Adding one: a file that defines the entry, a line in architecture.cc, a golden.
#pragma once

#include <string>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/formats/json.h"
#include "tessera/models/decoder_config.h"

namespace tessera::models {

struct Architecture {
  std::string name;
  std::string class_name;  // in config.json's "architectures"
  std::string model_type;  // in config.json, when "architectures" is absent
  std::string default_strategy;
  Result<DecoderConfig> (*parse)(const JsonObject& config);
};

const std::vector<const Architecture*>& Architectures();

// The entry for this config; unknown ones are refused with the list of known ones.
Result<const Architecture*> FindArchitecture(const JsonObject& config);

namespace architecture {
const Architecture& Llama();
const Architecture& Qwen2();
const Architecture& Qwen3();
const Architecture& Qwen3Moe();
const Architecture& LLaDA();
const Architecture& LLaDAMoe();
const Architecture& LLaDA2Moe();
const Architecture& Dream();
const Architecture& Sdar();
const Architecture& SdarMoe();
const Architecture& FastDllmV2();
}  // namespace architecture

}  // namespace tessera::models
