// From what the user typed or piped to token ids: text, chat messages, numbers, or a canvas with
// holes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tessera/api/model.h"

namespace tessera::cli {

// All of standard input; an error when it is not UTF-8. One newline at the end is dropped.
Result<std::string> ReadStandardInput();
// `argument`, or standard input when it is "-" or when nothing was given and input is piped.
Result<std::string> PromptText(const std::string& argument, bool given);

// "1,2,3", also separated by spaces or newlines.
Result<std::vector<api::TokenId>> ParseIds(std::string_view text);

// A text cut at its holes: pieces[0] hole[0] pieces[1] hole[1] ... pieces[n].
struct HoleText {
  std::vector<std::string> pieces;
  std::vector<int> holes;  // in tokens
};
// Holes are written [[N]]. A space before a hole moves into it: tokens of most vocabularies begin
// with their space.
Result<HoleText> ParseHoles(std::string_view text);

// The canvas of an infilling prompt, mask tokens in its holes. kFramed: between the tokens that
// begin and end a text, as models were trained, where the model has them.
enum class Frame { kFramed, kAsItIs };
Result<std::vector<api::TokenId>> EncodeHoles(const api::Model& model, std::string_view text,
                                              Frame frame);

}  // namespace tessera::cli
