// Reads a karpathy/llama2.c checkpoint: the legacy header of seven int32, and version 1 ("ak42"),
// both f32. Presents it as a Hugging Face Llama: tensor names, row order and a config object.
//
// The size must match the header to the byte. llama2.c rotates neighbouring elements (2i, 2i+1) of
// a head, Hugging Face Llama rotates (i, i + head_dim/2); the rows of q_proj and k_proj are
// therefore copied in that order, and everything else stays in the memory map.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/formats/mapped_file.h"
#include "tessera/formats/tensor_source.h"
#include "tessera/tensor/tensor.h"

namespace tessera {

struct Llama2cHeader {
  int32_t version = 0;  // 0: legacy
  int64_t dim = 0, hidden_dim = 0, layers = 0, heads = 0, kv_heads = 0, vocab = 0, seq_len = 0;
  bool tied = true;         // the head is the embedding
  int64_t data_offset = 0;  // where the tensors begin

  int64_t head_dim() const { return dim / heads; }
};

// Header and size checked against `bytes`, the whole file.
Result<Llama2cHeader> ReadLlama2cHeader(std::span<const std::byte> bytes, std::string_view name);

class Llama2cFile : public TensorSource {
 public:
  static Result<std::unique_ptr<Llama2cFile>> Open(const std::string& path);
  // Reads a file's bytes in place: they must outlive the result. `name` is used in messages.
  static Result<std::unique_ptr<Llama2cFile>> Parse(std::span<const std::byte> bytes,
                                                    std::string_view name);

  const std::string& origin() const override { return name_; }
  std::vector<std::string> names() const override;
  const TensorView* Find(std::string_view name) const override;
  int64_t total_bytes() const override { return total_bytes_; }
  void Advise(std::string_view name, MapAdvice advice) const override;

  const Llama2cHeader& header() const { return header_; }
  // What config.json would say: LlamaForCausalLM, sizes, rms_norm_eps 1e-5, rope_theta 10000.
  nlohmann::json Config() const;

 private:
  explicit Llama2cFile(std::string_view name) : name_(name) {}
  void AddTensors(std::span<const std::byte> bytes);

  std::string name_;
  std::unique_ptr<MappedFile> file_;  // null after Parse
  Llama2cHeader header_;
  std::map<std::string, TensorView, std::less<>> tensors_;
  std::vector<Buffer> owned_;  // rows in another order than the file's
  int64_t total_bytes_ = 0;
};

}  // namespace tessera
