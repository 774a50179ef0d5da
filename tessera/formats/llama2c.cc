#include "tessera/formats/llama2c.h"

#include <cstring>

#include "tessera/formats/quote.h"

namespace tessera {
namespace {

constexpr uint32_t kMagic = 0x616b3432;  // "ak42"
constexpr size_t kLegacyHeaderBytes = 28;
constexpr size_t kVersionedHeaderBytes = 256;
constexpr int64_t kMaxExtent = int64_t{1} << 24;  // keeps every product of three far below 2^63

int32_t Int32At(std::span<const std::byte> bytes, size_t offset) {
  int32_t value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

Status CheckSizes(const Llama2cHeader& h, std::string_view file) {
  const struct {
    const char* field;
    int64_t value;
    int64_t max;
  } fields[] = {{"dim", h.dim, kMaxExtent},          {"hidden_dim", h.hidden_dim, kMaxExtent},
                {"n_layers", h.layers, 1 << 14},     {"n_heads", h.heads, 1 << 14},
                {"n_kv_heads", h.kv_heads, 1 << 14}, {"vocab_size", h.vocab, kMaxExtent},
                {"seq_len", h.seq_len, kMaxExtent}};
  for (const auto& field : fields) {
    if (field.value < 1 || field.value > field.max) {
      return DataLoss("{}: header field '{}' is {}; accepted: 1 to {} (is this llama2.c?)", file,
                      field.field, field.value, field.max);
    }
  }
  if (h.dim % h.heads != 0 || h.head_dim() % 2 != 0) {
    return DataLoss("{}: header field 'dim' is {}; accepted: an even multiple of 'n_heads' {}",
                    file, h.dim, h.heads);
  }
  if (h.heads % h.kv_heads != 0) {
    return DataLoss("{}: header field 'n_kv_heads' is {}; accepted: a divisor of 'n_heads' {}",
                    file, h.kv_heads, h.heads);
  }
  return OkStatus();
}

// Bytes of the whole file, or -1 when they overflow.
int64_t ExpectedBytes(const Llama2cHeader& h) {
  const int64_t kv_dim = h.head_dim() * h.kv_heads;
  // Each product is below 2^49 and their sum below 2^52; only the factor `layers` can overflow.
  const int64_t layer =
      2 * h.dim + 2 * h.dim * h.dim + 2 * kv_dim * h.dim + 3 * h.dim * h.hidden_dim;
  int64_t floats = 0;
  if (__builtin_mul_overflow(layer, h.layers, &floats)) return -1;
  int64_t rest = h.dim + h.vocab * h.dim * (h.tied ? 1 : 2);
  if (h.version == 0) rest += h.seq_len * h.head_dim();  // the unused rotation tables
  int64_t bytes = 0;
  if (__builtin_add_overflow(floats, rest, &floats) ||
      __builtin_mul_overflow(floats, int64_t{sizeof(float)}, &bytes) ||
      __builtin_add_overflow(bytes, h.data_offset, &bytes)) {
    return -1;
  }
  return bytes;
}

// Copies [heads * head_dim, columns] so that rows (2i, 2i+1) of each head become (i, i + half).
Buffer HalvesFromPairs(const std::byte* source, int64_t heads, int64_t head_dim,
                       int64_t row_bytes) {
  Buffer buffer(static_cast<size_t>(heads * head_dim * row_bytes));
  const int64_t half = head_dim / 2;
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t i = 0; i < head_dim; ++i) {
      const int64_t from = i < half ? 2 * i : 2 * (i - half) + 1;
      std::memcpy(buffer.data() + (head * head_dim + i) * row_bytes,
                  source + (head * head_dim + from) * row_bytes, static_cast<size_t>(row_bytes));
    }
  }
  return buffer;
}

}  // namespace

Result<Llama2cHeader> ReadLlama2cHeader(std::span<const std::byte> bytes, std::string_view name) {
  const std::string file = Printable(name, 4096);
  Llama2cHeader header;
  if (bytes.size() < kLegacyHeaderBytes) {
    return DataLoss("{}: truncated: {} bytes, but a llama2.c header has {}", file, bytes.size(),
                    kLegacyHeaderBytes);
  }
  size_t at = 0;
  if (static_cast<uint32_t>(Int32At(bytes, 0)) == kMagic) {
    header.version = Int32At(bytes, 4);
    if (header.version == 2) {
      return Unimplemented(
          "{}: llama2.c version 2 (int8) is not read; accepted: the f32 export "
          "(legacy, or version 1)",
          file);
    }
    if (header.version != 1) {
      return Unimplemented("{}: header field 'version' is {}; accepted: 1, or the legacy header",
                           file, header.version);
    }
    if (bytes.size() < kVersionedHeaderBytes) {
      return DataLoss("{}: truncated: {} bytes, but a version 1 header has {}", file, bytes.size(),
                      kVersionedHeaderBytes);
    }
    at = 8;
  }
  header.dim = Int32At(bytes, at);
  header.hidden_dim = Int32At(bytes, at + 4);
  header.layers = Int32At(bytes, at + 8);
  header.heads = Int32At(bytes, at + 12);
  header.kv_heads = Int32At(bytes, at + 16);
  header.vocab = Int32At(bytes, at + 20);
  header.seq_len = Int32At(bytes, at + 24);
  if (header.version == 0) {
    header.tied = header.vocab > 0;
    header.vocab = header.tied ? header.vocab : -header.vocab;
    header.data_offset = kLegacyHeaderBytes;
  } else {
    header.tied = bytes[at + 28] != std::byte{0};
    header.data_offset = kVersionedHeaderBytes;
  }
  TESSERA_RETURN_IF_ERROR(CheckSizes(header, file));
  const int64_t expected = ExpectedBytes(header);
  if (expected < 0) return DataLoss("{}: the header's sizes overflow", file);
  if (static_cast<uint64_t>(expected) != bytes.size()) {
    return DataLoss(
        "{}: {} bytes, but the header (dim {}, {} layers, vocabulary {}) needs exactly "
        "{} (truncated, or not llama2.c)",
        file, bytes.size(), header.dim, header.layers, header.vocab, expected);
  }
  return header;
}

Result<std::unique_ptr<Llama2cFile>> Llama2cFile::Open(const std::string& path) {
  TESSERA_ASSIGN_OR_RETURN(auto file, MappedFile::Open(path));
  TESSERA_ASSIGN_OR_RETURN(auto model, Parse(file->bytes(), path));
  model->file_ = std::move(file);
  return model;
}

Result<std::unique_ptr<Llama2cFile>> Llama2cFile::Parse(std::span<const std::byte> bytes,
                                                        std::string_view name) {
  std::unique_ptr<Llama2cFile> model(new Llama2cFile(name));
  TESSERA_ASSIGN_OR_RETURN(model->header_, ReadLlama2cHeader(bytes, name));
  model->AddTensors(bytes);
  return model;
}

// Tensors lie one after another; each kind holds all layers. Sizes were checked to sum to the
// file's, so no step here can leave it.
void Llama2cFile::AddTensors(std::span<const std::byte> bytes) {
  const Llama2cHeader& h = header_;
  const int64_t kv_dim = h.head_dim() * h.kv_heads;
  const std::byte* at = bytes.data() + h.data_offset;

  const auto add = [&](std::string name, Shape shape) {
    TensorView view{at, DType::kF32, std::move(shape)};
    at += view.bytes();
    total_bytes_ += view.bytes();
    tensors_.emplace(std::move(name), std::move(view));
  };
  const auto add_layers = [&](std::string_view suffix, const Shape& shape) {
    for (int64_t layer = 0; layer < h.layers; ++layer) {
      add(fmt::format("model.layers.{}.{}.weight", layer, suffix), shape);
    }
  };
  const auto add_rotated = [&](std::string_view suffix, int64_t heads) {
    for (int64_t layer = 0; layer < h.layers; ++layer) {
      const std::byte* const source = at;
      const std::string name = fmt::format("model.layers.{}.{}.weight", layer, suffix);
      add(name, {heads * h.head_dim(), h.dim});
      owned_.push_back(HalvesFromPairs(source, heads, h.head_dim(),
                                       h.dim * static_cast<int64_t>(sizeof(float))));
      tensors_[name].data = owned_.back().data();
    }
  };
  const auto add_attention = [&] {
    add_rotated("self_attn.q_proj", h.heads);
    add_rotated("self_attn.k_proj", h.kv_heads);
    add_layers("self_attn.v_proj", {kv_dim, h.dim});
    add_layers("self_attn.o_proj", {h.dim, h.dim});
  };
  const auto add_mlp = [&] {
    add_layers("mlp.gate_proj", {h.hidden_dim, h.dim});  // w1
    add_layers("mlp.down_proj", {h.dim, h.hidden_dim});  // w2
    add_layers("mlp.up_proj", {h.hidden_dim, h.dim});    // w3
  };

  if (h.version == 0) {
    add("model.embed_tokens.weight", {h.vocab, h.dim});
    add_layers("input_layernorm", {h.dim});
    add_attention();
    add_layers("post_attention_layernorm", {h.dim});
    add_mlp();
    add("model.norm.weight", {h.dim});
    // Cosines and sines for theta 10000, which llama2.c itself skips and recomputes.
    at += h.seq_len * h.head_dim() * static_cast<int64_t>(sizeof(float));
  } else {
    add_layers("input_layernorm", {h.dim});
    add_layers("post_attention_layernorm", {h.dim});
    add("model.norm.weight", {h.dim});
    add("model.embed_tokens.weight", {h.vocab, h.dim});
    add_attention();
    add_mlp();
  }
  if (!h.tied) add("lm_head.weight", {h.vocab, h.dim});
  TESSERA_CHECK(at == bytes.data() + bytes.size());
}

nlohmann::json Llama2cFile::Config() const {
  const Llama2cHeader& h = header_;
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_act", "silu"},
          {"hidden_size", h.dim},
          {"head_dim", h.head_dim()},
          {"intermediate_size", h.hidden_dim},
          {"num_hidden_layers", h.layers},
          {"num_attention_heads", h.heads},
          {"num_key_value_heads", h.kv_heads},
          {"vocab_size", h.vocab},
          {"max_position_embeddings", h.seq_len},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 10000.0},
          {"attention_bias", false},
          {"mlp_bias", false},
          {"tie_word_embeddings", h.tied},
          {"torch_dtype", "float32"},
          {"bos_token_id", 1},
          // llama2.c separates texts with BOS and stops when the model predicts it.
          {"eos_token_id", 1}};
}

std::vector<std::string> Llama2cFile::names() const {
  std::vector<std::string> names;
  names.reserve(tensors_.size());
  for (const auto& item : tensors_) names.push_back(item.first);
  return names;
}

const TensorView* Llama2cFile::Find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

void Llama2cFile::Advise(std::string_view name, MapAdvice advice) const {
  const TensorView* tensor = Find(name);
  if (file_ == nullptr || tensor == nullptr) return;
  file_->Advise({tensor->data, static_cast<size_t>(tensor->bytes())}, advice);
}

}  // namespace tessera
