#!/usr/bin/env bash
# Proves that every lint check can fail: plants one violation of each kind in a copy of the tree and
# requires the check to name it, and not to have named it before.
set -euo pipefail
cd "$(dirname "$0")/../.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
export PYTHONDONTWRITEBYTECODE=1
failures=0

# A copy without build output and without what git ignores; small files only, the checks read text.
if files=$(git ls-files -c -o --exclude-standard 2>/dev/null); then
  while read -r file; do [[ ! -f $file ]] || echo "$file"; done <<<"$files"
else
  find . -type f -not -path './build/*' -not -path './.git/*' -not -path './.cache/*'
fi | tar -c --exclude='*.safetensors' -T - | tar -x -C "$copy"
mkdir -p "$copy/build/release"
echo '[]' >"$copy/build/release/compile_commands.json"

check() { python3 "tools/lint/check_$1.py" --root "$copy" 2>&1; }

# plant CHECK EXPECTED FILE: appends stdin to FILE of the copy (a new file if it does not exist),
# requires CHECK to fail with EXPECTED in its output, and puts FILE back.
plant() {
  local name=$1 expected=$2 file="$copy/$3" before after
  before=$(check "$name") || true
  mkdir -p "$(dirname "$file")"
  [[ ! -f $file ]] || cp "$file" "$copy/saved"
  cat >>"$file"
  if after=$(check "$name"); then
    echo "FAIL $name: accepts a violation in $3"
    failures=$((failures + 1))
  elif [[ $after != *"$expected"* || $before == *"$expected"* ]]; then
    printf 'FAIL %s: expected "%s" about %s, got:\n%s\n' "$name" "$expected" "$3" "$after"
    failures=$((failures + 1))
  else
    echo "ok   $name trips: $expected"
  fi
  rm -f "$file"
  [[ ! -f $copy/saved ]] || mv "$copy/saved" "$file"
}

plant layers 'zz_bad.cc:1: tensor may not include ops' tessera/tensor/zz_bad.cc \
  <<<'#include "tessera/ops/device.h"'
plant layers 'zz_bad.cc:1: apps may not include base' apps/cli/zz_bad.cc \
  <<<'#include "tessera/base/status.h"'
plant layers 'zz_bad.cc:1: base may not include tests/' tessera/base/zz_bad.cc \
  <<<'#include "tests/CMakeLists.txt"'
plant layers 'zz_bad.cc:1: "device.h" is not a path' tessera/ops/zz_bad.cc <<<'#include "device.h"'
plant layers 'may include tessera/backend/registry.h' tessera/api/zz_bad.cc \
  <<<'#include "tessera/backend/registry.h"'
plant layers "room 'zz' has no row" tessera/zz/zz_bad.cc <<<'int x;'
plant layers 'zz names zy, which is not a row above it' layers.txt <<<'zz: zy
zy: base'
plant layers 'DEPS of base and layers.txt differ in' tessera/CMakeLists.txt \
  <<<'tessera_room(base DEPS tessera_ops)'
plant layers 'tessera_room(zz) has no row' tessera/CMakeLists.txt <<<'tessera_room(zz)'
plant layers 'apps may not link tessera_engine' apps/CMakeLists.txt \
  <<<'target_link_libraries(zz tessera_engine)'
plant tests 'zz_test.cc: in no build target' tests/zz_test.cc <<<'int x;'
plant paths 'docs/zz.md:1: machine path' docs/zz.md < <(echo "see /ho""me/me/notes")
plant docs '`tessera/zz/gone.h`: no such path' docs/zz.md <<<'see `tessera/zz/gone.h`'
plant docs 'link to gone.md: no such file' docs/zz.md <<<'see [this](gone.md)'
plant docs './dev zzz: no such verb' README.md <<<'Run `./dev zzz`.'
plant api 'may not include fmt/format.h' tessera/api/zz.h <<<'#include <fmt/format.h>'
plant api 'may not include tessera/base/status.h' tessera/api/zz.h <<<'#include "tessera/base/status.h"'
plant api 'zz.h: alone, as c++' tessera/api/zz.h <<<'inline std::string Name() { return {}; }'
plant api 'zz.h: alone, as c:' tessera/api/zz.h \
  <<<'#include <string>
extern "C" void Name();'
plant map 'zz.cc does not exist' docs/map.md <<<'| 0 | `tessera/base/zz.cc` | `tessera/base/check.h` | x |'
plant map 'tensor.cc does not include tessera/ops/device.h' docs/map.md \
  <<<'| 0 | `tessera/tensor/tensor.cc` | `tessera/ops/device.h` | x |'
plant map 'room zz does not appear' layers.txt < <(mkdir -p "$copy/tessera/zz" && echo 'int x;' \
  >"$copy/tessera/zz/x.cc" && echo 'zz: base')
rm -rf "$copy/tessera/zz"

# ISA objects: one function of the room's own namespace passes, an inline one elsewhere does not.
isa() {
  local source=tessera/backend/cpu/avx2/zz.cc
  mkdir -p "$copy/build/release/backend/cpu/avx2" "$copy/$(dirname "$source")"
  cat >"$copy/$source"
  g++ -std=c++20 -O0 -c "$copy/$source" -o "$copy/build/release/backend/cpu/avx2/zz.cc.o"
  check isa | grep 'zz.cc' || true
}
found=$(isa <<<'namespace tessera::cpu::avx2 { template <class T> T F(T x) { static int n; return x + n++; }
int G() { return F(1); } }')
if [[ -n $found ]]; then
  echo "FAIL isa: refuses the namespace it should accept: $found"
  failures=$((failures + 1))
fi
found=$(isa <<<'inline int F() { return 1; } int G() { return F(); }')
if [[ $found != *'weak symbol _Z1Fv'* ]]; then
  echo "FAIL isa: accepts a weak symbol outside the namespace: $found"
  failures=$((failures + 1))
else
  echo "ok   isa trips: weak symbol _Z1Fv"
fi
rm "$copy/build/release/backend/cpu/avx2/zz.cc.o"
found=$(check isa) || true
if [[ $found == *'zz.cc: no object'* ]]; then
  echo "ok   isa trips: no object"
else
  echo "FAIL isa: passes although nothing was built"
  failures=$((failures + 1))
fi
rm "$copy/tessera/backend/cpu/avx2/zz.cc"

if command -v clang-format-14 >/dev/null; then
  plant format 'zz.cc:1' tessera/base/zz.cc <<<'int   x ;'
else
  echo "skip format: clang-format-14 is not installed (./dev deps lint)"
fi

((failures == 0)) || { echo "$failures checks cannot fail as they should"; exit 1; }
