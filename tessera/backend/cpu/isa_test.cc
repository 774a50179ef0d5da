#include "tessera/backend/cpu/isa.h"

#include <gtest/gtest.h>

namespace tessera::cpu {
namespace {

TEST(IsaTest, GenericIsAlwaysThereAndLevelsAscend) {
  const std::vector<Isa>& isas = AvailableIsas();
  ASSERT_FALSE(isas.empty());
  EXPECT_EQ(isas.front(), Isa::kGeneric);
  for (size_t i = 1; i < isas.size(); ++i) EXPECT_LT(isas[i - 1], isas[i]);
}

#if defined(__x86_64__)
// The compiler's own probe, where it knows the feature.
TEST(IsaTest, AgreesWithTheCompilerRuntime) {
  const auto available = [](Isa isa) {
    for (const Isa other : AvailableIsas()) {
      if (other == isa) return true;
    }
    return false;
  };
  EXPECT_EQ(available(Isa::kAvx2), __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
  EXPECT_EQ(available(Isa::kAvx512),
            __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"));
}
#endif

TEST(IsaTest, ParseAcceptsWhatIsAvailable) {
  for (const Isa isa : AvailableIsas()) {
    const auto parsed = ParseIsa(Name(isa));
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ(*parsed, isa);
  }
  ASSERT_TRUE(ParseIsa("auto").ok());
  EXPECT_EQ(*ParseIsa("auto"), AvailableIsas().back());
}

TEST(IsaTest, ParseRefusesWithTheList) {
  for (const std::string_view name : {"", "sse9", "AVX2", "avx512 "}) {
    const auto parsed = ParseIsa(name);
    ASSERT_FALSE(parsed.ok());
    EXPECT_EQ(parsed.status().code(), StatusCode::kInvalidArgument);
    EXPECT_NE(parsed.status().message().find("auto, generic"), std::string::npos);
    for (const Isa isa : AvailableIsas()) {
      EXPECT_NE(parsed.status().message().find(Name(isa)), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace tessera::cpu
