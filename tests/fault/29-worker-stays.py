#!/usr/bin/python3
"""A worker that is to stay (--reconnect): its process outlives the server, its link and itself, and ends when it is told to, or
when no second try can help."""
import os
import signal
import subprocess
import time

from invariants import Ledger, row
from service import BUILD, Service, alive, children, until

PROGRAM = os.path.join(BUILD, "tutti-worker")


def start(service, *options):
    with open(service.dir + "/worker-log", "ab") as log:
        return subprocess.Popen([PROGRAM, "--server", "unix:%s/worker.sock" % service.data_dir, *options], stdin=subprocess.DEVNULL,
                                stdout=log, stderr=log)


def the_one_behind(keeper):
    found = until(lambda: children(keeper.pid), 10)
    assert len(found) == 1, found
    return found[0]


def state(service):
    return service.get("/v1/workers/0").json["state"]


def refused_options():
    for value in ("-1", "x", "3601", ""):
        done = subprocess.run([PROGRAM, "--server", "unix:/nowhere", "--reconnect", value], capture_output=True, timeout=20)
        assert done.returncode == 2 and b"--reconnect is a number" in done.stderr, done
    done = subprocess.run([PROGRAM, "--server", "nowhere:1", "--token-file", "/nowhere", "--reconnect", "1"], capture_output=True, timeout=20)
    assert done.returncode == 2 and b"/nowhere" in done.stderr, done


def lives_through(service, ledger, keeper):
    first = the_one_behind(keeper)
    assert service.get("/v1/workers/0").json["pid"] == first
    os.kill(first, signal.SIGKILL)
    until(lambda: children(keeper.pid) not in ([], [first]), 10)
    assert ledger.sum(n=1, wait=20).status == 200

    service.kill()
    until(lambda: not children(keeper.pid), 10)
    service.start()
    assert ledger.sum(n=1, seed=1, wait=20).status == 200

    # A server that stops tells its workers to; this one waits for the next.
    service.stop()
    time.sleep(1.5)
    assert keeper.poll() is None
    service.start()
    assert ledger.sum(n=1, seed=2, wait=20).status == 200
    assert keeper.poll() is None


def ends(service, keeper):
    worker = the_one_behind(keeper)
    keeper.terminate()
    assert keeper.wait(10) == 0 and not alive(worker)
    until(lambda: state(service) == "absent", 5)
    # Whoever kills the one that stays kills the worker with it.
    keeper = start(service, "--reconnect", "1")
    until(lambda: state(service) == "ready", 10)
    worker = the_one_behind(keeper)
    keeper.kill()
    keeper.wait()
    until(lambda: not alive(worker) and state(service) == "absent", 10)
    # While nobody listens.
    keeper = start(service, "--server", "unix:/nowhere/worker.sock", "--reconnect", "60")
    until(lambda: "/nowhere" in open(service.dir + "/worker-log").read() and not children(keeper.pid), 10)  # was there, and is gone
    keeper.terminate()
    assert keeper.wait(10) == 0


service = Service(workers=0, options=["--world", "1"])
keeper = start(service, "--reconnect", "1")  # before the server is there
try:
    with row("F58"):
        refused_options()
        service.start()
        with service:
            ledger = Ledger(service)
            lives_through(service, ledger, keeper)
            ledger.finish()
            ledger.one_job_a_key()
            ends(service, keeper)
finally:
    if keeper.poll() is None:
        keeper.kill()
        keeper.wait()
