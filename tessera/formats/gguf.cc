#include "tessera/formats/gguf.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "tessera/formats/gguf_config.h"
#include "tessera/formats/quote.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr IntRange kSplitRange{.min = 0, .max = 99999};

// Where row `row` of our order is stored: (i, i + half) of a head are stored as (2i, 2i + 1).
int64_t StoredRow(int64_t row, int64_t head_dim) {
  if (head_dim == 0) return row;
  const int64_t half = head_dim / 2, i = row % head_dim;
  return row - i + (i < half ? 2 * i : 2 * (i - half) + 1);
}

class GgufMatrix : public QuantizedTensor {
 public:
  GgufMatrix(const GgufTensor& tensor, const std::byte* data, int64_t rotated_head)
      : QuantizedTensor(tensor.shape, FormatOf(*tensor.type->block).layout,
                        std::string(tensor.type->name), static_cast<int64_t>(tensor.bytes)),
        block_(*tensor.type->block),
        data_(data),
        row_blocks_(tensor.shape[1] / tensor.type->weights),
        row_bytes_(row_blocks_ * tensor.type->bytes),
        rotated_head_(rotated_head) {}

  void ReadRow(int64_t row, uint8_t* codes, float* scales, float* mins) const override {
    DecodeBlocks(block_, RowData(row), row_blocks_, codes, scales, mins);
  }

  // The first row with a scale that is not finite, or -1.
  int64_t FirstBadRow() const {
    if (BlocksFinite(block_, data_, row_blocks_ * shape()[0])) return -1;
    int64_t row = 0;
    while (BlocksFinite(block_, RowData(row), row_blocks_)) ++row;
    return row;
  }

 private:
  const std::byte* RowData(int64_t row) const {
    return data_ + StoredRow(row, rotated_head_) * row_bytes_;
  }

  GgufBlock block_;
  const std::byte* data_;
  int64_t row_blocks_, row_bytes_, rotated_head_;
};

// Number and count of "NAME-00002-of-00005.gguf"; NAME is what comes before.
struct SplitName {
  std::string stem;
  int64_t number = 0, count = 0;

  static std::optional<SplitName> Of(const std::string& file) {
    constexpr std::string_view kPattern = "-00000-of-00000.gguf";
    if (file.size() <= kPattern.size()) return std::nullopt;
    const std::string_view tail = std::string_view(file).substr(file.size() - kPattern.size());
    for (size_t i = 0; i < kPattern.size(); ++i) {
      const bool digit = tail[i] >= '0' && tail[i] <= '9';
      if (kPattern[i] == '0' ? !digit : tail[i] != kPattern[i]) return std::nullopt;
    }
    SplitName split{.stem = file.substr(0, file.size() - kPattern.size())};
    std::from_chars(tail.data() + 1, tail.data() + 6, split.number);
    std::from_chars(tail.data() + 10, tail.data() + 15, split.count);
    return split;
  }
  std::string File(int64_t index) const {
    return fmt::format("{}-{:05}-of-{:05}.gguf", stem, index, count);
  }
};

}  // namespace

struct GgufFile::Entry {
  const GgufTensor* tensor = nullptr;
  size_t file = 0;
  const std::byte* data = nullptr;
  int64_t rotated_head = 0;            // rows are in rotation order by heads of this many, or 0
  std::unique_ptr<GgufMatrix> matrix;  // quantised ones only
  TensorView view;                     // floats and integers; data is null until copied
  Buffer copy;                         // rotated floats, while somebody needs them
};

GgufFile::GgufFile(std::string name) : name_(std::move(name)) {}
GgufFile::~GgufFile() = default;

Result<std::unique_ptr<GgufFile>> GgufFile::Open(const std::string& path) {
  TESSERA_ASSIGN_OR_RETURN(auto file, MappedFile::Open(path));
  std::unique_ptr<GgufFile> model(new GgufFile(path));
  TESSERA_RETURN_IF_ERROR(model->AddFile(file->bytes(), path));
  model->files_.push_back(std::move(file));
  TESSERA_ASSIGN_OR_RETURN(const int64_t count,
                           model->metadata().GetIntOr("split.count", 1, kSplitRange));
  if (count > 1) TESSERA_RETURN_IF_ERROR(model->AddSplits(path, count));
  TESSERA_RETURN_IF_ERROR(model->AddTensors());
  return model;
}

Result<std::unique_ptr<GgufFile>> GgufFile::Parse(std::span<const std::byte> bytes,
                                                  std::string_view name) {
  std::unique_ptr<GgufFile> model(new GgufFile(Printable(name, 4096)));
  TESSERA_RETURN_IF_ERROR(model->AddFile(bytes, name));
  TESSERA_RETURN_IF_ERROR(model->AddTensors());
  return model;
}

Status GgufFile::AddFile(std::span<const std::byte> bytes, std::string_view name) {
  TESSERA_ASSIGN_OR_RETURN(GgufHeader header, ParseGgufHeader(bytes, name));
  headers_.push_back(std::move(header));
  bytes_.push_back(bytes);
  return OkStatus();
}

// Replaces the file opened first by all files of its set, in order.
Status GgufFile::AddSplits(const std::string& path, int64_t count) {
  const fs::path folder = fs::path(path).parent_path();
  const std::optional<SplitName> split = SplitName::Of(fs::path(path).filename().string());
  if (!split || split->count != count) {
    return InvalidArgument(
        "{}: one of {} files of a split model, and its name does not say which; accepted: "
        "NAME-00001-of-{:05}.gguf and so on",
        Printable(path, 4096), count, count);
  }
  files_.clear(), bytes_.clear(), headers_.clear();
  size_t num_tensors = 0;
  for (int64_t index = 1; index <= count; ++index) {
    const std::string part = (folder / split->File(index)).string();
    TESSERA_ASSIGN_OR_RETURN(auto file, MappedFile::Open(part));
    TESSERA_RETURN_IF_ERROR(AddFile(file->bytes(), part));
    files_.push_back(std::move(file));
    const GgufMetadata& metadata = headers_.back().metadata;
    TESSERA_ASSIGN_OR_RETURN(const int64_t number, metadata.GetInt("split.no", kSplitRange));
    TESSERA_ASSIGN_OR_RETURN(const int64_t total, metadata.GetInt("split.count", kSplitRange));
    if (number != index - 1 || total != count) {
      return DataLoss("{}: says it is file {} of {}; accepted: file {} of {}",
                      Printable(part, 4096), number + 1, total, index, count);
    }
    num_tensors += headers_.back().tensors.size();
  }
  name_ = (folder / split->File(1)).string();
  TESSERA_ASSIGN_OR_RETURN(
      const int64_t expected,
      metadata().GetIntOr("split.tensors.count", static_cast<int64_t>(num_tensors)));
  if (static_cast<int64_t>(num_tensors) != expected) {
    return DataLoss("{}: the files of the set hold {} tensors; the first one says {}",
                    Printable(name_, 4096), num_tensors, expected);
  }
  return OkStatus();
}

Status GgufFile::AddTensors() {
  TESSERA_ASSIGN_OR_RETURN(const RotatedHeads heads, RotatedHeadsOf(metadata()));
  for (size_t file = 0; file < headers_.size(); ++file) {
    for (const GgufTensor& tensor : headers_[file].tensors) {
      auto entry = std::make_unique<Entry>();
      entry->tensor = &tensor;
      entry->file = file;
      entry->data = bytes_[file].data() + tensor.begin;
      if (const int64_t count = heads.CountFor(tensor.name); count > 0) {
        entry->rotated_head = tensor.shape[0] / count;
        if (tensor.shape[0] % (2 * count) != 0) {
          return DataLoss(
              "{}: tensor {} has {} rows; accepted: an even number for each of {} heads", origin(),
              Quoted(tensor.name), tensor.shape[0], count);
        }
      }
      if (tensor.type->dtype) {
        entry->view = {entry->rotated_head == 0 ? entry->data : nullptr, *tensor.type->dtype,
                       tensor.shape};
      } else if (tensor.type->block && tensor.shape.size() == 2) {
        entry->matrix = std::make_unique<GgufMatrix>(tensor, entry->data, entry->rotated_head);
      }
      total_bytes_ += static_cast<int64_t>(tensor.bytes);
      if (!tensors_.emplace(tensor.name, std::move(entry)).second) {
        return DataLoss("{}: tensor {} is in two files of the set", origin(), Quoted(tensor.name));
      }
    }
  }
  return OkStatus();
}

const GgufFile::Entry* GgufFile::EntryOf(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : found->second.get();
}

std::vector<std::string> GgufFile::names() const {
  std::vector<std::string> names;
  names.reserve(tensors_.size());
  for (const auto& item : tensors_) names.push_back(item.first);
  return names;
}

const TensorView* GgufFile::Find(std::string_view name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end() || !found->second->tensor->type->dtype) return nullptr;
  Entry& entry = *found->second;
  if (entry.rotated_head == 0) return &entry.view;
  const std::lock_guard lock(copies_mutex_);
  if (entry.view.data == nullptr) {
    const int64_t rows = entry.tensor->shape[0];
    const size_t row_bytes = entry.tensor->bytes / static_cast<uint64_t>(rows);
    entry.copy = Buffer(entry.tensor->bytes);
    for (int64_t row = 0; row < rows; ++row) {
      std::memcpy(entry.copy.data() + static_cast<size_t>(row) * row_bytes,
                  entry.data + static_cast<size_t>(StoredRow(row, entry.rotated_head)) * row_bytes,
                  row_bytes);
    }
    entry.view.data = entry.copy.data();
  }
  return &entry.view;
}

const QuantizedTensor* GgufFile::FindQuantized(std::string_view name) const {
  const Entry* entry = EntryOf(name);
  return entry == nullptr ? nullptr : entry->matrix.get();
}

Result<TensorInfo> GgufFile::Describe(std::string_view name) const {
  const Entry* entry = EntryOf(name);
  if (entry == nullptr) return TensorSource::Missing(name);
  return TensorInfo{.type = std::string(entry->tensor->type->name),
                    .shape = entry->tensor->shape,
                    .bytes = static_cast<int64_t>(entry->tensor->bytes)};
}

void GgufFile::Advise(std::string_view name, MapAdvice advice) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) return;
  Entry& entry = *found->second;
  if (advice == MapAdvice::kDontNeed && entry.rotated_head != 0) {
    const std::lock_guard lock(copies_mutex_);
    entry.view.data = nullptr;
    entry.copy = Buffer();
  }
  if (files_.empty()) return;
  files_[entry.file]->Advise({entry.data, entry.tensor->bytes}, advice);
}

Status GgufFile::Missing(std::string_view name) const {
  const Entry* entry = EntryOf(name);
  if (entry == nullptr) return TensorSource::Missing(name);
  const std::string_view type = entry->tensor->type->name;
  if (entry->matrix != nullptr) {
    return Unimplemented("{}: tensor {} is {}; accepted here: f32, f16 or bf16", origin(),
                         Quoted(name), type);
  }
  return Unimplemented(
      "{}: tensor {} {} is {}; accepted: f32, f16, bf16, and for matrices Q8_0, Q4_0, Q4_1, Q4_K, "
      "Q5_K, Q6_K",
      origin(), Quoted(name), ToString(entry->tensor->shape), type);
}

Status GgufFile::CheckScales(std::string_view name) const {
  const Entry* entry = EntryOf(name);
  if (entry == nullptr || entry->matrix == nullptr) return OkStatus();
  const int64_t row = entry->matrix->FirstBadRow();
  if (row < 0) return OkStatus();
  return DataLoss("tensor {} {} holds a {} scale that is NaN or infinite (first: in row {})",
                  Quoted(name), ToString(entry->tensor->shape), entry->tensor->type->name, row);
}

Result<nlohmann::json> GgufFile::Config() const {
  const Entry* embedding = EntryOf(kGgufEmbedding);
  if (embedding == nullptr) return TensorSource::Missing(kGgufEmbedding);
  return GgufConfig(metadata(),
                    {.vocab = embedding->tensor->shape[0], .tied_head = !Has(kGgufHead)});
}

Result<std::string> FindGgufInFolder(const std::string& folder) {
  std::vector<std::string> files;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.size() > 5 && name.ends_with(".gguf")) files.push_back(name);
  }
  const std::string shown = Printable(folder, 4096);
  if (error) return InvalidArgument("{}: cannot be listed: {}", shown, error.message());
  if (files.empty()) return NotFound("{}: no .gguf file", shown);
  std::sort(files.begin(), files.end());
  const std::optional<SplitName> split = SplitName::Of(files.front());
  const auto same_set = [&](const std::string& file) {
    const std::optional<SplitName> other = SplitName::Of(file);
    return split && other && other->stem == split->stem && other->count == split->count;
  };
  if (files.size() > 1 && !std::all_of(files.begin(), files.end(), same_set)) {
    return InvalidArgument("{}: {} .gguf files of several models ({}, {}, ...); name one of them",
                           shown, files.size(), Quoted(files[0]), Quoted(files[1]));
  }
  return (fs::path(folder) / files.front()).string();
}

Result<GgufMetadataFile> OpenGgufMetadata(const std::string& path) {
  TESSERA_ASSIGN_OR_RETURN(auto file, MappedFile::Open(path));
  TESSERA_ASSIGN_OR_RETURN(GgufHeader header, ParseGgufHeader(file->bytes(), path));
  return GgufMetadataFile{.file = std::move(file), .metadata = std::move(header.metadata)};
}

}  // namespace tessera
