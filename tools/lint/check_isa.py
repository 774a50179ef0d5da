"""Objects compiled for one instruction set define no weak symbol outside their own namespace.

A weak function (any inline one or template) in two objects is kept once, and the linker may keep the
copy that uses AVX-512: the program then stops on a machine without it.
"""

import pathlib
import re
import subprocess

import common

ISAS = ("avx2", "avx512", "avx512vnni", "avx512bf16", "amx")


def foreign_weak_symbols(path, isa):
    output = subprocess.run(["nm", "--defined-only", str(path)], capture_output=True, text=True, check=True).stdout
    # Also guards, local statics, vtables and type names of that namespace.
    own = re.compile(rf"_Z(?:GV|TV|TI|TS|Z|L)*N[KVrRO]*7tessera3cpu{len(isa)}{isa}")
    symbols = (line.split() for line in output.splitlines())
    return [s[2] for s in symbols if len(s) == 3 and s[1] in "WVu" and not own.match(s[2])]


def check(tree):
    findings, count = [], 0
    for isa in ISAS:
        sources = [f for f in tree.sources(f"tessera/backend/cpu/{isa}") if f.endswith(".cc")]
        sources = [f for f in sources if not f.endswith("_test.cc")]
        for source in sources:
            objects = list(tree.build.rglob(f"backend/cpu/{isa}/{pathlib.Path(source).name}.o"))
            if not objects:
                findings.append(f"{source}: no object below {tree.build.name}/; build first, or it is in no target")
            for path in objects:
                count += 1
                findings += [f"{source}: weak symbol {symbol} is outside tessera::cpu::{isa}"
                             for symbol in foreign_weak_symbols(path, isa)]
    return f"{count} objects", findings


common.run(__doc__, check)
