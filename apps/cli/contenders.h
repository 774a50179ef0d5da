// Who takes part when models and strategies are compared: bench and eval.
#pragma once

#include <string>
#include <vector>

#include "apps/cli/model_options.h"
#include "tessera/api/model.h"

namespace tessera::cli {

// "A;B" as its parts, blanks around them dropped; never empty ones.
std::vector<std::string> SplitStrategies(const std::string& text);

// One by one, parallel and the caches, as far as the architecture has them.
std::string DefaultStrategies(const api::ModelInfo& info);

// Path of the twin that was asked for ("" = the default one, "none" = none); "" when there is none.
// Only the default diffusion model has a default twin: other pairs differ in size and data.
Result<std::string> TwinPath(const std::string& asked, const ModelOptions& model,
                             const api::ModelInfo& info);

// An error unless the model is causal.
Status CheckTwin(const api::ModelInfo& twin);

}  // namespace tessera::cli
