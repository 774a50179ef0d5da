#!/usr/bin/env bash
# ./dev demo, after the build: the default model at work.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec build/release/apps/cli/tessera demo "$@"
