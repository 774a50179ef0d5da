// Writes .safetensors files as a stream: declare every tensor, append their bytes in that order,
// finish. One file, or shards of a bounded size with their index.
//
// Files are AtomicFiles: disk space is reserved by Create, and an error or destruction before
// Finish leaves nothing behind. Tensor data begins at a multiple of 64 bytes; every tensor must
// fall on a multiple of its element size, so declare wide dtypes before narrow ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/formats/atomic_file.h"
#include "tessera/tensor/tensor.h"

namespace tessera {

struct TensorSpec {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
};

using SafetensorsMetadata = std::map<std::string, std::string>;

class SafetensorsWriter {
 public:
  static Result<std::unique_ptr<SafetensorsWriter>> Create(
      const std::string& path, const std::vector<TensorSpec>& tensors,
      const SafetensorsMetadata& metadata = {});

  const std::string& path() const { return file_->path(); }
  // Tensor bytes still to be appended.
  int64_t remaining() const { return file_->size() - file_->written(); }

  // Any split of the data is fine: parts of tensors, or several at once.
  Status Append(std::span<const std::byte> bytes) { return file_->Append(bytes); }
  Status Finish() { return file_->Commit(); }

 private:
  friend class ShardedSafetensorsWriter;
  explicit SafetensorsWriter(std::unique_ptr<AtomicFile> file) : file_(std::move(file)) {}

  std::unique_ptr<AtomicFile> file_;
};

// A checkpoint folder: model.safetensors when one shard is enough, otherwise
// model-00001-of-0000N.safetensors and so on with model.safetensors.index.json.
class ShardedSafetensorsWriter {
 public:
  // A shard holds at most `max_shard_bytes` of tensors; a single larger tensor gets its own. The
  // folder must exist and hold no other weights, which a reader might prefer.
  static Result<std::unique_ptr<ShardedSafetensorsWriter>> Create(
      const std::string& folder, const std::vector<TensorSpec>& tensors,
      const SafetensorsMetadata& metadata, int64_t max_shard_bytes);

  // File names in the folder, in order.
  const std::vector<std::string>& shards() const { return names_; }
  int64_t total_bytes() const { return total_bytes_; }

  Status Append(std::span<const std::byte> bytes);
  Status Finish();

 private:
  ShardedSafetensorsWriter() = default;

  std::vector<std::string> names_;
  std::vector<std::unique_ptr<SafetensorsWriter>> shards_;
  size_t current_ = 0;
  int64_t total_bytes_ = 0;
  std::unique_ptr<AtomicFile> index_;  // null for one shard
};

}  // namespace tessera
