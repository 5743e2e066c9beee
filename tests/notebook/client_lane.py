#!/usr/bin/python3
"""client_lane.py - the notebook client on the service's own machine: large tensors go through shared memory, unseen. Results are
arrays like others, whose bytes stay what they are; whatever the lane has no room for, or does not know any more, goes by HTTP."""
import concurrent.futures
import gc
import os
import socket
import sys
import time

import numpy as np

from tools import raises, run_facts, tutti, url_of
from service import Service, until

MIB = 1 << 20
RANKS = 4


def arrays(count, seed=0, dtype="f4"):
    rng = np.random.default_rng(seed)
    return [rng.integers(-99, 99, count).astype(dtype) for _ in range(RANKS)]


def lane_of(service):
    return service.metrics()["lane"]


def clean(service):
    """Clients of before and their results are gone."""
    service.hang_up()  # a test may have taken longer than an idle connection lives
    gc.collect()
    for job in service.get("/v1/jobs?limit=500").json["jobs"]:
        service.delete("/v1/jobs/" + job["id"])
    until(lambda: lane_of(service)["regions"] == 0, 20)


def body_bytes(world, call):
    """How many bytes of bodies a call sends, and how many tensors it downloads."""
    sent, downloads, wire, service = [], [], world.service._wire, world.service
    send, download = wire.send, service._download

    def counted(sock, request):
        sent.append(request.total)
        return send(sock, request)

    def downloaded(*arguments):
        downloads.append(arguments)
        return download(*arguments)

    wire.send, service._download = counted, downloaded
    try:
        value = call()
    finally:
        wire.send, service._download = send, download
    return value, sum(sent), len(downloads)


def test_large_tensors_do_not_travel(service):
    clean(service)
    world = tutti.connect(url_of(service)).world
    x = arrays(MIB)
    for op, want in (("all_reduce_sum", lambda r: sum(x)), ("all_gather", lambda r: np.concatenate(x)), ("broadcast", lambda r: x[0]),
                     ("scatter", lambda r: x[0].reshape(RANKS, -1)[r]), ("all_reduce_max", lambda r: np.maximum.reduce(x)),
                     ("all_to_all", lambda r: np.concatenate([y.reshape(RANKS, -1)[r] for y in x]))):
        got, sent, downloads = body_bytes(world, lambda: getattr(world, op)(x))
        assert sent < 2000 and downloads == 0, (op, sent, downloads)
        for r in range(RANKS):
            assert got[r].dtype == np.float32 and (got[r] == want(r)).all(), op
    small, sent, downloads = body_bytes(world, lambda: world.all_reduce_sum([y[:8] for y in x]))
    assert (small[0] == sum(x)[:8]).all() and "region" not in str(small.job.doc)
    # Strided, of another byte order, of truth values, and what torch would bring.
    odd = [y.reshape(1024, -1).T for y in x]
    assert (world.all_reduce_sum(odd)[1] == sum(odd)).all()
    assert (world.all_reduce_sum([y.astype(">f4") for y in x])[0] == sum(x)).all()
    truth = [y > 0 for y in x]
    assert (world.all_reduce_max(truth)[0] == np.logical_or.reduce(truth)).all()


def test_arrays_that_live_there(service):
    clean(service)
    world = tutti.connect(url_of(service)).world
    x = [world.empty((256, 1024)) for _ in range(RANKS)]
    used = lane_of(service)["used_bytes"]
    assert used > 0 and all(y.flags.writeable and y.flags.c_contiguous and y.dtype == np.float32 for y in x)
    for r, y in enumerate(x):
        y[...] = r + 1
    assert (world.all_reduce_sum(x)[3] == 10).all()
    # A slice lives there, too; and one that is not in one piece is copied.
    assert (world.all_reduce_sum([y[100:200] for y in x])[0] == 10).all()
    assert (world.all_reduce_sum([y[:, ::2] for y in x])[0] == 10).all()
    lane = world.service._lane
    taken = sum(r.size - sum(size for _, size in r.free) for r in lane.inputs)
    del x, y
    gc.collect()
    lane.collect()
    left = sum(r.size - sum(size for _, size in r.free) for r in lane.inputs)
    assert taken - left >= RANKS * MIB, (taken, left)
    assert world.empty(0).shape == (0,) and world.empty(3, "int8").dtype == np.int8 and world.empty([2, 3], np.float64).shape == (2, 3)


def test_every_byte_is_copied(service):
    """By however many threads, of any size, by several callers at once."""
    copier, piece = tutti._copier, tutti._COPY_BYTES

    def copied(seed):
        sizes = (0, 1, piece - 1, piece, piece + 1, 5 * piece + 3)
        of = [np.random.default_rng(seed + i).integers(0, 255, size, np.uint8) for i, size in enumerate(sizes)]
        to = [np.zeros_like(x) for x in of]
        copier.copy(list(zip(to, of)))
        return all((a == b).all() for a, b in zip(to, of))

    cpus = os.sched_getaffinity
    try:
        for count in (1, 2, 64):
            os.sched_getaffinity = lambda pid, count=count: range(count)
            with concurrent.futures.ThreadPoolExecutor(4) as callers:
                assert all(callers.map(copied, range(0, 80, 10)))
    finally:
        os.sched_getaffinity = cpus


def test_results_are_arrays_like_others(service):
    clean(service)
    world = tutti.connect(url_of(service)).world
    x = arrays(MIB, 1)
    want = sum(x)
    out = world.all_reduce_sum(x)
    out[0][:] = -1  # each rank's is its own, though they are the same tensor
    out[2][7] = 5
    assert (out[1] == want).all() and out[2][7] == 5 and (out[2][8:] == want[8:]).all()
    assert (np.asarray(out.job.outputs()[0]) == want).all()
    # They stay what they are when the job is deleted, its place is wanted, and when the connection ends.
    kept = [world.all_reduce_sum([y + i for y in x], keep=False) for i in range(3)]
    out.job.delete()
    for i in range(40):
        world.all_reduce_sum([y * 0 for y in x])
    assert (out[1] == want).all() and all((k[3] == want + RANKS * i).all() for i, k in enumerate(kept))
    world.service._lane.reset()
    for i in range(20):
        world.all_reduce_sum([y * 0 for y in x])
    assert (out[1] == want).all() and all((k[3] == want + RANKS * i).all() for i, k in enumerate(kept))
    view = out[1][5:10]
    del out, kept
    gc.collect()
    assert (view == want[5:10]).all()


def test_a_result_never_shows_what_was_written_to_another(service):
    """The same places again and again, written to in one array, one page or all; read by others, or by nobody."""
    clean(service)
    world = tutti.connect(url_of(service)).world
    x = arrays(MIB, 8)
    rng = np.random.default_rng(9)
    for i in range(60):
        out, want = world.all_reduce_sum([y + i for y in x]), sum(x) + RANKS * i
        for r in rng.permutation(RANKS)[:rng.integers(0, RANKS + 1)]:
            assert (out[r] == want).all(), (i, r)
            if rng.integers(0, 2):
                at = rng.integers(0, MIB)
                out[r][at:at + rng.choice([1, 1024, MIB])] = -7
        kept = out[int(rng.integers(0, RANKS))] if i % 3 == 0 else None
    del out, kept
    gc.collect()


def test_mappings_are_used_again(service):
    """Where nothing was written, and not more of them than a few; none of a connection that has ended."""
    clean(service)
    world = tutti.connect(url_of(service)).world
    x = arrays(MIB, 9)

    def mapped():
        with open("/proc/self/maps") as f:
            return sum("tutti-results" in line or "memfd:" in line for line in f)

    before = mapped()
    places = []
    for _ in range(60):
        out = world.all_reduce_sum(x)
        places.append(out[0][::1024].__array_interface__["data"][0])
        assert out[0][::1024].sum() == sum(x)[::1024].sum()
        out = None
    assert len(set(places)) < 20, len(set(places))  # 16 results find room
    for i in range(60):
        world.all_reduce_sum([y[:MIB // 4 + 1024 * i] for y in x])
    assert mapped() - before < 60, (before, mapped())
    out = world.all_reduce_sum(x)
    world.service._lane.reset()
    gc.collect()
    assert mapped() <= before + RANKS and (out[1] == sum(x)).all()
    del out
    gc.collect()
    assert mapped() <= before


def test_futures_and_references(service):
    clean(service)
    world = tutti.connect(url_of(service)).world
    x = arrays(MIB, 2)
    futures = [world.all_reduce_sum([y + i for y in x], async_=True) for i in range(6)]
    for i, future in enumerate(futures):
        assert (future.result(30)[1] == sum(x) + RANKS * i).all()
    again = world.all_reduce_max([futures[0].job[0]] * RANKS)
    assert (again[0] == sum(x)).all()
    gradient = world.all_reduce_max(x).backward([np.ones(MIB, "f4"), None, None, None])
    assert (gradient[0] == (x[0] == np.maximum.reduce(x))).all()


def call_all(world, call):
    """What each rank's own call gives, or the Error that it raises; all at the same time."""
    def one(r):
        try:
            return call(world.rank(r), r)
        except tutti.Error as error:
            return error

    with concurrent.futures.ThreadPoolExecutor(RANKS) as ranks:
        return list(ranks.map(one, range(RANKS)))


def test_calls_of_single_ranks(service):
    clean(service)
    world = tutti.connect(url_of(service)).world
    x = arrays(MIB, 10)
    for op, gives, want in (("all_reduce_sum", range(RANKS), lambda r: sum(x)), ("broadcast", [0], lambda r: x[0]),
                            ("reduce_max", range(RANKS), lambda r: np.maximum.reduce(x) if r == 0 else None),
                            ("scatter", [0], lambda r: x[0].reshape(RANKS, -1)[r])):
        got, sent, _ = body_bytes(world, lambda: call_all(world, lambda rank, r: getattr(rank, op)(x[r] if r in gives else None)))
        assert sent < 2000, (op, sent)
        for r in range(RANKS):
            assert (got[r] is None) if want(r) is None else (got[r] == want(r)).all(), (op, r)
    there = [world.empty(MIB) for _ in range(RANKS)]
    for a, b in zip(there, x):
        a[...] = b
    futures = call_all(world, lambda rank, r: rank.all_reduce_sum(there[r], async_=True))
    assert all((future.result(30) == sum(x)).all() for future in futures)
    job = futures[0].job
    got, sent, _ = body_bytes(world, lambda: call_all(world, lambda rank, r: rank.backward(job, there[r])))
    assert sent < 2000 and all((gradient == sum(x)).all() for gradient in got), sent
    pair = [world.rank(1), world.rank(3)]
    with concurrent.futures.ThreadPoolExecutor(1) as other:
        came = other.submit(pair[1].remote_recv, 1)
        assert pair[0].remote_send(x[1], 3) is None and (came.result(30) == x[1]).all()


def test_gradients(service):
    clean(service)
    world = tutti.connect(url_of(service)).world
    x = arrays(MIB, 11)
    job = world.all_reduce_sum(x).job
    got, sent, _ = body_bytes(world, lambda: job.backward([x[0], None, x[2], None]))
    assert sent < 2000 and all((gradient == x[0] + x[2]).all() for gradient in got), sent
    mixed = world.all_reduce_sum([world.service.tensor(x[0]), *x[1:]])  # a handle among arrays
    assert (mixed[1] == sum(x)).all()


def test_batches(service):
    """Also lines that take outputs of others, and results that no room is left for."""
    clean(service)
    world = tutti.connect(url_of(service)).world
    x = arrays(MIB, 12)

    def batch(i):
        with world.batch() as b:
            jobs = [b.all_reduce_sum([y + i for y in x]), b.all_reduce_max([1, 2, 3, 4])]
            jobs += [b.all_gather([jobs[0][r] for r in range(RANKS)]), b.reduce_scatter_max(x)]
        return [job.outputs() for job in jobs]

    def check(outputs, i):
        total, largest, joined, parts = outputs
        want = sum(x) + RANKS * i
        assert (total[3] == want).all() and largest == [4] * RANKS and (joined[2] == np.tile(want, RANKS)).all()
        for r in range(RANKS):
            assert (parts[r] == np.maximum.reduce(x).reshape(RANKS, -1)[r]).all()

    outputs, sent, downloads = body_bytes(world, lambda: batch(0))
    check(outputs, 0)
    assert sent < 4000 and downloads == 1, (sent, downloads)  # of the small one
    kept = [batch(i) for i in range(1, 12)]  # 24 MiB each in a region of 64
    for i, outputs in enumerate(kept):
        check(outputs, i + 1)
    with world.batch(check=False) as b:
        refused = b.all_reduce_sum([y[:r + 5000] for r, y in enumerate(x)])
        after = b.all_reduce_sum([refused[r] for r in range(RANKS)])
        good = b.all_reduce_sum(x)
    assert refused.error.code == "inputs_differ" and after.error.code == "input_failed" and (good.outputs()[0] == sum(x)).all()
    lane = world.service._lane
    del kept, outputs, b, refused, after, good
    gc.collect()
    lane.collect()
    assert all(region.free == [(0, region.size)] for region in lane.inputs)
    # Of a batch that is not sent its arrays leave, too; and what is written to an array after it was given does not count.
    with raises(KeyError):
        with world.batch() as b:
            b.all_reduce_sum(x)
            raise KeyError
    del b
    gc.collect()
    lane.collect()
    assert all(region.free == [(0, region.size)] for region in lane.inputs)
    own = [y.copy() for y in x]
    with world.batch() as b:
        total = b.all_reduce_sum(own)
        own[0][:] = 0
    assert (total.outputs()[1] == sum(x)).all()


def test_a_batch_that_is_sent_twice(service):
    """Each time what was collected since; a later job takes outputs of an earlier one."""
    clean(service)
    world = tutti.connect(url_of(service)).world
    x = arrays(MIB, 22)
    with world.batch(check=False) as b:
        total, refused = b.all_reduce_sum(x), b.all_reduce_sum([1, 2, 3, [4]])
        b.send()
        assert (total.outputs()[1] == sum(x)).all() and refused.error.code == "inputs_differ"
        with raises(tutti.Error, code="inputs_differ"):
            b.all_reduce_max(refused)
        small, largest = b.all_reduce_sum([1, 2, 3, 4]), b.all_reduce_max([y + 1 for y in x])
        twice, least = b.all_reduce_sum(total), b.all_reduce_min(largest)
    assert small.outputs() == [10] * RANKS and (largest.outputs()[0] == np.maximum.reduce(x) + 1).all()
    assert (twice.outputs()[2] == RANKS * sum(x)).all() and (least.outputs()[3] == largest.outputs()[3]).all()
    assert len(b) == 6 and (total.outputs()[1] == sum(x)).all()


def test_what_the_lane_has_no_room_for(service):
    """Many results at once: first what no array shows is forgotten, then other regions, then HTTP."""
    clean(service)
    world = tutti.connect(url_of(service)).world
    x = arrays(MIB, 3)
    kept = [world.all_reduce_sum([y + i for y in x]) for i in range(60)]  # 240 MiB of a lane of 128
    assert all((k[r] == sum(x) + RANKS * i).all() for i, k in enumerate(kept) for r in (0, 3))
    assert lane_of(service)["used_bytes"] <= lane_of(service)["size_bytes"]
    hoard = [world.empty(MIB) for _ in range(60)]
    assert (world.all_reduce_sum(hoard[-RANKS:])[0].shape == (MIB,))
    for k in kept:
        k.job.delete()


def test_room_is_made_before_it_is_wanted(service):
    """What no array shows goes in time, oldest first, and not what is shown; nothing is refused, and nobody is asked twice."""
    clean(service)
    world = tutti.connect(url_of(service)).world
    x = arrays(MIB, 7)
    shown = world.all_reduce_sum(x)
    refused = service.metrics()["refusals"]
    jobs = [world.all_reduce_sum([y + i for y in x]).job for i in range(40)]  # 160 MiB in a region of 64
    assert (jobs[-1].outputs()[2] == sum(x) + RANKS * 39).all() and (shown[1] == sum(x)).all()
    with raises(tutti.Gone, "made way for newer ones", "keep an array"):
        jobs[0].outputs()
    for i in range(40):  # the service forgets these by itself
        world.all_reduce_sum([y - i for y in x], keep=False)
    assert service.metrics()["refusals"] == {**refused, "tensor_unknown": refused.get("tensor_unknown", 0) + 1}
    assert (shown[0] == sum(x)).all()


def test_results_stay_while_there_is_room(service):
    """Those whose job can be asked for; the others go in time, so that nobody waits for it."""
    clean(service)
    pair = tutti.connect(url_of(service)).group([0, 1])
    x = arrays(6 * MIB, 18)[:2]
    jobs = [pair.all_reduce_sum([y + i for y in x]).job for i in range(2)]  # 24 MiB each in a region of 64
    for i, job in enumerate(jobs):
        assert (job.outputs()[1] == sum(x) + 2 * i).all()
    # Where there is none it is taken from those that nobody can ask for, though they are newer.
    handle, job, newer = jobs[0].tensors()[0], jobs[0], pair.service.jobs[jobs[1].id]
    del jobs, job, newer
    gc.collect()
    pair.all_reduce_sum(x)
    assert (handle.numpy() == sum(x)).all()
    # An array that is dropped, again and again: there is room before it is wanted.
    late, lane = [], pair.service._lane
    part, surplus = [y[:4 * MIB] for y in x], lane.surplus

    def watched(*a, **how):
        ids = surplus(*a, **how)
        late.extend(ids if how.get("named", True) else [])
        return ids

    del handle
    lane.surplus = watched
    for _ in range(12):
        out = pair.all_reduce_sum(part)
    lane.surplus = surplus
    assert (out[0] == sum(part)).all() and len(late) <= 2, late


def test_a_result_does_not_wait_for_what_is_tidied_up(service):
    """The second connection reaches somebody who never answers."""
    clean(service)
    world = tutti.connect(url_of(service)).world
    x = arrays(3 * MIB, 23)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        side = world.service._side
        side.near, side.host, side.port = None, "127.0.0.1", mute.getsockname()[1]
        begun = time.monotonic()
        for i in range(5):  # 12 MiB each in a region of 64: the last one makes room for a sixth
            out = None
            out = world.all_reduce_sum([y + i for y in x])
        assert time.monotonic() - begun < 10 and (out[1] == sum(x) + 4 * RANKS).all()
        mute.setblocking(False)
        mute.accept()[0].close()  # somebody has come


def test_what_a_batch_takes_is_not_forgotten_for_it(service):
    """Where there is no room for its results then, they come by HTTP."""
    clean(service)
    pair = tutti.connect(url_of(service)).group([0, 1])
    x = arrays(7 * MIB, 17)[:2]
    shown = [pair.all_reduce_sum([y - i for y in x]) for i in range(2)]  # 28 MiB each in a region of 64
    first, handle = shown[0].job, shown[1].job.tensors()[0]
    del shown
    with pair.batch() as b:
        largest, least = b.all_reduce_max(first), b.all_reduce_min([handle] * 2)
    assert (largest.outputs()[1] == sum(x)).all() and (least.outputs()[0] == sum(x) - 2).all()


def test_without(service):
    clean(service)
    world = tutti.connect(url_of(service), lane=False).world
    x = arrays(MIB, 4)
    got, sent, downloads = body_bytes(world, lambda: world.all_reduce_sum(x))
    assert (got[0] == sum(x)).all() and sent > RANKS * 4 * MIB and downloads == 1
    assert world.empty(5).shape == (5,)
    # The service's path is not here, or another service is there: both are as if there were none.
    for path in ("/nowhere/lane.sock", service.data_dir + "/worker.sock"):
        away = tutti.connect(url_of(service)).world
        away.service._lane.path = path
        assert (away.all_reduce_sum(x)[0] == sum(x)).all()
    with Service(workers=RANKS, arena="64M") as other:
        mixed = tutti.connect(url_of(other)).world
        mixed.service._lane.path = service.get("/v1").json["lane"]
        short, want = [y[:32768] for y in x], sum(x)[:32768]
        assert all((got == want).all() for got in call_all(mixed, lambda rank, r: rank.all_reduce_sum(short[r])))
        mixed.service._lane.strikes = 0
        with mixed.batch() as b:
            total, least = b.all_reduce_sum(short), b.all_reduce_min([3, 1, 2, 4])
            twice = b.all_reduce_sum([total[r] for r in range(RANKS)])
        assert (twice.outputs()[3] == RANKS * want).all() and (total.outputs()[0] == want).all() and least.outputs() == [1] * RANKS
        assert (total.job.backward(short)[1] == want).all()
        for _ in range(6):
            assert (mixed.all_reduce_sum(short)[0] == want).all()
        assert mixed.service._lane.off


def main():
    with Service(workers=RANKS, arena="512M", options=("--lane-size", "128M")) as service:
        return run_facts(globals(), service)


if __name__ == "__main__":
    sys.exit(main())
