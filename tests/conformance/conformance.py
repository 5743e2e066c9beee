#!/usr/bin/python3
"""conformance.py - every operation, dtype, axis, group and format against an independent reference, bit for bit: of a
service of its own, or of the one at TUTTI_URL, with four ranks and an arena of 512M or more."""
import os
import sys
import time

import numpy as np

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__)), os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
import formats
import reference
from service import service_of_ranks

OPS = ("reduce_sum", "broadcast", "all_gather", "reduce_scatter_sum", "all_reduce_sum", "all_reduce_max",
       "all_reduce_min", "all_reduce_prod", "all_reduce_avg", "all_reduce_and", "all_reduce_or", "all_reduce_xor", "reduce_max", "reduce_min", "reduce_scatter_max", "reduce_scatter_min", "gather", "scatter", "all_to_all", "remote_send", "remote_recv")
SUMS = ("reduce_sum", "reduce_scatter_sum", "all_reduce_sum")
REDUCTIONS = tuple(op for op in OPS if op.startswith(("reduce", "all_reduce")))
SCALED = os.environ.get("TUTTI_TEST_BACKEND") == "nccl"  # NCCL scales before it adds: other bits
ONE_AXIS = ("all_gather", "reduce_scatter_sum", "reduce_scatter_max", "reduce_scatter_min", "gather", "scatter")
PEERS = ("remote_send", "remote_recv")
GROUPS = ([0, 1, 2, 3], [3, 1], [2, 0, 1], [1])
# On real GPUs: as many ranks as there are, and NCCL's own order of summing.
GPUS = int(os.environ.get("TUTTI_TEST_GPUS", "4"))
GROUPS = [group for group in GROUPS if max(group) < GPUS] or [[0]]
ANY_ORDER = "TUTTI_TEST_GPUS" in os.environ
FORMATS = ("json", "npy", "safetensors", "raw")
SIZES = (1, 2, 7, 31, 63, 64, 65, 1000, 4097)


def shape_for(n, op, step):
    """Three dimensions: each divides by n where the operation has an axis, none is alike, none is a power of two."""
    a, b, c = ((3, 1, 2), (1, 2, 3), (2, 3, 1))[step % 3]
    if op in ONE_AXIS or op == "all_to_all":
        return (a * n, b * n, c * n) if n > 1 else (a + 1, b + 2, c + 4)
    return (a + 2, b * 3, c + 4)


def draw(rng, shape, dtype):
    """Numbers of every size, and what is special in the dtype."""
    count = int(np.prod(shape))
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(np.bool_)
    if dtype in reference.FLOATS:
        with np.errstate(all="ignore"):
            scale = 10.0 ** rng.integers(-3, 4, count)
            x = rng.standard_normal(count) * scale
            special = rng.random(count) < 0.08
            x[special] = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0, 60000.0, 1e-7, 1e-40, 3e38], special.sum())
            if dtype == "bfloat16":
                return reference.narrow(x.astype(np.float32)).reshape(shape)
            return x.astype(reference.DTYPES[dtype]).reshape(shape)
    info = np.iinfo(reference.DTYPES[dtype])
    x = rng.integers(info.min, info.max, count, reference.DTYPES[dtype], endpoint=True)
    x[rng.random(count) < 0.05] = info.max
    return x.reshape(shape)


def axes_for(op):
    if op in ONE_AXIS:
        return [{"axis": a} for a in (0, 1, 2, -1)]
    if op == "all_to_all":
        return [{"split_axis": s, "concat_axis": c} for s in range(3) for c in range(3)]
    return [{}]


def peers_for(op, n):
    if op not in PEERS:
        return [{}]
    return [p for p in ({}, {"src": n - 1, "dst": 0}) if n > 1 and p != {"src": 0, "dst": 0}]


class Driver:
    def __init__(self, service):
        self.service, self.turn = service, 0
        self.combinations, self.failures = 0, []

    def body(self, op, inputs, dtype, how, peers):
        """Path additions, content type, body."""
        n, giver = len(inputs), peers.get("src", 0)
        lone = op in ("broadcast", "scatter") + PEERS
        if how == "json":
            rows = [None if lone and r != giver else formats.to_json(x, dtype) for r, x in enumerate(inputs)]
            return {"dtype": dtype, "inputs": rows}, {}
        media = {"Content-Type": formats.MEDIA[how]}
        if how == "safetensors":
            given = {str(r): x for r, x in enumerate(inputs) if not lone or r == giver}
            return formats.write_safetensors(given, dtype), media
        stack = np.stack(inputs)
        if how == "npy":
            return formats.write_npy(stack), media
        return stack.tobytes(), media

    def query(self, op, inputs, dtype, how, group, parameters):
        items = {"op": op, "wait": 60, "group": ",".join(map(str, group)), **parameters}
        if how == "raw":
            items["shape"] = ",".join(map(str, (len(inputs),) + inputs[0].shape))
        if how == "raw" or (how == "npy" and dtype == "bfloat16"):
            items["dtype"] = dtype
        return "&".join("%s=%s" % i for i in items.items())

    def read(self, answer, how, want, dtype):
        """The outputs as arrays, None where there is none."""
        n = len(want)
        if how == "json":
            rows = answer.json["outputs"]
            assert all(r is None or (r["rank"], r["dtype"]) == (i, dtype) for i, r in enumerate(rows))
            return [None if r is None else formats.from_json(r["data"], r["shape"], dtype) for r in rows]
        if how == "safetensors":
            found = formats.read_safetensors(answer.body, dtype)
            return [found.get(str(r)) for r in range(n)]
        if how == "npy":
            return list(formats.read_npy(answer.body))
        shape = tuple(int(d) for d in answer.headers["tutti-shape"].split(","))
        assert answer.headers["tutti-dtype"] == dtype
        return list(np.frombuffer(answer.body, reference.DTYPES[dtype]).reshape(shape))

    def read_each(self, answer, want, dtype):
        """Each rank's output by itself, as raw bytes."""
        found = []
        for r, row in enumerate(answer.json["outputs"]):
            if row is None:
                found.append(None)
                continue
            one = self.service.get("/v1/jobs/%s/outputs/%d?format=raw" % (answer.json["id"], r))
            assert one.status == 200, one
            found.append(np.frombuffer(one.body, reference.DTYPES[dtype]).reshape(row["shape"]))
        return found

    def one(self, op, inputs, dtype, group, how_in, parameters, peers):
        want = reference.outputs(op, inputs, dtype, **parameters)
        self.turn += 1
        stackable = all(w is not None for w in want)
        how_out = (FORMATS + ("each",) if stackable else ("json", "safetensors", "each"))[self.turn % (5 if stackable else 3)]
        if want[next(i for i, w in enumerate(want) if w is not None)].size * len(want) > 65536:
            how_out = "each"
        body, headers = self.body(op, inputs, dtype, how_in, peers)
        query = self.query(op, inputs, dtype, how_in, group, parameters)
        if how_out != "each":
            headers["Accept"] = formats.MEDIA[how_out]
        if how_out == "npy" and dtype == "bfloat16":
            query += "&view=uint16"
        answer = self.service.post("/v1/jobs?" + query, body, headers)
        self.combinations += 1
        try:
            assert answer.status == 200, answer
            got = self.read_each(answer, want, dtype) if how_out == "each" else self.read(answer, how_out, want, dtype)
            for r, (g, w) in enumerate(zip(got, want, strict=True)):
                assert (g is None) == (w is None), "rank %d" % r
                right = w is None or reference.same(g, w, dtype, op.endswith(("_max", "_min"))) or (
                    (ANY_ORDER and op in SUMS or SCALED and op == "all_reduce_avg") and dtype in reference.FLOATS and reference.close(g, w, inputs, dtype)) or (
                    ANY_ORDER and op == "all_reduce_prod" and dtype in reference.FLOATS and reference.close_product(g, w, inputs, dtype))
                assert right, "rank %d\n got %s\nwant %s" % (r, g, w)
        except Exception as e:  # every combination is tried
            self.failures.append((op, dtype))
            if len(self.failures) <= 10:
                print("%s %s %s %s->%s shape %s: %s" %
                      (op, dtype, query, how_in, how_out, inputs[0].shape, str(e)[:600]))

    def cross(self, rng, op, dtype):
        """Every group, axis and format."""
        step = 0
        for group in GROUPS:
            n = len(group)
            for peers in peers_for(op, n):
                for parameters in axes_for(op):
                    for how_in in FORMATS:
                        step += 1
                        shape = shape_for(n, op, step)
                        self.one(op, [draw(rng, shape, dtype) for _ in group], dtype, group, how_in,
                                 {**parameters, **peers}, peers)

    def sizes(self, rng, op, dtype):
        """Lengths around those at which vector code has its seams."""
        for size in SIZES:
            group = GROUPS[size % 3 % len(GROUPS)]
            size_n = size * len(group) if op.startswith("reduce_scatter") else size
            self.one(op, [draw(rng, (size_n,), dtype) for _ in group], dtype, group, "raw", {}, {})


# What NCCL has no type or reduction for is refused before anything runs.
UNMADE = tuple(reference.BITWISE) if os.environ.get("TUTTI_TEST_BACKEND") == "nccl" else ()
UNREDUCED = ("int16", "uint16") if os.environ.get("TUTTI_TEST_BACKEND") == "nccl" else ()


def refused(service, op, dtype):
    answer = service.post("/v1/jobs?op=%s&dtype=%s&wait=10&group=%s" % (op, dtype, ",".join(map(str, GROUPS[-1]))), {"inputs": [[dtype == "bool" or 1]] * len(GROUPS[-1])})
    return answer.status == 422 and answer.json["code"] == "dtype_op" and "nccl" in answer.json["detail"]


def main(start=service_of_ranks):
    """start: what gives the service, by the keywords of Service."""
    begun, pairs = time.monotonic(), 0
    seed = int(os.environ.get("TUTTI_TEST_SEED", "20"))
    with start(workers=min(4, GPUS), arena="512M", options=["--retain", "10"]) as service:
        driver = Driver(service)
        for op in OPS:
            for dtype in reference.DTYPES:
                if not reference.takes(op, dtype):
                    continue
                rng = np.random.default_rng([seed, OPS.index(op), list(reference.DTYPES).index(dtype)])
                pairs += 1
                if op in REDUCTIONS and dtype in UNREDUCED or op in UNMADE:
                    if not refused(service, op, dtype):
                        driver.failures.append((op, dtype))
                    continue
                driver.cross(rng, op, dtype)
                if op in REDUCTIONS:
                    driver.sizes(rng, op, dtype)
    failed = len(set(driver.failures))
    print("NOTE %d combinations against NumPy, %d wrong" % (driver.combinations, len(driver.failures)))
    print("%d combinations in %.1f s" % (driver.combinations, time.monotonic() - begun))
    print("CASES %d %d" % (pairs - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
