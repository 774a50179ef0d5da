// Opens whatever the user calls a model: a Hugging Face checkpoint folder, a GGUF file or a folder
// with one GGUF model and no safetensors, or a llama2.c .bin file. Every reader joins here, so that
// models see one config and one TensorSource.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "tessera/base/status.h"
#include "tessera/formats/gguf.h"
#include "tessera/formats/tensor_source.h"

namespace tessera {

struct ModelFiles {
  std::string folder;       // where tokenizer files are looked for; of GGUF, the file
  std::string config_name;  // for messages: the config.json, or the file it was derived from
  nlohmann::json config;    // an object
  std::unique_ptr<TensorSource> tensors;
  const GgufFile* gguf = nullptr;  // `tensors` when it is one
};

Result<ModelFiles> OpenModelFiles(const std::string& path);

// folder/config.json, checked to be an object.
Result<nlohmann::json> ReadConfig(const std::string& folder);

}  // namespace tessera
