#include "apps/eval/encode.h"

#include <algorithm>
#include <filesystem>

#include "apps/eval/errors.h"

namespace tessera::eval {
namespace {

std::string ModelName(const api::Model& model) {
  return std::filesystem::path(model.info().path).filename().string();
}

}  // namespace

std::optional<api::TokenId> EndOfTurn(const api::Model& model) {
  for (const std::string_view name : {"<|eot_id|>", "<|im_end|>", "<|role_end|>"}) {
    for (const api::TokenId id : model.info().stop_ids) {
      if (model.TokenText(id) == name) return id;
    }
  }
  return std::nullopt;
}

Result<std::vector<api::TokenId>> EncodeCase(const api::Model& model, const Case& c) {
  const api::ModelInfo& info = model.info();
  if (!info.has_tokenizer) {
    return BadRequest("{} has no tokenizer, which text cases need", ModelName(model));
  }
  if (!c.parts.empty() && info.mask_id < 0) {
    return BadRequest("{}: infilling needs a model with a mask token; {} has none", c.task,
                      ModelName(model));
  }
  std::vector<api::TokenId> ids;
  if (info.has_chat_template) {
    TESSERA_ASSIGN_OR_RETURN(ids, model.EncodeChat(c.messages));
  } else {
    TESSERA_ASSIGN_OR_RETURN(ids, model.Encode(c.messages.back().content, /*special=*/true));
  }
  for (size_t i = 0; i < c.parts.size(); ++i) {
    if (c.parts[i].empty()) continue;
    TESSERA_ASSIGN_OR_RETURN(std::vector<api::TokenId> part,
                             model.Encode(c.parts[i], /*special=*/false));
    if (i % 2 == 1) std::fill(part.begin(), part.end(), info.mask_id);
    ids.insert(ids.end(), part.begin(), part.end());
  }
  const auto end = EndOfTurn(model);
  if (!c.parts.empty() && end) ids.push_back(*end);
  return ids;
}

int32_t RoomFor(const api::Model& model, const std::string& answer, int64_t prompt_tokens,
                int64_t least) {
  constexpr int64_t kBlock = 32;
  int64_t room = least;
  if (!answer.empty()) {
    const auto ids = model.Encode(answer, /*special=*/false);
    const int64_t tokens = ids.ok() ? static_cast<int64_t>(ids->size()) + 2 : 0;
    room = std::max(least, (tokens + kBlock - 1) / kBlock * kBlock);
  }
  return static_cast<int32_t>(
      std::max<int64_t>(1, std::min(model.info().context - prompt_tokens, room)));
}

}  // namespace tessera::eval
