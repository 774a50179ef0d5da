#include "apps/cli/model_options.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <limits>

#include "apps/cli/progress.h"
#include "tessera/api/tools.h"

namespace tessera::cli {
namespace {

namespace fs = std::filesystem;

// models/ beside each folder from `start` up to the root.
void AddModelsAbove(fs::path start, std::vector<fs::path>* folders) {
  std::error_code error;
  for (; !start.empty(); start = start.parent_path()) {
    const fs::path models = start / "models";
    if (fs::is_directory(models, error) &&
        std::find(folders->begin(), folders->end(), models) == folders->end()) {
      folders->push_back(models);
    }
    if (start == start.root_path()) break;
  }
}

std::vector<fs::path> ModelsFolders() {
  std::vector<fs::path> folders;
  std::error_code error;
  AddModelsAbove(fs::read_symlink("/proc/self/exe", error).parent_path(), &folders);
  AddModelsAbove(fs::current_path(error), &folders);
  return folders;
}

std::vector<fs::path> CheckpointsIn(const fs::path& folder) {
  std::vector<fs::path> checkpoints;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (fs::is_regular_file(it->path() / "config.json", error)) checkpoints.push_back(it->path());
  }
  std::sort(checkpoints.begin(), checkpoints.end());
  return checkpoints;
}

}  // namespace

void AddModelOptions(Parser& parser, ModelOptions* options) {
  parser.Text("-m,--model", &options->model, "MODEL",
              "checkpoint folder, or the name of one in models/; default: $TESSERA_MODEL, then "
              "the diffusion model in models/");
}

void AddLoadOptions(Parser& parser, ModelOptions* options) {
  parser.Group("Loading");
  parser.Text("--dtype", &options->dtype, "FORMAT",
              "of the weights: auto (as stored), f32, bf16, fp8 (GPUs only), int8, int4; int8-gN, "
              "int4-gN or int4-gN-asym with N inputs per scale");
  parser.Choice("--kv-cache-dtype", &options->kv_cache_dtype, {"auto", "f32", "bf16", "int8"},
                "of cached keys and values; auto: f32 beside f32 weights, otherwise bf16; int8: "
                "half the memory of bf16, device cpu only");
  parser.Choice("--isa", &options->isa,
                {"auto", "generic", "avx2", "avx512", "avx512vnni", "avx512bf16", "amx"},
                "instruction set of device cpu");
  parser.Int("--threads", &options->threads, 0, 4096, "of device cpu; 0: all cores");
  parser.Text("--device", &options->device, "NAME",
              "where to compute: cpu, or cuda:N for GPU N (see `tessera doctor`)");
  parser.Int("--mask-id", &options->mask_id, 0, std::numeric_limits<int32_t>::max(),
             "mask token, for checkpoints that do not name it");
  parser.Text("--tokenizer", &options->tokenizer, "PATH",
              "tokenizer file or folder; default: what lies in the model's folder");
}

Result<std::string> FindDefaultModel(ModelKind kind) {
  const char* named = std::getenv("TESSERA_MODEL");
  if (kind == ModelKind::kDiffusion && named != nullptr && *named != '\0') {
    return ResolveModel(named);
  }
  const auto wanted = kind == ModelKind::kCausal
                          ? std::vector<std::string_view>{"causal"}
                          : std::vector<std::string_view>{"bidirectional", "block-causal"};
  std::vector<std::string> searched;
  for (const fs::path& folder : ModelsFolders()) {
    searched.push_back(folder.string());
    size_t best = wanted.size();  // index into wanted
    std::string found;
    for (const fs::path& checkpoint : CheckpointsIn(folder)) {
      const auto inspection = api::InspectModel(checkpoint.string());
      if (!inspection.ok()) continue;
      const auto it = std::find(wanted.begin(), wanted.end(), inspection->info.attention);
      const size_t rank = static_cast<size_t>(it - wanted.begin());
      if (rank >= best) continue;
      best = rank;
      found = checkpoint.string();
    }
    if (!found.empty()) return found;
  }
  const std::string places =
      searched.empty() ? "there is no models/ folder above the program or the working directory"
                       : fmt::format("{} holds none", fmt::join(searched, ", "));
  return kind == ModelKind::kCausal
             ? Failure("no autoregressive model: {}; pass --twin FOLDER", places)
             : Failure("no default model: {}; pass -m FOLDER or set TESSERA_MODEL", places);
}

std::string FindInModels(const std::string& name) {
  std::error_code error;
  for (const fs::path& folder : ModelsFolders()) {
    if (fs::is_regular_file(folder / name, error)) return (folder / name).string();
  }
  return "";
}

std::string ResolveModel(const std::string& text) {
  std::error_code error;
  if (text.empty() || fs::exists(text, error) || text.find('/') != std::string::npos) return text;
  for (const fs::path& folder : ModelsFolders()) {
    if (fs::is_directory(folder / text, error)) return (folder / text).string();
  }
  return text;
}

Result<std::unique_ptr<api::Model>> LoadModel(const ModelOptions& options, ModelKind kind) {
  std::string path = ResolveModel(options.model);
  if (path.empty()) {
    TESSERA_ASSIGN_OR_RETURN(path, FindDefaultModel(kind));
  }
  std::error_code error;
  if (!fs::exists(path, error)) {
    return Failure(
        "model '{}': no such folder or file; accepted: a checkpoint folder with "
        "config.json, a .gguf file, a llama2.c .bin file, or a name in models/",
        path);
  }
  Progress progress("loading " + fs::path(path).filename().string(), Progress::Unit::kBytes);
  auto model = api::Model::Load(
      path, {.device = options.device,
             .isa = options.isa,
             .threads = options.threads,
             .dtype = options.dtype,
             .kv_cache_dtype = options.kv_cache_dtype,
             .mask_id = options.mask_id,
             .tokenizer = options.tokenizer,
             .progress = [&](int64_t done, int64_t all) { return progress.Update(done, all); }});
  const Status& status = model.status();
  if (!status.ok() && status.message().find("mask_token_id") != std::string::npos) {
    return Status(status.code(), status.message() + " (option --mask-id)");
  }
  return model;
}

std::string ShortName(const api::ModelInfo& info) {
  const fs::path path(info.path);
  return path.has_filename() ? path.filename().string() : path.parent_path().filename().string();
}

}  // namespace tessera::cli
