#include "tessera/decode/diffusion/commit/rule_testing.h"

namespace tessera::decode {
namespace {

// A filter over two positions: hidden unit 0 is c0 - 0.5, unit 1 is 0.5 - c0; position 1 is
// accepted by what position 0 looks like.
Artefact TinyFilter() {
  return {.path = "f",
          .tensors = {{"fc1.weight", {.shape = {2, 2}, .values = {1, 0, -1, 0}}},
                      {"fc1.bias", {.shape = {2}, .values = {-0.5f, 0.5f}}},
                      {"fc2.weight", {.shape = {2, 2}, .values = {0, 0, 100, 10}}},
                      {"fc2.bias", {.shape = {2}, .values = {-50, 0}}}}};
}

ArtefactLoader Loader(Artefact filter) {
  return [filter](const std::string&, const std::string&) -> Result<Artefact> { return filter; };
}

TEST(Learn2PdRule, AsksTheFilterAndAlwaysTakesTheBest) {
  RuleUnderTest rule(commit::Learn2Pd(), {{"filter", "f"}}, Loader(TinyFilter()));
  // z1 = 100 max(0, 0.4) = 40; z0 = -50, but it is the best.
  EXPECT_EQ(rule.Select({0.9f, 0.1f}), (Indices{0, 1}));
  // z1 = 10 max(0, 0.4) = 4: sigmoid 0.982 > 0.96.
  RuleUnderTest low(commit::Learn2Pd(), {{"filter", "f"}}, Loader(TinyFilter()));
  EXPECT_EQ(low.Select({0.1f, 0.05f}), (Indices{0, 1}));
  RuleUnderTest strict(commit::Learn2Pd(), {{"filter", "f"}, {"accept", "0.99"}},
                       Loader(TinyFilter()));
  EXPECT_EQ(strict.Select({0.1f, 0.05f}), (Indices{0}));
}

TEST(Learn2PdRule, ActivationIsAnOption) {
  // Without it units of both signs count: z1 = 100 * -0.4 + 10 * 0.4 = -36.
  RuleUnderTest rule(commit::Learn2Pd(), {{"filter", "f"}, {"activation", "none"}},
                     Loader(TinyFilter()));
  EXPECT_EQ(rule.Select({0.1f, 0.05f}), (Indices{0}));
}

TEST(Learn2PdRule, DecidedPositionsAreSeenToo) {
  RuleUnderTest rule(commit::Learn2Pd(), {{"filter", "f"}}, Loader(TinyFilter()));
  EXPECT_TRUE(rule.rule().needs().decided_rows);
  Artefact filter = TinyFilter();
  filter.tensors["fc2.weight"].values = {0, 100, 0, 0};  // z0 = 100 max(0, 0.5 - c0) - 50
  filter.tensors["fc1.weight"].values = {1, 0, 0, -1};   // unit 1 is 0.5 - c1
  RuleUnderTest seen(commit::Learn2Pd(), {{"filter", "f"}}, Loader(filter));
  RowStats row;
  row.p1 = 0.1f;
  const std::vector<Decided> decided = {{.position = 1, .token = 3, .stats = &row}};
  EXPECT_EQ(seen.SelectAt({0}, {0.5f}, 2, decided), (Indices{0}));
}

TEST(Learn2PdRule, TheFileNamesItsActivation) {
  Artefact filter = TinyFilter();
  filter.metadata["activation"] = "none";
  RuleUnderTest none(commit::Learn2Pd(), {{"filter", "f"}}, Loader(filter));
  EXPECT_EQ(none.Select({0.1f, 0.05f}), (Indices{0}));
  RuleUnderTest relu(commit::Learn2Pd(), {{"filter", "f"}, {"activation", "relu"}}, Loader(filter));
  EXPECT_EQ(relu.Select({0.1f, 0.05f}), (Indices{0, 1}));
}

TEST(Learn2PdRule, LongWindowsAreFilteredInParts) {
  RuleUnderTest rule(commit::Learn2Pd(), {{"filter", "f"}}, Loader(TinyFilter()));
  // Positions 1 and 3 follow 0 and 2; 4 is alone, its partner past the end counts as certain.
  EXPECT_EQ(rule.Select({0.9f, 0.1f, 0.5f, 0.1f, 0.9f}), (Indices{0, 1}));
}

TEST(Learn2PdRule, RefusesWhatIsNoFilter) {
  const CommitRuleEntry& entry = commit::Learn2Pd();
  const ModelTraits traits;
  const auto error_of = [&](const ArtefactLoader& load, const char* path) -> std::string {
    Options options(entry.options);
    EXPECT_TRUE(options.Set(entry.options, "filter", path).ok());
    const auto rule = MakeCommitRule(entry, options, {.traits = traits, .load = load});
    return rule.ok() ? "" : rule.status().message();
  };
  const auto error = [&](const Artefact& filter) { return error_of(Loader(filter), "f"); };
  EXPECT_EQ(error(TinyFilter()), "");
  EXPECT_NE(error({}).find("fc1.weight"), std::string::npos);
  Artefact missing = TinyFilter();
  missing.tensors.erase("fc2.bias");
  EXPECT_NE(error(missing).find("no tensor fc2.bias"), std::string::npos);
  Artefact bent = TinyFilter();
  bent.tensors["fc2.weight"].shape = {1, 4};
  EXPECT_NE(error(bent).find("fc2.weight has shape [1, 4]; accepted: [2, 2]"), std::string::npos);
  for (const std::vector<int64_t>& shape :
       {std::vector<int64_t>{1, 1 << 20}, {0, 2}, {2, 0}, {-1, 2}, {4}}) {
    Artefact odd = TinyFilter();
    odd.tensors["fc1.weight"].shape = shape;
    EXPECT_NE(error(odd).find("1..4096"), std::string::npos);
  }
  Artefact bad = TinyFilter();
  bad.metadata["activation"] = "gelu";
  EXPECT_NE(error(bad).find("activation 'gelu'; accepted: relu or none"), std::string::npos);

  const ArtefactLoader nothing = [](const std::string&, const std::string&) -> Result<Artefact> {
    return NotFound("x: no such file");
  };
  EXPECT_NE(error_of(nothing, "").find("needs a filter trained for this model"), std::string::npos);
  EXPECT_EQ(error_of(nothing, "x"), "x: no such file");
  EXPECT_NE(error_of({}, "x").find("cannot be read here"), std::string::npos);
}

}  // namespace
}  // namespace tessera::decode
