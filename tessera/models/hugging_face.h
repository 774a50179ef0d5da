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
Result<DecoderConfig> ParseHuggingFaceDecoder(const JsonObject& config, QkvBias bias, QkNorm norm);

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
