// tessera demo: the default model at work, then the same work one by one and autoregressively.
#include <unistd.h>

#include <algorithm>

#include "apps/cli/canvas_layout.h"
#include "apps/cli/command.h"
#include "apps/cli/comparison.h"
#include "apps/cli/metrics.h"
#include "apps/cli/model_options.h"
#include "apps/cli/output.h"
#include "apps/cli/parser.h"
#include "apps/cli/prompt.h"
#include "apps/cli/table.h"
#include "apps/cli/terminal.h"
#include "apps/cli/text_util.h"
#include "apps/eval/graders.h"

namespace tessera::cli {
namespace {

constexpr const char* kParallel = "threshold=0.9";
constexpr const char* kOneByOne = "threshold=2";  // above 1: the best position of every step
constexpr int32_t kMaxTokens = 64;                // what the default model was made for
constexpr int32_t kStoryTokens = 128;

nlohmann::json CommaList(const std::vector<std::string>& items) {
  return {{"style", "comma"}, {"open", ""},  {"sep", ", "},
          {"last_sep", ", "}, {"close", ""}, {"items", items}};
}

std::vector<Case> DemoCases() {
  std::vector<Case> cases;
  const auto add = [&](const std::string& task, const std::string& prompt,
                       const std::string& answer, const std::string& grader = "exact",
                       nlohmann::json meta = nullptr) {
    cases.push_back({.task = task,
                     .messages = {{.role = "user", .content = prompt}},
                     .answer = answer,
                     .grader = grader,
                     .meta = std::move(meta)});
  };
  add("copy", "Copy this list: [\"Mira Solberg\", \"Tom Vance\", \"Ida Kurz\"]",
      "[\"Mira Solberg\", \"Tom Vance\", \"Ida Kurz\"]");
  add("reverse", "Reverse this list: apple, pear, plum, cherry", "cherry, plum, pear, apple");
  add("sort", "Sort: delta, alpha, charlie, bravo", "alpha, bravo, charlie, delta");
  add("shuffle", "Shuffle this list: red, green, blue, yellow", "", "shuffle",
      CommaList({"red", "green", "blue", "yellow"}));
  add("insert", "Insert kiwi after plum: apple, plum, fig", "apple, plum, kiwi, fig");
  add("remove", "Remove pear from this list: apple, pear, plum, fig", "apple, plum, fig");
  add("replace", "Replace \"cat\" with \"dog\" in this list: cow, cat, hen", "cow, dog, hen");
  add("arithmetic", "What is 47 + 38?", "85");
  add("Latin square", "Make a 4x4 Latin square with the symbols A, B, C, D.", "", "latin",
      {{"symbols", {"A", "B", "C", "D"}}});
  add("proofreading", "Proofread: They was very happy to see the big tree.",
      "They were very happy to see the big tree.");
  return cases;
}

constexpr const char* kStoryPrompt =
    "Continue this story: Once upon a time, there was a little girl named Lily.";
constexpr const char* kInfillPrompt =
    "Once upon a time, there was a [[4]] who lived in the forest. One day, [[8]].";

void PrintResult(const Style& style, const std::string& mark, const std::string& task,
                 const std::string& prompt, const std::string& text, int64_t tokens,
                 const api::GenerateMetrics& metrics) {
  constexpr int kIndent = 16;
  constexpr int kWidth = 100;
  Out().Print("{} {} {}\n", mark, style.Bold(PadRight(task, kIndent - 3)), prompt);
  const int width = std::clamp(SizeOf(STDOUT_FILENO).columns, 40, kWidth) - kIndent;
  const std::vector<std::string> lines =
      LayoutCanvas({{.kind = Cell::Kind::kGiven, .bytes = text, .confidence = 0}}, width,
                   Color::kOff)
          .lines;
  for (std::string line : lines) {
    line.erase(line.find_last_not_of(' ') + 1);
    Out().Print("{}{}\n", line.empty() ? "" : std::string(kIndent, ' '), style.Cyan(line));
  }
  Out().Print("{}{}\n", std::string(kIndent, ' '),
              style.Dim(fmt::format("{} tokens, {} forward{}", tokens, metrics.forwards(),
                                    metrics.forwards() == 1 ? "" : "s")));
  Out().Flush();
}

Result<api::GenerateResult> Generate(api::Model& model, std::vector<api::TokenId> prompt,
                                     int32_t max_new_tokens) {
  api::GenerateRequest request;
  request.ids = std::move(prompt);
  request.strategy = kParallel;
  request.max_new_tokens = max_new_tokens;
  request.on_step = [](const api::StepView&) { return StopSignal() == 0 && Out().ok(); };
  Result<api::GenerateResult> result = model.Generate(request);
  TESSERA_RETURN_IF_ERROR(CheckStopped());
  return result;
}

Status ShowCases(api::Model& model, const std::vector<Case>& cases, const Style& style) {
  for (const Case& c : cases) {
    TESSERA_ASSIGN_OR_RETURN(std::vector<api::TokenId> prompt,
                             EncodeTrial(model, {.graded = &c, .ids = {}}));
    TESSERA_ASSIGN_OR_RETURN(const api::GenerateResult result,
                             Generate(model, std::move(prompt), kMaxTokens));
    const auto verdict = eval::Grade(result.text, c);
    const std::string mark = !verdict ? " " : verdict->right() ? style.Green("✓") : style.Red("✗");
    PrintResult(style, mark, c.task, c.messages.back().content, result.text,
                result.metrics.output_tokens, result.metrics);
  }
  return OkStatus();
}

// What only a reader can grade.
Status ShowFreeText(api::Model& model, const Style& style) {
  TESSERA_ASSIGN_OR_RETURN(std::vector<api::TokenId> story,
                           model.EncodeChat({{.role = "user", .content = kStoryPrompt}}));
  TESSERA_ASSIGN_OR_RETURN(const api::GenerateResult told,
                           Generate(model, std::move(story), kStoryTokens));
  PrintResult(style, " ", "story", kStoryPrompt, told.text, told.metrics.output_tokens,
              told.metrics);

  TESSERA_ASSIGN_OR_RETURN(std::vector<api::TokenId> canvas,
                           EncodeHoles(model, kInfillPrompt, Frame::kFramed));
  const auto holes = std::count(canvas.begin(), canvas.end(), model.info().mask_id);
  TESSERA_ASSIGN_OR_RETURN(const api::GenerateResult filled,
                           Generate(model, std::move(canvas), /*max_new_tokens=*/0));
  PrintResult(style, " ", "infilling", kInfillPrompt, filled.canvas_text, holes, filled.metrics);
  return OkStatus();
}

}  // namespace

Status DemoCommand(const Args& args) {
  ModelOptions options;
  Parser parser("demo", "Shows what the default model can do, and what parallel decoding saves.");
  AddModelOptions(parser, &options);
  AddLoadOptions(parser, &options);
  parser.Footer("Examples:\n  tessera demo\n");
  TESSERA_ASSIGN_OR_RETURN(const bool go_on, parser.Parse(args));
  if (!go_on) return OkStatus();

  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<api::Model> model, LoadModel(options));
  const api::ModelInfo& info = model->info();
  if (info.mask_id < 0 || !info.has_chat_template) {
    return UsageError(
        "demo: {} is no instruction-tuned diffusion model; accepted: the one in models/",
        ShortName(info));
  }
  const Style style(WantsColor(STDOUT_FILENO));
  Out().Print("{}  {} parameters, {} of weights, {}, loaded in {} s\n\n",
              style.Bold(ShortName(info)), Count(info.parameters), Bytes(info.weight_bytes),
              info.device, Short(info.load_seconds));
  const std::vector<Case> cases = DemoCases();
  TESSERA_RETURN_IF_ERROR(ShowCases(*model, cases, style));
  TESSERA_RETURN_IF_ERROR(ShowFreeText(*model, style));

  std::unique_ptr<api::Model> twin;
  if (const Result<std::string> path = FindDefaultModel(ModelKind::kCausal); path.ok()) {
    ModelOptions twin_options = options;
    twin_options.model = *path;
    twin_options.mask_id = -1;
    TESSERA_ASSIGN_OR_RETURN(twin, LoadModel(twin_options, ModelKind::kCausal));
  }
  std::vector<Contender> contenders = {{.model = model.get(), .strategy = kOneByOne},
                                       {.model = model.get(), .strategy = kParallel}};
  if (twin != nullptr) contenders.push_back({.model = twin.get(), .strategy = "ar"});
  std::vector<Trial> trials;
  for (const Case& c : cases) trials.push_back({.graded = &c, .ids = {}});
  TESSERA_ASSIGN_OR_RETURN(const std::vector<Tally> tallies,
                           Compare(contenders, trials, {.max_tokens = kMaxTokens, .repeat = 1}));
  Out().Print("\nThe same {} tasks{}:\n\n{}\n", cases.size(),
              twin == nullptr ? " one by one and in parallel"
                              : ", one by one, in parallel, and by its autoregressive twin",
              ComparisonTable(contenders, tallies));
  Out().Print(
      "With {} of weights a forward costs what its rows compute. With the gigabytes of a large "
      "model it\ncosts what reading them costs, and further rows are nearly free up to a point: "
      "`tessera bench --forward`\nshows where that is on a machine.\n\n",
      Bytes(info.weight_bytes));
  Out().Write(
      "Try:  tessera run --show \"Reverse this list: one, two, three\"\n"
      "      tessera chat    tessera bench    tessera strategies\n");
  return OkStatus();
}

}  // namespace tessera::cli
