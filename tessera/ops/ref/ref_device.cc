#include "tessera/ops/ref/ref_device.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "tessera/ops/ref/ref_ops.h"

namespace tessera::ops::ref {
namespace {

class HostBuffer : public DeviceBuffer {
 public:
  explicit HostBuffer(size_t size) : storage_(new std::byte[size]) {
    data = storage_.get();
    bytes = size;
  }

 private:
  std::unique_ptr<std::byte[]> storage_;
};

class RefDevice : public Device {
 public:
  std::string_view name() const override { return "ref"; }

  Result<std::unique_ptr<DeviceBuffer>> Allocate(size_t bytes) override try {
    return std::unique_ptr<DeviceBuffer>(new HostBuffer(bytes));
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("ref: cannot allocate {} bytes of host memory", bytes);
  }
  Result<std::unique_ptr<DeviceBuffer>> Upload(std::span<const float> values) override {
    TESSERA_ASSIGN_OR_RETURN(auto buffer, Allocate(values.size_bytes()));
    std::copy(values.begin(), values.end(), static_cast<float*>(buffer->data));
    return buffer;
  }
  Status Write(void* to, const void* from, size_t bytes) override {
    if (bytes > 0) std::memcpy(to, from, bytes);
    return OkStatus();
  }
  Status Read(void* to, const void* from, size_t bytes) override { return Write(to, from, bytes); }
  Result<std::unique_ptr<Matrix>> Pack(const MatrixSource& source) override {
    TESSERA_ASSIGN_OR_RETURN(std::unique_ptr<Matrix> matrix, ref::Pack(source));
    return matrix;
  }
  int64_t KvPageBytes(const KvFormat& format) const override { return ref::KvPageBytes(format); }
  bool HoldsKv(KvType) const override { return true; }

  Status Embed(const EmbedArgs& args) override { return ref::Embed(args), OkStatus(); }
  Status RmsNorm(const RmsNormArgs& args) override { return ref::RmsNorm(args), OkStatus(); }
  Status Linear(const LinearArgs& args) override { return ref::Linear(args), OkStatus(); }
  Status RotateAndStore(const RotateAndStoreArgs& args) override {
    return ref::RotateAndStore(args), OkStatus();
  }
  Status Attention(const AttentionArgs& args) override { return ref::Attention(args), OkStatus(); }
  Status SiluMul(const SiluMulArgs& args) override { return ref::SiluMul(args), OkStatus(); }
  Status GatherRows(const GatherRowsArgs& args) override {
    return ref::GatherRows(args), OkStatus();
  }
  Status AddRows(const AddRowsArgs& args) override { return ref::AddRows(args), OkStatus(); }
  Status Route(const RouteArgs& args) override { return ref::Route(args), OkStatus(); }
  Status HeadStats(const HeadStatsArgs& args) override { return ref::HeadStats(args), OkStatus(); }
  Status HeadLogits(const HeadLogitsArgs& args) override {
    return ref::HeadLogits(args), OkStatus();
  }
  Status KvCopy(const KvCopyArgs& args) override { return ref::KvCopy(args), OkStatus(); }
};

}  // namespace

std::unique_ptr<Device> MakeRefDevice() { return std::make_unique<RefDevice>(); }

}  // namespace tessera::ops::ref
