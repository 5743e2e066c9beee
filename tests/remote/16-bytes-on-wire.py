#!/usr/bin/python3
"""16-bytes-on-wire.py [MIB] - what crosses the wires of two hosts of two ranks while an all_reduce of so much (16) runs, as the
interfaces count it, and iptables by whom it comes from. Between the hosts hardly more than the least: a host cannot know the
result before it has heard the other's sum, so that is once the tensor each way. Every input comes to a host once, however many
of its ranks have it; the result goes to the server once, from one host; and nothing else worth mention crosses."""
import sys

import numpy as np

from hosts import MIB, own_network
from net import Net, NetHosts

SIZE = int(sys.argv[1] if len(sys.argv) > 1 else 16) * MIB
SLACK = 1 << 16  # heartbeats, frames, acknowledgements


def crossed(net, work):
    """What work moved, by (from, to): of each host the bytes that came from the server and from the other, and that left it."""
    before = [host.counted() for host in net.hosts], [host.moved() for host in net.hosts]
    work()
    by_peer = [{way: now[way] - was[way] for way in now} for now, was in zip([host.counted() for host in net.hosts], before[0])]
    whole = [[now - was for now, was in zip(host.moved(), old)] for host, old in zip(net.hosts, before[1])]
    for parts, (left, came) in zip(by_peer, whole):  # nobody else speaks, and the interface adds its own heads
        for direction, at_interface in (("to", left), ("from", came)):
            known = sum(n for (way, _), n in parts.items() if way == direction)
            assert known <= at_interface <= 1.02 * known + SLACK, (direction, parts, at_interface)
    return by_peer


def check(what, found, want, times):
    print("%-58s %11d B, %.4f x %d" % (what, found, found / want if want else 0, want))
    assert want <= found <= times * want + SLACK, (what, found, want)


def all_reduce(net, service, dtype, distinct, there):
    """distinct: of the four inputs, one or all. there: the hosts have them already."""
    rng = np.random.default_rng(3)
    rows = [rng.integers(-99, 99, SIZE // 4).astype(dtype) for _ in range(distinct)] * (4 // distinct)
    ids = [service.upload(x) for x in rows[:distinct]] * (4 // distinct)
    jobs = []
    run = lambda: jobs.append(service.run("all_reduce_sum", ids, group=[0, 1, 2, 3], wait=120).json)
    if there:
        run()
    parts = crossed(net, run)
    assert all(job["state"] == "succeeded" and job["attempts"] == 1 for job in jobs), jobs
    result = service.get("/v1/tensors/%s?format=raw" % jobs[-1]["outputs"][3]["tensor"]).body
    assert (np.frombuffer(result, dtype) == sum(rows)).all()

    server, hosts = net.address, [host.address for host in net.hosts]
    inputs = 0 if there else min(distinct, 2) * SIZE
    print("%s, %d inputs of %d MiB%s" % (dtype, distinct, SIZE // MIB, ", there already" if there else ""))
    for mine, other in ((0, 1), (1, 0)):
        check("  from the other to host %d" % mine, parts[mine]["from", hosts[other]], SIZE, 1.1)
        check("  inputs to host %d" % mine, parts[mine]["from", server], inputs, 1.05)
    check("  the result to the server", sum(part["to", server] for part in parts), SIZE, 1.05)
    for path in [*("/v1/jobs/" + job["id"] for job in jobs), *("/v1/tensors/" + id_ for id_ in set(ids))]:
        assert service.delete(path).status == 204, path


own_network()
with Net() as net, NetHosts(net, arena_size="%d" % (5 * SIZE), arena="%d" % (16 * SIZE)) as service:
    service.all_up()
    for host in net.hosts:
        host.count([net.address] + [other.address for other in net.hosts if other is not host])
    for dtype in ("int32", "float32"):  # the sums of floats keep the ranks' order
        all_reduce(net, service, dtype, 4, False)
        all_reduce(net, service, dtype, 4, True)
    all_reduce(net, service, "float32", 1, False)
    service.stop()
