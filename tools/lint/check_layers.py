"""Include lines and build-target DEPS agree with layers.txt, and layers.txt points downward only."""

import re

import common


def room_of(path):
    """The room a repository path belongs to, or None for tests/, bench/ and the rest."""
    first, _, rest = path.partition("/")
    return rest.partition("/")[0] if first == "tessera" else first if first in ("apps", "bindings") else None


def check_table(rooms):
    findings, seen = [], set()
    for room, allowed in rooms.items():
        findings += [f"layers.txt: {room} names {other}, which is not a row above it"
                     for other in sorted(allowed - seen)]
        seen.add(room)
    return findings


def check_includes(tree, rooms, guarded):
    findings = []
    files = [f for f in tree.sources() if room_of(f)]
    for name in files:
        room, is_test = room_of(name), name.endswith("_test.cc")
        if room not in rooms:
            findings.append(f"{name}: room '{room}' has no row in layers.txt")
            continue
        for line, path in tree.includes(name):
            target = room_of(path)
            if not (tree.root / path).is_file():
                findings.append(f"{name}:{line}: \"{path}\" is not a path from the repository root")
            elif target is None and not is_test:
                findings.append(f"{name}:{line}: {room} may not include {path.partition('/')[0]}/")
            elif target is not None and target != room and target not in rooms[room]:
                findings.append(f"{name}:{line}: {room} may not include {target} (layers.txt)")
            elif path in guarded and room != target and room not in guarded[path] and not is_test:
                findings.append(f"{name}:{line}: only {' '.join(sorted(guarded[path]))} may include {path}")
    return len(files), findings


def declared_targets(tree):
    """{room: rooms its target links directly}, from every tessera_room(...) call."""
    targets = {}
    for name in tree.files:
        if not name.startswith("tessera/") or not name.endswith(("CMakeLists.txt", ".cmake")):
            continue
        code = re.sub(r"#.*", "", tree.text(name))
        for room, body in re.findall(r"tessera_room\(\s*(\w+)([^)]*)\)", code):
            targets[room] = set(re.findall(r"\btessera_(\w+)", body))
    return targets


def closure(room, targets):
    reached, queue = set(), [room]
    while queue:
        for other in targets.get(queue.pop(), ()):
            if other not in reached:
                reached.add(other)
                queue.append(other)
    return reached


def check_targets(tree, rooms):
    findings, targets = [], declared_targets(tree)
    for room, allowed in rooms.items():
        if room in ("apps", "bindings"):
            continue
        if room not in targets:
            findings.append(f"layers.txt: {room} has no tessera_room({room} ...) in the build")
        elif closure(room, targets) != allowed:
            difference = " ".join(sorted(closure(room, targets) ^ allowed))
            findings.append(f"tessera/CMakeLists.txt: DEPS of {room} and layers.txt differ in: {difference}")
    findings += [f"tessera/CMakeLists.txt: tessera_room({room}) has no row in layers.txt"
                 for room in targets if room not in rooms]
    for name in tree.files:  # apps and bindings link targets by name
        room = room_of(name)
        if room in ("apps", "bindings") and name.endswith(("CMakeLists.txt", ".cmake")):
            linked = set(re.findall(r"\btessera_(\w+)", re.sub(r"#.*", "", tree.text(name)))) & set(targets)
            findings += [f"{name}: {room} may not link tessera_{other} (layers.txt)"
                         for other in sorted(linked - rooms[room])]
    return findings


def check(tree):
    rooms, guarded = common.layers(tree)
    count, findings = check_includes(tree, rooms, guarded)
    return f"{count} files, {len(rooms)} rooms", check_table(rooms) + findings + check_targets(tree, rooms)


common.run(__doc__, check)
