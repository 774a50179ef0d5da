// What the Hugging Face decoders of the Llama and Qwen families have in common in config.json.
#pragma once

#include "tessera/base/status.h"
#include "tessera/formats/json.h"
#include "tessera/models/decoder_config.h"

namespace tessera::models {

enum class QkvBias { kNo, kYes };
enum class QkNorm { kNo, kYes };

// Reads sizes, norms, rotary settings, end-of-text ids and tensor names; refuses features that
// would change the network (sliding windows, other activations, unknown rotary scaling).
// `ffn_field` is the field that holds the width of the dense feed-forward.
Result<DecoderConfig> ParseHuggingFaceDecoder(const JsonObject& config, QkvBias bias, QkNorm norm,
                                              const char* ffn_field = "intermediate_size");

// The number of experts, how many a row passes, their width in `width_field`, and their names below
// "mlp". Every layer gets a mixture with a softmax router; what differs is the caller's to change.
Status ReadMixture(const JsonObject& config, const char* width_field, DecoderConfig* decoder);
// All of the mixture in Qwen3-MoE's fields, some layers left dense.
Status ReadQwen3Mixture(const JsonObject& config, DecoderConfig* decoder);

// partial_rotary_factor: the share of each head that is rotated.
Status ReadPartialRotary(const JsonObject& config, double otherwise, DecoderConfig* decoder);

// Ranges that no real model leaves; they bound what a hostile config can make us allocate.
inline constexpr IntRange kWidthRange{.min = 1, .max = 1 << 20};
inline constexpr IntRange kCountRange{.min = 1, .max = 1 << 14};
inline constexpr IntRange kVocabRange{.min = 2, .max = 1 << 24};
inline constexpr IntRange kPositionsRange{.min = 1, .max = 1 << 26};

// The fields above that every architecture shares: consistent head counts, even head size.
Status CheckDecoderConfig(const JsonObject& config, const DecoderConfig& decoder);

// An id in [0, vocab) from `field`; -1 when it is absent.
Result<ops::TokenId> ReadTokenId(const JsonObject& config, const char* field, int64_t vocab);
// eos_token_id, one or several; ids outside the vocabulary are refused.
Status ReadStopIds(const JsonObject& config, DecoderConfig* decoder);

}  // namespace tessera::models
