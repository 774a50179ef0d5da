// Everything that evaluations read, and the graders that see what a model wrote.
#include "apps/eval/case.h"
#include "apps/eval/graders.h"
#include "apps/eval/gsm8k.h"
#include "apps/eval/parallel_bench.h"
#include "apps/eval/recording.h"
#include "apps/eval/row.h"
#include "apps/eval/sweep.h"
#include "tests/fuzz/fuzz_check.h"

namespace tessera {
namespace {

const std::string kName(kFuzzName);

// A list of cases of every grader, for the text as an output.
void GradeEverything(std::string_view output) {
  const nlohmann::json meta = {{"items", {"ash", "oak"}},
                               {"new", "elm"},
                               {"open", "["},
                               {"sep", ", "},
                               {"last_sep", " and "},
                               {"close", "]"},
                               {"symbols", {"A", "B", "C", "D"}}};
  for (const char* grader : {"exact", "shuffle", "latin", "insert_any", "remove_any", "replace_any",
                             "pb_list", "pb_shuffle", "pb_insert", "pb_remove", "pb_replace",
                             "pb_latin", "pb_grid", "pb_words", "rouge_l", "gsm8k"}) {
    eval::Case c;
    c.grader = grader;
    c.meta = meta;
    c.answer = "ash #### 4";
    const auto verdict = eval::Grade(output, c);
    TESSERA_CHECK(verdict && verdict->score >= 0 && verdict->score <= 1);
    TESSERA_CHECK(verdict->strict >= 0 && verdict->strict <= verdict->score);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = FuzzText(data, size);
  CheckRefusal(eval::ParseSweep(text, kName).status());
  CheckRefusal(eval::ParseCases(text, kName).status());
  CheckRefusal(eval::ParseGsm8k(text, kName).status());
  CheckRefusal(eval::ParseRecording(text, kName).status());
  for (const eval::PbTask& task : eval::PbTasks()) {
    if (task.refused == nullptr) CheckRefusal(eval::ParsePb(task, text, kName).status());
  }
  const auto row = eval::RowFromJson(nlohmann::json::parse(text, nullptr, false));
  if (row.ok()) {
    const auto again = eval::RowFromJson(nlohmann::json::parse(eval::ToJson(*row).dump()));
    TESSERA_CHECK(again.ok() && again->settings == row->settings);
  }
  GradeEverything(text);
  return 0;
}

}  // namespace tessera
