#!/usr/bin/python3
"""client_api.py - what the client has beside operations: futures, gradients, batches, keys and values, handles, groups, jobs,
calls of ranks, events of errors, and how all of it looks in a notebook."""
import asyncio
import concurrent.futures
import inspect
import re
import sys
import threading
import time
import xml.etree.ElementTree

import numpy as np

from tools import raises, run_facts, tutti, url_of
from service import Service, until

THREADS = concurrent.futures.ThreadPoolExecutor(8)


def ranks_call(call, ranks=range(4)):
    return list(THREADS.map(call, ranks))


def test_the_service(world):
    service = world.service
    assert (service.backend, len(world), world.ranks, world.name) == ("shm", 4, [0, 1, 2, 3], "world")
    assert [w.rank for w in service.workers] == [0, 1, 2, 3] and service.workers[0].state in ("ready", "busy")
    assert service.metrics()["workers"]["ready"] == 4 and service.limits["wait_s"] == 300
    assert service.version == tutti.__version__
    assert set(tutti.DTYPES) == set(service.dtypes)


def test_futures(world):
    future = world.all_reduce_sum([1, 2, 3, 4], async_=True)
    assert future.result(10) == [10] * 4 and future.done() and future.exception() is None
    assert future.job.state == "succeeded" and future.result().job.id == future.job.id
    many = [world.all_reduce_sum([i, 0, 0, 0], async_=True) for i in range(50)]
    done, rest = concurrent.futures.wait(many, 30)
    assert not rest and [f.result()[3] for f in many] == list(range(50))
    called = threading.Event()
    many[0].add_done_callback(lambda f: called.set())
    assert called.wait(5)

    async def together():
        return await asyncio.gather(*[world.broadcast(i, async_=True) for i in range(3)])

    assert [o[1] for o in asyncio.run(together())] == [0, 1, 2]
    with raises(tutti.Invalid, code="not_divisible"):  # what is refused is refused at once
        world.scatter(np.ones(3), async_=True)


def test_futures_of_ranks(world):
    futures = [world.rank(r).all_gather([r], async_=True) for r in range(3)]
    assert not any(f.done() for f in futures)
    ask, world.service._wire.ask = world.service._wire.ask, None  # who only looks asks nobody
    try:
        with raises(concurrent.futures.TimeoutError, "within 0 s"):
            futures[0].result(timeout=0)
    finally:
        world.service._wire.ask = ask
    with raises(concurrent.futures.TimeoutError, futures[0].job.id, "within 0.2 s: waits for rank 3"):
        futures[0].result(0.2)
    with raises(concurrent.futures.TimeoutError, futures[0].job.id, "waits for rank 3"):
        futures[0].exception(0.1)
    assert futures[0].job.id in repr(futures[0]) and "not done" in repr(futures[0])
    assert until(lambda: futures[0].job.missing == [3]) and "waits for rank 3" in repr(futures[0].job)
    last = world.rank(3).all_gather([3])
    assert all(f.result(10).tolist() == last.tolist() == [0, 1, 2, 3] for f in futures)


def test_cancel_of_a_future(world):
    future = world.rank(0, rejoin=True).barrier(async_=True)
    assert future.cancel() and future.cancelled() and future.cancel()
    with raises(concurrent.futures.CancelledError):
        future.result()
    assert future.job.state == "cancelled"
    with raises(tutti.Cancelled, code="cancelled"):
        future.job.wait()
    done = world.barrier(async_=True)
    done.result(10)
    assert not done.cancel()
    # the others' calls go on where the cancelled job left them
    assert ranks_call(lambda r: world.rank(r, rejoin=True).all_reduce_sum(r)) == [6] * 4


def test_gradients(world):
    x = [np.float32([r, 2 * r]) for r in range(4)]
    outputs = world.all_reduce_sum(x)
    ones = [np.ones(2, "f4")] * 4
    assert all(g.tolist() == [4, 4] for g in outputs.job.backward(ones))
    grads = outputs.backward([ones[0], None, None, None])
    assert all(g.tolist() == [1, 1] for g in grads) and grads.job.parent == outputs.job.id
    assert grads.job.backward(ones)[2].tolist() == [4, 4]
    top = world.all_reduce_max(x)
    assert [g.tolist() for g in top.backward(ones)] == [[0, 0], [0, 0], [0, 0], [4, 4]]
    reduced = world.reduce_sum(x)
    assert reduced.backward([None] * 4) == [None] * 4
    assert reduced.backward([ones[0], None, None, None])[3].tolist() == [1, 1]
    assert outputs.backward(ones, async_=True).result(10)[0].tolist() == [4, 4]
    with raises(tutti.Invalid, code="no_gradient"):
        world.all_reduce_prod(x).backward(ones)
    with raises(tutti.Invalid, code="grads_invalid"):
        outputs.backward([np.ones(3, "f4")] * 4)


def test_gradients_of_ranks(world):
    def step(r):
        me = world.rank(r)
        y = me.all_gather(np.float64([r, 1]))
        return me.backward(me.last_job, np.arange(len(y), dtype="f8"))

    assert [g.tolist() for g in ranks_call(step)] == [[8.0 * r, 8.0 * r + 4] for r in range(4)]


def test_barrier_and_bcast(world):
    assert world.barrier() == [None] * 4
    came = []

    def late(r):
        time.sleep(0.1 * r)
        came.append(r)
        world.rank(r).barrier()
        return len(came)

    assert ranks_call(late) == [4] * 4
    value = {"lr": 0.1, "names": ["ä", None, True], "n": 2 ** 53}
    assert ranks_call(lambda r: world.rank(r).bcast(value if r == 0 else None)) == [value] * 4
    waiting = world.rank(1).bcast(async_=True)
    ranks_call(lambda r: world.rank(r).bcast("later"), (0, 2, 3))
    assert waiting.result(10) == "later"
    pair = world.service.group([2, 0], name="turned")
    assert ranks_call(lambda r: pair.rank(r).bcast([r]), (0, 1)) == [[0], [0]]


def test_missing_ranks_and_mismatches(world):
    begun = time.monotonic()
    with raises(tutti.RanksMissing, "ranks 2, 3 never came", "group.rank(r, rejoin=True)", code="ranks_missing", ranks=[2, 3], status=504) as caught:
        ranks_call(lambda r: world.rank(r).all_reduce_sum(r, timeout=1), (0, 1))
    assert isinstance(caught[0], TimeoutError) and caught[0].job.startswith("j_") and time.monotonic() - begun < 10
    for r in (2, 3):  # whoever comes late hears the same
        with raises(tutti.RanksMissing, ranks=[2, 3]):
            world.rank(r).all_reduce_sum(r)

    def call(r):
        me = world.rank(r)
        with raises(tutti.Mismatch, "float32 (3,)", "float32 (2,)", code="mismatch", status=409) as caught:
            me.all_reduce_sum(np.ones(2 + (r == 3), "f4"))
        return caught[0].job

    assert len(set(ranks_call(call))) == 1
    failed = [world.rank(r, rejoin=True).barrier(timeout=1, async_=True) for r in (0, 1)]
    assert all(isinstance(f.exception(20), tutti.RanksMissing) for f in failed)
    assert "never came" in repr(failed[0]) and failed[0].job.id in repr(failed[0])
    with raises(tutti.RanksMissing, "never came"):  # which is a TimeoutError, too
        failed[0].result(5)
    assert ranks_call(lambda r: world.rank(r, rejoin=True).all_reduce_sum(1)) == [4] * 4


def test_inputs_that_are_there(world):
    handle = world.service.tensor(np.float32([[1, 2], [3, 4]]))
    assert (handle.dtype, handle.shape, handle.nbytes) == ("float32", (2, 2), 16)
    assert handle.get().tolist() == np.asarray(handle).tolist() == [[1, 2], [3, 4]]
    assert world.all_reduce_sum([handle] * 4)[1].tolist() == [[4, 8], [12, 16]]
    assert world.all_reduce_sum([handle, np.ones((2, 2), "f4"), handle, handle])[0].tolist() == [[4, 7], [10, 13]]
    assert world.broadcast(handle)[3].tolist() == [[1, 2], [3, 4]]
    assert [g.tolist() for g in ranks_call(lambda r: world.rank(r).all_reduce_max(handle))] == [[[1, 2], [3, 4]]] * 4
    again = world.service.tensor(handle.id)
    assert again.shape == (2, 2)
    kept = world.all_reduce_sum([handle] * 4, resident=True)
    assert isinstance(kept[0], tutti.Tensor) and kept[0].numpy().tolist() == [[4, 8], [12, 16]]
    assert ranks_call(lambda r: world.rank(r).all_gather(r * np.ones(1), resident=True).shape) == [(4,)] * 4
    handle.delete()
    with raises(tutti.NotFound, code="tensor_unknown"):
        handle.get()


def test_outputs_that_are_not_there_yet(world):
    first = world.all_reduce_sum([1, 2, 3, 4], async_=True)
    second = world.all_reduce_max([first.job[0], 3, 0, 7], async_=True)
    third = world.all_reduce_sum(second)  # of each rank its own
    assert third == [40] * 4 and first.job[2].get() == 10
    gone = world.all_reduce_sum([1, 2, 3, 4], keep=False)
    assert gone == [10] * 4
    with raises(tutti.NotFound, code="job_unknown"):
        gone.job.refresh()


def test_batches(world):
    with world.batch(check=False) as b:
        total = b.all_reduce_sum([1, 2, 3, 4])
        most = b.all_reduce_max([total[0], 3, 0, 7])
        wrong = b.scatter(np.ones(3))
        after = b.all_reduce_sum(wrong)
        large = b.all_gather([np.full((700, 3), r, "f8") for r in range(4)])
        pair = b.all_gather(np.arange(2).reshape(2, 1), group=[3, 1])
        nothing = b.barrier()
        odd = b.broadcast(np.array([np.nan, np.inf, -np.inf, 1]))
        wide = b.broadcast(np.array([2 ** 64 - 1], "u8"))
        with raises(RuntimeError, "has not been sent"):
            total.outputs()
    assert len(b) == 9 and total.outputs() == most.outputs() == [10] * 4
    assert large.outputs()[2].shape == (2800, 3) and (large.outputs()[1][-1] == 3).all()
    assert pair.outputs()[0].tolist() == [0, 1] and nothing.outputs() == [None] * 4
    assert str(odd.outputs()[3].tolist()) == "[nan, inf, -inf, 1.0]" and wide.outputs()[1].tolist() == [2 ** 64 - 1]
    assert wrong.error.code == "not_divisible" and most.error is None
    with raises(tutti.Error):
        after.outputs()
    with raises(KeyError):
        with world.batch() as unsent:
            unsent.all_reduce_sum([1, 2, 3, 4], label="never")
            raise KeyError
    assert world.service.jobs(label="never") == []
    with raises(tutti.Invalid, "job 1 of the batch: ", "(1 more of the batch refused)", code="not_divisible"):
        with world.batch() as b:
            good, wrong = b.all_reduce_sum([1, 2, 3, 4]), b.scatter(np.ones(3))
            after = b.all_reduce_sum(wrong)
    assert good.outputs() == [10] * 4 and wrong.error.code == "not_divisible" and after.error is not None and b.jobs == [good, wrong, after]
    b = world.batch()
    b.scatter(np.ones(3))
    with raises(tutti.Invalid, "job 0 of the batch: ", code="not_divisible"):
        b.send()
    assert total.backward([1, 1, 1, 1]) == [4] * 4


def test_keys_and_values(world):
    kv = world.service.group([0, 1], name="keys").kv
    assert len(kv) == 0 and "lr" not in kv and kv.get("lr", 7) == 7
    kv["lr"], kv["odd_key/%~"] = 0.1, {"a": [1, None]}
    assert kv["lr"] == 0.1 and list(kv) == ["lr", "odd_key/%~"] and dict(kv)["odd_key/%~"] == {"a": [1, None]}
    assert list(kv.keys_with("o")) == ["odd_key/%~"]
    with raises(KeyError, code="key_unknown"):
        kv["none"]
    value, version = kv.read("lr")
    newer = kv.set("lr", 0.2, version=version)
    assert newer != version
    with raises(tutti.Conflict, code="precondition_failed"):
        kv.set("lr", 0.3, version=version)
    with raises(tutti.Conflict):
        kv.set("lr", 0.3, new=True)
    assert kv.pop("lr") == 0.2 and kv.pop("lr", "gone") == "gone"
    with raises(KeyError):
        kv.pop("lr")
    kv["none"] = None
    assert "none" in kv and kv["none"] is None
    del kv["none"]
    assert "none" not in kv
    waiting = THREADS.submit(kv.wait, "ready", 20)
    taking = THREADS.submit(kv.take, "token", 20)
    time.sleep(0.2)
    kv["ready"], kv["token"] = [1], "mine"
    assert waiting.result(20) == [1] and taking.result(20) == "mine" and "token" not in kv
    with raises(tutti.KeyUnknown):
        kv.wait("never", 0.3)
    kv.set("short", 1, ttl=1)
    until(lambda: "short" not in kv, 10)
    with raises(tutti.Invalid, code="key_invalid"):
        kv["a b"] = 1
    for use in (lambda key: kv[key], lambda key: kv.set(key, 1), lambda key: kv.pop(key), lambda key: kv.wait(key, 0), kv.__delitem__):
        with raises(TypeError, "a key is a string of 1 to 127 printable ASCII characters, not int"):
            use(3)
        with raises(ValueError, "a key has 1 to 127 printable ASCII characters"):
            use("")
    assert "" not in kv and 3 not in kv
    for use, words in ((lambda: kv["none"], "kv.wait('none', timeout=60) waits for one"), (lambda: kv.take("none"), "kv.take('none', timeout=60)"),
                       (lambda: kv.wait("none", 0.1), "got no value within 0.1 s")):
        with raises(tutti.KeyUnknown, "the key none", words, code="key_unknown", status=404) as caught:
            use()
        assert "?wait" not in str(caught[0])


def test_groups(world):
    service = world.service
    pair = service.group([3, 1], name="pair")
    assert (pair.ranks, pair.rank(0).world_rank, len(pair)) == ([3, 1], 3, 2)
    assert service.group("pair").ranks == [3, 1] and world.all_gather([[1], [2]], group="pair")[1].tolist() == [1, 2]
    with raises(tutti.Conflict, code="group_exists"):
        service.group([1, 3], name="pair")
    pair.delete()
    with raises(tutti.NotFound, code="group_unknown"):
        service.group("pair")
    with raises(tutti.Conflict, code="group_protected"):
        world.delete()
    with raises(tutti.Invalid, code="group_invalid"):
        world.all_reduce_sum([1, 2], group=[0, 0])
    with raises(ValueError, "0..3"):
        world.rank(4)
    assert world.rank(np.int64(2)).rank == 2
    for wrong in ("a", 1.0, None):
        with raises(TypeError, "a rank is a whole number, 0 to 3 in world, not " + type(wrong).__name__):
            world.rank(wrong)
    assert service.group(iter((2, 0))).ranks == [2, 0] and service.group(r for r in (1, 3)).size == 2
    for use in (lambda: world.all_reduce_sum([], group=[]), lambda: service.group([]), lambda: service.group([], name="none"),
                lambda: world.barrier(group=""), lambda: world.rank(0).barrier(group=[])):
        with raises(ValueError, "a group has one rank or more"):
            use()


def test_jobs(world):
    outputs = world.all_reduce_sum([1, 2, 3, 4], label="findme", priority=3, stream=2)
    found = world.service.jobs(label="findme")
    assert [j.id for j in found] == [outputs.job.id] and found[0].done() and found[0].attempts == 1
    job = world.service.jobs[outputs.job.id]
    assert (job.op, job.group, job.ranks, job.label, job.error) == ("all_reduce_sum", "world", [0, 1, 2, 3], "findme", None)
    assert [int(x) for x in job.outputs()] == [10] * 4 and job.output(1) == 10 and job.tensors()[0].dtype == "int64"
    assert job.timeline["total_us"] > 0 and job.busbw >= 0 and job.algbw >= 0
    assert next(iter(world.service.jobs)).id >= job.id
    with raises(tutti.Conflict, code="job_finished"):
        job.cancel()
    job.delete()
    with raises(tutti.NotFound, "there is no job"):
        world.service.jobs[job.id]
    waiting = world.rank(2, rejoin=True).barrier(async_=True)
    with raises(TimeoutError, "waits for ranks 0, 1, 3"):
        world.service.job(waiting.job.id).wait(0.3)
    assert world.service.job(waiting.job.id).cancel().state == "cancelled"
    assert isinstance(waiting.exception(10), tutti.Cancelled)
    ranks_call(lambda r: world.rank(r, rejoin=True).barrier())


def test_help_shows_every_parameter(world):
    for op in tutti.OPS.values():
        for owner in (tutti.Group, tutti.Rank):
            method = getattr(owner, op.name)
            assert method.__name__ == op.name and (op.name == "barrier" or op.sentence in method.__doc__)
            names = list(inspect.signature(method).parameters)
            assert "timeout" in names or "options" in names, (owner, op.name, names)
    assert "axis" in inspect.signature(tutti.Group.scatter).parameters
    for name in ("op", "state", "group", "ranks", "missing", "timeline", "algbw", "busbw", "attempts", "label", "parent", "error"):
        assert getattr(tutti.Job, name).__doc__, name
    assert "10^9 bytes/s" in tutti.Job.algbw.__doc__ and "Microseconds" in tutti.Job.timeline.__doc__
    assert list(inspect.signature(tutti.Rank.remote_recv).parameters)[1] == "src_rank"


def well_formed(page):
    """It is, as XML, too, and no tag comes from what people wrote."""
    xml.etree.ElementTree.fromstring("<div>%s</div>" % page)
    assert "<script" not in page and "<img" not in page, page
    return page


def test_how_it_looks(world):
    service, evil = world.service, "<script>alert(1)</script>&\"'<img src=x>"
    job = world.all_reduce_sum([1, 2, 3, 4], label=evil).job
    assert evil not in well_formed(job._repr_html_()) and "alert(1)" in job._repr_html_() and "<svg" in job._repr_html_()
    assert "in the ranks" in job._repr_html_()
    done = world.all_reduce_sum([1, 2, 3, 4], async_=True)
    done.result(10)
    for thing, word in ((done, done.job.id), (done, "succeeded"), (service.jobs(state="succeeded", limit=3), "all_reduce_sum"), (world.rank(2), "world, 4 ranks"),
                        (service.workers[1], "ready"), (service.jobs(state="waiting"), "operation"), (service, "4 of 4 ranks"), (world, "root"), (service.workers, "ready"), (service.jobs, "all_reduce_sum")):
        assert word in well_formed(thing._repr_html_()), thing
        assert len(repr(thing)) < 800
    future = world.rank(1, rejoin=True).barrier(async_=True, label=evil)
    page = well_formed(service.job(future.job.id)._repr_html_())
    assert re.search(r"missing.*ranks 0, 2, 3", page), page
    future.cancel()
    failed = well_formed(service.job(future.job.id)._repr_html_())
    assert "cancelled" in failed
    ranks_call(lambda r: world.rank(r, rejoin=True).barrier())
    with raises(tutti.NotFound):
        tutti.Job(service, "j_00000000000000000000000000").refresh()
    assert "no job" in well_formed(tutti.Job(service, "j_00000000000000000000000000")._repr_html_())


def main():
    with Service(workers=4, arena="512M") as service:
        return run_facts(globals(), tutti.connect(url_of(service)).world)


if __name__ == "__main__":
    sys.exit(main())
