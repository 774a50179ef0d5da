// Turns of a conversation to token ids, through a model's chat template; not installed.
#pragma once

#include <vector>

#include "tessera/api/model.h"
#include "tessera/text/chat_template.h"
#include "tessera/text/tokenizer.h"

namespace tessera::api {

// Ends where the model's answer begins.
Result<std::vector<TokenId>> EncodeMessages(const std::vector<Message>& messages,
                                            const text::ChatTemplate& chat,
                                            const text::Tokenizer& tokenizer);

}  // namespace tessera::api
