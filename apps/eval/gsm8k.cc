#include "apps/eval/gsm8k.h"

#include <filesystem>

#include "apps/eval/benchmark_graders.h"
#include "apps/eval/errors.h"

namespace tessera::eval {

Result<std::vector<Case>> ParseGsm8k(std::string_view text, const std::string& name) {
  std::vector<Case> cases;
  const auto add = [&](std::string_view line, int number) -> Status {
    const auto object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    const auto is_text = [&](const char* key) {
      return object.is_object() && object.contains(key) && object[key].is_string();
    };
    if (!is_text("question") || !is_text("answer") ||
        !FinalNumber(object["answer"].get<std::string>(), /*marked=*/true)) {
      return BadData(
          "{}:{}: accepted: one JSON object per line with question and answer, the answer ending "
          "in \"#### NUMBER\"",
          name, number);
    }
    cases.push_back({.task = "gsm8k",
                     .messages = {{.role = "user",
                                   .content = object["question"].get<std::string>() +
                                              "\nEnd with #### and the answer."}},
                     .answer = object["answer"].get<std::string>(),
                     .grader = "gsm8k",
                     .meta = nullptr,
                     .parts = {}});
    return OkStatus();
  };
  TESSERA_RETURN_IF_ERROR(ForEachLine(text, add));
  if (cases.empty()) return BadData("{}: no questions", name);
  return cases;
}

Result<std::vector<Case>> ReadGsm8k(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  std::string file = path;
  if (fs::is_directory(path, error)) {
    file.clear();
    for (const char* below :
         {"test.jsonl", "train.jsonl", "gsm8k/test.jsonl", "gsm8k/train.jsonl"}) {
      const fs::path candidate = fs::path(path) / below;
      if (file.empty() && fs::is_regular_file(candidate, error)) file = candidate.string();
    }
    if (file.empty()) {
      return Missing(
          "{}: no GSM8K there; accepted: a .jsonl file, or a folder with test.jsonl or "
          "train.jsonl",
          path);
    }
  }
  TESSERA_ASSIGN_OR_RETURN(const std::string text, ReadText(file, "questions in GSM8K's format"));
  return ParseGsm8k(text, file);
}

}  // namespace tessera::eval
