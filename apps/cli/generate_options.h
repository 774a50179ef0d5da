// The options that every generating command takes: strategy, length, sampling.
#pragma once

#include <string>

#include "apps/cli/command.h"
#include "apps/cli/parser.h"
#include "tessera/api/model.h"

namespace tessera::cli {

struct GenerateOptions {
  std::string strategy;
  int32_t max_tokens = 0;  // 0: not given
  api::SamplingOptions sampling;
  bool ignore_eos = false, whole_canvas = false;
};

void AddGenerateOptions(Parser& parser, GenerateOptions* options);

// What --strategy accepts, for the end of help pages; generated from the library's table.
std::string StrategyHelp();

// Everything but prompt and callbacks. `prompt_tokens` bounds the default length by the context.
api::GenerateRequest MakeRequest(const GenerateOptions& options, const api::ModelInfo& info,
                                 int64_t prompt_tokens);

}  // namespace tessera::cli
