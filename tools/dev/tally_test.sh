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
case_() { echo "{\"name\": \"$1\", \"status\": \"RUN\", \"result\": \"$2\"${3-}}"; }
report() { echo "<testsuite>$*</testsuite>" >"$results/ctest.xml"; }
binary() { local name=$1; shift; local IFS=,; echo "{\"testsuites\": [{\"name\": \"S\", \"testsuite\": [$*]}]}" >"$results/$name.json"; }

expect 1 ''
report
expect 1 '0 passed, 0 failed'
binary a "$(case_ one COMPLETED)" "$(case_ two COMPLETED)"
report "$(entry a run)"
expect 0 '2 passed, 0 failed'
binary a "$(case_ one COMPLETED)" "$(case_ two SKIPPED)" '{"name": "off", "status": "NOTRUN", "result": "SUPPRESSED"}'
report "$(entry a run)" "$(entry script run)"
expect 0 '2 passed, 0 failed, 1 skipped'
binary a "$(case_ one COMPLETED)" "$(case_ two COMPLETED ', "failures": [{}]')"
report "$(entry a fail)"
expect 1 '1 passed, 1 failed'
binary a "$(case_ one COMPLETED)"   # every case passed, then a crash or a leak at exit
expect 1 '1 passed, 1 failed'
rm "$results/a.json"                # crashed before it wrote results
report "$(entry a fail)" "$(entry b notrun)"
expect 1 '0 passed, 2 failed'
echo "tally: ok"
