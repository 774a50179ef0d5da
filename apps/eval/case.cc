#include "apps/eval/case.h"

#include "apps/eval/errors.h"
#include "apps/eval/graders.h"
#include "apps/eval/text.h"

namespace tessera::eval {
namespace {

using nlohmann::json;

Status BadLine(const std::string& name, int line, const std::string& what) {
  return BadData(
      "{}:{}: {}; accepted: one JSON object per line with prompt (or messages of role and "
      "content), and optionally task, answer, grader, meta",
      name, line, what);
}

// The string at `key`, `fallback` when absent.
bool GetString(const json& object, const char* key, const std::string& fallback,
               std::string* value) {
  const auto it = object.find(key);
  *value = it == object.end() ? fallback : it->is_string() ? it->get<std::string>() : "";
  return it == object.end() || it->is_string();
}

bool GetMessages(const json& object, std::vector<api::Message>* messages) {
  const auto it = object.find("messages");
  if (it == object.end()) {
    std::string prompt;
    if (!object.contains("prompt") || !GetString(object, "prompt", "", &prompt)) return false;
    messages->push_back({.role = "user", .content = prompt});
    return true;
  }
  if (!it->is_array() || it->empty()) return false;
  for (const json& item : *it) {
    api::Message message;
    if (!item.is_object() || !GetString(item, "role", "user", &message.role) ||
        !item.contains("content") || !GetString(item, "content", "", &message.content)) {
      return false;
    }
    messages->push_back(std::move(message));
  }
  return true;
}

}  // namespace

Result<std::vector<Case>> ParseCases(std::string_view text, const std::string& name) {
  std::vector<Case> cases;
  const auto add = [&](std::string_view line, int number) -> Status {
    const json object = json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!object.is_object()) return BadLine(name, number, "not a JSON object");
    Case c;
    if (!GetMessages(object, &c.messages)) return BadLine(name, number, "no usable prompt");
    const bool has_answer = object.contains("answer");
    if (!GetString(object, "task", "all", &c.task) || !GetString(object, "answer", "", &c.answer) ||
        !GetString(object, "grader", has_answer ? "exact" : "none", &c.grader)) {
      return BadLine(name, number, "task, answer and grader are strings");
    }
    if (object.contains("meta")) c.meta = object["meta"];
    TESSERA_RETURN_IF_ERROR(
        CheckGrader(c.grader, c.meta).WithContext(fmt::format("{}:{}", name, number)));
    cases.push_back(std::move(c));
    return OkStatus();
  };
  TESSERA_RETURN_IF_ERROR(ForEachLine(text, add));
  if (cases.empty()) return BadLine(name, 1, "no cases");
  return cases;
}

Result<std::vector<Case>> ReadCases(const std::string& path) {
  TESSERA_ASSIGN_OR_RETURN(const std::string text,
                           ReadText(path, "a file of cases, one JSON object per line"));
  return ParseCases(text, path);
}

std::vector<Case> Spread(const std::vector<Case>& cases, size_t limit) {
  if (limit == 0 || cases.size() <= limit) return cases;
  std::vector<Case> chosen;
  for (size_t i = 0; i < limit; ++i) chosen.push_back(cases[i * cases.size() / limit]);
  return chosen;
}

}  // namespace tessera::eval
