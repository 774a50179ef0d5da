// Names and words for fresh cases.
//
// All belong to the held-out split of the default models (training/tasks.py): training showed no
// item of a list whose lower-case CRC-32 is divisible by eight.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "apps/eval/rng.h"
#include "apps/eval/text.h"

namespace tessera::eval {

// Whether training keeps this item for evaluation.
bool IsHeldOut(std::string_view item);

const Strings& FirstNames();
const Strings& LastNames();
const Strings& PlainWords();  // everyday nouns, one word each

// `count` different items: "First Last", or words.
Strings DrawNames(CaseRng* rng, size_t count);
Strings DrawWords(CaseRng* rng, size_t count);

}  // namespace tessera::eval
