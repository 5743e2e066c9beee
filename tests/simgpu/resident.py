#!/usr/bin/python3
"""resident.py - tensors that stay on their devices: a chain of jobs on them moves nothing, every operation has the right
bits, what is read is copied out, the least used makes room, and what a lost worker had is lost, and said to be."""
import io
import os
import signal
import sys

import numpy as np

import doubles
from invariants import row
from service import Service, until

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "conformance"))
import reference  # noqa: E402

RANKS = 4
NPY = {"Content-Type": "application/x-npy"}
RNG = np.random.default_rng(3)


def serve(*options, **more):
    return Service(workers=RANKS, options=["--backend", "nccl", *options], **more)


def npy(array):
    f = io.BytesIO()
    np.save(f, array)
    return f.getvalue()


def job(service, op, inputs, resident=True, **parameters):
    """inputs: tensor ids, or None. The document of the job, which succeeds."""
    a = service.post("/v1/jobs?wait=30", {
        "op": op, "resident": int(resident), "inputs": [t and {"tensor": t} for t in inputs], **parameters})
    assert a.status == 200 and a.json["state"] == "succeeded", a
    return a.json


def ids(document):
    return [o and o["tensor"] for o in document["outputs"]]


def read(service, tensor):
    a = service.get("/v1/tensors/%s?format=npy" % tensor)
    assert a.status == 200, a
    return np.load(io.BytesIO(a.body))


def location(service, tensor):
    a = service.get("/v1/tensors/%s?meta=1" % tensor)
    assert a.status == 200, a
    return a.json["location"]


def on_devices(service):
    return [w["gpu"]["resident_bytes"] for w in service.get("/v1/workers").json["workers"]]


def spread(service, stack):
    """Row r of the stack on the device of rank r."""
    a = service.post("/v1/tensors", npy(stack.reshape(-1, *stack.shape[2:])), NPY)
    assert a.status == 201, a
    document = job(service, "scatter", [a.json["tensor"]] + [None] * (len(stack) - 1))
    assert document["resident"] is True
    return ids(document)


def chain():
    """Ten jobs, each on the outputs of the one before: the first takes its inputs from the host, nobody else moves a
    byte, until the end is read."""
    size = 3 << 20
    stack = np.arange(RANKS * size // 4, dtype=np.uint32).reshape(RANKS, -1)
    with serve() as service:
        tensors = [service.post("/v1/tensors", npy(row), NPY).json["tensor"] for row in stack]
        for i in range(5):
            tensors = ids(job(service, "all_reduce_sum", tensors))
            tensors = ids(job(service, "all_gather", tensors) if i == 2 else
                          job(service, "reduce_scatter_sum", tensors) if i == 3 else
                          job(service, "all_to_all", tensors))
        assert [location(service, t) for t in set(tensors)] == ["device"] * len(set(tensors))
        got = read(service, tensors[1])
        assert location(service, tensors[1]) == "arena"
        out = got.nbytes
    values = list(stack)
    for i in range(5):
        values = reference.outputs("all_reduce_sum", values, "uint32")
        values = reference.outputs("all_gather" if i == 2 else "reduce_scatter_sum" if i == 3 else "all_to_all", values,
                                   "uint32")
    assert np.array_equal(got, values[1])
    ranks = doubles.counters()
    moved = sum(r["in_bytes"] for r in ranks), sum(r["out_bytes"] for r in ranks)
    print("NOTE a chain of 10 moved %d bytes in, its inputs' %d, and %d out, the %d that were read" %
          (moved[0], stack.nbytes, moved[1], out))
    assert moved == (stack.nbytes, out), (moved, stack.nbytes, out)


SHAPES = ((4, 8), (8, 4, 4), (4, 4, 300000))
CASES = [("reduce_sum", {}), ("broadcast", {}), ("all_reduce_sum", {}), ("all_reduce_max", {}), ("all_reduce_min", {}),
         ("remote_send", {"src": 2, "dst": 0}), ("remote_recv", {"src": 1, "dst": 3})]
CASES += [(op, {"axis": axis}) for op in ("all_gather", "reduce_scatter_sum", "gather", "scatter") for axis in (0, 1)]
CASES += [("all_to_all", {"split_axis": s, "concat_axis": c}) for s in (0, 1) for c in (0, 1)]


def every_operation():
    """On resident inputs, to resident outputs and to the arena, and from the arena to resident outputs."""
    with serve(arena="512M") as service:
        for shape in SHAPES:
            stack = RNG.integers(-1000, 1000, (RANKS, *shape)).astype(np.int32)
            held = spread(service, stack)
            plain = [service.post("/v1/tensors", npy(row), NPY).json["tensor"] for row in stack]
            for op, parameters in CASES:
                want = reference.outputs(op, list(stack), "int32", **parameters)
                for inputs, resident in ((held, True), (held, False), (plain, True)):
                    got = ids(job(service, op, inputs, resident, **parameters))
                    for r, (g, w) in enumerate(zip(got, want)):
                        assert (g is None) == (w is None), (op, parameters, r)
                        where = (op, parameters, shape, inputs is held, resident, r)
                        assert g is None or np.array_equal(read(service, g), w), where
                    for g in set(filter(None, got)):
                        assert service.delete("/v1/tensors/%s" % g).status == 204


def of_another_rank():
    """A rank whose device has no copy gets the bytes by way of the arena."""
    stack = np.arange(RANKS * 64, dtype=np.float32).reshape(RANKS, 64)
    with serve() as service:
        held = spread(service, stack)
        turned = held[1:] + held[:1]
        got = ids(job(service, "all_gather", turned))
        assert np.array_equal(read(service, got[0]), np.roll(stack, -1, axis=0).reshape(-1))
        a = service.post("/v1/jobs?wait=30&data=1", {"op": "broadcast", "resident": True, "group": [2, 0],
                                                    "inputs": [{"tensor": held[2]}, None]})
        assert [o["data"] for o in a.json["outputs"]] == [list(stack[2])] * 2, a
        a = service.post("/v1/jobs?wait=30", {"op": "all_reduce_sum", "resident": True, "inputs": [[1, 2]] * 4})
        assert "data" not in a.json["outputs"][0], "nobody has asked for the bytes"
        a = service.post("/v1/jobs?wait=30&format=raw", {"op": "all_reduce_sum", "resident": True, "inputs": [[1, 2]] * 4})
        assert np.frombuffer(a.body, np.float32).tolist() == [4, 8] * 4, a
        b = service.get("/v1/jobs/%s/outputs" % a.headers["tutti-job"])
        assert [o["data"] for o in b.json["outputs"]] == [[4, 8]] * 4, b


def small_and_empty():
    with serve() as service:
        a = service.post("/v1/jobs?wait=30&data=1", {"op": "all_reduce_sum", "resident": True, "inputs": [1, 2, 3, 4]})
        assert a.json["outputs"][0]["data"] == 10, a
        empty = {"dtype": "float32", "shape": [0, 4], "data": []}
        a = service.post("/v1/jobs?wait=30&data=1", {"op": "all_gather", "resident": True, "inputs": [empty] * 4})
        assert a.json["outputs"][0]["shape"] == [0, 4] and a.json["outputs"][0]["data"] == [], a


def room():
    """What is used least goes to the arena; what does not fit is refused; what is deleted gives its room back."""
    limit, size = 1 << 20, 256 << 10
    with row("G7"), serve("--resident-size", "1M") as service:
        rows = [RNG.integers(0, 1 << 30, (RANKS, size // 4)).astype(np.int32) for _ in range(6)]
        held = [spread(service, stack) for stack in rows]
        assert all(n <= limit for n in on_devices(service)), on_devices(service)
        assert [location(service, tensors[0]) for tensors in held] == ["arena"] * 2 + ["device"] * 4
        for tensors, stack in zip(held, rows):
            for t, want in zip(tensors, stack):
                assert np.array_equal(read(service, t), want)
        again = ids(job(service, "all_reduce_sum", held[0]))  # from the arena
        assert np.array_equal(read(service, again[3]), rows[0].sum(axis=0, dtype=np.int32))

        a = service.post("/v1/jobs?wait=30", {"op": "all_gather", "resident": True, "dtype": "int8",
                                              "inputs": [[0] * (size + 1)] * RANKS})
        assert a.status == 507 and a.json["code"] == "device_full" and str(limit) in a.json["detail"], a
        for t in {t for tensors in held for t in tensors} | set(again):
            assert service.delete("/v1/tensors/%s" % t).status == 204
        until(lambda: on_devices(service) == [0] * RANKS, 5)


def arena_is_full():
    """There is room nowhere: the job says so, and nothing is lost."""
    with serve("--resident-size", "2M", arena="10M") as service:
        stack = RNG.integers(0, 1 << 30, (RANKS, 1 << 17)).astype(np.int32)  # 512 KiB a rank
        held = [spread(service, stack) for _ in range(4)]
        fill = []
        while True:
            a = service.post("/v1/tensors?dtype=uint8&shape=262144", b"x" * 262144, {"Content-Type": "application/octet-stream"})
            if a.status == 507:
                break
            fill.append(a.json["tensor"])
        a = service.post("/v1/jobs?wait=30", {"op": "all_reduce_sum", "resident": True,
                                              "inputs": [{"tensor": t} for t in held[0]]})
        assert a.status == 507 and a.json["code"] == "device_full" and "arena is full" in a.json["detail"], a
        a = service.get("/v1/tensors/%s?format=raw" % held[1][0])
        assert a.status == 507 and a.json["code"] == "arena_full", a
        for t in fill:
            service.delete("/v1/tensors/%s" % t)
        assert np.array_equal(read(service, held[1][0]), stack[0])


def lost():
    """A rank's worker is killed: its copies are gone, the others' are not."""
    stack = np.arange(RANKS * 64, dtype=np.float32).reshape(RANKS, 64)
    with serve() as service:
        held = spread(service, stack)
        shared = ids(job(service, "all_reduce_sum", held))[0]
        saved = held[1]
        read(service, saved)
        os.kill(service.get("/v1/workers/2").json["pid"], signal.SIGKILL)
        os.kill(service.get("/v1/workers/1").json["pid"], signal.SIGKILL)
        until(lambda: location(service, held[2]) == "lost", 10)
        a = service.get("/v1/tensors/%s" % held[2])
        assert a.status == 410 and a.json["code"] == "tensor_lost", a
        a = service.post("/v1/jobs", {"op": "all_reduce_sum", "inputs": [{"tensor": t} for t in held]})
        assert a.status == 410 and a.json["pointer"] == "/inputs/2", a
        assert np.array_equal(read(service, saved), stack[1]), "it was in the arena by then"
        assert np.array_equal(read(service, shared), stack.sum(axis=0)), "the others have it"
        until(lambda: service.get("/readyz").status == 200, 20)
        until(lambda: on_devices(service)[2] == 0, 5)
        again = ids(job(service, "all_reduce_sum", [shared] * RANKS))
        assert np.array_equal(read(service, again[2]), 4 * stack.sum(axis=0))


def lost_while_it_is_read():
    """The device falls off the bus when the bytes are asked for."""
    stack = np.arange(RANKS * 64, dtype=np.float32).reshape(RANKS, 64)
    with row("G6"), serve() as service:
        held = spread(service, stack)
        with open(doubles.FAULT, "w") as f:
            f.write("2 lost\n")
        a = service.get("/v1/tensors/%s" % held[2])
        assert a.status == 410 and a.json["code"] == "tensor_lost", a
        assert np.array_equal(read(service, held[1]), stack[1])
        until(lambda: service.get("/readyz").status == 200, 20)
        assert ids(job(service, "broadcast", [held[1], None, None, None]))


def lost_with_a_queue():
    """A job that waits for its turn learns that its input has gone."""
    stack = np.arange(RANKS * 64, dtype=np.float32).reshape(RANKS, 64)
    with serve() as service:
        held = spread(service, stack)
        with open(doubles.FAULT, "w") as f:
            f.write("2 die\n")
        dies = service.post("/v1/jobs", {"op": "all_reduce_sum", "inputs": [[1.0]] * RANKS}).json["id"]
        waits = service.post("/v1/jobs", {"op": "all_reduce_sum", "inputs": [{"tensor": t} for t in held]}).json["id"]
        a = service.get("/v1/jobs/%s?wait=30" % waits).json
        assert a["state"] == "failed" and a["error"]["code"] == "inputs_lost" and a["error"]["ranks"] == [2], a
        assert service.get("/v1/jobs/%s?wait=30" % dies).json["state"] == "succeeded"


def restart():
    """kill -9 of the server: what had come to the arena is there, the rest is lost, and a job that was to run on it fails."""
    stack = np.arange(RANKS * 64, dtype=np.float32).reshape(RANKS, 64)
    with serve() as service:
        held = spread(service, stack)
        assert np.array_equal(read(service, held[3]), stack[3])
        service.post("/v1/tensors", npy(stack), NPY)  # a commit behind the move
        service.kill()
        service.start()
        assert [location(service, t) for t in held] == ["lost"] * 3 + ["arena"]
        assert np.array_equal(read(service, held[3]), stack[3])
        assert ids(job(service, "broadcast", [held[3], None, None, None]))


def main():
    doubles.use(RANKS)
    tests = (chain, every_operation, of_another_rank, small_and_empty, room, arena_is_full, lost, lost_while_it_is_read, lost_with_a_queue,
             restart)
    if len(sys.argv) > 1:
        tests = [t for t in tests if t.__name__ in sys.argv[1:]]
    return doubles.run(tests)


if __name__ == "__main__":
    sys.exit(main())
