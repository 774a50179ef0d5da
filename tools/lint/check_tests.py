"""Every *_test.cc is compiled by some build target (compile_commands.json of the build names it).

Those of the CUDA backend only where the build has it.
"""

import json

import common

CUDA = "tessera/backend/cuda/"


def check(tree):
    database = tree.build / "compile_commands.json"
    if not database.exists():
        return "", [f"{tree.build.name}/compile_commands.json is missing; configure first: ./dev build"]
    compiled = {entry["file"] for entry in json.loads(database.read_text())}
    has_cuda = any(str(tree.root / f) in compiled for f in tree.files if f.startswith(CUDA))
    tests = [f for f in tree.files if f.endswith("_test.cc") and (has_cuda or not f.startswith(CUDA))]
    return f"{len(tests)} files", [f"{f}: in no build target, so it never runs" for f in tests
                                   if str(tree.root / f) not in compiled]


common.run(__doc__, check)
