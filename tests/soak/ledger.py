"""ledger.py - what a client process was promised, and what came of it: counts, findings, a journal for the evidence; and the
checks that a job's end and its bytes must pass."""
import collections
import os
import pickle
import threading
import time

import numpy as np

from door import Finding
import formats
import reference

TERMINAL = ("succeeded", "failed", "cancelled")
MOST_FINDINGS = 20


class Job:
    """A job of ours: what it was sent as, and what it must give."""

    def __init__(self, label, key, op, dtype, want, group, parents=(), exact=True):
        self.label, self.key, self.op, self.dtype, self.want, self.group = label, key, op, dtype, want, group
        self.parents = parents   # jobs whose outputs it takes
        self.any_zero = not exact or op.endswith(("_max", "_min"))
        self.id = None
        self.begun = time.monotonic()
        self.cancel = False      # we asked for it
        self.deleted = False     # we asked for it
        self.state = None
        self.epoch = 0           # of the server that it was read from last
        self.bytes = {}          # rank -> its output's bytes, as they were read first

    def __repr__(self):
        return "%s %s (%s %s)" % (self.label, self.id, self.op, self.dtype)


class Ledger:
    """Of one process; its threads write to it together."""

    def __init__(self, stage, name):
        self.stage, self.name = stage, name
        self.counts = collections.Counter()
        self.findings = []
        self.crashed = []    # (received, finished, attempts, ranks) of jobs whose workers died too often
        self.full = []       # moments at which a job ended for want of room
        self.unheard = 0     # most bytes of uploads that nobody heard an answer to
        self.tops = {}
        self.lock = threading.Lock()
        self.journal = open(os.path.join(stage.place, "journal-%s" % name), "w", buffering=1 << 16)

    def note(self, *words):
        with self.lock:
            self.journal.write("%.3f %s\n" % (time.time(), " ".join(map(str, words))))

    def count(self, what, by=1):
        with self.lock:
            self.counts[what] += by

    def found(self, kind, text):
        self.note("FINDING", kind, text)
        with self.lock:
            self.findings.append((kind, "%.3f %s: %s" % (time.time(), self.name, text)))
        return len(self.findings) < MOST_FINDINGS

    def refused(self, code):
        self.count("refused " + code)

    def close(self):
        self.journal.close()
        with open(os.path.join(self.stage.place, "ledger-%s" % self.name), "wb") as f:
            pickle.dump((self.counts, self.findings, self.crashed, self.full, self.unheard), f)

    # ---- what a job must be ----

    def acknowledged(self, job, id_):
        """It has an id: from here on it may not be lost; and it keeps it."""
        if job.id is None:
            job.id = id_
            self.count("acknowledged")
            self.note("ack", job)
        elif job.id != id_:
            raise Finding("duplicated", "%s is also %s" % (job, id_))

    def ended(self, job, document):
        """May it have ended so? Its outputs are looked at elsewhere."""
        job.state = document["state"]
        self.count(job.state)
        if job.state == "succeeded":
            return
        error = document["error"] or {}
        code = error.get("code")
        self.note(job.state, job, code, error.get("detail"))
        self.count("%s: %s" % (job.state, code))
        if job.state == "cancelled" and job.cancel:
            return
        if code == "worker_crashed" and document["attempts"] >= 3:
            timeline = document["timeline"]
            self.crashed.append((timeline["received_at"], timeline["finished_at"], document["attempts"], job.group, str(job)))
        elif code == "input_failed" and any(p.state in ("failed", "cancelled") or p.cancel for p in job.parents):
            pass
        elif code == "arena_full":
            self.full.append((time.time(), str(job)))
        else:
            raise Finding("lost", "%s ended %s for no reason of ours: %s, attempts %s" %
                          (job, job.state, error, document.get("attempts")))

    def right(self, job, got):
        """Arrays, or None, a rank."""
        for r, (g, w) in enumerate(zip(got, job.want, strict=True)):
            if (g is None) != (w is None) or (w is not None and not reference.same(g, np.asarray(w), job.dtype, job.any_zero)):
                raise Finding("wrong", "%s rank %d\n got %s\nwant %s" % (job, r, show(g), show(w)))

    def same_bytes(self, job, rank, body):
        """Raw bytes of an output: right, and as they were before."""
        want = job.want[rank]
        if job.bytes.setdefault(rank, body) != body:
            raise Finding("wrong", "%s rank %d: other bytes than before" % (job, rank))
        try:
            array = np.frombuffer(body, reference.DTYPES[job.dtype]).reshape(want.shape)
        except ValueError:
            raise Finding("wrong", "%s rank %d: %d bytes" % (job, rank, len(body))) from None
        if not reference.same(array, np.asarray(want), job.dtype, job.any_zero):
            raise Finding("wrong", "%s rank %d\n got %s\nwant %s" % (job, rank, show(array), show(want)))


def show(x):
    return "None" if x is None else "%s %s %s" % (x.dtype, x.shape, str(x.ravel()[:40].tolist()))


def shown(document, dtype):
    """The outputs of a document as arrays; None when it shows no data."""
    rows = document["outputs"]
    if any(row is not None and "data" not in row for row in rows):
        return None
    return [None if row is None else formats.from_json(row["data"], row["shape"], dtype) for row in rows]
