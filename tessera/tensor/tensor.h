// Non-owning views of dense row-major tensors, and the aligned buffer that owns memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tessera/base/check.h"
#include "tessera/tensor/dtype.h"

namespace tessera {

using Shape = std::vector<int64_t>;

inline int64_t NumElements(const Shape& shape) {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return count;
}

// "[2, 3]"
std::string ToString(const Shape& shape);

// A read-only tensor in host memory, usually inside a memory map; alignment is that of the file.
struct TensorView {
  const std::byte* data = nullptr;
  DType dtype = DType::kF32;
  Shape shape;

  int64_t bytes() const { return NumElements(shape) * SizeOf(dtype); }
};

// Element `index` of a floating-point tensor, converted to f32; unaligned data is fine.
float FloatAt(const TensorView& tensor, int64_t index);

// Converts a whole floating-point tensor (F32, F16, BF16) to f32.
std::vector<float> ToFloats(const TensorView& tensor);

// 64-byte aligned host memory, uninitialised. Movable, not copyable.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t bytes)
      : bytes_(bytes),
        data_(static_cast<std::byte*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64))) {
    TESSERA_CHECK(bytes == 0 || data_ != nullptr);
  }
  size_t bytes() const { return bytes_; }
  std::byte* data() { return data_.get(); }
  const std::byte* data() const { return data_.get(); }
  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(data_.get());
  }
  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(data_.get());
  }

 private:
  struct Free {
    void operator()(std::byte* pointer) const { std::free(pointer); }
  };
  size_t bytes_ = 0;
  std::unique_ptr<std::byte, Free> data_;
};

}  // namespace tessera
