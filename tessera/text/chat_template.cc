#include "tessera/text/chat_template.h"

#include <array>
#include <map>

#include "tessera/formats/gguf.h"
#include "tessera/formats/json.h"
#include "tessera/formats/mapped_file.h"
#include "tessera/formats/quote.h"
#include "tessera/text/jinja_ast.h"
#include "tessera/text/jinja_interpreter.h"
#include "tessera/text/json_util.h"

namespace tessera::text {
namespace {

namespace fs = std::filesystem;
using jinja::Arguments;
using jinja::Interpreter;
using jinja::Value;

constexpr size_t kMaxSource = size_t{4} << 20;
constexpr int64_t kMaxRange = 100'000;  // as Jinja's sandbox

Result<Value> Range(Interpreter& in, Arguments& a) {
  int64_t bounds[3] = {0, 0, 1};
  const size_t n = a.positional.size();
  if (n < 1 || n > 3 || !a.named.empty()) return InvalidArgument("range expects 1 to 3 arguments");
  for (size_t i = 0; i < n; ++i) {
    const Value& v = a.positional[i];
    if (v.IsUndefined()) return InvalidArgument("{}", v.message());
    if (!v.IsInt() && !v.IsBool()) {
      return InvalidArgument("'{}' object cannot be interpreted as an integer", v.TypeName());
    }
    bounds[n == 1 ? 1 : i] = v.AsInt();
  }
  const auto [start, stop, step] = std::tuple(bounds[0], bounds[1], bounds[2]);
  if (step == 0) return InvalidArgument("range() arg 3 must not be zero");
  std::vector<Value> items;
  for (__int128 i = start; step > 0 ? i < stop : i > stop; i += step) {
    if (items.size() >= kMaxRange) {
      return ResourceExhausted("Range too big. The sandbox blocks ranges larger than {}",
                               kMaxRange);
    }
    items.push_back(Value::Int(static_cast<int64_t>(i)));
  }
  TESSERA_RETURN_IF_ERROR(in.Charge(items.size()));
  return Value::Of(std::move(items));
}

Result<std::shared_ptr<jinja::Dict>> DictFrom(Interpreter& in, Arguments& a) {
  auto dict = std::make_shared<jinja::Dict>();
  if (a.positional.size() > 1) return InvalidArgument("dict expected at most 1 argument");
  if (!a.positional.empty()) {
    const Value& v = a.positional[0];
    if (v.IsDict() || v.IsNamespace()) {
      for (const auto& [key, item] : v.dict()->items()) dict->Set(key, item);
    } else {
      TESSERA_ASSIGN_OR_RETURN(const auto pairs, in.Iterate(v));
      for (const Value& pair : pairs) {
        TESSERA_ASSIGN_OR_RETURN(const auto two, in.Iterate(pair));
        if (two.size() != 2) return InvalidArgument("dict: items are pairs");
        dict->Set(two[0], two[1]);
      }
    }
  }
  for (const auto& [key, item] : a.named) dict->Set(key, item);
  TESSERA_RETURN_IF_ERROR(in.Charge(dict->items().size()));
  return dict;
}

std::string FormatTime(std::time_t now, const std::string& format) {
  std::tm parts{};
  localtime_r(&now, &parts);
  std::string out;
  // One conversion at a time, so that a long format cannot overflow the buffer.
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 == format.size()) {
      out.push_back(format[i]);
      continue;
    }
    std::string one = "%";
    one.push_back(format[++i]);
    if (one[1] == '-' && i + 1 < format.size()) one.push_back(format[++i]);
    std::array<char, 128> buffer{};
    const size_t n = std::strftime(buffer.data(), buffer.size(), one.c_str(), &parts);
    out.append(buffer.data(), n);
  }
  return out;
}

}  // namespace

struct ChatTemplate::Impl {
  jinja::Block block;
  std::map<std::string, std::string> defaults;
};

ChatTemplate::ChatTemplate(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

Result<ChatTemplate> ChatTemplate::Parse(std::string_view source) {
  if (source.size() > kMaxSource) {
    return ResourceExhausted("chat template of {} bytes is over the limit of {}", source.size(),
                             kMaxSource);
  }
  auto impl = std::make_unique<Impl>();
  TESSERA_ASSIGN_OR_RETURN(impl->block, jinja::ParseTemplate(source));
  return ChatTemplate(std::move(impl));
}

void ChatTemplate::SetDefault(std::string name, std::string value) {
  impl_->defaults[std::move(name)] = std::move(value);
}

Result<std::string> ChatTemplate::Render(const nlohmann::ordered_json& context,
                                         const RenderOptions& options) const {
  if (!context.is_object()) return InvalidArgument("chat template: the context must be an object");
  auto globals = std::make_shared<jinja::Scope>();
  const auto function = [&](const char* name, auto call) {
    globals->names[name] = jinja::MakeFunction(name, std::move(call));
  };
  function("range", Range);
  function("dict", [](Interpreter& in, Arguments& a) -> Result<Value> {
    TESSERA_ASSIGN_OR_RETURN(auto dict, DictFrom(in, a));
    return Value::Of(std::move(dict));
  });
  function("namespace", [](Interpreter& in, Arguments& a) -> Result<Value> {
    TESSERA_ASSIGN_OR_RETURN(auto dict, DictFrom(in, a));
    return in.NewNamespace(std::move(dict));
  });
  function("raise_exception", [](Interpreter& in, Arguments& a) -> Result<Value> {
    std::string message;
    if (!a.positional.empty()) {
      TESSERA_ASSIGN_OR_RETURN(message, in.ToString(a.positional[0]));
    }
    return InvalidArgument("the template refuses this conversation: {}", Printable(message, 1000));
  });
  const std::time_t now = options.now ? *options.now : std::time(nullptr);
  function("strftime_now", [now](Interpreter& in, Arguments& a) -> Result<Value> {
    if (a.positional.size() != 1 || !a.positional[0].IsString()) {
      return InvalidArgument("strftime_now takes one format string");
    }
    return in.NewString(FormatTime(now, a.positional[0].str()));
  });
  auto scope = std::make_shared<jinja::Scope>();
  scope->parent = globals;
  for (const auto& [name, value] : impl_->defaults) scope->names[name] = Value::Str(value);
  for (const auto& [name, item] : context.items()) {
    auto value = Value::FromJson(item);
    if (!value.ok())
      return value.status().WithContext(fmt::format("chat template: {}", Quoted(name)));
    scope->names[name] = *std::move(value);
  }
  // The template's own variables; macros refer to it.
  auto top = std::make_shared<jinja::Scope>();
  top->parent = scope;
  jinja::Limits limits;
  limits.max_steps = options.max_steps;
  limits.max_output = options.max_output;
  Interpreter interpreter(limits, top);
  std::string out;
  if (Status s = interpreter.Run(impl_->block, &out); !s.ok())
    return s.WithContext("chat template");
  return out;
}

namespace {

// The template in a GGUF file's metadata; named ones have their name in the key.
Result<ChatTemplate> GgufChatTemplate(const std::string& path, std::string_view name) {
  TESSERA_ASSIGN_OR_RETURN(const GgufMetadataFile gguf, OpenGgufMetadata(path));
  const GgufMetadata& metadata = gguf.metadata;
  std::string key = "tokenizer.chat_template";
  if (name != "default") key += "." + std::string(name);
  if (!metadata.Has(key)) {
    return NotFound("{}: no chat template here: key '{}' is missing", metadata.name(), key);
  }
  TESSERA_ASSIGN_OR_RETURN(const std::string_view source, metadata.GetString(key));
  auto parsed = ChatTemplate::Parse(source);
  if (!parsed.ok()) return parsed.status().WithContext(metadata.name());
  TESSERA_ASSIGN_OR_RETURN(const auto tokens, metadata.GetStrings("tokenizer.ggml.tokens"));
  for (const auto& [variable, id_key] :
       {std::pair("bos_token", "tokenizer.ggml.bos_token_id"),
        std::pair("eos_token", "tokenizer.ggml.eos_token_id"),
        std::pair("pad_token", "tokenizer.ggml.padding_token_id"),
        std::pair("unk_token", "tokenizer.ggml.unknown_token_id")}) {
    TESSERA_ASSIGN_OR_RETURN(const int64_t id, metadata.GetIntOr(id_key, -1));
    if (id >= 0 && id < static_cast<int64_t>(tokens.size())) {
      parsed->SetDefault(variable, std::string(tokens[static_cast<size_t>(id)]));
    }
  }
  return parsed;
}

}  // namespace

Result<ChatTemplate> LoadChatTemplate(const fs::path& folder, std::string_view name) {
  std::error_code error;
  if (folder.extension() == ".gguf" && fs::is_regular_file(folder, error)) {
    return GgufChatTemplate(folder.string(), name);
  }
  const fs::path file = folder / "chat_template.jinja";
  const fs::path config_file = folder / "tokenizer_config.json";
  nlohmann::json config;
  if (fs::is_regular_file(config_file, error)) {
    TESSERA_ASSIGN_OR_RETURN(config, ReadJsonFile(config_file.string()));
  }
  std::string source, origin;
  bool found = false;
  if (fs::is_regular_file(file, error)) {
    TESSERA_ASSIGN_OR_RETURN(const auto mapped, MappedFile::Open(file.string()));
    source = mapped->text();
    origin = file.string();
    found = true;
  } else {
    const auto& entry = Member(config, "chat_template");
    origin = config_file.string();
    if (entry.is_string()) {
      source = entry.get<std::string>();
      found = true;
    } else if (entry.is_array()) {
      for (const auto& item : entry) {
        if (StringOr(item, "name", "") != name) continue;
        source = StringOr(item, "template", "");
        found = true;
      }
    }
  }
  if (!found) {
    return NotFound(
        "{}: no chat template here; accepted: chat_template.jinja, or chat_template in "
        "tokenizer_config.json",
        Quoted(folder.string()));
  }
  auto parsed = ChatTemplate::Parse(source);
  if (!parsed.ok()) return parsed.status().WithContext(Printable(origin, 4096));
  nlohmann::json map;
  if (fs::is_regular_file(folder / "special_tokens_map.json", error)) {
    TESSERA_ASSIGN_OR_RETURN(map, ReadJsonFile((folder / "special_tokens_map.json").string()));
  }
  for (const auto* object : {&map, &config}) {  // the config has the last word
    if (!object->is_object()) continue;
    for (const auto& [key, value] : object->items()) {
      if (!key.ends_with("_token")) continue;
      if (value.is_string()) parsed->SetDefault(key, value.get<std::string>());
      const auto& content = Member(value, "content");
      if (content.is_string()) parsed->SetDefault(key, content.get<std::string>());
    }
  }
  return parsed;
}

}  // namespace tessera::text
