// The oracle run of Learn2PD (arXiv 2509.25188, section 3.2), "extremely greedy": commit exactly
// the predictions that equal a reference text. A bound, not a way to decode: it shows how few steps
// a perfect rule would need. When no prediction is right, the next step would see the same canvas
// and predict the same, so the block is filled from the reference at once. Past the end of the
// reference every prediction is right.
#include <charconv>

#include "tessera/decode/diffusion/commit/registry.h"

namespace tessera::decode::commit {
namespace {

class OracleRule : public CommitRule {
 public:
  explicit OracleRule(std::vector<TokenId> reference) : reference_(std::move(reference)) {}

  Status Begin(const CanvasShape& shape) override {
    origin_ = shape.first_undecided;
    return OkStatus();
  }

  void Probe(int32_t position, std::vector<TokenId>* ids) override {
    if (const TokenId* token = Find(position)) ids->push_back(*token);
  }

  void Adjust(const CommitContext&, std::span<Candidate> candidates) override {
    for (const Candidate& candidate : candidates) {
      if (Right(candidate)) return;
    }
    for (Candidate& candidate : candidates) {
      candidate.token = *Find(candidate.position);
      if (!candidate.probed.empty()) candidate.probability = candidate.probed.front();
    }
  }

  void Select(const CommitContext& context, std::vector<int32_t>* chosen) override {
    for (size_t i = 0; i < context.candidates.size(); ++i) {
      if (Right(context.candidates[i])) chosen->push_back(static_cast<int32_t>(i));
    }
  }

 private:
  // Null past the end of the reference.
  const TokenId* Find(int32_t position) const {
    const size_t index = static_cast<size_t>(position - origin_);
    return position >= origin_ && index < reference_.size() ? &reference_[index] : nullptr;
  }
  bool Right(const Candidate& candidate) const {
    const TokenId* token = Find(candidate.position);
    return token == nullptr || *token == candidate.token;
  }

  std::vector<TokenId> reference_;
  int32_t origin_ = 0;  // position of the reference's first token
};

Result<std::vector<TokenId>> ParseReference(std::string_view text, int32_t vocab_size) {
  std::vector<TokenId> tokens;
  for (bool more = !text.empty(); more;) {
    const size_t plus = text.find('+');
    more = plus != std::string_view::npos;
    const std::string_view part = text.substr(0, plus);
    if (more) text.remove_prefix(plus + 1);
    TokenId token = -1;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), token);
    if (error != std::errc() || end != part.data() + part.size() || token < 0 ||
        token >= vocab_size) {
      return InvalidArgument("option reference: got '{}', accepted: token ids 0..{} joined by +",
                             part, vocab_size - 1);
    }
    tokens.push_back(token);
  }
  if (tokens.empty()) {
    return InvalidArgument(
        "oracle needs the text to aim at: oracle=12+7+301, token ids from the first undecided "
        "position on");
  }
  return tokens;
}

}  // namespace

const CommitRuleEntry& Oracle() {
  static const CommitRuleEntry entry = {
      .name = "oracle",
      .source = "Learn2PD, arXiv 2509.25188",
      .help = "exactly the predictions that equal a reference: a bound, for evaluation",
      .main_option = "reference",
      .options = {TextOption("reference", "",
                             "token ids from the first undecided position on, joined by +; "
                             "needed")},
      .make_checked = [](const Options& options,
                         const RuleSetup& setup) -> Result<std::unique_ptr<CommitRule>> {
        TESSERA_ASSIGN_OR_RETURN(
            std::vector<TokenId> reference,
            ParseReference(options.String("reference"), setup.traits.vocab_size));
        return std::unique_ptr<CommitRule>(std::make_unique<OracleRule>(std::move(reference)));
      }};
  return entry;
}

}  // namespace tessera::decode::commit
