// Cache policy: which rows are recomputed and which K/V are reused. One of the three slots of a
// diffusion decoder.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/decode/diffusion/canvas_policy.h"
#include "tessera/decode/options.h"
#include "tessera/decode/strategy.h"

namespace tessera::decode {

// What the planned forward predicts besides storing K/V.
enum class Predict {
  kWindow,      // every undecided position of the window
  kFirstToken,  // only the first undecided position, which is then committed unconditionally
  kNothing,
};

struct CachePlan {
  ForwardKind kind = ForwardKind::kFull;
  SlotRange rows;               // positions to recompute
  std::vector<SlotRange> keys;  // positions visible to them, ascending
  Predict predict = Predict::kWindow;
};

class CachePolicy {
 public:
  virtual ~CachePolicy() = default;
  // `new_window`: the window differs from the last step's.
  virtual CachePlan Plan(const SequenceView& view, const Window& window, bool new_window) = 0;
  // Called after the forward of the last plan has run, before its commits are applied.
  virtual void Ran(const SequenceView& view) = 0;
};

struct CachePolicyEntry {
  std::string name;
  std::string source;
  std::string help;
  std::vector<OptionSpec> options;
  Result<std::unique_ptr<CachePolicy>> (*make)(const Options& options, const ModelTraits& traits);
};

}  // namespace tessera::decode
