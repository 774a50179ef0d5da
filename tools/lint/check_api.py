"""Public headers (api/, and what api/ may use of base/) compile alone with the standard library only.

Headers with a C interface must compile as C too.
"""

import pathlib
import re
import shutil
import subprocess
import tempfile

import common

BELOW = ("tessera/base/result.h", "tessera/base/check.h")  # installed beside api/
INTERNAL = "tessera/api/internal/"  # shared by api/*.cc, not installed
C_HEADERS = {"stdint.h", "stddef.h", "stdbool.h"}


def foreign_includes(tree, name):
    findings = []
    for n, line in tree.lines(name):
        include = re.match(r'\s*#\s*include\s*([<"])([^">]+)', line)
        if not include:
            continue
        quote, path = include.groups()
        standard = re.fullmatch(r"[a-z_0-9]+", path) or path in C_HEADERS
        if not (standard if quote == "<" else path in BELOW
                or path.startswith("tessera/api/") and not path.startswith(INTERNAL)):
            findings.append(f"{name}:{n}: a public header may not include {path}")
    return findings


def compile_errors(name, include_root, language):
    command = ["g++" if language == "c++" else "gcc", "-x", language, "-fsyntax-only", "-Wall", "-Wextra",
               "-Werror", "-std=c++20" if language == "c++" else "-std=c11"]
    source = f'#include "{name}"\n#include "{name}"\n'
    done = subprocess.run([*command, "-I", str(include_root), "-"], input=source, capture_output=True, text=True)
    errors = [line for line in done.stderr.splitlines() if "error" in line]
    return [f"{name}: alone, as {language}: {errors[0] if errors else 'fails'}"] if done.returncode else []


def check(tree):
    headers = [f for f in tree.files if f.startswith("tessera/api/") and f.endswith(".h")
               and not f.startswith(INTERNAL) or f in BELOW]
    findings = []
    with tempfile.TemporaryDirectory() as folder:
        for name in headers:
            target = pathlib.Path(folder) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tree.root / name, target)
        for name in headers:
            findings += foreign_includes(tree, name) or compile_errors(name, folder, "c++")
            if 'extern "C"' in tree.text(name):
                findings += compile_errors(name, folder, "c")
    return f"{len(headers)} headers", findings


common.run(__doc__, check)
