#!/usr/bin/python3
"""faults.py - a simulated GPU fails in the middle of each operation: the error names the rank, no other rank
hangs, and the next job on the group succeeds, within BOUND_S."""
import contextlib
import os
import sys
import time

import doubles
from invariants import row
from service import Service

BOUND_S = 20  # from the fault's job to the end of the one after it, with a run limit of 2 s and restarts
RANK = 2

# On the host some are views of their input, and move nothing; with resident outputs all reach NCCL.
OPS = (("reduce_sum", {}), ("all_gather", {"axis": 1}), ("reduce_scatter_sum", {}), ("all_reduce_sum", {}),
       ("all_reduce_max", {}), ("all_reduce_min", {}), ("gather", {}), ("scatter", {"axis": 1}), ("all_to_all", {}),
       ("broadcast", {"resident": True}), ("remote_send", {"resident": True, "src": RANK, "dst": 0}),
       ("remote_recv", {"resident": True, "src": 1, "dst": RANK}))

INPUT = [[float(4 * i + j) for j in range(4)] for i in range(4)]


def failed_naming(text, status=500):
    def check(a):
        assert a.status == status, a
        assert a.json["ranks"] == [RANK] or (status == 504 and RANK in a.json["ranks"]), a.json
        assert text in a.json["detail"], a.json
    return check


def succeeded(attempts, least_us=0):
    def check(a):
        assert a.status == 200 and a.json["state"] == "succeeded", a
        assert a.json["attempts"] == attempts, a.json
        assert a.json["timeline"]["collective_us"] >= least_us, a.json
    return check


FAULTS = {
    "async": failed_naming("NCCL error 2"),
    "hang": failed_naming("had not finished", 504),
    "oom": failed_naming("out of memory"),
    "lost": failed_naming("unspecified launch failure"),
    "slow 200000": succeeded(1, 200000),
    "die": succeeded(2),  # the job runs again when the rank is back
}
ROWS = {"async": "G2", "hang": "G3", "oom": "G7", "lost": "G6", "slow 200000": "G10", "die": "G4"}


def one(service, op, parameters, fault, check):
    begun = time.monotonic()
    with open(doubles.FAULT, "w") as f:
        f.write("%d %s\n" % (RANK, fault))
    request = {"op": op, "inputs": [INPUT] * 4, "timeout": 2, **parameters}
    check(service.post("/v1/jobs?wait=15", request))
    assert not os.path.exists(doubles.FAULT), "the fault was not taken"
    after = service.post("/v1/jobs?wait=15", {"op": "all_reduce_sum", "inputs": [[r + 1] for r in range(4)]})
    assert after.status == 200, after
    assert after.json["outputs"][0]["data"] == [10], after.json
    took = time.monotonic() - begun
    assert took < BOUND_S, "%.1f s" % took


def main():
    doubles.use(4)
    passed, wrong = 0, []
    for op, parameters in OPS:
        # A server each: a rank that dies again and again is started ever later.
        with Service(workers=4, options=["--backend", "nccl"]) as service:
            for fault, check in FAULTS.items():
                try:
                    one(service, op, parameters, fault, check)
                    passed += 1
                except AssertionError as e:
                    wrong.append(fault)
                    print("%s, %s: %s" % (op, fault, str(e)[:700]))
                    if os.path.exists(doubles.FAULT):
                        os.unlink(doubles.FAULT)
    for fault, row_of_it in ROWS.items():
        with contextlib.suppress(AssertionError), row(row_of_it):
            assert fault not in wrong
    failed = len(wrong)
    if doubles.complaints():
        failed += 1
        print("the double complains:\n%s" % doubles.complaints()[:3000])
    print("CASES %d %d" % (passed, failed))
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
