#!/usr/bin/python3
"""lane.py - a client of this machine writes tensors into memory that the ranks map, and reads results from it: nobody can make
it shorter, the results can only be read, what outlives a job is a copy, and every wrong place has its answer."""
import fcntl
import mmap
import os
import subprocess
import sys
import tempfile

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [TESTS, os.path.join(TESTS, "conformance"), os.path.join(TESTS, "fault")]
import numpy as np

import reference
from invariants import Ledger
from lane import Lane, Refused
from service import BUILD, Service, until

SHRINK, GROW, SEAL = 2, 4, 1
MIB = 1 << 20
RANKS = 4
OPS = ("reduce_sum", "broadcast", "all_gather", "reduce_scatter_sum", "all_reduce_sum", "all_reduce_max", "all_reduce_min", "gather",
       "scatter", "all_to_all", "remote_send")


def refused(code, call, *arguments, **more):
    try:
        got = call(*arguments, **more)
    except Refused as error:
        assert error.code == code, (error.code, code)
        return error
    raise AssertionError("%s was to be refused, and gave %r" % (code, got))


def answers(answer, status, code=None):
    assert answer.status == status and (code is None or answer.json["code"] == code), answer
    return answer.json


def hung_up(lane):
    try:
        return lane.socket.recv(1) == b""
    except ConnectionResetError:
        return True


def lines(path):
    """Every line that is none has an answer, and the connection goes on; one that never ends does not."""
    with Lane(path) as lane:
        for text, code in ((b"{", "bad_json"), (b"[1]", "bad_json"), (b"", "empty_body"), (b'{"lane": 2, "open": "inputs", "size_bytes": 1}', "bad_parameter"),
                           (b'{"open": "inputs", "size_bytes": 1}', "missing_parameter"), (b'{"lane": 1}', "missing_parameter"),
                           (b'{"lane": 1, "open": "inputs"}', "missing_parameter"), (b'{"lane": 1, "open": "outputs", "size_bytes": 1}', "bad_parameter"),
                           (b'{"lane": 1, "open": "inputs", "size_bytes": 0}', "bad_parameter"), (b'{"lane": 1, "open": "inputs", "size_bytes": -1}', "bad_parameter"),
                           (b'{"lane": 1, "open": "inputs", "size_bytes": 1e400}', "bad_parameter"), (b'{"lane": 1, "open": "inputs", "size_bytes": 1, "x": 1}', "unknown_parameter"),
                           (b'{"lane": 1, "open": "inputs", "close": "r_01JDDB5T0Z6R3V8QX1M4KCNE7J"}', "missing_parameter"),
                           (b'{"lane": 1, "close": "r_01JDDB5T0Z6R3V8QX1M4KCNE7J"}', "region_unknown"), (b'{"lane": 1, "close": 5}', "region_unknown"),
                           (b'{"lane": 1, "hold": "t_01JDDB5T0Z6R3V8QX1M4KCNE7J"}', "tensor_unknown"), (b'{"lane": 1, "hold": null}', "tensor_unknown"),
                           (b'{"lane": 1, "release": "t_01JDDB5T0Z6R3V8QX1M4KCNE7J"}', "tensor_unknown"), (b'{"lane": 1, "close": "r_01JDDB5T0Z6R3V8QX1M4KCNE7J", "size_bytes": 1}', "missing_parameter"),
                           (b'{"lane": 1, "open": "inputs", "size_bytes": 99999999999999999}', "arena_full"),
                           (b'{"lane": 1, "open": "inputs", "size_bytes": 18446744073709551615}', "parameter_range")):
            doc, fd = lane.line(text + b"\n")
            assert doc["code"] == code and fd is None, (text, doc)
        doc, fd = lane.line(b'{"lane": 1, "open": "inputs", "size_bytes": 5}\n')
        assert doc["size_bytes"] == 2 * MIB and fd is not None, doc
        os.close(fd)
    with Lane(path) as lane:
        doc, _ = lane.line(b"x" * 600)
        assert doc["code"] == "bad_json" and "512" in doc["detail"], doc
        assert hung_up(lane)


def seals(inputs, results):
    """Neither of the two can be made shorter or longer, by whomever; the results not be written."""
    for region in (inputs, results):
        assert fcntl.fcntl(region.fd, fcntl.F_GET_SEALS) == SHRINK | GROW | SEAL
    for size in (0, inputs.size - 4096, inputs.size + 4096):
        try:
            os.ftruncate(inputs.fd, size)
        except PermissionError:
            continue
        raise AssertionError("the region can be %d bytes long" % size)
    for attempt in (lambda: os.write(results.fd, b"x"), lambda: os.ftruncate(results.fd, 0),
                    lambda: mmap.mmap(results.fd, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)):
        try:
            attempt()
        except OSError:
            continue
        raise AssertionError("the results can be written")


def every_operation(service, inputs, results):
    rng = np.random.default_rng(7)
    for op in OPS:
        given = [rng.integers(-9, 9, (8, 12), np.int32) for _ in range(RANKS)]
        places = [inputs.put(x, 64 * 1024 * r) for r, x in enumerate(given)]
        job = answers(service.post("/v1/jobs?wait=30&data=1", {"op": op, "inputs": places, "results": results.id}), 200)
        used = [given[r] for r in range(RANKS)]
        for got, want in zip(job["outputs"], reference.outputs(op, used, "int32"), strict=True):
            assert (got is None) == (want is None), (op, job)
            if want is None:
                continue
            assert got["region"] == results.id and (results.array("int32", want.shape, got["offset"]) == want).all(), (op, got)
            assert got["data"] == want.tolist(), (op, got)
        assert service.delete("/v1/jobs/" + job["id"]).status == 204


def wrong_places(service, lane, inputs, results):
    def post(input_, **more):
        return service.post("/v1/jobs", {"op": "all_reduce_sum", "inputs": [input_] * RANKS, **more})

    good = inputs.names("float32", [4])
    for change, status, code, pointer in (
            ({"offset": 2}, 422, "region_range", "/inputs/0/offset"), ({"offset": -4}, 422, "region_range", "/inputs/0/offset"),
            ({"offset": "0"}, 422, "region_range", "/inputs/0/offset"), ({"offset": inputs.size}, 422, "region_range", "/inputs/0/offset"),
            ({"offset": inputs.size - 12}, 422, "region_range", "/inputs/0/offset"), ({"offset": 2 ** 64 - 4}, 422, "region_range", "/inputs/0/offset"),
            ({"shape": [inputs.size]}, 422, "region_range", "/inputs/0/offset"), ({"shape": [2 ** 62, 8]}, 422, "shape_too_large", None),
            ({"region": "r_01JDDB5T0Z6R3V8QX1M4KCNE7J"}, 404, "region_unknown", "/inputs/0/region"), ({"region": 5}, 404, "region_unknown", "/inputs/0/region"),
            ({"region": results.id}, 404, "region_unknown", "/inputs/0/region"), ({"data": [1]}, 422, "inputs_invalid", "/inputs/0"),
            ({"rank": 0}, 422, "inputs_invalid", "/inputs/0")):
        problem = answers(post({**good, **change}), status, code)
        assert pointer is None or problem["pointer"] == pointer, problem
    answers(post({k: v for k, v in good.items() if k != "shape"}), 422, "inputs_invalid")
    answers(post({"data": [1], "offset": 4}), 422, "inputs_invalid")
    answers(post(good, results=inputs.id), 404, "region_unknown")
    assert answers(post(good, results="r_nothing"), 404, "region_unknown")["pointer"] == "/results"
    # At the end, and of nothing, it is right.
    answers(post({**good, "offset": inputs.size - 16}, wait=10), 200)
    answers(post({**good, "offset": inputs.size, "shape": [0]}, wait=10, results=results.id), 200)
    closed = lane.inputs(MIB)
    lane.close_region(closed)
    answers(post(closed.names("float32", [4])), 404, "region_unknown")


def what_outlives_a_job_is_a_copy(service, inputs):
    """Passed on, kept for a gradient, uploaded: the client may write again once the job has ended."""
    x = np.arange(RANKS * 4, dtype=np.float32).reshape(RANKS, 4)
    places = [inputs.put(x[r], 4096 * r) for r in range(RANKS)]
    passed = answers(service.post("/v1/jobs?wait=10", {"op": "broadcast", "inputs": places}), 200)
    most = answers(service.post("/v1/jobs?wait=10", {"op": "all_reduce_max", "inputs": places}), 200)
    tensor = answers(service.post("/v1/tensors", places[1]), 201)["tensor"]
    for r in range(RANKS):
        inputs.put(np.full(4, 99, np.float32), 4096 * r)
    assert service.get("/v1/jobs/" + passed["id"]).json["outputs"][2]["data"] == [0, 1, 2, 3]
    assert service.get("/v1/tensors/" + tensor).json["data"] == [4, 5, 6, 7]
    gradient = answers(service.post("/v1/jobs/%s/backward?wait=10" % most["id"], {"grads": [[1, 1, 1, 1], None, None, None]}), 200)
    assert [o["data"] for o in gradient["outputs"]] == [[0] * 4] * 3 + [[1] * 4], gradient
    # Truth values are 0 and 1, whatever lies there.
    inputs.put(np.array([0, 1, 2, 255], np.uint8))
    truth = answers(service.post("/v1/jobs?wait=10", {"op": "all_reduce_max", "inputs": [inputs.names("bool", [4])] * RANKS}), 200)
    raw = service.get("/v1/tensors/%s?format=raw" % truth["outputs"][0]["tensor"]).body
    assert raw == b"\0\1\1\1", raw


def calls_take_them(service, inputs):
    import concurrent.futures

    places = [inputs.put(np.full(3, r + 1, np.int32), 512 * r) for r in range(RANKS)]
    with concurrent.futures.ThreadPoolExecutor(RANKS) as pool:
        got = list(pool.map(lambda r: service.post("/v1/groups/world/ranks/%d/calls" % r, {"op": "all_reduce_sum", "input": places[r]}), range(RANKS)))
        service.hang_up()
    assert [answers(a, 200)["output"]["data"] for a in got] == [[10, 10, 10]] * RANKS


def full(service, lane):
    """A results region that is full refuses at once, and what is deleted makes room."""
    small = lane.results(2 * MIB)
    ask = {"op": "all_reduce_sum", "inputs": [{"data": [0.0], "shape": [1]}] * RANKS, "results": small.id}
    inputs = lane.inputs(2 * MIB)
    big = {**ask, "inputs": [inputs.names("float32", [MIB // 4])] * RANKS}
    first = answers(service.post("/v1/jobs?wait=10", big), 200)
    second = answers(service.post("/v1/jobs?wait=10", big), 200)
    jobs = service.metrics()["jobs"]["succeeded"]
    assert "results region" in answers(service.post("/v1/jobs?wait=10", big), 507, "arena_full")["detail"]
    assert service.metrics()["jobs"]["succeeded"] == jobs
    key = {"Idempotency-Key": "again"}
    assert service.delete("/v1/jobs/" + first["id"]).status == 204
    third = until(lambda: (lambda a: a.status == 200 and a.json)(service.post("/v1/jobs?wait=10", big, key)), 5)
    again = answers(service.post("/v1/jobs?wait=10", big, key), 200)
    assert again["id"] == third["id"], (again, third)
    # Others' results stay where they were.
    assert third["outputs"][0]["offset"] == first["outputs"][0]["offset"] != second["outputs"][0]["offset"]
    for job in (second, third):
        service.delete("/v1/jobs/" + job["id"])


def held(service, lane):
    """A tensor that is held keeps its bytes past its name: they are not written over until it is released."""
    region = lane.results(2 * MIB)
    ask = {"op": "all_reduce_sum", "inputs": [{"data": [r] * (MIB // 2), "dtype": "int8"} for r in range(RANKS)], "results": region.id}
    job = answers(service.post("/v1/jobs?wait=10&data=0", ask), 200)
    row = job["outputs"][0]
    got = lane.hold(row["tensor"])
    assert got == {"region": region.id, "offset": row["offset"], "size_bytes": MIB // 2}, got
    with Lane(service.get("/v1").json["lane"]) as other:
        other.inputs(MIB)
        refused("tensor_unknown", other.ask, hold=row["tensor"])
    shown = region.array("int8", [MIB // 2], row["offset"])
    assert service.delete("/v1/jobs/" + job["id"]).status == 204 and service.get("/v1/tensors/" + row["tensor"]).status == 404
    ask["inputs"] = [{"data": [1] * (MIB // 2), "dtype": "int8"}] * RANKS
    offsets = {answers(service.post("/v1/jobs?wait=10&data=0", ask), 200)["outputs"][0]["offset"] for _ in range(3)}
    assert row["offset"] not in offsets and len(offsets) == 3 and (shown == 6).all(), (row, offsets)
    answers(service.post("/v1/jobs?wait=10&data=0", ask), 507, "arena_full")
    lane.release(row["tensor"])
    refused("tensor_unknown", lane.ask, release=row["tensor"])
    assert answers(service.post("/v1/jobs?wait=10&data=0", ask), 200)["outputs"][0]["offset"] == row["offset"]
    refused("tensor_unknown", lane.ask, hold=row["tensor"])
    for listed in service.get("/v1/jobs?limit=4").json["jobs"]:
        service.delete("/v1/jobs/" + listed["id"])


def alone():
    with Service(workers=RANKS, arena="64M", options=("--lane-size", "48M")) as service:
        path = service.get("/v1").json["lane"]
        assert path == os.path.join(service.data_dir, "lane.sock") and os.stat(path).st_mode & 0o777 == 0o600
        ledger = Ledger(service)
        lines(path)
        with Lane(path) as lane:
            inputs, results = lane.inputs(8 * MIB), lane.results(8 * MIB)
            seals(inputs, results)
            every_operation(service, inputs, results)
            wrong_places(service, lane, inputs, results)
            what_outlives_a_job_is_a_copy(service, inputs)
            calls_take_them(service, inputs)
            full(service, lane)
            held(service, lane)
            taken = [lane.inputs(2 * MIB) for _ in range(5)]
            refused("arena_full", lane.inputs, 40 * MIB)
            assert service.metrics()["lane"]["used_bytes"] >= len(taken) * 2 * MIB
        for job in service.get("/v1/jobs?limit=500").json["jobs"]:
            assert service.delete("/v1/jobs/" + job["id"]).status == 204
        until(lambda: service.metrics()["lane"]["regions"] == 0, 10)
        assert service.metrics()["lane"]["used_bytes"] == 0
        service.hang_up()
        until(lambda: not any("memfd:tutti" in open("/proc/%d/maps" % pid).read() for pid in service.worker_pids()), 10)
        ledger.nothing_held()


def crowd():
    """Whoever comes when all places are taken is told so at once, and finds one when somebody has left."""
    with Service(workers=1, arena="1G", options=("--lane-size", "512M")) as service:
        path = service.get("/v1").json["lane"]
        lanes = [Lane(path) for _ in range(128)]
        for lane in lanes:
            lane.inputs(1)
        with Lane(path) as late:
            doc, fd = late.line(b"")
            assert doc["code"] == "overloaded" and fd is None and hung_up(late), doc
        lanes.pop().close()

        def comes_in():
            with Lane(path) as lane:
                try:
                    return lane.inputs(1)
                except (Refused, OSError):
                    return None
        until(comes_in, 5)
        for lane in lanes:
            lane.close()


def accounts():
    """A region is its account's, and counts against its quota."""
    with tempfile.TemporaryDirectory() as place:
        file = os.path.join(place, "tokens")
        tokens = {name: subprocess.check_output([os.path.join(BUILD, "tutti-server"), "--token-file", file, "--new-token", name + ":" + role], text=True).strip()
                  for name, role in (("alice", "user"), ("bob", "user"), ("carol", "read"))}
        with open(file) as f:
            text = f.read()
        with open(file, "w") as f:
            f.write("".join(line + (" arena=8M" if line.startswith("bob") else "") + "\n" for line in text.splitlines()))
        socket = os.path.join(place, "lane")
        with Service(workers=2, options=("--token-file", file, "--lane", socket), environment={"TUTTI_TEST_TOKEN": tokens["alice"]}) as service:
            assert os.stat(socket).st_mode & 0o777 == 0o600
            bearer = {name: {"Authorization": "Bearer " + token} for name, token in tokens.items()}
            for token, code in ((None, "unauthorized"), ("alice.wrong", "unauthorized"), (tokens["carol"], "forbidden")):
                with Lane(socket, token) as lane:
                    refused(code, lane.inputs, MIB)
                    assert hung_up(lane)
            with Lane(socket, tokens["alice"]) as alice, Lane(socket, tokens["bob"]) as bob:
                a, b = alice.inputs(4 * MIB), bob.inputs(6 * MIB)
                refused("quota", bob.inputs, 4 * MIB)
                a.put(np.ones(4, np.float32))
                job = {"op": "all_reduce_sum", "inputs": [a.names("float32", [4])] * 2}
                answers(service.post("/v1/jobs?wait=10", job, bearer["alice"]), 200)
                answers(service.post("/v1/jobs?wait=10", job, bearer["bob"]), 404, "region_unknown")
                answers(service.post("/v1/jobs?wait=10", {**job, "inputs": [b.names("float32", [4])] * 2, "results": alice.results(MIB).id}, bearer["bob"]),
                        404, "region_unknown")
                assert service.get("/v1", bearer["bob"]).json["account"]["arena"]["used"] == 6 * MIB
            until(lambda: service.get("/v1", bearer["bob"]).json["account"]["arena"]["used"] == 0, 5)


def whose_socket_it_is():
    """A living server's is not taken over, a dead one's is, and one that is somebody else's by now is not removed."""
    with tempfile.TemporaryDirectory() as place:
        socket = os.path.join(place, "lane")
        with Service(workers=1, options=("--lane", socket)):
            second = subprocess.run([os.path.join(BUILD, "tutti-server"), "--workers", "1", "--arena-size", "16M", "--listen", "127.0.0.1:0", "--lane", socket,
                                     "--data-dir", os.path.join(place, "data"), "--arena-dir", os.path.join(place, "arena")],
                                    stderr=subprocess.PIPE, text=True, timeout=20)
            assert second.returncode != 0 and "another process listens on " + socket in second.stderr, second
            with Lane(socket) as lane:
                lane.inputs(MIB)
        assert not os.path.exists(socket)
        with Service(workers=1, options=("--lane", socket)) as service:
            service.kill()
            assert os.path.exists(socket)
            service.start()
            with Lane(socket) as lane:
                lane.inputs(MIB)
            os.rename(socket, socket + ".old")
            with open(socket, "w"):
                pass
        assert os.path.isfile(socket)


def closed():
    with Service(workers=2, options=("--lane", "off")) as service:
        assert service.get("/v1").json["lane"] is None and service.metrics()["lane"]["size_bytes"] == 0
        assert not os.path.exists(os.path.join(service.data_dir, "lane.sock"))
        answers(service.post("/v1/jobs", {"op": "all_reduce_sum", "inputs": [{"region": "r_01JDDB5T0Z6R3V8QX1M4KCNE7J", "shape": [1]}] * 2}), 404, "region_unknown")


alone()
crowd()
accounts()
whose_socket_it_is()
closed()
