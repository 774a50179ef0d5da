// Questions in GSM8K's format: JSON lines of {"question", "answer"}, the answer ending in "####
// 42".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "apps/eval/case.h"

namespace tessera::eval {

Result<std::vector<Case>> ParseGsm8k(std::string_view text, const std::string& name);
// `path`: a file, or a folder with test.jsonl or train.jsonl, itself or in gsm8k/.
Result<std::vector<Case>> ReadGsm8k(const std::string& path);

}  // namespace tessera::eval
