// Status and Result<T>: how every function that input can reach reports failure.
//
// The library never throws across a room border, prints or aborts on bad input. A message is one
// line that names the file or option, says what was wrong and what would be accepted. This header
// is part of the public interface and needs the standard library only.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "tessera/base/check.h"

namespace tessera {

enum class StatusCode {
  kOk,
  kInvalidArgument,    // the caller's option, prompt or plan cannot be accepted
  kNotFound,           // a named file, tensor or method does not exist
  kDataLoss,           // a file is damaged or contradicts itself
  kUnimplemented,      // valid, but this build, device or architecture does not offer it
  kResourceExhausted,  // memory, disk, context or a declared limit ran out
  kCancelled,          // the caller asked to stop
  kInternal,           // our own bug, reported instead of crashing
};

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }

  // The same status with "context: " in front of its message; unchanged when ok.
  Status WithContext(std::string_view context) const {
    return ok() ? *this : Status(code_, std::string(context) + ": " + message_);
  }

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

inline Status OkStatus() { return Status(); }

// Either a value or an error that is not kOk.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}         // NOLINT: implicit by design
  Result(Status status) : status_(std::move(status)) {  // NOLINT: implicit by design
    TESSERA_CHECK(!status_.ok());
  }

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }

  T& value() & {
    TESSERA_CHECK(ok());
    return *value_;
  }
  const T& value() const& {
    TESSERA_CHECK(ok());
    return *value_;
  }
  T&& value() && {
    TESSERA_CHECK(ok());
    return *std::move(value_);
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  Status status_;
  std::optional<T> value_;
};

}  // namespace tessera

#define TESSERA_CONCAT_INNER(a, b) a##b
#define TESSERA_CONCAT(a, b) TESSERA_CONCAT_INNER(a, b)

#define TESSERA_RETURN_IF_ERROR(expr)                                      \
  do {                                                                     \
    if (::tessera::Status status_ = (expr); !status_.ok()) return status_; \
  } while (false)

// TESSERA_ASSIGN_OR_RETURN(auto x, F()); binds x to the value or returns the error.
#define TESSERA_ASSIGN_OR_RETURN(lhs, expr) \
  TESSERA_ASSIGN_OR_RETURN_IMPL(TESSERA_CONCAT(result_, __LINE__), lhs, expr)
#define TESSERA_ASSIGN_OR_RETURN_IMPL(result, lhs, expr) \
  auto result = (expr);                                  \
  if (!result.ok()) return result.status();              \
  lhs = *std::move(result)
