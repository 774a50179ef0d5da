"""No file names a folder of somebody's machine."""

import re

import common

MACHINE = re.compile(r"(?:^|[^A-Za-z0-9_.~<>*-])/(?:home|root|work|farm|Users|mnt|scratch)/")
DATA = (".json", ".jsonl", ".txt.xz", ".safetensors", ".gguf", ".bin", ".model")  # not written by us


def check(tree):
    findings = []
    files = [f for f in tree.files if not f.endswith(DATA) and not f.startswith("tests/fuzz/corpus/")]
    for name in files:
        findings += [f"{name}:{n}: machine path: {line.strip()[:80]}" for n, line in tree.lines(name)
                     if MACHINE.search(line)]
    return f"{len(files)} files", findings


common.run(__doc__, check)
