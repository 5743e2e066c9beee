#!/usr/bin/python3
"""All connections between two hosts and the server, and between the hosts, are 100 ms late each way, and a hundredth of the
packets is lost. Every operation on groups that span the hosts is right, gradients of maxima too; so is what clients at such a
host upload and download; and no rank is given up."""
import concurrent.futures
import contextlib
import json
import os
import sys
import tempfile
import time

import numpy as np

from hosts import MIB, TESTS, own_network
from net import Net, NetHosts

sys.path.insert(0, os.path.join(TESTS, "conformance"))
import conformance
import gradients
import reference

DELAY, LOSS = 0.1, 0.01
GROUPS = ([0, 1, 2, 3], [3, 1], [2, 0, 1])
DTYPES = ("float32", "bfloat16", "int64", "uint8")
LARGE = MIB // 4  # elements


def cases():
    """Every operation with two dtypes, one axis each; and sizes from one element to a MiB."""
    step = 0
    for op in conformance.OPS:
        for dtype in [d for d in DTYPES[step % 4:] + DTYPES[:step % 4] if reference.takes(op, d)][:2]:
            step += 1
            group = GROUPS[step % 3]
            axes, peers = conformance.axes_for(op), conformance.peers_for(op, len(group))
            yield op, dtype, group, conformance.shape_for(len(group), op, step), axes[step % len(axes)], peers[step % len(peers)]
    for op in ("all_reduce_sum", "all_reduce_max", "all_gather", "all_to_all"):
        yield op, "float32", GROUPS[0], (LARGE,), {}, {}
    for size in (1, 1000, LARGE // 8):
        yield "all_reduce_sum", "float32", GROUPS[size % 3], (size,), {}, {}


def reduced_conformance(service):
    """Many at once: what is late by itself waits together. Gives how many."""
    driver = conformance.Driver(service)

    def one(number, case):
        op, dtype, group, shape, parameters, peers = case
        rng = np.random.default_rng(number)
        how = "raw" if np.prod(shape) > 1000 else conformance.FORMATS[number % 4]
        driver.one(op, [conformance.draw(rng, shape, dtype) for _ in group], dtype, group, how, {**parameters, **peers}, peers)

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda numbered: one(*numbered), enumerate(cases())))
    assert not driver.failures, driver.failures
    return driver.combinations


def gradients_of_maxima(service):
    driver = gradients.Driver(service)
    wanted = [(op, ("float32", "int32")[i % 2], GROUPS[i // 2]) for i, op in enumerate(gradients.EXTREMES)]
    with concurrent.futures.ThreadPoolExecutor(len(wanted)) as pool:
        list(pool.map(lambda case: driver.case(np.random.default_rng(7), *case, None, {}, (), 1), wanted))
    service.hang_up()  # what was idle for as long, the server has closed
    return driver.cases


def clients_elsewhere(service, host):
    """A tensor from a client on a host, and what became of it back to one."""
    x = np.random.default_rng(5).integers(0, 256, MIB, np.uint8)
    curl = lambda path, *more: host.inside("curl", "--silent", "--show-error", "--fail", "--max-time", "60", "--header",
                                           "Authorization: Bearer " + service.bearer, *more, "http://%s:%d%s" % (service.host, service.port, path))
    with tempfile.TemporaryDirectory() as place:
        there, back = os.path.join(place, "x"), os.path.join(place, "y")
        x.tofile(there)
        made = curl("/v1/tensors?dtype=uint8&shape=%d" % x.size, "--header", "Content-Type: application/octet-stream", "--data-binary", "@" + there)
        tensor = json.loads(made)["tensor"]
        job = service.run("all_reduce_max", [tensor] * 4, group=[0, 1, 2, 3], wait=60)
        assert job.status == 200 and job.json["state"] == "succeeded", job
        for id_ in (tensor, job.json["outputs"][2]["tensor"]):
            curl("/v1/tensors/%s?format=raw" % id_, "--output", back)
            assert (np.fromfile(back, np.uint8) == x).all()


own_network()
with Net() as net, contextlib.ExitStack() as bad, NetHosts(net, arena="256M", options=["--listen", net.address + ":0"]) as service:
    for host in net.hosts:
        bad.enter_context(host.late(DELAY))
        host.lose(LOSS)
    workers = service.all_up()
    begun = time.monotonic()
    assert service.post("/v1/jobs?wait=60", {"op": "all_reduce_sum", "inputs": [[1], [2]], "group": [0, 2]}).json["outputs"][1]["data"] == [3]
    assert time.monotonic() - begun > 4 * DELAY, "it is not late"
    done = reduced_conformance(service)
    maxima = gradients_of_maxima(service)
    for host in net.hosts:
        clients_elsewhere(service, host)
    assert [service.worker(r)["pid"] for r in workers] == [w.pid for w in workers.values()]
    assert "given up" not in service.log() and "gone" not in service.log()
    print("NOTE %d combinations and %d gradients of maxima, in %.1f s" % (done, maxima, time.monotonic() - begun))
    for host in net.hosts:
        assert host.lost() > 0, "it is not lossy"
        host.heal()
    service.stop()
