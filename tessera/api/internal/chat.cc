#include "tessera/api/internal/chat.h"

namespace tessera::api {

Result<std::vector<TokenId>> EncodeMessages(const std::vector<Message>& messages,
                                            const text::ChatTemplate& chat,
                                            const text::Tokenizer& tokenizer) {
  nlohmann::ordered_json context;
  context["messages"] = nlohmann::ordered_json::array();
  for (const Message& message : messages) {
    context["messages"].push_back({{"role", message.role}, {"content", message.content}});
  }
  context["add_generation_prompt"] = true;
  TESSERA_ASSIGN_OR_RETURN(const std::string prompt, chat.Render(context));
  return tokenizer.Encode(prompt, {.add_special_tokens = false, .parse_special = true});
}

}  // namespace tessera::api
