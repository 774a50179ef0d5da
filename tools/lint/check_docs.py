"""Paths, links and ./dev verbs that the documents name exist."""

import fnmatch
import pathlib
import re

import common

SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
VERB = re.compile(r"\./dev ([a-z]+)")


def documents(tree):
    """All but the records of what once was: decisions, the performance log, the change log."""
    past = ("docs/decisions/", "docs/perf-log.md", "CHANGELOG.md")
    return [f for f in tree.files if f.endswith(".md") and not f.startswith(past)
            and (f.startswith("docs/") or "/" not in f)]


def expand(pattern):
    """a.{h,cc} as two patterns, <name> and … as *."""
    pattern = re.sub(r"<[^>]*>|…|\.\.\.", "*", pattern)
    braces = re.search(r"\{([^}]*)\}", pattern)
    if not braces:
        return [pattern]
    return [p for option in braces.group(1).split(",")
            for p in expand(pattern[:braces.start()] + option + pattern[braces.end():])]


def exists(pattern, names):
    parts = pathlib.PurePosixPath(pattern).parts
    return any(len(name) == len(parts) and all(map(fnmatch.fnmatchcase, name, parts)) for name in names)


def check(tree):
    findings, count = [], 0
    paths = [pathlib.PurePosixPath(f) for f in tree.files]
    names = {path.parts for f in paths for path in (f, *f.parents)}
    top = {f.partition("/")[0] for f in tree.files}
    folders = {f.partition("/")[0] for f in tree.files if "/" in f}
    verbs = set(re.findall(r"^cmd_([a-z]+)\(\)", tree.text("dev"), re.M))
    for name in documents(tree):
        base = tree.root / name
        for n, line in tree.lines(name):
            for span in SPAN.findall(line):
                path = span.removeprefix("./").split(":")[0].split(" ")[0]
                first = path.partition("/")[0]
                if not (path in top or ("/" in path and first in folders)):
                    continue
                count += 1
                findings += [f"{name}:{n}: `{span}`: no such path" for pattern in expand(path)
                             if not exists(pattern, names)]
            for link in LINK.findall(line):
                if "://" not in link and not link.startswith("mailto:"):
                    count += 1
                    if not (base.parent / link).exists():
                        findings.append(f"{name}:{n}: link to {link}: no such file")
            findings += [f"{name}:{n}: ./dev {verb}: no such verb" for verb in VERB.findall(line)
                         if verb not in verbs]
    return f"{count} paths", findings


common.run(__doc__, check)
