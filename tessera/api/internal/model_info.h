// Fills the public ModelInfo from what models/ knows; not installed.
#pragma once

#include <string>

#include "tessera/api/model.h"
#include "tessera/models/architecture.h"
#include "tessera/ops/matrix.h"

namespace tessera::api {

ModelInfo InfoOf(const models::DecoderConfig& config, const models::Architecture& architecture);

}  // namespace tessera::api
