"""What every lint check shares: the tree, the two options, and how findings are reported."""

import argparse
import pathlib
import re
import subprocess
import sys

SOURCES = (".h", ".cc", ".cu", ".cuh")


class Tree:
    """The files of the repository that git would commit; all but build output without git."""

    def __init__(self, root, build):
        self.root = root.resolve()
        self.build = build.resolve()
        command = ["git", "-C", str(self.root), "ls-files", "-z", "-c", "-o", "--exclude-standard"]
        listed = None
        if (self.root / ".git").exists():
            try:
                listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            except (OSError, subprocess.CalledProcessError):
                pass  # no git here, or a checkout owned by somebody else
        if listed is not None:
            names = set(listed.split("\0")) - {""}
        else:
            paths = (p.relative_to(self.root) for p in self.root.rglob("*"))
            names = {p.as_posix() for p in paths if p.parts[0] not in ("build", ".git", ".cache")}
        self.files = sorted(n for n in names if (self.root / n).is_file())

    def sources(self, *folders):
        """C++ files, below the given folders if there are any."""
        return [f for f in self.files
                if f.endswith(SOURCES) and (not folders or f.startswith(tuple(d + "/" for d in folders)))]

    def text(self, name):
        return (self.root / name).read_text(errors="replace")

    def lines(self, name):
        return enumerate(self.text(name).splitlines(), 1)

    def includes(self, name):
        """[(line, path)] of the quoted includes of one file."""
        matches = ((n, re.match(r'\s*#\s*include\s*"([^"]+)"', line)) for n, line in self.lines(name))
        return [(n, m.group(1)) for n, m in matches if m]


def arguments(description):
    here = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--root", type=pathlib.Path, default=here, help="the repository")
    parser.add_argument("--build", type=pathlib.Path, help="a built tree; ROOT/build/release unless given")
    return parser


def run(description, check):
    """Parses the options and calls check(tree), which returns (what was checked, findings)."""
    options = arguments(description).parse_args()
    finish(check(Tree(options.root, options.build or options.root / "build/release")))


def finish(outcome):
    checked, findings = outcome
    name = pathlib.Path(sys.argv[0]).stem.removeprefix("check_")
    for finding in findings:
        print(f"{name}: {finding}")
    if findings:
        sys.exit(1)
    print(f"{name}: ok ({checked})")


def layers(tree):
    """layers.txt as {room: set of rooms it may include}, lowest room first, and {header: rooms}."""
    rooms, guarded = {}, {}
    for _, line in tree.lines("layers.txt"):
        line = line.split("#")[0].strip()
        if not line:
            continue
        name, _, allowed = line.partition(":")
        (guarded if name.endswith(".h") else rooms)[name.strip()] = set(allowed.split())
    return rooms, guarded
