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

struct CachePlan {
  ForwardKind kind = ForwardKind::kFull;
  SlotRange rows;                // positions to recompute
  std::vector<SlotRange> keys;   // positions visible to them, ascending
  bool predict_first_only = false;  // kFinalise that also decides the next window's first token
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
