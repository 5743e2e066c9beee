#!/usr/bin/python3
"""ops.py [ROUNDS] - every operation on large tensors that are there already, as jobs of the service, beside what this machine's
memory can do in the same round. Writes BUILD/bench-ops.json."""
import os
import sys

import numpy as np

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__))]
from tools import Figures, MIB, memory
from service import Service

RANKS = 4
LARGE_MIB = 64
LARGE = LARGE_MIB * MIB
FLOATS = LARGE // 4

# What limits a collective here: the sum of N arrays, or a copy of so many of them. None: nothing is moved.
COLLECTIVES = [
    ("all_reduce_sum", {}, "add", 1),
    ("all_reduce_max", {}, "add", 1),
    ("all_reduce_min", {}, "add", 1),
    ("reduce_sum", {}, "add", 1),
    ("reduce_scatter_sum", {}, "add", 1),
    ("all_gather", {}, "copy", RANKS),
    ("all_gather", {"axis": 1}, "copy", RANKS),
    ("gather", {}, "copy", RANKS),
    ("all_to_all", {}, "copy", RANKS),
    ("all_to_all", {"split_axis": 1, "concat_axis": 0}, "copy", RANKS),
    ("scatter", {"axis": 1}, "copy", 1),
    ("scatter", {}, None, 0),
    ("broadcast", {}, None, 0),
    ("remote_send", {}, None, 0),
    ("remote_recv", {}, None, 0),
]


def upload_inputs(service):
    """One tensor a rank, in whole numbers, so that every sum is exact."""
    ids = []
    for r in range(RANKS):
        x = np.arange(FLOATS, dtype=np.float32) % 251 + r
        answer = service.post("/v1/tensors?dtype=float32&shape=%d,%d" % (RANKS, FLOATS // RANKS), x.tobytes(),
                              {"Content-Type": "application/octet-stream"})
        assert answer.status == 201, answer
        ids.append(answer.json["tensor"])
    return ids


def collectives(service, ids, figures):
    """Large jobs on tensors that are there already: the time inside the workers."""
    limits = memory(RANKS, LARGE_MIB, 3)
    figures.add("memory: sum of %d" % RANKS, limits["add"] / 1e9, "GB/s", "high", table="large")
    figures.add("memory: copy", limits["copy"] / 1e9, "GB/s", "high", table="large")
    for op, params, limit, arrays in COLLECTIVES:
        answer = service.post("/v1/jobs?wait=60&data=0", {"op": op, "inputs": [{"tensor": i} for i in ids], **params})
        assert answer.status == 200, answer
        job = answer.json
        seconds = max(job["timeline"]["collective_us"], 1) / 1e6
        name = " ".join([op] + ["%s=%d" % p for p in params.items()])
        if limit:
            figures.add(name + ", algbw", job["algbw_GBps"], "GB/s", "high", LARGE * arrays / limits[limit] / seconds,
                        "memory: " + ("sum of %d" % RANKS if limit == "add" else "copy"),
                        None, "large")
            figures.add(name + ", busbw", job["busbw_GBps"], "GB/s", "high", table="bus")
        else:
            figures.add(name + ", a view", seconds * 1e6, "us", "low", table="large")
        assert service.delete("/v1/jobs/" + job["id"]).status == 204


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    figures = Figures()
    with Service(workers=RANKS, arena="%dM" % (LARGE_MIB * RANKS * 5), options=["--log-level", "warn"]) as service:
        ids = upload_inputs(service)
        for i in range(rounds + 1):
            collectives(service, ids, figures if i else Figures())  # the first use of a page is slower
    figures.print_table("large", "%d ranks x %d MiB float32, every operation, by the jobs' own timelines" % (RANKS, LARGE_MIB))
    figures.print_table("bus", "the same as bus bandwidth")
    figures.write_part("ops")


if __name__ == "__main__":
    main()
