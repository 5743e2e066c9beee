#!/usr/bin/python3
"""Two hosts that reach the server, and not each other: a job of both fails and says which rank waited for which; each host works
on by itself, and both together again when they can."""
import re
import time

from hosts import own_network
from net import Net, NetHosts

WAIT_S = 30  # LIMIT_PEER_SILENT_MS


def sum_of(service, *group):
    return service.post("/v1/jobs?wait=90", {"op": "all_reduce_sum", "inputs": [[1]] * len(group), "group": group, "timeout": 80})


own_network()
with Net() as net, NetHosts(net) as service:
    workers = service.all_up()
    (a, b), ((a0, a1), (b0, b1)) = net.hosts, service.ranks
    assert sum_of(service, a0, b0, b1, a1).json["outputs"][0]["data"] == [4]
    b.drop(b.prefix, "INPUT", "-s", a.address)
    b.drop(b.prefix, "OUTPUT", "-d", a.address)
    begun = time.monotonic()
    job = sum_of(service, a0, b0, b1, a1)  # by the connections of before
    assert (job.status, job.json["code"]) == (500, "worker_failed"), job
    waited, silent = map(int, re.match(r"rank (\d): .*\brank (\d)\b", job.json["detail"]).groups())
    assert {waited in (0, 3), silent in (0, 3)} == {True, False}, "of two on different hosts: %s" % job
    assert time.monotonic() - begun < WAIT_S + 10
    for group in ((a0, a1), (b0, b1)):
        assert sum_of(service, *group).json["outputs"][1]["data"] == [2]
    b.heal()
    assert sum_of(service, a0, b0, b1, a1).json["outputs"][3]["data"] == [4]
    assert [service.worker(r)["pid"] for r in workers] == [w.pid for w in workers.values()]
    service.stop()
