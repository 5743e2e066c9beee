#!/usr/bin/python3
"""A worker in another container, on the Unix socket of a directory that both have: the server does not see its process, and
holds it by its lock on the fence. A rank whose worker is killed is free at once; that of a stopped one, and what it may write
to, only when it has ended; and nobody outlives a server that was killed."""
import os
import signal
import subprocess
import sys
import time

from tcp_link import Ledger, TcpService, TcpWorker, row, until

RANK = 1


def worker(service):
    return TcpWorker(service, RANK, address="unix:%s/worker.sock" % service.data_dir)


def running(service, ledger, key):
    """A job that the rank is at, for a while; its path."""
    path = "/v1/jobs/" + ledger.sum(n=2, group=[0, RANK], size=5000, key=key).json["id"]
    until(lambda: service.get(path).json["state"] == "running")
    time.sleep(0.2)
    return path


def succeeded(service, path, attempts):
    document = service.get(path + "?wait=20").json
    assert (document["state"], document["attempts"]) == ("succeeded", attempts), document


def killed(service, ledger, first):
    facts = service.worker(RANK)
    assert (facts["link"], facts["pid"], facts["state"]) == ("unix", first.pid, "ready"), facts
    path = running(service, ledger, "killed")
    first.kill()
    until(lambda: service.worker(RANK)["state"] == "absent", 2)
    second = worker(service)
    succeeded(service, path, 2)
    return second


def stopped(service, ledger, second):
    path, used = running(service, ledger, "stopped"), service.arena_used()
    os.kill(second.pid, signal.SIGSTOP)
    until(lambda: service.worker(RANK)["state"] == "stopping", 20)
    claimant = worker(service)
    assert claimant.ended() == 3 and "rank %d is held by process" % RANK in claimant.log(), claimant.log()
    assert service.worker(RANK)["state"] == "stopping" and service.arena_used() == used
    assert service.get(path).json["state"] == "running"
    os.kill(second.pid, signal.SIGCONT)
    assert second.ended(5) == 4, second.log()
    until(lambda: service.worker(RANK)["state"] == "absent", 2)
    third = worker(service)
    succeeded(service, path, 2)
    return third


def server_killed(service, ledger, third):
    """Also where the worker is too busy to see the link's end: the next server waits for it."""
    path = running(service, ledger, "server")
    service.process.kill()
    service.process.wait(20)  # of the process around it, whose status is its own
    begun = time.monotonic()
    service.own_processes()
    assert third.ended(10) == 4, third.log()
    worker(service)
    service.wait_ready()
    assert time.monotonic() - begun < 10
    succeeded(service, path, 1 + 1)


if subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True).returncode != 0:
    print("NOTE skipped: no process namespace can be made")
    sys.exit(0)
with TcpService(workers=1, tcp=1, worker_failpoints="worker.mid_run=sleep:700") as service:
    service.own_processes()
    first = worker(service)
    service.wait_ready()
    ledger = Ledger(service)
    with row("F57"):
        third = stopped(service, ledger, killed(service, ledger, first))
        server_killed(service, ledger, third)
    ledger.finish()
    ledger.one_job_a_key()
    ledger.arena_adds_up()
    service.stop()
