"""acknowledged.py - clients that upload, submit, put, delete, all at once, until the service ends under them; and what must
be there of what was acknowledged, once it is back."""
import json
import random
import threading
import time

from invariants import RESET, Ledger, np

RAW = {"Content-Type": "application/octet-stream"}


class Clients:
    """Of a service with two ranks: what they were told, and what must be there of it."""

    def __init__(self, service):
        self.service, self.ledger = service, Ledger(service)
        self.uploads, self.gone = {}, {}  # id -> bytes; gone: deleted, or about to be
        self.values, self.doubt = {}, {}  # key -> value; doubt: what was sent and not answered
        self.groups, self.seen, self.counts = [], {}, {}
        self.deaf = False  # the machine is off as far as they know: what comes now they never got
        self.problems, self.threads, self.idle = [], [], threading.Event()

    def number(self, what):
        self.counts[what] = self.counts.get(what, -1) + 1
        return self.counts[what]

    def refused(self, answer):
        """Nothing was acknowledged: the arena is full, or the service is about to end; or nobody can have heard it."""
        return answer.status in (503, 507) or self.deaf

    # ---- work, each until the service ends ----

    def upload(self, rng):
        n = rng.choice((1, 100, 4096, 70000, 300000))
        data = rng.randbytes(n)
        answer = self.service.post("/v1/tensors?dtype=uint8&shape=%d" % n, data, RAW)
        if self.refused(answer):
            return
        assert answer.status == 201, answer
        self.uploads[answer.json["tensor"]] = data
        if len(self.uploads) > 40 or len(self.uploads) > 8 and rng.random() < 0.5:
            id_ = rng.choice(list(self.uploads))
            self.gone[id_] = self.uploads.pop(id_)
            answer = self.service.delete("/v1/tensors/" + id_)
            if not self.refused(answer):
                assert answer.status == 204, answer
                self.gone[id_] = None

    def job(self, rng):
        n = self.number("job")
        size = rng.choice((3, 500, 5000))
        answer = self.ledger.sum(n=2, seed=n, size=size, key="k%d" % n, wait=rng.choice((0, 5)))
        if self.refused(answer):
            del self.ledger.requests["k%d" % n]
            self.ledger.jobs.pop(self.ledger.ids.pop("k%d" % n, None), None)
            return
        assert answer.status in (200, 202), answer
        if answer.json["state"] == "succeeded":
            self.seen[answer.json["id"]] = [x["tensor"] for x in answer.json["outputs"]]

    def chain(self, rng):
        one = np.arange(rng.choice((2, 2000)), dtype=np.int32)
        n = self.number("chain")
        key = "chain%d" % n
        lines = [{"op": "all_reduce_sum", "dtype": "int32", "inputs": [{"job": -1} if i else one.tolist(), one.tolist()]}
                 for i in range(4)]
        answer = self.service.post("/v1/jobs:batch?wait=0", "".join(json.dumps(x) + "\n" for x in lines).encode(),
                                   {"Content-Type": "application/x-ndjson", "Idempotency-Key": key})
        if self.refused(answer):
            return
        assert answer.status in (200, 202), answer
        for i, line in enumerate(answer.body.decode().splitlines()):
            document = json.loads(line)
            if "id" not in document:
                assert document["code"] in ("arena_full", "input_failed", "outcome_unknown") or self.deaf, document
                break
            self.ledger.acknowledged(document["id"], None, ("all_reduce_sum", [one * (i + 1), one], "int32", {}))

    def value(self, rng):
        key, value = "v%d" % rng.randrange(20), rng.randrange(1 << 30)
        self.doubt.setdefault(key, [self.values.get(key)]).append(value)
        answer = self.service.request("PUT", "/v1/groups/world/kv/" + key, json.dumps(value), {"Content-Type": "application/json"})
        if self.refused(answer):
            return
        assert answer.status in (200, 201, 204), answer
        self.values[key] = value
        del self.doubt[key]
        if rng.random() < 0.1:
            name = "g%d" % self.number("group")
            answer = self.service.post("/v1/groups", {"name": name, "ranks": [1, 0]})
            if not self.refused(answer):
                assert answer.status == 201, answer
                self.groups.append(name)

    def start(self, rng):
        self.idle.clear()
        self.threads = [threading.Thread(target=self.work, args=(step, rng.random())) for step in
                        (self.upload, self.job, self.chain, self.value, self.upload, self.job)]
        for thread in self.threads:
            thread.start()

    def join(self):
        for thread in self.threads:
            thread.join()

    def work(self, step, seed):
        rng = random.Random(seed)
        try:
            while not self.idle.is_set() and self.service.process is not None and self.service.process.poll() is None:
                step(rng)
                time.sleep(rng.uniform(0, 0.008))
        except RESET:
            pass
        except Exception as e:
            if "has no attribute 'makefile'" in str(e):
                return  # so says a connection that broke while it was written to
            self.problems.append("%s: %r" % (step.__name__, e))

    # ---- and afterwards ----

    def check(self):
        assert not self.problems, self.problems
        get = self.service.get
        for id_, data in self.uploads.items():
            answer = get("/v1/tensors/" + id_, {"Accept": "application/octet-stream"})
            assert answer.status == 200, (id_, answer)
            assert answer.body == data, "upload %s has other bytes" % id_
        for id_, data in self.gone.items():
            answer = get("/v1/tensors/" + id_, {"Accept": "application/octet-stream"})
            assert answer.status == 404 or (data is not None and answer.body == data), (id_, answer)
        for id_, outputs in self.seen.items():
            job = get("/v1/jobs/%s?data=0" % id_).json
            assert job["state"] == "succeeded" and [x["tensor"] for x in job["outputs"]] == outputs, job
        self.ledger.retry()
        self.ledger.finish()
        self.ledger.one_job_a_key()
        for key, value in self.values.items():
            got = get("/v1/groups/world/kv/" + key).json
            assert got in self.doubt.get(key, [value]), (key, got, value)
            self.values[key] = got
        self.doubt.clear()
        names = {group["name"] for group in get("/v1/groups?limit=500").json["groups"]}
        assert set(self.groups) <= names, (self.groups, names)

    def forget(self):
        """Room for the next round, whose tensors then lie where others were; some jobs stay."""
        for id_ in list(self.ledger.jobs)[:-40]:
            assert self.service.delete("/v1/jobs/" + id_).status == 204
            del self.ledger.jobs[id_]
            self.seen.pop(id_, None)
            for key in [k for k, job in self.ledger.ids.items() if job == id_]:
                del self.ledger.ids[key], self.ledger.requests[key]
        for id_, data in list(self.gone.items()):
            if data is not None:
                self.service.delete("/v1/tensors/" + id_)
        self.gone.clear()
