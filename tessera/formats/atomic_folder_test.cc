#include "tessera/formats/atomic_folder.h"

#include <gtest/gtest.h>

#include "tessera/formats/test_util.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

TEST(AtomicFolder, AppearsOnCommit) {
  TempFolder above;
  const std::string path = above / "deep/new";
  auto folder = AtomicFolder::Create(path + "/");
  ASSERT_TRUE(folder.ok()) << folder.status().message();
  std::ofstream((*folder)->folder() + "/file") << "x";
  EXPECT_FALSE(fs::exists(path));
  ASSERT_TRUE((*folder)->Commit().ok());
  folder->reset();
  EXPECT_TRUE(fs::exists(path + "/file"));
  EXPECT_EQ(std::distance(fs::directory_iterator(above / "deep"), fs::directory_iterator()), 1);
}

TEST(AtomicFolder, InTheWorkingFolder) {
  TempFolder above;
  const fs::path before = fs::current_path();
  fs::current_path(above.path());
  auto folder = AtomicFolder::Create("new");
  ASSERT_TRUE(folder.ok()) << folder.status().message();
  EXPECT_TRUE((*folder)->Commit().ok());
  fs::current_path(before);
  EXPECT_TRUE(fs::is_directory(above / "new"));
}

TEST(AtomicFolder, LeavesNothingBehindWithoutCommit) {
  TempFolder above;
  {
    auto folder = AtomicFolder::Create(above / "new");
    ASSERT_TRUE(folder.ok());
    std::ofstream((*folder)->folder() + "/file") << "x";
  }
  EXPECT_EQ(above.Entries(), 0u);
}

TEST(AtomicFolder, NeverOverwrites) {
  TempFolder above;
  above.Write("file", "mine");
  fs::create_directory(above / "folder");
  fs::create_symlink("nowhere", above / "link");
  for (const char* name : {"file", "folder", "link"}) {
    ExpectError(AtomicFolder::Create(above / name).status(), StatusCode::kInvalidArgument,
                {name, "exists already"});
  }
  ExpectError(AtomicFolder::Create(above / "file/under").status(), StatusCode::kNotFound,
              {"file/under"});
  ExpectError(AtomicFolder::Create("").status(), StatusCode::kInvalidArgument, {"not a path"});
  // Something that takes the name while the folder is being filled stays, too.
  auto folder = AtomicFolder::Create(above / "late");
  ASSERT_TRUE(folder.ok());
  fs::create_directory(above / "late");
  EXPECT_EQ((*folder)->Commit().code(), StatusCode::kInvalidArgument);
  folder->reset();
  EXPECT_TRUE(fs::is_empty(above / "late"));
  EXPECT_EQ(above.Entries(), 4u);
}

}  // namespace
}  // namespace tessera
