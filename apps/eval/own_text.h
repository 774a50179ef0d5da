// "oracle=own": the oracle that aims at what the model itself writes one token per step. The engine
// takes a reference as token ids; here they come from a first run of the same cases, whose cost is
// not counted: how few forwards a perfect rule would need.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "tessera/api/model.h"

namespace tessera::eval {

bool AimsAtOwnText(std::string_view strategy);
// The first run: one token per step, with the same cache and canvas.
std::string OneByOne(std::string_view strategy);
// The second: aiming at `canvas` from its position `begin` on, up to the first undecided one.
std::string AimingAt(std::string_view strategy, std::span<const api::TokenId> canvas, size_t begin,
                     api::TokenId mask);
// A text that the engine can check before there is a reference; other texts as they are.
std::string Checkable(std::string_view strategy);

}  // namespace tessera::eval
