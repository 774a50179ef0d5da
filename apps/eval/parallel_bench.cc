#include "apps/eval/parallel_bench.h"

#include <algorithm>
#include <filesystem>

#include "apps/eval/errors.h"
#include "apps/eval/graders.h"
#include "apps/eval/pb_fresh.h"
#include "apps/eval/text.h"

namespace tessera::eval {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kNeedsServers =
    "it is graded by BERTScore, which needs a language model, and by a grammar checker that runs "
    "as a Java server; what is left, 1 - BLEU, gives full marks to any nonsense";

// How a task is asked for, and by what it is graded. Fields in braces are those of `input`.
struct Form {
  const char* kind;  // last part of the task's name
  const char* instruction;
  const char* grader;
};
constexpr Form kForms[] = {
    {"copy", "Copy this list: {context}", "pb_list"},
    {"reverse", "Reverse this list: {context}", "pb_list"},
    {"sort", "Sort this list alphabetically: {context}", "pb_list"},
    {"insert_index", "Insert \"{word}\" at index {index} of this list: {context}", "pb_list"},
    {"remove_index", "Remove the item at index {index} from this list: {context}", "pb_list"},
    {"replace_index", "Replace the item at index {index} of this list with \"{word}\": {context}",
     "pb_list"},
    {"shuffle", "Shuffle this list: {context}", "pb_shuffle"},
    {"insert_random", "Insert \"{word}\" at a random position in this list: {context}",
     "pb_insert"},
    {"remove_random", "Remove one item at random from this list: {context}", "pb_remove"},
    {"replace_random", "Replace a random item in this list with \"{word}\": {context}",
     "pb_replace"},
    {"latin_square_n4",
     "Make a 4x4 Latin square with the symbols {symbols}. Write each row as comma-separated "
     "values.",
     "pb_latin"},
    {"sudoku_n4_12", "Solve this 4x4 sudoku. Zeros are unknown.\n{sudoku}", "pb_grid"},
    {"words", "Write one sentence with these words: {words}", "pb_words"},
    {"samsum", "Summarize this conversation:\n{text}", "rouge_l"},
};

const Form* FormOf(const PbTask& task) {
  const std::string_view name = task.name;
  std::string_view kind = name.substr(name.find('/') + 1);
  if (name.starts_with("words_to_sentence/")) kind = "words";
  for (const Form& form : kForms) {
    if (form.kind == kind) return &form;
  }
  return nullptr;
}

// The names in braces.
Strings FieldsOf(std::string_view instruction) {
  Strings fields;
  for (size_t open = instruction.find('{'); open != std::string_view::npos;
       open = instruction.find('{', open + 1)) {
    fields.emplace_back(instruction.substr(open + 1, instruction.find('}', open) - open - 1));
  }
  return fields;
}

std::string FieldText(const json& value) {
  if (value.is_string()) return value.get<std::string>();
  return value.is_number_integer() ? std::to_string(value.get<int64_t>()) : std::string();
}

// The instruction with its fields filled in; nothing when `input` lacks one.
std::optional<std::string> Fill(std::string_view instruction, const json& input) {
  std::string text;
  while (true) {
    const size_t open = instruction.find('{');
    text += instruction.substr(0, open);
    if (open == std::string_view::npos) return text;
    const size_t close = instruction.find('}', open);
    const std::string key(instruction.substr(open + 1, close - open - 1));
    if (!input.contains(key)) return std::nullopt;
    std::string field = FieldText(input[key]);
    if (field.empty()) return std::nullopt;
    if (key == "symbols" && field.starts_with('[') && field.ends_with(']')) {
      field = field.substr(1, field.size() - 2);
    }
    text += field;
    instruction.remove_prefix(close + 1);
  }
}

// One right answer as text: the answer itself, or its example.
std::optional<std::string> AnswerText(const json& answer) {
  if (answer.is_string()) return answer.get<std::string>();
  if (!answer.is_object()) return std::nullopt;
  for (const char* key : {"example", "summary"}) {
    if (answer.contains(key) && answer[key].is_string()) return answer[key].get<std::string>();
  }
  return answer.contains("words") ? std::optional<std::string>("") : std::nullopt;
}

// meta of our graders from `answer` and `input`; CheckGrader says what is missing.
json MetaOf(const json& object) {
  json meta = json::object();
  const json& answer = object["answer"];
  if (answer.is_object()) {
    for (const auto& [key, name] : {std::pair{"input", "items"}, std::pair{"words", "items"},
                                    std::pair{"symbols", "symbols"}, std::pair{"word", "new"}}) {
      if (answer.contains(key)) meta[name] = answer[key];
    }
  }
  const auto metadata = object.find("metadata");
  if (metadata != object.end() && metadata->is_object() && metadata->contains("length")) {
    meta["n"] = (*metadata)["length"];
  }
  return meta;
}

// Input and answer of a line, or of its example, as a user's turn and the reply to it.
bool ReadTurn(const Form& form, const json& object, std::string* request, std::string* reply) {
  if (!object.is_object() || !object.contains("input") || !object["input"].is_object() ||
      !object.contains("answer")) {
    return false;
  }
  const auto filled = Fill(form.instruction, object["input"]);
  const auto answer = AnswerText(object["answer"]);
  if (!filled || !answer) return false;
  *request = *filled;
  *reply = *answer;
  return true;
}

Result<Case> ToCase(const PbTask& task, const Form& form, const json& object) {
  Case c{.task = std::string("parallelbench/") + task.name,
         .messages = {},
         .answer = "",
         .grader = form.grader,
         .meta = nullptr,
         .parts = {}};
  std::string request, reply;
  if (!ReadTurn(form, object, &request, &c.answer)) {
    return BadData("no usable input and answer; accepted: input with {}, and answer",
                   fmt::join(FieldsOf(form.instruction), ", "));
  }
  c.meta = MetaOf(object);
  const json& input = object["input"];
  if (input.contains("icl_examples")) {
    const json& examples = input["icl_examples"];
    if (!examples.is_array()) return BadData("icl_examples: accepted: a list of examples");
    for (const json& example : examples) {
      std::string example_request;
      if (!ReadTurn(form, example, &example_request, &reply)) {
        return BadData("an example without usable input and answer");
      }
      c.messages.push_back({.role = "user", .content = example_request});
      c.messages.push_back({.role = "assistant", .content = reply});
    }
  }
  c.messages.push_back({.role = "user", .content = request});
  TESSERA_RETURN_IF_ERROR(CheckGrader(c.grader, c.meta));
  return c;
}

}  // namespace

const std::vector<PbTask>& PbTasks() {
  static const std::vector<PbTask> tasks = [] {
    std::vector<PbTask> list;
    for (const char* name : {"waiting_line/copy",
                             "waiting_line/reverse",
                             "waiting_line/sort",
                             "waiting_line/insert_index",
                             "waiting_line/remove_index",
                             "waiting_line/replace_index",
                             "waiting_line/shuffle",
                             "waiting_line/insert_random",
                             "waiting_line/remove_random",
                             "waiting_line/replace_random",
                             "waiting_line_n15/copy",
                             "waiting_line_n15/reverse",
                             "waiting_line_n15/sort",
                             "waiting_line_n15/insert_index",
                             "waiting_line_n15/remove_index",
                             "waiting_line_n15/replace_index",
                             "waiting_line_n15/shuffle",
                             "waiting_line_n15/insert_random",
                             "waiting_line_n15/remove_random",
                             "waiting_line_n15/replace_random",
                             "puzzle/latin_square_n4",
                             "puzzle/sudoku_n4_12",
                             "words_to_sentence/easy",
                             "words_to_sentence/medium",
                             "words_to_sentence/hard"}) {
      list.push_back({.name = name, .refused = nullptr, .fresh = true});
    }
    list.push_back({.name = "paraphrase_summarize/samsum", .refused = nullptr, .fresh = false});
    list.push_back({.name = "paraphrase_summarize/chatgpt-paraphrases",
                    .refused = kNeedsServers,
                    .fresh = false});
    return list;
  }();
  return tasks;
}

const PbTask* FindPbTask(std::string_view name) {
  for (const PbTask& task : PbTasks()) {
    if (task.name == name) return &task;
  }
  return nullptr;
}

Result<std::string> FindPbFolder(const std::string& folder) {
  std::error_code error;
  for (const char* below :
       {"", "test", "data/output/test", "dataset/parallel_bench/data/output/test",
        "ParallelBench/dataset/parallel_bench/data/output/test"}) {
    const fs::path candidate = fs::path(folder) / below;
    if (fs::is_directory(candidate / "waiting_line", error)) return candidate.string();
  }
  return Missing(
      "{}: no ParallelBench there; accepted: a folder with waiting_line/, or its "
      "repository",
      folder);
}

Result<std::vector<Case>> ParsePb(const PbTask& task, std::string_view text,
                                  const std::string& file) {
  if (task.refused != nullptr) return BadRequest("parallelbench/{}: {}", task.name, task.refused);
  const Form& form = *FormOf(task);
  std::vector<Case> cases;
  const auto add = [&](std::string_view line, int number) -> Status {
    const json object = json::parse(line, nullptr, /*allow_exceptions=*/false);
    Result<Case> c = object.is_object() ? ToCase(task, form, object)
                                        : Result<Case>(BadData("not a JSON object"));
    if (!c.ok()) return c.status().WithContext(fmt::format("{}:{}", file, number));
    cases.push_back(*std::move(c));
    return OkStatus();
  };
  TESSERA_RETURN_IF_ERROR(ForEachLine(text, add));
  if (cases.empty()) return BadData("{}: no cases", file);
  return cases;
}

Result<std::vector<Case>> ReadPb(const PbTask& task, const std::string& folder) {
  TESSERA_ASSIGN_OR_RETURN(const std::string root, FindPbFolder(folder));
  const std::string file = (fs::path(root) / task.name).string() + ".jsonl";
  TESSERA_ASSIGN_OR_RETURN(const std::string text, ReadText(file, "a file of ParallelBench"));
  return ParsePb(task, text, file);
}

Result<std::vector<Case>> MakePb(const PbTask& task, uint64_t seed, size_t count, int length) {
  if (!task.fresh) {
    return BadRequest("parallelbench/{}: {}", task.name,
                      task.refused != nullptr
                          ? task.refused
                          : "its texts are in the benchmark's files only; pass --data FOLDER");
  }
  TESSERA_ASSIGN_OR_RETURN(const std::string lines, FreshPbLines(task.name, seed, count, length));
  return ParsePb(task, lines, "fresh cases");
}

}  // namespace tessera::eval
