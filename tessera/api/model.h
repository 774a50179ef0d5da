// The public interface: load a model folder, generate text, learn what it cost.
//
// Standard library types only. A Model is used by one thread at a time. Nothing here prints,
// throws or aborts on input; every error says what was wrong and what would be accepted.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tessera/base/result.h"

namespace tessera::api {

using TokenId = int32_t;

struct LoadOptions {
  std::string device = "cpu";  // cpu | cuda:N | ref
  std::string isa = "auto";    // cpu: auto | generic | avx2 | avx512 | avx512bf16 | amx
  int threads = 0;             // cpu: 0 = all available cores
  // Format of the weight matrices: auto (as stored), f32, bf16, fp8 (GPUs only), int8, int4, or
  // with the inputs per scale int8-gN, int4-gN, int4-gN-asym.
  std::string dtype = "auto";
  // Of cached keys and values: auto (f32 beside f32 weights, otherwise bf16), f32, bf16, int8
  // (device cpu only).
  std::string kv_cache_dtype = "auto";
  TokenId mask_id = -1;   // for checkpoints whose config does not name the mask token
  std::string tokenizer;  // file or folder; "" = the model's own folder
  // Whether a strategy text may name a file to read (learn2pd=FILE). Turn it off where texts come
  // from others, as a server's do: trained parts then come from the model's folder only.
  bool strategy_files = true;
  // (bytes read, bytes in all); return false to cancel.
  std::function<bool(int64_t, int64_t)> progress;
};

struct ModelInfo {
  std::string path;
  std::string architecture;
  std::string attention;       // causal | bidirectional | block-causal
  std::string dtype;           // of the weight matrices in memory
  std::string kv_cache_dtype;  // "" where no weights were loaded
  std::string device;          // "cpu:avx512bf16", "cuda:0"
  std::string default_strategy;
  int64_t parameters = 0;
  int64_t active_parameters = 0;  // read by the forward of one row
  int64_t weight_bytes = 0;       // read by a forward, at most
  int64_t layers = 0, width = 0, heads = 0, kv_heads = 0, head_dim = 0, ffn_width = 0;
  // Mixtures of experts: in how many layers, how many, how many a row passes, width of one and of
  // the shared one.
  int64_t mixture_layers = 0, experts = 0, experts_per_row = 0, expert_width = 0, shared_width = 0;
  int64_t vocab = 0, context = 0, block = 0;  // block: block-causal models only
  bool shifted_logits = false;
  TokenId mask_id = -1;
  std::vector<TokenId> stop_ids;
  bool has_tokenizer = false, has_chat_template = false;
  double load_seconds = 0;
};

struct Message {
  std::string role;  // system | user | assistant
  std::string content;
};

struct SamplingOptions {
  float temperature = 0;
  int32_t top_k = 0;  // 0: off
  float top_p = 1;
  float min_p = 0;
  float repetition_penalty = 1;
  uint64_t seed = 0;
};

// A token being placed on the canvas.
struct Placed {
  int32_t position = 0;
  TokenId token = 0;
  float confidence = 0;
};

// The canvas after a step. Spans are valid during the callback only.
struct StepView {
  int32_t step = 0;
  std::string_view kind;  // full | window | finalise | joint
  int32_t rows = 0;       // evaluated in this step
  std::span<const Placed> placed;
  std::span<const Placed> edited = {};     // decided tokens that were replaced
  std::span<const int32_t> remasked = {};  // positions whose token was taken back
  std::span<const TokenId> canvas;         // prompt included; the mask token where undecided
  std::span<const float> confidence;       // per position; 0 where undecided or given
  int32_t prompt_length = 0;
};

// Exactly one of messages, text and ids is the prompt.
struct GenerateRequest {
  std::vector<Message> messages;  // through the model's chat template
  std::string text;               // as it is; the model's special tokens are recognised
  std::vector<TokenId> ids;
  std::string strategy;  // "" = the model's default; see ListStrategyMembers()
  SamplingOptions sampling;
  int32_t max_new_tokens = 128;
  bool ignore_stop = false;   // do not end at end-of-text tokens
  bool whole_canvas = false;  // decide every position even when the text has ended
  // New final text, never a part of a UTF-8 character; empty chunks are not delivered.
  std::function<void(std::string_view)> on_text;
  std::function<bool(const StepView&)> on_step;  // return false to cancel
};

struct GenerateMetrics {
  int64_t prompt_tokens = 0;
  int64_t output_tokens = 0;  // to the first end-of-text, it included
  int64_t full_forwards = 0, window_forwards = 0, finalise_forwards = 0;
  int64_t joint_passes =
      0;             // of the layer for joint sampling; not forwards, their rows not counted
  int64_t rows = 0;  // evaluated in all forwards
  int64_t weight_bytes = 0;  // read by all forwards: of a mixture, the experts that some row chose
  int64_t reused_rows = 0;   // seen by forwards that did not evaluate them
  int64_t probe_rows = 0;    // of the evaluated ones, those that only measure drift
  int64_t dropped = 0;       // canvas positions given up behind the end of the text
  int64_t drift_forwards = 0;  // that measured how far reused rows have drifted, 0 to 1:
  double drift_mean = 0, drift_max = 0;
  int64_t edited = 0, remasked = 0;  // decided tokens that were replaced, or taken back
  int64_t drafted = 0, accepted = 0;
  double seconds = 0;  // first plan to last commit, loading and tokenising excluded
  double first_forward_seconds = 0;

  int64_t forwards() const { return full_forwards + window_forwards + finalise_forwards; }
  double tokens_per_forward() const {
    return forwards() == 0 ? 0
                           : static_cast<double>(output_tokens) / static_cast<double>(forwards());
  }
  double tokens_per_second() const {
    return seconds <= 0 ? 0 : static_cast<double>(output_tokens) / seconds;
  }
};

struct GenerateResult {
  std::string text;               // of the output, special tokens left out
  std::string canvas_text;        // prompt and output, for infilling
  std::vector<TokenId> output;    // end-of-text excluded
  std::vector<float> confidence;  // [output]
  std::vector<TokenId> canvas;    // prompt included; the mask token where undecided
  std::string finish_reason;      // stop | length | cancelled
  std::string strategy;           // that was used
  GenerateMetrics metrics;
};

// Negative log-likelihood of a text under a causal model.
struct Score {
  int64_t tokens = 0;        // predicted, the first token excluded
  double nll_per_token = 0;  // nats
};

// A forward of sequences alike, each of which evaluates `rows` rows behind `keys` cached ones;
// every row may see all of its sequence that the model's attention lets it see.
struct ForwardShape {
  int32_t sequences = 1;
  int32_t rows = 1;
  int32_t keys = 0;
};

// What such a forward took, with the statistics of every row on the host.
struct ForwardTiming {
  double seconds = 0;        // median
  int64_t weight_bytes = 0;  // read
  int64_t kv_bytes = 0;      // keys and values, cached and new ones, read once
};

class Model {
 public:
  virtual ~Model() = default;

  // `path`: a Hugging Face checkpoint folder, a .gguf file, or a llama2.c .bin file.
  static Result<std::unique_ptr<Model>> Load(const std::string& path, const LoadOptions& options);

  // A network of ListNetworks() with random weights made in memory, for timing: `layers` of its
  // layers, 0: all. options.dtype names the format; there is no tokenizer. Refused unless the
  // device has the memory for each of `forwards`.
  static Result<std::unique_ptr<Model>> Synthetic(const std::string& network, int32_t layers,
                                                  std::span<const ForwardShape> forwards,
                                                  const LoadOptions& options);

  virtual const ModelInfo& info() const = 0;

  // `special`: recognise special tokens in the text and add those that the tokenizer adds.
  virtual Result<std::vector<TokenId>> Encode(std::string_view text, bool special) const = 0;
  virtual std::string Decode(std::span<const TokenId> ids) const = 0;
  // The text of one token as it stands in a sentence; the mask token is "".
  virtual std::string TokenText(TokenId id) const = 0;
  virtual Result<std::vector<TokenId>> EncodeChat(const std::vector<Message>& messages) const = 0;

  virtual Result<GenerateResult> Generate(const GenerateRequest& request) = 0;
  // Requests share forwards, at most `at_once` of them; as one ends, the next joins. Each result
  // equals that of Generate.
  virtual std::vector<Result<GenerateResult>> GenerateBatch(
      std::span<const GenerateRequest> requests, int32_t at_once) = 0;
  // Checks a strategy text without running it.
  virtual Status CheckStrategy(const std::string& strategy) const = 0;

  virtual Result<Score> ScoreIds(std::span<const TokenId> ids) = 0;
  // Raw network outputs [ids, vocab] under the model's own attention, one forward; row i is the
  // output at position i, whatever position it predicts.
  virtual Result<std::vector<float>> Logits(std::span<const TokenId> ids) = 0;
  virtual Result<ForwardTiming> TimeForward(const ForwardShape& shape, int32_t repeats) = 0;
};

}  // namespace tessera::api
