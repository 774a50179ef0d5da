// Configs of the networks that speed is measured on; not installed.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "tessera/base/status.h"

namespace tessera::api {

// config.json of a network of ListNetworks() with `layers` layers, 0: as many as it has.
Result<nlohmann::json> SyntheticConfig(const std::string& network, int32_t layers);

}  // namespace tessera::api
