// A Hugging Face checkpoint folder as one TensorSource: model.safetensors, else the shards of
// *.safetensors.index.json, else the only other *.safetensors file.
//
// The index is untrusted: shard names must be plain file names, and a shard that is a symbolic
// link must lead to a file inside the folder (or to the blobs folder of the Hugging Face cache
// the folder is a snapshot of). Index and shards must agree about which shard holds a tensor.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/formats/safetensors.h"
#include "tessera/formats/tensor_source.h"

namespace tessera {

// model.safetensors.index.json
struct CheckpointIndex {
  std::map<std::string, std::string, std::less<>> weight_map;  // tensor to shard file name
  std::vector<std::string> shards;                             // distinct, sorted
};

// Accepts only shard names that are plain *.safetensors file names.
Result<CheckpointIndex> ParseCheckpointIndex(std::string_view text, std::string_view name);

class Checkpoint : public TensorSource {
 public:
  static Result<std::unique_ptr<Checkpoint>> Open(const std::string& folder);

  const std::string& origin() const override { return folder_; }
  std::vector<std::string> names() const override;
  const TensorView* Find(std::string_view name) const override;
  int64_t total_bytes() const override { return total_bytes_; }
  void Advise(std::string_view name, MapAdvice advice) const override;

  const std::vector<std::unique_ptr<SafetensorsFile>>& files() const { return files_; }
  // The file that lists the tensor, or null.
  const SafetensorsFile* FileOf(std::string_view name) const;

 protected:
  Status Missing(std::string_view name) const override;

 private:
  explicit Checkpoint(std::string folder) : folder_(std::move(folder)) {}
  Status AddFile(const std::string& path);
  Status AddShards(const std::string& index_path);

  std::string folder_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, const SafetensorsFile*, std::less<>> tensors_;
  int64_t total_bytes_ = 0;
};

}  // namespace tessera
