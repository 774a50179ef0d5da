#include "tessera/api/internal/artefacts.h"

#include <filesystem>

#include "tessera/formats/safetensors.h"

namespace tessera::api {
namespace {

// A Learn2PD filter has 8 KB. More than this is some other file, a model's for example.
constexpr int64_t kMaxBytes = int64_t{64} << 20;

Result<decode::Artefact> Read(const std::string& path) {
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<SafetensorsFile> file,
                           SafetensorsFile::Open(path));
  if (file->total_bytes() > kMaxBytes) {
    return InvalidArgument("{}: {} bytes of tensors; a trained part of a strategy has at most {}",
                           path, file->total_bytes(), kMaxBytes);
  }
  decode::Artefact artefact{.path = path, .tensors = {}, .metadata = file->metadata()};
  for (const std::string& name : file->names()) {
    TESSERA_ASSIGN_OR_RETURN(const TensorView found, file->Get(name));
    TESSERA_ASSIGN_OR_RETURN(const TensorView tensor, file->GetFinite(name, found.shape));
    artefact.tensors[name] = {.shape = tensor.shape, .values = ToFloats(tensor)};
  }
  return artefact;
}

}  // namespace

decode::ArtefactLoader LoadArtefactsBeside(const std::string& folder, bool named) {
  return [folder, named](const std::string& path,
                         const std::string& own_name) -> Result<decode::Artefact> {
    if (!named && !path.empty()) {
      return InvalidArgument(
          "a strategy may not name files here; accepted: no file, for {} in the model's folder",
          own_name);
    }
    std::error_code error;
    const std::string& wanted = path.empty() ? folder : path;
    if (std::filesystem::is_directory(wanted, error)) return Read(wanted + "/" + own_name);
    if (path.empty()) return NotFound("{}: not a folder", folder);  // a model in one file
    return Read(path);
  };
}

}  // namespace tessera::api
