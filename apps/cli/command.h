// What a command is: a function from arguments to a status, and how it reports.
//
// Exit codes follow from the status: ok 0; kInvalidArgument 2, the command line cannot be accepted;
// kCancelled 128 + signal; anything else 1.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tessera/api/model.h"

namespace tessera::cli {

using Args = std::vector<std::string>;

Status RunCommand(const Args& args);
Status ChatCommand(const Args& args);
Status BenchCommand(const Args& args);
Status BenchCpuCommand(const Args& args);  // after "bench cpu"
Status BenchGpuCommand(const Args& args);  // after "bench gpu"
Status EvalCommand(const Args& args);
Status ReplayCommand(const Args& args);
Status ScoreCommand(const Args& args);
Status LogitsCommand(const Args& args);
Status DemoCommand(const Args& args);
Status InspectCommand(const Args& args);
Status StrategiesCommand(const Args& args);
Status SynthCommand(const Args& args);
Status QuantizeCommand(const Args& args);
Status DoctorCommand(const Args& args);

// The command line is at fault.
template <typename... Args>
Status UsageError(fmt::format_string<Args...> format, Args&&... args) {
  return Status(StatusCode::kInvalidArgument, fmt::format(format, std::forward<Args>(args)...));
}
// The command line is fine, but what it names cannot be used.
template <typename... Args>
Status Failure(fmt::format_string<Args...> format, Args&&... args) {
  return Status(StatusCode::kNotFound, fmt::format(format, std::forward<Args>(args)...));
}
// kCancelled if the user asked to stop; otherwise ok.
Status CheckStopped();

}  // namespace tessera::cli
