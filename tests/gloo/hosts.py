#!/usr/bin/python3
"""hosts.py - gloo among hosts that share no memory: every operation, dtype, axis, way and pattern of hosts against NumPy, bit
for bit in rank order."""
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import stage
import conformance
import numpy as np
import reference

WAYS = ("meet", "slices", "chain")  # of reductions, beside the cheapest
# Hosts of the world's ranks, and groups of those.
PATTERNS = (
    ([0, 0, 1, 1], ([0, 1, 2, 3], [2, 3, 0, 1], [0, 2, 1, 3], [3, 0])),
    ([0, 0, 0, 1, 2, 2], ([0, 1, 2, 3, 4, 5], [5, 0, 4, 3], [3, 0, 4], [0, 1, 2])),
)
LARGE = (1 << 17) + 40  # elements of a rank: several chunks of every stream, the last one short


def each(op):
    return [d for d in reference.DTYPES if reference.takes(op, d)]


class Tally:
    def __init__(self):
        self.done, self.failures = 0, []

    def one(self, s, op, dtype, inputs, group, **params):
        self.done += 1
        wrong = s.run(op, inputs, dtype, group, **params)
        if wrong:
            self.failures.append((op, dtype))
            print("%s %s group %s of hosts %s, %s %s: %s" % (op, dtype, group, s.hosts, inputs[0].shape, str(params)[:200], wrong))

    def cross(self, s, group, rng, turn, ops):
        """Every dtype, with axes, peers and shapes in turn."""
        for op in ops:
            for dtype in each(op):
                for params in conformance.axes_for(op):
                    for peers in conformance.peers_for(op, len(group)):
                        turn += 1
                        shape = conformance.shape_for(len(group), op, turn)
                        inputs = [conformance.draw(rng, shape, dtype) for _ in group]
                        self.one(s, op, dtype, inputs, group, skew=turn % 3, **params, **peers)

    def lengths(self, s, group, rng, ops):
        """No elements, one, and so many that a stream has several chunks."""
        n = len(group)
        for op in ops:
            for dtype, counts in (("float32", (0, 1, LARGE)), ("bfloat16", (LARGE,)), ("int8", (LARGE,))):
                for count in counts if reference.takes(op, dtype) else ():
                    peers = {"src": n - 1, "dst": 0} if op in conformance.PEERS else {}
                    shape = (n, count // n) if op in conformance.ONE_AXIS + ("all_to_all",) else (count,)
                    inputs = [conformance.draw(rng, shape, dtype) for _ in group]
                    self.one(s, op, dtype, inputs, group, **peers)
        self.one(s, "all_reduce_sum", "float32", [np.float32(r + 0.5) for r in range(n)], group)

    def strided(self, s, group, rng):
        """Several chunks of rows that are no whole chunks."""
        n = len(group)
        for op, params in (("all_gather", {"axis": 1}), ("gather", {"axis": 2}), ("scatter", {"axis": 1}), ("reduce_scatter_sum", {"axis": 1}),
                           ("all_to_all", {"split_axis": 0, "concat_axis": 1}), ("all_to_all", {"split_axis": 2, "concat_axis": 0})):
            inputs = [conformance.draw(rng, (3 * n, n, 1000 * n), "float32") for _ in group]
            self.one(s, op, "float32", inputs, group, **params)


    def masked(self, s, group, rng):
        """Gradients of maxima and minima, and their gradients: one of a few values, so that ranks tie."""
        n = len(group)
        for dtype in ("float32", "bfloat16", "int32", "uint8"):
            for op, when in (("all_reduce_sum", "after"), ("broadcast", "after"), ("all_gather", "after"), ("reduce_sum", "before"),
                             ("all_reduce_sum", "before"), ("reduce_scatter_sum", "before")):
                for how in ("max", "min"):
                    params = {"axis": 1} if op in conformance.ONE_AXIS else {}
                    inputs = [conformance.draw(rng, (3, 2 * n), dtype) for _ in group]
                    shape = (3, 2 * n * n) if op == "all_gather" else (3, 2 * n)
                    masks = [rng.integers(0, 3, shape).astype(reference.DTYPES[dtype]) for _ in group]
                    self.one(s, op, dtype, inputs, group, mask=(when, how, masks), **params)


def barriers(s, group):
    prepared = s.prepare("barrier", [np.zeros((), np.float32)] * len(group), "float32", group, {})
    s.begin([prepared], group)
    s.wait(prepared[0], group)


def batch(s, group, rng, tally):
    """Small jobs of many kinds that go out together."""
    jobs = []
    for i in range(32):
        op = conformance.OPS[i % len(conformance.OPS)]
        dtype = each(op)[i % len(each(op))]
        inputs = [conformance.draw(rng, conformance.shape_for(len(group), op, i), dtype) for _ in group]
        jobs.append((op, dtype, s.prepare(op, inputs, dtype, group, {})))
    s.begin([prepared for _, _, prepared in jobs], group)
    for op, dtype, prepared in jobs:
        s.wait(prepared[0], group)
        tally.done += 1
        wrong = s.check(prepared, op, dtype)
        if wrong:
            tally.failures.append((op, dtype))
            print("in a batch: %s %s: %s" % (op, dtype, wrong))


def main():
    begun, tally = time.monotonic(), Tally()
    rng = np.random.default_rng(int(os.environ.get("TUTTI_TEST_SEED", "20")))
    for hosts, groups in PATTERNS:
        with stage.Stage(hosts, arena=64 << 20) as s:
            for turn, group in enumerate(groups):
                tally.cross(s, group, rng, turn, conformance.OPS if turn < 2 else conformance.REDUCTIONS)
                barriers(s, group)
                batch(s, group, rng, tally)
                tally.masked(s, group, rng)
                if turn < 2:
                    tally.lengths(s, group, rng, conformance.OPS)
                    tally.strided(s, group, rng)
    for way in WAYS:
        for hosts, groups in PATTERNS:
            with stage.Stage(hosts, arena=64 << 20, environment={"TUTTI_GLOO_WAY": way}) as s:
                tally.cross(s, groups[-2], rng, 0, conformance.REDUCTIONS)
                tally.lengths(s, groups[0], rng, conformance.REDUCTIONS)
    failed = len(set(tally.failures))
    print("NOTE %d jobs among hosts against NumPy, %d wrong, %.1f s" % (tally.done, len(tally.failures), time.monotonic() - begun))
    print("CASES %d %d" % (len(reference.DTYPES) * len(conformance.OPS) - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
