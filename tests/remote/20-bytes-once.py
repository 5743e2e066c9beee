#!/usr/bin/python3
"""Each byte goes to a host once, however many of its ranks and jobs need it, and each output comes back once; what nobody
needs any more makes room, and what is deleted is gone there too. What is a view moves nothing."""
import threading
import time

import numpy as np

from hosts import MIB, Hosts, until


def moved(service, host, work):
    """Bytes there and back while work runs."""
    before = service.arena(host)
    answer = work()
    after = service.arena(host)
    return answer, after["sent_bytes"] - before["sent_bytes"], after["received_bytes"] - before["received_bytes"]


def once(service):
    group, x = service.ranks[0], np.arange(MIB, dtype=np.int32)
    one, two = service.upload(x), service.upload(3 * x)
    job, there, back = moved(service, 0, lambda: service.run("all_reduce_sum", [one, two, one], group=group))
    assert job.json["state"] == "succeeded", job
    assert (there, back) == (8 * MIB, 4 * MIB), "two tensors for three ranks, one result: %d, %d" % (there, back)
    timeline = job.json["timeline"]
    assert 0 < timeline["staging_us"] <= timeline["total_us"], timeline
    result = job.json["outputs"][0]["tensor"]
    assert (np.frombuffer(service.get("/v1/tensors/%s?format=raw" % result).body, np.int32) == 5 * x).all()

    metrics = service.get("/metrics").body.decode()
    for rank in group:
        assert 'worker_host_sent_bytes_total{rank="%d"} %d\n' % (rank, service.arena(0)["sent_bytes"]) in metrics, metrics

    # They are there still, and the result as well.
    job, there, back = moved(service, 0, lambda: service.run("all_reduce_max", [two, result, one], group=group))
    assert (there, back) == (0, 4 * MIB), (there, back)
    assert (np.frombuffer(service.get("/v1/tensors/%s?format=raw" % job.json["outputs"][2]["tensor"]).body, np.int32) == 5 * x).all()

    # A piece of what is there is there.
    job = service.run("scatter", [service.upload(x.reshape(2, -1)), None], group=[0, 1])
    whole_there = service.run("broadcast", [two, None, None], group=group)
    _, there, back = moved(service, 0, lambda: service.run("reduce_sum", [whole_there.json["outputs"][1]["tensor"], two, two], group=group))
    assert (there, back) == (0, 4 * MIB), (there, back)
    return one, two


def views(service):
    """Broadcast, scatter on the first axis, send: nothing moves, over hosts too."""
    x = service.upload(np.arange(4 * MIB, dtype=np.uint8).reshape(4, -1))
    for op, group, parameters in (("broadcast", service.ranks[0][:2], {}), ("broadcast", [0, service.ranks[0][0]], {}),
                                  ("scatter", [service.ranks[1][0], 1], {}), ("remote_send", [service.ranks[0][0], service.ranks[1][0]], {})):
        before = [service.arena(h) for h in (0, 1)]
        job = service.run(op, [x, None], group=group, **parameters)
        assert job.json["state"] == "succeeded", job
        assert [service.arena(h) for h in (0, 1)] == before, op
        assert job.json["timeline"]["staging_us"] == 0

    # A barrier is kept over hosts as well: the last to come lets the others go.
    service.post("/v1/groups", {"name": "span", "ranks": [0, service.ranks[0][0], service.ranks[1][0]]})
    answers = []
    callers = [threading.Thread(target=lambda r=r: answers.append(service.post("/v1/groups/span/barrier?rank=%d" % r).status)) for r in range(3)]
    for caller in callers[:2]:
        caller.start()
    time.sleep(0.3)
    assert answers == []
    callers[2].start()
    for caller in callers:
        caller.join()
    assert answers == [200] * 3, answers


def room(service, ids):
    """64 MiB of arena: copies used longest ago go; a deleted tensor's at once; a job too large for it is told so."""
    group, used = service.ranks[1], lambda: service.arena(1)["used_bytes"]
    tensors = [service.upload(np.full(4 * MIB, n, np.int32)) for n in range(5)]  # 16 MiB each
    for a, b in zip(tensors, tensors[1:]):
        job = service.run("reduce_sum", [a, b], group=group)
        assert job.json["state"] == "succeeded", job
        assert service.delete("/v1/jobs/" + job.json["id"]).status == 204
    assert used() <= 64 * MIB
    _, there, _ = moved(service, 1, lambda: service.run("reduce_sum", [tensors[4], tensors[3]], group=group))
    assert there == 0, "the last ones are there still"
    job, there, _ = moved(service, 1, lambda: service.run("reduce_sum", [tensors[0], tensors[0]], group=group))
    assert there == 16 * MIB, "the first had to go: %s" % job

    big = service.upload(np.zeros(9 * MIB, np.int32))
    job = service.run("all_reduce_sum", [big, big], group=group)
    assert (job.status, job.json["code"]) == (507, "arena_full"), job
    assert "host" in job.json["detail"] and "--arena-size" in job.json["detail"], job.json
    for row in service.get("/v1/jobs?limit=500").json["jobs"]:
        service.delete("/v1/jobs/" + row["id"])
    for id_ in (*tensors, big, *ids):
        service.delete("/v1/tensors/" + id_)
    until(lambda: service.arena(0)["used_bytes"] == service.arena(1)["used_bytes"] == 0, 10)


def ahead(service):
    """While its ranks are at another job, what a job needs goes there."""
    x = service.upload(np.full(2 * MIB, 3, np.int32))
    before = service.arena(0)["sent_bytes"]
    slow = service.post("/v1/jobs", {"op": "all_reduce_min", "inputs": [[1]] * 3, "group": service.ranks[0]})
    until(lambda: service.get("/v1/jobs/" + slow.json["id"]).json["state"] == "running")
    job = service.run("all_reduce_sum", [x] * 3, wait=0, group=service.ranks[0])
    until(lambda: service.arena(0)["sent_bytes"] >= before + 8 * MIB, 3)
    assert service.get("/v1/jobs/" + job.json["id"]).json["state"] == "queued"
    job = service.get("/v1/jobs/%s?wait=20" % job.json["id"]).json
    assert job["state"] == "succeeded" and service.arena(0)["sent_bytes"] < before + 9 * MIB, job
    for id_ in (slow.json["id"], job["id"]):
        service.delete("/v1/jobs/" + id_)
    service.delete("/v1/tensors/" + x)


def together(service):
    """Ranks on CPUs of two hosts; or, where the build has no gloo, why not: said before anything is queued."""
    job = service.post("/v1/jobs?wait=20", {"op": "all_reduce_sum", "inputs": [[1], [2]], "group": [0, service.ranks[0][0]]})
    if job.status == 200:
        assert [o["data"] for o in job.json["outputs"]] == [[3], [3]], job
    else:
        assert (job.status, job.json["code"]) == (422, "group_invalid") and "libgloo-dev" in job.json["detail"], job


with Hosts(workers=2, hosts=(3, 2), arena="512M", worker_failpoints="worker.mid_run/all_reduce_min=sleep:1500") as service:
    service.all_up()
    assert service.worker(0)["arena"] is None
    together(service)
    ids = once(service)
    views(service)
    ahead(service)
    room(service, ids)
    service.stop()
