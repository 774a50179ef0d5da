"""Every C++ file is laid out as clang-format 14 writes it; --fix rewrites those that are not."""

import subprocess

import common

parser = common.arguments(__doc__)
parser.add_argument("--fix", action="store_true")
options = parser.parse_args()
tree = common.Tree(options.root, options.root / "build/release")
files = tree.sources()

if options.fix:
    subprocess.run(["clang-format-14", "-i", *files], cwd=tree.root, check=True)
    print(f"format: {len(files)} files rewritten")
else:
    command = ["clang-format-14", "--dry-run", *files]
    output = subprocess.run(command, cwd=tree.root, capture_output=True, text=True, check=True).stderr
    places = {}
    for line in output.splitlines():
        if "[-Wclang-format-violations]" in line:
            name, number = line.split(":")[:2]
            places.setdefault(name, number)
    common.finish((f"{len(files)} files", [f"{name}:{number}: run ./dev format {name}" for name, number in places.items()]))
