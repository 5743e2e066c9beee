#!/usr/bin/python3
"""gradients.py - the backward pass of every operation, by whole jobs and by calls of single ranks, against the design's
table in NumPy bit for bit, and, for float64, against finite differences of the operation itself; and the backward of
the backward."""
import os
import sys
import threading

import numpy as np

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__)), os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
import reference
from conformance import GROUPS, GPUS, ONE_AXIS, OPS, PEERS, SCALED, UNREDUCED, axes_for, peers_for, shape_for
from service import service_of_ranks

NO_GRADIENT = ("all_reduce_prod",) + tuple(reference.BITWISE)
EXTREMES = ("all_reduce_max", "all_reduce_min", "reduce_max", "reduce_min", "reduce_scatter_max", "reduce_scatter_min")
ROOT_OUT = ("reduce_sum", "reduce_max", "reduce_min", "gather")
STEP = 2.0 ** -8  # inputs are whole 64ths: every sum below is exact
DTYPES = ("float64", "float32", "float16", "bfloat16", "int32", "uint8", "int64", "int16")


def gives(op, n, src=0, **_):
    lone = {"broadcast": 0, "scatter": 0, "remote_send": src, "remote_recv": src}
    return [r for r in range(n) if op not in lone or r == lone[op]]


def gets(op, n, dst=1, **_):
    return [r for r in range(n) if op not in ROOT_OUT + PEERS or r == (dst if op in PEERS else 0)]


def numbers(x, dtype):
    return reference.widen(x).astype(np.float64) if dtype == "bfloat16" else x.astype(np.float64)


def adjoint(op, inputs, grads, dtype, axis=0, split_axis=0, concat_axis=0, src=0, dst=1):
    """The gradients of the inputs; None where a rank gives nothing. grads: one a rank that gets, None where missing."""
    n = len(inputs)
    getting, giving = gets(op, n, dst=dst), gives(op, n, src=src)
    if all(grads[r] is None for r in getting):
        return [None] * n
    like = next(g for g in grads if g is not None)
    g = [grads[r] if grads[r] is not None else np.zeros_like(like) for r in range(n)]
    if op == "broadcast":
        whole = reference.total(g, dtype)
    elif op == "all_reduce_avg":
        whole = reference.mean(g, dtype)
    elif op.startswith("all_reduce"):
        whole = reference.total(g, dtype)
    elif op.startswith("reduce_scatter"):
        whole = np.concatenate(g, axis)
    elif op.startswith("reduce"):
        whole = g[0]
    if op in EXTREMES:
        best = reference.extreme(inputs, dtype, op.endswith("max"))
        keep = [numbers(x, dtype) == numbers(best, dtype) for x in inputs]
        return [np.where(k, whole, np.zeros_like(whole)) for k in keep]
    if op == "all_gather":
        return np.split(reference.total(g, dtype), n, axis)
    if op == "gather":
        return np.split(g[0], n, axis)
    if op == "scatter":
        return [np.concatenate(g, axis)] + [None] * (n - 1)
    if op == "all_to_all":
        return reference.outputs(op, g, dtype, split_axis=concat_axis, concat_axis=split_axis)
    if op in PEERS:
        return [g[dst] if r == src else None for r in range(n)]
    return [whole if r in giving else None for r in range(n)]


def slopes(function, at, weights):
    """d sum(weights * function(at)) / d at by central differences. at, weights and what function gives: a list, an array a
    rank, or None."""
    def value(x):
        return sum(float((w * y).sum()) for w, y in zip(weights, function(x)) if w is not None and y is not None)
    found = []
    for r, x in enumerate(at):
        if x is None:
            found.append(None)
            continue
        slope = np.zeros_like(x)
        for i in np.ndindex(x.shape):
            high, low = [[None if y is None else y.copy() for y in at] for _ in range(2)]
            high[r][i] += STEP
            low[r][i] -= STEP
            slope[i] = (value(high) - value(low)) / (2 * STEP)
        found.append(slope)
    return found


class Driver:
    def __init__(self, service):
        self.service, self.cases, self.differences, self.twice, self.called = service, 0, 0, 0, 0
        self.failures = []

    def post(self, path, body):
        answer = self.service.post(path, body)
        assert answer.status == 200, answer
        return answer.json

    def tensor(self, x, dtype):
        if x is None:
            return None
        if dtype == "bfloat16":
            x = reference.widen(x)
        return {"dtype": dtype, "shape": list(x.shape), "data": x.ravel().tolist()}

    def array(self, output, dtype):
        if output is None:
            return None
        x = np.array(output["data"], np.float32 if dtype == "bfloat16" else reference.DTYPES[dtype])
        x = x.reshape(output["shape"])
        return reference.narrow(x) if dtype == "bfloat16" else x

    def forward(self, op, inputs, dtype, group, query):
        return self.post("/v1/jobs?wait=30", {"op": op, "group": group, "inputs": [
            self.tensor(x, dtype) for x in inputs], **query})["id"]

    def backward(self, job, grads, dtype):
        made = self.post("/v1/jobs/%s/backward?wait=30" % job, {"grads": [self.tensor(g, dtype) for g in grads]})
        assert made["parent"] == job
        return made["id"], [self.array(o, dtype) for o in made["outputs"]]

    def by_calls(self, name, job, grads, dtype, ranks):
        """Every rank that has a part in it by itself."""
        got, wrong = [None] * len(grads), []

        def one(rank):
            body = {"op": "backward", "job": job}
            if grads[rank] is not None:
                body["input"] = self.tensor(grads[rank], dtype)
            answer = self.service.post("/v1/groups/%s/ranks/%d/calls" % (name, rank), body)
            if answer.status == 200:
                got[rank] = self.array(answer.json["output"], dtype)
            else:
                wrong.append(answer)
        threads = [threading.Thread(target=one, args=(r,)) for r in ranks]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not wrong, wrong
        return got

    def check(self, got, want, dtype, op):
        for r, (g, w) in enumerate(zip(got, want)):
            if SCALED and op == "all_reduce_avg" and g is not None and w is not None:
                assert np.allclose(numbers(g, dtype), numbers(np.asarray(w), dtype), rtol=2e-2), "rank %d\n got %s\nwant %s" % (r, g, w)
                continue
            right = g is None and w is None or \
                g is not None and w is not None and reference.same(g, np.asarray(w), dtype, any_zero=True)
            assert right, "rank %d\n got %s\nwant %s" % (r, g, w)

    def near(self, got, want):
        for g, w in zip(got, want):
            assert g is None or np.abs(g - w).max(initial=0) < 1e-6, "\n got %s\nwant %s" % (g, w)
        self.differences += 1

    def case(self, rng, op, dtype, group, name, query, missing, step):
        n = len(group)
        shape = shape_for(n, op, step)
        # Whole numbers: sums are exact in any order, and extremes tie.
        draw = lambda s: rng.integers(0, 4, s).astype(np.float32)
        cast = (lambda x: reference.narrow(x)) if dtype == "bfloat16" else (lambda x: x.astype(reference.DTYPES[dtype]))
        inputs = [cast(draw(shape)) for _ in group]
        if dtype == "float64":  # smooth: finite differences need that no two tie
            count = int(np.prod(shape))
            inputs = [(rng.permutation(10 * count)[:count].reshape(shape) * n + r) / 64 for r in range(n)]
        outputs = reference.outputs(op, inputs, dtype, **query)
        getting, giving = gets(op, n, **query), gives(op, n, **query)
        grads = [cast(draw(outputs[r].shape)) if r in getting and r not in missing else None for r in range(n)]
        want = adjoint(op, inputs, grads, dtype, **query)
        given = [x if r in giving else None for r, x in enumerate(inputs)]
        job = self.forward(op, given, dtype, group if name is None else name, query)
        first, got = self.backward(job, grads, dtype)
        self.check(got, want, dtype, op)
        self.cases += 1
        small = dtype == "float64" and step % 5 == 0 and any(g is not None for g in grads)
        if small:
            self.near(got, slopes(lambda x: reference.outputs(op, [y if y is not None else inputs[0] for y in x], dtype, **query),
                                  given, grads))
        if name is not None:
            ranks = {query.get("src", 0), query.get("dst", 1)} if op in PEERS else range(n)
            self.check(self.by_calls(name, job, grads, dtype, ranks), want, dtype, op)
            self.called += 1
        if missing or not small:
            return
        # The backward of the backward: G is linear, so its gradient is its transpose.
        weights = [cast(draw(w.shape)) if w is not None else None for w in want]
        second, got = self.backward(first, weights, dtype)
        linear = lambda g: adjoint(op, inputs, g, dtype, **query)
        self.near(got, slopes(linear, grads, weights))
        third, got = self.backward(second, grads, dtype)
        self.check(got, want, dtype, op)
        self.twice += 1

    def every(self, op, dtype, names):
        rng = np.random.default_rng([OPS.index(op), DTYPES.index(dtype)])
        step = 0
        for group in GROUPS:
            n = len(group)
            for peers in peers_for(op, n):
                for parameters in axes_for(op):
                    query = {**parameters, **peers}
                    for missing in ((), (0,), (n - 1,), tuple(range(n))):
                        step += 1
                        if dtype != "float64" and step % 7:
                            continue
                        try:
                            self.case(rng, op, dtype, group, names.get(tuple(group)) if step % 3 == 0 else None, query,
                                      missing, step)
                        except Exception as e:  # every case is tried
                            self.failures.append((op, dtype))
                            if len(self.failures) <= 5:
                                print("%s %s %s group %s missing %s: %s" % (op, dtype, query, group, missing, str(e)[:900]))


def main(start=service_of_ranks):
    """start: what gives the service, by the keywords of Service."""
    pairs = 0
    with start(workers=min(4, GPUS), arena="256M", options=["--retain", "20"]) as service:
        driver, names = Driver(service), {}
        for i, group in enumerate(GROUPS):
            names[tuple(group)] = "g%d" % i
            service.post("/v1/groups", {"name": "g%d" % i, "ranks": group})
        for op in OPS:
            for dtype in DTYPES:
                if dtype in UNREDUCED or op in NO_GRADIENT or not reference.takes(op, dtype):
                    continue
                pairs += 1
                driver.every(op, dtype, names)
    failed = len(set(driver.failures))
    print("NOTE %d gradients against NumPy (%d by calls too), %d against finite differences, %d backwards of backwards; "
          "%d wrong" % (driver.cases, driver.called, driver.differences, driver.twice, len(driver.failures)))
    print("CASES %d %d" % (pairs - failed, failed))
    return 1 if failed or driver.cases < 600 and GPUS == 4 else 0


if __name__ == "__main__":
    sys.exit(main())
