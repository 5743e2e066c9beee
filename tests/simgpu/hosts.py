#!/usr/bin/python3
"""hosts.py - NCCL across hosts: two GPUs of the server's machine and two behind a cable, in another network namespace and with
an arena of their own. Every operation is right on groups that span both; the ranks agree on the network that NCCL uses; each
input goes to its rank's host alone, each result is there once; the pieces of a host that goes are run again."""
import os
import sys

import numpy as np

import doubles

sys.path.insert(0, os.path.join(doubles.TESTS, "remote"))
sys.path.insert(0, os.path.join(doubles.TESTS, "conformance"))
import gradients
import reference
from hosts import NEAR, Far, Hosts, own_network, until

own_network()
doubles.use(4)
OPS = ("reduce_sum", "broadcast", "all_gather", "reduce_scatter_sum", "all_reduce_sum", "all_reduce_max", "gather", "scatter",
       "all_to_all", "remote_send")


def start(service, far):
    service.open()
    return [service.worker_of(0, rank, ["--device", "gpu:%d" % rank, "--nccl-interface", "far"], prefix=far.prefix) for rank in (2, 3)]


def right(service, op, group, rows, **parameters):
    lone = op in ("broadcast", "scatter", "remote_send")
    inputs = [service.upload(x) if r == 0 or not lone else None for r, x in enumerate(rows)]
    job = service.run(op, inputs, group=group, **parameters)
    assert job.status == 200 and job.json["state"] == "succeeded", job
    want = reference.outputs(op, rows, str(rows[0].dtype), **parameters)
    for got, w in zip(job.json["outputs"], want, strict=True):
        assert (got is None) == (w is None), (op, group)
        if got:
            body = service.get("/v1/tensors/%s?format=raw" % got["tensor"]).body
            assert (np.frombuffer(body, w.dtype).reshape(w.shape) == w).all(), (op, group, got["rank"])
    return job.json


def every_operation():
    with Far() as far, Hosts(workers=2, hosts=(2,), host=NEAR, arena="256M") as service:
        service.options += ["--backend", "nccl"]
        start(service, far)
        service.wait_ready()
        rng = np.random.default_rng(7)
        for op in OPS:
            for group in ([0, 1, 2, 3], [3, 0], [2, 3], [0, 1]):
                for size in (4, 50000):  # a result that one rank copies out, and one that the ranks of a host share
                    n = len(group)
                    right(service, op, group, [rng.integers(-9, 9, (size // 2 * n, 2), np.int32) for _ in group])
        before = service.arena()
        right(service, "all_reduce_sum", [0, 1, 2, 3], [rng.integers(-9, 9, 100000, np.int32) for _ in range(4)])
        after = service.arena()
        assert after["sent_bytes"] - before["sent_bytes"] == 2 * 400000, "the inputs of its own two ranks"
        assert after["received_bytes"] == before["received_bytes"], "the result is in the server's arena by rank 0"
        x = service.upload(np.arange(10, dtype=np.int32))
        for group in ([2, 3], [1, 2]):  # "resident" is kept on the server's machine alone: elsewhere it is a tensor as any
            job = service.run("all_reduce_sum", [x, x], group=group, resident=True)
            assert job.json["outputs"][0]["data"] == list(range(0, 20, 2)), job
        assert all(service.worker(r)["gpu"]["resident_bytes"] == 0 for r in range(4))
        service.stop()


def gradients_of_extremes():
    """Their masks are put on in arenas, each host's own: gloo carries them there, beside NCCL."""
    with Far() as far, Hosts(workers=2, hosts=(2,), host=NEAR, arena="256M") as service:
        service.options += ["--backend", "nccl"]
        start(service, far)
        service.wait_ready()
        driver, rng = gradients.Driver(service), np.random.default_rng(9)
        for op in ("all_reduce_max", "all_reduce_min"):
            for dtype in ("float64", "float16", "uint8"):
                for group in ([0, 1, 2, 3], [3, 0], [2, 3], [0, 1]):
                    driver.case(rng, op, dtype, group, None, {}, (), 5)
        assert driver.cases == 24 and driver.twice == 8, (driver.cases, driver.twice)
        right(service, "all_reduce_max", [0, 1, 2, 3], [np.full(50, r, np.int32) for r in range(4)])
        service.stop()


def a_host_goes():
    with Far() as far, Hosts(workers=2, hosts=(2,), host=NEAR, arena="256M", worker_failpoints="worker.mid_run/all_reduce_max=sleep:1500") as service:
        service.options += ["--backend", "nccl"]
        workers = start(service, far)
        service.wait_ready()
        rows = [np.full(1000, r, np.int32) for r in range(4)]
        right(service, "all_reduce_sum", [0, 1, 2, 3], rows)
        job = service.run("all_reduce_max", [service.upload(x) for x in rows], wait=0, group=[0, 1, 2, 3])
        until(lambda: service.get("/v1/jobs/" + job.json["id"]).json["state"] == "running")
        for w in workers:
            w.kill()
        until(lambda: [service.worker(r)["state"] for r in (2, 3)] == ["absent", "absent"], 20)
        for rank in (2, 3):
            service.worker_of(0, rank, ["--device", "gpu:%d" % rank, "--nccl-interface", "far"], prefix=far.prefix, failpoints="")
        document = service.get("/v1/jobs/%s?wait=60" % job.json["id"]).json
        assert document["state"] == "succeeded" and document["attempts"] == 2, document
        assert document["outputs"][2]["data"][:2] == [3, 3], document["outputs"][2]["data"][:2]
        service.stop()


sys.exit(doubles.run([every_operation, gradients_of_extremes, a_host_goes]))
