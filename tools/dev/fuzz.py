"""Runs fuzz targets one after another: fuzz.py SECONDS TARGET...

Seeds are tests/fuzz/corpus/TARGET (kept in git); new inputs and crashes go to build/fuzz/. A crash is
reproduced with: build/fuzz/.../TARGET INPUT_FILE
"""

import pathlib
import re
import subprocess
import sys

BUILD = pathlib.Path("build/fuzz")


def run(target, seconds):
    """(executions, coverage, failed inputs) of one target; its log stays beside the crashes."""
    binary = next(p for p in BUILD.rglob(target) if p.is_file())
    found, crashes = BUILD / "found" / target, BUILD / "crashes" / target
    seeds = pathlib.Path("tests/fuzz/corpus") / target
    for folder in (found, crashes):
        folder.mkdir(parents=True, exist_ok=True)
    before = set(crashes.iterdir())
    command = [str(binary), f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048",
               f"-artifact_prefix={crashes}/", str(found)] + ([str(seeds)] if seeds.is_dir() else [])
    print("+", *command, flush=True)
    log = BUILD / f"{target}.log"
    with log.open("w") as file:
        status = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    text = log.read_text(errors="replace")
    executions = re.findall(r"^#(\d+)", text, re.M)
    coverage = re.findall(r"cov: (\d+)", text)
    inputs = sorted(set(crashes.iterdir()) - before)
    if status and not inputs:
        inputs = [log]
    return int(executions[-1]) if executions else 0, coverage[-1] if coverage else "?", inputs if status else []


def main():
    seconds, targets = sys.argv[1], sys.argv[2:]
    failed = 0
    lines = []
    for target in targets:
        executions, coverage, inputs = run(target, seconds)
        failed += bool(inputs)
        lines.append(f"{target}: {executions} inputs, coverage {coverage}, "
                     + (f"FAILED, see {' '.join(map(str, inputs))}" if inputs else "no failure"))
        print(lines[-1], flush=True)
    print(f"{len(targets) - failed} of {len(targets)} fuzz targets without failure, {seconds} s each")
    sys.exit(1 if failed else 0)


main()
