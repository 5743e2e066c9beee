#!/usr/bin/python3
"""One of two hosts is cut off, without a word to anybody, while a job of both runs and a tensor is on its way there: for a
moment; until its ranks are given up; until they have surely ended. Its jobs wait, those of others go on; healed, all of them end
right, and what was on its way arrives. No rank is held twice."""
import re
import time

import numpy as np

from hosts import MIB, alive, own_network, until
from net import Net, NetHosts

SIZE = 16 * MIB
RATE = 0.25  # Gbit/s, so that a tensor is on its way for half a second
A, B = [1, 2], [3, 4]
SLOW = ("all_reduce_min", "all_reduce_max")


def others_go_on(service):
    for group in ([0], A, [0] + A):
        job = service.post("/v1/jobs?wait=20", {"op": "all_reduce_sum", "inputs": [[1, 2]] * len(group), "group": group})
        assert job.status == 200 and job.json["outputs"][0]["data"] == [len(group), 2 * len(group)], (group, job)


def state(service, ranks):
    return {service.worker(r)["state"] for r in ranks}


class Work:
    """A job of both hosts that runs, the first of its operation and slowly, and behind it one of the second host whose inputs are
    on their way."""

    def __init__(self, service, seed, slow=None):
        self.service, self.slow, self.running = service, slow, None
        if slow:
            self.running = self.post(slow, [[1], [3], [3], [3]], A + B)
            until(lambda: service.get(self.running).json["state"] == "running")
        self.inputs = [np.random.default_rng(seed + r).integers(-99, 99, SIZE // 4, np.int32) for r in B]
        tensors = [service.upload(x) for x in self.inputs]
        self.before = service.arena(1)
        self.staged = self.post("all_reduce_sum", [{"tensor": t} for t in tensors], B)
        until(lambda: self.sent() > SIZE // 4)
        assert self.sent() < SIZE * 3 // 2, "it is not on its way any more"

    def post(self, op, inputs, group):
        job = self.service.post("/v1/jobs", {"op": op, "inputs": inputs, "group": group})
        assert job.status == 202, job
        return "/v1/jobs/" + job.json["id"]

    def sent(self):
        return self.service.arena(1)["sent_bytes"] - self.before["sent_bytes"]

    def unfinished(self):
        for job in filter(None, (self.staged, self.running)):
            document = self.service.get(job).json
            assert document["state"] in ("queued", "running"), document

    def right(self, attempts):
        job = self.service.get(self.staged + "?wait=60").json
        assert job["state"] == "succeeded", job
        body = self.service.get("/v1/tensors/%s?format=raw" % job["outputs"][1]["tensor"]).body
        assert (np.frombuffer(body, np.int32) == sum(self.inputs)).all()
        if self.running:
            job = self.service.get(self.running + "?wait=60").json
            assert job["state"] == "succeeded" and job["attempts"] == attempts, job
            assert [o["data"] for o in job["outputs"]] == [[1.0 if self.slow == SLOW[0] else 3.0]] * 4, job


def for_a_moment(service, host):
    pids = [service.worker(r)["pid"] for r in B]
    work = Work(service, 1)
    host.cut()
    others_go_on(service)
    time.sleep(0.5)
    work.unfinished()
    host.heal()
    work.right(1)
    assert work.sent() == 2 * SIZE and service.arena(1)["channels_broken"] == 0, service.arena(1)
    assert [service.worker(r)["pid"] for r in B] == pids


def until_they_are(service, host, gone, slow):
    """gone: the state that the server comes to know its ranks in."""
    pids = [service.worker(r)["pid"] for r in B]
    work = Work(service, 2, slow)
    host.cut()
    until(lambda: state(service, B) <= gone, 30)
    work.unfinished()
    others_go_on(service)
    host.heal()
    work.right(2)
    others_go_on(service)
    assert state(service, B) == {"ready"} and not set(pids) & {service.worker(r)["pid"] for r in B}
    assert not [pid for pid in pids if alive(pid)]


def never_twice(service, times):
    """A rank of the host that was cut off was held by one process after the other, each under a later epoch."""
    for rank in A + B:
        joined = [(int(epoch), pid) for pid, epoch in re.findall(r"rank=%d joined pid=(\d+) .*epoch=(\d+)" % rank, service.log())]
        assert len(joined) == (times if rank in B else 1), (rank, joined)
        assert joined == sorted(joined) and len({pid for _, pid in joined}) == len(joined), (rank, joined)


own_network()
with Net(rate=RATE) as net, NetHosts(net, workers=1, arena_size="128M", arena="512M",
                                     worker_failpoints=",".join("worker.mid_run/%s=sleep:1500@1" % op for op in SLOW)) as service:
    workers = service.all_up(options=["--reconnect", "1"])
    others_go_on(service)
    for_a_moment(service, net.hosts[1])
    until_they_are(service, net.hosts[1], {"stopping", "absent"}, SLOW[0])
    until_they_are(service, net.hosts[1], {"absent"}, SLOW[1])
    never_twice(service, 3)
    for w in workers.values():
        w.process.terminate()
        w.ended()
    service.stop()
