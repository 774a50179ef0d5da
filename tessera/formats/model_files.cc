#include "tessera/formats/model_files.h"

#include <filesystem>
#include <system_error>

#include "tessera/formats/checkpoint.h"
#include "tessera/formats/json.h"
#include "tessera/formats/llama2c.h"
#include "tessera/formats/quantized_checkpoint.h"
#include "tessera/formats/quote.h"

namespace tessera {

namespace fs = std::filesystem;

namespace {

// A folder with safetensors files is a checkpoint, whatever else lies in it.
Result<std::string> FindGgufModel(const std::string& folder) {
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (it->path().filename().string().find(".safetensors") != std::string::npos) {
      return NotFound("{}: a checkpoint folder", Printable(folder, 4096));
    }
  }
  return FindGgufInFolder(folder);
}

Result<ModelFiles> OpenGguf(const std::string& path) {
  TESSERA_ASSIGN_OR_RETURN(auto file, GgufFile::Open(path));
  ModelFiles model;
  model.folder = file->origin();
  model.config_name = file->origin();
  TESSERA_ASSIGN_OR_RETURN(model.config, file->Config());
  model.gguf = file.get();
  model.tensors = std::move(file);
  return model;
}

}  // namespace

Result<nlohmann::json> ReadConfig(const std::string& folder) {
  const std::string path = (fs::path(folder) / "config.json").string();
  TESSERA_ASSIGN_OR_RETURN(nlohmann::json config,
                           ReadJsonFile(path, {.max_bytes = size_t{4} << 20}));
  TESSERA_RETURN_IF_ERROR(JsonObject::Of(config, path).status());
  return config;
}

Result<ModelFiles> OpenModelFiles(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  ModelFiles model;
  if (fs::is_directory(status)) {
    const Result<std::string> gguf = FindGgufModel(path);
    if (gguf.ok()) return OpenGguf(*gguf);
    if (gguf.status().code() != StatusCode::kNotFound) return gguf.status();
    model.folder = path;
    model.config_name = (fs::path(path) / "config.json").string();
    TESSERA_ASSIGN_OR_RETURN(model.config, ReadConfig(path));
    TESSERA_ASSIGN_OR_RETURN(const JsonObject config,
                             JsonObject::Of(model.config, model.config_name));
    StoredMatrices quantized;
    const bool is_quantized = HasQuantizationConfig(config);
    if (is_quantized) {
      TESSERA_ASSIGN_OR_RETURN(quantized, ParseQuantizationConfig(config));
    }
    TESSERA_ASSIGN_OR_RETURN(model.tensors, Checkpoint::Open(path));
    if (is_quantized) {
      TESSERA_ASSIGN_OR_RETURN(model.tensors,
                               QuantizedCheckpoint::Open(std::move(model.tensors), quantized));
    }
    return model;
  }
  if (!fs::exists(status)) {
    return NotFound(
        "{}: no such model; expected a Hugging Face checkpoint folder, a .gguf file or a llama2.c "
        ".bin file",
        Printable(path, 4096));
  }
  if (fs::path(path).extension() == ".gguf") return OpenGguf(path);
  if (fs::path(path).extension() != ".bin") {
    return InvalidArgument(
        "{}: not a model; expected a Hugging Face checkpoint folder, a .gguf file or a "
        "llama2.c .bin file",
        Printable(path, 4096));
  }
  TESSERA_ASSIGN_OR_RETURN(auto file, Llama2cFile::Open(path));
  model.folder = fs::path(path).parent_path().string();
  model.config_name = path;
  model.config = file->Config();
  model.tensors = std::move(file);
  return model;
}

}  // namespace tessera
