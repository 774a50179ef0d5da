#include "tessera/formats/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>

#include "tessera/formats/json.h"
#include "tessera/formats/quote.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kWeights = "model.safetensors";
constexpr std::string_view kIndex = "model.safetensors.index.json";

bool Exists(const fs::path& path) {
  std::error_code error;
  return fs::exists(fs::symlink_status(path, error));
}

// The part of a path that two paths below one folder share.
bool Inside(const fs::path& path, const fs::path& folder) {
  const auto mismatch = std::mismatch(folder.begin(), folder.end(), path.begin(), path.end());
  return mismatch.first == folder.end();
}

// Follows symbolic links and refuses a file that is not inside the folder. The Hugging Face cache
// lays a snapshot out as links: <repo>/snapshots/<revision>/x -> ../../blobs/<hash>.
Status CheckInside(const fs::path& folder, const std::string& shard) {
  std::error_code error;
  const fs::path root = fs::canonical(folder, error);
  if (error) return NotFound("{}: {}", Printable(folder.string(), 4096), error.message());
  const fs::path target = fs::canonical(root / shard, error);
  if (error) {
    return NotFound("{}: shard {} is missing or cannot be followed: {}",
                    Printable(folder.string(), 4096), Quoted(shard), error.message());
  }
  if (Inside(target, root)) return OkStatus();
  const fs::path snapshots = root.parent_path();
  if (snapshots.filename() == "snapshots" && Inside(target, snapshots.parent_path() / "blobs")) {
    return OkStatus();
  }
  return InvalidArgument("{}: shard {} is a symbolic link out of the folder, to {}; refused",
                         Printable(folder.string(), 4096), Quoted(shard), Quoted(target.string()));
}

// Names of the folder's entries that end with `suffix`, sorted.
Result<std::vector<std::string>> EntriesEndingWith(const std::string& folder,
                                                   std::string_view suffix) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.size() > suffix.size() && name.ends_with(suffix)) names.push_back(name);
  }
  if (error) {
    return InvalidArgument("{}: cannot be listed: {}", Printable(folder, 4096), error.message());
  }
  std::sort(names.begin(), names.end());
  return names;
}

Status CheckShardName(std::string_view name, std::string_view tensor, std::string_view shard) {
  const bool plain = shard.find_first_of(std::string_view("/\\\0", 3)) == shard.npos &&
                     shard != "." && shard != "..";
  if (plain && shard.ends_with(".safetensors") && IsUtf8(shard)) return OkStatus();
  return InvalidArgument(
      "{}: field 'weight_map' tensor {} names file {}; accepted: a plain "
      "*.safetensors file name in the same folder",
      Printable(name, 4096), Quoted(tensor), Quoted(shard));
}

}  // namespace

Result<CheckpointIndex> ParseCheckpointIndex(std::string_view text, std::string_view name) {
  TESSERA_ASSIGN_OR_RETURN(const nlohmann::json json,
                           ParseJson(text, name, {.duplicate_keys = DuplicateKeys::kRefuse}));
  TESSERA_ASSIGN_OR_RETURN(const JsonObject root, JsonObject::Of(json, name));
  TESSERA_ASSIGN_OR_RETURN(const JsonObject map, root.GetObject("weight_map"));
  CheckpointIndex index;
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : map.json().items()) {
    if (!shard.is_string()) {
      return DataLoss(
          "{}: field 'weight_map' tensor {} is not a string; accepted: the name of "
          "the shard that holds it",
          Printable(name, 4096), Quoted(tensor));
    }
    const auto& file = shard.get_ref<const std::string&>();
    TESSERA_RETURN_IF_ERROR(CheckShardName(name, tensor, file));
    index.weight_map.emplace(tensor, file);
    shards.insert(file);
  }
  if (shards.empty()) {
    return DataLoss("{}: field 'weight_map' is empty; accepted: tensor names with their shards",
                    Printable(name, 4096));
  }
  index.shards.assign(shards.begin(), shards.end());
  return index;
}

Result<std::unique_ptr<Checkpoint>> Checkpoint::Open(const std::string& folder) {
  const std::string shown = Printable(folder, 4096);
  std::error_code error;
  const fs::file_status status = fs::status(folder, error);
  if (!fs::exists(status)) return NotFound("{}: no such folder", shown);
  if (!fs::is_directory(status)) {
    return InvalidArgument("{}: is not a folder; expected a Hugging Face checkpoint folder", shown);
  }
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint(folder));
  const fs::path root(folder);
  if (Exists(root / kWeights)) {
    TESSERA_RETURN_IF_ERROR(checkpoint->AddFile((root / kWeights).string()));
    return checkpoint;
  }
  TESSERA_ASSIGN_OR_RETURN(const auto indices,
                           EntriesEndingWith(folder, ".safetensors.index.json"));
  const bool standard = std::find(indices.begin(), indices.end(), kIndex) != indices.end();
  if (standard || indices.size() == 1) {
    const std::string index = standard ? std::string(kIndex) : indices.front();
    TESSERA_RETURN_IF_ERROR(checkpoint->AddShards((root / index).string()));
    return checkpoint;
  }
  TESSERA_ASSIGN_OR_RETURN(const auto files, EntriesEndingWith(folder, ".safetensors"));
  if (files.size() == 1) {
    TESSERA_RETURN_IF_ERROR(checkpoint->AddFile((root / files.front()).string()));
    return checkpoint;
  }
  if (files.size() > 1 || indices.size() > 1) {
    return InvalidArgument(
        "{}: {} .safetensors files and {} indices, and neither {} nor {} to "
        "say which to use",
        shown, files.size(), indices.size(), kWeights, kIndex);
  }
  TESSERA_ASSIGN_OR_RETURN(const auto pickles, EntriesEndingWith(folder, ".bin"));
  return NotFound("{}: no weights; expected {}, {} with its shards, or one *.safetensors file{}",
                  shown, kWeights, kIndex,
                  pickles.empty() ? "" : " (pickled .bin weights are not read: convert them)");
}

Status Checkpoint::AddFile(const std::string& path) {
  TESSERA_ASSIGN_OR_RETURN(auto file, SafetensorsFile::Open(path));
  for (const std::string& name : file->names()) {
    const auto [item, inserted] = tensors_.emplace(name, file.get());
    if (!inserted) {
      return DataLoss("{}: tensor {} is also in {}; accepted: each tensor in one shard",
                      Printable(path, 4096), Quoted(name), Printable(item->second->origin(), 4096));
    }
  }
  total_bytes_ += file->total_bytes();
  files_.push_back(std::move(file));
  return OkStatus();
}

Status Checkpoint::AddShards(const std::string& index_path) {
  TESSERA_ASSIGN_OR_RETURN(auto file, MappedFile::Open(index_path));
  TESSERA_ASSIGN_OR_RETURN(const CheckpointIndex index,
                           ParseCheckpointIndex(file->text(), index_path));
  std::map<std::string_view, const SafetensorsFile*> opened;
  for (const std::string& shard : index.shards) {
    TESSERA_RETURN_IF_ERROR(CheckInside(folder_, shard).WithContext(Printable(index_path, 4096)));
    TESSERA_RETURN_IF_ERROR(AddFile((fs::path(folder_) / shard).string()));
    opened.emplace(shard, files_.back().get());
  }
  for (const auto& [tensor, shard] : index.weight_map) {
    if (FileOf(tensor) != opened.at(shard)) {
      return DataLoss("{}: tensor {} is listed in shard {}, which does not hold it",
                      Printable(index_path, 4096), Quoted(tensor), Quoted(shard));
    }
  }
  return OkStatus();
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  names.reserve(tensors_.size());
  for (const auto& item : tensors_) names.push_back(item.first);
  return names;
}

const SafetensorsFile* Checkpoint::FileOf(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : found->second;
}

const TensorView* Checkpoint::Find(std::string_view name) const {
  const SafetensorsFile* file = FileOf(name);
  return file == nullptr ? nullptr : file->Find(name);
}

Status Checkpoint::Missing(std::string_view name) const {
  const SafetensorsFile* file = FileOf(name);
  if (file == nullptr) return TensorSource::Missing(name);
  return file->Get(name, Accept::kAnyDType).status();
}

void Checkpoint::Advise(std::string_view name, MapAdvice advice) const {
  if (const SafetensorsFile* file = FileOf(name)) file->Advise(name, advice);
}

}  // namespace tessera
