#include "tessera/quantize/checkpoint_writer.h"

#include <algorithm>

#include "tessera/formats/quantized_codes.h"

namespace tessera::quantize {

Result<std::unique_ptr<CheckpointWriter>> CheckpointWriter::Create(
    const std::string& folder, std::vector<NamedMatrix> matrices,
    const std::vector<std::string>& copied, const TensorSource& source, int64_t max_shard_bytes) {
  std::unique_ptr<CheckpointWriter> writer(new CheckpointWriter(source));
  std::vector<TensorSpec> tensors;
  for (const auto& [name, matrix] : matrices) {
    const int64_t out = matrix.shape[0], in = matrix.shape[1];
    tensors.push_back({.name = name + ".codes",
                       .dtype = DType::kU8,
                       .shape = {out, CodeRowBytes(in, matrix.layout.bits)}});
    for (const char* part : {".scales", ".mins"}) {
      if (matrix.layout.symmetric && part == std::string_view(".mins")) continue;
      writer->rest_.push_back({.name = name + part,
                               .dtype = ScaleType(matrix.layout),
                               .shape = {out, matrix.layout.NumGroups(in)},
                               .bytes = {}});
    }
  }
  for (const std::string& name : copied) {
    TESSERA_ASSIGN_OR_RETURN(const TensorView view, source.Get(name));
    writer->rest_.push_back(
        {.name = name, .dtype = view.dtype, .shape = view.shape, .bytes = {}, .copied = true});
  }
  // Codes fill whole runs of 32 bytes; behind them, wide types before narrow ones stay aligned.
  std::stable_sort(writer->rest_.begin(), writer->rest_.end(),
                   [](const Rest& a, const Rest& b) { return SizeOf(a.dtype) > SizeOf(b.dtype); });
  for (const Rest& rest : writer->rest_) {
    tensors.push_back({.name = rest.name, .dtype = rest.dtype, .shape = rest.shape});
  }
  writer->matrices_ = std::move(matrices);
  TESSERA_ASSIGN_OR_RETURN(
      writer->writer_,
      ShardedSafetensorsWriter::Create(
          folder, tensors, {{"format", "pt"}, {"made_by", "tessera quantize"}}, max_shard_bytes));
  return writer;
}

CheckpointWriter::Rest* CheckpointWriter::FindRest(const std::string& name) {
  const auto found =
      std::find_if(rest_.begin(), rest_.end(), [&](const Rest& rest) { return rest.name == name; });
  TESSERA_CHECK(found != rest_.end());
  return &*found;
}

Status CheckpointWriter::Add(const EncodedMatrix& encoded) {
  TESSERA_CHECK(next_ < matrices_.size());
  const auto& [name, matrix] = matrices_[next_++];
  TESSERA_CHECK(encoded.shape() == matrix.shape && encoded.layout() == matrix.layout);
  FindRest(name + ".scales")->bytes = encoded.Scales();
  if (!matrix.layout.symmetric) FindRest(name + ".mins")->bytes = encoded.Mins();
  return writer_->Append(encoded.codes());
}

Status CheckpointWriter::Finish() {
  TESSERA_CHECK(next_ == matrices_.size());
  for (Rest& rest : rest_) {
    if (!rest.copied) {
      TESSERA_RETURN_IF_ERROR(writer_->Append(rest.bytes));
      rest.bytes = {};
      continue;
    }
    TESSERA_ASSIGN_OR_RETURN(const TensorView view, source_.GetFinite(rest.name, rest.shape));
    TESSERA_RETURN_IF_ERROR(writer_->Append({view.data, static_cast<size_t>(view.bytes())}));
    source_.Advise(rest.name, MapAdvice::kDontNeed);
  }
  return writer_->Finish();
}

}  // namespace tessera::quantize
