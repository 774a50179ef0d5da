// tessera logits: raw network outputs, to compare a checkpoint with another implementation.
#include "apps/cli/command.h"
#include "apps/cli/json_output.h"
#include "apps/cli/model_options.h"
#include "apps/cli/parser.h"
#include "apps/cli/prompt.h"

namespace tessera::cli {

Status LogitsCommand(const Args& args) {
  ModelOptions model_options;
  std::string ids_text;
  Parser parser("logits",
                "Raw outputs of one forward under the model's own attention, as one JSON object; "
                "row i is the output at position i.");
  const Option model =
      parser.Positional("MODEL", &model_options.model, "checkpoint folder or name in models/");
  model.Required();
  parser.Text("--ids", &ids_text, "1,2,3", "the tokens; mask tokens are allowed");
  AddLoadOptions(parser, &model_options);
  parser.Footer(
      "Examples:\n"
      "  tessera logits ~/models/Qwen3-4B --ids 9707,11,1879 --dtype f32 > logits.json\n");
  TESSERA_ASSIGN_OR_RETURN(const bool go_on, parser.Parse(args));
  if (!go_on) return OkStatus();
  if (ids_text.empty()) return UsageError("logits: pass the tokens: --ids 1,2,3");

  TESSERA_ASSIGN_OR_RETURN(const std::vector<api::TokenId> ids, ParseIds(ids_text));
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<api::Model> loaded, LoadModel(model_options));
  TESSERA_ASSIGN_OR_RETURN(const std::vector<float> logits, loaded->Logits(ids));
  const size_t vocab = logits.size() / ids.size();
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (size_t row = 0; row < ids.size(); ++row) {
    rows.push_back(std::vector<float>(logits.begin() + static_cast<int64_t>(row * vocab),
                                      logits.begin() + static_cast<int64_t>((row + 1) * vocab)));
  }
  PrintJson({{"ids", ids}, {"vocab", vocab}, {"logits", rows}, {"model", ToJson(loaded->info())}});
  return OkStatus();
}

}  // namespace tessera::cli
