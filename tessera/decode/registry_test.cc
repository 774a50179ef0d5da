#include "tessera/decode/registry.h"

#include <gtest/gtest.h>

#include <map>

namespace tessera::decode {
namespace {

using ops::AttentionKind;

ModelTraits Traits(AttentionKind attention) {
  ModelTraits traits;
  traits.attention = attention;
  traits.block = attention == AttentionKind::kBlockCausal ? 4 : 0;
  traits.shifted_logits = attention == AttentionKind::kCausal;
  traits.mask_id = attention == AttentionKind::kCausal ? -1 : 9;
  traits.vocab_size = 10;
  traits.max_positions = 64;
  return traits;
}

std::string Error(const char* text, AttentionKind attention) {
  const auto strategy = MakeStrategy(text, Traits(attention), {});
  return strategy.ok() ? "" : strategy.status().message();
}

TEST(MakeStrategy, AcceptsEveryMemberWithItsDefaults) {
  for (const MemberInfo& member : ListMembers()) {
    if (member.slot == "decoder") {
      EXPECT_EQ(Error(member.name.c_str(), AttentionKind::kCausal), "") << member.name;
    } else if (member.name == "learn2pd") {
      EXPECT_NE(Error("learn2pd", AttentionKind::kBidirectional).find("cannot be read here"),
                std::string::npos);
    } else if (member.name == "oracle") {
      EXPECT_NE(Error("oracle", AttentionKind::kBidirectional).find("needs the text to aim at"),
                std::string::npos);
      EXPECT_EQ(Error("oracle=1+2+3", AttentionKind::kBidirectional), "");
      for (const char* bad : {"oracle=1+10", "oracle=1+", "oracle=+1", "oracle=-1", "oracle=x"}) {
        EXPECT_NE(Error(bad, AttentionKind::kBidirectional).find("accepted: token ids 0..9"),
                  std::string::npos)
            << bad;
      }
    } else if (member.name == "adjust") {  // needs a joint layer; adjust_test.cc
      EXPECT_EQ(Error("adjust=1", AttentionKind::kBidirectional), "");
    } else if (member.slot == "commit") {
      EXPECT_EQ(Error(member.name.c_str(), AttentionKind::kBidirectional), "") << member.name;
      EXPECT_EQ(Error(member.name.c_str(), AttentionKind::kBlockCausal), "") << member.name;
    }
    EXPECT_FALSE(member.help.empty()) << member.name;
    for (const OptionSpec& option : member.options)
      EXPECT_FALSE(option.help.empty()) << option.name;
  }
}

TEST(MakeStrategy, MainOptionAndNamedOptionAreTheSame) {
  EXPECT_EQ(Error("dynamic=0.7,block_steps=2", AttentionKind::kBlockCausal), "");
  EXPECT_EQ(Error("dynamic,threshold=0.7", AttentionKind::kBlockCausal), "");
  EXPECT_EQ(Error(" threshold = 0.7 , cache = dual ", AttentionKind::kBidirectional), "");
}

// An item goes to every chosen member that has an option of its name, so members that can be chosen
// together must not share one.
TEST(MakeStrategy, MembersOfDifferentSlotsShareNoOption) {
  std::map<std::string, std::string> slot_of;
  for (const MemberInfo& member : ListMembers()) {
    if (member.slot == "decoder") continue;
    for (const OptionSpec& option : member.options) {
      const auto [it, added] = slot_of.emplace(option.name, member.slot);
      EXPECT_TRUE(added || it->second == member.slot) << option.name << " of " << member.name;
    }
  }
}

TEST(MakeStrategy, DriftNeedsACacheThatReusesApproximateRows) {
  EXPECT_EQ(Error("threshold,cache=dual,drift=4,drift_refresh=0.1", AttentionKind::kBidirectional),
            "");
}

// Each wrong text and a word its error must hold.
TEST(MakeStrategy, RefusesWithWhatIsAccepted) {
  const struct {
    const char* text;
    AttentionKind attention;
    const char* expected;
  } cases[] = {
      {"threshold=7", AttentionKind::kBidirectional, "accepted: 0..2"},
      {"threshold=abc", AttentionKind::kBidirectional, "got 'abc'"},
      {"threshold=nan", AttentionKind::kBidirectional, "accepted: 0..2"},
      {"threshold=", AttentionKind::kBidirectional, "name=value"},
      {"treshold=0.9", AttentionKind::kBidirectional, "unknown item 'treshold'"},
      {"threshold=0.9,factor=1", AttentionKind::kBidirectional, "two commit rules"},
      {"threshold=0.9,threshold=0.8", AttentionKind::kBidirectional, "given twice"},
      {"cache=fast", AttentionKind::kBidirectional, "none, prefix, dual, exact"},
      {"cache=exact", AttentionKind::kBidirectional, "block-causal"},
      {"cache=dual", AttentionKind::kBlockCausal, "cache=exact"},
      {"canvas=whole", AttentionKind::kBlockCausal, "canvas=blocks"},
      {"block=8", AttentionKind::kBlockCausal, "accepted: 4"},
      {"sub_block=3", AttentionKind::kBlockCausal, "divisor"},
      {"threshold,first=greedy,cache=dual", AttentionKind::kBidirectional, "shifted"},
      {"ar", AttentionKind::kBidirectional, "causal models"},
      {"ar=1", AttentionKind::kCausal, "takes no value"},
      {"lookup,ngram=2,min_ngram=3", AttentionKind::kCausal, "min_ngram"},
      {"threshold=0.9", AttentionKind::kCausal, "mask token"},
      {"eos=maybe", AttentionKind::kBidirectional, "free|last|never"},
      {"drift=4", AttentionKind::kBidirectional, "cache=none reuses no row"},
      {"drift=4", AttentionKind::kBlockCausal, "cache=exact reuses no row"},
      {"cache=dual,drift=99", AttentionKind::kBidirectional, "accepted: 0..16"},
      {"cache=dual,drift_refresh=0.1", AttentionKind::kBidirectional, "drift=4"},
      {"cache=dkv", AttentionKind::kBlockCausal, "cache=exact"},
      {"cache=dkv,settled=right", AttentionKind::kBidirectional, "shifted logits"},
      {"canvas=adablock", AttentionKind::kBidirectional, "delimiters=198+271"},
      {"canvas=adablock,delimiters=3+", AttentionKind::kBidirectional, "joined by +"},
      {"canvas=adablock,delimiters=3+10", AttentionKind::kBidirectional, "0..9"},
      {"canvas=adablock,delimiters=", AttentionKind::kBidirectional, "name=value"},
      {"canvas=adablock,delimiters=3", AttentionKind::kBlockCausal, "canvas=blocks"},
      {"canvas=slowfast", AttentionKind::kBlockCausal, "canvas=blocks"},
      {"canvas=multiblock,block=8", AttentionKind::kBlockCausal, "accepted: 4"},
      {"dpad=8", AttentionKind::kBlockCausal, "accepted: 0"},
      {"eotp=decided", AttentionKind::kBidirectional, "no end-of-text token"},
      {"eotp=soon", AttentionKind::kBidirectional, "off|decided|predicted"},
      {",", AttentionKind::kBidirectional, "name=value"},
  };
  for (const auto& c : cases) {
    const std::string error = Error(c.text, c.attention);
    EXPECT_NE(error.find(c.expected), std::string::npos) << "'" << c.text << "' gave: " << error;
  }
}

}  // namespace
}  // namespace tessera::decode
