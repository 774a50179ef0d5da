// tessera quantize: a checkpoint folder whose matrices are int8 or int4.
#include "tessera/api/quantize.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "apps/cli/command.h"
#include "apps/cli/model_options.h"
#include "apps/cli/output.h"
#include "apps/cli/parser.h"
#include "apps/cli/progress.h"
#include "apps/cli/table.h"
#include "apps/cli/text_util.h"
#include "apps/eval/case.h"
#include "tessera/api/tools.h"

namespace tessera::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kExplanation =
    "rtn rounds to the nearest, after a search for the best clipping of every scale. gptq also "
    "lets\n"
    "the inputs still to be rounded make up for the error so far, under activations that it\n"
    "collects while the model reads the calibration texts. Diffusion models read them masked, at\n"
    "ratios drawn uniformly from 0 to 1, as in training. Both weigh errors by those activations "
    "if\n"
    "there are calibration texts; models in a models/ folder use its calibration.jsonl.\n"
    "A file that ends with .jsonl holds one JSON object per line: {prompt or messages, answer};\n"
    "any other file is plain text.\n"
    "\n"
    "Examples:\n"
    "  tessera quantize tessera-diffusion /tmp/int8\n"
    "  tessera quantize tessera-diffusion /tmp/int4 --bits 4 --group 32 --method gptq\n"
    "  tessera quantize ~/models/LLaDA-8B ~/models/LLaDA-8B-int4 --bits 4 --calibration notes.txt\n"
    "  tessera run -m /tmp/int4 \"What is 47 + 38?\"\n";

struct Options {
  api::QuantizeOptions quantize;
  std::string bits = "8", group, calibration;
  bool asymmetric = false, json = false;
  float damping = 0.01f;
  int32_t threads = 0;
};

Result<bool> Parse(const Args& args, Options* options) {
  Parser parser("quantize", "Writes a checkpoint whose matrices are int8 or int4, with a report.");
  api::QuantizeOptions& quantize = options->quantize;
  parser.Positional("MODEL", &quantize.model, "checkpoint folder or name in models/").Required();
  parser.Positional("OUT", &quantize.output, "folder to create; must not exist yet").Required();
  parser.Choice("--bits", &options->bits, {"8", "4"}, "per weight");
  parser.Choice("--group", &options->group, {"0", "32", "64", "128"},
                "inputs that share a scale, 0: all of them; default: 0 for 8 bits, 64 for 4");
  parser.Flag("--asymmetric", &options->asymmetric, "every group has a smallest value of its own");
  parser.Choice("--method", &quantize.method, {"rtn", "gptq"}, "how to round, see below");
  parser.Choice("--head", &quantize.head, {"keep", "int8", "int4"},
                "output head, and an embedding that is tied to it");
  parser.Choice("--embedding", &quantize.embedding, {"keep", "int8", "int4"},
                "embedding that is not tied");
  parser.Long("--shard-bytes", &quantize.max_shard_bytes, 1, int64_t{1} << 50,
              "largest file; default 5 GB");
  parser.Flag("--json", &options->json, "one JSON object about the result");
  parser.Group("Calibration");
  parser.Text("--calibration", &options->calibration, "FILE",
              "texts, as many and as like the later use as can be had; none: do without");
  parser.Long("--calibration-rows", &quantize.calibration_rows, 1, int64_t{1} << 40,
              "token positions to measure; default 32768");
  parser.Seed(&quantize.seed, "the same seed gives the same masks");
  parser.Float("--damping", &options->damping, 0, 1,
               "gptq: added to the diagonal, as a share of its mean; default 0.01");
  parser.Flag("--act-order", &quantize.act_order, "gptq: inputs with large activations first");
  parser.Group("Computing");
  parser.Choice("--isa", &quantize.isa,
                {"auto", "generic", "avx2", "avx512", "avx512vnni", "avx512bf16", "amx"},
                "instruction set");
  parser.Int("--threads", &options->threads, 0, 4096, "0: all cores");
  parser.Footer(kExplanation);
  return parser.Parse(args);
}

Result<std::vector<api::CalibrationText>> ReadCalibration(const std::string& path) {
  std::vector<api::CalibrationText> texts;
  if (path.ends_with(".jsonl")) {
    TESSERA_ASSIGN_OR_RETURN(const std::vector<eval::Case> cases, eval::ReadCases(path));
    for (const eval::Case& c : cases) texts.push_back({.messages = c.messages, .text = c.answer});
    return texts;
  }
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  if (!file || text.str().empty()) {
    return Failure("--calibration: {}: cannot be read, or is empty; accepted: a text file",
                   OneLine(path, 200));
  }
  texts.push_back({.messages = {}, .text = text.str()});
  return texts;
}

// The texts beside the models of the repository, for those models only: they are made for them.
std::string DefaultCalibration(const std::string& model) {
  std::error_code error;
  const std::string file = FindInModels("calibration.jsonl");
  if (file.empty()) return "";
  const fs::path folder = fs::weakly_canonical(model, error).parent_path();
  return fs::equivalent(fs::path(file).parent_path(), folder, error) ? file : "";
}

std::string Percent(double share) { return fmt::format("{:.3g} %", 100 * share); }

void Print(const Options& options, const api::QuantizeReport& report) {
  Table table({{"matrix", Table::Align::kLeft},
               {"format", Table::Align::kLeft},
               {"method", Table::Align::kLeft},
               {"weight error"},
               {"output error"}});
  for (const api::QuantizedMatrixReport& matrix : report.matrices) {
    table.Row({matrix.name, matrix.layout, matrix.method, Percent(matrix.weight_error),
               matrix.output_error ? Percent(*matrix.output_error) : ""});
  }
  Out().Print("{}\n{}: {} instead of {}, {:.1f} s\n", table.ToString(), options.quantize.output,
              Bytes(report.bytes), Bytes(report.source_bytes), report.seconds);
  if (report.calibration_rows > 0) {
    Out().Print("measured over {} token positions, {:.0f} % of those that can be masked masked\n",
                Thousands(report.calibration_rows), 100 * report.mask_ratio);
  }
  if (!report.kept.empty()) {
    Out().Print("kept as they are: {}\n", fmt::join(report.kept, ", "));
  }
}

}  // namespace

Status QuantizeCommand(const Args& args) {
  Options options;
  TESSERA_ASSIGN_OR_RETURN(const bool go_on, Parse(args, &options));
  if (!go_on) return OkStatus();
  api::QuantizeOptions& quantize = options.quantize;
  quantize.model = ResolveModel(quantize.model);
  quantize.bits = options.bits == "4" ? 4 : 8;
  if (options.group.empty()) options.group = quantize.bits == 4 ? "64" : "0";
  quantize.group = std::stoi(options.group);
  quantize.symmetric = !options.asymmetric;
  quantize.damping = static_cast<double>(options.damping);
  quantize.threads = options.threads;
  std::string calibration = options.calibration;
  if (calibration.empty()) calibration = DefaultCalibration(quantize.model);
  if (!calibration.empty() && calibration != "none") {
    TESSERA_ASSIGN_OR_RETURN(quantize.calibration, ReadCalibration(calibration));
    quantize.calibration_name = calibration;
  }
  if (quantize.method == "gptq" && quantize.calibration.empty()) {
    return UsageError("--method gptq needs texts to measure activations on: --calibration FILE");
  }
  api::QuantizeReport report;
  {
    Progress progress("quantising " + quantize.model, Progress::Unit::kWeights);
    quantize.progress = [&](int64_t done, int64_t all) { return progress.Update(done, all); };
    TESSERA_ASSIGN_OR_RETURN(report, api::Quantize(quantize));
  }
  if (options.json) {
    Out().Write(report.json + "\n");
  } else {
    Print(options, report);
  }
  return OkStatus();
}

}  // namespace tessera::cli
