#!/usr/bin/python3
"""60-malloc-fails.py [SEED|all] - for a request of each type the n-th allocation from its beginning finds no memory, for many n, or all: it is
answered right, or refused with 503, or its connection ends, or the server leaves as one that cannot know; never with a crash or a wrong
answer. Afterwards nothing is held, and it works."""
import io
import json
import mmap
import os
import random
import struct
import sys
import tempfile

from invariants import RESET, Ledger, np, row
from preload import preload
from service import SANITIZED, Service, until

if SANITIZED:
    print("NOTE skipped: a sanitizer has its own malloc")
    sys.exit(0)
SEED = sys.argv[1] if len(sys.argv) > 1 else "1"
DRAW = None if SEED == "all" else random.Random(int(SEED))
RANDOM = 6     # further n, beside the first few and powers of 1.5
LEAVES = (70,) # what it may leave with
REFUSED = {"not found": 404, "bad JSON": 400}  # what is refused anyway
NPY, RAW = "application/x-npy", "application/octet-stream"
LINES = "".join(json.dumps({"op": "all_reduce_sum", "dtype": "int32", "inputs": [[n], [2]]}) + "\n" for n in range(3))


class Memory:
    """The countdown that the server counts."""

    def __init__(self):
        self.home = tempfile.TemporaryDirectory()
        self.file = tempfile.NamedTemporaryFile(dir=self.home.name)
        self.file.write(bytes(16))
        self.file.flush()
        self.page = mmap.mmap(self.file.fileno(), 16)

    def fail_at(self, n):
        self.page[:8] = struct.pack("q", n)

    @property
    def left(self):
        return struct.unpack("q", self.page[:8])[0]

    @property
    def count(self):
        return struct.unpack("q", self.page[8:16])[0]


def npy(array):
    f = io.BytesIO()
    np.save(f, array)
    return f.getvalue()


class Requests:
    """Each type: the request, and what its answer must be when it is one of success."""

    def __init__(self, service):
        self.service = service
        self.made = 0
        self.document = service.get("/openapi.yaml").body
        post = service.post
        self.tensor = post("/v1/tensors", [1, 2, 3]).json["tensor"]
        self.job = post("/v1/jobs?wait=20", {"op": "all_reduce_max", "inputs": [[1, 9], [5, 2]]}).json["id"]
        assert service.post("/v1/groups", {"name": "two", "ranks": [1, 0]}).status == 201
        assert service.request("PUT", "/v1/groups/world/kv/k", [7]).status in (200, 201)

    def types(self):
        def data(want):
            return lambda a: [o and o["data"] for o in a.json["outputs"]] == want

        def job(inputs, want, op="all_reduce_sum", query=""):
            return ("POST", "/v1/jobs?wait=20" + query, {"op": op, "dtype": "int32", "inputs": inputs}, None, data(want))

        stack = np.array([[1, 2], [3, 4]], np.int32)
        sums = [[4, 6], [4, 6]]
        return {
            "job, JSON": job([[1, 2], [3, 4]], sums),
            "job, a key": (*job([[1, 2], [3, 4]], sums)[:3], {"Idempotency-Key": "k%d"}, data(sums)),
            "job, npy": ("POST", "/v1/jobs?op=all_reduce_sum&wait=20", npy(stack), {"Content-Type": NPY}, data(sums)),
            "job, raw to npy": ("POST", "/v1/jobs?op=all_gather&wait=20&dtype=int32&shape=2,2", stack.tobytes(),
                                {"Content-Type": RAW, "Accept": NPY}, lambda a: a.body.endswith(stack.tobytes())),
            "job, a tensor": ("POST", "/v1/jobs?wait=20", {"op": "broadcast", "inputs": [{"tensor": self.tensor}, None]}, None,
                              data([[1, 2, 3]] * 2)),
            "jobs in lines": ("POST", "/v1/jobs:batch?wait=20", LINES.encode(), {"Content-Type": "application/x-ndjson"}, self.lines),
            "backward": ("POST", "/v1/jobs/%s/backward?wait=20" % self.job, {"grads": [[1, 1], [1, 1]]}, None,
                         data([[0, 2], [2, 0]])),
            "tensor, JSON": ("POST", "/v1/tensors", [[1.5, 2]], None, self.there),
            "tensor, npy": ("POST", "/v1/tensors", npy(stack), {"Content-Type": NPY}, self.there),
            "tensor, raw": ("POST", "/v1/tensors?dtype=int32&shape=2,2", stack.tobytes(), {"Content-Type": RAW}, self.there),
            "read a tensor": ("GET", "/v1/tensors/" + self.tensor, None, None, lambda a: a.json["data"] == [1, 2, 3]),
            "read npy": ("GET", "/v1/tensors/%s?format=npy" % self.tensor, None, None,
                         lambda a: np.load(io.BytesIO(a.body)).tolist() == [1, 2, 3]),
            "read safetensors": ("GET", "/v1/tensors/%s?format=safetensors" % self.tensor, None, None,
                                 lambda a: a.body.endswith(np.array([1, 2, 3], np.float32).tobytes())),
            "read a job": ("GET", "/v1/jobs/%s" % self.job, None, None, data([[5, 9]] * 2)),
            "read outputs": ("GET", "/v1/jobs/%s/outputs" % self.job, None, None, data([[5, 9]] * 2)),
            "list": ("GET", "/v1/jobs?limit=5", None, None, lambda a: len(a.json["jobs"]) >= 1),
            "groups": ("GET", "/v1/groups", None, None, lambda a: "two" in [g["name"] for g in a.json["groups"]]),
            "a group": ("POST", "/v1/groups", {"name": "g%d", "ranks": [1]}, None, lambda a: a.json["ranks"] == [1]),
            "a key": ("PUT", "/v1/groups/world/kv/k", [7], None, None),
            "read a key": ("GET", "/v1/groups/world/kv/k", None, None, lambda a: a.json == [7]),
            "call": ("POST", "/v1/groups/one/ranks/0/calls?wait=20", {"op": "all_reduce_sum", "input": [3]}, None,
                     lambda a: a.json["output"]["data"] == [3]),
            "workers": ("GET", "/v1/workers", None, None, lambda a: len(a.json["workers"]) == 2),
            "metrics": ("GET", "/v1/metrics", None, None, lambda a: a.json["workers"]["world_size"] == 2),
            "the API": ("GET", "/openapi.yaml", None, None, lambda a: a.body == self.document),
            "not found": ("GET", "/v1/tensors/t_01ARZ3NDEKTSV4RRFFQ69G5FAV", None, None, None),
            "bad JSON": ("POST", "/v1/jobs", b"{", {"Content-Type": "application/json"}, None),
        }

    def there(self, answer):
        return self.service.get("/v1/tensors/" + answer.json["tensor"]).status == 200

    def lines(self, answer):
        jobs = [json.loads(line) for line in answer.body.decode().splitlines()]
        assert all("id" in j or j["code"] == "no_memory" for j in jobs), jobs
        return all(j["outputs"][0]["data"] == [n + 2] for n, j in enumerate(jobs) if j.get("state") == "succeeded")

    def send(self, request):
        method, path, body, headers, _ = request
        self.made += 1
        text = str(self.made)
        if isinstance(body, dict) and body.get("name") == "g%d":
            body = {**body, "name": "g" + text}
        if headers and "Idempotency-Key" in headers:
            headers = {"Idempotency-Key": "k" + text}
        return self.service.request(method, path, body, headers)


def attempt(service, memory, requests, name, request, n):
    """One request, with a failure at the n-th allocation. Returns whether it came to that."""
    memory.fail_at(n)
    try:
        answer = requests.send(request)
    except RESET:
        answer = None
    reached, _ = memory.left == 0, memory.fail_at(0)
    if service.process.poll() is not None:
        status = service.process.returncode
        assert status in LEAVES, "%s, allocation %d: the server left with %d" % (name, n, status)
        service.process = None
        service.start()
    elif answer is not None and answer.status < 300:
        assert request[4] is None or request[4](answer), "%s, allocation %d: %s" % (name, n, answer)
    elif answer is not None and answer.status != REFUSED.get(name):
        assert answer.status in (500, 503) and b"memory" in answer.body.lower(), "%s, allocation %d: %s" % (name, n, answer)
    return reached


def allocations(total):
    """Which of them fail: the first ones, then ever fewer, and some by chance."""
    if DRAW is None:
        return range(1, total + 3)
    chosen, n = set(range(1, 9)), 9.0
    while n <= total + 5:
        chosen.add(int(n))
        n *= 1.5
    chosen.update(DRAW.randint(1, max(1, total)) for _ in range(RANDOM))
    return sorted(chosen)


memory = Memory()
# The sandbox lets the server write where its socket is, and so the library.
with row("F36"), Service(workers=2, options=["--worker-listen", "unix:%s/worker.sock" % memory.home.name], environment=preload("malloc_fails", TUTTI_TEST_MALLOC=memory.file.name)) as service:
    ledger = Ledger(service)
    requests = Requests(service)
    ledger.keep(requests.tensor)
    assert service.post("/v1/groups", {"name": "one", "ranks": [0]}).status == 201
    attempts = reached = 0
    for name, request in requests.types().items():
        for _ in range(2):
            before = memory.count
            answer = requests.send(request)
            assert answer.status < 300 if name not in REFUSED else answer.status == REFUSED[name], (name, answer)
            assert request[4] is None or request[4](answer), (name, answer)
        for n in allocations(memory.count - before):
            reached += attempt(service, memory, requests, name, request, n)
            attempts += 1
        assert service.post("/v1/jobs?wait=20", {"op": "all_reduce_sum", "inputs": [[1], [2]]}).json["outputs"][0]["data"] == [3], name
    print("NOTE %d requests, %d of them met a failure" % (attempts, reached))
    assert reached > attempts // 3

    # Whatever came to be goes again: with it all that was held.
    until(lambda: service.metrics()["jobs"]["queued"] + service.metrics()["jobs"]["running"] == 0)
    while jobs := [j for j in service.get("/v1/jobs?limit=500").json["jobs"] if j["state"] != "waiting"]:
        for job in jobs:
            assert service.delete("/v1/jobs/" + job["id"]).status in (204, 404)
    ledger.sum(n=2, wait=20)
    ledger.close(delete=False)
