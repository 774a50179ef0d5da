#include "apps/cli/prompt.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <span>

#include "apps/cli/command.h"
#include "apps/cli/model_options.h"
#include "apps/cli/terminal.h"
#include "apps/cli/text_util.h"

namespace tessera::cli {
namespace {

constexpr size_t kMaxInputBytes = 64 << 20;  // far above any context; not a memory bomb
constexpr int kMaxHole = 4096;

// Names of the tokens that begin and end a text, in the vocabularies of the known architectures.
constexpr std::string_view kBegin[] = {"<|startoftext|>", "<|begin_of_text|>", "<|beginoftext|>",
                                       "<s>", "<bos>"};
constexpr std::string_view kEnd[] = {"<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>"};

// Puts begin- and end-of-text around a canvas that has none. The first token of a chat is the
// begin-of-text token of the models that have one.
void AddFrame(const api::Model& model, std::vector<api::TokenId>* canvas) {
  const api::ModelInfo& info = model.info();
  if (!info.has_chat_template) return;
  const auto chat = model.EncodeChat({{.role = "user", .content = "-"}});
  if (!chat.ok() || chat->empty()) return;
  const api::TokenId begin = chat->front();
  const auto is = [&](api::TokenId id, std::span<const std::string_view> names) {
    return std::find(names.begin(), names.end(), model.TokenText(id)) != names.end();
  };
  if (!is(begin, kBegin)) return;
  if (canvas->front() != begin) canvas->insert(canvas->begin(), begin);
  const auto end = std::find_if(info.stop_ids.begin(), info.stop_ids.end(),
                                [&](api::TokenId id) { return is(id, kEnd); });
  if (end != info.stop_ids.end() && !is(canvas->back(), kEnd)) canvas->push_back(*end);
}

}  // namespace

Result<std::string> ReadStandardInput() {
  std::string text;
  char chunk[1 << 16];
  while (true) {
    const ssize_t got = read(STDIN_FILENO, chunk, sizeof(chunk));
    if (got == 0) break;
    if (got < 0) {
      TESSERA_RETURN_IF_ERROR(CheckStopped());
      if (errno == EINTR) continue;
      return Failure("standard input: cannot read: {}", std::strerror(errno));
    }
    text.append(chunk, static_cast<size_t>(got));
    if (text.size() > kMaxInputBytes) {
      return Failure("standard input: more than {} are not accepted", Bytes(kMaxInputBytes));
    }
  }
  if (const auto offset = FindInvalidUtf8(text)) {
    return Failure("standard input: byte {} (0x{:02X}) is not valid UTF-8; accepted: UTF-8 text",
                   *offset, static_cast<unsigned char>(text[*offset]));
  }
  if (text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
  return text;
}

Result<std::string> PromptText(const std::string& argument, bool given) {
  if (given && argument != "-") return argument;
  if (!given && IsTerminal(STDIN_FILENO)) {
    return UsageError("no prompt; accepted: a text as argument, or one on standard input");
  }
  return ReadStandardInput();
}

Result<std::vector<api::TokenId>> ParseIds(std::string_view text) {
  std::vector<api::TokenId> ids;
  constexpr std::string_view kSeparators = ", \n\t";
  while (true) {
    const size_t begin = text.find_first_not_of(kSeparators);
    if (begin == std::string_view::npos) break;
    text.remove_prefix(begin);
    const std::string_view item = text.substr(0, text.find_first_of(kSeparators));
    api::TokenId id = 0;
    const auto [end, error] = std::from_chars(item.data(), item.data() + item.size(), id);
    if (error != std::errc() || end != item.data() + item.size() || id < 0) {
      return UsageError("--ids: got '{}', accepted: token ids of 0 or more, separated by commas",
                        OneLine(item, 40));
    }
    ids.push_back(id);
    text.remove_prefix(item.size());
  }
  if (ids.empty()) return UsageError("--ids: no token id; accepted: for example 1,2,3");
  return ids;
}

Result<HoleText> ParseHoles(std::string_view text) {
  HoleText result;
  std::string piece;
  while (true) {
    const size_t open = text.find("[[");
    piece += text.substr(0, open);
    if (open == std::string_view::npos) break;
    const size_t close = text.find("]]", open);
    const std::string_view inside =
        close == std::string_view::npos ? "" : text.substr(open + 2, close - open - 2);
    const bool number = !inside.empty() && std::all_of(inside.begin(), inside.end(),
                                                       [](char c) { return c >= '0' && c <= '9'; });
    if (!number) {  // "[[1, 2], [3, 4]]" is text
      piece += "[[";
      text.remove_prefix(open + 2);
      continue;
    }
    int length = 0;
    const auto [end, error] = std::from_chars(inside.data(), inside.data() + inside.size(), length);
    if (error != std::errc() || length < 1 || length > kMaxHole) {
      return UsageError("--infill: hole [[{}]]: accepted: 1..{} tokens", OneLine(inside, 20),
                        kMaxHole);
    }
    if (piece.ends_with(' ')) piece.pop_back();
    result.pieces.push_back(std::move(piece));
    piece.clear();
    result.holes.push_back(length);
    text.remove_prefix(close + 2);
  }
  result.pieces.push_back(std::move(piece));
  if (result.holes.empty()) {
    return UsageError("--infill: the prompt has no hole; write [[N]] where N tokens are missing");
  }
  return result;
}

Result<std::vector<api::TokenId>> EncodeHoles(const api::Model& model, std::string_view text,
                                              Frame frame) {
  const api::ModelInfo& info = model.info();
  if (info.mask_id < 0) {
    return UsageError(
        "--infill: {} has no mask token; accepted: a diffusion model (or --mask-id for a "
        "checkpoint "
        "that does not name its mask token)",
        ShortName(info));
  }
  TESSERA_ASSIGN_OR_RETURN(const HoleText parsed, ParseHoles(text));
  // What the tokenizer puts before every text belongs before the first piece only.
  TESSERA_ASSIGN_OR_RETURN(const std::vector<api::TokenId> added,
                           model.Encode("", /*special=*/true));
  std::vector<api::TokenId> canvas = added;
  for (size_t i = 0; i < parsed.pieces.size(); ++i) {
    if (!parsed.pieces[i].empty()) {
      TESSERA_ASSIGN_OR_RETURN(const std::vector<api::TokenId> ids,
                               model.Encode(parsed.pieces[i], /*special=*/true));
      const bool prefixed =
          ids.size() >= added.size() && std::equal(added.begin(), added.end(), ids.begin());
      canvas.insert(canvas.end(), ids.begin() + static_cast<ptrdiff_t>(prefixed ? added.size() : 0),
                    ids.end());
    }
    if (i < parsed.holes.size()) {
      canvas.insert(canvas.end(), static_cast<size_t>(parsed.holes[i]), info.mask_id);
    }
  }
  if (frame == Frame::kFramed && added.empty()) AddFrame(model, &canvas);
  return canvas;
}

}  // namespace tessera::cli
