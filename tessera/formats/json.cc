#include "tessera/formats/json.h"

#include <iterator>
#include <new>
#include <stdexcept>
#include <type_traits>
#include <unordered_map>

#include "tessera/formats/mapped_file.h"
#include "tessera/formats/quote.h"

namespace tessera {
namespace {

// Reads the text and tells the builder how far the parser has got.
struct CountingIterator {
  using iterator_category = std::forward_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  const char* at = nullptr;
  const char** cursor = nullptr;

  reference operator*() const { return *at; }
  CountingIterator& operator++() {
    ++at;
    *cursor = at;
    return *this;
  }
  CountingIterator operator++(int) {
    const CountingIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountingIterator& other) const { return at == other.at; }
};

// SAX handler that builds the value and stops the parser at the first broken limit. The parser
// and the builder keep their stacks on the heap; depth is bounded by limits.max_depth.
template <typename Json>
class Builder {
 public:
  using number_integer_t = typename Json::number_integer_t;
  using number_unsigned_t = typename Json::number_unsigned_t;
  using number_float_t = typename Json::number_float_t;
  using string_t = typename Json::string_t;
  using binary_t = typename Json::binary_t;

  Builder(std::string_view text, std::string_view name, const JsonLimits& limits)
      : begin_(text.data()), cursor_(text.data()), name_(name), limits_(limits) {}

  const char** cursor() { return &cursor_; }
  Status TakeStatus() { return std::move(status_); }
  Json TakeRoot() { return std::move(root_); }

  bool null() { return Add(Json(nullptr)) != nullptr; }
  bool boolean(bool value) { return Add(Json(value)) != nullptr; }
  bool number_integer(number_integer_t value) { return Add(Json(value)) != nullptr; }
  bool number_unsigned(number_unsigned_t value) { return Add(Json(value)) != nullptr; }
  bool number_float(number_float_t value, const string_t&) { return Add(Json(value)) != nullptr; }
  bool string(string_t& value) { return Add(Json(std::move(value))) != nullptr; }
  bool binary(binary_t&) { return Fail("binary values are not JSON"); }
  bool start_object(size_t) { return Open(Json(Json::value_t::object)); }
  bool start_array(size_t) { return Open(Json(Json::value_t::array)); }
  bool end_object() { return Close(); }
  bool end_array() { return Close(); }

  bool key(string_t& value) {
    Frame& frame = open_.back();
    frame.key = std::move(value);
    if (limits_.duplicate_keys == DuplicateKeys::kRefuse && Seen(frame)) {
      return Fail(fmt::format("key {} appears twice in one object", Quoted(frame.key)));
    }
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& error) {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error ..."
    std::string_view what = error.what();
    if (const size_t end = what.find("] "); end != what.npos) what.remove_prefix(end + 2);
    status_ = DataLoss("{}: byte {}: {}", Printable(name_, 4096), position, Printable(what, 240));
    return false;
  }

 private:
  static constexpr bool kOrdered = std::is_same_v<Json, nlohmann::ordered_json>;
  static constexpr size_t kLinearKeys = 16;

  struct Frame {
    Json* container;
    string_t key;  // of the next value, in an object
    // An ordered object has no index of its own; without one, n keys would cost n^2 comparisons.
    std::unordered_map<string_t, size_t> index;
  };

  bool Fail(std::string_view reason) {
    status_ = DataLoss("{}: byte {}: {}", Printable(name_, 4096), cursor_ - begin_, reason);
    return false;
  }

  // Position of frame.key in an ordered object, or its size.
  size_t OrderedPosition(Frame& frame) {
    auto& object = frame.container->template get_ref<typename Json::object_t&>();
    if (object.size() > kLinearKeys) {
      if (frame.index.empty()) {
        size_t position = 0;
        for (const auto& item : object) frame.index.emplace(item.first, position++);
      }
      const auto found = frame.index.find(frame.key);
      return found == frame.index.end() ? object.size() : found->second;
    }
    size_t position = 0;
    for (const auto& item : object) {
      if (item.first == frame.key) return position;
      ++position;
    }
    return object.size();
  }

  bool Seen(Frame& frame) {
    if constexpr (kOrdered) {
      return OrderedPosition(frame) < frame.container->size();
    } else {
      return frame.container->contains(frame.key);
    }
  }

  Json* AddToObject(Frame& frame, Json&& value) {
    auto& object = frame.container->template get_ref<typename Json::object_t&>();
    if constexpr (kOrdered) {
      const size_t position = OrderedPosition(frame);
      if (position < object.size()) {
        Json& slot = std::next(object.begin(), static_cast<std::ptrdiff_t>(position))->second;
        slot = std::move(value);
        return &slot;
      }
      if (!frame.index.empty()) frame.index.emplace(frame.key, position);
      return &object.emplace_back(std::move(frame.key), std::move(value)).second;
    } else {
      return &object.insert_or_assign(std::move(frame.key), std::move(value)).first->second;
    }
  }

  Json* Add(Json&& value) {
    if (++values_ > limits_.max_values) {
      Fail(fmt::format("more than {} values", limits_.max_values));
      return nullptr;
    }
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Frame& frame = open_.back();
    if (frame.container->is_object()) return AddToObject(frame, std::move(value));
    frame.container->push_back(std::move(value));
    return &frame.container->back();
  }

  bool Open(Json&& container) {
    if (open_.size() == limits_.max_depth) {
      return Fail(fmt::format("arrays and objects nest deeper than {}", limits_.max_depth));
    }
    Json* added = Add(std::move(container));
    if (added == nullptr) return false;
    open_.push_back({added, {}, {}});
    return true;
  }

  bool Close() {
    open_.pop_back();
    return true;
  }

  const char* begin_;
  const char* cursor_;
  std::string_view name_;
  const JsonLimits& limits_;
  Json root_;
  std::vector<Frame> open_;
  size_t values_ = 0;
  Status status_;
};

template <typename Json>
Result<Json> Parse(std::string_view text, std::string_view name, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return ResourceExhausted("{}: {} bytes of JSON; accepted: at most {}", Printable(name, 4096),
                             text.size(), limits.max_bytes);
  }
  Builder<Json> builder(text, name, limits);
  const CountingIterator first{text.data(), builder.cursor()};
  const CountingIterator last{text.data() + text.size(), builder.cursor()};
  try {
    if (!Json::sax_parse(first, last, &builder)) return builder.TakeStatus();
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("{}: not enough memory for {} bytes of JSON", Printable(name, 4096),
                             text.size());
  }
  return builder.TakeRoot();
}

template <typename Json>
Result<Json> Read(const std::string& path, const JsonLimits& limits) {
  TESSERA_ASSIGN_OR_RETURN(auto file, MappedFile::Open(path));
  return Parse<Json>(file->text(), path, limits);
}

std::string Describe(const nlohmann::json& value) {
  const std::string dump =
      value.is_structured() ? fmt::format("{} of {} items", value.type_name(), value.size())
                            : value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return Printable(dump, 80);
}

std::string Accepted(IntRange range) {
  const IntRange any;
  if (range.min == any.min && range.max == any.max) return "an integer";
  if (range.max == any.max) return fmt::format("an integer of at least {}", range.min);
  if (range.min == any.min) return fmt::format("an integer of at most {}", range.max);
  return fmt::format("an integer from {} to {}", range.min, range.max);
}

std::string Accepted(FloatRange range) {
  const FloatRange any;
  if (range.min == any.min && range.max == any.max) return "a number";
  if (range.max == any.max) return fmt::format("a number of at least {}", range.min);
  if (range.min == any.min) return fmt::format("a number of at most {}", range.max);
  return fmt::format("a number from {} to {}", range.min, range.max);
}

bool InRange(const nlohmann::json& value, IntRange range) {
  if (!value.is_number_integer()) return false;
  // Values above INT64_MAX are held unsigned; reading them as int64 would wrap.
  if (value.is_number_unsigned() &&
      value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return false;
  }
  const int64_t number = value.get<int64_t>();
  return number >= range.min && number <= range.max;
}

}  // namespace

Result<nlohmann::json> ParseJson(std::string_view text, std::string_view name,
                                 const JsonLimits& limits) {
  return Parse<nlohmann::json>(text, name, limits);
}

Result<nlohmann::ordered_json> ParseOrderedJson(std::string_view text, std::string_view name,
                                                const JsonLimits& limits) {
  return Parse<nlohmann::ordered_json>(text, name, limits);
}

Result<nlohmann::json> ReadJsonFile(const std::string& path, const JsonLimits& limits) {
  return Read<nlohmann::json>(path, limits);
}

Result<nlohmann::ordered_json> ReadOrderedJsonFile(const std::string& path,
                                                   const JsonLimits& limits) {
  return Read<nlohmann::ordered_json>(path, limits);
}

Result<JsonObject> JsonObject::Of(const nlohmann::json& json, std::string_view name) {
  if (!json.is_object()) {
    return DataLoss("{}: holds {}; accepted: an object", Printable(name, 4096), Describe(json));
  }
  return JsonObject(&json, Printable(name, 4096), "");
}

const nlohmann::json* JsonObject::Find(std::string_view field) const {
  const auto found = json_->find(field);
  return found == json_->end() || found->is_null() ? nullptr : &*found;
}

Status JsonObject::Wrong(std::string_view field, const nlohmann::json& got,
                         std::string_view accepted) const {
  return DataLoss("{}: field {} is {}; accepted: {}", name_, Quoted(prefix_ + std::string(field)),
                  Describe(got), accepted);
}

Result<const nlohmann::json*> JsonObject::Require(std::string_view field,
                                                  std::string_view accepted) const {
  if (const nlohmann::json* value = Find(field)) return value;
  return DataLoss("{}: field {} is {}; accepted: {}", name_, Quoted(prefix_ + std::string(field)),
                  json_->contains(field) ? "null" : "missing", accepted);
}

Result<int64_t> JsonObject::GetInt(std::string_view field, IntRange range) const {
  TESSERA_ASSIGN_OR_RETURN(const auto* value, Require(field, Accepted(range)));
  if (!InRange(*value, range)) return Wrong(field, *value, Accepted(range));
  return value->get<int64_t>();
}

Result<int64_t> JsonObject::GetIntOr(std::string_view field, int64_t otherwise,
                                     IntRange range) const {
  return Has(field) ? GetInt(field, range) : Result<int64_t>(otherwise);
}

Result<double> JsonObject::GetFloat(std::string_view field, FloatRange range) const {
  TESSERA_ASSIGN_OR_RETURN(const auto* value, Require(field, Accepted(range)));
  if (!value->is_number()) return Wrong(field, *value, Accepted(range));
  const double number = value->get<double>();
  if (!(number >= range.min && number <= range.max)) return Wrong(field, *value, Accepted(range));
  return number;
}

Result<double> JsonObject::GetFloatOr(std::string_view field, double otherwise,
                                      FloatRange range) const {
  return Has(field) ? GetFloat(field, range) : Result<double>(otherwise);
}

Result<bool> JsonObject::GetBool(std::string_view field) const {
  TESSERA_ASSIGN_OR_RETURN(const auto* value, Require(field, "true or false"));
  if (!value->is_boolean()) return Wrong(field, *value, "true or false");
  return value->get<bool>();
}

Result<bool> JsonObject::GetBoolOr(std::string_view field, bool otherwise) const {
  return Has(field) ? GetBool(field) : Result<bool>(otherwise);
}

Result<std::string> JsonObject::GetString(std::string_view field) const {
  TESSERA_ASSIGN_OR_RETURN(const auto* value, Require(field, "a string"));
  if (!value->is_string()) return Wrong(field, *value, "a string");
  return value->get<std::string>();
}

Result<std::string> JsonObject::GetStringOr(std::string_view field,
                                            std::string_view otherwise) const {
  return Has(field) ? GetString(field) : Result<std::string>(std::string(otherwise));
}

Result<JsonObject> JsonObject::GetObject(std::string_view field) const {
  TESSERA_ASSIGN_OR_RETURN(const auto* value, Require(field, "an object"));
  if (!value->is_object()) return Wrong(field, *value, "an object");
  return JsonObject(value, name_, fmt::format("{}{}.", prefix_, field));
}

Result<std::vector<int64_t>> JsonObject::GetInts(std::string_view field, IntRange range) const {
  std::vector<int64_t> numbers;
  const nlohmann::json* value = Find(field);
  if (value == nullptr) return numbers;
  const std::string accepted = Accepted(range) + ", or a list of such";
  if (!value->is_array()) {
    if (!InRange(*value, range)) return Wrong(field, *value, accepted);
    numbers.push_back(value->get<int64_t>());
    return numbers;
  }
  for (const nlohmann::json& item : *value) {
    if (!InRange(item, range)) {
      return Wrong(fmt::format("{}[{}]", field, numbers.size()), item, Accepted(range));
    }
    numbers.push_back(item.get<int64_t>());
  }
  return numbers;
}

Result<std::vector<std::string>> JsonObject::GetStrings(std::string_view field) const {
  std::vector<std::string> strings;
  const nlohmann::json* value = Find(field);
  if (value == nullptr) return strings;
  if (!value->is_array()) {
    if (!value->is_string()) return Wrong(field, *value, "a string or a list of strings");
    strings.push_back(value->get<std::string>());
    return strings;
  }
  for (const nlohmann::json& item : *value) {
    if (!item.is_string()) {
      return Wrong(fmt::format("{}[{}]", field, strings.size()), item, "a string");
    }
    strings.push_back(item.get<std::string>());
  }
  return strings;
}

}  // namespace tessera
