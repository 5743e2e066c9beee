#!/usr/bin/python3
"""check_matrix.py - the fault matrix is whole: every row is there and has tests, each of them is in the suite and says which
rows it proves, and no test speaks of a row that the matrix has not."""
import os
import re
import subprocess
import sys

from matrix import ROOT, read

IDS = ["F%d" % n for n in range(1, 59)] + ["G%d" % n for n in range(1, 13)]
MARKS = {".py": r"\"([FG]\d+)\"", ".sh": r"^ *row ([FG0-9 ]+)$|echo 'row ([FG]\d+) ok'", ".c": r"/\* ((?:[FG]\d+(?:, )?)+):"}


def suite():
    """What `make test` runs, by repository path."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE") and k != "MFLAGS"}
    return set(subprocess.run(["make", "-s", "list-tests"], cwd=ROOT, env=environment, check=True,
                              stdout=subprocess.PIPE, text=True).stdout.split())


def marks(path):
    """The rows that a test says it proves."""
    with open(os.path.join(ROOT, path)) as f:
        text = f.read()
    if path.endswith(".py") and not re.search(r"^from (?:invariants|tcp_link) import (?:.*|\([^)]*)\brow\b", text, re.M):
        return set()
    found = re.finditer(MARKS[os.path.splitext(path)[1]], text, re.M)
    return {id_ for mark in found for id_ in re.findall(r"\b[FG]\d+\b", mark.group())}


def main():
    rows, tests, wrong = read(), suite(), []
    for id_ in IDS:
        if id_ not in rows:
            wrong.append("%s has no line in the matrix" % id_)
    for id_, (_, files) in rows.items():
        if id_ not in IDS:
            wrong.append("the matrix has a row %s, which is none" % id_)
        if not files:
            wrong.append("%s has no test" % id_)
        for path in files:
            if path not in tests:
                wrong.append("%s: %s is not in the suite" % (id_, path))
            elif id_ not in marks(path):
                wrong.append("%s: %s does not say that it proves it" % (id_, path))
    for path in sorted(tests):
        if os.path.splitext(path)[1] in MARKS:
            for id_ in sorted(marks(path)):
                if path not in rows.get(id_, ("", ()))[1]:
                    wrong.append("%s says it proves %s, of which the matrix does not know" % (path, id_))
    for line in wrong:
        print(line)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
