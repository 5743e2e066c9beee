#!/usr/bin/python3
"""client_ops.py - every operation of the client, for all ranks at once and rank by rank, with every dtype, axis and group,
against the reference of tests/conformance, bit for bit; and what goes in and comes out: lists, numbers, stacks, views."""
import concurrent.futures
import sys

import numpy as np

from tools import raises, run_facts, tutti, url_of
import reference
from service import Service

THREADS = concurrent.futures.ThreadPoolExecutor(4)
AXES = {"same": [{}], "grow": [{"axis": a} for a in (0, 1, -1)], "shrink": [{"axis": a} for a in (0, 1, -1)],
        "shuffle": [{"split_axis": s, "concat_axis": c} for s in (0, 1) for c in (0, -1)]}
OPS = [op for op in tutti.OPS.values() if op.gives != "nobody"]


def draw(rng, dtype, shape):
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype in reference.FLOATS:
        return rng.standard_normal(shape).astype(reference.DTYPES[dtype])
    info = np.iinfo(reference.DTYPES[dtype])
    return rng.integers(info.min, info.max, shape, reference.DTYPES[dtype], endpoint=True)


def same(got, want, dtype):
    if (got is None) != (want is None):
        return False
    return got is None or (isinstance(got, np.ndarray) and reference.same(got, want, dtype, any_zero=True))


def dtypes(op):
    """NumPy's, of those that the operation takes."""
    return [d for d in reference.DTYPES if d != "bfloat16" and reference.takes(op.name, d)]


def test_every_operation_for_all_ranks_at_once(world):
    rng = np.random.default_rng(1)
    for op in OPS:
        for dtype in dtypes(op):
            for axes in AXES[op.dim]:
                inputs = [draw(rng, dtype, (4, 8, 3) if axes.get("axis") != -1 else (4, 8, 4)) for _ in range(4)]
                got = getattr(world, op.name)(inputs, **axes)
                want = reference.outputs(op.name, inputs, dtype, **axes)
                assert len(got) == 4 and all(same(g, w, dtype) for g, w in zip(got, want)), (op.name, dtype, axes)


def test_every_operation_rank_by_rank(world):
    rng = np.random.default_rng(2)
    for op in OPS:
        dtype = dtypes(op)[rng.integers(len(dtypes(op)))]
        for axes in AXES[op.dim]:
            inputs = [draw(rng, dtype, (4, 8, 3) if axes.get("axis") != -1 else (4, 8, 4)) for _ in range(4)]

            def call(rank):
                me = world.rank(rank)
                if op.gives == "src":
                    return me.remote_send(inputs[0], 1) if rank == 0 else me.remote_recv(0) if rank == 1 else None
                return getattr(me, op.name)(inputs[rank], **axes)

            got = list(THREADS.map(call, range(4)))
            want = reference.outputs(op.name, inputs, dtype, **axes)
            assert all(same(g, w, dtype) for g, w in zip(got, want)), (op.name, dtype, axes)


def test_groups_in_any_order(world):
    inputs = [np.arange(6, dtype="i4") + 10 * r for r in range(2)]
    for ranks in ([3, 1], [1, 0]):
        for op in OPS:
            if op.name.endswith("_avg"):
                continue
            want = reference.outputs(op.name, inputs, "int32")
            got = getattr(world, op.name)(inputs, group=ranks)
            assert all(same(g, w, "int32") for g, w in zip(got, want)), (op.name, ranks)
            own = getattr(world.service.group(ranks), op.name)(inputs)
            assert all(same(g, w, "int32") for g, w in zip(own, want)), (op.name, ranks)

    def call(world_rank):  # as a rank of the world, in a group where its number is another one
        return world.rank(world_rank).all_gather(np.array([world_rank]), group=[3, 1])

    got = list(THREADS.map(call, (1, 3)))
    assert all(g.tolist() == [3, 1] for g in got), got
    with raises(ValueError, "not in the group"):
        world.rank(0).all_gather([1], group=[3, 1])


def test_megengine_positions(world):
    x = np.arange(8.0).reshape(2, 4)
    assert world.all_gather([x] * 4, "world", None, 1)[0].shape == (2, 16)
    assert world.all_to_all([np.ones((4, 4))] * 4, "world", None, 1, 0)[0].shape == (16, 1)
    assert world.remote_send(x, 2, 3)[3].tolist() == x.tolist()
    got = list(THREADS.map(lambda r: world.rank(r).scatter(x, None, "cpu0:1", 1) if r else
                           world.rank(r).scatter(inp=x, axis=1, device="cpu0:1"), range(4)))
    assert [g.tolist() for g in got] == [[[c], [c + 4]] for c in (0.0, 1.0, 2.0, 3.0)]


def test_numbers_and_lists(world):
    assert world.all_reduce_sum([1, 2, 3, 4]) == [10] * 4
    assert world.all_reduce_sum([1, 2.5, 3, 4]) == [10.5] * 4  # one dtype for all of them
    assert world.all_reduce_max([True, False, False, False])[3] == True
    got = world.all_gather([[1], [2], [3], [4]])
    assert got[0].dtype == np.int64 and got[0].tolist() == [1, 2, 3, 4]
    mixed = world.all_reduce_sum([np.float32([1, 2]), [1, 2], [1, 2], [1, 2]])  # lists take the arrays' dtype
    assert mixed[1].dtype == np.float32 and mixed[1].tolist() == [4, 8]
    assert world.all_reduce_sum([1, 2, 3, 4], dtype="float16")[0].dtype == np.float16
    assert world.all_reduce_sum([[1, 2]] * 4, dtype=np.int8)[0].dtype == np.int8


def test_stacks_and_views(world):
    x = np.arange(24, dtype="f4").reshape(4, 2, 3)
    assert [g.tolist() for g in world.all_reduce_sum(x)] == [x.sum(0).tolist()] * 4
    fortran, strided = np.asfortranarray(x[0]), np.arange(12, dtype="f4").reshape(2, 6)[:, ::2]
    for view in (fortran, strided, x[0].astype(">f4"), x[0][::-1]):
        got = world.all_reduce_max([view] * 4)[0]
        assert got.tolist() == view.tolist() and got.dtype == np.dtype("<f4")
    for shape in ((), (0,), (3, 0, 2), (1,)):
        got = world.all_reduce_sum([np.ones(shape, "f8")] * 4)
        assert all(g.shape == shape and (g == 4).all() for g in got), shape
    mine = world.all_reduce_sum(x)
    mine[0][:] = 0  # every rank has memory of its own, also of what they share on the service
    assert mine[1].any() and mine[1].flags.writeable


def test_large_and_in_pieces(world):
    x = [np.full(3 << 20, r + 1, "f4") for r in range(4)]  # 12 MiB a rank
    got = world.all_reduce_sum(x)
    assert all((g == 10).all() and g.flags.writeable for g in got)
    got[0][:] = 0
    assert (got[1] == 10).all()
    got = list(THREADS.map(lambda r: world.rank(r).reduce_scatter_sum(x[r]), range(4)))
    assert all(g.shape == (3 << 18,) and (g == 10).all() for g in got)
    assert world.gather(x)[0].nbytes == 48 << 20


def test_bfloat16_without_a_library(world):
    """Lists and float32 can travel as bfloat16; what comes is widened, and nothing is lost."""
    x = np.float32([1, 1.00390625, -3.1415927, 1e30])
    got = world.broadcast(x, dtype="bfloat16")[2]
    want = reference.widen(reference.narrow(x))
    assert np.asarray(got, np.float32).tolist() == want.tolist()
    row = world.broadcast(x, dtype="bfloat16").job.doc["outputs"][0]
    assert row["dtype"] == "bfloat16", row


def test_what_is_no_tensor(world):
    for bad, words in ((["a"] * 4, "no tensor"), ([[1, [2]]] * 4, ""), ([1j] * 4, "no dtype"), ([object()] * 4, "no tensor")):
        with raises((TypeError, ValueError), words):
            world.all_reduce_sum(bad)
    with raises(TypeError, "no dtype", "float32"):
        world.all_reduce_sum([1] * 4, dtype="float128x")
    masked = np.ma.array([1.0, 2, 3, 4], mask=[0, 1, 0, 0])
    for call in (lambda: world.all_reduce_sum([masked] * 4), lambda: world.all_reduce_sum(masked), lambda: world.broadcast([masked, masked]),
                 lambda: world.all_reduce_sum([masked, 1, 1, 1], dtype="int32"), lambda: world.rank(0).all_reduce_sum(masked),
                 lambda: world.service.tensor(masked), lambda: world.all_reduce_sum([np.ma.masked, 1, 1, 1]), lambda: world.batch().all_gather([masked] * 4),
                 lambda: world.all_reduce_sum([1, 2, 3, 4]).backward(masked)):
        with raises(TypeError, "masked array", "x.filled(0)"):
            call()
    assert world.all_reduce_sum([masked.filled(0)] * 4)[0].tolist() == [4, 0, 12, 16]
    with raises(ValueError, "3 inputs for 4 ranks"):
        world.all_reduce_sum([1, 2, 3])
    with raises(TypeError, "one input for each of the 4 ranks"):
        world.all_reduce_sum(5)
    with raises(TypeError, "all_reduce_sum() got an unexpected keyword argument 'no_such_option'"):
        world.all_reduce_sum([1] * 4, no_such_option=1)
    with raises(TypeError, "all_gather() got an unexpected keyword argument 'axes'; did you mean axis?"):
        world.all_gather([[1]] * 4, axes=0)
    with raises(TypeError, "all_reduce_max() got an unexpected keyword argument 'time_out'; did you mean timeout?"):
        world.rank(0).all_reduce_max(1, time_out=2)


def test_operations_by_name(world):
    assert world.run("all_gather", [[1], [2]], group=[0, 1], axis=0)[1].tolist() == [1, 2]
    assert list(THREADS.map(lambda r: world.rank(r).run("all_reduce_sum", r), range(4))) == [6] * 4
    with raises(tutti.Invalid, code="op_unknown"):  # as a newer service's would be asked for
        world.run("all_reduce_median", [1, 2, 3, 4])
    assert sorted(world.service.ops) == sorted(tutti.OPS)


def main():
    with Service(workers=4, arena="1G") as service:
        world = tutti.connect(url_of(service)).world
        return run_facts(globals(), world)


if __name__ == "__main__":
    sys.exit(main())
