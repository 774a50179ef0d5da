// tessera score: how likely a causal model finds a text.
#include <cmath>

#include "apps/cli/command.h"
#include "apps/cli/json_output.h"
#include "apps/cli/metrics.h"
#include "apps/cli/model_options.h"
#include "apps/cli/output.h"
#include "apps/cli/parser.h"
#include "apps/cli/prompt.h"
#include "apps/cli/text_util.h"

namespace tessera::cli {

Status ScoreCommand(const Args& args) {
  ModelOptions model_options;
  std::string text, ids_text;
  bool json = false;
  Parser parser("score", "Negative log-likelihood and perplexity of a text under a causal model.");
  const Option model =
      parser.Positional("MODEL", &model_options.model, "checkpoint folder or name in models/");
  model.Required();
  const Option prompt =
      parser.Positional("TEXT", &text, "the text; standard input when it is absent or -");
  parser.Text("--ids", &ids_text, "1,2,3", "the text as token ids").Excludes(prompt);
  parser.Flag("--json", &json, "one JSON object");
  AddLoadOptions(parser, &model_options);
  parser.Footer(
      "Examples:\n"
      "  tessera score tessera-ar \"Once upon a time, there was a little girl.\"\n"
      "  tessera score ~/models/Qwen3-4B --json < chapter.txt\n");
  TESSERA_ASSIGN_OR_RETURN(const bool go_on, parser.Parse(args));
  if (!go_on) return OkStatus();

  std::vector<api::TokenId> ids;
  if (ids_text.empty()) {
    TESSERA_ASSIGN_OR_RETURN(text, PromptText(text, prompt.given()));
  } else {
    TESSERA_ASSIGN_OR_RETURN(ids, ParseIds(ids_text));
  }
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<api::Model> loaded, LoadModel(model_options));
  if (ids_text.empty()) {
    if (!loaded->info().has_tokenizer) {
      return UsageError("{} has no tokenizer; pass the text as token ids: --ids 1,2,3",
                        ShortName(loaded->info()));
    }
    TESSERA_ASSIGN_OR_RETURN(ids, loaded->Encode(text, /*special=*/true));
  }
  TESSERA_ASSIGN_OR_RETURN(const api::Score score, loaded->ScoreIds(ids));
  const double perplexity = std::exp(score.nll_per_token);
  if (json) {
    PrintJson({{"tokens", score.tokens},
               {"nll_per_token", score.nll_per_token},
               {"perplexity", perplexity},
               {"model", ToJson(loaded->info())}});
  } else {
    Out().Print("{} tokens · {:.4f} nats per token · perplexity {}\n", Thousands(score.tokens),
                score.nll_per_token, Short(perplexity));
  }
  return OkStatus();
}

}  // namespace tessera::cli
