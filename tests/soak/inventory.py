"""inventory.py - after the soak: what is left in the server, what the clients wrote down, and whether one explains the other."""
import collections
import datetime
import os
import pickle
import re
import shutil
import sqlite3
import tempfile
import time

from door import SLOWER, Door, Finding
from invariants import database_whole, processes_of
from keeper import descriptors, middle, stray
from ledger import TERMINAL
from nemesis import PIECE
from service import SANITIZED, SANITIZER, until

KINDS = ("lost", "wrong", "duplicated", "hung", "other")
GONE = re.compile(r"^(\S+) .*rank=(\d+) its worker is gone: (.*)")
ROOM = 12  # descriptors: each HTTP thread opens the database when it first needs it
CRASHES = 3  # runs in which workers died, until a job fails
KILLS_PER_S, JOBS_PER_S = 1 / 6, 28  # a soak that does less than this proves little


class Inventory:
    def __init__(self, soak):
        self.soak, self.keeper, self.service, self.found = soak, soak.keeper, soak.service, soak.found
        self.counts, self.crashed, self.full, self.unheard = collections.Counter(), [], [], soak.nemesis.unheard
        self.checks = len(KINDS)

    def collect(self):
        """What the clients' processes wrote down."""
        for process, name in zip(self.soak.processes, ("c0", "c1", "team"), strict=True):
            path = os.path.join(self.soak.place, "ledger-" + name)
            if not os.path.exists(path):
                self.found("other", "the clients %s wrote no ledger, status %s" % (name, process.exitcode))
                continue
            with open(path, "rb") as f:
                counts, findings, crashed, full, unheard = pickle.load(f)
            self.counts.update(counts)
            self.soak.findings += findings
            self.crashed += crashed
            self.full += full
            self.unheard += unheard

    def take(self, descriptors_before):
        """Each part of it is done, whatever the others find."""
        self.door = Door(self.soak.stage)
        if self.soak.stage.dead.value:
            return
        for part in (self.leftover_jobs, self.arena, lambda: self.whole(descriptors_before), self.no_uploads, self.explain):
            try:
                part()
            except Finding as e:
                self.found(e.kind, e.text)
            except Exception as e:
                self.found("other", "%s: %r" % (getattr(part, "__name__", "descriptors"), e))

    def leftover_jobs(self):
        """Jobs that no client has deleted: those that nobody heard an answer to. They have ended; none of them had a key."""
        left, path = [], "/v1/jobs?limit=500"
        while path:
            page = self.door.insist("GET", path).json
            left += page["jobs"]
            path = page["next"] and "/v1/jobs?limit=500&after=%s" % page["next"]
        for row in left:
            row = self.door.insist("GET", "/v1/jobs/%s?wait=30" % row["id"], wait=30).json
            label = row["label"] or ""
            if row["state"] not in TERMINAL:
                self.found("hung", "job %s %s is %s at the end" % (row["id"], label, row["state"]))
            elif label.endswith("k") and not self.soak.findings:
                self.found("duplicated", "job %s of key %s is left over" % (row["id"], label))
            self.door.insist("DELETE", "/v1/jobs/" + row["id"])
        if len(left) > self.counts["unheard"] and not self.soak.findings:
            self.found("duplicated", "%d jobs are left over, and %d were not heard of" % (len(left), self.counts["unheard"]))
        self.counts["unheard, but done"] = len(left)

    def arena(self):
        """Only what nobody knows of may still be in it."""
        if self.soak.findings:
            return  # clients that stopped in the middle have left things
        try:
            until(lambda: self.metrics()["arena"]["used_bytes"] <= self.unheard, 10 * SLOWER)
        except AssertionError:
            self.found("other", "the arena holds %s, of which %d bytes may be uploads that nobody heard of" %
                       (self.metrics()["arena"], self.unheard))

    def metrics(self):
        return self.door.insist("GET", "/v1/metrics").json

    def whole(self, descriptors_before):
        """Every rank is held, by children of this server and by nobody else; no descriptor is left open."""
        rows = []

        def ready():
            rows[:] = self.door.insist("GET", "/v1/workers").json["workers"]
            return all(w["state"] in ("ready", "busy") for w in rows)

        until(ready, 30 * SLOWER)
        self.door.close()
        pids = sorted(w["pid"] for w in rows)

        def strays():
            return [p for p in processes_of(self.service) if p not in pids + [self.service.pid]] + stray(self.keeper)

        try:
            until(lambda: not strays(), 10 * SLOWER)  # workers of a server that was killed leave by themselves
        except AssertionError:
            self.found("other", "processes: %s are stray" % strays())
        if pids != sorted(self.service.worker_pids()):
            self.found("other", "processes: ranks have %s of %s" % (pids, self.service.worker_pids()))
        try:
            until(lambda: descriptors(self.service.pid) <= descriptors_before + ROOM, 10 * SLOWER)
        except AssertionError:
            self.found("other", "%d descriptors are open, %d were" % (descriptors(self.service.pid), descriptors_before))

    def no_uploads(self):
        """Uploads that nobody heard of are in the database, and nowhere else. When they are deleted, nothing is left."""
        self.keeper.ending = True
        self.soak.stage.port.value = 0
        self.service.stop()
        left = uploads(self.service.data_dir)
        self.service.start(failpoints="")
        self.counts["unheard uploads, but there"] = len(left)
        for id_ in left:
            answer = self.service.delete("/v1/tensors/" + id_)
            if answer.status != 204:
                self.found("lost", "tensor %s, of the database: %r" % (id_, answer))
        if not self.soak.findings:
            until(lambda: self.service.arena_used() == 0, 20 * SLOWER, 0.2)
            arena = self.service.metrics()["arena"]
            if arena["extents"] != 0 or len(left) > self.counts["unheard uploads"] + self.soak.nemesis.unheard // PIECE:
                self.found("other", "after all is deleted: %s; %d uploads were left over" % (arena, len(left)))
        self.service.stop()
        database_whole(self.service)
        with open(self.service.log_path, errors="replace") as f:
            complaint = SANITIZER.search(f.read())
        if complaint:
            self.found("other", "a sanitizer complains: %s" % complaint.group(0))

    def explain(self):
        """Jobs that failed because their workers died, and jobs that had no room, against what the nemesis did."""
        gone = []
        with open(self.service.log_path, errors="replace") as f:
            for line in f:
                match = GONE.search(line)
                if match:
                    gone.append((seconds(match.group(1)), int(match.group(2)), match.group(3)))
        self.counts["worker deaths"] = len(gone)
        for how in {how for _, _, how in gone if "signal 9" not in how}:
            self.found("other", "a worker ended otherwise than by a kill: %s" % how)
        for received, finished, attempts, ranks, job in self.crashed:
            deaths = [g for g in gone if seconds(received) - 1 <= g[0] <= seconds(finished) + 1 and g[1] in ranks]
            if len(deaths) < CRASHES:
                self.found("lost", "%s failed after %d attempts, but only %d of its workers were killed" % (job, attempts, len(deaths)))
        offset = time.time() - time.monotonic()
        for at, job in self.full:
            if not any(a - 5 <= at - offset <= b + 60 * SLOWER for a, b in self.soak.nemesis.starved):
                self.found("lost", "%s had no room, and nobody starved it" % job)

    # ---- what is printed ----

    def report(self):
        """Prints it all. Gives how many kinds of findings there are."""
        counts, nemesis, keeper = self.counts, self.soak.nemesis, self.keeper
        kinds = collections.Counter(kind for kind, _ in self.soak.findings)
        kills = keeper.kills + keeper.own_kills + max(nemesis.worker_kills, counts["worker deaths"])
        seconds_ = self.soak.options.seconds
        print("acknowledged %d: succeeded %d, cancelled %d, failed %d; %d jobs/s" %
              (counts["acknowledged"], counts["succeeded"], counts["cancelled"], counts["failed"], counts["acknowledged"] / seconds_))
        for name in sorted(counts):
            if name.split(":")[0] in ("failed", "calls") or name.startswith(("refused", "unheard", "read again", "tensors", "keys", "steps", "uploads", "streams")):
                print("  %s: %d" % (name, counts[name]))
        print("server: killed %d, killed itself at a failpoint %d, left after a commit that failed %d, drained %d, stopped %d" %
              (keeper.kills, keeper.own_kills, keeper.left, keeper.drained, nemesis.server_stops))
        print("workers: killed %d, died %d (failpoints, too), stopped %d; arena filled %d times" %
              (nemesis.worker_kills, counts["worker deaths"], nemesis.worker_stops, len(nemesis.starved)))
        print("back: server %s; rank %s; /healthz %s" % (middle(keeper.recovered), middle(nemesis.back), middle(self.soak.pulse.took)))
        if kills < KILLS_PER_S * seconds_ and not SANITIZED or counts["acknowledged"] < (0.2 if SANITIZED else JOBS_PER_S) * seconds_:
            kinds["too little"] = 1
            print("too little was done: %d kills, %d jobs" % (kills, counts["acknowledged"]))
        print(", ".join("%s %d" % (kind, kinds[kind]) for kind in KINDS))
        for kind, text in self.soak.findings[:30]:
            print("FOUND %s: %s" % (kind, text))
        print("NOTE %d jobs, %d kills, lost %d, wrong %d, duplicated %d, hung %d" %
              (counts["acknowledged"], kills, kinds["lost"], kinds["wrong"], kinds["duplicated"], kinds["hung"]))
        return len(kinds)


def uploads(data_dir):
    """The ids of tensors that no job has made. Of a copy: whoever closes a database last takes its log away."""
    with tempfile.TemporaryDirectory() as place:
        for name in os.listdir(data_dir):
            if name.startswith("tutti.db"):
                shutil.copy(os.path.join(data_dir, name), place)
        db = sqlite3.connect(os.path.join(place, "tutti.db"))
        rows = db.execute("SELECT id FROM tensor WHERE job = zeroblob(16)").fetchall()
        db.close()
    return [ulid(row[0]) for row in rows]


def ulid(blob):
    number = int.from_bytes(blob, "big")
    return "t_" + "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[number >> 5 * i & 31] for i in reversed(range(26)))


def seconds(text):
    """Of an RFC 3339 time."""
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
