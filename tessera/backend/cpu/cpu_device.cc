#include "tessera/backend/cpu/cpu_device.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

#include "tessera/backend/cpu/attention.h"
#include "tessera/backend/cpu/head_stats.h"
#include "tessera/backend/cpu/kv_pages.h"
#include "tessera/backend/cpu/linear.h"
#include "tessera/backend/cpu/op_kernels.h"
#include "tessera/backend/cpu/packed_matrix.h"
#include "tessera/backend/machine.h"
#include "tessera/base/thread_pool.h"
#include "tessera/ops/route_rows.h"

namespace tessera::cpu {
namespace {

class CpuBuffer : public ops::DeviceBuffer {
 public:
  CpuBuffer(void* memory, size_t size) {
    data = memory;
    bytes = size;
  }
  ~CpuBuffer() override { std::free(data); }
};

// Rows of element-wise work worth handing to a thread: about 16K elements, some microseconds.
int64_t RowGrain(int64_t width) {
  return std::max<int64_t>(1, 16384 / std::max<int64_t>(1, width));
}

const OpKernels& GetOpKernels([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
  switch (isa) {
    case Isa::kGeneric: return generic::kOpKernels;
    case Isa::kAvx2: return avx2::kOpKernels;
    case Isa::kAvx512:
    case Isa::kAvx512Vnni:
    case Isa::kAvx512Bf16:
    case Isa::kAmx: return avx512::kOpKernels;
  }
#endif
  return generic::kOpKernels;
}

class CpuDevice : public ops::Device {
 public:
  CpuDevice(Isa isa, int threads)
      : name_("cpu:" + std::string(Name(isa))),
        pool_(threads),
        linear_(GetLinearKernels(isa)),
        kernels_(GetOpKernels(isa)) {}

  std::string_view name() const override { return name_; }
  ops::DeviceMemoryInfo memory() const override {
    return {.total = backend::TotalMemory(), .free = backend::AvailableMemory()};
  }

  Result<std::unique_ptr<ops::DeviceBuffer>> Allocate(size_t bytes) override {
    void* memory = std::aligned_alloc(64, (std::max<size_t>(bytes, 1) + 63) / 64 * 64);
    if (memory == nullptr) {
      return ResourceExhausted("{}: cannot allocate {} bytes of host memory", name_, bytes);
    }
    return std::unique_ptr<ops::DeviceBuffer>(new CpuBuffer(memory, bytes));
  }
  Result<std::unique_ptr<ops::DeviceBuffer>> Upload(std::span<const float> values) override {
    TESSERA_ASSIGN_OR_RETURN(auto buffer, Allocate(values.size_bytes()));
    std::copy(values.begin(), values.end(), static_cast<float*>(buffer->data));
    return buffer;
  }
  Status Write(void* to, const void* from, size_t bytes) override {
    if (bytes > 0) std::memcpy(to, from, bytes);
    return OkStatus();
  }
  Status Read(void* to, const void* from, size_t bytes) override { return Write(to, from, bytes); }
  Result<std::unique_ptr<ops::Matrix>> Pack(const ops::MatrixSource& source) override {
    TESSERA_ASSIGN_OR_RETURN(std::unique_ptr<ops::Matrix> matrix, PackMatrix(source, pool_));
    return matrix;
  }
  int64_t KvPageBytes(const ops::KvFormat& format) const override {
    return cpu::KvPageBytes(format);
  }
  bool HoldsKv(ops::KvType) const override { return true; }

  Status Embed(const ops::EmbedArgs& args) override {
    const auto& table = static_cast<const PackedMatrix&>(*args.table);
    pool_.ParallelFor(static_cast<int64_t>(args.tokens.size()), RowGrain(table.in()),
                      [&](int64_t begin, int64_t end, int) {
                        for (int64_t i = begin; i < end; ++i) {
                          table.ReadRow(args.tokens[i], args.out + i * table.in());
                        }
                      });
    return OkStatus();
  }

  Status RmsNorm(const ops::RmsNormArgs& args) override {
    pool_.ParallelFor(args.rows, RowGrain(args.width), [&](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; ++row) {
        kernels_.rms_norm(args.x + row * args.width, args.weight, args.eps, args.width,
                          args.out + row * args.width);
      }
    });
    return OkStatus();
  }

  Status Linear(const ops::LinearArgs& args) override {
    cpu::Linear(args, linear_, pool_, scratch_);
    return OkStatus();
  }

  Status RotateAndStore(const ops::RotateAndStoreArgs& args) override {
    cpu::RotateAndStore(args, kernels_, pool_);
    return OkStatus();
  }

  Status Attention(const ops::AttentionArgs& args) override {
    attention_.Run(args, kernels_, pool_);
    return OkStatus();
  }

  Status SiluMul(const ops::SiluMulArgs& args) override {
    pool_.ParallelFor(args.rows, RowGrain(args.width), [&](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; ++row) {
        const float* gate = args.gate_up + row * 2 * args.width;
        kernels_.silu_mul(gate, gate + args.width, args.width, args.out + row * args.width);
      }
    });
    return OkStatus();
  }

  Status GatherRows(const ops::GatherRowsArgs& args) override {
    for (size_t i = 0; i < args.rows.size(); ++i) {
      std::copy_n(args.x + args.rows[i] * args.width, args.width, args.out + i * args.width);
    }
    return OkStatus();
  }

  // Threads share the columns, so that each adds to a row in the order of the entries.
  Status AddRows(const ops::AddRowsArgs& args) override {
    const auto entries = static_cast<int64_t>(args.rows.size());
    const int64_t grain = (RowGrain(entries) + 15) / 16 * 16;  // whole cache lines
    pool_.ParallelFor(args.width, grain, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = 0; i < entries; ++i) {
        kernels_.add_scaled(args.x + i * args.width + begin, args.weights[i], end - begin,
                            args.out + args.rows[i] * args.width + begin);
      }
    });
    return OkStatus();
  }

  Status Route(const ops::RouteArgs& args) override {
    // An exponential is worth some ten element-wise operations.
    pool_.ParallelFor(args.rows, RowGrain(int64_t{10} * args.experts),
                      [&](int64_t begin, int64_t end, int) { ops::RouteRows(args, begin, end); });
    return OkStatus();
  }

  Status HeadStats(const ops::HeadStatsArgs& args) override {
    head_.Run(args, linear_, kernels_, pool_);
    return OkStatus();
  }

  Status HeadLogits(const ops::HeadLogitsArgs& args) override {
    return Linear({.rows = args.rows,
                   .x = args.hidden,
                   .weight = args.head,
                   .bias = nullptr,
                   .y = args.logits});
  }

  Status KvCopy(const ops::KvCopyArgs& args) override {
    cpu::KvCopy(args);
    return OkStatus();
  }

 private:
  const std::string name_;
  ThreadPool pool_;
  const LinearKernels& linear_;
  const OpKernels& kernels_;
  Scratch scratch_;
  AttentionRunner attention_;
  HeadReducer head_;
};

}  // namespace

std::unique_ptr<ops::Device> MakeCpuDevice(Isa isa, int threads) {
  return std::make_unique<CpuDevice>(isa, threads);
}

}  // namespace tessera::cpu
