"""pool.py - random jobs with what they must give, worked out before the soak begins: every operation, dtype, axis and group,
a few of some megabytes, and small whole numbers for what has a gradient."""
import json
import sys
import os

import numpy as np

sys.path[:0] = [os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "conformance")]
import conformance
import formats
import gradients
import reference

RANKS = 4
GROUPS = ([0, 1, 2, 3], [3, 1], [2, 0, 1], [1])
LARGE = (("all_reduce_sum", "float32", 1 << 18), ("all_gather", "uint8", 1 << 20), ("scatter", "int64", 1 << 17),
         ("reduce_scatter_max", "bfloat16", 1 << 19), ("all_to_all", "float64", 1 << 17), ("broadcast", "uint16", 1 << 20))
encode = conformance.Driver(None).body


class Entry:
    """One job that can be asked for, and its outputs."""

    def __init__(self, op, dtype, group, inputs, parameters, peers=None):
        self.op, self.dtype, self.group, self.inputs = op, dtype, group, inputs
        self.parameters = {**parameters, **(peers or {})}
        self.peers = peers or {}
        self.want = reference.outputs(op, inputs, dtype, **self.parameters)
        self.elements = sum(w.size for w in self.want if w is not None)
        self.stackable = all(w is not None for w in self.want)
        self.requests = {}

    def request(self, how):
        """Query, headers and body in a format, made when they are first asked for. The group is not among them."""
        if how not in self.requests:
            body, headers = encode(self.op, self.inputs, self.dtype, how, self.peers)
            items = {"op": self.op, **self.parameters}
            if how == "json":
                body, items = json.dumps({**body, **items}).encode(), {}
                headers = {"Content-Type": "application/json"}
            if how == "raw":
                items["shape"] = ",".join(map(str, (len(self.inputs),) + self.inputs[0].shape))
            if how == "raw" or (how == "npy" and self.dtype == "bfloat16"):
                items["dtype"] = self.dtype
            self.requests[how] = "".join("&%s=%s" % i for i in items.items()), headers, body
        return self.requests[how]


def small(rng, op, dtype):
    """One of each group, with axes and peers at random."""
    for group in GROUPS:
        n = len(group)
        peers = conformance.peers_for(op, n)
        if not peers:
            continue
        axes = conformance.axes_for(op)
        shape = conformance.shape_for(n, op, int(rng.integers(0, 3)))
        yield Entry(op, dtype, group, [conformance.draw(rng, shape, dtype) for _ in group],
                    axes[rng.integers(len(axes))], peers[rng.integers(len(peers))])


def smooth(rng, op, dtype):
    """Whole numbers, so that sums are exact in any order, and extremes tie."""
    group = GROUPS[int(rng.integers(0, 3))]
    axes = conformance.axes_for(op)
    shape = conformance.shape_for(len(group), op, int(rng.integers(0, 3)))
    return Entry(op, dtype, group, [whole(rng, shape, dtype) for _ in group], axes[rng.integers(len(axes))])


def whole(rng, shape, dtype):
    x = rng.integers(0, 4, shape).astype(np.float32)
    return reference.narrow(x) if dtype == "bfloat16" else x.astype(reference.DTYPES[dtype])


class Pool:
    def __init__(self, seed):
        rng = np.random.default_rng([seed, 1])
        pairs = [(op, dtype) for op in conformance.OPS for dtype in reference.DTYPES if reference.takes(op, dtype)]
        self.small = [entry for pair in pairs for entry in small(rng, *pair)]
        self.large = [Entry(op, dtype, group, [conformance.draw(rng, (size // 16, 16), dtype) for _ in group], {})
                      for op, dtype, size in LARGE for group in GROUPS[:2]]
        self.smooth = [smooth(rng, op, dtype) for op in conformance.OPS if op not in gradients.NO_GRADIENT
                       for dtype in gradients.DTYPES if reference.takes(op, dtype)]
        self.chained = [e for e in self.small if e.dtype in ("int32", "float32", "uint8", "bfloat16") and e.want[0] is not None]
        self.tensors = [(dtype, conformance.draw(rng, shape, dtype)) for dtype in reference.DTYPES
                        for shape in ((), (0, 3), (7,), (3, 5, 2), (1000,)) if shape or dtype != "bfloat16"]
        self.tensors += [(dtype, conformance.draw(rng, (1 << 16, 4), dtype)) for dtype in ("float32", "uint8", "bfloat16")]


def gradient_of(entry, rng):
    """Gradients for the outputs, some missing, and the gradients of the inputs."""
    n = len(entry.group)
    getting = gradients.gets(entry.op, n, **entry.parameters)
    missing = [r for r in getting if rng.random() < 0.2]
    grads = [whole(rng, entry.want[r].shape, entry.dtype) if r in getting and r not in missing else None for r in range(n)]
    return grads, gradients.adjoint(entry.op, entry.inputs, grads, entry.dtype, **entry.parameters)


def tensor_json(x, dtype):
    return {"dtype": dtype, "shape": list(x.shape), "data": formats.to_json(x, dtype)}
