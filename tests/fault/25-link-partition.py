#!/usr/bin/python3
"""A partition that heals, between a server and workers that it cannot kill (in another process namespace, as in another
container). A worker that is cut off ends itself. One that is stopped meanwhile cannot, and keeps its rank and what it may
write to, however long it takes; when it comes back it is told to leave, and only then the rank is another's. Where only its
own words are lost, the worker hears that it is given up."""
import os
import re
import signal
import time

from tcp_link import NEAR, Far, Ledger, Proxy, TcpService, TcpWorker, own_network, row, until

SELF_S = 5 + 1 + 3  # LIMIT_TCP_SILENT_MS, a beat, and what a slow machine adds


def epochs(service, rank):
    return [int(e) for e in re.findall(r"rank=%d joined .*epoch=(\d+)" % rank, service.log())]


own_network()
with Far() as far, TcpService(workers=1, tcp=2, host=NEAR, worker_failpoints="worker.mid_run=sleep:700@1") as service:
    service.own_processes()
    proxy = Proxy((NEAR, service.link_port))
    old, other = TcpWorker(service, 1, prefix=far.prefix), TcpWorker(service, 2, address=proxy.address)
    service.wait_ready()
    ledger = Ledger(service)
    with row("F25"):
        job = ledger.sum(n=2, group=[0, 1], size=5000, key="hit")
        path = "/v1/jobs/" + job.json["id"]
        until(lambda: service.get(path).json["state"] == "running")
        time.sleep(0.2)
        os.kill(old.pid, signal.SIGSTOP)
        far.cut()
        proxy.hold()  # with sockets that go on to acknowledge: only the silence tells
        begun = time.monotonic()
        used = service.arena_used()

        until(lambda: [service.worker(r)["state"] for r in (1, 2)] == ["stopping", "stopping"], 10)
        assert other.ended() == 4, (other.process.returncode, other.log())
        assert "the server has been silent for" in other.log(), other.log()
        assert time.monotonic() - begun < SELF_S, "it went on for %.1f s" % (time.monotonic() - begun)
        until(lambda: service.worker(2)["state"] == "absent", 5)
        service.says("rank=2 its worker is gone: no heartbeat")

        # The stopped one: its rank is nobody else's, and its job's bytes are not given out.
        claimant = TcpWorker(service, 1)
        assert claimant.ended() == 3 and "rank 1 is held by process" in claimant.log(), claimant.log()
        assert service.get(path).json["state"] == "running"
        assert service.worker(1)["state"] == "stopping" and service.arena_used() == used

        far.heal()
        os.kill(old.pid, signal.SIGCONT)
        assert old.ended(5) in (3, 4), old.log()
        until(lambda: service.worker(1)["state"] == "absent", 5)
        proxy = Proxy((NEAR, service.link_port))
        new = TcpWorker(service, 1, address=proxy.address)
        document = service.get(path + "?wait=20").json
        assert (document["state"], document["attempts"]) == ("succeeded", 2), document
        first, second = epochs(service, 1)
        assert second > first

        proxy.hold([0])
        assert new.ended() == 3 and "the server has given it up: no heartbeat" in new.log(), new.log()
        until(lambda: service.worker(1)["state"] == "absent", 5)

    TcpWorker(service, 1)
    TcpWorker(service, 2)
    until(lambda: ledger.all_ready())
    assert ledger.sum(n=3, seed=3, wait=20).status == 200
    ledger.finish()
    ledger.delete_all()
    service.stop()
