#include "tessera/formats/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "tessera/formats/json.h"
#include "tessera/formats/quote.h"

namespace tessera {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");

// Every dtype the format defines. The bits check the size of tensors we only list.
struct StoredType {
  std::string_view name;
  int64_t bits;
  std::optional<DType> dtype;
};

constexpr StoredType kStoredTypes[] = {
    {"F32", 32, DType::kF32},         {"F16", 16, DType::kF16},
    {"BF16", 16, DType::kBF16},       {"I64", 64, DType::kI64},
    {"I32", 32, DType::kI32},         {"U8", 8, DType::kU8},
    {"BOOL", 8, DType::kBool},        {"F64", 64, std::nullopt},
    {"U64", 64, std::nullopt},        {"C64", 64, std::nullopt},
    {"U32", 32, std::nullopt},        {"I16", 16, std::nullopt},
    {"U16", 16, std::nullopt},        {"I8", 8, std::nullopt},
    {"F8_E4M3", 8, std::nullopt},     {"F8_E5M2", 8, std::nullopt},
    {"F8_E8M0", 8, std::nullopt},     {"F8_E4M3FNUZ", 8, std::nullopt},
    {"F8_E5M2FNUZ", 8, std::nullopt}, {"F6_E2M3", 6, std::nullopt},
    {"F6_E3M2", 6, std::nullopt},     {"F4", 4, std::nullopt},
};

const StoredType* FindStoredType(std::string_view name) {
  for (const StoredType& type : kStoredTypes) {
    if (type.name == name) return &type;
  }
  return nullptr;
}

// A JSON integer that is not negative and fits int64.
std::optional<int64_t> AsSize(const nlohmann::json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  const uint64_t number = value.get<uint64_t>();
  if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
  return static_cast<int64_t>(number);
}

std::string Shown(const nlohmann::json& value) {
  if (value.is_structured() && value.size() > 2 * SafetensorsFile::kMaxRank) {
    return fmt::format("{} of {} items", value.type_name(), value.size());
  }
  return Printable(value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), 80);
}

}  // namespace

Result<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(const std::string& path) {
  TESSERA_ASSIGN_OR_RETURN(auto file, MappedFile::Open(path));
  TESSERA_ASSIGN_OR_RETURN(auto tensors, Parse(file->bytes(), path));
  tensors->file_ = std::move(file);
  return tensors;
}

Result<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Parse(std::span<const std::byte> bytes,
                                                                std::string_view name) {
  std::unique_ptr<SafetensorsFile> file(new SafetensorsFile(name));
  TESSERA_RETURN_IF_ERROR(file->ReadHeader(bytes));
  return file;
}

Status SafetensorsFile::ReadHeader(std::span<const std::byte> bytes) {
  const std::string file = Printable(name_, 4096);
  uint64_t header_bytes = 0;
  if (bytes.size() < sizeof header_bytes) {
    return DataLoss("{}: truncated: {} bytes, but safetensors begins with an 8-byte header length",
                    file, bytes.size());
  }
  std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
  const std::span<const std::byte> rest = bytes.subspan(sizeof header_bytes);
  if (header_bytes > kMaxHeaderBytes) {
    return DataLoss("{}: header length is {} bytes; accepted: at most {} (is this safetensors?)",
                    file, header_bytes, kMaxHeaderBytes);
  }
  if (header_bytes > rest.size()) {
    return DataLoss("{}: truncated: header length is {} bytes, but only {} bytes follow", file,
                    header_bytes, rest.size());
  }
  const std::string_view text(reinterpret_cast<const char*>(rest.data()), header_bytes);
  if (text.empty() || text.front() != '{') {
    return DataLoss("{}: header does not begin with '{{' (is this safetensors?)", file);
  }
  const JsonLimits limits{
      .max_bytes = kMaxHeaderBytes, .max_depth = 8, .duplicate_keys = DuplicateKeys::kRefuse};
  TESSERA_ASSIGN_OR_RETURN(const nlohmann::json header, ParseJson(text, file + ": header", limits));

  const std::span<const std::byte> data = rest.subspan(header_bytes);
  for (const auto& [tensor, json] : header.items()) {
    if (tensor == "__metadata__") {
      if (!json.is_object()) {
        return DataLoss("{}: header field '__metadata__' is {}; accepted: an object of strings",
                        file, Shown(json));
      }
      for (const auto& [key, value] : json.items()) {
        if (!value.is_string()) {
          return DataLoss("{}: header field '__metadata__' {} is {}; accepted: a string", file,
                          Quoted(key), Shown(value));
        }
        metadata_.emplace(key, value.get<std::string>());
      }
      continue;
    }
    Entry entry;
    TESSERA_RETURN_IF_ERROR(ReadEntry(tensor, json, static_cast<int64_t>(data.size()), &entry)
                                .WithContext(fmt::format("{}: tensor {}", file, Quoted(tensor))));
    entry.view.data = data.data() + entry.begin;
    total_bytes_ += entry.end - entry.begin;
    tensors_.emplace(tensor, std::move(entry));
  }
  return CheckLayout(static_cast<int64_t>(data.size())).WithContext(file);
}

// Errors lack file and tensor; the caller adds them.
Status SafetensorsFile::ReadEntry(std::string_view, const nlohmann::json& json, int64_t data_bytes,
                                  Entry* entry) const {
  if (!json.is_object()) {
    return DataLoss("is {}; accepted: an object with dtype, shape and data_offsets", Shown(json));
  }
  for (const char* field : {"dtype", "shape", "data_offsets"}) {
    if (!json.contains(field)) return DataLoss("field '{}' is missing", field);
  }
  const nlohmann::json& dtype = json["dtype"];
  if (!dtype.is_string()) {
    return DataLoss("field 'dtype' is {}; accepted: a string such as \"BF16\"", Shown(dtype));
  }
  entry->stored_dtype = dtype.get<std::string>();

  const nlohmann::json& shape = json["shape"];
  if (!shape.is_array() || shape.size() > kMaxRank) {
    return DataLoss("field 'shape' is {}; accepted: a list of at most {} sizes", Shown(shape),
                    kMaxRank);
  }
  // The product of the extents that are not 0 must fit as well, so that code multiplying the
  // extents of an empty tensor in another order cannot overflow.
  int64_t elements = 1;
  bool overflow = false, empty = false;
  for (const nlohmann::json& item : shape) {
    const std::optional<int64_t> extent = AsSize(item);
    if (!extent) {
      return DataLoss("field 'shape' is {}; accepted: integers of at least 0", Shown(shape));
    }
    empty |= *extent == 0;
    if (*extent != 0) overflow |= __builtin_mul_overflow(elements, *extent, &elements);
    entry->view.shape.push_back(*extent);
  }

  const nlohmann::json& offsets = json["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !AsSize(offsets[0]) || !AsSize(offsets[1])) {
    return DataLoss("field 'data_offsets' is {}; accepted: [begin, end] with 0 <= begin <= end",
                    Shown(offsets));
  }
  entry->begin = *AsSize(offsets[0]);
  entry->end = *AsSize(offsets[1]);
  if (entry->begin > entry->end) {
    return DataLoss("field 'data_offsets' is [{}, {}]; the end lies before the beginning",
                    entry->begin, entry->end);
  }
  if (entry->end > data_bytes) {
    return DataLoss(
        "field 'data_offsets' is [{}, {}], but the file holds {} bytes of data "
        "(truncated download?)",
        entry->begin, entry->end, data_bytes);
  }

  const StoredType* type = FindStoredType(entry->stored_dtype);
  if (type == nullptr) return OkStatus();  // listed; its size cannot be known
  int64_t bits = 0;
  overflow |= __builtin_mul_overflow(elements, type->bits, &bits);
  if (overflow) {
    return DataLoss("shape {} of {} overflows", ToString(entry->view.shape), entry->stored_dtype);
  }
  if (empty) bits = 0;
  if (bits % 8 != 0 || bits / 8 != entry->end - entry->begin) {
    return DataLoss("{} of shape {} takes {} bytes, but field 'data_offsets' [{}, {}] spans {}",
                    entry->stored_dtype, ToString(entry->view.shape), (bits + 7) / 8, entry->begin,
                    entry->end, entry->end - entry->begin);
  }
  if (type->dtype) {
    entry->supported = true;
    entry->view.dtype = *type->dtype;
  }
  return OkStatus();
}

// The tensors, in file order, must tile the data section: no overlap, hole or unused tail.
Status SafetensorsFile::CheckLayout(int64_t data_bytes) const {
  std::vector<const Entries::value_type*> order;
  for (const auto& item : tensors_) order.push_back(&item);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  int64_t reached = 0;
  const std::string* previous = nullptr;
  for (const auto* item : order) {
    const Entry& entry = item->second;
    if (entry.begin < reached) {
      return DataLoss("tensor {} [{}, {}] overlaps tensor {}, which ends at {}",
                      Quoted(item->first), entry.begin, entry.end, Quoted(*previous), reached);
    }
    if (entry.begin > reached) {
      return DataLoss("tensor {} begins at {}, leaving bytes {} to {} unused; holes are refused",
                      Quoted(item->first), entry.begin, reached, entry.begin);
    }
    reached = entry.end;
    previous = &item->first;
  }
  if (reached != data_bytes) {
    return DataLoss("{} bytes follow the last tensor{}; accepted: none", data_bytes - reached,
                    previous ? fmt::format(" {}", Quoted(*previous)) : "");
  }
  return OkStatus();
}

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> names;
  names.reserve(tensors_.size());
  for (const auto& item : tensors_) names.push_back(item.first);
  return names;
}

const TensorView* SafetensorsFile::Find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() || !found->second.supported ? nullptr : &found->second.view;
}

std::string_view SafetensorsFile::StoredDType(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? std::string_view() : found->second.stored_dtype;
}

Status SafetensorsFile::Missing(std::string_view name) const {
  if (!Lists(name)) return TensorSource::Missing(name);
  return Unimplemented("{}: tensor {} has dtype {}; accepted: F32, F16, BF16, I64, I32, U8, BOOL",
                       origin(), Quoted(name), Quoted(StoredDType(name)));
}

void SafetensorsFile::Advise(std::string_view name, MapAdvice advice) const {
  const auto found = tensors_.find(name);
  if (file_ == nullptr || found == tensors_.end()) return;
  const Entry& entry = found->second;
  file_->Advise({entry.view.data, static_cast<size_t>(entry.end - entry.begin)}, advice);
}

}  // namespace tessera
