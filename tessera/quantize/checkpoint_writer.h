// Writes the weights of a quantised checkpoint (formats/quantized_checkpoint.h) as a stream: codes
// as they are made, which is nearly all of the file, then scales and what is copied as it is.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tessera/formats/quantized_checkpoint.h"
#include "tessera/formats/safetensors_writer.h"
#include "tessera/quantize/encoded_matrix.h"

namespace tessera::quantize {

struct NamedMatrix {
  std::string name;
  StoredMatrix matrix;
};

class CheckpointWriter {
 public:
  // `matrices` in the order in which Add will be called; `copied` are tensors of `source`, which
  // must outlive the writer. The folder must exist and hold no weights.
  static Result<std::unique_ptr<CheckpointWriter>> Create(const std::string& folder,
                                                          std::vector<NamedMatrix> matrices,
                                                          const std::vector<std::string>& copied,
                                                          const TensorSource& source,
                                                          int64_t max_shard_bytes);

  int64_t total_bytes() const { return writer_->total_bytes(); }
  Status Add(const EncodedMatrix& encoded);
  Status Finish();

 private:
  // A tensor after the codes: bytes that Add left here, or a tensor of the source.
  struct Rest {
    std::string name;
    DType dtype;
    Shape shape;
    std::vector<std::byte> bytes;
    bool copied = false;
  };

  explicit CheckpointWriter(const TensorSource& source) : source_(source) {}
  Rest* FindRest(const std::string& name);

  const TensorSource& source_;
  std::vector<NamedMatrix> matrices_;
  size_t next_ = 0;  // matrix that Add expects
  std::vector<Rest> rest_;
  std::unique_ptr<ShardedSafetensorsWriter> writer_;
};

}  // namespace tessera::quantize
