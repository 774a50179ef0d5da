// Reads one .safetensors file (https://huggingface.co/docs/safetensors): memory-mapped, validated
// completely before the first tensor is handed out, with the reference implementation's rules.
//
// Refused, each with one line naming file and tensor: truncation, a header longer than the file or
// than 100 MB, overlaps, holes, ranges outside the file, sizes that disagree with shape and dtype,
// duplicate names, bad JSON. dtypes other than f32 f16 bf16 i64 i32 u8 bool are listed, not served.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/formats/mapped_file.h"
#include "tessera/formats/tensor_source.h"
#include "tessera/tensor/tensor.h"

namespace tessera {

class SafetensorsFile : public TensorSource {
 public:
  static constexpr size_t kMaxHeaderBytes = 100'000'000;  // the reference's limit
  static constexpr size_t kMaxRank = 16;

  static Result<std::unique_ptr<SafetensorsFile>> Open(const std::string& path);
  // Reads a file's bytes in place: they must outlive the result. `name` is used in messages.
  static Result<std::unique_ptr<SafetensorsFile>> Parse(std::span<const std::byte> bytes,
                                                        std::string_view name);

  const std::string& origin() const override { return name_; }
  std::vector<std::string> names() const override;
  const TensorView* Find(std::string_view name) const override;
  int64_t total_bytes() const override { return total_bytes_; }
  void Advise(std::string_view name, MapAdvice advice) const override;

  bool Lists(std::string_view name) const { return tensors_.find(name) != tensors_.end(); }
  // The file's spelling of a listed tensor's dtype, for example "F8_E4M3"; empty when not listed.
  std::string_view StoredDType(std::string_view name) const;
  // The free-form "__metadata__" strings.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 protected:
  Status Missing(std::string_view name) const override;

 private:
  struct Entry {
    std::string stored_dtype;
    bool supported = false;
    TensorView view;
    int64_t begin = 0, end = 0;  // in the data section
  };
  using Entries = std::map<std::string, Entry, std::less<>>;

  explicit SafetensorsFile(std::string_view name) : name_(name) {}
  Status ReadHeader(std::span<const std::byte> bytes);
  Status ReadEntry(std::string_view tensor, const nlohmann::json& json, int64_t data_bytes,
                   Entry* entry) const;
  Status CheckLayout(int64_t data_bytes) const;

  std::string name_;
  std::unique_ptr<MappedFile> file_;  // null after Parse
  Entries tensors_;
  std::map<std::string, std::string> metadata_;
  int64_t total_bytes_ = 0;
};

}  // namespace tessera
