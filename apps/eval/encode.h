// Cases to token ids: prompts, replies with holes, the token that ends a turn.
#pragma once

#include <optional>
#include <vector>

#include "apps/eval/case.h"
#include "tessera/api/model.h"

namespace tessera::eval {

// The prompt: through the chat template if the model has one; for infilling the reply too, mask
// tokens where its parts are missing.
Result<std::vector<api::TokenId>> EncodeCase(const api::Model& model, const Case& c);

// The token that ends a reply, by its name; nothing for models that have none of the usual ones.
std::optional<api::TokenId> EndOfTurn(const api::Model& model);

// New tokens for an answer: whole blocks of 32, with room for the tokens that end turn and text; at
// least `least`, at most what the context leaves.
int32_t RoomFor(const api::Model& model, const std::string& answer, int64_t prompt_tokens,
                int64_t least);

}  // namespace tessera::eval
