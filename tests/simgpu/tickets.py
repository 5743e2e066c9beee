#!/usr/bin/python3
"""tickets.py - a NCCL unique id lets whoever has it into a communicator: it is in no answer, event, log line or file of
the server, neither as it is nor in hex; and its port is opened on the loopback, unless somebody said otherwise."""
import os
import re
import sys

import numpy as np

import doubles
from service import Service

RANKS = 4
PATHS = ("/v1", "/v1/workers", "/v1/workers/0", "/v1/groups", "/v1/jobs", "/v1/metrics", "/metrics", "/healthz", "/readyz")


def run(service, seed, **more):
    rows = np.random.default_rng(seed).integers(0, 9, (RANKS, 8)).tolist()
    return service.post("/v1/jobs?wait=30", {"op": "all_reduce_sum", "inputs": rows[:len(more.get("group", rows))], **more})


def everything(service):
    """Each answer that tells of workers, groups and jobs; the log at its most talkative; all files of the data directory."""
    for path in PATHS:
        yield path, service.get(path).body
    for job in service.get("/v1/jobs").json["jobs"]:
        yield "a job", service.get("/v1/jobs/%s?data=1" % job["id"]).body
    with service.socket() as s:
        s.sendall(b"GET /v1/events HTTP/1.1\r\nHost: %s:%d\r\nLast-Event-ID: 0\r\n\r\n" % (service.host.encode(), service.port))
        yield "events", s.recv(1 << 20)
    for place in [service.log_path] + [os.path.join(service.data_dir, name) for name in os.listdir(service.data_dir)]:
        if os.path.isfile(place):
            with open(place, "rb") as f:
                yield place, f.read()


def secrets(service):
    tag = os.environ["SIMGPU_TAG"].encode()
    secret = re.compile(b"simgpu-" + tag + b"-[0-9a-f]{8}|" + (b"/simgpu-" + tag).hex().encode() + b"|[0-9a-f]{200}", re.I)
    seen = 0
    for where, what in everything(service):
        found = secret.search(what)
        assert not found, "%s has %r" % (where, found.group())
        seen += len(what)
    assert seen > 10000, "only %d bytes were looked at" % seen


def ids_are_nowhere():
    with Service(workers=RANKS, options=["--backend", "nccl", "--log-level", "debug"]) as service:
        assert run(service, 1).status == 200
        assert run(service, 2, group=[1, 3]).status == 200
        with open(doubles.FAULT, "w") as f:
            f.write("1 async 1\n")
        assert run(service, 3).status in (200, 500)
        if os.path.exists(doubles.FAULT):
            os.remove(doubles.FAULT)
        assert run(service, 4).status == 200
        secrets(service)


def ports_are_on(name):
    before = len(doubles.counters())
    with Service(workers=2, options=["--backend", "nccl"]) as service:
        assert service.post("/v1/jobs?wait=30", {"op": "all_reduce_sum", "inputs": [[1], [2]]}).status == 200
    on = [r["socket_ifname"] for r in doubles.counters()]
    assert len(on) == before + 2 and on.count(name) >= 2, on


def ports_are_on_the_loopback():
    ports_are_on("lo")


def ports_are_where_somebody_said():
    os.environ["NCCL_SOCKET_IFNAME"] = "eth7"
    try:
        ports_are_on("eth7")
    finally:
        del os.environ["NCCL_SOCKET_IFNAME"]


doubles.use(RANKS)
sys.exit(doubles.run([ids_are_nowhere, ports_are_on_the_loopback, ports_are_where_somebody_said]))
