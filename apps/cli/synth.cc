// tessera synth: a random checkpoint of any known architecture and size.
#include "apps/cli/command.h"
#include "apps/cli/json_output.h"
#include "apps/cli/output.h"
#include "apps/cli/parser.h"
#include "apps/cli/progress.h"
#include "apps/cli/text_util.h"
#include "tessera/api/tools.h"

namespace tessera::cli {

Status SynthCommand(const Args& args) {
  api::SynthOptions options;
  bool json = false;
  Parser parser(
      "synth", "Writes a random checkpoint that loads like a real one, to test speed and loading.");
  parser.Text("--like", &options.config_path, "CONFIG", "a config.json, or a folder that holds one")
      .Required();
  parser.Text("-o,--output", &options.output, "DIR", "folder to create; must not exist yet")
      .Required();
  parser.Seed(&options.seed, "the same seed gives the same weights");
  parser.Choice("--dtype", &options.dtype, {"bf16", "f32", "f16"}, "of the stored weights");
  parser.Long("--shard-bytes", &options.max_shard_bytes, 1, int64_t{1} << 50,
              "largest file; default 5 GB");
  parser.Flag("--json", &json, "one JSON object about the result");
  parser.Footer(
      "Examples:\n"
      "  tessera synth --like ~/configs/LLaDA-8B/config.json --output /tmp/llada-8b\n"
      "  tessera bench --forward -m /tmp/llada-8b\n");
  TESSERA_ASSIGN_OR_RETURN(const bool go_on, parser.Parse(args));
  if (!go_on) return OkStatus();

  {
    Progress progress("writing " + options.output, Progress::Unit::kBytes);
    options.progress = [&](int64_t done, int64_t all) { return progress.Update(done, all); };
    TESSERA_RETURN_IF_ERROR(api::Synthesize(options));
  }
  TESSERA_ASSIGN_OR_RETURN(const api::Inspection inspection, api::InspectModel(options.output));
  if (json) {
    PrintJson({{"output", options.output},
               {"file_bytes", inspection.file_bytes},
               {"num_tensors", inspection.tensors.size()},
               {"model", ToJson(inspection.info)}});
  } else {
    Out().Print("{}: {}, {} parameters, {}\n", options.output, inspection.info.architecture,
                Count(inspection.info.parameters), Bytes(inspection.file_bytes));
  }
  return OkStatus();
}

}  // namespace tessera::cli
