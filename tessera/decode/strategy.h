// The contract between the engine's one loop and every way of decoding.
//
// Each step the engine asks a sequence's strategy for a plan, merges the plans of all sequences
// into one forward, and hands the reduced rows back. A strategy is a pure state machine: no I/O,
// no clock, no model, no globals, one sequence. The engine never asks which strategy it is.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/ops/mask.h"
#include "tessera/ops/model_traits.h"
#include "tessera/ops/row_stats.h"

namespace tessera::decode {

using ops::ModelTraits;
using ops::RowStats;
using ops::SlotRange;
using ops::TokenId;

// How a forward is counted.
enum class ForwardKind : uint8_t {
  kFull,      // every row of the canvas (prefill of a causal model included)
  kWindow,    // some rows against cached K/V
  kFinalise,  // stores K/V of decided tokens and predicts nothing new
  kJoint,     // no forward: a pass of the joint layer over rows whose hidden states were kept
};
inline constexpr int kNumForwardKinds = 4;

// What a strategy may see of its sequence.
struct SequenceView {
  std::span<const TokenId> tokens;         // canvas; the mask token where undecided
  const std::vector<bool>* committed;      // [canvas]; independent of token ids
  std::span<const float> confidence = {};  // [canvas]; of the step that placed it, else 0
  int32_t prompt_length = 0;
  int32_t output_end = 0;  // positions >= output_end are never output (0: canvas still growing)
  int32_t step = 0;        // forwards done for this sequence
  uint64_t seed = 0;

  int32_t canvas() const { return static_cast<int32_t>(tokens.size()); }
  bool is_committed(int32_t position) const { return (*committed)[static_cast<size_t>(position)]; }
};

struct StepBudget {
  int32_t max_rows = 512;  // advice for work that can be split (causal prefill)
};

// Rows [row_begin, row_end) of the plan that share a key list.
struct PlanGroup {
  int32_t row_begin = 0;
  int32_t row_end = 0;
  ops::MaskRule rule = ops::MaskRule::kFull;
  int32_t block = 0;
  std::vector<SlotRange> keys;  // ascending, disjoint; must include the slots of visible fresh rows
  std::vector<uint64_t> bits;   // kBits only
};

// One prediction Commit wants.
struct OutRow {
  int32_t row = 0;                  // plan row whose logits are read
  int32_t position = 0;             // canvas position they predict; keys the noise
  int32_t guidance_row = -1;        // plan row of the unconditional twin
  int32_t history = 0;              // StepPlan::history[0, history) feeds the repetition penalty
  std::vector<TokenId> probe = {};  // ids whose probability is returned; empty: StepPlan::probe
};

// What one sequence wants evaluated in one forward.
struct StepPlan {
  ForwardKind kind = ForwardKind::kFull;
  std::vector<TokenId> tokens;                  // [rows]; may hold the mask token
  std::vector<int32_t> positions;               // [rows]; true positions, may repeat
  std::vector<int32_t> slots;                   // [rows]; where K and V are written, all different
  std::vector<PlanGroup> groups;                // cover the rows in order
  std::vector<OutRow> out;                      // rows Commit reads; no other row reaches the head
  const ops::SamplingSpec* sampling = nullptr;  // owned by the strategy
  float guidance_scale = 0;
  int32_t noise_step = 0;  // part of the noise key; 0 when drafting must not change text
  std::vector<TokenId> history;
  std::vector<TokenId> probe;  // ids whose probability the out rows return
  int32_t reused = 0;          // rows seen whose K/V an earlier forward stored
  int32_t probes = 0;          // rows that only measure
  bool keep_hidden = false;    // the rows' hidden states stay at their slots, for kJoint steps

  int32_t rows() const { return static_cast<int32_t>(tokens.size()); }
};

struct Placement {
  int32_t position = 0;
  TokenId token = 0;
  float confidence = 0;  // probability at the step that placed it
};

// StepOutcome::open_from of a strategy that never changes what it has decided.
inline constexpr int32_t kAllFinal = std::numeric_limits<int32_t>::max();

// How often one position may be edited or taken back; more is an error of the strategy. Every step
// commits, revises or stores K/V, so this bounds the forwards of a request.
inline constexpr int32_t kMaxRevisions = 64;

// What a step changes; a position is in one of the first three lists at most. Given positions never
// change, nor do final ones.
struct StepOutcome {
  std::vector<Placement> commits;  // undecided, or appended at the canvas end in ascending order
  std::vector<Placement> edits;    // decided positions whose token is replaced
  std::vector<int32_t> remasks;    // decided positions that become undecided again
  // Positions from here on may still be edited or taken back; decided ones before it are final and
  // may be streamed. A sequence ends only when its output is final.
  int32_t open_from = kAllFinal;
  std::vector<std::pair<int32_t, int32_t>> kv_moves;  // slots to copy (from, to), in order
  bool stored_kv = false;  // progress without commits: prefill chunks and finalise passes
  int32_t drafted = 0;     // proposed tokens this step
  int32_t accepted = 0;    // of which kept
  // The canvas ends here from now on; positions behind are dropped, decided or not. -1: as it is.
  int32_t canvas_end = -1;
  float drift = -1;  // of reused rows, measured in this step; below 0: not measured
};

class Strategy {
 public:
  virtual ~Strategy() = default;

  // Upper bound of the K/V rows it uses for each position of the canvas, a constant aside.
  virtual int32_t slots_per_position() const { return 2; }
  // Canvas length to begin with for this prompt and output limit; refuses what cannot work.
  virtual Result<int32_t> BeginCanvas(int32_t prompt_length, int32_t max_new_tokens) = 0;
  virtual Result<StepPlan> Plan(const SequenceView& view, const StepBudget& budget) = 0;
  virtual Result<StepOutcome> Commit(const SequenceView& view, const StepPlan& plan,
                                     std::span<const RowStats> stats) = 0;
};

}  // namespace tessera::decode
