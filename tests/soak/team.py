"""team.py - four clients that call each its own rank, each call with a key, until it is heard: all ranks of a step must hear of
the same job and the same end. Barriers, values for all, and values under keys between them."""
import io
import json
import random
import threading
import time

import numpy as np

from door import END_S, Door, Finding, code_of
from keeper import RUN, SETTLE
from ledger import Job
import formats
import pool
import things

JSON = {"Content-Type": "application/json"}
ENDS = ("worker_crashed", "ranks_missing", "inputs_lost")  # of calls around a kill
PAIRS = ("remote_send", "remote_recv")
LONE = ("broadcast", "scatter") + PAIRS


class Step:
    """The i-th thing that all members do: the same for each, from the seed alone."""

    def __init__(self, team, i):
        rng = random.Random("%s/%s/%d" % (team.stage.seed, team.name, i))
        self.group = rng.choice(pool.GROUPS[:3])
        self.path = "/v1/groups/%s" % team.names[tuple(self.group)]
        self.what = rng.choices(("call", "barrier", "bcast", "kv"), (12, 2, 2, 2))[0]
        self.entry = rng.choice([e for e in team.pool.small if e.group == self.group])
        self.value = {"step": i, "x": [rng.random() for _ in range(3)]}
        self.ranks = list(range(len(self.group)))
        if self.what == "call" and self.entry.op in PAIRS:
            self.src, self.dst = self.entry.parameters.get("src", 0), self.entry.parameters.get("dst", 1)
            self.ranks = [self.src, self.dst]
        self.heard = {}  # group rank -> (job id, end)


class Team:
    def __init__(self, stage, ledger, pool_, name):
        self.stage, self.ledger, self.pool, self.name = stage, ledger, pool_, name
        self.names = {tuple(g): "%s-%d" % (name, n) for n, g in enumerate(pool.GROUPS[:3])}
        self.lock = threading.Lock()
        self.steps, self.last, self.furthest = {}, None, 0

    def run(self):
        door = Door(self.stage)
        self.stage.wait_for(RUN)
        for ranks, name in self.names.items():
            answer = door.insist("POST", "/v1/groups", json.dumps({"name": name, "ranks": ranks}).encode(), JSON)
            if answer.status not in (200, 201):
                self.ledger.found("wrong", "group %s: %r" % (name, answer))
        members = [threading.Thread(target=self.member, args=(r,)) for r in range(pool.RANKS)]
        for m in members:
            m.start()
        for m in members:
            m.join()
        self.stage.wait_for(SETTLE)
        for name in self.names.values():
            things.guarded(self, lambda _, name=name: door.insist("DELETE", "/v1/groups/" + name))
        door.close()

    def step(self, i):
        """None: the soak is over. All members end at the same step."""
        with self.lock:
            if self.last is None and not self.stage.running():
                self.last = self.furthest
            if self.last is not None and i > self.last:
                return None
            self.furthest = max(self.furthest, i)
            return self.steps.setdefault(i, Step(self, i))

    def member(self, world_rank):
        me = Member(self, world_rank)
        i = 0
        while True:
            step = self.step(i)
            if step is None:
                break
            if world_rank in step.group and step.group.index(world_rank) in step.ranks:
                things.guarded(me, lambda m, step=step, i=i: m.take_part(step, step.group.index(world_rank), i))
            i += 1
        me.door.close()

    def over(self, step, i, rank, id_, end, door):
        """The last one to hear compares what all have heard."""
        with self.lock:
            step.heard[rank] = (id_, end)
            if len(step.heard) < len(step.ranks):
                return
            del self.steps[i]
        if len(set(step.heard.values())) != 1:
            raise Finding("wrong", "%s step %d, %s %s: its ranks heard %s" % (self.name, i, step.what, step.path, step.heard))
        self.ledger.count("steps of a team")
        self.ledger.count("acknowledged")
        self.ledger.count(end if end == "succeeded" else "calls: " + end)
        self.ledger.note("step", i, id_, end)
        answer = door.insist("DELETE", "/v1/jobs/" + id_)
        if answer.status not in (204, 404):
            raise Finding("wrong", "deleting %s of a team: %r" % (id_, answer))


class Member:
    def __init__(self, team, world_rank):
        self.team, self.stage, self.ledger = team, team.stage, team.ledger
        self.door = Door(team.stage)
        self.name = "%s.%d" % (team.name, world_rank)
        self.rng = random.Random("%s/%s" % (team.stage.seed, self.name))

    def take_part(self, step, rank, i):
        key = "%s-%d-%d" % (self.team.name, i, rank)
        if self.rng.random() < 0.1:
            time.sleep(self.rng.random() * 0.05)
        if step.what == "kv":
            return self.leave_value(step, rank, i)
        if step.what == "call":
            answer, end = self.until_heard(*self.request(step, rank), key)
        elif step.what == "barrier":
            answer, end = self.until_heard("%s/barrier?rank=%d" % (step.path, rank), None, {}, key)
        else:
            body = json.dumps(step.value).encode() if rank == 0 else None
            answer, end = self.until_heard("%s/bcast?rank=%d" % (step.path, rank), body, JSON if body else {}, key)
        if end == "succeeded":
            self.check(step, rank, i, answer)
        id_ = answer.headers.get("tutti-job") or answer.json["job"]
        self.team.over(step, i, rank, id_, end, self.door)

    def request(self, step, rank):
        """Path, body and headers of this rank's call."""
        entry, mine = step.entry, dict(step.entry.parameters)
        op = entry.op
        if op in PAIRS:
            op, mine = ("remote_send", {"dst": step.dst}) if rank == step.src else ("remote_recv", {"src": step.src})
        path = "%s/ranks/%d/calls" % (step.path, rank)
        gives = entry.op not in LONE or rank == entry.parameters.get("src", 0)
        x = entry.inputs[rank]
        if not gives or self.rng.random() < 0.5:
            given = {"input": pool.tensor_json(x, entry.dtype)} if gives else {}
            return path + "?timeout=60", json.dumps({"op": op, **mine, **given}).encode(), JSON
        query = "".join("&%s=%s" % p for p in mine.items())
        return ("%s?timeout=60&op=%s%s&dtype=%s&shape=%s" % (path, op, query, entry.dtype, ",".join(map(str, x.shape))),
                x.tobytes(), {"Content-Type": formats.MEDIA["raw"]})

    def until_heard(self, path, body, headers, key):
        """The same call until its end is heard: (answer, succeeded or the code)."""
        end = time.monotonic() + END_S
        while True:
            wait = self.rng.choice((0, 1, 20, 20))
            answer = self.door.ask("POST", "%s&wait=%s" % (path, wait), body, {**headers, "Idempotency-Key": key}, wait)
            if answer is not None and answer.status == 200:
                return answer, "succeeded"
            code = answer and code_of(answer)
            if code in ENDS:
                return answer, code
            if answer is not None and answer.status != 202:
                self.ledger.refused(code)
                if answer.status not in (429, 503, 507):
                    raise Finding("wrong", "%s %s: %r" % (path, key, answer))
            if time.monotonic() > end:
                raise Finding("hung", "%s %s has not ended, last %s" % (path, key, answer))
            if answer is not None:
                time.sleep(0.01)

    def check(self, step, rank, i, answer):
        if step.what == "bcast" and answer.json["value"] != step.value:
            raise Finding("wrong", "step %d: bcast gave %r" % (i, answer))
        if step.what != "call":
            return
        row, want = answer.json["output"], step.entry.want[rank]
        job = Job("%s step %d" % (self.name, i), None, step.entry.op, step.entry.dtype, [want], step.group)
        self.ledger.right(job, [None if row is None else formats.from_json(row["data"], row["shape"], job.dtype)])

    def leave_value(self, step, rank, i):
        """Rank 0 puts it, the others wait for it; the last of all takes it away."""
        path = "%s/kv/s%d" % (step.path, i)
        if rank == 0:
            answer = self.door.insist("PUT", path, json.dumps(step.value).encode(), JSON)
            if answer.status not in (201, 204):
                raise Finding("wrong", "PUT %s: %r" % (path, answer))
        else:
            end = time.monotonic() + END_S
            while True:
                answer = self.door.insist("GET", path + "?wait=10", wait=10)
                if answer.status == 200:
                    break
                if answer.status != 404 or time.monotonic() > end:
                    raise Finding("lost", "GET %s: %r" % (path, answer))
            if answer.json != step.value:
                raise Finding("wrong", "GET %s: %r" % (path, answer))
        with self.team.lock:
            step.heard[rank] = None
            if len(step.heard) < len(step.ranks):
                return
            del self.team.steps[i]
        self.door.insist("DELETE", path)
        self.ledger.count("keys and values")
