"""clang-tidy over the engine and the apps; minutes, so only ./dev lint --tidy runs it."""

import concurrent.futures
import json
import os
import subprocess

import common


def tidy(command):
    return subprocess.run(command, capture_output=True, text=True, check=False)


def check(tree):
    compiled = {entry["file"] for entry in json.loads((tree.build / "compile_commands.json").read_text())}
    files = [f for f in tree.sources("tessera", "apps") if str(tree.root / f) in compiled]
    commands = [["clang-tidy-14", "-p", str(tree.build), "--quiet", "--extra-arg=-Wno-unknown-warning-option",
                 str(tree.root / f)] for f in files if not f.endswith("_test.cc")]
    findings = set()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in pool.map(tidy, commands):
            findings.update(line.removeprefix(f"{tree.root}/") for line in done.stdout.splitlines()
                            if ": error: " in line or ": warning: " in line)
    return f"{len(commands)} files", sorted(findings)


common.run(__doc__, check)
