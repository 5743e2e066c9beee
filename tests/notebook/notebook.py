#!/usr/bin/python3
"""notebook.py - the example of web/notebook, executed as people do: four notebooks at once, each a rank by calls. Their
weights are the same bits, and within 1e-6 of those of one process with all the data."""
import ast
import json
import os
import sys
import tempfile

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from service import ROOT, Service
from executed import begin, kernels, outputs

NOTEBOOK = os.path.join(ROOT, "web", "notebook", "logistic_regression.ipynb")
RANKS = 4


def single():
    """One process, all the data, the notebook's own model."""
    with open(NOTEBOOK) as f:
        cells = json.load(f)["cells"]
    model = {"np": np}
    exec("".join(next(c for c in cells if c["metadata"].get("tags") == ["model"])["source"]), model)
    shards = [model["shard"](r) for r in range(RANKS)]
    x, y = np.concatenate([s[0] for s in shards]), np.concatenate([s[1] for s in shards])
    w = 0.01 * np.random.default_rng(99).standard_normal(model["FEATURES"])
    for _ in range(model["STEPS"]):
        w = w - model["RATE"] * model["gradient"](w, x, y)[1] / len(y)
    return w


def execute(service, directory):
    """What each notebook printed."""
    processes = []
    for rank, kernel in enumerate(kernels(RANKS)):
        own = os.path.join(directory, str(rank))
        os.mkdir(own)
        processes.append(begin(NOTEBOOK, own, kernel, TUTTI_URL="http://%s:%d" % (service.host, service.port), RANK=str(rank)))
    printed, failed = [], []
    for rank, process in enumerate(processes):
        try:
            printed.append("".join("".join(o.get("text", "")) for cell in outputs(process) for o in cell))
        except AssertionError as error:
            failed.append("rank %d: %s" % (rank, error))
    assert not failed, "\n".join(failed)
    return printed


def main():
    with tempfile.TemporaryDirectory(prefix="tutti-test-") as directory, Service(workers=RANKS) as service:
        printed = execute(service, directory)
    weights = [np.array(ast.literal_eval(text.split("weights: ")[1].splitlines()[0])) for text in printed]
    assert all(w.tobytes() == weights[0].tobytes() for w in weights), "the ranks have different weights"
    apart = np.abs(weights[0] - single()).max()
    assert all("{'rate': 0.5, 'by': 'rank 0'}" in text for text in printed)
    first = next(line for line in printed[0].splitlines() if line.startswith("rank 0"))
    assert apart < 1e-6, "%g from the single process" % apart
    print("NOTE %s; %.1e from the single process" % (first, apart))
    return 0


if __name__ == "__main__":
    sys.exit(main())
