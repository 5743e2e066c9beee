#!/usr/bin/python3
"""examples.py - the example notebooks of web/notebook that are one notebook each, executed from top to bottom as people do, in
an empty directory; and what they print is right. (notebook.py has the one that is four.)"""
import ast
import json
import os
import re
import subprocess
import sys
import tempfile

from tools import ROOT, run_facts, tutti, url_of
from service import Service
from executed import begin, kernels, outputs

NOTEBOOKS = os.path.join(ROOT, "web", "notebook")


def texts(outputs):
    for output in outputs:
        assert output["output_type"] != "error", output
        yield "".join(output.get("text", "")) or "".join(output.get("data", {}).get("text/plain", ""))


class Executed:
    """A notebook that was run: `printed` of every code cell, `pages` the HTML, `pictures` the number of PNGs."""

    def __init__(self, name, service, directory):
        with open(os.path.join(NOTEBOOKS, name + ".ipynb")) as f:
            cells = json.load(f)["cells"]
        kept = [i for i, c in enumerate(cells) if c["cell_type"] == "code" and (c["outputs"] or c["execution_count"])]
        assert not kept, "%s is committed with outputs" % name
        cells = outputs(begin(os.path.join(NOTEBOOKS, name + ".ipynb"), directory, kernels(1)[0], TUTTI_URL=url_of(service),
                              PYTHONPATH=NOTEBOOKS, MPLCONFIGDIR=directory))
        self.printed = ["".join(texts(o)) for o in cells]
        data = [d.get("data", {}) for o in cells for d in o]
        self.pages = "".join("".join(d.get("text/html", "")) for d in data)
        self.pictures = sum("image/png" in d for d in data)

    def has(self, *words):
        everything = "\n".join(self.printed)
        missing = [w for w in words if w not in everything]
        assert not missing, "nothing of %s in\n%s" % (missing, everything)


def execute(name):
    with tempfile.TemporaryDirectory(prefix="tutti-test-") as directory, Service(workers=4, arena="1G") as service:
        return Executed(name, service, directory)


def test_first_steps():
    done = execute("first_steps")
    assert "4 of 4 ranks" in done.pages and "<svg" in done.pages and "in the ranks" in done.pages
    done.has("[10, 10, 10, 10]", "reduce_sum      [array([12, 16]), None, None, None]", "[0 1 2 3 4 5 6 7] on every rank",
             "rank 2 has [ 2  6 10]", "[ 3  7 11 15]", "succeeded True True", "[1111.0, 1111.0, 1111.0, 1111.0]", "[0, 1, 2, 3, 4]",
             "[10, 10, 10, 10] [10, 10, 10, 10]", "[[4.0, 4.0], [4.0, 4.0]]", "does not divide by the 4 ranks",
             "not_divisible 422 /axis")


def test_data_parallel_training():
    done = execute("data_parallel_training")
    begun, ended = re.search(r"loss ([\d.]+) -> ([\d.]+)", "\n".join(done.printed)).groups()
    assert float(begun) > 0.5 and float(ended) < 0.25, (begun, ended)
    done.has("apart by less than 1e-9: True", "loss below 1e-6: True", "tensor([20., 40.])")


def test_finding_a_missing_rank():
    done = execute("finding_a_missing_rank")
    assert re.search(r"missing.*rank 2<", done.pages), done.pages
    done.has("missing: [2]", "[4. 4. 4.] {0: [4.0, 4.0, 4.0]", "rank 0: RanksMissing, missing [2, 3]",
             "rank 1: RanksMissing, missing [2, 3]", "ranks 2, 3 never came", "rank 3 hears: [2, 3] were missing",
             "[[4.0, 4.0], [4.0, 4.0], [4.0, 4.0], [4.0, 4.0]]", "Mismatch - call", "(3,)", "[0 1 2 3]")
    assert done.printed[-1].strip() == "cancelled"


def test_speed_of_the_links():
    done = execute("speed_of_the_links")
    table = [line.split() for line in "\n".join(done.printed).splitlines() if re.match(r" +[\d,]+ +\d+\.\d{3}", line)]
    assert len(table) == 8 and table[-1][0] == "16,777,216" and all(float(v) > 0 for v in table[-1][1:]), table
    assert done.pictures == 1
    done.has("a job that moves nothing takes")


def test_coming_from():
    done = execute("coming_from")
    rows = [line for text in done.printed for line in text.splitlines()]
    torch = [ast.literal_eval(line[2:]) for line in rows[0:4]]
    assert torch == [(10.0, 4.0, [1.0, 2.0, 3.0, 4.0], [10.0], 2.5, r == 1) for r in range(4)], torch
    mpi = [ast.literal_eval(line[2:]) for line in rows[4:8]]
    assert mpi == [([r, 10 + r, 20 + r, 30 + r], r == 0, [[20, 22, 24, 26], [40, 42, 44, 46]][r % 2]) for r in range(4)], mpi
    megengine = [ast.literal_eval(line[2:]) for line in rows[8:12]]
    assert megengine == [((2, 16), (8, 1), 4.0)] * 4, megengine
    done.has("[10, 10, 10, 10]")


def test_the_cells_of_the_readme():
    with open(os.path.join(ROOT, "README.md")) as f:
        first, second = re.findall(r"```python\n(.*?)```", f.read().split("## From a notebook")[1].split("\n## ")[0], re.S)
    with tempfile.TemporaryDirectory(prefix="tutti-test-") as directory, Service(workers=4) as service:
        program = first.replace("http://127.0.0.1:8080", url_of(service)).replace("world.all", "print(world.all").replace("4])", "4]))")
        done = subprocess.run(["/usr/bin/python3", "-"], input="import sys; sys.path.insert(0, '')\n" + program, capture_output=True,
                              text=True, cwd=directory)
        assert (done.returncode, done.stdout) == (0, "[10, 10, 10, 10]\n"), done
    # The second shows what there is; it is of many ranks, so it is not run, but each name in it is one.
    owners = {"world": tutti.Group, "me": tutti.Rank, "b": tutti.Batch}
    used = [n for n in ast.walk(ast.parse(second)) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)]
    assert len(used) > 8 and all(hasattr(owners[n.value.id], n.attr) for n in used if n.value.id in owners), second


if __name__ == "__main__":
    sys.exit(run_facts(globals()))
