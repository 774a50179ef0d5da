#include "tessera/decode/registry.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <optional>

#include "tessera/decode/causal.h"
#include "tessera/decode/diffusion/cache/registry.h"
#include "tessera/decode/diffusion/canvas/registry.h"
#include "tessera/decode/diffusion/commit/registry.h"
#include "tessera/decode/diffusion/diffusion.h"
#include "tessera/decode/draft/prompt_lookup.h"

namespace tessera::decode {
namespace {

struct Item {
  std::string_view name;
  std::optional<std::string_view> value;
};

std::string_view Trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

Result<std::vector<Item>> SplitItems(std::string_view text) {
  std::vector<Item> items;
  while (!text.empty()) {
    const size_t comma = text.find(',');
    const std::string_view part = Trim(text.substr(0, comma));
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
    const size_t equals = part.find('=');
    Item item{.name = Trim(part.substr(0, equals)), .value = std::nullopt};
    if (equals != std::string_view::npos) item.value = Trim(part.substr(equals + 1));
    if (item.name.empty() || (item.value && item.value->empty())) {
      return InvalidArgument("strategy: '{}' is not of the form name or name=value", part);
    }
    for (const Item& other : items) {
      if (other.name == item.name) return InvalidArgument("strategy: {} is given twice", item.name);
    }
    items.push_back(item);
  }
  return items;
}

template <typename Entry>
const Entry* FindEntry(const std::vector<const Entry*>& entries, std::string_view name) {
  const auto it = std::find_if(entries.begin(), entries.end(),
                               [&](const Entry* entry) { return entry->name == name; });
  return it == entries.end() ? nullptr : *it;
}

template <typename Entry>
std::string Names(const std::vector<const Entry*>& entries) {
  std::vector<std::string> names;
  for (const Entry* entry : entries) names.push_back(entry->name);
  return fmt::format("{}", fmt::join(names, ", "));
}

// The options of one chosen member while the text is parsed.
struct Member {
  std::string title;
  const std::vector<OptionSpec>* specs;
  Options options;

  Member(std::string member_title, const std::vector<OptionSpec>& member_specs)
      : title(std::move(member_title)), specs(&member_specs), options(member_specs) {}
  bool Has(std::string_view name) const {
    return std::any_of(specs->begin(), specs->end(),
                       [&](const OptionSpec& spec) { return spec.name == name; });
  }
};

// Hands each item to the members that have an option of that name.
Status ApplyOptions(const std::vector<Item>& items, const std::vector<Member*>& members) {
  for (const Item& item : items) {
    bool known = false;
    for (Member* member : members) {
      if (!member->Has(item.name)) continue;
      known = true;
      if (!item.value) return InvalidArgument("strategy: option {} needs a value", item.name);
      TESSERA_RETURN_IF_ERROR(member->options.Set(*member->specs, item.name, *item.value)
                                  .WithContext(fmt::format("strategy: {}", member->title)));
    }
    if (known) continue;
    std::vector<std::string> accepted;
    for (const Member* member : members) {
      for (const OptionSpec& spec : *member->specs) accepted.push_back(spec.name);
    }
    return InvalidArgument(
        "strategy: unknown item '{}'; options of this combination: {}; commit "
        "rules: {}; see `tessera strategies`",
        item.name, fmt::join(accepted, ", "), Names(CommitRules()));
  }
  return OkStatus();
}

Result<std::unique_ptr<Strategy>> MakeCausal(std::vector<Item> items, const ModelTraits& traits,
                                             const ops::SamplingSpec& sampling) {
  if (traits.attention != ops::AttentionKind::kCausal) {
    return InvalidArgument(
        "strategy {} decodes causal models; this model is {}: use a commit rule, one of {}",
        items.front().name, ops::Name(traits.attention), Names(CommitRules()));
  }
  static const std::vector<OptionSpec> no_options;
  const bool lookup = items.front().name == "lookup";
  Member member(std::string(items.front().name), lookup ? PromptLookupOptions() : no_options);
  if (items.front().value) {
    return InvalidArgument("strategy: {} takes no value", items.front().name);
  }
  items.erase(items.begin());
  TESSERA_RETURN_IF_ERROR(ApplyOptions(items, {&member}));
  std::unique_ptr<Drafter> drafter;
  if (lookup) {
    const auto get = [&](const char* name) {
      return static_cast<int32_t>(member.options.Int(name));
    };
    if (get("min_ngram") > get("ngram")) {
      return InvalidArgument("strategy: lookup: option min_ngram: got {}, accepted: 1..{} (ngram)",
                             get("min_ngram"), get("ngram"));
    }
    drafter = std::make_unique<PromptLookup>(get("ngram"), get("min_ngram"), get("draft"));
  }
  return std::unique_ptr<Strategy>(
      std::make_unique<CausalStrategy>(traits, sampling, std::move(drafter)));
}

bool FiltersConfidence(const Options& options, const ModelTraits& traits) {
  const std::string& choice = options.String("confidence");
  if (choice != "auto") return choice == "filtered";
  // LLaDA takes the plain softmax; Dream, SDAR and Fast-dLLM v2 what they sample from.
  return traits.shifted_logits || traits.attention == ops::AttentionKind::kBlockCausal;
}

Status CheckDrift(const Options& options, const CachePolicyEntry& cache) {
  if (options.Int("drift") == 0) {
    if (options.Float("drift_refresh") == 0) return OkStatus();
    return InvalidArgument("option drift_refresh needs the drift meter: drift=4");
  }
  if (cache.approximate) return OkStatus();
  return InvalidArgument("option drift: cache={} reuses no row that could drift; accepted: 0",
                         cache.name);
}

Result<std::unique_ptr<Strategy>> MakeDiffusion(std::vector<Item> items, const ModelTraits& traits,
                                                ops::SamplingSpec sampling,
                                                const ArtefactLoader& load) {
  if (traits.mask_id < 0) {
    return InvalidArgument(
        "a commit rule needs a model with a mask token, which this one lacks: use ar or lookup");
  }
  const CommitRuleEntry* rule = nullptr;
  const CachePolicyEntry* cache = nullptr;
  const CanvasPolicyEntry* canvas = nullptr;
  std::optional<std::string_view> rule_value;
  for (auto item = items.begin(); item != items.end();) {
    if (item->name == "cache" || item->name == "canvas") {
      const bool is_cache = item->name == "cache";
      const std::string_view value = item->value.value_or("");
      if (is_cache) cache = FindEntry(CachePolicies(), value);
      if (!is_cache) canvas = FindEntry(CanvasPolicies(), value);
      if (is_cache ? cache == nullptr : canvas == nullptr) {
        return InvalidArgument("strategy: {}: got '{}', accepted: {}", item->name, value,
                               is_cache ? Names(CachePolicies()) : Names(CanvasPolicies()));
      }
      item = items.erase(item);
      continue;
    }
    const CommitRuleEntry* entry = FindEntry(CommitRules(), item->name);
    // "dynamic,threshold=0.8": once a rule is chosen, a name it has as an option is that option.
    const bool is_option =
        rule != nullptr && std::any_of(rule->options.begin(), rule->options.end(),
                                       [&](const OptionSpec& o) { return o.name == item->name; });
    if (entry == nullptr || is_option) {
      ++item;
      continue;
    }
    if (rule != nullptr) {
      return InvalidArgument("strategy: two commit rules, {} and {}; choose one", rule->name,
                             entry->name);
    }
    rule = entry;
    rule_value = item->value;
    item = items.erase(item);
  }
  const bool block_causal = traits.attention == ops::AttentionKind::kBlockCausal;
  if (rule == nullptr) rule = FindEntry(CommitRules(), "threshold");
  if (cache == nullptr) cache = FindEntry(CachePolicies(), block_causal ? "exact" : "none");
  if (canvas == nullptr) {
    canvas =
        FindEntry(CanvasPolicies(), rule->name == "dream" && !block_causal ? "whole" : "blocks");
  }

  Member rule_member(rule->name, rule->options);
  Member cache_member("cache=" + cache->name, cache->options);
  Member canvas_member("canvas=" + canvas->name, canvas->options);
  Member extras("canvas", CanvasExtras());
  Member shared("diffusion", DiffusionOptions());
  if (rule_value) {
    if (rule->main_option.empty()) {
      return InvalidArgument("strategy: {} takes no value", rule->name);
    }
    items.push_back({.name = rule->main_option, .value = rule_value});
  }
  TESSERA_RETURN_IF_ERROR(
      ApplyOptions(items, {&rule_member, &cache_member, &canvas_member, &extras, &shared}));

  TESSERA_ASSIGN_OR_RETURN(auto commit_rule, MakeCommitRule(*rule, rule_member.options,
                                                            {.traits = traits, .load = load}));
  if (commit_rule->needs().joint_passes > 0 && cache->name != "none") {
    return InvalidArgument(
        "strategy: {} corrects full forwards, cache={} has others; accepted: "
        "cache=none",
        rule->name, cache->name);
  }
  TESSERA_ASSIGN_OR_RETURN(auto cache_policy, cache->make(cache_member.options, traits));
  TESSERA_ASSIGN_OR_RETURN(auto canvas_policy, canvas->make(canvas_member.options, traits));
  TESSERA_ASSIGN_OR_RETURN(canvas_policy,
                           WithCanvasExtras(std::move(canvas_policy), extras.options, traits));
  sampling.stats_of_filtered = FiltersConfidence(shared.options, traits);
  if (traits.shifted_logits) sampling.filter_order = ops::FilterOrder::kTopPTopK;
  TESSERA_RETURN_IF_ERROR(CheckDrift(shared.options, *cache));
  const std::string& eos = shared.options.String("eos");
  const DiffusionConfig config{
      .guidance = static_cast<float>(shared.options.Float("guidance")),
      .end_of_text = eos == "last"    ? EndOfText::kLast
                     : eos == "never" ? EndOfText::kNever
                                      : EndOfText::kFree,
      .drift_probes = static_cast<int32_t>(shared.options.Int("drift")),
      .drift_refresh = static_cast<float>(shared.options.Float("drift_refresh")),
      .revisions = static_cast<int32_t>(shared.options.Int("revisions"))};
  return std::unique_ptr<Strategy>(std::make_unique<DiffusionStrategy>(
      traits, config, std::move(sampling), std::move(commit_rule), std::move(cache_policy),
      std::move(canvas_policy)));
}

}  // namespace

std::vector<MemberInfo> ListMembers() {
  std::vector<MemberInfo> members = {
      {.slot = "decoder",
       .name = "ar",
       .source = "",
       .help = "one token per forward, left to right (causal models)",
       .main_option = "",
       .options = {}},
      {.slot = "decoder",
       .name = "lookup",
       .source = "prompt lookup decoding; CopySpec, arXiv 2502.08923",
       .help = "drafts from the text itself, verified losslessly (causal models)",
       .main_option = "",
       .options = PromptLookupOptions()}};
  for (const CommitRuleEntry* rule : CommitRules()) {
    members.push_back({.slot = "commit",
                       .name = rule->name,
                       .source = rule->source,
                       .help = rule->help,
                       .main_option = rule->main_option,
                       .options = rule->options});
  }
  for (const CachePolicyEntry* cache : CachePolicies()) {
    members.push_back({.slot = "cache",
                       .name = cache->name,
                       .source = cache->source,
                       .help = cache->help,
                       .main_option = "",
                       .options = cache->options});
  }
  for (const CanvasPolicyEntry* canvas : CanvasPolicies()) {
    members.push_back({.slot = "canvas",
                       .name = canvas->name,
                       .source = canvas->source,
                       .help = canvas->help,
                       .main_option = "",
                       .options = canvas->options});
  }
  members.push_back({.slot = "canvas-extra",
                     .name = "options",
                     .source = "Learn2PD, arXiv 2509.25188; DPad, arXiv 2508.14148",
                     .help = "options every canvas policy takes",
                     .main_option = "",
                     .options = CanvasExtras()});
  members.push_back({.slot = "diffusion",
                     .name = "options",
                     .source = "LLaDA, arXiv 2502.09992",
                     .help = "options every diffusion combination takes",
                     .main_option = "",
                     .options = DiffusionOptions()});
  return members;
}

Result<std::unique_ptr<Strategy>> MakeStrategy(std::string_view text, const ModelTraits& traits,
                                               const ops::SamplingSpec& sampling,
                                               const ArtefactLoader& load) {
  TESSERA_ASSIGN_OR_RETURN(std::vector<Item> items, SplitItems(text));
  if (!items.empty() && (items.front().name == "ar" || items.front().name == "lookup")) {
    return MakeCausal(std::move(items), traits, sampling);
  }
  return MakeDiffusion(std::move(items), traits, sampling, load);
}

}  // namespace tessera::decode
