#!/usr/bin/python3
"""SIGTERM while a job runs, others queue and a call waits for its ranks: no new job is taken, the running one ends and its
client hears of it, the queued ones run after the next start; a second SIGTERM ends it now. The same as the first process of
its namespace, as in a container, where in addition orphans are reaped; and when the container is killed."""
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time

from invariants import RESET, Ledger, database_whole, row
from service import PATIENCE_S, Service, alive, children, until

CALL = {"op": "all_reduce_sum", "input": [1]}
AS_INIT = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


class Contained(Service):
    """Process 1 of its namespace is the server's; self.process is what holds the namespace."""

    def __init__(self, workers):
        super().__init__(workers=workers, prefix=AS_INIT)

    @property
    def first(self):
        return until(lambda: children(self.process.pid))[0]

    @property
    def pid(self):
        return until(lambda: children(self.first))[0]

    def worker_pids(self):
        return [pid for pid in children(self.pid) if alive(pid)]

    def stop(self):
        send_stop(self)
        assert ended(self) == 0


def send_stop(service):
    os.kill(getattr(service, "first", service.pid), signal.SIGTERM)


def ended(service):
    """Its status, and nothing of it left."""
    status, service.process = service.process.wait(PATIENCE_S), None
    service.check_left()
    return status


def busy(service, ledger, run_ms):
    """A job that runs, whose client waits; three behind it; a call without its other ranks. Gives what each client heard."""
    service.start(failpoints="worker.before_run=sleep:%d@1" % run_ms)
    heard = {}

    def listen(name, what):
        try:
            heard[name] = what()
        except RESET as e:
            heard[name] = e

    threads = [threading.Thread(target=listen, args=("running", lambda: ledger.sum(n=2, key="running", wait=30)))]
    threads[0].start()
    until(lambda: service.metrics()["jobs"]["running"] == 1)
    for n in range(3):
        assert ledger.sum(n=2, seed=n, key="queued%d" % n).status == 202
    threads.append(threading.Thread(target=listen, args=("queued", lambda: service.get("/v1/jobs/%s?wait=30" % ledger.ids["queued0"]))))
    threads.append(threading.Thread(target=listen, args=("call", lambda: service.post("/v1/groups/world/ranks/0/calls?wait=30", CALL))))
    for t in threads[1:]:
        t.start()
    until(lambda: service.metrics()["jobs"]["waiting"] == 1)
    return heard, threads


def refused_meanwhile(service):
    """What a client hears that has a connection already: it is told, or cut off, but never taken on."""
    connection = http.client.HTTPConnection(service.host, service.port, timeout=30)
    connection.connect()
    send_stop(service)
    time.sleep(0.2)
    try:
        connection.request("POST", "/v1/jobs", json.dumps({"op": "all_reduce_sum", "inputs": [[1], [2]]}),
                           {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 503, answer.status
        assert json.loads(answer.read())["code"] in ("draining", "overloaded")
    except RESET:
        pass
    connection.close()
    try:
        service.socket().close()
        raise AssertionError("a new connection should be refused")
    except ConnectionRefusedError:
        pass


def after(service, ledger):
    """The next start: what was promised is kept, and nothing else is there."""
    service.start(failpoints="")
    ledger.retry()
    jobs = service.get("/v1/jobs?limit=100").json["jobs"]
    assert len([j for j in jobs if j.get("seq") is None]) == len(ledger.jobs), "a job was taken while it stopped"
    for job in jobs:
        if job["id"] not in ledger.jobs:
            assert service.get("/v1/jobs/%s?wait=5" % job["id"]).json["state"] == "failed", job
            assert service.delete("/v1/jobs/" + job["id"]).status == 204


def drained(service, check_close):
    ledger = Ledger(service)
    heard, threads = busy(service, ledger, 1200)
    refused_meanwhile(service)
    for t in threads:
        t.join()
    assert ended(service) == 0
    assert heard["running"].status == 200 and heard["running"].json["attempts"] == 1, heard
    assert heard["queued"].status in (200, 503) and heard["call"].status in (409, 503), heard
    assert heard["queued"].status == 503 or heard["queued"].json["state"] == "queued", heard
    after(service, ledger)
    check_close(ledger)


def hurried(service, check_close):
    ledger = Ledger(service)
    heard, threads = busy(service, ledger, 6000)
    begun = time.monotonic()
    send_stop(service)
    time.sleep(0.3)
    assert service.process.poll() is None, "a running job has its grace"
    send_stop(service)
    assert ended(service) in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
    assert time.monotonic() - begun < 4, "the second signal should end it now"
    for t in threads:
        t.join()
    after(service, ledger)
    check_close(ledger)


def orphans(service):
    """A process whose parent leaves becomes a child of process 1, and must not stay there when it is dead."""
    service.start(failpoints="")
    inside = ["nsenter", "-t", str(service.first), "--pid", "--mount"]
    for _ in range(3):
        subprocess.run([*inside, "sh", "-c", "(sleep 0.1 & sleep 0.1 &) ; exit 0"], check=True)
    time.sleep(0.3)
    until(lambda: children(service.first) == [service.pid], 5)
    os.kill(service.worker_pids()[0], signal.SIGKILL)  # and one of its own
    until(lambda: service.get("/readyz").status == 200 and len(service.worker_pids()) == 2, 20)
    assert len(children(service.pid)) == 2, "a zombie is left"
    assert service.post("/v1/jobs?wait=20", {"op": "all_reduce_sum", "inputs": [[1], [2]]}).status == 200
    service.stop()


def killed(service):
    """As docker kill does it: the first process is, and with it all others of the namespace."""
    ledger = Ledger(service)
    service.start(failpoints="worker.before_run=sleep:3000@1")
    assert ledger.sum(n=2, key="k").status == 202
    workers = service.worker_pids()
    assert len(workers) == 2
    os.kill(service.first, signal.SIGKILL)
    service.process.wait(PATIENCE_S)
    service.process = None
    until(lambda: not [pid for pid in workers if alive(pid)], 5)
    service.start(failpoints="")
    ledger.retry()
    close_contained(ledger)


def close_contained(ledger):
    """What of Ledger.close() can be said from outside of the namespace."""
    ledger.finish()
    ledger.one_job_a_key()
    ledger.arena_adds_up()
    ledger.delete_all()
    ledger.service.stop()
    database_whole(ledger.service)


failed = 0
CASES = [("F39", Service, drained, Ledger.close), ("F39", Service, hurried, Ledger.close)]
if subprocess.run([*AS_INIT, "true"], capture_output=True).returncode == 0:
    CASES += [("F40", Contained, drained, close_contained), ("F40", Contained, hurried, close_contained),
              ("F40", Contained, orphans), ("F40", Contained, killed)]
else:
    print("NOTE skipped: no namespace of processes can be made")
for id_, kind, case, *more in CASES:
    try:
        with row(id_), kind(workers=2) as service:
            service.stop()
            case(service, *more)
    except Exception as e:
        failed += 1
        print("%s %s: %r" % (id_, case.__name__, e), flush=True)
print("CASES %d %d" % (len(CASES) - failed, failed))
sys.exit(failed > 0)
