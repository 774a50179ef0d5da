// tessera run: one prompt, one text.
#include <unistd.h>

#include <algorithm>

#include "apps/cli/canvas_view.h"
#include "apps/cli/command.h"
#include "apps/cli/generate_options.h"
#include "apps/cli/json_output.h"
#include "apps/cli/metrics.h"
#include "apps/cli/model_options.h"
#include "apps/cli/output.h"
#include "apps/cli/parser.h"
#include "apps/cli/prompt.h"
#include "apps/cli/terminal.h"
#include "apps/cli/text_util.h"
#include "apps/eval/fingerprint.h"
#include "apps/eval/recording.h"
#include "tessera/api/tools.h"

namespace tessera::cli {
namespace {

constexpr const char* kExamples =
    "Examples:\n"
    "  tessera run \"Reverse this list: apple, pear, plum\"\n"
    "  tessera run --show --strategy threshold=0.9,cache=dual \"Sort: delta, alpha, bravo\"\n"
    "  tessera run --infill \"Once upon a time, a [[6]] lived in the forest.\"\n"
    "  tessera run -m ~/models/LLaDA-8B-Instruct --json < question.txt\n"
    "\n"
    "An argument that begins with a dash goes after --:  tessera run -- \"-5 + 3\"\n";

struct RunOptions {
  ModelOptions model;
  GenerateOptions generate;
  std::string prompt, system, ids, record;
  bool has_prompt = false;
  bool raw = false, infill = false, show = false, json = false, quiet = false;
  int32_t frame_ms = 60;
};

Result<bool> ParseRun(const Args& args, RunOptions* options) {
  Parser parser("run", "Generates text from one prompt.");
  const Option prompt = parser.Positional("PROMPT", &options->prompt,
                                          "the prompt; standard input when it is absent or -");
  AddModelOptions(parser, &options->model);
  AddGenerateOptions(parser, &options->generate);
  parser.Group("Prompt");
  parser.Text("--system", &options->system, "TEXT", "system message before the prompt");
  const Option raw = parser.Flag("--raw", &options->raw,
                                 "continue the prompt itself, without the chat template; "
                                 "with --infill: without begin- and end-of-text around it");
  const Option infill =
      parser.Flag("--infill", &options->infill,
                  "the prompt is the whole text; [[N]] is a hole of N tokens to fill in");
  const Option ids = parser.Text("--ids", &options->ids, "1,2,3", "the prompt as token ids");
  parser.Group("Output");
  const Option show = parser.Flag("--show", &options->show, "draw the canvas while it fills in");
  parser.Int("--frame", &options->frame_ms, 0, 60'000,
             "with --show: milliseconds that a step stays visible at least (default 60)");
  const Option json = parser.Flag("--json", &options->json, "one JSON object instead of text");
  parser.Flag("-q,--quiet", &options->quiet, "no line of statistics on standard error");
  parser.Text("--record", &options->record, "FILE", "write every step, for tessera replay");
  AddLoadOptions(parser, &options->model);
  ids.Excludes(prompt).Excludes(raw).Excludes(infill);
  show.Excludes(json);
  parser.Footer(kExamples + std::string("\n") + StrategyHelp());
  TESSERA_ASSIGN_OR_RETURN(const bool go_on, parser.Parse(args));
  options->has_prompt = prompt.given();
  return go_on;
}

// The prompt as the model will see it.
Result<std::vector<api::TokenId>> EncodePrompt(const api::Model& model, const RunOptions& options,
                                               const std::string& text) {
  const api::ModelInfo& info = model.info();
  if (!options.ids.empty()) return ParseIds(options.ids);
  if (!info.has_tokenizer) {
    return UsageError("{} has no tokenizer; pass the prompt as token ids: --ids 1,2,3",
                      ShortName(info));
  }
  if (options.infill) {
    return EncodeHoles(model, text, options.raw ? Frame::kAsItIs : Frame::kFramed);
  }
  if (options.raw || !info.has_chat_template) {
    if (!options.system.empty()) {
      return UsageError("--system: {} is used without a chat template; accepted: a prompt alone",
                        ShortName(info));
    }
    return model.Encode(text, /*special=*/true);
  }
  std::vector<api::Message> messages;
  if (!options.system.empty()) messages.push_back({.role = "system", .content = options.system});
  messages.push_back({.role = "user", .content = text});
  return model.EncodeChat(messages);
}

std::string IdsText(const std::vector<api::TokenId>& ids) {
  return fmt::format("{}", fmt::join(ids, ","));
}

// `canvas_confidence`: of every position, given ones 0; only when infilling.
void PrintRunJson(const api::GenerateResult& result, const Rates& rates, const api::ModelInfo& info,
                  bool infill, const std::vector<float>& canvas_confidence) {
  PrintJson({{"text", infill ? result.canvas_text : result.text},
             {"ids", infill ? result.canvas : result.output},
             {"confidence", Rounded(infill ? canvas_confidence : result.confidence)},
             {"finish_reason", result.finish_reason},
             {"strategy", result.strategy},
             {"metrics", ToJson(result.metrics, rates)},
             {"model", ToJson(info)}});
}

}  // namespace

Status RunCommand(const Args& args) {
  RunOptions options;
  TESSERA_ASSIGN_OR_RETURN(const bool go_on, ParseRun(args, &options));
  if (!go_on) return OkStatus();

  std::string text;
  if (options.ids.empty()) {
    TESSERA_ASSIGN_OR_RETURN(text, PromptText(options.prompt, options.has_prompt));
  } else {
    TESSERA_RETURN_IF_ERROR(ParseIds(options.ids).status());  // before a model is loaded
  }
  if (options.ids.empty() && text.empty()) {
    return UsageError("the prompt is empty; accepted: a text, or token ids with --ids");
  }
  if (options.infill) TESSERA_RETURN_IF_ERROR(ParseHoles(text).status());

  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<api::Model> model, LoadModel(options.model));
  const api::ModelInfo& info = model->info();
  TESSERA_RETURN_IF_ERROR(model->CheckStrategy(options.generate.strategy));
  TESSERA_ASSIGN_OR_RETURN(std::vector<api::TokenId> prompt, EncodePrompt(*model, options, text));
  const auto holes = options.infill ? std::count(prompt.begin(), prompt.end(), info.mask_id) : 0;

  api::GenerateRequest request =
      MakeRequest(options.generate, info, static_cast<int64_t>(prompt.size()));
  if (options.infill) request.max_new_tokens = 0;
  request.ids = std::move(prompt);

  std::unique_ptr<CanvasView> view;
  if (options.show) {
    view = std::make_unique<CanvasView>(
        *model, options.infill ? CanvasView::Scope::kWholeCanvas : CanvasView::Scope::kOutput,
        options.frame_ms);
  }
  const bool stream = !options.show && !options.json && !options.infill && info.has_tokenizer;
  const bool terminal = IsTerminal(STDOUT_FILENO);
  std::string streamed;
  if (stream) {
    request.on_text = [&](std::string_view chunk) {
      streamed += chunk;
      Out().Write(terminal ? Printable(chunk) : chunk);
      Out().Flush();
    };
  }
  int64_t steps = 0;
  std::vector<float> confidence;  // of the whole canvas, when infilling
  request.on_step = [&](const api::StepView& step) {
    steps = step.step + 1;
    if (options.infill) confidence.assign(step.confidence.begin(), step.confidence.end());
    if (view != nullptr) view->Step(step);
    return StopSignal() == 0 && Out().ok();
  };

  std::unique_ptr<eval::Recorder> recorder;
  if (!options.record.empty()) {
    TESSERA_ASSIGN_OR_RETURN(const std::string hash, eval::FingerprintOfModel(info.path));
    TESSERA_ASSIGN_OR_RETURN(recorder, eval::Recorder::Open(options.record, api::Version()));
    recorder->Follow(info, hash, &request);
  }
  Result<api::GenerateResult> result = model->Generate(request);
  if (recorder != nullptr) {
    if (result.ok()) recorder->End(/*run=*/0, result->finish_reason, result->output);
    TESSERA_RETURN_IF_ERROR(recorder->Finish());
  }
  if (!result.ok() && result.status().code() != StatusCode::kCancelled) return result.status();
  if (StopSignal() != 0) {
    view.reset();
    if (!streamed.empty()) Out().Write("\n");
    return Status(StatusCode::kCancelled, fmt::format("interrupted after {} steps", steps));
  }
  if (!result.ok() || !Out().ok()) return OkStatus();  // main reports what happened to the output

  const Rates rates = RatesOf(result->metrics, holes, view == nullptr ? 0 : view->seconds());
  if (options.json) {
    PrintRunJson(*result, rates, info, options.infill, confidence);
    return OkStatus();
  }
  if (view != nullptr && view->on_terminal()) {
    view->Finish(*result);
  } else if (!info.has_tokenizer) {
    Out().Print("{}\n", IdsText(options.infill ? result->canvas : result->output));
  } else {
    const std::string& whole = options.infill ? result->canvas_text : result->text;
    if (!stream) Out().Write(terminal ? Printable(whole) : whole);
    Out().Write("\n");
  }
  Out().Flush();
  if (!options.quiet && Out().ok()) {
    const Style style(WantsColor(STDERR_FILENO));
    fmt::print(stderr, "{}\n", style.Dim(StatsLine(rates, result->metrics)));
  }
  return OkStatus();
}

}  // namespace tessera::cli
