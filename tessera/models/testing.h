// What tests of this room share.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "tessera/models/decoder_config.h"
#include "tessera/ops/ref/ref_device.h"

namespace tessera::models {

// Tensor names of a dense network without biases and head norms.
inline TensorNames ShortNames() {
  TensorNames names = {.embedding = "e", .final_norm = "n", .head = "h"};
  names.attention_norm = "{}.an";
  names.q = "{}.q";
  names.k = "{}.k";
  names.v = "{}.v";
  names.o = "{}.o";
  names.ffn_norm = "{}.fn";
  names.gate = "{}.g";
  names.up = "{}.u";
  names.down = "{}.d";
  return names;
}

// Hands everything to the scalar reference; a base for devices that watch or add something.
class ReferenceDevice : public ops::Device {
 public:
  std::string_view name() const override { return "test"; }
  Result<std::unique_ptr<ops::DeviceBuffer>> Allocate(size_t bytes) override {
    return ref_->Allocate(bytes);
  }
  Result<std::unique_ptr<ops::DeviceBuffer>> Upload(std::span<const float> values) override {
    return ref_->Upload(values);
  }
  Status Write(void* to, const void* from, size_t bytes) override {
    return ref_->Write(to, from, bytes);
  }
  Status Read(void* to, const void* from, size_t bytes) override {
    return ref_->Read(to, from, bytes);
  }
  Result<std::unique_ptr<ops::Matrix>> Pack(const ops::MatrixSource& source) override {
    return ref_->Pack(source);
  }
  int64_t KvPageBytes(const ops::KvFormat& format) const override {
    return ref_->KvPageBytes(format);
  }
  Status Embed(const ops::EmbedArgs& args) override { return ref_->Embed(args); }
  Status RmsNorm(const ops::RmsNormArgs& args) override { return ref_->RmsNorm(args); }
  Status Linear(const ops::LinearArgs& args) override { return ref_->Linear(args); }
  Status RotateAndStore(const ops::RotateAndStoreArgs& args) override {
    return ref_->RotateAndStore(args);
  }
  Status Attention(const ops::AttentionArgs& args) override { return ref_->Attention(args); }
  Status SiluMul(const ops::SiluMulArgs& args) override { return ref_->SiluMul(args); }
  Status GatherRows(const ops::GatherRowsArgs& args) override { return ref_->GatherRows(args); }
  Status AddRows(const ops::AddRowsArgs& args) override { return ref_->AddRows(args); }
  Status Route(const ops::RouteArgs& args) override { return ref_->Route(args); }
  Status HeadStats(const ops::HeadStatsArgs& args) override { return ref_->HeadStats(args); }
  Status HeadLogits(const ops::HeadLogitsArgs& args) override { return ref_->HeadLogits(args); }
  Status KvCopy(const ops::KvCopyArgs& args) override { return ref_->KvCopy(args); }

 private:
  std::unique_ptr<ops::Device> ref_ = ops::ref::MakeRefDevice();
};

}  // namespace tessera::models
