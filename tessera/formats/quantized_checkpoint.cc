#include "tessera/formats/quantized_checkpoint.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "tessera/formats/quantized_codes.h"
#include "tessera/formats/quote.h"

namespace tessera {
namespace {

constexpr std::string_view kConfigField = "quantization_config";
constexpr std::string_view kParts[] = {".codes", ".scales", ".mins"};

bool IsFloating(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

// Bits of the largest scale or min that keeps scale * 255 + min finite. f16 ends at 65504, far
// below that, so there only infinity and NaN are refused.
uint32_t LargestBits(DType dtype) {
  constexpr float kLargest = std::numeric_limits<float>::max() / 1024;
  switch (dtype) {
    case DType::kF32: return std::bit_cast<uint32_t>(kLargest);
    case DType::kBF16: return std::bit_cast<uint32_t>(kLargest) >> 16;
    default: return 0x7bff;
  }
}

// The first element whose bits, less those outside `mask`, exceed the largest; -1: none. Floats of
// one sign order as their bits do, and a set sign bit exceeds them all.
template <typename Word>
int64_t FirstAbove(const TensorView& tensor, uint32_t mask) {
  const int64_t count = NumElements(tensor.shape);
  const Word largest = static_cast<Word>(LargestBits(tensor.dtype));
  const auto word_at = [&](int64_t i) {
    Word word;  // files give no alignment
    std::memcpy(&word, tensor.data + i * static_cast<int64_t>(sizeof(Word)), sizeof(Word));
    return static_cast<Word>(word & static_cast<Word>(mask));
  };
  Word highest = 0;
  for (int64_t i = 0; i < count; ++i) highest = std::max(highest, word_at(i));
  if (highest <= largest) return -1;
  for (int64_t i = 0; i < count; ++i) {
    if (word_at(i) > largest) return i;
  }
  return -1;
}

enum class Sign { kPositive, kAny };

Status CheckValues(const TensorView& tensor, const std::string& name, Sign sign) {
  const bool wide = tensor.dtype == DType::kF32;
  const uint32_t mask = sign == Sign::kPositive ? ~uint32_t{0} : wide ? 0x7fffffffu : 0x7fffu;
  const int64_t bad =
      wide ? FirstAbove<uint32_t>(tensor, mask) : FirstAbove<uint16_t>(tensor, mask);
  if (bad < 0) return OkStatus();
  return DataLoss(
      "tensor {}: element {} is {:g}; expected {}", Quoted(name), bad, FloatAt(tensor, bad),
      sign == Sign::kPositive ? "scales of 0 or more, and finite weights" : "finite weights");
}

void ReadFloats(const TensorView& tensor, int64_t row, float* out) {
  const int64_t count = tensor.shape[1];
  const std::byte* from = tensor.data + row * count * SizeOf(tensor.dtype);
  if (tensor.dtype == DType::kF32) {
    std::memcpy(out, from, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    uint16_t word;
    std::memcpy(&word, from + 2 * i, sizeof word);
    out[i] = tensor.dtype == DType::kBF16 ? FloatFromBF16(word) : FloatFromF16(word);
  }
}

}  // namespace

// The parts of one matrix, decoded a row at a time.
class QuantizedCheckpoint::StoredTensor : public QuantizedTensor {
 public:
  StoredTensor(const StoredMatrix& matrix, TensorView codes, TensorView scales, TensorView mins)
      : QuantizedTensor(
            matrix.shape, matrix.layout, LayoutName(matrix.layout),
            codes.bytes() + scales.bytes() + (matrix.layout.symmetric ? 0 : mins.bytes())),
        codes_(std::move(codes)),
        scales_(std::move(scales)),
        mins_(std::move(mins)) {}

  void ReadRow(int64_t row, uint8_t* codes, float* scales, float* mins) const override {
    const int64_t in = shape()[1], row_bytes = codes_.shape[1];
    UnpackCodeRow(reinterpret_cast<const uint8_t*>(codes_.data) + row * row_bytes, layout().bits,
                  {codes, static_cast<size_t>(in)});
    ReadFloats(scales_, row, scales);
    if (!layout().symmetric) {
      ReadFloats(mins_, row, mins);
      return;
    }
    const float zero = static_cast<float>(1 << (layout().bits - 1));
    for (int64_t g = 0; g < scales_.shape[1]; ++g) mins[g] = -zero * scales[g];
  }

  const TensorView& scales() const { return scales_; }
  const TensorView& mins() const { return mins_; }

 private:
  TensorView codes_, scales_, mins_;  // mins_ of a symmetric matrix has no data
};

bool HasQuantizationConfig(const JsonObject& config) { return config.Has(kConfigField); }

std::string LayoutName(const QuantizedLayout& layout) {
  std::string name = fmt::format("int{}", layout.bits);
  if (layout.group > 0) name += fmt::format("-g{}", layout.group);
  if (!layout.symmetric) name += "-asym";
  return name;
}

Result<StoredMatrices> ParseQuantizationConfig(const JsonObject& config) {
  constexpr int64_t kMaxExtent = int64_t{1} << 31;  // keeps every size far from overflowing
  TESSERA_ASSIGN_OR_RETURN(const JsonObject quantization, config.GetObject(kConfigField));
  TESSERA_ASSIGN_OR_RETURN(const std::string method, quantization.GetString("quant_method"));
  if (method != "tessera") {
    return Unimplemented("{}: field '{}.quant_method' is {}; accepted: 'tessera'",
                         Printable(config.name(), 4096), kConfigField, Quoted(method));
  }
  TESSERA_ASSIGN_OR_RETURN(const int64_t version,
                           quantization.GetInt("format_version", {.min = 1}));
  if (version != 1) {
    return Unimplemented("{}: field '{}.format_version' is {}; this build reads 1",
                         Printable(config.name(), 4096), kConfigField, version);
  }
  TESSERA_ASSIGN_OR_RETURN(const JsonObject listed, quantization.GetObject("matrices"));
  StoredMatrices matrices;
  for (const auto& [name, json] : listed.json().items()) {
    TESSERA_ASSIGN_OR_RETURN(
        const JsonObject entry,
        JsonObject::Of(json,
                       fmt::format("{}: matrix {}", Printable(config.name(), 4096), Quoted(name))));
    StoredMatrix matrix;
    TESSERA_ASSIGN_OR_RETURN(const std::vector<int64_t> shape,
                             entry.GetInts("shape", {.min = 1, .max = kMaxExtent}));
    if (shape.size() != 2) {
      return DataLoss("{}: field 'shape' is {}; expected [out, in]", entry.name(), ToString(shape));
    }
    TESSERA_ASSIGN_OR_RETURN(const int64_t bits, entry.GetInt("bits"));
    if (bits != 4 && bits != 8) {
      return DataLoss("{}: field 'bits' is {}; accepted: 4, 8", entry.name(), bits);
    }
    TESSERA_ASSIGN_OR_RETURN(
        const int64_t group,
        entry.GetInt("group_size", {.min = 0, .max = std::numeric_limits<int32_t>::max()}));
    TESSERA_ASSIGN_OR_RETURN(matrix.layout.symmetric, entry.GetBool("symmetric"));
    matrix.shape = shape;
    matrix.layout.bits = static_cast<int32_t>(bits);
    matrix.layout.group = static_cast<int32_t>(group);
    matrices.emplace(name, std::move(matrix));
  }
  return matrices;
}

Result<std::unique_ptr<QuantizedCheckpoint>> QuantizedCheckpoint::Open(
    std::unique_ptr<TensorSource> parts, const StoredMatrices& matrices) {
  std::unique_ptr<QuantizedCheckpoint> checkpoint(new QuantizedCheckpoint(std::move(parts)));
  for (const auto& [name, matrix] : matrices) {
    TESSERA_RETURN_IF_ERROR(checkpoint->Add(name, matrix));
  }
  return checkpoint;
}

QuantizedCheckpoint::QuantizedCheckpoint(std::unique_ptr<TensorSource> parts)
    : parts_(std::move(parts)) {}

QuantizedCheckpoint::~QuantizedCheckpoint() = default;

Status QuantizedCheckpoint::Add(const std::string& name, const StoredMatrix& matrix) {
  const auto refuse = [&](const std::string& part, const TensorView& tensor,
                          const std::string& expected) {
    return DataLoss("{}: tensor {} is {} {}; expected {} for {} {}", origin(), Quoted(part),
                    Name(tensor.dtype), ToString(tensor.shape), expected, LayoutName(matrix.layout),
                    ToString(matrix.shape));
  };
  if (parts_->Find(name) != nullptr) {
    return DataLoss("{}: tensor {} is listed as quantised, but stored as it is", origin(),
                    Quoted(name));
  }
  const int64_t out = matrix.shape[0], in = matrix.shape[1];
  const Shape expected_codes = {out, CodeRowBytes(in, matrix.layout.bits)};
  const Shape expected_scales = {out, matrix.layout.NumGroups(in)};
  TensorView views[3];
  for (int i = 0; i < (matrix.layout.symmetric ? 2 : 3); ++i) {
    const std::string part = name + std::string(kParts[i]);
    TESSERA_ASSIGN_OR_RETURN(views[i], parts_->Get(part, Accept::kAnyDType));
    if (i == 0 && (views[i].dtype != DType::kU8 || views[i].shape != expected_codes)) {
      return refuse(part, views[i], "u8 " + ToString(expected_codes));
    }
    if (i > 0 && (!IsFloating(views[i].dtype) || views[i].shape != expected_scales)) {
      return refuse(part, views[i], "f32, f16 or bf16 " + ToString(expected_scales));
    }
    if (!owner_.emplace(part, name).second) {
      return DataLoss("{}: tensor {} belongs to two matrices", origin(), Quoted(part));
    }
  }
  matrices_.emplace(name, std::make_unique<StoredTensor>(matrix, std::move(views[0]),
                                                         std::move(views[1]), std::move(views[2])));
  return OkStatus();
}

std::vector<std::string> QuantizedCheckpoint::names() const {
  std::vector<std::string> names;
  for (std::string& name : parts_->names()) {
    if (owner_.find(name) == owner_.end()) names.push_back(std::move(name));
  }
  for (const auto& item : matrices_) names.push_back(item.first);
  std::sort(names.begin(), names.end());
  return names;
}

const TensorView* QuantizedCheckpoint::Find(std::string_view name) const {
  return owner_.find(name) != owner_.end() ? nullptr : parts_->Find(name);
}

const QuantizedTensor* QuantizedCheckpoint::FindQuantized(std::string_view name) const {
  const auto found = matrices_.find(name);
  return found == matrices_.end() ? nullptr : found->second.get();
}

void QuantizedCheckpoint::Advise(std::string_view name, MapAdvice advice) const {
  if (matrices_.find(name) == matrices_.end()) {
    parts_->Advise(name, advice);
    return;
  }
  for (const std::string_view part : kParts) {
    parts_->Advise(std::string(name) + std::string(part), advice);
  }
}

Status QuantizedCheckpoint::Missing(std::string_view name) const {
  if (const QuantizedTensor* tensor = FindQuantized(name)) {
    return Unimplemented("{}: tensor {} is {}; expected f32, f16 or bf16", origin(), Quoted(name),
                         tensor->type_name());
  }
  if (owner_.find(name) != owner_.end()) return TensorSource::Missing(name);
  return parts_->Get(name, Accept::kAnyDType).status();
}

Status QuantizedCheckpoint::CheckScales(std::string_view name) const {
  const auto found = matrices_.find(name);
  if (found == matrices_.end()) return OkStatus();
  const StoredTensor& tensor = *found->second;
  TESSERA_RETURN_IF_ERROR(CheckValues(tensor.scales(), found->first + ".scales", Sign::kPositive));
  if (tensor.layout().symmetric) return OkStatus();
  return CheckValues(tensor.mins(), found->first + ".mins", Sign::kAny);
}

}  // namespace tessera
