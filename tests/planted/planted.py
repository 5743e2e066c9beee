#!/usr/bin/python3
"""planted.py [--look | N...] - takes each protection of protections.def away, in a copy of the tree, builds it, and runs the test that must
then go red; prints a line each. Where a test stays green although what it is for is gone, the test is nothing. --look only says what of
the table is not in the tree any more."""
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TREE = ("Makefile", "schema", "server", "worker", "web", "docker", "tests")


def read():
    """[(name, file, old, new, tests)]: blocks divided by empty lines, as protections.def says."""
    rows = []
    with open(os.path.join(HERE, "protections.def")) as f:
        text = re.sub(r"^#.*\n", "", f.read(), flags=re.M)
    for block in filter(None, re.split(r"\n\n+", text.strip("\n"))):
        row = dict(line.split(": ", 1) if ": " in line else (line.rstrip(":"), "") for line in block.split("\n"))
        rows.append((row["protection"], row["in"], *(row[k].replace("\\n", "\n") for k in ("take", "leave")), row["red"].split()))
    return rows


def run(tree, command, seconds):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "TUTTI_"))}
    return subprocess.run(command, cwd=tree, env={**environment, "BUILD": "build"}, timeout=seconds, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def plant(tree, row):
    """What became of it: "red", or what is wrong."""
    _, path, old, new, tests = row
    full = os.path.join(tree, path)
    with open(full) as f:
        before = f.read()
    if before.count(old) != 1:
        return "the text is there %d times" % before.count(old)
    with open(full, "w") as f:
        f.write(before.replace(old, new))
    try:
        # What is not used any more is no error here.
        built = run(tree, ["make", "-s", "-j2", "WARN=-w", "all", "unit-bins"], 900)
        if built.returncode != 0:
            return "it does not build: " + built.stdout[-500:]
        green = [test for test in tests if run(tree, ["tests/run.sh", "-t", "200", test], 300).returncode == 0]
        return "GREEN without it: " + " ".join(green) if green else "red"
    finally:
        with open(full, "w") as f:
            f.write(before)


def look():
    bad = 0
    for name, path, old, _, tests in read():
        with open(os.path.join(ROOT, path)) as f:
            times = f.read().count(old)
        gone = [test for test in tests if "/" in test and not os.path.exists(os.path.join(ROOT, test))]
        if times != 1 or gone:
            print("protections.def: %s: its text is %d times in %s%s" % (name, times, path, "; no test " + " ".join(gone) if gone else ""))
            bad += 1
    return 1 if bad else 0


def main():
    if sys.argv[1:] == ["--look"]:
        return look()
    rows = read()
    only = set(map(int, sys.argv[1:])) or set(range(1, len(rows) + 1))
    good = bad = 0
    tree = tempfile.mkdtemp(prefix="tutti-planted-")
    try:
        for name in TREE:
            source = os.path.join(ROOT, name)
            (shutil.copytree if os.path.isdir(source) else shutil.copy)(source, os.path.join(tree, name))
        shutil.copy(os.path.join(ROOT, "README.md"), tree)
        for n, row in enumerate(rows, 1):
            if n not in only:
                continue
            verdict = plant(tree, row)
            good += verdict == "red"
            bad += verdict != "red"
            print("%2d %-60s %s: %s" % (n, row[0], " ".join(row[4]), verdict), flush=True)
    finally:
        shutil.rmtree(tree, ignore_errors=True)
    print("%d passed, %d failed" % (good, bad))
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
