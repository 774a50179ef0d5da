// Standard output with every error noticed: a full disk becomes an error of the command, a reader
// that went away (`tessera run | head -1`) a quiet end.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

#include "tessera/api/model.h"

namespace tessera::cli {

class Output {
 public:
  explicit Output(int fd) : fd_(fd) {}

  void Write(std::string_view text);
  template <typename... Args>
  void Print(fmt::format_string<Args...> format, Args&&... args) {
    Write(fmt::format(format, std::forward<Args>(args)...));
  }
  void Flush();

  // False once a write failed; later writes do nothing.
  bool ok() const { return error_ == 0; }
  // Flushes; an error unless everything was written or the reader went away.
  Status Finish();

 private:
  int fd_;
  int error_ = 0;  // errno of the first failed write
  std::string buffer_;
};

// The process's standard output.
Output& Out();

// A remark on standard error, with "tessera: " before it and in one line.
void Complain(std::string_view message);

}  // namespace tessera::cli
