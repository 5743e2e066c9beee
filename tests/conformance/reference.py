"""reference.py - what the twelve operations give, from the design's table alone, in NumPy.

Tensors are NumPy arrays; bfloat16 has no NumPy dtype, so its tensors are uint16 arrays of bits and their dtype is
said beside. Nothing here is shared with the program under test.
"""
import itertools
import os

import numpy as np

DTYPES = {
    "float16": np.float16, "bfloat16": np.uint16, "float32": np.float32, "float64": np.float64,
    "int8": np.int8, "uint8": np.uint8, "int16": np.int16, "uint16": np.uint16, "int32": np.int32,
    "uint32": np.uint32, "int64": np.int64, "uint64": np.uint64, "bool": np.bool_,
}
STEPWISE = os.environ.get("TUTTI_TEST_BACKEND") == "nccl"
FLOATS = ("float16", "bfloat16", "float32", "float64")


def widen(bits):
    """bfloat16 bits as float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def narrow(x):
    """float32 as bfloat16 bits, to nearest even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.uint64)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(x), np.uint16(0x7FC0), rounded).astype(np.uint16).reshape(np.shape(x))


def total(inputs, dtype):
    """The sum in rank order: integers wrap, 16-bit floats accumulate in float32 and round once. NCCL rounds them
    to their own type after every addition."""
    if STEPWISE and dtype in ("float16", "bfloat16"):
        sum_ = inputs[0]
        with np.errstate(all="ignore"):
            for x in inputs[1:]:
                sum_ = narrow(widen(sum_) + widen(x)) if dtype == "bfloat16" else \
                    (sum_.astype(np.float32) + x.astype(np.float32)).astype(np.float16)
        return sum_.copy()
    if dtype == "bfloat16":
        inputs = [widen(x) for x in inputs]
    elif dtype == "float16":
        inputs = [x.astype(np.float32) for x in inputs]
    sum_ = inputs[0].copy()
    with np.errstate(all="ignore"):
        for x in inputs[1:]:
            sum_ = sum_ + x
        if dtype == "bfloat16":
            return narrow(sum_)
        return sum_.astype(DTYPES[dtype])


def mean(inputs, dtype):
    """The sum in rank order by the number of ranks; 16-bit floats are rounded once, at the end."""
    if dtype in ("float16", "bfloat16"):
        wide = [widen(x) if dtype == "bfloat16" else x.astype(np.float32) for x in inputs]
        with np.errstate(all="ignore"):
            exact = mean(wide, "float32")
            return narrow(exact) if dtype == "bfloat16" else exact.astype(np.float16)
    sum_ = inputs[0].copy()
    with np.errstate(all="ignore"):
        for x in inputs[1:]:
            sum_ = sum_ + x
        return sum_ / DTYPES[dtype](len(inputs))


def product(inputs, dtype):
    """As total."""
    short = dtype in ("float16", "bfloat16")
    wide = [widen(x) if dtype == "bfloat16" else x.astype(np.float32) if short else x for x in inputs]
    back = (lambda x: x) if not short else narrow if dtype == "bfloat16" else (lambda x: x.astype(np.float16))
    again = {"bfloat16": widen, "float16": lambda x: x.astype(np.float32)}.get(dtype, lambda x: x)
    result = wide[0].copy()
    with np.errstate(all="ignore"):
        for x in wide[1:]:
            result = result * x
            if STEPWISE and short:
                result = again(back(result))
        return back(result)


BITWISE = {"all_reduce_and": np.bitwise_and, "all_reduce_or": np.bitwise_or, "all_reduce_xor": np.bitwise_xor}


def takes(op, dtype):
    """Is there such a reduction of this dtype?"""
    if op.endswith("_sum") or op.endswith("_prod"):
        return dtype != "bool"
    if op.endswith("_avg"):
        return dtype in FLOATS
    return op not in BITWISE or dtype not in FLOATS


def extreme(inputs, dtype, largest):
    """The largest or smallest: a number beats NaN."""
    if dtype == "bfloat16":
        return narrow(extreme([widen(x) for x in inputs], "float32", largest))
    if dtype in FLOATS:
        choose = np.fmax if largest else np.fmin
    else:
        choose = np.maximum if largest else np.minimum
    best = inputs[0].copy()
    with np.errstate(all="ignore"):
        for x in inputs[1:]:
            best = choose(best, x)
    return best


def outputs(op, inputs, dtype, axis=0, split_axis=0, concat_axis=0, src=0, dst=1):
    """One output per group rank, None where the rank gets nothing. inputs: one per group rank."""
    n = len(inputs)
    root_only = [None] * (n - 1)
    if op == "reduce_sum":
        return [total(inputs, dtype)] + root_only
    if op in ("reduce_max", "reduce_min"):
        return [extreme(inputs, dtype, op.endswith("max"))] + root_only
    if op in ("reduce_scatter_max", "reduce_scatter_min"):
        return np.split(extreme(inputs, dtype, op.endswith("max")), n, axis)
    if op == "broadcast":
        return [inputs[0]] * n
    if op == "all_gather":
        return [np.concatenate(inputs, axis)] * n
    if op == "reduce_scatter_sum":
        return np.split(total(inputs, dtype), n, axis)
    if op == "all_reduce_sum":
        return [total(inputs, dtype)] * n
    if op == "all_reduce_prod":
        return [product(inputs, dtype)] * n
    if op == "all_reduce_avg":
        return [mean(inputs, dtype)] * n
    if op in BITWISE:
        result = inputs[0]
        for x in inputs[1:]:
            result = BITWISE[op](result, x)
        return [result] * n
    if op == "all_reduce_max":
        return [extreme(inputs, dtype, True)] * n
    if op == "all_reduce_min":
        return [extreme(inputs, dtype, False)] * n
    if op == "gather":
        return [np.concatenate(inputs, axis)] + root_only
    if op == "scatter":
        return np.split(inputs[0], n, axis)
    if op == "all_to_all":
        parts = [np.split(x, n, split_axis) for x in inputs]
        return [np.concatenate([parts[s][r] for s in range(n)], concat_axis) for r in range(n)]
    if op in ("remote_send", "remote_recv"):
        return [inputs[src] if r == dst else None for r in range(n)]
    raise ValueError(op)


def same(got, want, dtype, any_zero=False):
    """Bit for bit; any NaN is as good as another, and with any_zero so is any zero."""
    if got.shape != want.shape or got.dtype != want.dtype:
        return False
    if got.tobytes() == want.tobytes():
        return True
    if dtype not in FLOATS:
        return False
    if dtype == "bfloat16":
        a, b = widen(got), widen(want)
    else:
        a, b = got, want
    bits = {2: np.uint16, 4: np.uint32, 8: np.uint64}[got.dtype.itemsize]
    equal = np.ascontiguousarray(got).view(bits) == np.ascontiguousarray(want).view(bits)
    equal |= np.isnan(a) & np.isnan(b)
    if any_zero:
        equal |= (a == 0) & (b == 0)
    return bool(equal.all())


EPSILON = {"float16": 2.0 ** -10, "bfloat16": 2.0 ** -7, "float32": 2.0 ** -23, "float64": 2.0 ** -52}


def close(got, want, inputs, dtype):
    """Sums whose order is not known: every addition may round by half a unit of the last place of what it adds up to.
    What is not finite in one order may be in another."""
    if got.shape != want.shape or got.dtype != want.dtype:
        return False
    a, b = (widen(x) if dtype == "bfloat16" else x for x in (got, want))
    with np.errstate(all="ignore"):
        a, b = a.astype(np.longdouble), b.astype(np.longdouble)
        bound = len(inputs) * EPSILON[dtype] * inputs_size(inputs, dtype) + 1e-7
        return bool((~np.isfinite(a) | ~np.isfinite(b) | (abs(a - b) <= bound)).all())


NORMAL = {"float16": (2.0 ** -14, 65504.0), "bfloat16": (2.0 ** -126, 3.38e38), "float32": (2.0 ** -126, 3.4e38),
          "float64": (2.0 ** -1022, 1.79e308)}  # least and largest magnitudes that have all their digits


def close_product(got, want, inputs, dtype):
    """Products whose order is not known: every multiplication may round by half a unit of the last place. Where some of the
    factors alone leave the numbers that have all their digits, another order may end anywhere."""
    if got.shape != want.shape or got.dtype != want.dtype:
        return False
    rows = [(widen(x) if dtype == "bfloat16" else x).astype(np.longdouble) for x in inputs]
    a = (widen(got) if dtype == "bfloat16" else got).astype(np.longdouble)
    least, most = NORMAL[dtype]
    with np.errstate(all="ignore"):
        tame = np.ones(a.shape, bool)
        for size in range(1, len(rows) + 1):
            for some in itertools.combinations(rows, size):
                part = abs(np.prod(some, axis=0))
                tame &= (part == 0) | (part >= least) & (part <= most)
        exact = np.prod(rows, axis=0)
        undefined = np.any(np.isnan(rows), axis=0)
        right = np.where(undefined, np.isnan(a), ~tame | (abs(a - exact) <= len(rows) * EPSILON[dtype] * abs(exact)))
    return bool(right.all())


def inputs_size(inputs, dtype):
    """The largest sum of magnitudes."""
    rows = [widen(x) if dtype == "bfloat16" else x for x in inputs]
    total_ = sum(abs(np.where(np.isfinite(x), x, 0).astype(np.longdouble)) for x in rows)
    return total_.max() if total_.size else 0
