#include "tessera/api/quantize.h"

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "tessera/api/internal/chat.h"
#include "tessera/api/internal/quantization_config.h"
#include "tessera/engine/loader.h"
#include "tessera/formats/atomic_file.h"
#include "tessera/formats/atomic_folder.h"
#include "tessera/quantize/quantizer.h"

namespace tessera::api {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// Plain texts are cut into windows; longer ones would only make attention dearer.
constexpr size_t kWindow = 512;
// The fill behind an answer, as generation lays its canvas out in blocks.
constexpr size_t kCanvasBlock = 32;
// What looks like a special token in a text is text.
constexpr text::EncodeOptions kAsText{.add_special_tokens = false, .parse_special = false};

Result<QuantizedLayout> LayoutOf(const QuantizeOptions& options) {
  if (options.bits != 8 && options.bits != 4) {
    return InvalidArgument("bits: got {}, accepted: 8, 4", options.bits);
  }
  if (options.group != 0 && options.group != 32 && options.group != 64 && options.group != 128) {
    return InvalidArgument("group: got {}, accepted: 32, 64, 128, or 0 for all inputs",
                           options.group);
  }
  return QuantizedLayout{
      .bits = options.bits, .group = options.group, .symmetric = options.symmetric};
}

// Of embedding and head. Four bits get groups: rare tokens have small rows with few large weights.
Result<std::optional<QuantizedLayout>> TableLayout(std::string_view option,
                                                   const std::string& value) {
  if (value == "keep") return std::optional<QuantizedLayout>();
  if (value == "int8") {
    return std::optional(QuantizedLayout{.bits = 8, .group = 0, .symmetric = true});
  }
  if (value == "int4") {
    return std::optional(QuantizedLayout{.bits = 4, .group = 32, .symmetric = true});
  }
  return InvalidArgument("{}: got '{}', accepted: keep, int8, int4", option, value);
}

Result<quantize::QuantizeOptions> ToRoomOptions(const QuantizeOptions& options) {
  quantize::QuantizeOptions room;
  if (options.method != "rtn" && options.method != "gptq") {
    return InvalidArgument("method: got '{}', accepted: rtn, gptq", options.method);
  }
  if (options.method == "gptq") room.method = quantize::Method::kGptq;
  TESSERA_ASSIGN_OR_RETURN(room.layout, LayoutOf(options));
  TESSERA_ASSIGN_OR_RETURN(room.embedding, TableLayout("embedding", options.embedding));
  TESSERA_ASSIGN_OR_RETURN(room.head, TableLayout("head", options.head));
  if (!(options.damping >= 0 && options.damping <= 1)) {
    return InvalidArgument("damping: got {:g}, accepted: 0..1", options.damping);
  }
  if (options.calibration_rows < 1) {
    return InvalidArgument("calibration rows: got {}, accepted: 1 or more",
                           options.calibration_rows);
  }
  if (options.max_shard_bytes < 1) {
    return InvalidArgument("shard bytes: got {}, accepted: 1 or more", options.max_shard_bytes);
  }
  room.gptq = {.damping = options.damping,
               .order = options.act_order ? quantize::InputOrder::kByActivation
                                          : quantize::InputOrder::kAsStored};
  room.max_shard_bytes = options.max_shard_bytes;
  room.progress = options.progress;
  return room;
}

// Texts as the model meets them: behind its chat template, ended and filled as generation does.
class CalibrationEncoder {
 public:
  static Result<CalibrationEncoder> Make(const engine::OpenedModel& opened) {
    CalibrationEncoder encoder(opened.config.traits);
    Result<std::unique_ptr<text::Tokenizer>> tokenizer = text::LoadTokenizer(opened.files.folder);
    if (!tokenizer.ok()) return tokenizer.status().WithContext("calibration");
    encoder.tokenizer_ = std::move(*tokenizer);
    Result<text::ChatTemplate> chat = text::LoadChatTemplate(opened.files.folder);
    if (chat.ok()) encoder.chat_.emplace(std::move(*chat));
    return encoder;
  }

  Status Add(const CalibrationText& text, std::vector<quantize::CalibrationText>* out) const {
    std::vector<TokenId> tokens;
    if (text.messages.empty()) {
      TESSERA_ASSIGN_OR_RETURN(tokens, tokenizer_->Encode(text.text, kAsText));
      TESSERA_RETURN_IF_ERROR(CheckIds(tokens));
      for (size_t begin = 0; begin < tokens.size(); begin += kWindow) {
        const size_t end = std::min(tokens.size(), begin + kWindow);
        out->push_back({.tokens = {tokens.begin() + static_cast<int64_t>(begin),
                                   tokens.begin() + static_cast<int64_t>(end)},
                        .given = 0});
      }
      return OkStatus();
    }
    if (chat_) {
      TESSERA_ASSIGN_OR_RETURN(tokens, EncodeMessages(text.messages, *chat_, *tokenizer_));
    } else {
      TESSERA_ASSIGN_OR_RETURN(tokens, tokenizer_->Encode(text.messages.back().content, kAsText));
    }
    const size_t given = tokens.size();
    TESSERA_ASSIGN_OR_RETURN(const std::vector<TokenId> answer,
                             tokenizer_->Encode(text.text, kAsText));
    tokens.insert(tokens.end(), answer.begin(), answer.end());
    AddEnd(given, &tokens);
    TESSERA_RETURN_IF_ERROR(CheckIds(tokens));
    out->push_back({.tokens = std::move(tokens), .given = static_cast<int32_t>(given)});
    return OkStatus();
  }

 private:
  explicit CalibrationEncoder(const ops::ModelTraits& traits) : traits_(traits) {}

  void AddEnd(size_t given, std::vector<TokenId>* tokens) const {
    std::optional<TokenId> end;
    for (const char* name : {"<|eot_id|>", "<|im_end|>"}) {
      const std::optional<TokenId> id = tokenizer_->TokenToId(name);
      if (!end && id && tokenizer_->IsSpecial(*id)) end = id;
    }
    if (!end && !traits_.stop_ids.empty()) end = traits_.stop_ids.front();
    if (end) tokens->push_back(*end);
    if (traits_.attention == ops::AttentionKind::kCausal || traits_.stop_ids.empty()) return;
    while ((tokens->size() - given) % kCanvasBlock != 0) {
      tokens->push_back(traits_.stop_ids.front());
    }
  }

  Status CheckIds(std::span<const TokenId> tokens) const {
    for (const TokenId id : tokens) {
      if (id >= 0 && id < traits_.vocab_size) continue;
      return InvalidArgument("calibration: the tokenizer gives token {}, the model has {}", id,
                             traits_.vocab_size);
    }
    return OkStatus();
  }

  const ops::ModelTraits& traits_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
  std::optional<text::ChatTemplate> chat_;
};

Result<quantize::CalibrationSet> Calibrate(const QuantizeOptions& options,
                                           const engine::OpenedModel& opened) {
  const ops::ModelTraits& traits = opened.config.traits;
  if (traits.mask_id < 0 && traits.attention != ops::AttentionKind::kCausal) {
    return InvalidArgument("{}: names no mask token, so calibration texts cannot be masked",
                           opened.files.config_name);
  }
  TESSERA_ASSIGN_OR_RETURN(const CalibrationEncoder encoder, CalibrationEncoder::Make(opened));
  std::vector<quantize::CalibrationText> texts;
  for (const CalibrationText& text : options.calibration) {
    TESSERA_RETURN_IF_ERROR(encoder.Add(text, &texts));
  }
  return quantize::MakeCalibration(texts, traits,
                                   {.max_rows = options.calibration_rows, .seed = options.seed});
}

bool IsCompanion(const std::string& name) {
  constexpr std::string_view kNames[] = {"tokenizer.json",
                                         "tokenizer_config.json",
                                         "special_tokens_map.json",
                                         "added_tokens.json",
                                         "vocab.json",
                                         "merges.txt",
                                         "vocab.txt",
                                         "tokenizer.model",
                                         "spiece.model",
                                         "chat_template.jinja",
                                         "chat_template.json",
                                         "generation_config.json"};
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames) ||
         name.starts_with("LICENSE");
}

// What a model folder needs beside config and weights.
Status CopyCompanions(const fs::path& from, const fs::path& to) {
  std::error_code error;
  for (fs::directory_iterator it(from, error), end; !error && it != end; it.increment(error)) {
    const fs::path name = it->path().filename();
    if (!IsCompanion(name.string())) continue;
    fs::copy_file(it->path(), to / name, error);
    if (error) {
      return ResourceExhausted("{}: cannot be copied: {}", it->path().string(), error.message());
    }
  }
  if (error) return NotFound("{}: cannot be listed: {}", from.string(), error.message());
  return OkStatus();
}

Json ReportJson(const Json& config, const quantize::QuantizeReport& report, double seconds) {
  Json how = config;
  how.erase("matrices");
  Json json = {{"quantization", std::move(how)},
               {"source_bytes", report.source_bytes},
               {"bytes", report.bytes},
               {"seconds", seconds}};
  Json& matrices = json["matrices"] = Json::array();
  for (const quantize::MatrixReport& matrix : report.matrices) {
    Json entry = {
        {"name", matrix.name},
        {"shape", matrix.matrix.shape},
        {"layout", LayoutName(matrix.matrix.layout)},
        {"method", quantize::Name(matrix.method)},
        {"weight_error", matrix.weight_error},
        {"output_error", matrix.output_error ? Json(*matrix.output_error) : Json(nullptr)}};
    if (matrix.method == quantize::Method::kGptq) {
      entry["gptq_rows"] = matrix.rows_by_gptq;
      entry["damping"] = matrix.damping;
    }
    matrices.push_back(std::move(entry));
  }
  return json;
}

}  // namespace

Result<QuantizeReport> Quantize(const QuantizeOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  TESSERA_ASSIGN_OR_RETURN(quantize::QuantizeOptions room, ToRoomOptions(options));
  if (options.method == "gptq" && options.calibration.empty()) {
    return InvalidArgument("method gptq needs calibration texts");
  }
  std::error_code error;
  if (!fs::is_directory(options.model, error)) {
    return NotFound("{}: is no folder; accepted: a checkpoint folder with config.json",
                    options.model);
  }
  TESSERA_ASSIGN_OR_RETURN(engine::OpenedModel opened, engine::OpenModel(options.model));
  TESSERA_ASSIGN_OR_RETURN(
      const std::unique_ptr<ops::Device> device,
      engine::OpenDevice({.path = options.model, .isa = options.isa, .threads = options.threads}));
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<AtomicFolder> folder,
                           AtomicFolder::Create(options.output));
  quantize::CalibrationSet calibration;
  if (!options.calibration.empty()) {
    TESSERA_ASSIGN_OR_RETURN(calibration, Calibrate(options, opened));
    room.calibration = &calibration;
  }
  ThreadPool pool(options.threads);
  TESSERA_ASSIGN_OR_RETURN(const quantize::QuantizeReport done,
                           quantize::QuantizeWeights(opened.config, *opened.files.tensors, *device,
                                                     pool, folder->folder(), room));

  const Json config = QuantizationConfig(options, done, room.calibration);
  QuantizeReport report{.kept = done.kept,
                        .source_bytes = done.source_bytes,
                        .bytes = done.bytes,
                        .calibration_rows = calibration.rows,
                        .mask_ratio = calibration.mask_ratio()};
  for (const quantize::MatrixReport& matrix : done.matrices) {
    report.matrices.push_back({.name = matrix.name,
                               .layout = LayoutName(matrix.matrix.layout),
                               .method = std::string(quantize::Name(matrix.method)),
                               .weight_error = matrix.weight_error,
                               .output_error = matrix.output_error,
                               .gptq_rows = matrix.rows_by_gptq});
  }
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  report.json = ReportJson(config, done, report.seconds).dump(2);

  nlohmann::json model_config = opened.files.config;
  model_config["quantization_config"] = config;
  const fs::path out = folder->folder();
  TESSERA_RETURN_IF_ERROR(CopyCompanions(options.model, out));
  TESSERA_RETURN_IF_ERROR(
      WriteFileAtomically((out / "quantization_report.json").string(), report.json + "\n"));
  TESSERA_RETURN_IF_ERROR(
      WriteFileAtomically((out / "config.json").string(), model_config.dump(2) + "\n"));
  TESSERA_RETURN_IF_ERROR(folder->Commit());
  return report;
}

}  // namespace tessera::api
