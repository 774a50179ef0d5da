#!/usr/bin/env bash
# The closing line of ./dev test counts passes, failures, skips and crashes.
set -euo pipefail
cd "$(dirname "$0")"
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT

expect() {  # expect EXIT_STATUS LAST_LINE
  local output status=0
  output=$(python3 tally.py "$results") || status=$?
  if [[ $status != "$1" || $(tail -n 1 <<<"$output") != "$2" ]]; then
    printf 'expected status %s and "%s", got %s and:\n%s\n' "$1" "$2" "$status" "$output"
    exit 1
  fi
}

entry() { echo "<testcase name=\"$1\" status=\"$2\"/>"; }
case_() { echo "<testcase classname=\"S\" name=\"$1\" status=\"run\">${2-}</testcase>"; }
report() { echo "<testsuite>$*</testsuite>" >"$results/ctest.xml"; }
binary() { local name=$1; shift; echo "<testsuites><testsuite>$*</testsuite></testsuites>" >"$results/gtest-$name.xml"; }

expect 1 ''
report
expect 1 '0 passed, 0 failed'
binary a "$(case_ one)" "$(case_ two)"
report "$(entry a run)"
expect 0 '2 passed, 0 failed'
binary a "$(case_ one)" "$(case_ two '<skipped message="f.cc:1&#x0A;no data"/>')" '<testcase name="off" status="notrun"/>'
report "$(entry a run)" "$(entry script run)"
expect 0 '2 passed, 0 failed, 1 skipped'
binary a "$(case_ one)" "$(case_ two '<failure message="x"/>')"
report "$(entry a fail)"
expect 1 '1 passed, 1 failed'
binary a "$(case_ one)"   # every case passed, then a crash or a leak at exit
expect 1 '1 passed, 1 failed'
rm "$results/gtest-a.xml"           # crashed before it wrote results
report "$(entry a fail)" "$(entry b notrun)"
expect 1 '0 passed, 2 failed'
echo "tally: ok"
