#!/usr/bin/python3
"""faults.py - runs each test of the fault matrix once and prints the matrix: a row's result, how many of its tests passed, the
fault. Last line `N passed, N failed`."""
import os
import re
import subprocess
import sys
import tempfile

from matrix import ROOT, read

BUILD = os.environ.get("BUILD", "build")


def program(path):
    """What run.sh is given: the test itself, or what a unit test was built to."""
    return os.path.join(BUILD, path[:-2]) if path.endswith(".c") else path


def passed(path, id_, kept):
    """Did the test prove the row? None: it cannot on this machine. The rows of a unit test and of a shell test are as
    good as all of it."""
    try:
        with open(os.path.join(kept, program(path).replace("/", "_"))) as f:
            text = f.read()
    except FileNotFoundError:
        return False
    well = text.endswith("\nSTATUS 0\n")
    if well and re.search(r"^NOTE (skipped|only in)", text, re.M):
        return None
    if path.endswith(".c"):
        return well
    said = re.findall(r"^row %s (.*)$" % id_, text, re.M)
    return set(said) == {"ok"} and (well or path.endswith(".py"))


def main():
    rows = read()
    tests = list(dict.fromkeys(path for _, files in rows.values() for path in files))
    with tempfile.TemporaryDirectory() as kept:
        subprocess.run(["tests/run.sh", "-t", "900", *map(program, tests)], cwd=ROOT,
                       env={**os.environ, "BUILD": BUILD, "TUTTI_TEST_KEEP": kept}, check=False)
        print()
        verdicts = []
        for id_, (fault, files) in rows.items():
            results = [passed(path, id_, kept) for path in files]
            verdicts.append("FAIL" if False in results or not results else "skip" if None in results else "ok")
            print("%-4s %-3s  %d of %d  %s" % (verdicts[-1], id_, results.count(True), len(results), fault))
    print("%d passed, %d failed" % (verdicts.count("ok"), verdicts.count("FAIL")))
    return "FAIL" in verdicts


if __name__ == "__main__":
    sys.exit(main())
