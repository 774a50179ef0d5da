#include "apps/cli/command.h"

#include "apps/cli/terminal.h"

namespace tessera::cli {

Status CheckStopped() {
  return StopSignal() == 0 ? OkStatus() : Status(StatusCode::kCancelled, "interrupted");
}

}  // namespace tessera::cli
