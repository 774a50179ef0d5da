// From a strategy text such as "threshold=0.9,cache=dual,block=32" to a strategy, and the table of
// everything that such a text may hold. The table feeds help texts, docs and schemas.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/decode/artefact.h"
#include "tessera/decode/options.h"
#include "tessera/decode/strategy.h"

namespace tessera::decode {

// One row of `tessera strategies`.
struct MemberInfo {
  std::string slot;  // "decoder", "commit", "cache", "canvas", "canvas-extra", "diffusion"
  std::string name;
  std::string source;
  std::string help;
  std::string main_option;
  std::vector<OptionSpec> options;
};

std::vector<MemberInfo> ListMembers();

// Parses `text`: items separated by commas, each
//   ar | lookup               a decoder of causal models
//   RULE or RULE=VALUE        a commit rule, its main option set to VALUE
//   cache=NAME, canvas=NAME   the other two slots
//   OPTION=VALUE              an option of a chosen member
// Errors name the item and what is accepted. `sampling` holds the request's sampling parameters,
// `load` reads the files that trained rules need.
Result<std::unique_ptr<Strategy>> MakeStrategy(std::string_view text, const ModelTraits& traits,
                                               const ops::SamplingSpec& sampling,
                                               const ArtefactLoader& load = {});

}  // namespace tessera::decode
