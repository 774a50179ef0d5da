#include "tessera/quantize/layer_walk.h"

#include <algorithm>
#include <numeric>

#include "tessera/kv/kv_cache.h"

namespace tessera::quantize {
namespace {

constexpr const char* kNoEmbedding = "embedding of a single layer";

// `config` with nothing but one layer like the given one. Its embedding has one row: a Decoder
// loads one, ForwardLayers needs none.
models::DecoderConfig OneLayer(const models::DecoderConfig& config, int64_t layer) {
  models::DecoderConfig one = config;
  one.mixture.layers = {config.IsMixture(layer)};
  one.layers = 1;
  one.vocab = 1;
  one.tied_head = true;
  one.names.embedding = kNoEmbedding;
  return one;
}

// One layer of a checkpoint as the only one of a model, some of its matrices replaced.
class LayerSource : public TensorSource {
 public:
  LayerSource(const TensorSource& model, const models::DecoderConfig& config, int64_t layer,
              const models::DecoderConfig& one, const Replacements& replaced)
      : model_(model),
        replaced_(replaced),
        zeros_(static_cast<size_t>(config.width)),
        embedding_{
            reinterpret_cast<const std::byte*>(zeros_.data()), DType::kF32, {1, config.width}} {
    const std::vector<models::TensorSpec> asked = LayerTensors(one, 0);
    const std::vector<models::TensorSpec> stored = LayerTensors(config, layer);
    TESSERA_CHECK(asked.size() == stored.size());
    for (size_t i = 0; i < asked.size(); ++i) stored_.emplace(asked[i].name, stored[i].name);
  }

  const std::string& origin() const override { return model_.origin(); }
  std::vector<std::string> names() const override {
    std::vector<std::string> names = {kNoEmbedding};
    for (const auto& item : stored_) names.push_back(item.first);
    return names;
  }
  const TensorView* Find(std::string_view name) const override {
    if (name == kNoEmbedding) return &embedding_;
    const std::string stored = Stored(name);
    return replaced_.find(stored) != replaced_.end() ? nullptr : model_.Find(stored);
  }
  const QuantizedTensor* FindQuantized(std::string_view name) const override {
    const auto found = replaced_.find(Stored(name));
    return found == replaced_.end() ? nullptr : found->second;
  }
  int64_t total_bytes() const override { return model_.total_bytes(); }
  // No Advise: every tensor is needed again, by the next run of the layer or by the writer.

 private:
  // The checkpoint's name; what belongs to no layer, such as the final norm, keeps its own.
  std::string Stored(std::string_view name) const {
    const auto found = stored_.find(name);
    return found == stored_.end() ? std::string(name) : found->second;
  }

  const TensorSource& model_;
  const Replacements& replaced_;
  std::vector<float> zeros_;
  TensorView embedding_;
  std::map<std::string, std::string, std::less<>> stored_;
};

// One sequence by itself under the model's own attention.
struct PlainForward {
  PlainForward(const std::vector<ops::TokenId>& ids, std::span<const int32_t> pages,
               const ops::ModelTraits& traits)
      : tokens(ids), positions(ids.size()), keys{0, static_cast<int32_t>(ids.size())} {
    std::iota(positions.begin(), positions.end(), 0);
    ops::MaskSpec mask{.rule = ops::MaskRule::kFull, .slots = {&keys, 1}};
    if (traits.attention == ops::AttentionKind::kCausal) mask.rule = ops::MaskRule::kCausal;
    if (traits.attention == ops::AttentionKind::kBlockCausal) {
      mask.rule = ops::MaskRule::kBlockCausal;
      mask.block = traits.block;
    }
    group = {.row_begin = 0, .row_end = keys.end, .pages = pages, .mask = mask};
  }
  PlainForward(const PlainForward&) = delete;  // the group refers to the keys
  PlainForward& operator=(const PlainForward&) = delete;

  models::ForwardInput input() const {
    return {.tokens = tokens,
            .positions = positions,
            .slots = positions,
            .groups = {&group, 1},
            .out_rows = {}};
  }

  const std::vector<ops::TokenId>& tokens;
  std::vector<int32_t> positions;
  ops::SlotRange keys;
  ops::AttentionGroup group;
};

}  // namespace

std::vector<models::TensorSpec> LayerTensors(const models::DecoderConfig& config, int64_t layer) {
  models::DecoderConfig before = config, with = config;
  before.layers = layer;
  with.layers = layer + 1;
  // The lists begin alike and end alike; what the longer one has between is the layer.
  const std::vector<models::TensorSpec> few = ListTensors(before), more = ListTensors(with);
  size_t same = 0;
  while (same < few.size() && few[same].name == more[same].name) ++same;
  const auto begin = more.begin() + static_cast<int64_t>(same);
  return {begin, begin + static_cast<int64_t>(more.size() - few.size())};
}

Status LayerWalk::Embed(const Replacements& replaced) {
  const std::string& name = config_.names.embedding;
  const auto found = replaced.find(name);
  TensorView table;
  if (found == replaced.end()) {
    TESSERA_ASSIGN_OR_RETURN(table, source_.Get(name, {config_.vocab, config_.width}));
  }
  const int64_t width = config_.width, row_bytes = width * SizeOf(table.dtype);
  std::vector<uint8_t> codes(static_cast<size_t>(width));
  hidden_.clear();
  for (const std::vector<ops::TokenId>& sequence : sequences_) {
    std::vector<float>& rows = hidden_.emplace_back();
    rows.reserve(sequence.size() * static_cast<size_t>(width));
    for (const ops::TokenId token : sequence) {
      if (found == replaced.end()) {
        const TensorView row{table.data + token * row_bytes, table.dtype, {width}};
        const std::vector<float> floats = ToFloats(row);
        rows.insert(rows.end(), floats.begin(), floats.end());
        continue;
      }
      const QuantizedTensor& quantized = *found->second;
      const int64_t group = quantized.layout().group > 0 ? quantized.layout().group : width;
      std::vector<float> scales(static_cast<size_t>(quantized.layout().NumGroups(width)));
      std::vector<float> mins(scales.size());
      quantized.ReadRow(token, codes.data(), scales.data(), mins.data());
      for (int64_t k = 0; k < width; ++k) {
        const size_t g = static_cast<size_t>(k / group);
        rows.push_back(scales[g] * codes[static_cast<size_t>(k)] + mins[g]);
      }
    }
  }
  return OkStatus();
}

Status LayerWalk::Run(int64_t layer, const Replacements& replaced,
                      const models::LinearObserver& observer, Keep keep) {
  const models::DecoderConfig one = OneLayer(config_, layer);
  const LayerSource source(source_, config_, layer, one, replaced);
  TESSERA_ASSIGN_OR_RETURN(
      const std::unique_ptr<models::Decoder> model,
      models::Decoder::Load(one, source, device_, {.format = format_, .progress = {}}));
  size_t longest = 0;
  for (const auto& sequence : sequences_) longest = std::max(longest, sequence.size());
  const int32_t slots = static_cast<int32_t>(longest);
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<kv::KvCache> kv,
                           model->MakeKvCache(slots / ops::kPageRows + 1));
  kv::PageTable pages(kv->pool());
  TESSERA_RETURN_IF_ERROR(pages.Reserve(slots));
  std::vector<float> scratch;
  for (size_t i = 0; i < sequences_.size(); ++i) {
    const PlainForward forward(sequences_[i], pages.pages(), config_.traits);
    if (keep == Keep::kOld) scratch = hidden_[i];
    TESSERA_RETURN_IF_ERROR(model->ForwardLayers(forward.input(), *kv, observer,
                                                 keep == Keep::kOld ? scratch : hidden_[i]));
  }
  return OkStatus();
}

}  // namespace tessera::quantize
