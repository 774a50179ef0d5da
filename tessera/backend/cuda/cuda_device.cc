#include "tessera/backend/cuda/cuda_device.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "tessera/backend/cuda/decoder_runner.h"
#include "tessera/backend/cuda/head_reducer.h"
#include "tessera/backend/cuda/memory.h"
#include "tessera/backend/cuda/packed_matrix.h"
#include "tessera/backend/cuda/step_table.h"
#include "tessera/ops/route_rows.h"

namespace tessera::cuda {
namespace {

class CudaBuffer : public ops::DeviceBuffer {
 public:
  CudaBuffer(DeviceMemory memory, size_t size) : memory_(std::move(memory)) {
    data = memory_.data();
    bytes = size;
  }

 private:
  DeviceMemory memory_;
};

class CudaDevice : public ops::Device {
 public:
  CudaDevice(const Gpu& gpu, StreamHandle stream)
      : gpu_(gpu), name_("cuda:" + std::to_string(gpu.ordinal)), stream_(std::move(stream)) {}

  std::string_view name() const override { return name_; }

  Result<std::unique_ptr<ops::DeviceBuffer>> Allocate(size_t bytes) override {
    TESSERA_RETURN_IF_ERROR(Use());
    TESSERA_ASSIGN_OR_RETURN(DeviceMemory memory, DeviceMemory::Create(bytes, "a buffer"));
    return std::unique_ptr<ops::DeviceBuffer>(new CudaBuffer(std::move(memory), bytes));
  }

  Result<std::unique_ptr<ops::DeviceBuffer>> Upload(std::span<const float> values) override {
    TESSERA_ASSIGN_OR_RETURN(auto buffer, Allocate(values.size_bytes()));
    TESSERA_RETURN_IF_ERROR(Write(buffer->data, values.data(), values.size_bytes()));
    return buffer;
  }

  Status Write(void* to, const void* from, size_t bytes) override {
    TESSERA_RETURN_IF_ERROR(Use());
    TESSERA_RETURN_IF_ERROR(CopyToGpu(stream(), to, from, bytes));
    return Synchronize(stream());
  }

  Status Read(void* to, const void* from, size_t bytes) override {
    TESSERA_RETURN_IF_ERROR(Use());
    TESSERA_RETURN_IF_ERROR(CopyToHost(stream(), to, from, bytes));
    return Synchronize(stream());
  }

  ops::DeviceMemoryInfo memory() const override {
    if (!Use().ok()) return {};
    const Result<MemoryUse> use = CurrentMemoryUse();
    return use.ok() ? ops::DeviceMemoryInfo{.total = use->total, .free = use->free}
                    : ops::DeviceMemoryInfo{};
  }

  Result<std::unique_ptr<ops::Matrix>> Pack(const ops::MatrixSource& source) override {
    TESSERA_RETURN_IF_ERROR(Use());
    TESSERA_ASSIGN_OR_RETURN(std::unique_ptr<ops::Matrix> matrix, packer_.Pack(stream(), source));
    return matrix;
  }

  int64_t KvPageBytes(const ops::KvFormat& format) const override {
    return ops::kPageRows * int64_t{format.kv_heads} * format.head_dim *
           (format.type == ops::KvType::kF32 ? 4 : 2);
  }

  Status Embed(const ops::EmbedArgs& args) override {
    if (args.tokens.empty()) return OkStatus();
    TESSERA_RETURN_IF_ERROR(Use());
    TESSERA_RETURN_IF_ERROR(UploadIndices(args.tokens));
    return EmbedRows(stream(), View(*args.table), indices_.as<int32_t>(),
                     static_cast<int64_t>(args.tokens.size()), args.out);
  }

  Status RmsNorm(const ops::RmsNormArgs& args) override {
    if (args.rows == 0) return OkStatus();
    TESSERA_RETURN_IF_ERROR(Use());
    return cuda::RmsNorm(stream(), args);
  }

  Status Linear(const ops::LinearArgs& args) override {
    if (args.rows == 0) return OkStatus();
    TESSERA_RETURN_IF_ERROR(Use());
    const WeightView& weight = View(*args.weight);
    if (weight.format.type == ops::WeightType::kF32) {
      return LinearF32(stream(), args, static_cast<const float*>(weight.data), weight.out,
                       weight.in);
    }
    const int64_t padded = PaddedRows(args.rows);
    TESSERA_RETURN_IF_ERROR(packed_.Grow(
        static_cast<size_t>(ActivationElements(padded, weight.in)) * sizeof(BF16), "activations"));
    TESSERA_RETURN_IF_ERROR(
        GrowZeroed(&linear_scratch_, LinearScratchBytes(gpu_, padded, weight.out), "products"));
    TESSERA_RETURN_IF_ERROR(PackRows(stream(), args.rows, weight.in, args.x, packed_.as<BF16>()));
    const LinearStep step = {.weight = weight,
                             .x = packed_.as<BF16>(),
                             .bias = args.bias,
                             .output = LinearStep::Output::kRows,
                             .y = args.y,
                             .stride = weight.out,
                             .accumulate = args.accumulate};
    return Linears(stream(), gpu_, args.rows, {&step, 1}, linear_scratch_.data());
  }

  Status RotateAndStore(const ops::RotateAndStoreArgs& args) override {
    if (args.rows == 0) return OkStatus();
    TESSERA_RETURN_IF_ERROR(Use());
    TESSERA_ASSIGN_OR_RETURN(const DeviceStep step, UploadStep(args.slots, args.groups));
    return cuda::RotateAndStore(stream(), {.step = step,
                                           .qkv = args.qkv,
                                           .heads = args.heads,
                                           .q_norm = args.q_norm,
                                           .k_norm = args.k_norm,
                                           .norm_eps = args.norm_eps,
                                           .rotary_dim = args.rotary_dim,
                                           .cos_sin = args.cos_sin,
                                           .by_position = false,
                                           .kv = args.kv});
  }

  Status Attention(const ops::AttentionArgs& args) override {
    if (args.slots.empty()) return OkStatus();
    TESSERA_RETURN_IF_ERROR(Use());
    TESSERA_ASSIGN_OR_RETURN(const DeviceStep step, UploadStep(args.slots, args.groups));
    TESSERA_RETURN_IF_ERROR(
        GrowZeroed(&attention_scratch_,
                   AttentionScratchBytes(gpu_, step, args.heads, args.kv.format), "attention"));
    return cuda::Attention(stream(), gpu_,
                           {.step = step,
                            .qkv = args.qkv,
                            .heads = args.heads,
                            .scale = args.scale,
                            .kv = args.kv,
                            .scratch = attention_scratch_.data(),
                            .out = args.out});
  }

  Status SiluMul(const ops::SiluMulArgs& args) override {
    if (args.rows == 0) return OkStatus();
    TESSERA_RETURN_IF_ERROR(Use());
    return cuda::SiluMul(stream(), args);
  }

  Status GatherRows(const ops::GatherRowsArgs& args) override {
    if (args.rows.empty()) return OkStatus();
    TESSERA_RETURN_IF_ERROR(Use());
    TESSERA_RETURN_IF_ERROR(UploadIndices(args.rows));
    return cuda::GatherRows(stream(), indices_.as<int32_t>(),
                            static_cast<int64_t>(args.rows.size()), args.width, args.x, args.out);
  }

  Status AddRows(const ops::AddRowsArgs& args) override {
    if (args.rows.empty()) return OkStatus();
    TESSERA_RETURN_IF_ERROR(Use());
    TESSERA_RETURN_IF_ERROR(UploadIndices(args.rows));
    TESSERA_RETURN_IF_ERROR(Upload(&factors_, args.weights));
    return cuda::AddRows(stream(), indices_.as<int32_t>(), factors_.as<float>(),
                         static_cast<int64_t>(args.rows.size()), args.width, args.x, args.out);
  }

  // Router logits are few, and their choice steers the host anyway.
  Status Route(const ops::RouteArgs& args) override {
    if (args.rows == 0) return OkStatus();
    const auto experts = static_cast<size_t>(args.experts);
    router_logits_.resize(static_cast<size_t>(args.rows) * experts);
    router_bias_.resize(args.bias == nullptr ? 0 : experts);
    TESSERA_RETURN_IF_ERROR(
        Read(router_logits_.data(), args.logits, router_logits_.size() * sizeof(float)));
    TESSERA_RETURN_IF_ERROR(
        Read(router_bias_.data(), args.bias, router_bias_.size() * sizeof(float)));
    ops::RouteArgs host = args;
    host.logits = router_logits_.data();
    if (args.bias != nullptr) host.bias = router_bias_.data();
    ops::RouteRows(host, 0, args.rows);
    return OkStatus();
  }

  Status HeadStats(const ops::HeadStatsArgs& args) override {
    if (args.requests.empty()) return OkStatus();
    TESSERA_RETURN_IF_ERROR(Use());
    return head_.Run(stream(), View(*args.head), args);
  }

  Status HeadLogits(const ops::HeadLogitsArgs& args) override {
    constexpr int64_t kRows = 256;  // at once: 150 MB of logits
    const int64_t in = args.head->in(), vocab = args.head->out();
    for (int64_t begin = 0; begin < args.rows; begin += kRows) {
      const int64_t rows = std::min(kRows, args.rows - begin);
      TESSERA_RETURN_IF_ERROR(Use());
      const size_t bytes = static_cast<size_t>(rows * vocab) * sizeof(float);
      TESSERA_RETURN_IF_ERROR(logits_.Grow(bytes, "logits"));
      TESSERA_RETURN_IF_ERROR(Linear({.rows = rows,
                                      .x = args.hidden + begin * in,
                                      .weight = args.head,
                                      .bias = nullptr,
                                      .y = logits_.as<float>()}));
      TESSERA_RETURN_IF_ERROR(Read(args.logits + begin * vocab, logits_.data(), bytes));
    }
    return OkStatus();
  }

  Status KvCopy(const ops::KvCopyArgs& args) override {
    if (args.moves.empty()) return OkStatus();
    TESSERA_RETURN_IF_ERROR(Use());
    const auto row_of = [&](int32_t slot) {
      return args.pages[static_cast<size_t>(slot / ops::kPageRows)] * ops::kPageRows +
             slot % ops::kPageRows;
    };
    std::vector<int32_t> moves;
    for (const auto& [from, to] : args.moves) {
      moves.push_back(row_of(from));
      moves.push_back(row_of(to));
    }
    TESSERA_RETURN_IF_ERROR(UploadIndices(moves));
    return cuda::KvCopy(stream(), args.kv, indices_.as<int32_t>(),
                        static_cast<int64_t>(args.moves.size()));
  }

  Result<std::unique_ptr<ops::CompiledDecoder>> CompileDecoder(
      const ops::DecoderShape& shape) override {
    TESSERA_RETURN_IF_ERROR(Use());
    return MakeDecoderRunner(gpu_, stream(), shape);
  }

 private:
  // The runtime keeps the current GPU per thread.
  Status Use() const { return SetCurrentGpu(gpu_.ordinal); }
  Stream stream() const { return stream_.get(); }
  static const WeightView& View(const ops::Matrix& matrix) {
    return static_cast<const PackedMatrix&>(matrix).view();
  }

  // The host's array may change afterwards: it is pageable, so that the copy has read it.
  template <typename T>
  Status Upload(DeviceMemory* memory, std::span<const T> values) {
    TESSERA_RETURN_IF_ERROR(memory->Grow(values.size_bytes(), "indices"));
    return CopyToGpu(stream(), memory->data(), values.data(), values.size_bytes());
  }
  // The layers of a forward ask for the same step: only the first of them uploads it.
  Result<DeviceStep> UploadStep(std::span<const int32_t> slots,
                                std::span<const ops::AttentionGroup> groups) {
    step_.Set({.slots = slots, .groups = groups});
    step_block_.resize(step_.bytes());
    step_.Write(step_block_.data());
    if (step_block_ != uploaded_block_) {
      uploaded_block_.clear();  // in case the upload fails
      TESSERA_RETURN_IF_ERROR(Upload(&step_memory_, std::span<const std::byte>(step_block_)));
      std::swap(step_block_, uploaded_block_);
    }
    return step_.At(step_memory_.data());
  }
  Status UploadIndices(std::span<const int32_t> values) { return Upload(&indices_, values); }

  Status GrowZeroed(DeviceMemory* memory, int64_t bytes, std::string_view what) {
    const size_t before = memory->bytes();
    TESSERA_RETURN_IF_ERROR(memory->Grow(static_cast<size_t>(bytes), what));
    return memory->bytes() == before ? OkStatus() : Zero(stream(), memory->data(), memory->bytes());
  }

  const Gpu gpu_;
  const std::string name_;
  const StreamHandle stream_;
  MatrixPacker packer_;
  HeadReducer head_{gpu_};
  StepTable step_;
  std::vector<std::byte> step_block_, uploaded_block_;
  DeviceMemory packed_, linear_scratch_, attention_scratch_, step_memory_, indices_, factors_,
      logits_;
  std::vector<float> router_logits_, router_bias_;
};

}  // namespace

Result<std::unique_ptr<ops::Device>> MakeCudaDevice(const Gpu& gpu) {
  TESSERA_RETURN_IF_ERROR(SetCurrentGpu(gpu.ordinal));
  TESSERA_ASSIGN_OR_RETURN(StreamHandle stream, StreamHandle::Create());
  return std::unique_ptr<ops::Device>(new CudaDevice(gpu, std::move(stream)));
}

}  // namespace tessera::cuda
