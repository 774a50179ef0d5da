#include "tessera/quantize/quantizer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "tessera/quantize/checkpoint_writer.h"
#include "tessera/quantize/layer_walk.h"
#include "tessera/quantize/rounding.h"

namespace tessera::quantize {
namespace {

using models::LinearSite;

constexpr int kNumSites = 4;
// Larger weights would give scales that a reader refuses, because sums of them overflow.
constexpr float kLargestWeight = 1e30f;

// A matrix of a layer and the linear that reads it; none: not observed, so rounded to nearest.
// Those are the routed experts: each sees the rows that were sent to it, often too few to measure.
struct Target {
  std::string name;
  Shape shape;
  std::optional<LinearSite> site;
};

std::vector<Target> TargetsOf(const models::DecoderConfig& config, int64_t layer) {
  const models::TensorNames& names = config.names;
  const std::pair<const std::string*, LinearSite> sites[] = {
      {&names.qkv, LinearSite::kQkv},
      {&names.q, LinearSite::kQkv},
      {&names.k, LinearSite::kQkv},
      {&names.v, LinearSite::kQkv},
      {&names.o, LinearSite::kO},
      {&names.gate, LinearSite::kGateUp},
      {&names.up, LinearSite::kGateUp},
      {&names.down, LinearSite::kDown},
      {&names.shared_gate, LinearSite::kGateUp},
      {&names.shared_up, LinearSite::kGateUp},
      {&names.shared_down, LinearSite::kDown}};
  // A router is small, and rounding it would change which experts are chosen.
  const std::string router = models::LayerName(names.router, layer);
  std::vector<Target> targets;
  for (models::TensorSpec& tensor : LayerTensors(config, layer)) {
    if (tensor.shape.size() != 2 || tensor.name == router) continue;
    Target target{.name = std::move(tensor.name), .shape = std::move(tensor.shape), .site = {}};
    for (const auto& [pattern, site] : sites) {
      if (target.name == models::LayerName(*pattern, layer)) target.site = site;
    }
    targets.push_back(std::move(target));
  }
  return targets;
}

struct Plan {
  std::vector<NamedMatrix> matrices;  // in the order of the work
  std::vector<std::string> copied;
  std::vector<std::string> kept;  // matrices among them
  int64_t weights = 0;            // of the matrices
};

Plan MakePlan(const models::DecoderConfig& config, const QuantizeOptions& options) {
  Plan plan;
  std::map<std::string, QuantizedLayout> layouts;
  const auto add = [&](const std::string& name, const Shape& shape, const QuantizedLayout& layout) {
    plan.matrices.push_back({name, {.shape = shape, .layout = layout}});
    plan.weights += NumElements(shape);
    layouts.emplace(name, layout);
  };
  const Shape table = {config.vocab, config.width};
  const auto& embedding = config.tied_head ? options.head : options.embedding;
  if (embedding) add(config.names.embedding, table, *embedding);
  if (!config.tied_head && options.head) add(config.names.head, table, *options.head);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    for (const Target& target : TargetsOf(config, layer)) {
      add(target.name, target.shape, options.layout);
    }
  }
  for (const models::TensorSpec& tensor : ListTensors(config)) {
    if (layouts.count(tensor.name) > 0) continue;
    plan.copied.push_back(tensor.name);
    if (tensor.shape.size() == 2) plan.kept.push_back(tensor.name);
  }
  return plan;
}

double Norm(std::span<const double> squares) {
  double sum = 0;
  for (const double square : squares) sum += square;
  return std::sqrt(sum);
}

double Norm(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * value;
  return std::sqrt(sum);
}

double Ratio(double part, double whole) { return whole > 0 ? part / whole : 0; }

std::vector<float> ErrorsOf(std::span<const float> weights, const EncodedMatrix& encoded) {
  const size_t in = static_cast<size_t>(encoded.shape()[1]);
  std::vector<float> errors(weights.size());
  for (int64_t row = 0; row < encoded.shape()[0]; ++row) {
    const std::span<float> out = std::span(errors).subspan(static_cast<size_t>(row) * in, in);
    encoded.Dequantize(row, out);
    for (size_t k = 0; k < in; ++k) out[k] = weights[static_cast<size_t>(row) * in + k] - out[k];
  }
  return errors;
}

void CopyRow(const EncodedMatrix& from, int64_t row, EncodedMatrix* to) {
  std::vector<uint8_t> codes(static_cast<size_t>(from.shape()[1]));
  std::vector<float> scales(static_cast<size_t>(from.groups())), mins(scales.size());
  from.ReadRow(row, codes.data(), scales.data(), mins.data());
  to->SetRow(row, codes, scales, mins);
}

// What is known of the input of one linear.
struct SiteStatistics {
  std::unique_ptr<Hessian> hessian;
  std::vector<float> importance;     // its diagonal
  std::optional<GptqFactor> factor;  // when GPTQ is asked for and possible
};

class Quantizer {
 public:
  Quantizer(const models::DecoderConfig& config, const TensorSource& source, ops::Device& device,
            ThreadPool& pool, const QuantizeOptions& options, CheckpointWriter& writer,
            int64_t num_weights, QuantizeReport* report)
      : config_(config),
        source_(source),
        device_(device),
        pool_(pool),
        options_(options),
        writer_(writer),
        num_weights_(num_weights),
        report_(report),
        format_(CalibrationFormat()),
        walk_(config, source, device, format_,
              options.calibration == nullptr ? Sequences()
                                             : Sequences(options.calibration->sequences)) {}

  // `planned`: as MakePlan lists them.
  Status Run(std::span<const NamedMatrix> planned) {
    Replacements embedding;
    std::unique_ptr<EncodedMatrix> table;
    for (const auto& [name, matrix] : planned) {
      if (name != config_.names.embedding && name != config_.names.head) break;
      TESSERA_ASSIGN_OR_RETURN(auto encoded, Encode(name, matrix, nullptr));
      if (name != config_.names.embedding) continue;
      table = std::move(encoded);
      embedding.emplace(name, table.get());
    }
    if (calibrated()) TESSERA_RETURN_IF_ERROR(walk_.Embed(embedding));
    table.reset();
    for (int64_t layer = 0; layer < config_.layers; ++layer) {
      TESSERA_RETURN_IF_ERROR(QuantizeLayer(layer).WithContext(fmt::format("layer {}", layer)));
    }
    return OkStatus();
  }

 private:
  using Sequences = std::span<const std::vector<ops::TokenId>>;

  bool calibrated() const { return options_.calibration != nullptr; }

  // As a load without options would hold the weights.
  ops::WeightFormat CalibrationFormat() const {
    const TensorView* embedding = source_.Find(config_.names.embedding);
    const bool narrow = embedding != nullptr && embedding->dtype == DType::kBF16;
    return {.type = narrow ? ops::WeightType::kBF16 : ops::WeightType::kF32};
  }

  Status QuantizeLayer(int64_t layer) {
    std::array<SiteStatistics, kNumSites> sites;
    if (calibrated()) TESSERA_RETURN_IF_ERROR(Observe(layer, &sites));
    std::vector<std::unique_ptr<EncodedMatrix>> done;
    Replacements replaced;
    for (const Target& target : TargetsOf(config_, layer)) {
      const SiteStatistics* site =
          calibrated() && target.site ? &sites[static_cast<size_t>(*target.site)] : nullptr;
      TESSERA_ASSIGN_OR_RETURN(
          auto encoded,
          Encode(target.name, {.shape = target.shape, .layout = options_.layout}, site));
      replaced.emplace(target.name, encoded.get());
      done.push_back(std::move(encoded));
    }
    if (calibrated() && layer + 1 < config_.layers) {
      TESSERA_RETURN_IF_ERROR(walk_.Advance(layer, replaced));
    }
    for (const models::TensorSpec& tensor : LayerTensors(config_, layer)) {
      if (replaced.find(tensor.name) != replaced.end()) {
        source_.Advise(tensor.name, MapAdvice::kDontNeed);
      }
    }
    return OkStatus();
  }

  Status Observe(int64_t layer, std::array<SiteStatistics, kNumSites>* sites) {
    const models::LinearObserver observer = [&](LinearSite site, int64_t rows, int64_t width,
                                                const float* x) -> Status {
      if (!Continue()) return Cancelled("{}: quantising was cancelled", source_.origin());
      std::unique_ptr<Hessian>& hessian = (*sites)[static_cast<size_t>(site)].hessian;
      if (hessian == nullptr) hessian = std::make_unique<Hessian>(width, format_, device_);
      return hessian->Add(rows, x);
    };
    TESSERA_RETURN_IF_ERROR(walk_.Observe(layer, observer));
    for (SiteStatistics& site : *sites) {
      if (site.hessian == nullptr) continue;
      TESSERA_RETURN_IF_ERROR(site.hessian->Finish());
      site.importance = site.hessian->Diagonal();
      if (options_.method != Method::kGptq) continue;
      // An input that is always zero leaves nothing to compensate: rounding to nearest is exact
      // as far as anyone can tell.
      Result<GptqFactor> factor = GptqFactor::Make(*site.hessian, options_.gptq);
      if (factor.ok()) site.factor.emplace(std::move(*factor));
    }
    return OkStatus();
  }

  // Quantises one matrix, hands it to the writer and reports.
  Result<std::unique_ptr<EncodedMatrix>> Encode(const std::string& name, const StoredMatrix& matrix,
                                                const SiteStatistics* site) {
    std::vector<float> weights;
    {
      TESSERA_ASSIGN_OR_RETURN(const TensorView view, source_.GetFinite(name, matrix.shape));
      weights = ToFloats(view);
    }
    const auto [low, high] = std::minmax_element(weights.begin(), weights.end());
    if (std::max(-*low, *high) > kLargestWeight) {
      return InvalidArgument("{}: tensor '{}' has weights as large as {:g}; accepted: up to {:g}",
                             source_.origin(), name, std::max(-*low, *high), kLargestWeight);
    }
    const int64_t in = matrix.shape[1];
    const std::span<const float> importance =
        site == nullptr ? std::span<const float>() : std::span<const float>(site->importance);
    MatrixReport report{.name = name, .matrix = matrix};
    std::unique_ptr<EncodedMatrix> encoded =
        RoundToNearest(weights, in, importance, matrix.layout, pool_);
    std::vector<float> errors = ErrorsOf(weights, *encoded);
    if (site != nullptr) {
      std::vector<double> squares = OutputErrors(errors, *site->hessian, pool_);
      if (site->factor) {
        TakeBetterRows(weights, *site, &report, encoded.get(), &squares);
        errors = ErrorsOf(weights, *encoded);
      }
      report.output_error =
          Ratio(Norm(squares), Norm(OutputErrors(weights, *site->hessian, pool_)));
    }
    report.weight_error = Ratio(Norm(errors), Norm(weights));
    report_->matrices.push_back(std::move(report));
    done_ += static_cast<int64_t>(weights.size());
    if (!Continue()) return Cancelled("{}: quantising was cancelled", source_.origin());
    TESSERA_RETURN_IF_ERROR(writer_.Add(*encoded));
    return encoded;
  }

  // Output features are independent, so each takes whichever of the two ways is nearer: GPTQ is
  // greedy and not better for every one. `squares`: the errors of rounding to nearest, then ours.
  void TakeBetterRows(std::span<const float> weights, const SiteStatistics& site,
                      MatrixReport* report, EncodedMatrix* encoded, std::vector<double>* squares) {
    const auto gptq = Gptq(weights, *site.factor, site.importance, encoded->layout(), pool_);
    const std::vector<double> better = OutputErrors(ErrorsOf(weights, *gptq), *site.hessian, pool_);
    int64_t taken = 0;
    for (size_t row = 0; row < better.size(); ++row) {
      if (better[row] >= (*squares)[row]) continue;
      (*squares)[row] = better[row];
      CopyRow(*gptq, static_cast<int64_t>(row), encoded);
      ++taken;
    }
    report->rows_by_gptq = static_cast<double>(taken) / static_cast<double>(better.size());
    report->method = Method::kGptq;
    report->damping = site.factor->damping();
  }

  bool Continue() const { return !options_.progress || options_.progress(done_, num_weights_); }

  const models::DecoderConfig& config_;
  const TensorSource& source_;
  ops::Device& device_;
  ThreadPool& pool_;
  const QuantizeOptions& options_;
  CheckpointWriter& writer_;
  const int64_t num_weights_;
  QuantizeReport* report_;
  const ops::WeightFormat format_;
  LayerWalk walk_;
  int64_t done_ = 0;
};

// Everything that a load would refuse, before work of hours begins.
Status CheckSource(const models::DecoderConfig& config, const TensorSource& source) {
  for (const models::TensorSpec& tensor : ListTensors(config)) {
    if (const QuantizedTensor* quantized = source.FindQuantized(tensor.name)) {
      return InvalidArgument("{}: tensor '{}' is {} already; quantise the original",
                             source.origin(), tensor.name, quantized->type_name());
    }
    TESSERA_RETURN_IF_ERROR(source.Get(tensor.name, tensor.shape).status());
  }
  return OkStatus();
}

}  // namespace

std::string_view Name(Method method) { return method == Method::kGptq ? "gptq" : "rtn"; }

Result<QuantizeReport> QuantizeWeights(const models::DecoderConfig& config,
                                       const TensorSource& source, ops::Device& device,
                                       ThreadPool& pool, const std::string& folder,
                                       const QuantizeOptions& options) {
  if (options.method == Method::kGptq && options.calibration == nullptr) {
    return InvalidArgument("method gptq needs calibration texts");
  }
  TESSERA_RETURN_IF_ERROR(CheckSource(config, source));
  const Plan plan = MakePlan(config, options);
  QuantizeReport report{.matrices = {}, .kept = plan.kept, .source_bytes = source.total_bytes()};
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<CheckpointWriter> writer,
                           CheckpointWriter::Create(folder, plan.matrices, plan.copied, source,
                                                    options.max_shard_bytes));
  report.bytes = writer->total_bytes();
  Quantizer quantizer(config, source, device, pool, options, *writer, plan.weights, &report);
  TESSERA_RETURN_IF_ERROR(quantizer.Run(plan.matrices));
  TESSERA_RETURN_IF_ERROR(writer->Finish());
  return report;
}

}  // namespace tessera::quantize
