#!/usr/bin/python3
"""The data channel is cut in the middle of a long transfer, or a byte of it is changed on its way: it goes on at the first
chunk that did not arrive, the bytes are right, and the job knows nothing of it. With 100 ms of delay the same holds. Workers
and server count what went: hardly more than once."""

import numpy as np

from hosts import MIB, Cable, Hosts, until

SIZE = 24 * MIB


def sum_of_two(service, a, b):
    group = service.ranks[0]
    job = service.run("all_reduce_sum", [service.upload(a), service.upload(b)], group=group)
    assert job.status == 200 and job.json["state"] == "succeeded" and job.json["attempts"] == 1, job
    out = service.get("/v1/tensors/%s?format=raw" % job.json["outputs"][0]["tensor"]).body
    assert (np.frombuffer(out, a.dtype) == a + b).all()
    assert service.delete("/v1/jobs/" + job.json["id"]).status == 204
    return job.json


def arrays(seed):
    rng = np.random.default_rng(seed)
    return [rng.integers(-1000, 1000, SIZE // 4, np.int32) for _ in range(2)]


with Hosts(workers=0, hosts=(2,), arena_size="128M", arena="512M") as service:
    service.open()
    cable = Cable((service.link_host, service.link_port))
    workers = [service.worker_of(0, rank, address=cable.address) for rank in service.ranks[0]]
    service.wait_ready()
    sum_of_two(service, *arrays(0))
    before = service.arena()
    assert before["sent_bytes"] == 2 * SIZE and before["channels_broken"] == 0, before

    cable.cut_after = 7 * MIB + 12345
    sum_of_two(service, *arrays(1))
    cut = service.arena()
    assert cut["channels_broken"] == 1, cut
    assert 2 * SIZE <= cut["sent_bytes"] - before["sent_bytes"] <= 2 * SIZE, "each chunk is acknowledged once"
    service.says("carries its tensors")

    cable.flip_after = max(line["bytes"][1] for line in cable.lines[-1:]) + 5 * MIB
    sum_of_two(service, *arrays(2))
    flipped = service.arena()
    assert flipped["channels_broken"] == 2 and "arrived corrupt" in service.log(), flipped

    cable.delay = 0.1
    sum_of_two(service, *arrays(3))
    assert service.arena()["channels_broken"] == 2

    # On the wire: what was sent, and what was on its way when it broke (16 chunks at most, and heads).
    wire = sum(line["bytes"][1] for line in cable.lines)
    asked = 4 * 2 * SIZE
    assert asked <= wire <= asked + 2 * 20 * MIB, (asked, wire)
    assert [w.process.poll() for w in workers] == [None, None]
    cable.close()  # for the end: the server stops a host that it does not hear
    until(lambda: service.worker(0)["state"] == "stopping", 10)
    for w in workers:
        w.ended()
