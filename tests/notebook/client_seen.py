#!/usr/bin/python3
"""client_seen.py - what the client shows while it works: bars for large bodies, with tqdm and without, begun anew when a body
is sent again; who is missing in a long wait; and nothing where nobody looks."""
import concurrent.futures
import io
import sys
import threading
import time
import types

import numpy as np

from client_wire import Line
from tools import raises, run_facts, tutti, url_of
from service import Service

THREADS = concurrent.futures.ThreadPoolExecutor(4)


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Seen:
    """Within it, what is written to stderr is a terminal's, and tqdm is what is given: None for none."""

    def __init__(self, tqdm=None):
        self.module = None
        if tqdm is not None:
            self.module = types.ModuleType("tqdm.auto")
            self.module.tqdm = tqdm

    def __enter__(self):
        self.before = sys.stderr, sys.modules.get("tqdm.auto"), tutti._METERED_BYTES
        sys.stderr, sys.modules["tqdm.auto"], tutti._METERED_BYTES = Terminal(), self.module, 1 << 20
        return sys.stderr

    def __exit__(self, *a):
        sys.stderr, module, tutti._METERED_BYTES = self.before
        if module is None:
            del sys.modules["tqdm.auto"]
        else:
            sys.modules["tqdm.auto"] = module


class Bar:
    """As tqdm's, and remembers."""

    all = []

    def __init__(self, total, desc, **options):
        self.total, self.desc, self.now, self.least, self.closed = total, desc, 0, 0, False
        Bar.all.append(self)

    def update(self, count):
        self.now += count
        self.least = min(self.least, count)

    def close(self):
        self.closed = True


def test_bars(service):
    world = tutti.connect(url_of(service), progress=True, lane=False).world
    x = [np.ones(1 << 20, "f4")] * 4
    Bar.all = []
    with Seen(Bar):
        world.all_reduce_sum(x)
        world.service.tensor(x[0])
    sent = [b for b in Bar.all if b.desc == "sending"]
    received = [b for b in Bar.all if b.desc == "receiving"]
    assert [b.now for b in sent] == [b.total for b in sent] and [b.total >> 20 for b in sent] == [16, 4], [b.total for b in sent]
    assert [(b.now, b.total) for b in received] == [(4 << 20, 4 << 20)]  # one output, that all ranks share
    assert all(b.closed for b in Bar.all)


def test_a_bar_that_begins_anew(service):
    line = Line(service)
    world = tutti.connect(line.url, progress=True, unix=False, lane=False).world
    Bar.all, line.drop_answers = [], 1
    with Seen(Bar):
        world.broadcast(np.ones(1 << 20, "f4"))
    assert Bar.all[0].now == Bar.all[0].total and Bar.all[0].least < 0
    line.close()


def test_without_tqdm(service):
    with Seen() as seen:
        meter = tutti._Meter("sending", 4 << 20)
        meter.add(1 << 20)
        assert seen.getvalue() == ""  # it may be over at once
        meter.begun -= 1
        meter.add(1 << 20)
        assert seen.getvalue().endswith("sending: 50% of 4.0 MiB"), seen.getvalue()
        meter.close()
        assert seen.getvalue().endswith("\r\x1b[K")


def test_who_is_missing(service):
    world = tutti.connect(url_of(service), progress=True).world
    others = [THREADS.submit(lambda r=r: (time.sleep(0.2 + 4 * (r == 3)), world.rank(r).barrier())) for r in (1, 3)]
    THREADS.submit(world.rank(2).barrier)
    with Seen() as seen:
        world.rank(0).barrier()
    for other in others:
        other.result(20)
    assert "barrier on world: waits for rank 3 (" in seen.getvalue(), repr(seen.getvalue())
    assert seen.getvalue().endswith("\r\x1b[K")  # and gone when it is over


def test_a_service_that_does_not_answer(service):
    """It is said that it is asked again, where somebody looks, and until it answers."""
    own = Service(workers=2)
    with own:
        worlds = {shown: tutti.connect(url_of(own), progress=shown).world for shown in (True, False)}
        port = url_of(own).rpartition(":")[2]
        for shown, world in worlds.items():
            own.kill()
            later = threading.Timer(3, lambda: own.start(options=("--listen", "127.0.0.1:" + port)))
            later.start()
            with Seen() as seen:
                assert world.all_reduce_sum([1, 2]) == [3, 3]
            later.join()
            said = seen.getvalue()
            assert not shown or "http://127.0.0.1:%s does not answer: trying again for 5" % port in said, repr(said)
            assert said.endswith("\r\x1b[K") if shown else said == "", repr(said)
        with Seen() as seen, raises(tutti.ConnectionFailed):
            tutti.connect("http://127.0.0.1:1", progress=True)
        assert seen.getvalue() == ""  # which is not asked again


def test_nothing_where_nobody_looks(service):
    Bar.all = []
    with Seen(Bar) as seen:
        quiet = tutti.connect(url_of(service), progress=False).world
        quiet.broadcast(np.ones(1 << 20, "f4"))
        own = tutti.connect(url_of(service)).world  # a program, not a session
        own.broadcast(np.ones(1 << 20, "f4"))
        THREADS.submit(tutti.connect(url_of(service), progress=True).world.broadcast, np.ones(1 << 20, "f4")).result(20)
    assert Bar.all == [] and seen.getvalue() == ""


def main():
    with Service(workers=4, arena="256M") as service:
        return run_facts(globals(), service)


if __name__ == "__main__":
    sys.exit(main())
