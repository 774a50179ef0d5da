#include "apps/cli/text_util.h"

#include <gtest/gtest.h>

#include <clocale>
#include <vector>

namespace tessera::cli {
namespace {

TEST(TextUtil, FindsTheFirstInvalidByte) {
  EXPECT_EQ(FindInvalidUtf8("plain, é, 漢, 🙂"), std::nullopt);
  EXPECT_EQ(FindInvalidUtf8("ab\xFF"), 2u);
  EXPECT_EQ(FindInvalidUtf8("a\xC3"), 1u) << "cut in the middle";
  EXPECT_EQ(FindInvalidUtf8("\xC0\x80"), 0u) << "overlong";
  EXPECT_EQ(FindInvalidUtf8("\xE0\x80\x80"), 0u) << "overlong";
  EXPECT_EQ(FindInvalidUtf8("\xED\xA0\x80"), 0u) << "surrogate";
  EXPECT_EQ(FindInvalidUtf8("\xF4\x90\x80\x80"), 0u) << "above U+10FFFF";
}

TEST(TextUtil, CountsColumns) {
  ASSERT_NE(std::setlocale(LC_CTYPE, "C.UTF-8"), nullptr);
  EXPECT_EQ(DisplayWidth("abc"), 3);
  EXPECT_EQ(DisplayWidth("é漢"), 3);
  EXPECT_EQ(DisplayWidth("e\u0301"), 1);
}

TEST(TextUtil, PrintableTextCannotSteerTheTerminal) {
  EXPECT_EQ(Printable("a\x1B[2Jb\r\nc\td"), "a\uFFFD[2Jb\uFFFD\nc\td");
  EXPECT_EQ(Printable("\xC2\x9B\x33"), "\uFFFD3") << "the one-character form of ESC [";
  EXPECT_EQ(Printable("\xFF"), "\uFFFD");
}

TEST(TextUtil, OneLineCutsByColumns) {
  EXPECT_EQ(OneLine("a\nb", 10), "a\\nb");
  EXPECT_EQ(OneLine("abcdef", 6), "abcdef");
  EXPECT_EQ(OneLine("abcdefg", 6), "abcde…");
  EXPECT_EQ(OneLine("漢字漢字", 6), "漢字…");
}

TEST(TextUtil, Numbers) {
  EXPECT_EQ(Thousands(0), "0");
  EXPECT_EQ(Thousands(1234567), "1,234,567");
  EXPECT_EQ(Thousands(-123), "-123");
  EXPECT_EQ(Count(11'050'000), "11.1 M");
  EXPECT_EQ(Bytes(22'400'000), "22.4 MB");
}

TEST(TextUtil, NearestNameOrNone) {
  const std::vector<std::string> names = {"run", "chat", "strategies"};
  EXPECT_EQ(Nearest("chta", names), "chat");
  EXPECT_EQ(Nearest("rnu", names), "run");
  EXPECT_EQ(Nearest("strategys", names), "strategies");
  EXPECT_EQ(Nearest("quantize", names), std::nullopt);
}

}  // namespace
}  // namespace tessera::cli
