#!/usr/bin/python3
"""faults.py - gloo among hosts when ranks die, stop, are silent or are told to stop: nobody hangs, the rank is named, nothing is
written afterwards, and the next communicator works."""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import stage
import numpy as np

SILENT = {"TUTTI_GLOO_SILENT_MS": "1500"}
ALL = [0, 1, 2, 3]
SIZE = 6 << 20  # elements of float32: enough to be in the middle of


def inputs(n=4, size=SIZE):
    return [np.full(size, r + 1, np.float32) for r in range(n)]


def start(s, op="all_reduce_sum", group=ALL, without=()):
    for place in s.places.values():
        place.at = 0
    prepared = s.prepare(op, inputs(len(group)), "float32", group, {})
    s.begin([prepared], group, without)
    return prepared


def settle(s, job, ranks, seconds=20):
    """What those ranks answer."""
    begun = time.monotonic()
    s.until(lambda: all(r in s.answers.get(job, {}) for r in ranks), seconds)
    return s.answers[job], time.monotonic() - begun


def named(answers, rank, who):
    """That rank's part failed, and says because of whom."""
    assert answers[rank].get("code") == "worker_failed" and who in answers[rank]["detail"], answers


def works(s, group=ALL):
    wrong = s.run("all_reduce_sum", inputs(len(group), 1000), "float32", group)
    assert wrong is None, wrong


def cancel(s, job, ranks):
    for r in ranks:
        s.send(r, "cancel", job=job, attempt=1)


def a_dead_rank_is_named(s):
    """No CANCEL comes: who shares its lane sees the connection end."""
    works(s)
    s.signal(3, signal.SIGSTOP)  # so that it is in the middle of it, whatever the machine
    job = start(s)[0]
    time.sleep(0.05)
    s.kill(3)
    answers, _ = settle(s, job, [0, 1, 2])
    named(answers, 1, "rank 3")
    s.leave(ALL, broken=True)
    works(s, [0, 1, 2])
    works(s, [2, 0])


def a_cancelled_job_ends_everywhere(s):
    works(s)
    s.signal(2, signal.SIGSTOP)
    job, _, where, _ = start(s)
    time.sleep(0.05)
    cancel(s, job, [0, 1, 3])
    answers, seconds = settle(s, job, [0, 1, 3])
    assert answers[0]["code"] == "cancelled", answers
    assert all(answers[r].get("code", "cancelled") == "cancelled" for r in (1, 3)), answers  # or they were done before
    assert seconds < 5, seconds
    place, at, size = where[0]
    before = place.bytes[at:at + size].copy()
    s.signal(2, signal.SIGCONT)  # what it sends now finds nobody
    cancel(s, job, [2])
    settle(s, job, [2])
    time.sleep(0.2)
    assert (place.bytes[at:at + size] == before).all(), "written after it had stopped"
    s.leave(ALL, broken=True)
    works(s)


def a_stopped_rank_is_named(s):
    works(s)
    s.signal(2, signal.SIGSTOP)
    job = start(s)[0]
    answers, _ = settle(s, job, [0, 1, 3])
    named(answers, 0, "rank 2")
    assert "imed out" in answers[0]["detail"], answers
    s.signal(2, signal.SIGCONT)
    answers, _ = settle(s, job, [2])
    named(answers, 2, "rank 0")
    s.leave(ALL, broken=True)
    works(s)


def a_rank_that_never_comes_is_named(s):
    job = start(s, without=[3])[0]
    answers, _ = settle(s, job, [0, 1])
    assert all("rank 3 has not said" in answers[r]["detail"] for r in (0, 1)), answers
    comm = s.comms.pop(tuple(ALL))
    for r in (0, 1, 2):
        s.send(r, "leave", comm=comm, broken=1)
    works(s)


def leaving_while_nobody_comes_is_quick(s):
    """It is connecting; LEAVE, and the end of the link, do not wait for that."""
    group = [1, 3]
    s.join(group, without=[3])
    begun = time.monotonic()
    s.send(1, "leave", comm=s.comms.pop(tuple(group)), broken=1)
    works(s, [1, 2])
    assert time.monotonic() - begun < 1.4, "it waited"
    s.join([1, 2, 3], without=[2, 3])


def nonsense_about_addresses_harms_nobody(s):
    works(s)
    comm = s.comms[tuple(ALL)]
    for key, value in (("", b""), ("3", b"x"), ("99", b"\0" * 26), ("-1", b"\0" * 26), ("3 ", b"\0" * 26), ("0", b"\0" * 26), ("3", b"\0" * 8000)):
        s.send(0, "store_put", comm=comm, key=key, value=value)
    s.send(0, "store_put", comm=12345, key="1", value=b"")
    works(s)


def main():
    failed = 0
    cases = (a_cancelled_job_ends_everywhere, a_stopped_rank_is_named, a_rank_that_never_comes_is_named,
             leaving_while_nobody_comes_is_quick, nonsense_about_addresses_harms_nobody, a_dead_rank_is_named)
    for case in cases:
        begun = time.monotonic()
        try:
            with stage.Stage([0, 0, 1, 1], arena=256 << 20, environment=SILENT) as s:
                case(s)
            print("%s: ok, %.1f s" % (case.__name__, time.monotonic() - begun))
        except Exception as e:
            failed += 1
            print("%s: %s: %s" % (case.__name__, type(e).__name__, e))
    print("CASES %d %d" % (len(cases) - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
