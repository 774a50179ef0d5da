// Chat templates: the Jinja subset of Hugging Face model folders, rendered byte for byte as
// transformers does.
//
// Owns parsing, rendering and finding the template of a folder. Refuses templates that run over
// their limits (steps, nesting, output) and tags it does not know, naming the line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "tessera/base/status.h"

namespace tessera::text {

struct RenderOptions {
  uint64_t max_steps = 5'000'000;
  size_t max_output = size_t{16} << 20;
  std::optional<std::time_t> now;  // what strftime_now shows, local time; the clock when empty
};

class ChatTemplate {
 public:
  static Result<ChatTemplate> Parse(std::string_view source);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  // Variables every rendering sees unless its context has them: bos_token and the like.
  void SetDefault(std::string name, std::string value);

  // `context` is an object: messages, add_generation_prompt, tools, ... Keys keep their order.
  // May be called from several threads.
  Result<std::string> Render(const nlohmann::ordered_json& context,
                             const RenderOptions& options = {}) const;

 private:
  struct Impl;
  explicit ChatTemplate(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// chat_template.jinja, else the chat_template of tokenizer_config.json: a string, or a list of
// named templates of which `name` is taken ("default", "tool_use"). Special tokens of the config
// become defaults. `folder` may be a .gguf file. NotFound when there is no template.
Result<ChatTemplate> LoadChatTemplate(const std::filesystem::path& folder,
                                      std::string_view name = "default");

}  // namespace tessera::text
