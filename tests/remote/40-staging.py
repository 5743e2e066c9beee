#!/usr/bin/python3
"""While a job's tensors are on their way to a host that is slow, other hosts' jobs run; it can be cancelled at once, its
timeout ends it with the host's name, and what it needed is free again. The worker that carries is killed: another of its host
carries, and the job is run again. The only worker of a host is killed: its rank is taken again when its time is up, or
nobody can tell, and the arena is another."""
import os
import re
import signal
import time

import numpy as np

from hosts import MIB, Cable, Hosts, until

X = np.arange(4 * MIB, dtype=np.int32)  # 16 MiB


def state(service, job):
    return service.get("/v1/jobs/" + job.json["id"]).json["state"]


def slow(service, cable):
    """A job that is on its way for long."""
    cable.rate = MIB
    job = service.run("all_reduce_sum", [service.upload(X), service.upload(2 * X)], wait=0, group=service.ranks[0], timeout=60)
    assert job.status == 202, job
    until(lambda: state(service, job) == "running")
    return job


def others_go_on(service):
    for group in ([0, 1], service.ranks[1]):
        job = service.post("/v1/jobs?wait=20", {"op": "all_reduce_sum", "inputs": [[1, 2]] * len(group), "group": group})
        assert job.json["outputs"][0]["data"] == [len(group), 2 * len(group)], job


def settles(service):
    until(lambda: service.worker(service.ranks[0][0])["state"] == "ready", 20)


def cancelled(service, cable):
    job = slow(service, cable)
    others_go_on(service)
    assert state(service, job) == "running", "the others have not waited for it"
    answer = service.post("/v1/jobs/%s/cancel" % job.json["id"])
    assert state(service, job) == "cancelled", answer
    settles(service)
    cable.rate = None


def timed_out(service, cable):
    cable.rate = 1 * MIB
    job = service.run("all_reduce_sum", [service.upload(3 * X), service.upload(4 * X)], group=service.ranks[0], timeout=2)
    assert (job.status, job.json["code"]) == (504, "run_timeout"), job
    assert "on their way to host" in job.json["detail"], job.json
    cable.rate = None
    settles(service)


def right(service, job):
    document = service.get("/v1/jobs/%s?wait=60" % job.json["id"]).json
    assert document["state"] == "succeeded", document
    body = service.get("/v1/tensors/%s?format=raw" % document["outputs"][0]["tensor"]).body
    assert (np.frombuffer(body, np.int32) == 3 * X).all()
    return document


def carrier_killed(service, cable, workers):
    job = slow(service, cable)
    carriers = map(int, re.findall(r"rank=(\d+) carries its tensors", service.log()))
    carrier = [rank for rank in carriers if rank in service.ranks[0]][-1]
    time.sleep(0.5)
    os.kill(workers[carrier].pid, signal.SIGKILL)
    until(lambda: service.worker(carrier)["state"] == "absent", 5)  # the other has seen its lock go
    cable.rate = None
    workers[carrier] = service.worker_of(0, carrier, address=cable.address)
    assert right(service, job)["attempts"] == 2


def only_one_killed(service, workers):
    rank, = service.ranks[1]
    group = [rank]
    os.kill(workers[rank].pid, signal.SIGKILL)
    begun = time.monotonic()
    job = service.run("all_reduce_sum", [service.upload(X)], wait=0, group=group)
    until(lambda: service.worker(rank)["state"] == "stopping", 5)
    early = service.worker_of(1, rank)
    assert early.ended() == 3 and "is held by" in early.log(), early.log()
    until(lambda: service.worker(rank)["state"] == "absent", 15)
    assert time.monotonic() - begun > 5, "nobody could know that it has ended"
    workers[rank] = service.worker_of(1, rank)
    document = service.get("/v1/jobs/%s?wait=30" % job.json["id"]).json
    assert document["state"] == "succeeded", document
    workers[rank].process.terminate()  # one that can say that it leaves is not waited for
    assert workers[rank].ended() == 0
    until(lambda: service.worker(rank)["state"] == "absent", 5)
    workers[rank] = service.worker_of(1, rank)
    until(lambda: service.worker(rank)["state"] == "ready", 10)
    assert len(os.listdir(service.dirs[1])) == 2, "the old arena is gone: %s" % os.listdir(service.dirs[1])


with Hosts(workers=2, hosts=(2, 1), arena_size="128M", arena="1G") as service:
    service.open()
    cable = Cable((service.link_host, service.link_port))
    workers = {r: service.worker_of(0, r, address=cable.address) for r in service.ranks[0]}
    workers.update({r: service.worker_of(1, r) for r in service.ranks[1]})
    service.wait_ready()
    cancelled(service, cable)
    timed_out(service, cable)
    carrier_killed(service, cable, workers)
    only_one_killed(service, workers)
    cable.close()
    service.stop()
