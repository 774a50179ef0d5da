// Which model a command works on: a folder given with -m, a name in the repository's models/
// folder, or the default found there.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/cli/command.h"
#include "apps/cli/parser.h"
#include "tessera/api/model.h"

namespace tessera::cli {

struct ModelOptions {
  std::string model;  // "" = the default
  std::string dtype = "auto", kv_cache_dtype = "auto", isa = "auto", device = "cpu";
  int32_t threads = 0;
  int32_t mask_id = -1;
  std::string tokenizer;  // "" = the model's own
};

// Adds -m and, under "Model", how to load it.
void AddModelOptions(Parser& parser, ModelOptions* options);
void AddLoadOptions(Parser& parser, ModelOptions* options);

enum class ModelKind { kDiffusion, kCausal };

// The first checkpoint of that kind, in name order, of the first models/ folder that has one; of
// diffusion models a bidirectional one comes before a block-causal one. Looks above the executable
// and above the working directory; TESSERA_MODEL names the diffusion model.
Result<std::string> FindDefaultModel(ModelKind kind);
// A file beside the default models, or "" when there is none.
std::string FindInModels(const std::string& name);
// A path as it is; otherwise a name of a folder in a models/ folder.
std::string ResolveModel(const std::string& text);

// Loads options.model, or the default of `kind`, with progress on standard error.
Result<std::unique_ptr<api::Model>> LoadModel(const ModelOptions& options,
                                              ModelKind kind = ModelKind::kDiffusion);

// The last part of a model's path.
std::string ShortName(const api::ModelInfo& info);

}  // namespace tessera::cli
