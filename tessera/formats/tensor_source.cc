#include "tessera/formats/tensor_source.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tessera/formats/quote.h"

namespace tessera {
namespace {

bool IsFloating(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

bool Matches(const Shape& shape, const Shape& expected) {
  return std::equal(shape.begin(), shape.end(), expected.begin(), expected.end(),
                    [](int64_t have, int64_t want) { return want == kAnyExtent || have == want; });
}

// A value is NaN or infinite exactly when all exponent bits are set, and exactly then adding the
// lowest exponent bit carries into the sign bit, which the mask has cleared. Or-ing the sums of a
// block leaves plain and, add, or, which compilers turn into vector code on every machine.
template <typename Word, Word kExponent>
bool AllFinite(const std::byte* data, size_t count) {
  constexpr Word kLowest = kExponent & (~kExponent + 1);
  constexpr Word kSign = static_cast<Word>(kExponent + kLowest);
  constexpr size_t kBlock = 4096;
  for (size_t begin = 0; begin < count; begin += kBlock) {
    const size_t end = std::min(begin + kBlock, count);
    Word sums = 0;
    for (size_t i = begin; i < end; ++i) {
      Word word;  // files give no alignment
      std::memcpy(&word, data + i * sizeof(Word), sizeof(Word));
      sums |= static_cast<Word>((word & kExponent) + kLowest);
    }
    if ((sums & kSign) != 0) return false;
  }
  return true;
}

bool AllFinite(const TensorView& tensor) {
  const size_t count = static_cast<size_t>(NumElements(tensor.shape));
  switch (tensor.dtype) {
    case DType::kF32: return AllFinite<uint32_t, 0x7f800000>(tensor.data, count);
    case DType::kF16: return AllFinite<uint16_t, 0x7c00>(tensor.data, count);
    case DType::kBF16: return AllFinite<uint16_t, 0x7f80>(tensor.data, count);
    default: return true;
  }
}

bool IsFloating(std::string_view type) {
  return type == Name(DType::kF32) || type == Name(DType::kF16) || type == Name(DType::kBF16);
}

Status WrongShape(const TensorSource& source, std::string_view name, const Shape& shape,
                  const Shape& expected) {
  return DataLoss("{}: tensor {} has shape {}; expected {}", source.origin(), Quoted(name),
                  ToString(shape), ToString(expected));
}

}  // namespace

Result<TensorView> TensorSource::Get(std::string_view name, Accept accept) const {
  const TensorView* tensor = Find(name);
  if (tensor == nullptr) return Missing(name);
  if (accept == Accept::kFloating && !IsFloating(tensor->dtype)) {
    return Unimplemented("{}: tensor {} has dtype {}; expected f32, f16 or bf16", origin(),
                         Quoted(name), Name(tensor->dtype));
  }
  return *tensor;
}

Result<TensorView> TensorSource::Get(std::string_view name, const Shape& expected,
                                     Accept accept) const {
  TESSERA_ASSIGN_OR_RETURN(TensorView tensor, Get(name, accept));
  if (!Matches(tensor.shape, expected)) {
    return WrongShape(*this, name, tensor.shape, expected);
  }
  return tensor;
}

Result<TensorView> TensorSource::GetFinite(std::string_view name, const Shape& expected) const {
  TESSERA_ASSIGN_OR_RETURN(TensorView tensor, Get(name, expected));
  TESSERA_RETURN_IF_ERROR(CheckFinite(tensor, name).WithContext(origin()));
  return tensor;
}

Result<const QuantizedTensor*> TensorSource::GetQuantizedFinite(std::string_view name,
                                                                const Shape& expected) const {
  const QuantizedTensor* tensor = FindQuantized(name);
  if (tensor == nullptr) {
    if (Find(name) == nullptr) return Missing(name);
    return InvalidArgument("{}: tensor {} is stored as floats", origin(), Quoted(name));
  }
  if (!Matches(tensor->shape(), expected)) {
    return WrongShape(*this, name, tensor->shape(), expected);
  }
  TESSERA_RETURN_IF_ERROR(CheckScales(name).WithContext(origin()));
  return tensor;
}

Status TensorSource::CheckUsable(std::string_view name, const Shape& expected) const {
  TESSERA_ASSIGN_OR_RETURN(const TensorInfo info, Describe(name));
  if (!IsFloating(info.type) && FindQuantized(name) == nullptr) return Get(name).status();
  if (!Matches(info.shape, expected)) return WrongShape(*this, name, info.shape, expected);
  return OkStatus();
}

Result<TensorInfo> TensorSource::Describe(std::string_view name) const {
  if (const QuantizedTensor* tensor = FindQuantized(name)) {
    return TensorInfo{
        .type = tensor->type_name(), .shape = tensor->shape(), .bytes = tensor->bytes()};
  }
  TESSERA_ASSIGN_OR_RETURN(const TensorView view, Get(name, Accept::kAnyDType));
  return TensorInfo{
      .type = std::string(Name(view.dtype)), .shape = view.shape, .bytes = view.bytes()};
}

Status TensorSource::Missing(std::string_view name) const {
  return NotFound("{}: tensor {} is missing", origin(), Quoted(name));
}

Status CheckFinite(const TensorView& tensor, std::string_view name) {
  if (AllFinite(tensor)) return OkStatus();
  const int64_t count = NumElements(tensor.shape);
  int64_t first = -1, bad = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (std::isfinite(FloatAt(tensor, i))) continue;
    if (first < 0) first = i;
    ++bad;
  }
  return DataLoss("tensor {} {} holds {} value{} that {} NaN or infinite (first: element {} is {})",
                  Quoted(name), ToString(tensor.shape), bad, bad == 1 ? "" : "s",
                  bad == 1 ? "is" : "are", first, FloatAt(tensor, first));
}

}  // namespace tessera
