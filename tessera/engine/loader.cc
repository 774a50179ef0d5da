#include "tessera/engine/loader.h"

#include <algorithm>
#include <filesystem>

#include "tessera/backend/registry.h"
#include "tessera/formats/safetensors.h"
#include "tessera/kv/kv_cache.h"
#include "tessera/models/gguf.h"
#include "tessera/models/hugging_face.h"
#include "tessera/models/synthetic_source.h"

namespace tessera::engine {
namespace {

// Chat checkpoints often list further end-of-text ids only here.
Status ReadGenerationConfig(OpenedModel* opened) {
  const std::string path = opened->files.folder + "/generation_config.json";
  if (!std::filesystem::exists(path)) return OkStatus();
  TESSERA_ASSIGN_OR_RETURN(const nlohmann::json json, ReadJsonFile(path));
  TESSERA_ASSIGN_OR_RETURN(const JsonObject object, JsonObject::Of(json, path));
  models::DecoderConfig extra;
  extra.vocab = opened->config.vocab;
  TESSERA_RETURN_IF_ERROR(models::ReadStopIds(object, &extra));
  std::vector<ops::TokenId>& stops = opened->config.traits.stop_ids;
  for (const ops::TokenId id : extra.traits.stop_ids) {
    if (std::find(stops.begin(), stops.end(), id) == stops.end()) stops.push_back(id);
  }
  TESSERA_ASSIGN_OR_RETURN(opened->default_strategy,
                           object.GetStringOr("tessera_strategy", opened->default_strategy));
  return OkStatus();
}

Status ReplaceMask(const OpenedModel& opened, ops::TokenId mask_id, ops::ModelTraits* traits) {
  if (mask_id >= traits->vocab_size) {
    return InvalidArgument("mask id: got {}, accepted: 0..{}", mask_id, traits->vocab_size - 1);
  }
  if (mask_id >= 0) traits->mask_id = mask_id;
  if (traits->mask_id < 0 && traits->attention != ops::AttentionKind::kCausal) {
    return InvalidArgument("{}: field 'mask_token_id' is missing; name the mask token's id",
                           opened.files.config_name);
  }
  return OkStatus();
}

Result<std::optional<ops::WeightFormat>> ParseDtype(const std::string& dtype) {
  if (dtype == "auto") return std::optional<ops::WeightFormat>();
  TESSERA_ASSIGN_OR_RETURN(const ops::WeightFormat format, ops::ParseWeightFormat(dtype));
  return std::optional(format);
}

// Unset: auto. Refused unless the device can hold such K and V.
Result<std::optional<ops::KvType>> ParseKvCacheDtype(const std::string& dtype,
                                                     const ops::Device& device) {
  if (dtype == "auto") return std::optional<ops::KvType>();
  TESSERA_ASSIGN_OR_RETURN(const ops::KvType type, ops::ParseKvType(dtype));
  TESSERA_RETURN_IF_ERROR(kv::KvCache::CheckType(device, type));
  return std::optional(type);
}

// Fails when the device lacks the memory.
Status CheckNeed(const OpenedModel& opened, const std::optional<ops::WeightFormat>& format,
                 const std::optional<ops::KvType>& kv_type, const ops::Device& device) {
  TESSERA_ASSIGN_OR_RETURN(const TensorInfo embedding,
                           opened.files.tensors->Describe(opened.config.names.embedding));
  const bool half = embedding.type == Name(DType::kF16);  // kept as f32
  const bool wide =
      format ? format->type == ops::WeightType::kF32 : half || embedding.type == Name(DType::kF32);
  const double weights =
      format ? WeightBytes(opened.config.parameters(), *format)
      : half ? WeightBytes(opened.config.parameters(), {.type = ops::WeightType::kF32})
             : static_cast<double>(opened.files.tensors->total_bytes());
  const ops::KvType kv = kv_type.value_or(wide ? ops::KvType::kF32 : ops::KvType::kBF16);
  return CheckMemory(EstimateMemory(opened.config, weights, kv), device.memory(),
                     opened.files.folder, device.name(), format ? ops::Name(*format) : "stored");
}

// The layer for joint sampling, where the folder has one.
Status LoadJointLayer(LoadedModel* loaded) {
  const std::string path = loaded->folder + "/joint.safetensors";
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return OkStatus();
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<SafetensorsFile> file,
                           SafetensorsFile::Open(path));
  return loaded->model->LoadJointLayer(*file);
}

}  // namespace

Result<OpenedModel> OpenModel(const std::string& path) {
  OpenedModel opened;
  TESSERA_ASSIGN_OR_RETURN(opened.files, OpenModelFiles(path));
  TESSERA_ASSIGN_OR_RETURN(const JsonObject config,
                           JsonObject::Of(opened.files.config, opened.files.config_name));
  TESSERA_ASSIGN_OR_RETURN(opened.architecture, models::FindArchitecture(config));
  TESSERA_ASSIGN_OR_RETURN(opened.config, opened.architecture->parse(config));
  opened.default_strategy = opened.architecture->default_strategy;
  if (opened.files.gguf != nullptr) {
    TESSERA_RETURN_IF_ERROR(models::UseGguf(*opened.files.gguf, &opened.config));
    return opened;
  }
  TESSERA_RETURN_IF_ERROR(ReadGenerationConfig(&opened));
  return opened;
}

Result<std::unique_ptr<ops::Device>> OpenDevice(const LoadSpec& spec) {
  return backend::MakeDevice({.name = spec.device, .isa = spec.isa, .threads = spec.threads});
}

Result<LoadedModel> LoadModel(const LoadSpec& spec) {
  TESSERA_ASSIGN_OR_RETURN(const std::optional<ops::WeightFormat> format, ParseDtype(spec.dtype));
  LoadedModel loaded;
  TESSERA_ASSIGN_OR_RETURN(loaded.device, OpenDevice(spec));
  TESSERA_ASSIGN_OR_RETURN(const std::optional<ops::KvType> kv_type,
                           ParseKvCacheDtype(spec.kv_cache_dtype, *loaded.device));
  TESSERA_ASSIGN_OR_RETURN(OpenedModel opened, OpenModel(spec.path));
  TESSERA_RETURN_IF_ERROR(ReplaceMask(opened, spec.mask_id, &opened.config.traits));
  TESSERA_RETURN_IF_ERROR(CheckNeed(opened, format, kv_type, *loaded.device));
  loaded.folder = opened.files.folder;
  loaded.architecture = opened.architecture;
  loaded.default_strategy = opened.default_strategy;
  TESSERA_ASSIGN_OR_RETURN(
      loaded.model,
      models::Decoder::Load(opened.config, *opened.files.tensors, *loaded.device,
                            {.format = format, .kv_type = kv_type, .progress = spec.progress}));
  TESSERA_RETURN_IF_ERROR(LoadJointLayer(&loaded));
  return loaded;
}

Result<LoadedModel> MakeSyntheticModel(const nlohmann::json& config, const LoadSpec& spec,
                                       const ForwardSize& forward) {
  TESSERA_ASSIGN_OR_RETURN(const ops::WeightFormat format, ops::ParseWeightFormat(spec.dtype));
  LoadedModel loaded;
  TESSERA_ASSIGN_OR_RETURN(loaded.device, OpenDevice(spec));
  TESSERA_ASSIGN_OR_RETURN(const std::optional<ops::KvType> kv_type,
                           ParseKvCacheDtype(spec.kv_cache_dtype, *loaded.device));
  TESSERA_ASSIGN_OR_RETURN(const JsonObject object, JsonObject::Of(config, "synthetic config"));
  TESSERA_ASSIGN_OR_RETURN(loaded.architecture, models::FindArchitecture(object));
  TESSERA_ASSIGN_OR_RETURN(const models::DecoderConfig decoder, loaded.architecture->parse(object));
  loaded.default_strategy = loaded.architecture->default_strategy;
  const bool wide = format.type == ops::WeightType::kF32;
  const MemoryNeed need =
      EstimateMemory(decoder, WeightBytes(decoder.parameters(), format),
                     kv_type.value_or(wide ? ops::KvType::kF32 : ops::KvType::kBF16), forward);
  TESSERA_RETURN_IF_ERROR(CheckMemory(need, loaded.device->memory(),
                                      fmt::format("{} layers", decoder.layers),
                                      loaded.device->name(), ops::Name(format)));
  const models::SyntheticSource weights(decoder, format);
  TESSERA_ASSIGN_OR_RETURN(
      loaded.model,
      models::Decoder::Load(decoder, weights, *loaded.device,
                            {.format = format, .kv_type = kv_type, .progress = spec.progress}));
  return loaded;
}

}  // namespace tessera::engine
