// TensorSource: named tensors from any file format, as the model code reads them.
//
// Views stay valid as long as the source lives and are never written through. Readers check
// offsets, sizes and shapes when they open; values are checked by CheckFinite as they are packed.
// A tensor whose dtype this build cannot hold is listed by names() and refused by Get().
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/formats/mapped_file.h"
#include "tessera/tensor/quantized.h"
#include "tessera/tensor/tensor.h"

namespace tessera {

inline constexpr int64_t kAnyExtent = -1;  // in an expected shape

enum class Accept { kFloating, kAnyDType };  // kFloating: f32, f16, bf16

// What a file says of a tensor, without a look at its values.
struct TensorInfo {
  std::string type;  // "bf16", "Q4_K"
  Shape shape;
  int64_t bytes = 0;  // as stored
};

class TensorSource {
 public:
  virtual ~TensorSource() = default;

  // The file or folder, for messages.
  virtual const std::string& origin() const = 0;
  // Every tensor, sorted.
  virtual std::vector<std::string> names() const = 0;
  // Null when there is no such tensor or its dtype is not supported.
  virtual const TensorView* Find(std::string_view name) const = 0;
  // Null unless the tensor is stored as integers with scales; Find() returns null for such a one.
  virtual const QuantizedTensor* FindQuantized(std::string_view /*name*/) const { return nullptr; }
  // Bytes of all tensors as stored.
  virtual int64_t total_bytes() const = 0;
  // Type and shape of any tensor of names(), also of one that Get refuses.
  virtual Result<TensorInfo> Describe(std::string_view name) const;
  // Paging hint for one tensor, for example kDontNeed once it is packed, which also ends the life
  // of views and integers of this tensor that the reader had to bring into another order.
  virtual void Advise(std::string_view /*name*/, MapAdvice /*advice*/) const {}

  // The tensor, or one line naming source and tensor, what it has and what was expected.
  // `expected` may hold kAnyExtent. Integer tensors are refused unless asked for, because every
  // conversion to float relies on a floating dtype.
  Result<TensorView> Get(std::string_view name, const Shape& expected,
                         Accept accept = Accept::kFloating) const;
  Result<TensorView> Get(std::string_view name, Accept accept = Accept::kFloating) const;
  // Get, then CheckFinite.
  Result<TensorView> GetFinite(std::string_view name, const Shape& expected) const;
  // The same for a tensor that FindQuantized knows: its shape and its scales are checked.
  Result<const QuantizedTensor*> GetQuantizedFinite(std::string_view name,
                                                    const Shape& expected) const;
  // What GetFinite or GetQuantizedFinite would say, except about values: nothing is read.
  Status CheckUsable(std::string_view name, const Shape& expected) const;

 protected:
  // Why Find(name) returned null.
  virtual Status Missing(std::string_view name) const;
  // Ok when every value of the quantised tensor `name` is finite; the message names the tensor.
  virtual Status CheckScales(std::string_view /*name*/) const { return OkStatus(); }
};

// Ok when no element is NaN or infinite (integers always are); otherwise one line with the
// tensor's name, the first such element and how many there are. Runs near memory speed.
Status CheckFinite(const TensorView& tensor, std::string_view name);

}  // namespace tessera
