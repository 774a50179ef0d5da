#include "tessera/engine/loader.h"

#include <algorithm>
#include <filesystem>

#include "tessera/backend/machine.h"
#include "tessera/backend/registry.h"
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

// Weights that do not fit would end in the system killing the process, minutes into loading.
Status CheckMemory(const OpenedModel& opened, const std::optional<ops::WeightFormat>& format) {
  const double parameters = static_cast<double>(opened.config.parameters());
  double needed = static_cast<double>(opened.files.tensors->total_bytes());
  if (format) {
    // Scales add up to an eighth to int4 codes, a sixteenth to int8.
    switch (format->type) {
      case ops::WeightType::kF32: needed = parameters * 4; break;
      case ops::WeightType::kBF16: needed = parameters * 2; break;
      case ops::WeightType::kInt8: needed = parameters * 1.0625; break;
      case ops::WeightType::kInt4: needed = parameters * 0.5625; break;
    }
  } else {
    TESSERA_ASSIGN_OR_RETURN(const TensorInfo embedding,
                             opened.files.tensors->Describe(opened.config.names.embedding));
    if (embedding.type == Name(DType::kF16)) needed = parameters * 4;  // kept as f32
  }
  const double available = static_cast<double>(backend::AvailableMemory());
  if (available == 0 || needed <= available) return OkStatus();
  constexpr double kGiB = 1 << 30;
  return ResourceExhausted(
      "{}: the weights need {:.1f} GiB as {}, {:.1f} GiB of memory are free; less is needed by "
      "bf16, "
      "int8 and int4",
      opened.files.folder, needed / kGiB, format ? ops::Name(*format) : "stored", available / kGiB);
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
  TESSERA_ASSIGN_OR_RETURN(OpenedModel opened, OpenModel(spec.path));
  TESSERA_RETURN_IF_ERROR(ReplaceMask(opened, spec.mask_id, &opened.config.traits));
  TESSERA_RETURN_IF_ERROR(CheckMemory(opened, format));
  loaded.folder = opened.files.folder;
  loaded.architecture = opened.architecture;
  loaded.default_strategy = opened.default_strategy;
  TESSERA_ASSIGN_OR_RETURN(
      loaded.model, models::Decoder::Load(opened.config, *opened.files.tensors, *loaded.device,
                                          {.format = format, .progress = spec.progress}));
  return loaded;
}

Result<LoadedModel> MakeSyntheticModel(const nlohmann::json& config, const LoadSpec& spec) {
  TESSERA_ASSIGN_OR_RETURN(const ops::WeightFormat format, ops::ParseWeightFormat(spec.dtype));
  LoadedModel loaded;
  TESSERA_ASSIGN_OR_RETURN(loaded.device, OpenDevice(spec));
  TESSERA_ASSIGN_OR_RETURN(const JsonObject object, JsonObject::Of(config, "synthetic config"));
  TESSERA_ASSIGN_OR_RETURN(loaded.architecture, models::FindArchitecture(object));
  TESSERA_ASSIGN_OR_RETURN(const models::DecoderConfig decoder, loaded.architecture->parse(object));
  loaded.default_strategy = loaded.architecture->default_strategy;
  const models::SyntheticSource weights(decoder, format);
  const int64_t available = backend::AvailableMemory();
  if (available > 0 && weights.total_bytes() > available) {
    return ResourceExhausted("{} layers need {:.1f} GB as {}, {:.1f} GB of memory are free",
                             decoder.layers, static_cast<double>(weights.total_bytes()) / 1e9,
                             ops::Name(format), static_cast<double>(available) / 1e9);
  }
  TESSERA_ASSIGN_OR_RETURN(loaded.model,
                           models::Decoder::Load(decoder, weights, *loaded.device,
                                                 {.format = format, .progress = spec.progress}));
  return loaded;
}

}  // namespace tessera::engine
