#!/usr/bin/python3
"""calls.py [COUNT] - four clients in four processes, each its own rank, make COUNT random calls (default 300) on six
overlapping groups: every output is right, and each rank's calls end in the order of its program. Then the same where one
calls something else, one stops for a while, and one is killed: the others hear who it was, and go on."""
import io
import json
import multiprocessing
import os
import signal
import sys
import threading
import time

import numpy as np

sys.path[:0] = [os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "conformance"),
                os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
import reference
from service import SANITIZED, Service

RANKS = 4
GROUPS = {"world": [0, 1, 2, 3], "front": [0, 1], "back": [3, 2], "ring": [1, 2, 3], "odd": [3, 1], "cross": [2, 0, 3]}
DTYPES = ("int32", "uint8", "float64", "int64")
OPS = ("reduce_sum", "broadcast", "all_gather", "reduce_scatter_sum", "all_reduce_sum", "all_reduce_max", "all_reduce_min",
       "gather", "scatter", "all_to_all", "remote_send")
ONE_AXIS = ("all_gather", "reduce_scatter_sum", "gather", "scatter")


def step_of(seed, i):
    """The i-th call of the program, the same for every rank: group, op, parameters, one input per group rank."""
    rng = np.random.default_rng([seed, i])
    name = str(rng.choice(sorted(GROUPS)))
    n = len(GROUPS[name])
    op, dtype = str(rng.choice(OPS)), str(rng.choice(DTYPES))
    parameters = {}
    if op in ONE_AXIS:
        parameters = {"axis": int(rng.integers(0, 2))}
    elif op == "all_to_all":
        parameters = {"split_axis": int(rng.integers(0, 2)), "concat_axis": int(rng.integers(0, 2))}
    elif op == "remote_send":
        src, dst = (int(x) for x in rng.choice(n, 2, replace=False))
        parameters = {"src": src, "dst": dst}
    shape = (n * int(rng.integers(1, 4)), n * int(rng.integers(1, 4)))
    inputs = [rng.integers(0, 100, shape).astype(reference.DTYPES[dtype]) for _ in range(n)]
    return name, op, parameters, dtype, inputs


class Client:
    def __init__(self, service, rank):
        service.local = threading.local()  # no connection of the parent's
        self.service, self.rank = service, rank

    def call(self, name, op, parameters, dtype, inputs, **more):
        """Answer and what it should be; None when this rank takes no part."""
        group = GROUPS[name]
        if self.rank not in group:
            return None
        r = group.index(self.rank)
        if op == "remote_send":
            if r not in (parameters["src"], parameters["dst"]):
                return None
            mine = {"dst": parameters["dst"]} if r == parameters["src"] else {"src": parameters["src"]}
            name_of = "remote_send" if r == parameters["src"] else "remote_recv"
        else:
            mine, name_of = parameters, op
        gives = op not in ("broadcast", "scatter", "remote_send") or r == (parameters.get("src", 0))
        path = "/v1/groups/%s/ranks/%d/calls" % (name, r)
        if gives:
            f = io.BytesIO()
            np.save(f, inputs[r])
            query = "&".join("%s=%s" % i for i in {"op": name_of, "format": "npy", **mine, **more}.items())
            a = self.service.post(path + "?" + query, f.getvalue(), {"Content-Type": "application/x-npy"})
        else:
            a = self.service.post(path + "?format=npy", {"op": name_of, **mine, **more})
        return a, reference.outputs(op, inputs, dtype, **parameters)[r]


def right(a, want):
    if want is None:
        assert a.status == 204, a
    else:
        assert a.status == 200, a
        got = np.load(io.BytesIO(a.body))
        assert got.dtype == want.dtype and np.array_equal(got, want), "got %s, want %s" % (got, want)


def program(service, rank, seed, count, out):
    """One rank's notebook."""
    client, made, last = Client(service, rank), 0, ""
    try:
        for i in range(count):
            got = client.call(*step_of(seed, i))
            if got:
                right(*got)
                made += 1
                assert got[0].headers["tutti-job"] != last
                last = got[0].headers["tutti-job"]
        out.put((rank, made, None))
    except BaseException as e:
        out.put((rank, made, "%s: %s" % (type(e).__name__, str(e)[:500])))


def run(service, target, arguments):
    """One process a rank; what each put into the queue."""
    out = multiprocessing.Queue()
    processes = [multiprocessing.Process(target=target, args=(service, rank, *arguments, out)) for rank in range(RANKS)]
    for p in processes:
        p.start()
    if target is unruly:
        processes[3].join(120)
        assert processes[3].exitcode == -signal.SIGKILL, processes[3].exitcode
        time.sleep(2.5)
        processes[3] = multiprocessing.Process(target=target, args=(service, 3, *arguments[:-1], True, out))
        processes[3].start()
    got = [out.get(timeout=600) for _ in processes]
    for p in processes:
        p.join(10)
    return sorted(got)


def sum_of(client, value, **more):
    return client.service.post("/v1/groups/all/ranks/%d/calls?wait=30" % client.rank,
                               {"op": "all_reduce_sum", "input": [value], **more})


def unruly(service, rank, odd, quiet, killed, anew, out):
    """Rank 1 calls something else at `odd`, rank 2 stops calling at `quiet`, rank 3 is killed at `killed`; another process
    takes its place (anew), which does not know how far it was."""
    client, heard = Client(service, rank), []
    i = killed if anew else 0
    while i < killed + 20:
        if i == odd and rank == 1:
            a = service.post("/v1/groups/all/ranks/1/calls?wait=30", {"op": "all_reduce_max", "input": [1]})
        else:
            if i == quiet and rank == 2:
                time.sleep(2.5)
            if i == killed and rank == 3 and not anew:
                os.kill(os.getpid(), signal.SIGKILL)
            a = sum_of(client, rank, timeout=1, rejoin=int(anew))
            anew = False
        if a.status == 200:
            assert a.json["output"]["data"] == [6], a
            i = a.json["seq"]  # the group's count: whoever rejoins learns it here
        else:
            heard.append((i, a.status, a.json["code"], a.json.get("ranks")))
        i += 1
    out.put((rank, heard, None))


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    odd, quiet, killed = (100, 200, 300) if count > 1000 else (10, 20, 30)
    with Service(workers=RANKS, arena="256M", options=["--retain", "5"]) as service:
        for name, ranks in GROUPS.items():
            if name != "world":
                assert service.post("/v1/groups", {"name": name, "ranks": ranks}).status == 201
        begun = time.monotonic()
        ended = run(service, program, (7, count))
        took = time.monotonic() - begun
        calls = sum(made for _, made, _ in ended)
        bad = [e for e in ended if e[2]]
        assert not bad, bad
        print("NOTE %d calls of %d programs of %d steps, %.0f calls/s, 0 wrong" % (calls, RANKS, count, calls / took))

        assert service.post("/v1/groups", {"name": "all", "ranks": [0, 1, 2, 3]}).status == 201
        heard = run(service, unruly, (odd, quiet, killed, False))
        for rank, said, _ in heard[:3]:
            assert [(i, s, c) for i, s, c, _ in said if c == "mismatch"] == [(odd, 409, "mismatch")], (rank, said)
            assert {i for i, s, c, names in said if (s, c) == (504, "ranks_missing") and names == [2]} >= {quiet}, (rank, said)
            assert {i for i, s, c, names in said if (s, c) == (504, "ranks_missing") and names == [3]} >= {killed}, (rank, said)
            for _, status, code, names in said:
                assert code == "mismatch" or names in ([2], [3]), (rank, said)
        print("who calls otherwise, stops, is killed: %s" % json.dumps(heard)[:600])
        assert service.metrics()["jobs"]["waiting"] == 0
        if not SANITIZED:
            print("grew to %d MiB" % (service.rss_bytes() >> 20))
    return 0


if __name__ == "__main__":
    sys.exit(main())
