// tessera bench cpu: forwards of LLaDA-8B's shapes on weights made in memory, against what reading
// them costs on this machine, measured between the cases; and llama.cpp in turns with them.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/cli/command.h"
#include "apps/cli/json_output.h"
#include "apps/cli/metrics.h"
#include "apps/cli/model_options.h"
#include "apps/cli/output.h"
#include "apps/cli/parser.h"
#include "apps/cli/progress.h"
#include "apps/cli/prompt.h"
#include "apps/cli/table.h"
#include "apps/cli/text_util.h"
#include "tessera/api/tools.h"

namespace tessera::cli {
namespace {

constexpr const char* kExamples =
    "Times are medians. The floor is the weights' bytes over the read bandwidth that was measured\n"
    "before, between and after the cases; the share of a smaller --layers is scaled to 32 layers.\n"
    "\n"
    "Examples:\n"
    "  tessera bench cpu\n"
    "  tessera bench cpu --format int4-g64 --layers 32 --rows 1,32\n"
    "  tessera bench cpu --peer ~/llama.cpp/build/bin/llama-bench --peer-model "
    "llama-7b-q4_0.gguf\n";

constexpr int32_t kLayers = 32;  // of the network that is timed

struct CpuOptions {
  std::vector<std::string> formats;
  std::string rows = "1,8,32,64,128", kv_cache_dtype = "auto", isa = "auto", peer, peer_model;
  int32_t keys = 512, layers = 8, repeat = 5, threads = 0;
  bool quick = false, json = false;
};

struct Case {
  std::string format;
  int32_t rows = 0;
  double seconds = 0;  // of all layers
  double bytes = 0, flop = 0, bandwidth = 0;
  double peer_rows_per_second = 0;  // 0: none
};

std::string Quote(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

// Rows per second of llama-bench: prompt processing of `rows`, or generation for one row.
Result<double> RunPeer(const CpuOptions& options, int threads, int32_t rows) {
  const std::string command = fmt::format(
      "{} -m {} -t {} -r 2 -o json {} 2>/dev/null", Quote(options.peer), Quote(options.peer_model),
      threads, rows == 1 ? "-p 0 -n 8" : fmt::format("-p {} -n 0", rows));
  std::FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return Failure("--peer: cannot run {}", options.peer);
  std::string text;
  char buffer[4096];
  for (size_t n; (n = std::fread(buffer, 1, sizeof(buffer), pipe)) > 0;) text.append(buffer, n);
  const int status = ::pclose(pipe);
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (status != 0 || !json.is_array() || json.empty() || !json[0].contains("avg_ts") ||
      !json[0]["avg_ts"].is_number()) {
    return Failure("--peer: llama-bench failed (exit status {}) for {} rows", status, rows);
  }
  return json[0]["avg_ts"].get<double>();
}

// Cases of one format; bandwidth is measured before each.
Status BenchFormat(const CpuOptions& options, const std::string& format,
                   const std::vector<int32_t>& rows, api::BandwidthProbe* probe,
                   std::vector<Case>* cases) {
  std::vector<api::ForwardShape> shapes;
  for (const int32_t count : rows) {
    shapes.push_back({.sequences = 1, .rows = count, .keys = options.keys});
  }
  const auto make = [&](int32_t layers) -> Result<std::unique_ptr<api::Model>> {
    Progress progress(fmt::format("packing {} layers as {}", layers, format),
                      Progress::Unit::kBytes);
    return api::Model::Synthetic(
        options.quick ? "small" : "llada-8b", layers, shapes,
        {.isa = options.isa,
         .threads = options.threads,
         .dtype = format,
         .kv_cache_dtype = options.kv_cache_dtype,
         .progress = [&](int64_t done, int64_t all) { return progress.Update(done, all); }});
  };
  // Two depths give the time of a layer and of the rest without assuming either.
  TESSERA_ASSIGN_OR_RETURN(const auto deep, make(options.layers));
  std::unique_ptr<api::Model> shallow;
  if (options.layers < kLayers) {
    TESSERA_ASSIGN_OR_RETURN(shallow, make(1));
  }
  for (const api::ForwardShape& shape : shapes) {
    const double bandwidth = probe->Measure();
    TESSERA_ASSIGN_OR_RETURN(const api::ForwardTiming all,
                             deep->TimeForward(shape, options.repeat));
    Case c = {.format = deep->info().dtype,
              .rows = shape.rows,
              .seconds = all.seconds,
              .bytes = static_cast<double>(all.weight_bytes)};
    double parameters = static_cast<double>(deep->info().active_parameters);
    if (shallow != nullptr) {
      TESSERA_ASSIGN_OR_RETURN(const api::ForwardTiming one,
                               shallow->TimeForward(shape, options.repeat));
      const double more = static_cast<double>(kLayers - options.layers) / (options.layers - 1);
      const auto extend = [&](double at_depth, double at_one) {
        return at_depth + (at_depth - at_one) * more;
      };
      c.seconds = extend(c.seconds, one.seconds);
      c.bytes = extend(c.bytes, static_cast<double>(one.weight_bytes));
      parameters = extend(parameters, static_cast<double>(shallow->info().active_parameters));
    }
    c.flop = 2 * parameters * shape.rows;
    c.bandwidth = (bandwidth + probe->Measure()) / 2;
    if (!options.peer.empty()) {
      const Result<double> peer = RunPeer(options, probe->threads(), shape.rows);
      if (peer.ok()) {
        c.peer_rows_per_second = *peer;
      } else {
        fmt::print(stderr, "tessera: {}\n", peer.status().message());
      }
    }
    cases->push_back(c);
    TESSERA_RETURN_IF_ERROR(CheckStopped());
  }
  return OkStatus();
}

Result<bool> ParseCpu(const Args& args, CpuOptions* options) {
  Parser parser("bench cpu", "Forwards of LLaDA-8B's shapes against this machine's limits.");
  parser.Texts("--format", &options->formats, "FORMAT",
               "of the weights, may be repeated: bf16, int8, int4, int4-g32, ...; default int4, "
               "int8, bf16");
  parser.Text("--rows", &options->rows, "1,32", "rows of a forward; default 1,8,32,64,128");
  parser.Int("--keys", &options->keys, 0, 3072, "cached positions to attend to; default 512");
  parser.Choice("--kv-cache-dtype", &options->kv_cache_dtype, {"auto", "f32", "bf16", "int8"},
                "of cached keys and values");
  parser.Int("--layers", &options->layers, 2, kLayers,
             "layers that are made, of 32; default 8, which no cache holds");
  parser.Int("--repeat", &options->repeat, 1, 1000, "forwards per case; default 5");
  parser.Flag("--quick", &options->quick, "a small network: shows the table, not the machine");
  parser.Int("--threads", &options->threads, 0, 4096, "0: all cores");
  parser.Text("--isa", &options->isa, "LEVEL", "instruction set; default auto");
  parser.Text("--peer", &options->peer, "LLAMA_BENCH", "llama.cpp's llama-bench, run in turns");
  parser.Text("--peer-model", &options->peer_model, "GGUF", "the peer's model");
  parser.Flag("--json", &options->json, "one JSON object");
  parser.Footer(kExamples);
  return parser.Parse(args);
}

}  // namespace

Status BenchCpuCommand(const Args& args) {
  CpuOptions options;
  TESSERA_ASSIGN_OR_RETURN(const bool go_on, ParseCpu(args, &options));
  if (!go_on) return OkStatus();
  if (options.peer.empty() != options.peer_model.empty()) {
    return UsageError("--peer and --peer-model go together");
  }
  const Result<std::vector<api::TokenId>> rows = ParseIds(options.rows);
  if (!rows.ok() || *std::min_element(rows->begin(), rows->end()) < 1 ||
      *std::max_element(rows->begin(), rows->end()) > 1024) {
    return UsageError("--rows: got '{}', accepted: numbers from 1 to 1024, separated by commas",
                      OneLine(options.rows, 40));
  }
  if (options.formats.empty()) options.formats = {"int4", "int8", "bf16"};
  api::BandwidthProbe probe(options.threads, options.quick);
  std::vector<Case> cases;
  for (const std::string& format : options.formats) {
    TESSERA_RETURN_IF_ERROR(BenchFormat(options, format, *rows, &probe, &cases));
  }

  Table table({{"format", Table::Align::kLeft},
               {"rows"},
               {"ms"},
               {"rows/s"},
               {"GB/s"},
               {"TOP/s"},
               {"read GB/s"},
               {"floor ms"},
               {"/ floor"},
               {"peer rows/s"},
               {"/ peer"}});
  Json list = Json::array();
  for (const Case& c : cases) {
    const double floor = c.bytes / c.bandwidth, speed = c.rows / c.seconds;
    const bool peer = c.peer_rows_per_second > 0;
    table.Row({c.format, std::to_string(c.rows), Short(1e3 * c.seconds), Short(speed),
               Short(c.bytes / c.seconds / 1e9), Short(c.flop / c.seconds / 1e12),
               Short(c.bandwidth / 1e9), Short(1e3 * floor),
               fmt::format("{:.2f}", c.seconds / floor), peer ? Short(c.peer_rows_per_second) : "",
               peer ? fmt::format("{:.2f}", speed / c.peer_rows_per_second) : ""});
    list.push_back({{"format", c.format},
                    {"rows", c.rows},
                    {"ms", 1e3 * c.seconds},
                    {"rows_per_second", speed},
                    {"weight_bytes", c.bytes},
                    {"gb_per_second", c.bytes / c.seconds / 1e9},
                    {"tflop_per_second", c.flop / c.seconds / 1e12},
                    {"read_gb_per_second", c.bandwidth / 1e9},
                    {"floor_ms", 1e3 * floor},
                    {"times_floor", c.seconds / floor}});
    if (peer) list.back()["peer_rows_per_second"] = c.peer_rows_per_second;
  }
  if (options.json) {
    PrintJson({{"threads", probe.threads()},
               {"keys", options.keys},
               {"layers_timed", options.layers},
               {"cases", list}});
    return OkStatus();
  }
  const std::string layers =
      options.layers < kLayers
          ? fmt::format("{} layers, scaled from 1 and {}", kLayers, options.layers)
          : fmt::format("{} layers", kLayers);
  Out().Print("{}, {} threads, {} cached keys{}\n\n{}", layers, probe.threads(), options.keys,
              options.quick ? "; a small network, made to be quick" : "; LLaDA-8B's shapes",
              table.ToString());
  return OkStatus();
}

}  // namespace tessera::cli
