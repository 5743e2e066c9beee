#!/usr/bin/python3
"""client_lane_lost.py - the notebook client in shared memory when something goes: an answer, the service, a call that is
interrupted, a process that is forked. What a job may still read stays as it is; what it does not comes back."""
import contextlib
import gc
import os
import signal
import socket
import sys
import threading
import time

import numpy as np

from client_lane import MIB, RANKS, arrays, lane_of, clean, body_bytes, call_all
from tools import raises, run_facts, tutti, url_of
from service import Service, until


def in_lane(world):
    """Bytes of inputs that nobody has given back."""
    gc.collect()
    lane = world.service._lane
    lane.collect()
    return sum(region.size - sum(size for _, size in region.free) for region in lane.inputs)


@contextlib.contextmanager
def interrupted(seconds=0.3):
    """The block ends with a Ctrl-C, which the signal handler of a notebook raises."""
    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with raises(KeyboardInterrupt):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_batch_whose_answer_was_lost(service):
    """Its jobs may read what they take for a while; of one that was refused it leaves with the batch."""
    clean(service)
    world = tutti.connect(url_of(service), retry_for=0).world
    x, send = arrays(MIB, 16), world.service._wire.send

    def lost(sock, request):
        send(sock, request)
        raise OSError("lost")

    def refused(sock, request):
        raise tutti._error({"status": 413, "code": "body_too_large"})

    def batch():
        with world.batch() as b:
            b.all_reduce_sum(x)

    for how, error in ((lost, tutti.ConnectionFailed), (refused, tutti.Error), (send, None)):
        world.service._wire.send = how
        with raises(error) if error else contextlib.nullcontext():
            batch()
        assert in_lane(world) == RANKS * 4 * MIB, how  # of the first


def test_what_is_interrupted_leaves_the_lane(service):
    """Where its job was cancelled, or had ended."""
    clean(service)
    world = tutti.connect(url_of(service)).world
    x, rank = arrays(MIB, 19), world.service.group([0, 2, 1, 3]).rank(0)  # a group whose calls nobody else counts
    with interrupted():
        rank.all_reduce_sum(x[0])
    assert in_lane(world) == 0
    waits = rank.all_reduce_sum(x[0], async_=True)  # for the other ranks
    taken = in_lane(world)
    inputs = [waits.job[0], *x[1:]]
    with interrupted():
        world.all_reduce_sum(inputs)
    with interrupted():
        with world.batch() as b:
            b.all_reduce_sum(inputs)
    del b
    assert taken == 4 * MIB and in_lane(world) == taken
    with interrupted():
        waits.result()
    assert waits.cancelled() and in_lane(world) == 0
    # Who copies to the lane, and does not come to send anything.
    copier = tutti._copier.take_part
    try:
        tutti._copier.take_part = lambda work: time.sleep(5)
        with interrupted():
            world.all_reduce_sum(x)
    finally:
        tutti._copier.take_part = copier
    assert in_lane(world) == 0


def test_the_lane_is_interrupted(service):
    """An answer that was not read is not taken for that of the next question."""
    clean(service)
    world = tutti.connect(url_of(service)).world
    x, receive = arrays(MIB, 21), socket.recv_fds

    def interrupt(*_):
        socket.recv_fds = receive
        raise KeyboardInterrupt

    for i in range(3):  # while it opens one for inputs, for results, and holds a result
        world.service._lane.reset()
        if i > 0:
            world.service._lane.take(16 * MIB)
        if i > 1:
            world.service._lane.room(4 * MIB)
        socket.recv_fds = interrupt
        try:
            with raises(KeyboardInterrupt):
                world.all_reduce_sum([y + i for y in x])
        finally:
            socket.recv_fds = receive
        for times in (1, 7):  # also where a region is too small
            got = world.all_reduce_sum([np.tile(y, times) for y in x])
            assert (got[1] == np.tile(sum(x), times)).all()
        assert (world.all_reduce_max(x)[2] == np.maximum.reduce(x)).all()


def test_a_future_whose_answer_was_lost(service):
    """Its job may read what it takes for a while."""
    clean(service)
    world = tutti.connect(url_of(service), retry_for=0).world
    x = arrays(MIB, 20)

    def no_answer(*_):
        raise tutti.ConnectionFailed({"code": "connection_failed"})

    ask, world.service._job_doc = world.service._job_doc, no_answer
    future = world.service.group([0, 3, 2, 1]).rank(0).all_reduce_sum(x[0], async_=True)
    with raises(tutti.ConnectionFailed):
        future.result(30)
    world.service._job_doc = ask
    assert in_lane(world) == 4 * MIB
    future.job.cancel()


def test_the_service_is_killed(service):
    """Before a job, and in the middle of one."""
    clean(service)
    own = Service(workers=RANKS, arena="256M", options=("--lane-size", "128M"))
    with own:
        port = url_of(own).rpartition(":")[2]
        world = tutti.connect(url_of(own)).world
        x = arrays(MIB, 5)
        lives = [world.empty(MIB) for _ in range(RANKS)]
        for a, b in zip(lives, x):
            a[...] = b
        first = world.all_reduce_sum(lives)
        own.kill()
        own.start(options=("--listen", "127.0.0.1:" + port))
        assert (world.all_reduce_sum(lives)[0] == sum(x)).all() and (first[2] == sum(x)).all()
        own.kill()
        own.start(options=("--listen", "127.0.0.1:" + port), failpoints="worker.mid_run=sleep:2000@1")
        got = []
        thread = threading.Thread(target=lambda: got.append(world.all_reduce_sum(x)))
        thread.start()
        until(lambda: own.metrics()["jobs"]["running"] == 1)
        own.kill()
        own.start(options=("--listen", "127.0.0.1:" + port), failpoints="worker.mid_run/all_reduce_max=sleep:2000@1")
        thread.join(60)
        assert got and (got[0][1] == sum(x)).all()
        # Calls that the service has forgotten are made again, under the same keys; nobody sees it.
        world, got = tutti.connect(url_of(own)).world, []
        thread = threading.Thread(target=lambda: got.extend(call_all(world, lambda rank, r: rank.all_reduce_max(x[r]))))
        thread.start()
        until(lambda: own.metrics()["jobs"]["running"] == 1)
        own.kill()
        own.start(options=("--listen", "127.0.0.1:" + port), failpoints="")
        thread.join(60)
        assert len(got) == RANKS and all((most == np.maximum.reduce(x)).all() for most in got), got


def test_a_service_that_was_down_is_asked_for_memory_again(service):
    """Whoever asked while it was down asks again after a while; so does who has seen it start anew many times."""
    clean(service)
    rest, tutti._LANE_REST_S = tutti._LANE_REST_S, 0.2
    x = arrays(MIB, 15)
    try:
        with Service(workers=RANKS, arena="256M", options=("--lane-size", "128M")) as own:
            port = url_of(own).rpartition(":")[2]
            world = tutti.connect(url_of(own), retry_for=0.1).world

            def goes_by_the_lane():
                got, sent, _ = body_bytes(world, lambda: world.all_reduce_sum(x))
                assert (got[1] == sum(x)).all()
                return sent < 4000

            assert goes_by_the_lane()
            own.kill()
            calls = 0
            while not world.service._lane.off:  # what it has got is used first
                with raises(tutti.ConnectionFailed):
                    world.all_reduce_sum(x)
                calls += 1
                assert calls < 20
            own.start(options=("--listen", "127.0.0.1:" + port))
            until(goes_by_the_lane, 10)
            for _ in range(6):
                own.kill()
                own.start(options=("--listen", "127.0.0.1:" + port))
                until(goes_by_the_lane, 10)
    finally:
        tutti._LANE_REST_S = rest


def test_a_call_that_was_heard_is_not_made_again(service):
    """Its region is gone when it is asked for the second time: who would send it anew would be one call ahead of the others."""
    clean(service)
    world = tutti.connect(url_of(service)).world
    x, random = arrays(MIB, 13), os.urandom
    os.urandom = lambda count: bytes(count)  # the same key
    try:
        assert all((got == sum(x)).all() for got in call_all(world, lambda rank, r: rank.all_reduce_sum(x[r])))
        world.service._lane.sock.shutdown(socket.SHUT_RDWR)
        until(lambda: lane_of(service)["regions"] == 0)
        with raises(tutti.JobFailed, "call again", code="inputs_lost"):
            world.rank(2).all_reduce_sum(x[2])
    finally:
        os.urandom = random
    assert all((got == sum(x)).all() for got in call_all(world, lambda rank, r: rank.all_reduce_sum(x[r])))


def test_a_process_that_is_forked(service):
    clean(service)
    world = tutti.connect(url_of(service)).world
    x = arrays(MIB, 6)
    before = world.all_reduce_sum(x)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if (world.all_reduce_sum([y + 1 for y in x])[0] == sum(x) + RANKS).all() else 2
        finally:
            os._exit(code)
    assert (world.all_reduce_sum([y - 1 for y in x])[0] == sum(x) - RANKS).all()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (before[0] == sum(x)).all() and (world.all_reduce_sum(x)[3] == sum(x)).all()


def main():
    with Service(workers=RANKS, arena="512M", options=("--lane-size", "128M")) as service:
        return run_facts(globals(), service)


if __name__ == "__main__":
    sys.exit(main())
