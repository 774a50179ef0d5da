// A GGUF model, one file or a complete split set, as a TensorSource: F32, F16 and BF16 tensors
// through Find, Q8_0, Q4_0, Q4_1, Q4_K, Q5_K and Q6_K matrices through FindQuantized, all in the
// memory map. Other types are listed and refused by name.
//
// The public converter stores the Q and K projections of `llama` and `llada` for a rotation of
// neighbouring elements (2i, 2i+1); we rotate (i, i + head_dim/2) as Hugging Face does. Their rows
// are given in our order: integers row by row, floats as a copy that lives until
// Advise(kDontNeed).
#pragma once

#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/formats/gguf_header.h"
#include "tessera/formats/mapped_file.h"
#include "tessera/formats/tensor_source.h"

namespace tessera {

class GgufFile : public TensorSource {
 public:
  // `path`: a .gguf file; any file of a split set stands for the set.
  static Result<std::unique_ptr<GgufFile>> Open(const std::string& path);
  // Reads one file's bytes in place: they must outlive the result. `name` is used in messages.
  static Result<std::unique_ptr<GgufFile>> Parse(std::span<const std::byte> bytes,
                                                 std::string_view name);
  ~GgufFile() override;

  const std::string& origin() const override { return name_; }
  std::vector<std::string> names() const override;
  const TensorView* Find(std::string_view name) const override;
  const QuantizedTensor* FindQuantized(std::string_view name) const override;
  Result<TensorInfo> Describe(std::string_view name) const override;
  int64_t total_bytes() const override { return total_bytes_; }
  void Advise(std::string_view name, MapAdvice advice) const override;

  bool Has(std::string_view name) const { return tensors_.contains(name); }
  const GgufMetadata& metadata() const { return headers_.front().metadata; }
  // What config.json would say, see gguf_config.h.
  Result<nlohmann::json> Config() const;

 protected:
  Status Missing(std::string_view name) const override;
  Status CheckScales(std::string_view name) const override;

 private:
  struct Entry;

  explicit GgufFile(std::string name);
  Status AddFile(std::span<const std::byte> bytes, std::string_view name);
  Status AddSplits(const std::string& path, int64_t count);
  Status AddTensors();
  const Entry* EntryOf(std::string_view name) const;

  std::string name_;
  std::vector<std::unique_ptr<MappedFile>> files_;  // empty after Parse
  std::vector<std::span<const std::byte>> bytes_;   // of each file
  std::vector<GgufHeader> headers_;
  std::map<std::string, std::unique_ptr<Entry>, std::less<>> tensors_;
  mutable std::mutex copies_mutex_;
  int64_t total_bytes_ = 0;
};

// The one .gguf file of a folder, or the first of its one complete split set; NotFound when there
// is no .gguf file, and an error that lists them when there are several models.
Result<std::string> FindGgufInFolder(const std::string& folder);

// One file with its header, for what needs no weights (tokenizers).
struct GgufMetadataFile {
  std::unique_ptr<MappedFile> file;
  GgufMetadata metadata;
};
Result<GgufMetadataFile> OpenGgufMetadata(const std::string& path);

}  // namespace tessera
