#include "tessera/formats/mapped_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tessera/formats/quote.h"
#include "tessera/formats/test_util.h"

namespace tessera {
namespace {

TEST(MappedFile, ReadsAndTakesAdvice) {
  TempFolder folder;
  std::string text(3 * 4096 + 17, 'x');
  text.back() = 'y';
  const std::string path = folder.Write("a.bin", text);
  auto file = MappedFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ((*file)->text(), text);
  EXPECT_EQ((*file)->path(), path);
  for (const MapAdvice advice :
       {MapAdvice::kSequential, MapAdvice::kWillNeed, MapAdvice::kDontNeed, MapAdvice::kNormal}) {
    (*file)->Advise(advice);
    (*file)->Advise((*file)->bytes().subspan(5, 4000), advice);
    (*file)->Advise((*file)->bytes().last(3), advice);
    (*file)->Advise({}, advice);
    std::byte elsewhere;
    (*file)->Advise({&elsewhere, 1}, advice);
  }
  EXPECT_EQ((*file)->text(), text);
}

TEST(MappedFile, RefusesWhatIsNoReadableFile) {
  TempFolder folder;
  ExpectError(MappedFile::Open(folder / "absent").status(), StatusCode::kNotFound, {"absent"});
  ExpectError(MappedFile::Open(folder.Write("a", "x") + "/b").status(), StatusCode::kNotFound,
              {"/a/b"});
  ExpectError(MappedFile::Open(folder.path()).status(), StatusCode::kInvalidArgument,
              {folder.path(), "directory"});
  ExpectError(MappedFile::Open(folder.Write("empty", "")).status(), StatusCode::kDataLoss,
              {"empty"});
  ExpectError(MappedFile::Open("/dev/zero").status(), StatusCode::kInvalidArgument,
              {"/dev/zero", "regular"});
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  ExpectError(MappedFile::Open(folder / "pipe").status(), StatusCode::kInvalidArgument, {"pipe"});
  ExpectError(MappedFile::Open(std::string("a\0b", 3)).status(), StatusCode::kInvalidArgument,
              {"a\\x00b"});
}

TEST(MappedFile, RefusesUnreadableFile) {
  if (::geteuid() == 0) GTEST_SKIP() << "root reads everything";
  TempFolder folder;
  const std::string path = folder.Write("secret", "x");
  ASSERT_EQ(::chmod(path.c_str(), 0), 0);
  ExpectError(MappedFile::Open(path).status(), StatusCode::kInvalidArgument, {"secret", "denied"});
}

TEST(Quote, MakesHostileTextHarmless) {
  EXPECT_EQ(Quoted("model.norm"), "'model.norm'");
  EXPECT_EQ(Printable("a\nb\x1b[31m\x7f"), "a\\x0ab\\x1b[31m\\x7f");
  EXPECT_EQ(Printable("\xff\xc3"), "\\xff\\xc3");
  EXPECT_EQ(Printable("caf\xc3\xa9 \xf0\x9f\x98\x80"), "caf\xc3\xa9 \xf0\x9f\x98\x80");
  EXPECT_EQ(Printable("\xc2\x9b"), "\\xc2\\x9b") << "C1 control sequence introducer";
  EXPECT_EQ(Printable(std::string(1000, 'a'), 10), "aaaaaaaaaa...");
}

TEST(Quote, IsUtf8) {
  EXPECT_TRUE(IsUtf8(""));
  EXPECT_TRUE(IsUtf8("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"));
  EXPECT_FALSE(IsUtf8("\xc0\x80")) << "overlong";
  EXPECT_FALSE(IsUtf8("\xed\xa0\x80")) << "surrogate";
  EXPECT_FALSE(IsUtf8("\xf4\x90\x80\x80")) << "above U+10FFFF";
  EXPECT_FALSE(IsUtf8("\xe2\x82")) << "cut short";
}

}  // namespace
}  // namespace tessera
