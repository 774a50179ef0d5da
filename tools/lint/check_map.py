"""docs/map.md is true: its files exist, its calls are include lines, and no room is missing.

A row of the map is | step | `file` | `header it calls`, ... | what is handed on |. A call from a.cc
to b.h holds when a.cc, or a.h beside it, includes b.h.
"""

import re

import common

MAP = "docs/map.md"


def rows(tree):
    """[(line, files, called headers)] of every table row that names a file."""
    for n, line in tree.lines(MAP):
        cells = [re.findall(r"`([^`]+)`", cell) for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) == 4 and cells[1]:
            yield n, cells[1], cells[2]


def check(tree):
    if MAP not in tree.files:
        return "", [f"{MAP} is missing"]
    findings, count, named = [], 0, set()
    for n, files, called in rows(tree):
        findings += [f"{MAP}:{n}: {f} does not exist" for f in files + called if f not in tree.files]
        named.update(files)
        named.update(called)
        included = set()
        for name in files:
            stem = name.rsplit(".", 1)[0]
            for sibling in (name, stem + ".h"):
                if sibling in tree.files:
                    included.update(path for _, path in tree.includes(sibling))
        for header in called:
            count += 1
            if header not in included:
                findings.append(f"{MAP}:{n}: {' '.join(files)} does not include {header}")
    rooms, _ = common.layers(tree)
    for room in rooms:
        prefix = room + "/" if room in ("apps", "bindings") else f"tessera/{room}/"
        if any(f.startswith(prefix) for f in tree.files) and not any(f.startswith(prefix) for f in named):
            findings.append(f"{MAP}: room {room} does not appear")
    return f"{count} calls, {len(named)} files", findings


common.run(__doc__, check)
