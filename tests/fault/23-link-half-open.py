#!/usr/bin/python3
"""A cable is pulled in the middle of a job, and nobody is told: the rank is lost within three beats and named, the others
go on, and its job is run again when somebody holds the rank. A worker that is stopped is killed over TCP, too."""
import os
import signal
import time

from tcp_link import NEAR, Far, Ledger, TcpService, TcpWorker, own_network, row, until

BOUND_S = 3 + 2  # LIMIT_TCP_BEATS_MISSED, and what a slow machine adds; on a Unix socket it would be 10


def lost(service, begun):
    until(lambda: service.worker(2)["state"] not in ("ready", "busy"), 20)
    took = time.monotonic() - begun
    assert took < BOUND_S, "lost after %.1f s" % took


def half_open(service, ledger, far):
    worker = TcpWorker(service, 2, prefix=far.prefix)
    service.wait_ready()
    job = ledger.sum(n=3, key="hit")
    assert job.status == 202, job
    path = "/v1/jobs/" + job.json["id"]
    until(lambda: service.get(path).json["state"] == "running")
    time.sleep(0.2)  # in the middle of it
    far.cut()
    begun = time.monotonic()
    assert ledger.sum(n=2, group=[0, 1], seed=1, wait=20).status == 200
    assert time.monotonic() - begun < 2, "the others waited"
    lost(service, begun)
    service.says("rank=2 is given up: no heartbeat")
    worker.ended()  # by the server, which knows its process by its lock
    assert worker.process.returncode == -signal.SIGKILL, worker.process.returncode
    service.says("rank=2 its worker is gone: its own exit (no heartbeat)")
    assert service.get(path).json["state"] == "queued"
    far.heal()

    again = TcpWorker(service, 2, prefix=far.prefix)
    assert service.get(path + "?wait=20").json["attempts"] == 2
    return again


def stopped(service, worker):
    os.kill(worker.pid, signal.SIGSTOP)
    lost(service, time.monotonic())
    assert worker.ended() == -signal.SIGKILL


own_network()
with Far() as far, TcpService(workers=2, tcp=1, host=NEAR, worker_failpoints="worker.mid_run=sleep:1500@1") as service:
    service.open()
    ledger = Ledger(service)
    with row("F23"):
        worker = half_open(service, ledger, far)
    stopped(service, worker)
    TcpWorker(service, 2)
    ledger.close()
