#include "tessera/backend/cuda/decoder_runner.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string_view>
#include <utility>
#include <vector>

#include "tessera/backend/cuda/graph.h"
#include "tessera/backend/cuda/head_reducer.h"
#include "tessera/backend/cuda/memory.h"
#include "tessera/backend/cuda/packed_matrix.h"
#include "tessera/backend/cuda/step_table.h"
#include "tessera/ops/rotary.h"

namespace tessera::cuda {
namespace {

// Steps of more rows take so long that starting their kernels one by one costs nothing.
constexpr int32_t kGraphRows = 1024;
// Graphs kept, each some hundred kernels.
constexpr size_t kGraphs = 64;
// Positions of the first rotary table; it doubles from there.
constexpr uint32_t kPositions = 4096;

// Everything that the launches of a step's layers depend on, beside the runner's own memory.
struct GraphKey {
  DeviceStep step = {};
  std::vector<ops::KvLayer> kv;

  bool Matches(const DeviceStep& other, std::span<const ops::KvLayer> layers) const {
    return step == other && std::equal(kv.begin(), kv.end(), layers.begin(), layers.end(),
                                       [](const ops::KvLayer& a, const ops::KvLayer& b) {
                                         return a.k == b.k && a.v == b.v &&
                                                a.format.type == b.format.type;
                                       });
  }
};

struct GraphEntry {
  GraphKey key;
  Graph graph;             // empty until the second step of this kind
  bool recordable = true;  // false: launched one by one after a failure
  int64_t last_use = 0;
};

const WeightView& View(const ops::Matrix* matrix) {
  return static_cast<const PackedMatrix*>(matrix)->view();
}

class DecoderRunner : public ops::CompiledDecoder {
 public:
  DecoderRunner(const Gpu& gpu, Stream stream, const ops::DecoderShape& shape)
      : gpu_(gpu), stream_(stream), shape_(shape) {}

  Status Run(const ops::DecoderArgs& args) override {
    TESSERA_RETURN_IF_ERROR(SetCurrentGpu(gpu_.ordinal));
    const Status enqueued = Enqueue(args);
    // Also after an error: the next step overwrites what copies under way still read.
    const Status done = Synchronize(stream_);
    TESSERA_RETURN_IF_ERROR(enqueued);
    TESSERA_RETURN_IF_ERROR(done);
    return args.requests.empty() ? OkStatus() : head_.Collect(args.stats);
  }

 private:
  int64_t q_width() const { return int64_t{shape_.heads} * shape_.head_dim; }
  int64_t qkv_width() const { return q_width() + int64_t{2} * shape_.kv_heads * shape_.head_dim; }

  Status Enqueue(const ops::DecoderArgs& args) {
    table_.Set({.tokens = args.tokens,
                .positions = args.positions,
                .slots = args.slots,
                .groups = args.groups,
                .out_rows = args.out_rows});
    TESSERA_RETURN_IF_ERROR(host_step_.Grow(table_.bytes(), "the rows of a step"));
    TESSERA_RETURN_IF_ERROR(Reserve(&device_step_, table_.bytes(), "the rows of a step"));
    table_.Write(host_step_.data());
    TESSERA_RETURN_IF_ERROR(
        CopyToGpu(stream_, device_step_.data(), host_step_.data(), table_.bytes()));
    const DeviceStep step = table_.At(device_step_.data());
    TESSERA_RETURN_IF_ERROR(ReserveActivations(step, args.kv.front().format));
    TESSERA_RETURN_IF_ERROR(
        ReserveRotary(*std::max_element(args.positions.begin(), args.positions.end())));
    TESSERA_RETURN_IF_ERROR(RunLayers(step, args.kv));
    return args.requests.empty() ? OkStatus() : EnqueueHead(step, args);
  }

  // --- Memory. Graphs hold addresses: they go when one changes.

  Status Reserve(DeviceMemory* memory, size_t bytes, std::string_view what, bool zeroed = false) {
    const void* before = memory->data();
    TESSERA_RETURN_IF_ERROR(memory->Grow(bytes, what));
    if (memory->data() == before) return OkStatus();
    graphs_.clear();
    return zeroed ? Zero(stream_, memory->data(), memory->bytes()) : OkStatus();
  }

  Status ReserveActivations(const DeviceStep& step, const ops::KvFormat& kv) {
    const int64_t rows = step.padded_rows;
    const auto floats = [&](DeviceMemory* memory, int64_t width) {
      return Reserve(memory, static_cast<size_t>(rows * width) * sizeof(float), "activations");
    };
    const auto packed = [&](DeviceMemory* memory, int64_t width) {
      return Reserve(memory, static_cast<size_t>(ActivationElements(rows, width)) * sizeof(BF16),
                     "activations");
    };
    int64_t most_out = 0, inner = 0;
    for (const ops::DecoderLayer& layer : shape_.layers) {
      most_out = std::max({most_out, layer.qkv->out(), layer.o->out(), layer.gate_up->out()});
      inner = std::max(inner, layer.down->in());
    }
    TESSERA_RETURN_IF_ERROR(floats(&hidden_, shape_.width));
    TESSERA_RETURN_IF_ERROR(floats(&qkv_, qkv_width()));
    TESSERA_RETURN_IF_ERROR(floats(&square_sums_, RoundUp(shape_.width, 64) / 64));
    TESSERA_RETURN_IF_ERROR(packed(&x_, shape_.width));
    TESSERA_RETURN_IF_ERROR(packed(&attended_, q_width()));
    TESSERA_RETURN_IF_ERROR(packed(&inner_, inner));
    TESSERA_RETURN_IF_ERROR(Reserve(&linear_scratch_,
                                    static_cast<size_t>(LinearScratchBytes(gpu_, rows, most_out)),
                                    "products", true));
    return Reserve(&attention_scratch_,
                   static_cast<size_t>(AttentionScratchBytes(gpu_, step, shape_.heads, kv)),
                   "attention", true);
  }

  Status ReserveRotary(int32_t largest) {
    if (largest < positions_) return OkStatus();
    const auto positions = static_cast<int64_t>(
        std::bit_ceil(std::max(static_cast<uint32_t>(largest) + 1, kPositions)));
    std::vector<float> table;
    ops::ExtendRotaryTable(shape_.frequencies, positions, &table);
    TESSERA_RETURN_IF_ERROR(Reserve(&rotary_, table.size() * sizeof(float), "rotary embeddings"));
    TESSERA_RETURN_IF_ERROR(
        CopyToGpu(stream_, rotary_.data(), table.data(), table.size() * sizeof(float)));
    positions_ = positions;
    return OkStatus();
  }

  // --- The launches of a step.

  LinearStep Qkv(const ops::DecoderLayer& layer) const {
    return {.weight = View(layer.qkv),
            .x = x_.as<BF16>(),
            .square_sums = square_sums_.as<float>(),
            .eps = shape_.norm_eps,
            .bias = layer.qkv_bias,
            .output = LinearStep::Output::kRows,
            .y = qkv_.as<float>(),
            .stride = qkv_width()};
  }

  // Adds to the hidden rows and packs them for the product that `norm` belongs to, if any.
  LinearStep Residual(const ops::Matrix* weight, const DeviceMemory& x, const float* norm) const {
    return {.weight = View(weight),
            .x = x.as<BF16>(),
            .output = LinearStep::Output::kResidual,
            .hidden = hidden_.as<float>(),
            .norm_weight = norm,
            .out_square_sums = square_sums_.as<float>(),
            .packed = x_.as<BF16>()};
  }

  // The products behind the attention of a layer, up to the next attention.
  std::vector<LinearStep> Products(size_t index) const {
    const ops::DecoderLayer& layer = shape_.layers[index];
    const ops::DecoderLayer* next =
        index + 1 < shape_.layers.size() ? &shape_.layers[index + 1] : nullptr;
    std::vector<LinearStep> steps = {
        Residual(layer.o, attended_, layer.ffn_norm),
        {.weight = View(layer.gate_up),
         .x = x_.as<BF16>(),
         .square_sums = square_sums_.as<float>(),
         .eps = shape_.norm_eps,
         .output = LinearStep::Output::kSilu,
         .packed = inner_.as<BF16>()},
        Residual(layer.down, inner_, next != nullptr ? next->attention_norm : nullptr)};
    if (next != nullptr) steps.push_back(Qkv(*next));
    return steps;
  }

  // All rows of the bucket are computed: the launches are the same for every step of it.
  Status LaunchLayers(const DeviceStep& step, std::span<const ops::KvLayer> kv) const {
    const int64_t rows = step.padded_rows;
    const auto products = [&](std::span<const LinearStep> steps) {
      return Linears(stream_, gpu_, rows, steps, linear_scratch_.data());
    };
    TESSERA_RETURN_IF_ERROR(
        EmbedRows(stream_, View(shape_.embedding), step.tokens, rows, hidden_.as<float>()));
    TESSERA_RETURN_IF_ERROR(NormPack(stream_, {.rows = rows,
                                               .width = shape_.width,
                                               .hidden = hidden_.as<float>(),
                                               .norm_weight = shape_.layers[0].attention_norm,
                                               .packed = x_.as<BF16>(),
                                               .square_sums = square_sums_.as<float>()}));
    const LinearStep first = Qkv(shape_.layers[0]);
    TESSERA_RETURN_IF_ERROR(products({&first, 1}));
    for (size_t i = 0; i < shape_.layers.size(); ++i) {
      const ops::DecoderLayer& layer = shape_.layers[i];
      TESSERA_RETURN_IF_ERROR(RotateAndStore(
          stream_, {.step = step,
                    .qkv = qkv_.as<float>(),
                    .heads = shape_.heads,
                    .q_norm = layer.q_norm,
                    .k_norm = layer.k_norm,
                    .norm_eps = shape_.norm_eps,
                    .rotary_dim = static_cast<int32_t>(2 * shape_.frequencies.size()),
                    .cos_sin = rotary_.as<float>(),
                    .by_position = true,
                    .kv = kv[i]}));
      TESSERA_RETURN_IF_ERROR(Attention(
          stream_, gpu_,
          {.step = step,
           .qkv = qkv_.as<float>(),
           .heads = shape_.heads,
           .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(shape_.head_dim))),
           .kv = kv[i],
           .scratch = attention_scratch_.data(),
           .packed = attended_.as<BF16>()}));
      TESSERA_RETURN_IF_ERROR(products(Products(i)));
    }
    return OkStatus();
  }

  // The first step of a kind runs as it is, which loads its kernels; the second is recorded.
  Status RunLayers(const DeviceStep& step, std::span<const ops::KvLayer> kv) {
    if (step.padded_rows > kGraphRows) return LaunchLayers(step, kv);
    const auto found = std::find_if(graphs_.begin(), graphs_.end(), [&](const GraphEntry& entry) {
      return entry.key.Matches(step, kv);
    });
    if (found == graphs_.end()) {
      AddGraph({.key = {.step = step, .kv = {kv.begin(), kv.end()}}, .last_use = ++steps_});
      return LaunchLayers(step, kv);
    }
    found->last_use = ++steps_;
    if (!found->graph && found->recordable) {
      Result<Graph> graph = Graph::Record(stream_, [&] { return LaunchLayers(step, kv); });
      found->recordable = graph.ok();
      if (graph.ok()) found->graph = std::move(*graph);
    }
    return found->graph ? found->graph.Launch(stream_) : LaunchLayers(step, kv);
  }

  void AddGraph(GraphEntry entry) {
    if (graphs_.size() < kGraphs) {
      graphs_.push_back(std::move(entry));
      return;
    }
    *std::min_element(graphs_.begin(), graphs_.end(), [](const GraphEntry& a, const GraphEntry& b) {
      return a.last_use < b.last_use;
    }) = std::move(entry);
  }

  // Launches differ with what the requests ask for; while the layers run there is time for them.
  Status EnqueueHead(const DeviceStep& step, const ops::DecoderArgs& args) {
    const auto outputs = static_cast<int64_t>(args.out_rows.size());
    TESSERA_RETURN_IF_ERROR(outputs_.Grow(
        static_cast<size_t>(ActivationElements(PaddedRows(outputs), shape_.width)) * sizeof(BF16),
        "activations"));
    TESSERA_RETURN_IF_ERROR(GatherNormPack(stream_, step.out_rows, outputs, shape_.width,
                                           hidden_.as<float>(), shape_.final_norm, shape_.norm_eps,
                                           outputs_.as<BF16>()));
    TESSERA_RETURN_IF_ERROR(head_.Prepare(stream_, View(shape_.head), outputs, args.requests));
    return head_.Enqueue(stream_, {.packed = outputs_.as<BF16>()});
  }

  const Gpu gpu_;
  const Stream stream_;
  const ops::DecoderShape shape_;
  StepTable table_;
  PinnedMemory host_step_;
  DeviceMemory device_step_;
  DeviceMemory hidden_, qkv_, square_sums_, x_, attended_, inner_, outputs_;
  DeviceMemory linear_scratch_, attention_scratch_, rotary_;
  int64_t positions_ = 0;  // in rotary_
  HeadReducer head_{gpu_};
  std::vector<GraphEntry> graphs_;
  int64_t steps_ = 0;
};

bool IsPacked(const ops::Matrix* matrix) { return matrix->format().type != ops::WeightType::kF32; }

}  // namespace

Result<std::unique_ptr<ops::CompiledDecoder>> MakeDecoderRunner(const Gpu& gpu, Stream stream,
                                                                const ops::DecoderShape& shape) {
  const auto runs = [](const ops::DecoderLayer& layer) {
    return IsPacked(layer.qkv) && IsPacked(layer.o) && IsPacked(layer.gate_up) &&
           IsPacked(layer.down) && View(layer.gate_up).paired;
  };
  if (!IsPacked(shape.head) || !std::all_of(shape.layers.begin(), shape.layers.end(), runs)) {
    return std::unique_ptr<ops::CompiledDecoder>();
  }
  return std::unique_ptr<ops::CompiledDecoder>(new DecoderRunner(gpu, stream, shape));
}

}  // namespace tessera::cuda
