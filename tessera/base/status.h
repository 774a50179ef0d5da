// Status, Result<T> and the makers of errors: `return NotFound("{}: no such file", path);`
#pragma once

#include <fmt/format.h>

#include <utility>

#include "tessera/base/result.h"

namespace tessera {

#define TESSERA_DEFINE_ERROR(Name, code_value)                                               \
  template <typename... Args>                                                                \
  Status Name(fmt::format_string<Args...> format, Args&&... args) {                          \
    return Status(StatusCode::code_value, fmt::format(format, std::forward<Args>(args)...)); \
  }
TESSERA_DEFINE_ERROR(InvalidArgument, kInvalidArgument)
TESSERA_DEFINE_ERROR(NotFound, kNotFound)
TESSERA_DEFINE_ERROR(DataLoss, kDataLoss)
TESSERA_DEFINE_ERROR(Unimplemented, kUnimplemented)
TESSERA_DEFINE_ERROR(ResourceExhausted, kResourceExhausted)
TESSERA_DEFINE_ERROR(Cancelled, kCancelled)
TESSERA_DEFINE_ERROR(Internal, kInternal)
#undef TESSERA_DEFINE_ERROR

}  // namespace tessera
