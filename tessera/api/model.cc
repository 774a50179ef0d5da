#include "tessera/api/model.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>

#include "tessera/api/internal/artefacts.h"
#include "tessera/api/internal/chat.h"
#include "tessera/api/internal/forward_timer.h"
#include "tessera/api/internal/model_info.h"
#include "tessera/api/internal/networks.h"
#include "tessera/decode/registry.h"
#include "tessera/engine/engine.h"
#include "tessera/engine/loader.h"
#include "tessera/text/chat_template.h"
#include "tessera/text/incremental_decoder.h"
#include "tessera/text/tokenizer.h"

namespace tessera::api {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::string_view KindName(decode::ForwardKind kind) {
  switch (kind) {
    case decode::ForwardKind::kFull: return "full";
    case decode::ForwardKind::kWindow: return "window";
    case decode::ForwardKind::kFinalise: return "finalise";
    case decode::ForwardKind::kJoint: return "joint";
  }
  return "unknown";
}

std::string ReasonName(engine::FinishReason reason) {
  switch (reason) {
    case engine::FinishReason::kStop: return "stop";
    case engine::FinishReason::kLength: return "length";
    case engine::FinishReason::kCancelled: return "cancelled";
    case engine::FinishReason::kError: return "error";
  }
  return "unknown";
}

Status CheckSampling(const SamplingOptions& s) {
  if (!(s.temperature >= 0 && s.temperature <= 100)) {
    return InvalidArgument("temperature: got {:g}, accepted: 0..100", s.temperature);
  }
  if (s.top_k < 0) return InvalidArgument("top_k: got {}, accepted: 0 (off) or more", s.top_k);
  if (!(s.top_p > 0 && s.top_p <= 1)) {
    return InvalidArgument("top_p: got {:g}, accepted: above 0, up to 1 (off)", s.top_p);
  }
  if (!(s.min_p >= 0 && s.min_p < 1)) {
    return InvalidArgument("min_p: got {:g}, accepted: 0 (off) to below 1", s.min_p);
  }
  if (!(s.repetition_penalty > 0 && s.repetition_penalty <= 100)) {
    return InvalidArgument("repetition_penalty: got {:g}, accepted: above 0, up to 100; 1 is off",
                           s.repetition_penalty);
  }
  return OkStatus();
}

ops::SamplingSpec ToSpec(const SamplingOptions& options) {
  ops::SamplingSpec spec;
  spec.temperature = options.temperature;
  spec.top_k = options.top_k;
  spec.top_p = options.top_p;
  spec.min_p = options.min_p;
  spec.repetition_penalty = options.repetition_penalty;
  return spec;
}

// End-of-text tokens by name: chat checkpoints use them whether or not their config lists them.
constexpr std::string_view kStopTokens[] = {"<|eot_id|>", "<|im_end|>", "<|endoftext|>"};

// Follows one request: streams final text and shows the canvas.
class Follower {
 public:
  Follower(const GenerateRequest& request, const text::Tokenizer* tokenizer,
           std::span<const TokenId> prompt)
      : request_(request),
        prompt_length_(static_cast<int32_t>(prompt.size())),
        sent_(prompt_length_) {
    if (tokenizer == nullptr) return;
    decoder_.emplace(*tokenizer, /*skip_special=*/true);
    (void)decoder_->Push(prompt);
  }

  bool OnStep(const engine::StepEvent& event) {
    if (event.final_end > sent_) {
      const size_t count = static_cast<size_t>(event.final_end - sent_);
      Send(event.canvas.subspan(static_cast<size_t>(sent_), count));
      sent_ = event.final_end;
    }
    if (!request_.on_step) return true;
    const auto copy = [](std::span<const decode::Placement> from, std::vector<Placed>* to) {
      to->clear();
      for (const decode::Placement& p : from) {
        to->push_back({.position = p.position, .token = p.token, .confidence = p.confidence});
      }
    };
    copy(event.commits, &placed_);
    copy(event.edits, &edited_);
    return request_.on_step({.step = event.step,
                             .kind = KindName(event.kind),
                             .rows = event.rows,
                             .placed = placed_,
                             .edited = edited_,
                             .remasked = event.remasks,
                             .canvas = event.canvas,
                             .confidence = event.confidence,
                             .prompt_length = prompt_length_});
  }

  // Sends what is left of `output` and returns the whole text.
  std::string Finish(std::span<const TokenId> output) {
    const size_t sent = static_cast<size_t>(sent_ - prompt_length_);
    if (sent < output.size()) Send(output.subspan(sent));
    if (decoder_) Deliver(decoder_->Finish());
    return std::move(text_);
  }

 private:
  void Send(std::span<const TokenId> ids) {
    if (decoder_) Deliver(decoder_->Push(ids));
  }
  void Deliver(const std::string& chunk) {
    if (chunk.empty()) return;
    text_ += chunk;
    if (request_.on_text) request_.on_text(chunk);
  }

  const GenerateRequest& request_;
  int32_t prompt_length_;
  int32_t sent_;
  std::optional<text::IncrementalDecoder> decoder_;
  std::string text_;
  std::vector<Placed> placed_, edited_;
};

class ModelImpl : public Model {
 public:
  ModelImpl(engine::LoadedModel loaded, ModelInfo info, const LoadOptions& options)
      : loaded_(std::move(loaded)),
        info_(std::move(info)),
        traits_(loaded_.model->traits()),
        artefacts_(LoadArtefactsBeside(loaded_.folder, options.strategy_files)),
        engine_(*loaded_.model, *loaded_.device, {}) {}

  // `tokenizer_path` may be empty: the model's own folder, which need not have a tokenizer.
  Status LoadText(const std::string& path, const std::string& tokenizer_path) {
    const bool own = tokenizer_path.empty();
    Result<std::unique_ptr<text::Tokenizer>> tokenizer =
        text::LoadTokenizer(own ? loaded_.folder : tokenizer_path);
    if (tokenizer.ok()) {
      tokenizer_ = std::move(*tokenizer);
    } else if (!own || tokenizer.status().code() != StatusCode::kNotFound) {
      return tokenizer.status();
    } else {
      no_tokenizer_ = tokenizer.status();
    }
    if (tokenizer_ != nullptr && tokenizer_->vocab_size() > traits_.vocab_size) {
      return InvalidArgument("{}: the tokenizer has {} tokens, the model {}; name the right one",
                             own ? loaded_.folder : tokenizer_path, tokenizer_->vocab_size(),
                             traits_.vocab_size);
    }
    if (tokenizer_ != nullptr) AddTextStops();
    if (tokenizer_ != nullptr) AddDelimiters();
    Result<text::ChatTemplate> chat = text::LoadChatTemplate(loaded_.folder);
    if (chat.ok()) {
      chat_template_.emplace(std::move(*chat));
    } else if (chat.status().code() != StatusCode::kNotFound) {
      return chat.status();
    }
    info_.path = path;
    info_.has_tokenizer = tokenizer_ != nullptr;
    info_.has_chat_template = chat_template_.has_value() && info_.has_tokenizer;
    info_.stop_ids = traits_.stop_ids;
    return OkStatus();
  }

  void set_load_seconds(double seconds) { info_.load_seconds = seconds; }
  const ModelInfo& info() const override { return info_; }

  Result<std::vector<TokenId>> Encode(std::string_view text, bool special) const override {
    if (tokenizer_ == nullptr) return no_tokenizer_;
    return tokenizer_->Encode(text, {.add_special_tokens = special, .parse_special = special});
  }

  std::string Decode(std::span<const TokenId> ids) const override {
    return tokenizer_ == nullptr ? "" : tokenizer_->Decode(ids, /*skip_special=*/true);
  }

  std::string TokenText(TokenId id) const override {
    if (tokenizer_ == nullptr || id == traits_.mask_id) return "";
    return tokenizer_->TokenBytes(id);
  }

  Result<std::vector<TokenId>> EncodeChat(const std::vector<Message>& messages) const override {
    if (tokenizer_ == nullptr) return no_tokenizer_;
    if (!chat_template_) {
      return InvalidArgument("{}: the model has no chat template; give the prompt as plain text",
                             info_.path);
    }
    return EncodeMessages(messages, *chat_template_, *tokenizer_);
  }

  Status CheckStrategy(const std::string& strategy) const override {
    return decode::MakeStrategy(StrategyOrDefault(strategy), traits_, {}, artefacts_).status();
  }

  Result<GenerateResult> Generate(const GenerateRequest& request) override {
    return std::move(GenerateBatch({&request, 1}, /*at_once=*/1).front());
  }

  std::vector<Result<GenerateResult>> GenerateBatch(std::span<const GenerateRequest> requests,
                                                    int32_t at_once) override;

  Result<Score> ScoreIds(std::span<const TokenId> ids) override;
  Result<std::vector<float>> Logits(std::span<const TokenId> ids) override;
  Result<ForwardTiming> TimeForward(const ForwardShape& shape, int32_t repeats) override {
    return api::TimeForward(*loaded_.model, *loaded_.device, shape, repeats);
  }

 private:
  const std::string& StrategyOrDefault(const std::string& strategy) const {
    return strategy.empty() ? info_.default_strategy : strategy;
  }

  void AddTextStops() {
    const auto add = [&](std::optional<TokenId> id) {
      std::vector<TokenId>& stops = traits_.stop_ids;
      if (id && *id < traits_.vocab_size &&
          std::find(stops.begin(), stops.end(), *id) == stops.end()) {
        stops.push_back(*id);
      }
    };
    add(tokenizer_->eos_id());
    for (const std::string_view token : kStopTokens) {
      const std::optional<TokenId> id = tokenizer_->TokenToId(token);
      if (id && tokenizer_->IsSpecial(*id)) add(id);
    }
  }

  // Tokens that end a line: all of LLaDA's and Dream's delimiters end in a line feed.
  void AddDelimiters() {
    for (TokenId id = 0; id < tokenizer_->vocab_size(); ++id) {
      if (id != traits_.mask_id && tokenizer_->TokenBytes(id).ends_with('\n')) {
        traits_.delimiter_ids.push_back(id);
      }
    }
  }

  Result<std::vector<TokenId>> EncodePrompt(const GenerateRequest& request) const {
    const int given = !request.messages.empty() + !request.text.empty() + !request.ids.empty();
    if (given != 1) {
      return InvalidArgument("a request needs exactly one of messages, text and ids; got {}",
                             given);
    }
    if (!request.ids.empty()) return request.ids;
    if (!request.messages.empty()) return EncodeChat(request.messages);
    return Encode(request.text, /*special=*/true);
  }

  Status CheckIds(std::span<const TokenId> ids, int32_t least) const;

  // One sequence's rows for ScoreIds and Logits.
  struct PlainForward {
    std::vector<TokenId> tokens;
    std::vector<int32_t> positions;
    std::vector<ops::SlotRange> keys;
  };
  models::ForwardInput InputOf(const PlainForward& forward, std::span<const int32_t> pages,
                               std::vector<ops::AttentionGroup>* groups,
                               std::span<const int32_t> out_rows) const;
  Result<GenerateResult> ToResult(engine::Completion completion, Follower& follower,
                                  const std::string& strategy) const;

  engine::LoadedModel loaded_;
  ModelInfo info_;
  ops::ModelTraits traits_;  // with the end-of-text tokens of the tokenizer
  decode::ArtefactLoader artefacts_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
  Status no_tokenizer_;
  std::optional<text::ChatTemplate> chat_template_;
  engine::Engine engine_;
};

std::vector<Result<GenerateResult>> ModelImpl::GenerateBatch(
    std::span<const GenerateRequest> requests, int32_t at_once) {
  struct Pending {
    Status status;
    int64_t id = -1;
    std::unique_ptr<Follower> follower;
  };
  const auto submit = [&](const GenerateRequest& request, Pending* pending) -> Status {
    TESSERA_RETURN_IF_ERROR(CheckSampling(request.sampling));
    TESSERA_ASSIGN_OR_RETURN(std::vector<TokenId> prompt, EncodePrompt(request));
    TESSERA_ASSIGN_OR_RETURN(auto strategy,
                             decode::MakeStrategy(StrategyOrDefault(request.strategy), traits_,
                                                  ToSpec(request.sampling), artefacts_));
    pending->follower = std::make_unique<Follower>(request, tokenizer_.get(), prompt);
    Follower* follower = pending->follower.get();
    TESSERA_ASSIGN_OR_RETURN(
        pending->id,
        engine_.Submit({.prompt = std::move(prompt),
                        .max_new_tokens = request.max_new_tokens,
                        .seed = request.sampling.seed,
                        .strategy = std::move(strategy),
                        .stop_ids = request.ignore_stop ? std::vector<TokenId>() : traits_.stop_ids,
                        .stop_early = !request.whole_canvas,
                        .on_step = [follower](const engine::StepEvent& event) {
                          return follower->OnStep(event);
                        }}));
    return OkStatus();
  };

  std::vector<Pending> pending(requests.size());
  for (size_t i = 0; i < requests.size(); ++i) pending[i].status = submit(requests[i], &pending[i]);
  engine_.set_max_sequences(std::max(at_once, 1));
  while (!engine_.idle()) engine_.Step();

  std::vector<Result<GenerateResult>> results;
  for (size_t i = 0; i < requests.size(); ++i) {
    if (!pending[i].status.ok()) {
      results.push_back(pending[i].status);
      continue;
    }
    results.push_back(ToResult(std::move(*engine_.Take(pending[i].id)), *pending[i].follower,
                               StrategyOrDefault(requests[i].strategy)));
  }
  return results;
}

Result<GenerateResult> ModelImpl::ToResult(engine::Completion completion, Follower& follower,
                                           const std::string& strategy) const {
  if (!completion.status.ok()) return completion.status;
  const engine::Metrics& m = completion.metrics;
  GenerateResult result;
  result.text = follower.Finish(completion.output);
  result.canvas_text = Decode(completion.canvas);
  result.output = std::move(completion.output);
  result.confidence = std::move(completion.confidence);
  result.canvas = std::move(completion.canvas);
  result.finish_reason = ReasonName(completion.reason);
  result.strategy = strategy;
  result.metrics = {
      .prompt_tokens = m.prompt_tokens,
      .output_tokens = m.output_tokens,
      .full_forwards = m.forwards[static_cast<int>(decode::ForwardKind::kFull)],
      .window_forwards = m.forwards[static_cast<int>(decode::ForwardKind::kWindow)],
      .finalise_forwards = m.forwards[static_cast<int>(decode::ForwardKind::kFinalise)],
      .joint_passes = m.joint_passes(),
      .rows = m.rows,
      .weight_bytes = m.weight_bytes,
      .reused_rows = m.reused,
      .probe_rows = m.probes,
      .dropped = m.dropped,
      .drift_forwards = m.drift_steps,
      .drift_mean = m.drift_steps == 0 ? 0 : m.drift_sum / static_cast<double>(m.drift_steps),
      .drift_max = m.drift_max,
      .edited = m.edited,
      .remasked = m.remasked,
      .drafted = m.drafted,
      .accepted = m.accepted,
      .seconds = m.seconds,
      .first_forward_seconds = m.first_seconds};
  return result;
}

models::ForwardInput ModelImpl::InputOf(const PlainForward& forward, std::span<const int32_t> pages,
                                        std::vector<ops::AttentionGroup>* groups,
                                        std::span<const int32_t> out_rows) const {
  groups->push_back({.row_begin = 0,
                     .row_end = static_cast<int32_t>(forward.tokens.size()),
                     .pages = pages,
                     .mask = OwnMask(traits_, forward.keys)});
  return {.tokens = forward.tokens,
          .positions = forward.positions,
          .slots = forward.positions,
          .groups = *groups,
          .out_rows = out_rows};
}

Status ModelImpl::CheckIds(std::span<const TokenId> ids, int32_t least) const {
  const int32_t length = static_cast<int32_t>(ids.size());
  if (length < least || length > traits_.max_positions) {
    return InvalidArgument("got {} tokens, accepted: {}..{} (the model's context)", length, least,
                           traits_.max_positions);
  }
  for (const TokenId id : ids) {
    if (id < 0 || id >= traits_.vocab_size) {
      return InvalidArgument("token {}: accepted: 0..{}", id, traits_.vocab_size - 1);
    }
  }
  return OkStatus();
}

Result<std::vector<float>> ModelImpl::Logits(std::span<const TokenId> ids) {
  TESSERA_RETURN_IF_ERROR(CheckIds(ids, 1));
  const int32_t length = static_cast<int32_t>(ids.size());
  TESSERA_ASSIGN_OR_RETURN(std::unique_ptr<kv::KvCache> kv,
                           loaded_.model->MakeKvCache(length / ops::kPageRows + 1));
  kv::PageTable pages(kv->pool());
  TESSERA_RETURN_IF_ERROR(pages.Reserve(length));
  PlainForward forward{.tokens = {ids.begin(), ids.end()}, .positions = {}, .keys = {{0, length}}};
  for (int32_t i = 0; i < length; ++i) forward.positions.push_back(i);
  std::vector<ops::AttentionGroup> groups;
  std::vector<float> logits;
  TESSERA_RETURN_IF_ERROR(loaded_.model->ForwardLogits(
      InputOf(forward, pages.pages(), &groups, forward.positions), *kv, &logits));
  return logits;
}

Result<Score> ModelImpl::ScoreIds(std::span<const TokenId> ids) {
  if (traits_.attention != ops::AttentionKind::kCausal) {
    return InvalidArgument("the likelihood of a text needs a causal model; this one is {}",
                           info_.attention);
  }
  TESSERA_RETURN_IF_ERROR(CheckIds(ids, 2));
  const int32_t length = static_cast<int32_t>(ids.size());
  TESSERA_ASSIGN_OR_RETURN(std::unique_ptr<kv::KvCache> kv,
                           loaded_.model->MakeKvCache(length / ops::kPageRows + 1));
  kv::PageTable pages(kv->pool());
  TESSERA_RETURN_IF_ERROR(pages.Reserve(length));
  constexpr int32_t kChunk = 256;
  double nll = 0;
  for (int32_t begin = 0; begin + 1 < length; begin += kChunk) {
    const int32_t end = std::min(begin + kChunk, length - 1);
    PlainForward forward;
    std::vector<int32_t> out_rows;
    std::vector<ops::RowRequest> requests;
    const ops::SamplingSpec sampling;
    for (int32_t i = begin; i < end; ++i) {
      forward.tokens.push_back(ids[static_cast<size_t>(i)]);
      forward.positions.push_back(i);
      out_rows.push_back(i - begin);
      requests.push_back({.row = i - begin,
                          .sampling = &sampling,
                          .key = {},
                          .probe = ids.subspan(static_cast<size_t>(i) + 1, 1)});
    }
    forward.keys = {{0, end}};
    std::vector<ops::AttentionGroup> groups;
    std::vector<ops::RowStats> stats(requests.size());
    TESSERA_RETURN_IF_ERROR(loaded_.model->Forward(
        InputOf(forward, pages.pages(), &groups, out_rows), *kv, requests, stats));
    for (const ops::RowStats& row : stats) nll -= std::log(static_cast<double>(row.p_probe[0]));
  }
  return Score{.tokens = length - 1, .nll_per_token = nll / (length - 1)};
}

}  // namespace

Result<std::unique_ptr<Model>> Model::Load(const std::string& path, const LoadOptions& options) {
  const Clock::time_point begin = Clock::now();
  TESSERA_ASSIGN_OR_RETURN(engine::LoadedModel loaded,
                           engine::LoadModel({.path = path,
                                              .device = options.device,
                                              .isa = options.isa,
                                              .threads = options.threads,
                                              .dtype = options.dtype,
                                              .kv_cache_dtype = options.kv_cache_dtype,
                                              .mask_id = options.mask_id,
                                              .progress = options.progress}));
  ModelInfo info = InfoOf(loaded.model->config(), *loaded.architecture);
  info.device = std::string(loaded.device->name());
  info.dtype = ops::Name(loaded.model->format());
  info.kv_cache_dtype = ops::Name(loaded.model->kv_type());
  info.weight_bytes = loaded.model->weight_bytes();
  info.default_strategy = loaded.default_strategy;
  auto model = std::make_unique<ModelImpl>(std::move(loaded), std::move(info), options);
  TESSERA_RETURN_IF_ERROR(model->LoadText(path, options.tokenizer));
  model->set_load_seconds(SecondsSince(begin));
  return std::unique_ptr<Model>(std::move(model));
}

Result<std::unique_ptr<Model>> Model::Synthetic(const std::string& network, int32_t layers,
                                                std::span<const ForwardShape> forwards,
                                                const LoadOptions& options) {
  TESSERA_ASSIGN_OR_RETURN(const nlohmann::json config, SyntheticConfig(network, layers));
  engine::ForwardSize size;
  for (const ForwardShape& forward : forwards) {
    const auto sequences = static_cast<int64_t>(forward.sequences);
    size.positions = std::max(size.positions, sequences * (forward.rows + forward.keys));
    size.rows = std::max(size.rows, sequences * forward.rows);
  }
  TESSERA_ASSIGN_OR_RETURN(engine::LoadedModel loaded,
                           engine::MakeSyntheticModel(config,
                                                      {.path = "",
                                                       .device = options.device,
                                                       .isa = options.isa,
                                                       .threads = options.threads,
                                                       .dtype = options.dtype,
                                                       .kv_cache_dtype = options.kv_cache_dtype,
                                                       .progress = options.progress},
                                                      size));
  ModelInfo info = InfoOf(loaded.model->config(), *loaded.architecture);
  info.device = std::string(loaded.device->name());
  info.dtype = ops::Name(loaded.model->format());
  info.kv_cache_dtype = ops::Name(loaded.model->kv_type());
  info.weight_bytes = loaded.model->weight_bytes();
  return std::unique_ptr<Model>(new ModelImpl(std::move(loaded), std::move(info), options));
}

}  // namespace tessera::api
