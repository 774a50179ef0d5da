// From a path to a model on a device: opens the files, recognises the architecture, loads weights.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "tessera/base/status.h"
#include "tessera/engine/memory_need.h"
#include "tessera/formats/model_files.h"
#include "tessera/models/architecture.h"
#include "tessera/models/decoder.h"
#include "tessera/ops/device.h"

namespace tessera::engine {

// Config and tensor headers, checked; no weight has been read.
struct OpenedModel {
  ModelFiles files;
  const models::Architecture* architecture = nullptr;
  models::DecoderConfig config;
  std::string default_strategy;
};

// Two things come from generation_config.json when it is there: end-of-text ids, added to those of
// config.json, and "tessera_strategy", which replaces the architecture's default strategy.
Result<OpenedModel> OpenModel(const std::string& path);

struct LoadSpec {
  std::string path;
  std::string device = "cpu";
  std::string isa = "auto";
  int threads = 0;
  std::string dtype = "auto";
  std::string kv_cache_dtype = "auto";
  ops::TokenId mask_id = -1;  // >= 0 replaces the mask token of the config
  std::function<bool(int64_t, int64_t)> progress;
};

struct LoadedModel {
  std::string folder;
  const models::Architecture* architecture = nullptr;
  std::string default_strategy;
  std::unique_ptr<ops::Device> device;
  std::unique_ptr<models::Decoder> model;  // after device: it refers to it
};

// The device of the spec; LoadModel makes it too.
Result<std::unique_ptr<ops::Device>> OpenDevice(const LoadSpec& spec);
Result<LoadedModel> LoadModel(const LoadSpec& spec);

// A network described by `config` with random weights that never touch a disk, for timing;
// spec.path is not used, spec.dtype may not be "auto". Refused unless there is memory for
// `forward`.
Result<LoadedModel> MakeSyntheticModel(const nlohmann::json& config, const LoadSpec& spec,
                                       const ForwardSize& forward);

}  // namespace tessera::engine
