"""matrix.py - reads matrix.def."""
import os

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def read():
    """{id: (the fault, [test, ...])}, in order. A test is a path in the repository."""
    rows = {}
    with open(os.path.join(ROOT, "tests/fault/matrix.def")) as f:
        for line in f:
            if line.strip() and not line.startswith("#"):
                id_, fault, tests = (part.strip() for part in line.split("|"))
                assert id_ not in rows, "two rows %s" % id_
                rows[id_] = fault, tests.split()
    return rows
