// Runs every tests/e2e/*.case with the tessera binary of this build.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/e2e/case_file.h"

namespace tessera::e2e {
namespace {

namespace fs = std::filesystem;

const fs::path kSource = TESSERA_SOURCE_DIR;

std::string ReadFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// A folder of this process that is removed with it.
const fs::path& Scratch() {
  static const struct Folder {
    fs::path path;
    Folder() {
      std::string pattern = (fs::temp_directory_path() / "tessera-e2e-XXXXXX").string();
      if (mkdtemp(pattern.data()) == nullptr) std::abort();
      path = pattern;
    }
    ~Folder() {
      std::error_code error;
      fs::remove_all(path, error);
    }
  } folder;
  return folder.path;
}

void Redirect(const fs::path& path, int flags, int target) {
  const int fd = open(path.c_str(), flags, 0600);
  if (fd < 0 || dup2(fd, target) < 0) _exit(125);
  close(fd);
}

Outcome RunShell(const std::string& command, const std::string& input) {
  const fs::path folder = Scratch() / "run";
  fs::remove_all(folder);
  fs::create_directories(folder / "tmp");
  std::ofstream(folder / "stdin", std::ios::binary) << input;
  const pid_t child = fork();
  if (child == 0) {
    Redirect(folder / "stdin", O_RDONLY, STDIN_FILENO);
    Redirect(folder / "stdout", O_WRONLY | O_CREAT | O_TRUNC, STDOUT_FILENO);
    Redirect(folder / "stderr", O_WRONLY | O_CREAT | O_TRUNC, STDERR_FILENO);
    const char* path = getenv("PATH");
    setenv("PATH", fmt::format("{}:{}", TESSERA_BINARY_DIR, path == nullptr ? "" : path).c_str(),
           1);
    setenv("GOLDEN", (kSource / "tests/golden").c_str(), 1);
    setenv("MODELS", (kSource / "models").c_str(), 1);
    setenv("TMP", (folder / "tmp").c_str(), 1);
    unsetenv("TESSERA_MODEL");
    if (chdir((folder / "tmp").c_str()) != 0) _exit(125);
    // The limit is for hangs: most cases take well below a second, the demo minutes with
    // sanitizers.
    execlp("timeout", "timeout", "-k", "5", "600", "bash", "-c", command.c_str(), nullptr);
    _exit(127);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return {.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
          .output = ReadFile(folder / "stdout"),
          .error = ReadFile(folder / "stderr")};
}

std::vector<CliCase> AllCases() {
  std::vector<CliCase> all;
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(kSource / "tests/e2e")) {
    if (entry.path().extension() == ".case") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) {
    const std::string name = file.filename().string();
    try {
      for (CliCase& c : ParseCaseFile(ReadFile(file), name)) all.push_back(std::move(c));
    } catch (const std::exception& error) {  // becomes a case that fails
      CliCase unreadable;
      unreadable.file = name;
      unreadable.name = "unreadable";
      unreadable.unreadable = error.what();
      all.push_back(std::move(unreadable));
    }
  }
  return all;
}

std::string TestName(const testing::TestParamInfo<CliCase>& info) {
  std::string name = fs::path(info.param.file).stem().string() + "_" + info.param.name;
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return !std::isalnum(c); }, '_');
  return name;
}

class CommandLine : public testing::TestWithParam<CliCase> {};

TEST_P(CommandLine, DoesWhatItsCaseSays) {
  const CliCase& c = GetParam();
  if (!c.unreadable.empty()) GTEST_FAIL() << c.unreadable;
  for (const std::string& path : c.needs) {
    if (!fs::exists(kSource / path)) GTEST_SKIP() << "needs " << path;
  }
  const Outcome outcome = RunShell(c.command, c.input);
  const std::vector<std::string> problems = Problems(c, outcome, RunShell);
  if (problems.empty()) return;
  ADD_FAILURE() << "tests/e2e/" << c.file << ":" << c.line << "\n"
                << fmt::format("{}", fmt::join(problems, "\n")) << "\n  command: " << c.command
                << "\n  output: " << outcome.output.substr(0, 2000)
                << "\n  errors: " << outcome.error.substr(0, 2000);
}

INSTANTIATE_TEST_SUITE_P(Cases, CommandLine, testing::ValuesIn(AllCases()), TestName);

// The runner itself must be able to fail.
Outcome NoOther(const std::string&, const std::string&) { return {}; }

size_t CountProblems(const std::string& lines, const Outcome& outcome) {
  const CliCase c = ParseCaseFile("case x\nrun true\n" + lines, "x").at(0);
  return Problems(c, outcome, NoOther).size();
}

TEST(CaseFile, EveryExpectationCanFail) {
  const Outcome good{.exit_code = 0, .output = "{\"a\": [1]}\n", .error = ""};
  const std::vector<std::string> failing = {
      "exit 1",    "stdout nothing",      "!stdout a",      "stderr x",
      "!stderr ^", "stdout-is {}",        "lines 2",        "json /a [2]",
      "json /b 1", "json-type /a number", "stderr-lines 1", "same-as true"};
  for (const std::string& line : failing) EXPECT_GT(CountProblems(line, good), 0u) << line;
  EXPECT_EQ(CountProblems("stdout a\njson /a/0 1\njson-type /a array\nlines 1\n!stderr x\n"
                          "stdout-is {\"a\": [1]}\\n\ndiffers-from true",
                          good),
            0u);
}

TEST(CaseFile, FailuresMustBeOneLineAndWriteNothing) {
  EXPECT_EQ(CountProblems("exit 2", {.exit_code = 2, .output = "", .error = "tessera: no\n"}), 0u);
  EXPECT_EQ(CountProblems("exit 2", {.exit_code = 2, .output = "", .error = "no\n"}), 1u);
  EXPECT_EQ(CountProblems("exit 2", {.exit_code = 2, .output = "", .error = "tessera: a\nb\n"}),
            1u);
  EXPECT_EQ(CountProblems("exit 2", {.exit_code = 2, .output = "x", .error = "tessera: no\n"}), 1u);
}

TEST(CaseFile, RefusesLinesItDoesNotKnow) {
  for (const char* bad :
       {"run true", "case x\nrum true", "case x\nrun true\nexits 2",
        "case x\nrun true\ncase x\nrun true", "case x", "case x\nrun true\nexit"}) {
    EXPECT_THROW(ParseCaseFile(bad, "x"), std::runtime_error) << bad;
  }
}

}  // namespace
}  // namespace tessera::e2e
