#!/usr/bin/python3
"""counts.py [MIB] - what an all_reduce of MIB MiB a rank (default 64) moves, counted by the simulated GPUs: every input
byte in once, every output byte out once, and two of copy in, NCCL and copy out under way for most of the run."""
import sys

import numpy as np

import doubles
from service import Service

RANKS = 4


def main():
    doubles.use(RANKS)
    size = (int(sys.argv[1]) if len(sys.argv) > 1 else 64) << 20
    rows = np.arange(RANKS * size // 4, dtype=np.uint32).reshape(RANKS, -1)
    with Service(workers=RANKS, arena="%dM" % ((RANKS + 2) * size >> 20), options=["--backend", "nccl"]) as service:
        answer = service.post("/v1/jobs?op=all_reduce_sum&wait=120&dtype=uint32&shape=%d,%d" % rows.shape, rows.tobytes(),
                              {"Content-Type": "application/octet-stream"})
        assert answer.status == 200, answer
        got = service.get("/v1/jobs/%s/outputs/3?format=raw" % answer.json["id"])
        assert np.array_equal(np.frombuffer(got.body, np.uint32), rows.sum(axis=0, dtype=np.uint32)), "the sum"
    ranks = doubles.counters()
    assert len(ranks) == RANKS and not any(r["complaints"] for r in ranks), ranks
    into, out = sum(r["in_bytes"] for r in ranks), sum(r["out_bytes"] for r in ranks)
    busy, both = sum(r["busy_ns"] for r in ranks), sum(r["overlapped_ns"] for r in ranks)
    print("in %d of %d bytes, out %d of %d; two or more at once for %.0f %% of the time" %
          (into, RANKS * size, out, size, 100 * both / busy))
    assert into == RANKS * size and out == size
    assert both > busy / 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
