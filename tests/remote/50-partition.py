#!/usr/bin/python3
"""A host is cut off, without a word to anybody, while a job of its runs; one of its workers is stopped as well. Other hosts go
on; the job waits; the worker that can ends itself. When the lease is over the ranks are free, and the host's old arena is never
used again: a new worker that would share it with the stopped one is told so, and the next makes another. Healed, the job is
run; the stopped one hears that it is to leave; no rank was held twice. With 1 % of the packets lost all is right."""
import os
import re
import signal
import time

import numpy as np

from hosts import MIB, NEAR, Far, Hosts, own_network, until


def epochs(service, rank):
    return [int(e) for e in re.findall(r"rank=%d joined .*epoch=(\d+)" % rank, service.log())]


def others_go_on(service):
    for group in ([0, 1], service.ranks[1]):
        job = service.post("/v1/jobs?wait=20", {"op": "all_reduce_sum", "inputs": [[1, 2]] * len(group), "group": group})
        assert job.json["outputs"][0]["data"] == [len(group), 2 * len(group)], job


own_network()
with Far() as far, Hosts(workers=2, hosts=(2, 1), host=NEAR, arena="256M") as service:
    service.open()
    a, b = service.ranks[0]
    other, = service.ranks[1]
    stopped = service.worker_of(0, a, prefix=far.prefix, failpoints="worker.mid_run=sleep:700@2")
    ending = service.worker_of(0, b, prefix=far.prefix)
    service.worker_of(1, other)
    service.wait_ready()
    job = service.post("/v1/jobs?wait=20", {"op": "all_reduce_sum", "inputs": [[1], [2]], "group": [a, b]})
    assert job.status == 200, job

    job = service.post("/v1/jobs", {"op": "all_reduce_sum", "inputs": [[3], [4]], "group": [a, b], "timeout": 120})
    path = "/v1/jobs/" + job.json["id"]
    until(lambda: service.get(path).json["state"] == "running")
    time.sleep(0.2)
    os.kill(stopped.pid, signal.SIGSTOP)
    far.cut()
    begun = time.monotonic()
    others_go_on(service)
    until(lambda: [service.worker(r)["state"] for r in (a, b)] == ["stopping", "stopping"], 10)
    others_go_on(service)
    assert ending.ended(12) == 4, ending.log()
    assert time.monotonic() - begun < 10, "it went on"
    until(lambda: [service.worker(r)["state"] for r in (a, b)] == ["absent", "absent"], 20)
    assert time.monotonic() - begun > 5 + 1, "it might have written still"
    assert service.get(path).json["state"] in ("queued", "running"), service.get(path)
    others_go_on(service)

    far.heal()
    told = service.worker_of(0, b, prefix=far.prefix)
    assert told.ended() == 3 and "was given up" in told.log(), told.log()
    new = service.worker_of(0, b, prefix=far.prefix)
    until(lambda: service.worker(b)["state"] == "ready", 10)
    os.kill(stopped.pid, signal.SIGCONT)
    assert stopped.ended(10) in (3, 4), stopped.log()
    assert service.worker(a)["state"] == "absent"
    newer = service.worker_of(0, a, prefix=far.prefix)
    document = service.get(path + "?wait=30").json
    assert (document["state"], document["attempts"]) == ("succeeded", 2), document
    assert document["outputs"][0]["data"] == [7]
    for rank in (a, b):
        each = epochs(service, rank)
        assert len(each) == 2 and each[0] < each[1], each
    assert [w.process.poll() for w in (new, newer)] == [None, None]
    others_go_on(service)

    far.lose(0.01)  # packets, both ways
    x = np.arange(2 * MIB, dtype=np.int32)
    job = service.run("all_reduce_sum", [service.upload(x), service.upload(2 * x)], group=[a, b], wait=60)
    body = service.get("/v1/tensors/%s?format=raw" % job.json["outputs"][0]["tensor"]).body
    assert (np.frombuffer(body, np.int32) == 3 * x).all() and job.json["attempts"] == 1, job
    far.heal()
    service.stop()
