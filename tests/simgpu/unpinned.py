#!/usr/bin/python3
"""unpinned.py - where the arena must not be pinned (ulimit -l), ranks say so and go through less that may be: every operation
has the right bits, along each axis, in one piece and in many, and so has what was kept on a device."""
import os
import subprocess
import sys

import numpy as np

import doubles
from invariants import row
from service import BUILD, Service

sys.path.append(os.path.join(doubles.TESTS, "conformance"))
import reference  # noqa: E402

RANKS = 4
RNG = np.random.default_rng(8)
SHAPES = ((8, 4), (4, 12, 8), (4, 700001), (700000, 4))  # the last two are of more than one chunk


def rows_of_the_table():
    table = subprocess.run([os.path.join(BUILD, "tutti-server"), "--print-tables"], capture_output=True, text=True, check=True)
    return [line.split()[1] for line in table.stdout.splitlines() if line.startswith("op ")]


def parameters(op):
    if op == "all_to_all":
        return [{"split_axis": s, "concat_axis": c} for s in (0, 1) for c in (0, 1)]
    if op.startswith("remote"):
        return [{"src": 1, "dst": 3}]
    return [{"axis": 0}, {"axis": 1}] if "gather" in op or "scatter" in op else [{}]


def divides(op, shape, given):
    split = given.get("split_axis", given.get("axis") if "scatter" in op else None)
    return split is None or shape[split] % RANKS == 0


def check(service, op, stack, **given):
    query = "".join("&%s=%s" % pair for pair in given.items())
    a = service.post("/v1/jobs?op=%s&wait=60&dtype=int32&shape=%s%s" % (op, ",".join(map(str, stack.shape)), query), stack.tobytes(),
                     {"Content-Type": "application/octet-stream", "Accept": "application/json"})
    if a.status == 422 and a.json["code"] == "dtype_op":
        return 0  # none of NCCL's
    assert a.status == 200, (op, given, a)
    id_ = a.headers["tutti-job"] if "id" not in a.json else a.json["id"]
    want = reference.outputs(op, list(stack), "int32", **{k: v for k, v in given.items() if k != "resident"})
    for rank, array in enumerate(want):
        if array is not None:
            got = service.get("/v1/jobs/%s/outputs/%d?format=raw" % (id_, rank))
            assert got.status == 200 and got.body == np.ascontiguousarray(array).tobytes(), (op, stack.shape, given, rank)
    assert service.delete("/v1/jobs/" + id_).status == 204
    return 1


def every_operation():
    done = 0
    with row("G8"), Service(workers=RANKS, arena="512M", options=["--backend", "nccl"]) as service:
        for shape in SHAPES:
            stack = RNG.integers(-1000, 1000, (RANKS, *shape)).astype(np.int32)
            for op in rows_of_the_table():
                for given in parameters(op) if op != "barrier" else []:
                    if divides(op, shape, given):
                        done += check(service, op, stack, **given)
            done += check(service, "all_reduce_sum", stack, resident=1)
            done += check(service, "all_gather", stack, resident=1, axis=1)
        with open(service.log_path) as f:
            said = [line for line in f if "cannot be pinned" in line]
        assert len(said) == RANKS and all("ulimit -l" in line and "out of memory" in line for line in said), said
        print("NOTE %d jobs without a pinned arena" % done)
        assert done > 60
    for r in doubles.counters():
        assert r["in_bytes"] > 0 and r["out_bytes"] > 0, r


def main():
    doubles.use(RANKS)
    os.environ.update(SIMGPU_PIN=str(16 << 20), SIMGPU_LAG_US="300", SIMGPU_SEED="3")
    return doubles.run((every_operation,))


if __name__ == "__main__":
    sys.exit(main())
