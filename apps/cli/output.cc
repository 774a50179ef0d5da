#include "apps/cli/output.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "apps/cli/text_util.h"

namespace tessera::cli {
namespace {

constexpr size_t kBufferBytes = 1 << 16;

}  // namespace

void Output::Write(std::string_view text) {
  if (!ok()) return;
  buffer_ += text;
  if (buffer_.size() >= kBufferBytes) Flush();
}

void Output::Flush() {
  size_t done = 0;
  while (ok() && done < buffer_.size()) {
    const ssize_t written = write(fd_, buffer_.data() + done, buffer_.size() - done);
    if (written >= 0) {
      done += static_cast<size_t>(written);
    } else if (errno != EINTR) {
      error_ = errno;
    }
  }
  buffer_.clear();
}

Status Output::Finish() {
  Flush();
  if (ok() || error_ == EPIPE) return OkStatus();
  return Status(StatusCode::kResourceExhausted,
                fmt::format("standard output: cannot write: {}", std::strerror(error_)));
}

Output& Out() {
  static Output output(STDOUT_FILENO);
  return output;
}

void Complain(std::string_view message) {
  std::string line;
  for (const char c : message) line += c == '\n' || c == '\r' || c == '\t' ? ' ' : c;
  std::fputs(("tessera: " + Printable(line) + "\n").c_str(), stderr);
}

}  // namespace tessera::cli
