// Every commit rule with every cache and canvas policy, on every kind of model, plain, guided and
// infilling: a combination runs to its end with all invariants held, or it is refused when it is
// made, with a reason, and only where refusal is expected. Tokens that are reported as final never
// change, others only by an edit or a remask that is reported.
#include <fmt/format.h>

#include <set>

#include "tests/property/decoding.h"

namespace tessera::property {
namespace {

using ops::AttentionKind;

constexpr int32_t kVocab = 12, kMask = 9, kStop = 8, kBlock = 4;
constexpr int32_t kNewTokens = 24;

struct Kind {
  const char* name;
  AttentionKind attention;
  bool shifted;
};
constexpr Kind kKinds[] = {{"llada", AttentionKind::kBidirectional, false},
                           {"dream", AttentionKind::kBidirectional, true},
                           {"sdar", AttentionKind::kBlockCausal, false},
                           {"fast_dllm_v2", AttentionKind::kBlockCausal, true}};

ops::ModelTraits TraitsOf(const Kind& kind) {
  return {.attention = kind.attention,
          .block = kind.attention == AttentionKind::kBlockCausal ? kBlock : 0,
          .shifted_logits = kind.shifted,
          .mask_id = kMask,
          .stop_ids = {kStop},
          .delimiter_ids = {1},
          .joint_layer = true,
          .vocab_size = kVocab,
          .max_positions = 256};
}

// Logits that depend on the position and on how many masks the row sees: confidences differ from
// place to place and rise as the canvas fills. One position in seven prefers end-of-text, one in
// five changes its mind when few masks are left.
void Logits(bool shifted, const models::ForwardInput& input, int32_t row, std::span<float> logits) {
  const int32_t position = input.positions[static_cast<size_t>(row)] + (shifted ? 1 : 0);
  int32_t masks = 0;
  for (const int32_t token : input.tokens) masks += token == kMask;
  for (size_t v = 0; v < logits.size(); ++v) {
    logits[v] = static_cast<float>(2 * Uniform({.seed = 5, .position = position}, RngPurpose::kTest,
                                               static_cast<uint32_t>(v)));
  }
  const bool turns = position % 5 == 2 && masks < 12;
  const int32_t favourite = position % 7 == 6 ? kStop : (position + (turns ? 3 : 0)) % 8;
  logits[static_cast<size_t>(favourite)] +=
      static_cast<float>(position * 5 % 9) * 0.6f + 8.0f / static_cast<float>(8 + masks);
}

// What any forward must hold to: keys were stored before, with the token that stands there now, and
// lie inside the canvas as it is.
class AuditedModel : public models::MockModel {
 public:
  explicit AuditedModel(const Kind& kind)
      : MockModel(TraitsOf(kind), [shifted = kind.shifted](const auto& input, int32_t row,
                                                           std::span<float> logits) {
          Logits(shifted, input, row, logits);
        }) {}

  Status Forward(const models::ForwardInput& input, const kv::KvCache& kv,
                 std::span<const ops::RowRequest> requests,
                 std::span<ops::RowStats> stats) override {
    const std::set<int32_t> slots(input.slots.begin(), input.slots.end());
    faults += slots.size() != input.slots.size();
    for (size_t row = 0; row < input.tokens.size(); ++row) {
      stored[input.slots[row]] = input.tokens[row];
    }
    for (const ops::AttentionGroup& group : input.groups) {
      for (const ops::SlotRange& range : group.mask.slots) {
        for (int32_t slot = range.begin; slot < range.end; ++slot) {
          if (!stored.contains(slot)) ++faults;
          if (slot >= length) continue;  // of the guidance twin, or scratch
          if (slot >= static_cast<int32_t>(canvas.size()))
            ++faults;
          else if (stored[slot] != canvas[static_cast<size_t>(slot)])
            ++faults;
        }
      }
    }
    return MockModel::Forward(input, kv, requests, stats);
  }

  std::map<int32_t, int32_t> stored;
  std::vector<int32_t> canvas;  // as it is before the forward
  int32_t length = 0;           // of the canvas when decoding began
  int32_t faults = 0;
};

struct Mode {
  const char* name;
  const char* suffix;
  std::vector<int32_t> prompt;
};
const std::vector<Mode>& Modes() {
  static const std::vector<int32_t> plain = {3, 4, 5, 1, 8, 2};
  static const std::vector<Mode> modes = {
      {"plain", "", plain},
      {"guided", ",guidance=1", plain},
      {"infill", "", {3, kMask, kMask, 5, 5, kMask, kMask, kMask, 6, kMask, 8, 7, kMask}}};
  return modes;
}

// A filter for blocks of four that accepts a position when it is about as sure as its neighbours.
Result<decode::Artefact> TinyFilter(const std::string&, const std::string&) {
  return decode::Artefact{
      .path = "filter",
      .tensors = {{"fc1.weight", {.shape = {2, 4}, .values = {1, 1, 1, 1, 4, -1, 4, -1}}},
                  {"fc1.bias", {.shape = {2}, .values = {-1, 0}}},
                  {"fc2.weight", {.shape = {4, 2}, .values = {3, 1, 3, -1, 2, 1, 2, -1}}},
                  {"fc2.bias", {.shape = {4}, .values = {-1, -1, 0, 0}}}}};
}

// With the option that a rule cannot do without, or takes nothing back without on this model.
std::string RuleText(const std::string& rule) {
  if (rule == "learn2pd") return "learn2pd=filter";
  if (rule == "wino") return "wino=0.2,verify=1";
  if (rule == "oracle") return "oracle=3+4+1+7+2";
  return rule;
}

// Checks that a step changed of the canvas what it says, and nothing that was final.
class CanvasAudit {
 public:
  explicit CanvasAudit(std::vector<int32_t>* canvas) : canvas_(canvas) {}

  void Step(const engine::StepEvent& event) {
    std::set<int32_t> revised(event.remasks.begin(), event.remasks.end());
    for (const decode::Placement& edit : event.edits) revised.insert(edit.position);
    faults += event.canvas.size() > canvas_->size();
    for (size_t i = 0; i < std::min(event.canvas.size(), canvas_->size()); ++i) {
      const int32_t before = (*canvas_)[i], now = event.canvas[i];
      const bool said = revised.contains(static_cast<int32_t>(i));
      // An edit names another token, a remask the mask.
      faults += before != kMask && (before != now) != said;
      faults += before == kMask && said;
      faults += before != now && static_cast<int32_t>(i) < final_end_;
      faults += (now != kMask) != (*event.committed)[i];
    }
    for (int32_t i = 0; i < event.final_end; ++i) {
      faults += event.canvas[static_cast<size_t>(i)] == kMask;
    }
    faults += event.final_end < final_end_;
    final_end_ = event.final_end;
    revisions += static_cast<int32_t>(revised.size());
    canvas_->assign(event.canvas.begin(), event.canvas.end());
  }

  int32_t faults = 0, revisions = 0;

 private:
  std::vector<int32_t>* canvas_;
  int32_t final_end_ = 0;
};

// By rule, over all runs.
std::map<std::string, int64_t>& Revisions() {
  static std::map<std::string, int64_t> revisions;
  return revisions;
}

// Empty: it ran. Otherwise why it was refused.
std::string RunOne(const Kind& kind, const Mode& mode, const std::string& strategy) {
  AuditedModel model(kind);
  auto made = decode::MakeStrategy(strategy, model.traits(), {}, TinyFilter);
  if (!made.ok()) {
    EXPECT_EQ(made.status().code(), StatusCode::kInvalidArgument) << strategy;
    EXPECT_GT(made.status().message().size(), 20u) << strategy;
    return made.status().message();
  }
  SCOPED_TRACE(fmt::format("{} {}: {}", kind.name, mode.name, strategy));
  const int32_t prompt = static_cast<int32_t>(mode.prompt.size());
  int32_t length = prompt + kNewTokens;
  if (kind.attention == AttentionKind::kBlockCausal) {
    length = (length + kBlock - 1) / kBlock * kBlock;
  }
  std::vector<int32_t>& canvas = model.canvas;
  canvas = mode.prompt;
  canvas.resize(static_cast<size_t>(length), kMask);
  model.length = length;
  int32_t undecided = 0, steps = 0;
  for (const int32_t token : canvas) undecided += token == kMask;
  const std::vector<int32_t> before = canvas;
  CanvasAudit audit(&canvas);
  engine::Engine engine(model, model.device(), {});
  const engine::Completion completion = engine.Run({.prompt = mode.prompt,
                                                    .max_new_tokens = kNewTokens,
                                                    .seed = 3,
                                                    .strategy = std::move(*made),
                                                    .stop_ids = {kStop},
                                                    .stop_early = false,
                                                    .on_step = [&](const engine::StepEvent& event) {
                                                      ++steps;
                                                      audit.Step(event);
                                                      return true;
                                                    }});
  EXPECT_TRUE(completion.status.ok()) << completion.status.message();
  EXPECT_EQ(audit.faults, 0) << "the canvas changed otherwise than reported";
  const engine::Metrics& metrics = completion.metrics;
  EXPECT_EQ(metrics.edited + metrics.remasked, audit.revisions);
  Revisions()[strategy.substr(0, strategy.find_first_of("=,"))] += audit.revisions;
  EXPECT_EQ(model.faults, 0) << "rows read that hold no or other tokens";
  // A commit or a revision in every step but finalise passes, one a block at most, and last looks,
  // one a window at most. What is taken back is decided again, and finalised where it was.
  const int64_t looks = audit.revisions > 0 ? 2 * audit.revisions + length : 0;
  EXPECT_LE(steps, undecided + length / kBlock + 1 + looks);
  EXPECT_EQ(model.forwards(), metrics.total_forwards() + metrics.joint_passes());
  EXPECT_EQ(metrics.joint_passes() > 0, strategy.starts_with("adjust"));
  EXPECT_EQ(std::count(completion.canvas.begin(), completion.canvas.end(), kMask), 0);
  for (size_t i = 0; i < mode.prompt.size(); ++i) {
    if (before[i] == kMask) continue;
    EXPECT_EQ(completion.canvas[i], before[i]) << "given position " << i;
  }
  const bool truncates = strategy.find("eotp") != std::string::npos;
  if (!truncates) {
    EXPECT_EQ(completion.canvas.size(), before.size());
  }
  EXPECT_EQ(completion.metrics.dropped,
            static_cast<int64_t>(before.size()) - static_cast<int64_t>(completion.canvas.size()));
  EXPECT_GE(completion.canvas.size(), mode.prompt.size());
  return "";
}

std::vector<std::string> MembersOf(const std::string& slot) {
  std::vector<std::string> names;
  for (const decode::MemberInfo& member : decode::ListMembers()) {
    if (member.slot == slot) names.push_back(member.name);
  }
  return names;
}

bool ExpectRefusal(const Kind& kind, const std::string& cache, const std::string& canvas,
                   const std::string& rule = "") {
  if (rule.starts_with("wino") && kind.shifted) return true;
  if (rule == "adjust" && cache != "none") return true;
  if (kind.attention == AttentionKind::kBidirectional) return cache == "exact";
  return (cache != "none" && cache != "exact") || (canvas != "blocks" && canvas != "multiblock");
}

TEST(Combinations, WholeProductRunsOrIsRefusedWithAReason) {
  Revisions().clear();
  int32_t ran = 0, refused = 0;
  for (const Kind& kind : kKinds) {
    for (const std::string& rule : MembersOf("commit")) {
      for (const std::string& cache : MembersOf("cache")) {
        for (const std::string& canvas : MembersOf("canvas")) {
          for (const Mode& mode : Modes()) {
            const std::string strategy =
                fmt::format("{},cache={},canvas={}{}", RuleText(rule), cache, canvas, mode.suffix);
            const bool was_refused = !RunOne(kind, mode, strategy).empty();
            ASSERT_EQ(was_refused, ExpectRefusal(kind, cache, canvas, rule)) << strategy;
            ++(was_refused ? refused : ran);
          }
        }
      }
    }
  }
  EXPECT_GT(ran, 7 * (2 * 7 * 5 + 2 * 2 * 2) * 3 - 1);
  EXPECT_GT(refused, 0);
  for (const std::string& rule : MembersOf("commit")) {
    const bool revises = rule == "edit" || rule == "wino" || rule == "rcr" || rule == "remdm";
    EXPECT_EQ(Revisions()[rule] > 0, revises) << rule << " " << Revisions()[rule];
  }
}

// Small blocks, so that windows, refreshes and pipelines matter, and what goes with every canvas.
TEST(Combinations, ExtrasOfCanvasAndCache) {
  for (const Kind& kind : kKinds) {
    const bool block_causal = kind.attention == AttentionKind::kBlockCausal;
    for (const std::string rule :
         {"threshold=0.6", "quota", "edit=0.6,replace=0.2", "wino=0.3",
          "hierarchical=0.5,low=0.2,revoke=0.6", "rcr,block_steps=2,scope=canvas",
          "local_leap=0.4,anchors=decided"}) {
      for (const std::string& cache : MembersOf("cache")) {
        for (const std::string& canvas : MembersOf("canvas")) {
          if (ExpectRefusal(kind, cache, canvas, rule)) continue;
          const std::string small = canvas == "whole" ? "" : fmt::format(",block={}", kBlock);
          const bool approximate = cache != "none" && cache != "exact";
          for (const std::string extra :
               {"", ",eotp=decided", ",eotp=predicted", ",eotp=predicted,dpad=6", ",dpad=9",
                ",drift=3", ",drift=3,drift_refresh=0.01", ",drift=2,eotp=decided,dpad=5"}) {
            for (const Mode& mode : Modes()) {
              const std::string strategy = fmt::format("{},cache={},canvas={}{}{}{}", rule, cache,
                                                       canvas, small, extra, mode.suffix);
              const bool refusal = (block_causal && extra.find("dpad") != std::string::npos) ||
                                   (!approximate && extra.find("drift") != std::string::npos);
              ASSERT_EQ(!RunOne(kind, mode, strategy).empty(), refusal) << strategy;
            }
          }
        }
      }
    }
  }
}

// Options that change how a policy goes about its work.
TEST(Combinations, VariantsOfEveryPolicy) {
  const std::vector<std::string> caches = {"cache=none",
                                           "cache=dual,refresh=3",
                                           "cache=vicinity,before=2,after=3,warmup=0",
                                           "cache=dkv,variant=decode,refresh=3,delay=3",
                                           "cache=dkv,variant=prefill",
                                           "cache=dkv,variant=pd,refresh=5",
                                           "cache=dkv_greedy,refresh=5,neighbours=3,scheduled=2",
                                           "cache=dkv_greedy,refresh=100,neighbours=0",
                                           "cache=recap,local=3,group=4,pre_full=2",
                                           "cache=recap,local=2,group=1,floor=0.5"};
  const std::vector<std::string> canvases = {
      "canvas=blocks,block=6",
      "canvas=multiblock,block=3,add=0.4,activate=0.8,max_blocks=3",
      "canvas=multiblock,block=8,add=0,activate=1",
      "canvas=slowfast,block=12,slow=2,early=on",
      "canvas=slowfast,block=24,slow=1,sure=0.9,truncate=off",
      "canvas=adablock,block=6,look=0.5,delimiter_threshold=0.1",
      "canvas=adablock,block=1,delimiters=1+2+3",
      "canvas=whole"};
  for (const Kind& kind : {kKinds[0], kKinds[1]}) {
    for (const char* rule : {"threshold=0.8", "factor=1.2", "dream=topk_margin,steps=9"}) {
      for (const std::string& cache : caches) {
        for (const std::string& canvas : canvases) {
          for (const Mode& mode : Modes()) {
            const std::string strategy =
                fmt::format("{},{},{}{}", rule, cache, canvas, mode.suffix);
            ASSERT_EQ(RunOne(kind, mode, strategy), "") << strategy;
          }
        }
      }
    }
  }
  for (const char* settled : {"own", "right", "both"}) {
    const std::string strategy = fmt::format("threshold=0.8,cache=dkv,settled={}", settled);
    EXPECT_EQ(RunOne(kKinds[1], Modes()[2], strategy), "");
    EXPECT_EQ(RunOne(kKinds[0], Modes()[2], strategy).empty(), std::string(settled) == "own");
  }
}

}  // namespace
}  // namespace tessera::property
