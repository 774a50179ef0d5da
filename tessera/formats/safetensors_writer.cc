#include "tessera/formats/safetensors_writer.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <system_error>

#include "tessera/formats/quote.h"
#include "tessera/formats/safetensors.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr size_t kDataAlignment = 64;
constexpr size_t kMaxShards = 512;  // each keeps a file open until Finish

std::string_view StoredName(DType dtype) {
  switch (dtype) {
    case DType::kF32: return "F32";
    case DType::kF16: return "F16";
    case DType::kBF16: return "BF16";
    case DType::kI64: return "I64";
    case DType::kI32: return "I32";
    case DType::kU8: return "U8";
    case DType::kBool: return "BOOL";
  }
  return "";
}

// nullopt: a negative extent, or more than int64 can count.
std::optional<int64_t> BytesOf(const TensorSpec& tensor) {
  int64_t bytes = SizeOf(tensor.dtype);
  bool empty = false;
  for (const int64_t extent : tensor.shape) {
    if (extent < 0) return std::nullopt;
    empty |= extent == 0;
    if (extent != 0 && __builtin_mul_overflow(bytes, extent, &bytes)) return std::nullopt;
  }
  return empty ? 0 : bytes;
}

struct Layout {
  std::string header;  // length prefix included
  int64_t data_bytes = 0;
};

Result<Layout> MakeLayout(const std::string& path, std::span<const TensorSpec> tensors,
                          const SafetensorsMetadata& metadata) {
  const std::string file = Printable(path, 4096);
  nlohmann::json header = nlohmann::json::object();
  for (const auto& [key, value] : metadata) {
    if (!IsUtf8(key) || !IsUtf8(value)) {
      return InvalidArgument("{}: metadata {} is not UTF-8", file, Quoted(key));
    }
    header["__metadata__"][key] = value;
  }
  Layout layout;
  for (const TensorSpec& tensor : tensors) {
    const auto refuse = [&](std::string_view reason) {
      return InvalidArgument("{}: tensor {} {}: {}", file, Quoted(tensor.name),
                             ToString(tensor.shape), reason);
    };
    if (!IsUtf8(tensor.name)) return refuse("the name is not UTF-8");
    if (tensor.name == "__metadata__") return refuse("the name is reserved");
    if (header.contains(tensor.name)) return refuse("declared twice");
    if (tensor.shape.size() > SafetensorsFile::kMaxRank) return refuse("too many dimensions");
    const std::optional<int64_t> bytes = BytesOf(tensor);
    const int64_t begin = layout.data_bytes;
    if (!bytes || __builtin_add_overflow(begin, *bytes, &layout.data_bytes)) {
      return refuse("the size is negative or overflows");
    }
    if (begin % SizeOf(tensor.dtype) != 0) {
      return refuse("would not be aligned; declare wide dtypes before narrow ones");
    }
    header[tensor.name] = {{"dtype", StoredName(tensor.dtype)},
                           {"shape", tensor.shape},
                           {"data_offsets", {begin, layout.data_bytes}}};
  }
  std::string text = header.dump();
  const size_t unpadded = sizeof(uint64_t) + text.size();
  text.append((unpadded + kDataAlignment - 1) / kDataAlignment * kDataAlignment - unpadded, ' ');
  if (text.size() > SafetensorsFile::kMaxHeaderBytes) {
    return InvalidArgument("{}: the header would have {} bytes; accepted: at most {}", file,
                           text.size(), SafetensorsFile::kMaxHeaderBytes);
  }
  const uint64_t length = text.size();
  layout.header.resize(sizeof length);
  std::memcpy(layout.header.data(), &length, sizeof length);
  layout.header += text;
  return layout;
}

Status CheckNoOtherWeights(const std::string& folder, const std::set<std::string>& ours) {
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (!name.ends_with(".safetensors") && !name.ends_with(".safetensors.index.json")) continue;
    if (ours.count(name) != 0) continue;
    return InvalidArgument(
        "{}: already holds {}, which is no part of this checkpoint; expected a "
        "folder without other weights",
        Printable(folder, 4096), Quoted(name));
  }
  if (error) {
    return NotFound("{}: cannot be listed: {}", Printable(folder, 4096), error.message());
  }
  return OkStatus();
}

}  // namespace

Result<std::unique_ptr<SafetensorsWriter>> SafetensorsWriter::Create(
    const std::string& path, const std::vector<TensorSpec>& tensors,
    const SafetensorsMetadata& metadata) {
  TESSERA_ASSIGN_OR_RETURN(const Layout layout, MakeLayout(path, tensors, metadata));
  int64_t size = static_cast<int64_t>(layout.header.size());
  if (__builtin_add_overflow(size, layout.data_bytes, &size)) {
    return InvalidArgument("{}: the size overflows", Printable(path, 4096));
  }
  TESSERA_ASSIGN_OR_RETURN(auto file, AtomicFile::Create(path, size));
  TESSERA_RETURN_IF_ERROR(file->Append(std::as_bytes(std::span(layout.header))));
  return std::unique_ptr<SafetensorsWriter>(new SafetensorsWriter(std::move(file)));
}

Result<std::unique_ptr<ShardedSafetensorsWriter>> ShardedSafetensorsWriter::Create(
    const std::string& folder, const std::vector<TensorSpec>& tensors,
    const SafetensorsMetadata& metadata, int64_t max_shard_bytes) {
  const std::string shown = Printable(folder, 4096);
  if (max_shard_bytes < 1) {
    return InvalidArgument("{}: shards of at most {} bytes; accepted: at least 1", shown,
                           max_shard_bytes);
  }
  // Greedy, in the declared order: a shard is closed when the next tensor would not fit.
  std::unique_ptr<ShardedSafetensorsWriter> writer(new ShardedSafetensorsWriter);
  std::vector<std::vector<TensorSpec>> groups(1);
  std::set<std::string_view> seen;
  int64_t group_bytes = 0;
  for (const TensorSpec& tensor : tensors) {
    const std::optional<int64_t> bytes = BytesOf(tensor);
    if (!bytes || __builtin_add_overflow(writer->total_bytes_, *bytes, &writer->total_bytes_)) {
      return InvalidArgument("{}: tensor {} {}: the size is negative or overflows", shown,
                             Quoted(tensor.name), ToString(tensor.shape));
    }
    if (!seen.insert(tensor.name).second) {
      return InvalidArgument("{}: tensor {}: declared twice", shown, Quoted(tensor.name));
    }
    if (!groups.back().empty() && *bytes > max_shard_bytes - group_bytes) {
      groups.emplace_back();
      group_bytes = 0;
    }
    groups.back().push_back(tensor);
    group_bytes = std::min(max_shard_bytes, group_bytes + std::min(*bytes, max_shard_bytes));
  }
  if (groups.size() > kMaxShards) {
    return InvalidArgument("{}: {} shards; accepted: at most {}, so raise the {} bytes per shard",
                           shown, groups.size(), kMaxShards, max_shard_bytes);
  }

  nlohmann::json weight_map = nlohmann::json::object();
  for (size_t i = 0; i < groups.size(); ++i) {
    writer->names_.push_back(
        groups.size() == 1 ? "model.safetensors"
                           : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, groups.size()));
    for (const TensorSpec& tensor : groups[i]) weight_map[tensor.name] = writer->names_.back();
  }
  std::set<std::string> ours(writer->names_.begin(), writer->names_.end());
  if (groups.size() > 1) ours.insert("model.safetensors.index.json");
  TESSERA_RETURN_IF_ERROR(CheckNoOtherWeights(folder, ours));

  for (size_t i = 0; i < groups.size(); ++i) {
    const std::string path = (fs::path(folder) / writer->names_[i]).string();
    TESSERA_ASSIGN_OR_RETURN(auto shard, SafetensorsWriter::Create(path, groups[i], metadata));
    writer->shards_.push_back(std::move(shard));
  }
  if (groups.size() > 1) {
    // Names were checked to be UTF-8 by the shards, so dump() cannot throw.
    const nlohmann::json index = {{"metadata", {{"total_size", writer->total_bytes_}}},
                                  {"weight_map", std::move(weight_map)}};
    const std::string text = index.dump(2) + "\n";
    const std::string path = (fs::path(folder) / "model.safetensors.index.json").string();
    TESSERA_ASSIGN_OR_RETURN(writer->index_,
                             AtomicFile::Create(path, static_cast<int64_t>(text.size())));
    TESSERA_RETURN_IF_ERROR(writer->index_->Append(std::as_bytes(std::span(text))));
  }
  return writer;
}

Status ShardedSafetensorsWriter::Append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    while (current_ + 1 < shards_.size() && shards_[current_]->remaining() == 0) ++current_;
    SafetensorsWriter& shard = *shards_[current_];
    // The last shard takes whatever is left, and refuses what was not declared.
    const size_t room = static_cast<size_t>(shard.remaining());
    const size_t count =
        current_ + 1 < shards_.size() ? std::min(bytes.size(), room) : bytes.size();
    TESSERA_RETURN_IF_ERROR(shard.Append(bytes.first(count)));
    bytes = bytes.subspan(count);
  }
  return OkStatus();
}

Status ShardedSafetensorsWriter::Finish() {
  for (const auto& shard : shards_) TESSERA_RETURN_IF_ERROR(shard->file_->Sync());
  if (index_ != nullptr) TESSERA_RETURN_IF_ERROR(index_->Sync());
  for (const auto& shard : shards_) TESSERA_RETURN_IF_ERROR(shard->file_->Rename());
  return index_ == nullptr ? OkStatus() : index_->Rename();
}

}  // namespace tessera
