// Makers of errors for this folder, which sees the library's public headers only.
#pragma once

#include <fmt/format.h>

#include <utility>

#include "tessera/api/model.h"

namespace tessera::eval {

// The request cannot be accepted: a name, a setting, a combination.
template <typename... Args>
Status BadRequest(fmt::format_string<Args...> format, Args&&... args) {
  return Status(StatusCode::kInvalidArgument, fmt::format(format, std::forward<Args>(args)...));
}
// A file is not what it should be.
template <typename... Args>
Status BadData(fmt::format_string<Args...> format, Args&&... args) {
  return Status(StatusCode::kDataLoss, fmt::format(format, std::forward<Args>(args)...));
}
// A file is not there, or cannot be read or written.
template <typename... Args>
Status Missing(fmt::format_string<Args...> format, Args&&... args) {
  return Status(StatusCode::kNotFound, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace tessera::eval
