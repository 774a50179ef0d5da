// tessera bench gpu: forwards of four networks on weights made in memory, against what reading them
// costs on this GPU, measured between the cases. tools/bench/gpu_page.py puts PyTorch beside them.
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/cli/command.h"
#include "apps/cli/json_output.h"
#include "apps/cli/metrics.h"
#include "apps/cli/output.h"
#include "apps/cli/parser.h"
#include "apps/cli/progress.h"
#include "apps/cli/table.h"
#include "tessera/api/speed.h"

namespace tessera::cli {
namespace {

constexpr const char* kExamples =
    "Times are medians of whole forwards, with the statistics of every row on the host. The floor\n"
    "is the bytes of weights, keys and values over the read bandwidth that was measured before "
    "and\n"
    "after the case; many rows have a higher one, their arithmetic. A case that cannot run is\n"
    "reported and the next one begins.\n"
    "\n"
    "Examples:\n"
    "  tessera bench gpu\n"
    "  tessera bench gpu --network llada-8b --layers 2\n"
    "  tessera bench gpu --case llada-8b:int4-g128:1x32x512 --case dream-7b:fp8:4x16x100\n"
    "  tessera bench gpu --list\n";

struct GpuOptions {
  std::string device = "cuda:0", network;
  std::vector<std::string> cases;
  int32_t layers = 0, repeat = 20;
  bool list = false, json = false;
};

struct Measured {
  double seconds = 0, weight_bytes = 0, kv_bytes = 0, flop = 0, bandwidth = 0;
  int64_t layers = 0;
  std::string dtype;

  double bytes() const { return weight_bytes + kv_bytes; }
  double floor() const { return bytes() / bandwidth; }
};

Result<bool> ParseGpu(const Args& args, GpuOptions* options) {
  Parser parser("bench gpu", "Forwards of 7B and 8B networks against the limits of a GPU.");
  const Option cases =
      parser.Texts("--case", &options->cases, "NETWORK:FORMAT:SxRxK",
                   "S sequences of R rows behind K cached ones; may be repeated; default: those "
                   "that --list shows");
  parser
      .Choice("--network", &options->network, api::ListNetworks(),
              "the listed cases of this network alone")
      .Excludes(cases);
  parser.Text("--device", &options->device, "cuda:N", "default cuda:0; cpu works too, slowly");
  parser.Int("--layers", &options->layers, 0, 1024,
             "layers of each network, for a quick look; default 0: all");
  parser.Int("--repeat", &options->repeat, 1, 100'000, "forwards per case; default 20");
  parser.Flag("--list", &options->list, "show the cases and run nothing");
  parser.Flag("--json", &options->json, "one JSON object per case and line, as it is done");
  parser.Footer(kExamples);
  return parser.Parse(args);
}

Result<std::vector<api::SpeedCase>> ChooseCases(const GpuOptions& options) {
  std::vector<api::SpeedCase> cases;
  for (const std::string& name : options.cases) {
    TESSERA_ASSIGN_OR_RETURN(api::SpeedCase parsed, api::ParseSpeedCase(name));
    cases.push_back(std::move(parsed));
  }
  if (!cases.empty()) return cases;
  for (api::SpeedCase& listed : api::ListSpeedCases()) {
    if (options.network.empty() || listed.network == options.network) {
      cases.push_back(std::move(listed));
    }
  }
  if (cases.empty()) {
    return UsageError("--network: no case of {} is listed; name one with --case", options.network);
  }
  return cases;
}

Json Describe(const api::SpeedCase& c) {
  Json json = {{"case", c.Name()},     {"network", c.network},
               {"format", c.format},   {"sequences", c.shape.sequences},
               {"rows", c.shape.rows}, {"keys", c.shape.keys}};
  if (c.target_ratio > 0) json["target_ratio"] = c.target_ratio;
  if (c.target_ms > 0) json["target_ms"] = c.target_ms;
  return json;
}

void PrintLine(const Json& json) {
  Out().Write(json.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n");
  Out().Flush();
}

Status ListCases(const GpuOptions& options, const std::vector<api::SpeedCase>& cases) {
  Table table({{"case", Table::Align::kLeft}, {"to reach ms"}, {"/ floor"}});
  for (const api::SpeedCase& c : cases) {
    if (options.json) {
      TESSERA_ASSIGN_OR_RETURN(const std::string config,
                               api::NetworkConfig(c.network, options.layers));
      Json json = Describe(c);
      json["config"] = Json::parse(config);
      PrintLine(json);
    }
    table.Row({c.Name(), c.target_ms > 0 ? Short(c.target_ms) : "",
               c.target_ratio > 0 ? fmt::format("{:.2f}", c.target_ratio) : ""});
  }
  if (!options.json) Out().Write(table.ToString());
  return OkStatus();
}

// Keeps the network of the case before: cases of a network and format stand in a row.
class Bench {
 public:
  Bench(const GpuOptions& options, const std::vector<api::SpeedCase>& cases)
      : options_(options), cases_(cases) {}

  Result<Measured> Run(const api::SpeedCase& c) {
    TESSERA_RETURN_IF_ERROR(Load(c));
    const bool small = c.network == "small";
    TESSERA_ASSIGN_OR_RETURN(const double before,
                             api::MeasureReadBandwidth(options_.device, small));
    TESSERA_ASSIGN_OR_RETURN(const api::ForwardTiming timing,
                             model_->TimeForward(c.shape, options_.repeat));
    TESSERA_ASSIGN_OR_RETURN(const double after, api::MeasureReadBandwidth(options_.device, small));
    const api::ModelInfo& info = model_->info();
    // Of the products with weights alone.
    const double flop =
        2.0 * static_cast<double>(info.active_parameters) * c.shape.sequences * c.shape.rows;
    return Measured{.seconds = timing.seconds,
                    .weight_bytes = static_cast<double>(timing.weight_bytes),
                    .kv_bytes = static_cast<double>(timing.kv_bytes),
                    .flop = flop,
                    .bandwidth = (before + after) / 2,
                    .layers = info.layers,
                    .dtype = info.dtype};
  }

 private:
  Status Load(const api::SpeedCase& c) {
    if (model_ != nullptr && c.network == network_ && c.format == format_) return OkStatus();
    model_.reset();  // before the next one takes its memory
    std::vector<api::ForwardShape> shapes;
    for (const api::SpeedCase& other : cases_) {
      if (other.network == c.network && other.format == c.format) shapes.push_back(other.shape);
    }
    Progress progress(fmt::format("packing {} as {}", c.network, c.format), Progress::Unit::kBytes);
    TESSERA_ASSIGN_OR_RETURN(
        model_,
        api::Model::Synthetic(
            c.network, options_.layers, shapes,
            {.device = options_.device, .dtype = c.format, .progress = [&](int64_t n, int64_t all) {
               return progress.Update(n, all);
             }}));
    network_ = c.network;
    format_ = c.format;
    return OkStatus();
  }

  const GpuOptions& options_;
  const std::vector<api::SpeedCase>& cases_;
  std::unique_ptr<api::Model> model_;
  std::string network_, format_;
};

Json ToJson(const api::SpeedCase& c, const Measured& m, const std::string& device) {
  Json json = Describe(c);
  json["device"] = device;
  json["layers"] = m.layers;
  json["ms"] = 1e3 * m.seconds;
  json["weight_bytes"] = m.weight_bytes;
  json["kv_bytes"] = m.kv_bytes;
  json["flop"] = m.flop;
  json["tb_per_second"] = m.bytes() / m.seconds / 1e12;
  json["tflop_per_second"] = m.flop / m.seconds / 1e12;
  json["read_tb_per_second"] = m.bandwidth / 1e12;
  json["read_floor_ms"] = 1e3 * m.floor();
  json["times_read_floor"] = m.seconds / m.floor();
  return json;
}

}  // namespace

Status BenchGpuCommand(const Args& args) {
  GpuOptions options;
  TESSERA_ASSIGN_OR_RETURN(const bool go_on, ParseGpu(args, &options));
  if (!go_on) return OkStatus();
  TESSERA_ASSIGN_OR_RETURN(const std::vector<api::SpeedCase> cases, ChooseCases(options));
  if (options.list) return ListCases(options, cases);
  // A device that cannot be used is one error, not one per case.
  TESSERA_RETURN_IF_ERROR(api::MeasureReadBandwidth(options.device, /*small=*/true).status());

  Table table({{"case", Table::Align::kLeft},
               {"ms"},
               {"GB read"},
               {"TB/s"},
               {"TFLOP/s"},
               {"read TB/s"},
               {"floor ms"},
               {"/ floor"},
               {"to reach"}});
  Bench bench(options, cases);
  std::vector<Status> failures;
  for (const api::SpeedCase& c : cases) {
    const Result<Measured> measured = bench.Run(c);
    TESSERA_RETURN_IF_ERROR(CheckStopped());
    if (!measured.ok()) {
      failures.push_back(measured.status().WithContext(c.Name()));
      if (options.json) {
        Json json = Describe(c);
        json["error"] = measured.status().message();
        PrintLine(json);
      }
      continue;
    }
    if (options.json) PrintLine(ToJson(c, *measured, options.device));
    const Measured& m = *measured;
    table.Row({c.Name(), Short(1e3 * m.seconds), Short(m.bytes() / 1e9),
               Short(m.bytes() / m.seconds / 1e12), Short(m.flop / m.seconds / 1e12),
               Short(m.bandwidth / 1e12), Short(1e3 * m.floor()),
               fmt::format("{:.2f}", m.seconds / m.floor()),
               c.target_ratio > 0 ? fmt::format("{:.2f}", c.target_ratio) : ""});
  }
  if (!options.json && failures.size() < cases.size()) {
    Out().Print("{}, {} layers, medians of {}\n\n{}", options.device,
                options.layers > 0 ? std::to_string(options.layers) : "all", options.repeat,
                table.ToString());
  }
  if (failures.empty()) return OkStatus();
  const Status last = failures.back();
  failures.pop_back();
  for (const Status& failure : failures) Complain(failure.message());
  return last;
}

}  // namespace tessera::cli
