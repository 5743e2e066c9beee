"""invariants.py - what must hold after any fault; every fault test ends with Ledger.close().

The ledger remembers each job that was acknowledged, what it must give, and under which key it was sent.
Then: every acknowledged job is terminal and gives the reference result, the same one each time; one job a key; no upload
is changed or lost; what the arena uses is exactly what is alive, and nothing once all is deleted; metrics say what the
lists say; /healthz answers within a second; no process, descriptor or piece of shared memory is left; the database is
whole.
"""
import contextlib
import datetime
import hashlib
import http.client
import os
import re
import shutil
import sqlite3
import sys
import tempfile
import time

import numpy as np

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [TESTS, os.path.join(TESTS, "conformance")]
import exposition
import formats
import reference
from service import alive, until

RESET = (ConnectionError, http.client.HTTPException, OSError)
ALIGN = 64


@contextlib.contextmanager
def row(*ids):
    """The block proves these rows of matrix.def, and says so."""
    verdict = "FAILED"
    try:
        yield
        verdict = "ok"
    finally:
        for id_ in ids:
            print("row %s %s" % (id_, verdict), flush=True)


class Ledger:
    def __init__(self, service):
        self.service = service
        self.jobs = {}      # id -> (op, inputs, dtype, parameters)
        self.requests = {}  # key -> the arguments of post()
        self.ids = {}       # key -> id
        self.tensors = []   # uploads
        self.sums = {}      # id -> the checksum of what keep() read
        self.results = {}   # id -> the outputs that finish() saw first

    def keep(self, tensor):
        """An upload, whose bytes must stay what they are now. Gives its id again."""
        self.tensors.append(tensor)
        self.sums[tensor] = self.checksum(tensor)
        return tensor

    def checksum(self, tensor):
        answer = self.service.get("/v1/tensors/%s?format=raw" % tensor)
        assert answer.status == 200, (tensor, answer)
        return hashlib.sha256(answer.body).hexdigest()

    def post(self, op, inputs, dtype="int32", key=None, wait=0, group=None, label=None, **parameters):
        """Submits a job; remembers it once it is acknowledged, and its key before. Arrays or None in inputs."""
        if key is not None:
            self.requests[key] = dict(op=op, inputs=inputs, dtype=dtype, group=group, label=label, **parameters)
        body = {"op": op, "dtype": dtype, "inputs": [None if x is None else formats.to_json(x, dtype) for x in inputs],
                **{k: v for k, v in parameters.items()}}
        if group is not None:
            body["group"] = group
        if label or key:
            body["label"] = label or key
        headers = {"Idempotency-Key": key} if key else {}
        answer = self.service.post("/v1/jobs?wait=%s" % wait, body, headers)
        if answer.status in (200, 202):
            self.acknowledged(answer.json["id"], key, (op, inputs, dtype, parameters))
        return answer

    def sum(self, n=4, size=8, seed=0, **more):
        rng = np.random.default_rng(seed)
        return self.post("all_reduce_sum", [rng.integers(-1000, 1000, size, np.int32) for _ in range(n)], **more)

    def acknowledged(self, id_, key, what):
        assert key is None or self.ids.setdefault(key, id_) == id_, "two jobs of key %s" % key
        self.jobs[id_] = what

    def retry(self):
        """Sends every keyed request again, as a client does that got no answer."""
        for key, arguments in list(self.requests.items()):
            answer = self.post(key=key, **arguments)
            assert answer.status in (200, 202), answer

    # ---- what must hold ----

    def finish(self, may_fail=()):
        """Every acknowledged job ends; those in may_fail may fail. Gives {id: document}."""
        documents = {}
        for id_, (op, inputs, dtype, parameters) in self.jobs.items():
            answer = self.service.get("/v1/jobs/%s?wait=60&data=1" % id_)
            assert answer.status == 200, answer
            job = answer.json
            documents[id_] = job
            assert job["state"] in ("succeeded", "failed", "cancelled"), "job %s is %s" % (id_, job["state"])
            assert self.results.setdefault(id_, job["outputs"]) == job["outputs"], "job %s has another result now" % id_
            if id_ in may_fail:
                continue
            assert job["state"] == "succeeded", job
            given = [np.zeros(0) if x is None else x for x in inputs]
            for got, want in zip(job["outputs"], reference.outputs(op, given, dtype, **parameters), strict=True):
                assert (got is None) == (want is None), job
                if want is not None:
                    array = formats.from_json(got["data"], got["shape"], dtype)
                    assert reference.same(array, want, dtype, op.endswith(("max", "min"))), (id_, got, want)
        return documents

    def one_job_a_key(self):
        for key, id_ in self.ids.items():
            rows = self.service.get("/v1/jobs?label=" + key).json["jobs"]
            assert [row["id"] for row in rows] == [id_], "key %s has jobs %s" % (key, rows)

    def healthy(self):
        begun = time.monotonic()
        assert self.service.get("/healthz").status == 200
        assert time.monotonic() - begun < 1, "/healthz is slow"
        workers = self.service.get("/v1/workers").json["workers"]
        pids = sorted(w["pid"] for w in workers)
        assert all(w["state"] in ("ready", "busy") for w in workers), workers
        assert pids == sorted(self.service.worker_pids()), (pids, self.service.worker_pids())
        assert not [p for p in processes_of(self.service) if p not in pids + [self.service.pid]], "a stray process"

    def uploads_unchanged(self):
        for tensor, was in self.sums.items():
            assert self.checksum(tensor) == was, "the bytes of %s have changed" % tensor

    def arena_adds_up(self):
        """Used bytes are exactly those of the extents that the database knows, each once: views share theirs."""
        def look():
            with contextlib.closing(sqlite3.connect("file:%s/tutti.db?mode=ro" % self.service.data_dir, uri=True)) as db:
                rows = db.execute("SELECT DISTINCT extent_offset, extent_bytes FROM tensor WHERE lost = 0").fetchall()
            want = sum(-(-size // ALIGN) * ALIGN for _, size in rows)
            arena = self.service.metrics()["arena"]
            return arena["used_bytes"] == want or (problem.append((arena, want, rows)) and False)

        problem = []
        try:
            until(look, 5)  # what was deleted is freed a moment after its row is
        except AssertionError:
            raise AssertionError("used, and what is alive: %s" % (problem[-1],)) from None

    def metrics_add_up(self):
        """What is unfinished is what the lists say; what ended since the start is in a list, or was deleted."""
        jobs, after = [], ""
        while True:
            page = self.service.get("/v1/jobs?limit=500" + after).json
            jobs += page["jobs"]
            if not page.get("next"):
                break
            after = "&after=" + page["next"]
        counts = self.service.metrics()["jobs"]
        for state in ("waiting", "queued", "running"):
            assert counts[state] == sum(j["state"] == state for j in jobs), (state, counts)
        for state in ("succeeded", "failed", "cancelled"):
            listed = sum(j["state"] == state and self.service.started <= ended_at(j) < time.time() + 60 for j in jobs)
            gone = counts[state] - listed
            assert 0 <= gone <= self.service.jobs_deleted, (state, listed, counts, self.service.jobs_deleted)
        self.exposition_adds_up(counts)

    def exposition_adds_up(self, counts):
        """The same for Prometheus: every histogram in itself, and together with the counters."""
        families = exposition.read(self.service.get("/metrics").body.decode())
        value = lambda name, **labels: families["tutti_" + name].total(**labels)
        for state in ("succeeded", "failed", "cancelled"):
            assert value("jobs_total", state=state) == counts[state], (state, counts)
        for state in ("waiting", "queued", "running"):
            assert value("jobs_unfinished", state=state) == counts[state], (state, counts)
        measured = exposition.series(families["tutti_job_duration_seconds"])
        assert sum(count for _, _, count in measured.values()) == value("jobs_total"), measured
        collective = exposition.series(families["tutti_job_collective_seconds"])
        assert sum(count for _, _, count in collective.values()) == counts["succeeded"], collective
        assert value("calls_waiting") <= counts["waiting"] and (value("ranks_missing") > 0) == (value("calls_waiting") > 0)

    def nothing_held(self):
        """Descriptors are as many as when it could serve first, but for the database's, which every thread opens; shared
        memory is the arena alone."""
        self.service.hang_up()
        was = self.service.descriptors_at_start
        try:
            until(lambda: self.service.descriptors_open() <= was, 5)
        except AssertionError:
            raise AssertionError("descriptors are left: %s" % (self.service.descriptors_open() - was)) from None
        for pid in [self.service.pid] + self.service.worker_pids():
            with open("/proc/%d/maps" % pid) as f:
                shared = {line.split(None, 5)[5].strip() for line in f if re.search(r" (/dev/shm/|/memfd:|/SYSV)", line)}
            shared = [path for path in shared if path != os.path.join(self.service.arena_dir, "arena")]
            assert not shared, "process %d maps %s" % (pid, shared)

    def delete_all(self):
        for id_ in self.jobs:
            answer = self.service.delete("/v1/jobs/" + id_)
            assert answer.status == 204, answer
        for id_ in self.tensors:
            self.service.delete("/v1/tensors/" + id_)
        until(lambda: self.service.arena_used() == 0, 5)
        arena = self.service.metrics()["arena"]
        assert arena["extents"] == 0, arena

    def close(self, may_fail=(), delete=True):
        """All of it, and a stop at the end. Gives the jobs' documents. Without delete what is there is left."""
        until(lambda: self.all_ready(), 60)
        documents = self.finish(may_fail)
        self.one_job_a_key()
        self.healthy()
        self.uploads_unchanged()
        self.metrics_add_up()
        self.arena_adds_up()
        if delete:
            self.delete_all()
        self.nothing_held()
        self.service.stop()
        database_whole(self.service)
        return documents

    def all_ready(self):
        workers = self.service.get("/v1/workers").json["workers"]
        return all(w["state"] in ("ready", "busy") for w in workers)


def ended_at(job):
    return datetime.datetime.fromisoformat(job["timeline"]["finished_at"].replace("Z", "+00:00")).timestamp()


def processes_of(service):
    """Every process whose command line names the service's data directory."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % entry, "rb") as f:
                if service.data_dir.encode() in f.read() and alive(int(entry)):
                    found.append(int(entry))
        except OSError:
            pass
    return found


def database_whole(service):
    """On a copy: whoever closes a database last takes its log away."""
    with tempfile.TemporaryDirectory() as place:
        for name in os.listdir(service.data_dir):
            if name.startswith("tutti.db"):
                shutil.copy(os.path.join(service.data_dir, name), place)
        db = sqlite3.connect(os.path.join(place, "tutti.db"))
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("SELECT count(*) FROM job WHERE state = 'queued'").fetchone() == (0,)
        db.close()
