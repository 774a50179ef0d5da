"""Prints the closing line of ./dev test: tally.py RESULTS_DIR.

RESULTS_DIR holds ctest.xml and, for each GoogleTest binary that ran to its end, gtest-<ctest name>.xml.
Counts single GoogleTest cases. A ctest entry without GoogleTest results counts as one case, and one
that failed although every case passed (a crash, a leak report) as one failure more.
"""

import collections
import pathlib
import sys
import xml.etree.ElementTree as xml


def gtest_cases(path):
    """[(name, "passed" | "failed" | "skipped: reason")] of one GoogleTest result file."""
    cases = []
    for case in xml.parse(path).getroot().iter("testcase"):
        name = f'{case.get("classname")}.{case.get("name")}'
        skipped = case.find("skipped")
        if case.find("failure") is not None:
            cases.append((name, "failed"))
        elif skipped is not None:
            reason = skipped.get("message", "").strip().splitlines()
            cases.append((name, "skipped: " + (reason[-1] if reason else "no reason given")))
        elif case.get("status") == "run":
            cases.append((name, "passed"))
    return cases


def entry_cases(entry, results):
    """Cases of one ctest entry, which may be a GoogleTest binary or any other command."""
    name = entry.get("name")
    path = results / f"gtest-{name}.xml"
    cases = [(f"{name}: {case}", result) for case, result in gtest_cases(path)] if path.exists() else []
    if entry.get("status") in ("fail", "notrun") and entry.find("skipped") is None:
        if all(result != "failed" for _, result in cases):
            cases.append((f"{name}: the command itself", "failed"))
    elif not path.exists():
        cases.append((name, "passed" if entry.get("status") == "run" else "skipped: by ctest"))
    return cases


def main():
    results = pathlib.Path(sys.argv[1])
    report = results / "ctest.xml"
    if not report.exists():
        sys.exit(f"tally: ctest wrote no {report}; did it start?")
    cases = []
    for entry in xml.parse(report).getroot().iter("testcase"):
        cases += entry_cases(entry, results)
    count = collections.Counter(result for _, result in cases)
    for name, result in cases:
        if result == "failed":
            print(f"failed: {name}")
    skips = {result: number for result, number in count.items() if result.startswith("skipped")}
    for result, number in skips.items():
        print(f"{number} {result}")
    line = f'{count["passed"]} passed, {count["failed"]} failed'
    if skips:
        line += f", {sum(skips.values())} skipped"
    print(line)
    sys.exit(1 if count["failed"] or not cases else 0)


main()
