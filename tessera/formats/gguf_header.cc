#include "tessera/formats/gguf_header.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "tessera/formats/quote.h"

namespace tessera {
namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
// Real files hold tens of keys and hundreds of tensors; the limits bound our own tables.
constexpr uint64_t kMaxKeys = 1 << 14;
constexpr uint64_t kMaxTensors = 1 << 17;
constexpr uint64_t kMaxNameBytes = 1 << 10;
constexpr uint32_t kMaxRank = 4;
constexpr int64_t kMaxAlignment = 1 << 16;
constexpr int64_t kDefaultAlignment = 32;

// Sizes of the public format. Q8_1 and the types of other projects never stand in files.
constexpr GgufTensorType kTypes[] = {
    {0, "f32", 1, 4, DType::kF32, {}},
    {1, "f16", 1, 2, DType::kF16, {}},
    {2, "Q4_0", 32, 18, {}, GgufBlock::kQ4_0},
    {3, "Q4_1", 32, 20, {}, GgufBlock::kQ4_1},
    {6, "Q5_0", 32, 22, {}, {}},
    {7, "Q5_1", 32, 24, {}, {}},
    {8, "Q8_0", 32, 34, {}, GgufBlock::kQ8_0},
    {10, "Q2_K", 256, 84, {}, {}},
    {11, "Q3_K", 256, 110, {}, {}},
    {12, "Q4_K", 256, 144, {}, GgufBlock::kQ4_K},
    {13, "Q5_K", 256, 176, {}, GgufBlock::kQ5_K},
    {14, "Q6_K", 256, 210, {}, GgufBlock::kQ6_K},
    {16, "IQ2_XXS", 256, 66, {}, {}},
    {17, "IQ2_XS", 256, 74, {}, {}},
    {18, "IQ3_XXS", 256, 98, {}, {}},
    {19, "IQ1_S", 256, 50, {}, {}},
    {20, "IQ4_NL", 32, 18, {}, {}},
    {21, "IQ3_S", 256, 110, {}, {}},
    {22, "IQ2_S", 256, 82, {}, {}},
    {23, "IQ4_XS", 256, 136, {}, {}},
    {24, "I8", 1, 1, {}, {}},
    {25, "I16", 1, 2, {}, {}},
    {26, "i32", 1, 4, DType::kI32, {}},
    {27, "i64", 1, 8, DType::kI64, {}},
    {28, "F64", 1, 8, {}, {}},
    {29, "IQ1_M", 256, 56, {}, {}},
    {30, "bf16", 1, 2, DType::kBF16, {}},
    {34, "TQ1_0", 256, 54, {}, {}},
    {35, "TQ2_0", 256, 66, {}, {}},
    {39, "MXFP4", 32, 17, {}, {}},
};

const GgufTensorType* FindType(uint32_t id) {
  const auto* found = std::find_if(std::begin(kTypes), std::end(kTypes),
                                   [&](const GgufTensorType& type) { return type.id == id; });
  return found == std::end(kTypes) ? nullptr : found;
}

// Bytes of one element; 0 for strings and what is no type.
uint64_t ScalarBytes(GgufValueType type) {
  switch (type) {
    case GgufValueType::kU8:
    case GgufValueType::kI8:
    case GgufValueType::kBool: return 1;
    case GgufValueType::kU16:
    case GgufValueType::kI16: return 2;
    case GgufValueType::kU32:
    case GgufValueType::kI32:
    case GgufValueType::kF32: return 4;
    case GgufValueType::kU64:
    case GgufValueType::kI64:
    case GgufValueType::kF64: return 8;
    case GgufValueType::kString:
    case GgufValueType::kArray: return 0;
  }
  return 0;
}

std::string_view TypeName(GgufValueType type) {
  constexpr std::string_view kNames[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                         "bool", "string", "array", "u64", "i64", "f64"};
  return kNames[static_cast<size_t>(type)];
}

template <typename T>
T Load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// Reads forward through the bytes; every step says whether they sufficed.
class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes) : bytes_(bytes) {}
  uint64_t at() const { return at_; }
  uint64_t left() const { return bytes_.size() - at_; }
  const std::byte* here() const { return bytes_.data() + at_; }

  bool Skip(uint64_t count) {
    if (count > left()) return false;
    at_ += count;
    return true;
  }
  template <typename T>
  bool Read(T* value) {
    if (left() < sizeof(T)) return false;
    *value = Load<T>(here());
    at_ += sizeof(T);
    return true;
  }
  bool ReadString(std::string_view* text) {
    uint64_t size = 0;
    if (!Read(&size) || size > left()) return false;
    *text = {reinterpret_cast<const char*>(here()), static_cast<size_t>(size)};
    return Skip(size);
  }

 private:
  std::span<const std::byte> bytes_;
  uint64_t at_ = 0;
};

class HeaderParser {
 public:
  HeaderParser(std::span<const std::byte> bytes, std::string_view name)
      : bytes_(bytes), cursor_(bytes), file_(Printable(name, 4096)), header_(file_) {}

  Result<GgufHeader> Parse() {
    TESSERA_RETURN_IF_ERROR(ReadStart());
    for (uint64_t i = 0; i < num_keys_; ++i) TESSERA_RETURN_IF_ERROR(ReadPair(i));
    TESSERA_RETURN_IF_ERROR(ReadAlignment());
    std::set<std::string_view> names;
    for (uint64_t i = 0; i < num_tensors_; ++i) {
      TESSERA_RETURN_IF_ERROR(ReadTensor(i));
    }
    for (const GgufTensor& tensor : header_.tensors) {
      if (names.insert(tensor.name).second) continue;
      return DataLoss("{}: tensor {} is listed twice", file_, Quoted(tensor.name));
    }
    TESSERA_RETURN_IF_ERROR(PlaceTensors());
    return std::move(header_);
  }

 private:
  Status Truncated(std::string_view what) const {
    return DataLoss("{}: truncated or damaged: {} does not fit in the {} bytes of the file", file_,
                    what, bytes_.size());
  }

  Status ReadStart() {
    uint32_t magic = 0;
    if (!cursor_.Read(&magic) || magic != kMagic) {
      return DataLoss("{}: not a GGUF file: it does not begin with 'GGUF'", file_);
    }
    if (!cursor_.Read(&header_.version)) return Truncated("the version");
    if (header_.version != 0 && (header_.version & 0xffff) == 0) {
      return Unimplemented("{}: a big-endian GGUF file; accepted: little endian", file_);
    }
    if (header_.version != 2 && header_.version != 3) {
      return Unimplemented("{}: GGUF version {}; accepted: 2 and 3", file_, header_.version);
    }
    if (!cursor_.Read(&num_tensors_) || !cursor_.Read(&num_keys_)) return Truncated("the header");
    if (num_tensors_ > kMaxTensors) {
      return DataLoss("{}: {} tensors; accepted: up to {}", file_, num_tensors_, kMaxTensors);
    }
    if (num_keys_ > kMaxKeys) {
      return DataLoss("{}: {} metadata keys; accepted: up to {}", file_, num_keys_, kMaxKeys);
    }
    return OkStatus();
  }

  Status ReadName(std::string_view what, uint64_t index, std::string_view* name) {
    const std::string shown = fmt::format("the name of {} {}", what, index);
    if (!cursor_.ReadString(name)) return Truncated(shown);
    if (name->empty() || name->size() > kMaxNameBytes || !IsUtf8(*name) ||
        name->find('\0') != name->npos) {
      return DataLoss("{}: {} is {}; accepted: 1 to {} bytes of UTF-8", file_, shown, Quoted(*name),
                      kMaxNameBytes);
    }
    return OkStatus();
  }

  Result<GgufValueType> ReadType(std::string_view key) {
    uint32_t type = 0;
    if (!cursor_.Read(&type)) return Truncated(fmt::format("key {}", Quoted(key)));
    if (type > static_cast<uint32_t>(GgufValueType::kF64)) {
      return DataLoss("{}: key {} has value type {}; accepted: 0 to 12", file_, Quoted(key), type);
    }
    return static_cast<GgufValueType>(type);
  }

  Status ReadPair(uint64_t index) {
    std::string_view key;
    TESSERA_RETURN_IF_ERROR(ReadName("key", index, &key));
    GgufValue value;
    TESSERA_ASSIGN_OR_RETURN(value.type, ReadType(key));
    if (value.type == GgufValueType::kArray) {
      value.is_array = true;
      TESSERA_ASSIGN_OR_RETURN(value.type, ReadType(key));
      if (value.type == GgufValueType::kArray) {
        return Unimplemented(
            "{}: key {} is an array of arrays; accepted: arrays of scalars or "
            "strings",
            file_, Quoted(key));
      }
      if (!cursor_.Read(&value.count)) return Truncated(fmt::format("key {}", Quoted(key)));
    }
    const std::byte* begin = cursor_.here();
    TESSERA_RETURN_IF_ERROR(SkipElements(key, value));
    value.bytes = {begin, cursor_.here()};
    if (header_.metadata.Add(key, value)) return OkStatus();
    return DataLoss("{}: key {} is there twice", file_, Quoted(key));
  }

  Status SkipElements(std::string_view key, const GgufValue& value) {
    const auto too_long = [&] {
      return Truncated(fmt::format("key {} with {} element{}", Quoted(key), value.count,
                                   value.count == 1 ? "" : "s"));
    };
    if (value.type == GgufValueType::kString) {
      std::string_view text;
      // At least 8 bytes each, so a count that lies ends the loop with the file.
      for (uint64_t i = 0; i < value.count; ++i) {
        if (!cursor_.ReadString(&text)) return too_long();
      }
      return OkStatus();
    }
    const uint64_t size = ScalarBytes(value.type);
    if (value.count > cursor_.left() / size) return too_long();
    if (value.type == GgufValueType::kBool) {
      for (uint64_t i = 0; i < value.count; ++i) {
        if (cursor_.here()[i] > std::byte{1}) {
          return DataLoss("{}: key {} holds a bool that is neither 0 nor 1", file_, Quoted(key));
        }
      }
    }
    cursor_.Skip(value.count * size);
    return OkStatus();
  }

  Status ReadAlignment() {
    TESSERA_ASSIGN_OR_RETURN(alignment_,
                             header_.metadata.GetIntOr("general.alignment", kDefaultAlignment,
                                                       {.min = 8, .max = kMaxAlignment}));
    if ((alignment_ & (alignment_ - 1)) == 0) return OkStatus();
    return DataLoss("{}: key 'general.alignment' is {}; accepted: a power of two", file_,
                    alignment_);
  }

  Status ReadTensor(uint64_t index) {
    std::string_view name;
    TESSERA_RETURN_IF_ERROR(ReadName("tensor", index, &name));
    GgufTensor tensor;
    tensor.name = name;
    const std::string shown = fmt::format("tensor {}", Quoted(name));
    uint32_t rank = 0, type = 0;
    if (!cursor_.Read(&rank)) return Truncated(shown);
    if (rank < 1 || rank > kMaxRank) {
      return DataLoss("{}: {} has {} dimensions; accepted: 1 to {}", file_, shown, rank, kMaxRank);
    }
    int64_t elements = 1;
    for (uint32_t i = 0; i < rank; ++i) {
      uint64_t extent = 0;
      if (!cursor_.Read(&extent)) return Truncated(shown);
      if (extent < 1 || extent > INT64_MAX ||
          __builtin_mul_overflow(elements, static_cast<int64_t>(extent), &elements)) {
        return DataLoss("{}: {} has dimension {} of {}, or its size overflows", file_, shown, i,
                        extent);
      }
      tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(extent));
    }
    if (!cursor_.Read(&type) || !cursor_.Read(&tensor.begin)) return Truncated(shown);
    tensor.type = FindType(type);
    if (tensor.type == nullptr) {
      return Unimplemented(
          "{}: {} has type number {}; accepted: F32, F16, BF16, Q8_0, Q4_0, Q4_1, "
          "Q4_K, Q5_K, Q6_K",
          file_, shown, type);
    }
    if (tensor.shape.back() % tensor.type->weights != 0) {
      return DataLoss("{}: {} has rows of {}; {} accepts multiples of {}", file_, shown,
                      tensor.shape.back(), tensor.type->name, tensor.type->weights);
    }
    int64_t bytes = 0;
    if (__builtin_mul_overflow(elements / tensor.type->weights, tensor.type->bytes, &bytes)) {
      return DataLoss("{}: the size of {} overflows", file_, shown);
    }
    tensor.bytes = static_cast<uint64_t>(bytes);
    header_.tensors.push_back(std::move(tensor));
    return OkStatus();
  }

  // Offsets count from the first aligned byte after the table.
  Status PlaceTensors() {
    const uint64_t alignment = static_cast<uint64_t>(alignment_);
    const uint64_t data = (cursor_.at() + alignment - 1) / alignment * alignment;
    for (GgufTensor& tensor : header_.tensors) {
      if (tensor.begin % alignment != 0) {
        return DataLoss("{}: tensor {} begins at offset {}; accepted: multiples of {}", file_,
                        Quoted(tensor.name), tensor.begin, alignment);
      }
      uint64_t end = 0;
      if (__builtin_add_overflow(tensor.begin, data, &tensor.begin) ||
          __builtin_add_overflow(tensor.begin, tensor.bytes, &end) || end > bytes_.size()) {
        return DataLoss("{}: tensor {} of {} bytes ends after the file's {} bytes (truncated?)",
                        file_, Quoted(tensor.name), tensor.bytes, bytes_.size());
      }
    }
    std::stable_sort(header_.tensors.begin(), header_.tensors.end(),
                     [](const GgufTensor& a, const GgufTensor& b) { return a.begin < b.begin; });
    for (size_t i = 1; i < header_.tensors.size(); ++i) {
      const GgufTensor& before = header_.tensors[i - 1];
      if (before.begin + before.bytes <= header_.tensors[i].begin) continue;
      return DataLoss("{}: tensors {} and {} overlap", file_, Quoted(before.name),
                      Quoted(header_.tensors[i].name));
    }
    return OkStatus();
  }

  std::span<const std::byte> bytes_;
  Cursor cursor_;
  std::string file_;
  GgufHeader header_;
  uint64_t num_tensors_ = 0, num_keys_ = 0;
  int64_t alignment_ = kDefaultAlignment;
};

// The element as an integer; nothing for other kinds and for what int64 cannot hold.
std::optional<int64_t> IntAt(const GgufValue& value, uint64_t index) {
  const std::byte* from = value.bytes.data() + index * ScalarBytes(value.type);
  switch (value.type) {
    case GgufValueType::kU8: return Load<uint8_t>(from);
    case GgufValueType::kI8: return Load<int8_t>(from);
    case GgufValueType::kU16: return Load<uint16_t>(from);
    case GgufValueType::kI16: return Load<int16_t>(from);
    case GgufValueType::kU32: return Load<uint32_t>(from);
    case GgufValueType::kI32: return Load<int32_t>(from);
    case GgufValueType::kI64: return Load<int64_t>(from);
    case GgufValueType::kU64: {
      const uint64_t wide = Load<uint64_t>(from);
      if (wide > INT64_MAX) return std::nullopt;
      return static_cast<int64_t>(wide);
    }
    default: return std::nullopt;
  }
}

}  // namespace

Result<GgufHeader> ParseGgufHeader(std::span<const std::byte> bytes, std::string_view name) {
  return HeaderParser(bytes, name).Parse();
}

const GgufValue* GgufMetadata::Find(std::string_view key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : &found->second;
}

Status GgufMetadata::Missing(std::string_view key) const {
  return InvalidArgument("{}: key {} is missing", name_, Quoted(key));
}

Status GgufMetadata::Wrong(std::string_view key, const GgufValue& value,
                           std::string_view accepted) const {
  return DataLoss("{}: key {} is {}{}; accepted: {}", name_, Quoted(key), TypeName(value.type),
                  value.is_array ? fmt::format(" [{}]", value.count) : "", accepted);
}

Result<int64_t> GgufMetadata::GetInt(std::string_view key, IntRange range) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return Missing(key);
  const std::optional<int64_t> number = value->is_array ? std::nullopt : IntAt(*value, 0);
  if (!number) return Wrong(key, *value, "an integer");
  if (*number < range.min || *number > range.max) {
    return InvalidArgument("{}: key {} is {}; accepted: {} to {}", name_, Quoted(key), *number,
                           range.min, range.max);
  }
  return *number;
}

Result<int64_t> GgufMetadata::GetIntOr(std::string_view key, int64_t otherwise,
                                       IntRange range) const {
  if (!Has(key)) return otherwise;
  return GetInt(key, range);
}

Result<double> GgufMetadata::GetFloat(std::string_view key, FloatRange range) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return Missing(key);
  double number = 0;
  if (!value->is_array && value->type == GgufValueType::kF32) {
    number = Load<float>(value->bytes.data());
  } else if (!value->is_array && value->type == GgufValueType::kF64) {
    number = Load<double>(value->bytes.data());
  } else {
    return Wrong(key, *value, "a float");
  }
  if (!(number >= range.min && number <= range.max)) {
    return InvalidArgument("{}: key {} is {:g}; accepted: {:g} to {:g}", name_, Quoted(key), number,
                           range.min, range.max);
  }
  return number;
}

Result<double> GgufMetadata::GetFloatOr(std::string_view key, double otherwise,
                                        FloatRange range) const {
  if (!Has(key)) return otherwise;
  return GetFloat(key, range);
}

Result<bool> GgufMetadata::GetBoolOr(std::string_view key, bool otherwise) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return otherwise;
  if (value->is_array || value->type != GgufValueType::kBool) return Wrong(key, *value, "a bool");
  return value->bytes[0] == std::byte{1};
}

Result<std::string_view> GgufMetadata::GetString(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return Missing(key);
  if (value->is_array || value->type != GgufValueType::kString) {
    return Wrong(key, *value, "a string");
  }
  std::string_view text;
  Cursor(value->bytes).ReadString(&text);
  return text;
}

Result<std::string_view> GgufMetadata::GetStringOr(std::string_view key,
                                                   std::string_view otherwise) const {
  if (!Has(key)) return otherwise;
  return GetString(key);
}

Result<std::vector<std::string_view>> GgufMetadata::GetStrings(std::string_view key) const {
  std::vector<std::string_view> texts;
  const GgufValue* value = Find(key);
  if (value == nullptr) return texts;
  if (!value->is_array || value->type != GgufValueType::kString) {
    return Wrong(key, *value, "an array of strings");
  }
  Cursor cursor(value->bytes);
  texts.resize(value->count);
  for (std::string_view& text : texts) cursor.ReadString(&text);
  return texts;
}

Result<std::vector<float>> GgufMetadata::GetFloats(std::string_view key) const {
  std::vector<float> numbers;
  const GgufValue* value = Find(key);
  if (value == nullptr) return numbers;
  if (!value->is_array || value->type != GgufValueType::kF32) {
    return Wrong(key, *value, "an array of f32");
  }
  for (uint64_t i = 0; i < value->count; ++i) {
    numbers.push_back(Load<float>(value->bytes.data() + i * sizeof(float)));
  }
  return numbers;
}

Result<std::vector<int64_t>> GgufMetadata::GetInts(std::string_view key) const {
  std::vector<int64_t> numbers;
  const GgufValue* value = Find(key);
  if (value == nullptr) return numbers;
  if (!value->is_array) return Wrong(key, *value, "an array of integers");
  for (uint64_t i = 0; i < value->count; ++i) {
    const std::optional<int64_t> number = IntAt(*value, i);
    if (!number) return Wrong(key, *value, "an array of integers");
    numbers.push_back(*number);
  }
  return numbers;
}

}  // namespace tessera
