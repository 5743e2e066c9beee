"""things.py - what the soak's clients do beside jobs: tensors, groups, keys and values, event streams, and going away in the
middle of a request."""
import json
import time

import numpy as np

from door import BOUND_S, END_S, Finding, code_of
from keeper import RUN, SETTLE
from ledger import TERMINAL
import formats
import jobs
import pool
import reference

HELD, HELD_S = 12, 200  # uploads that are read again later
JSON = {"Content-Type": "application/json"}


class Upload:
    def __init__(self, id_, dtype, x, epoch):
        self.id, self.dtype, self.x, self.epoch, self.begun = id_, dtype, x, epoch, time.monotonic()


def upload(client, dtype, x):
    """An Upload, or None: refused, or nobody heard."""
    how = client.rng.choice(jobs.FORMATS if x.size < 5000 else jobs.FORMATS[1:])
    query = "?dtype=%s&shape=%s" % (dtype, ",".join(map(str, x.shape))) if how == "raw" else \
        "?dtype=bfloat16" if how == "npy" and dtype == "bfloat16" else ""
    body = json.dumps(pool.tensor_json(x, dtype)).encode() if how == "json" else formats.write_npy(x) if how == "npy" else \
        formats.write_safetensors({"0": x}, dtype) if how == "safetensors" else x.tobytes()
    answer = client.door.ask("POST", "/v1/tensors" + query, body, {"Content-Type": formats.MEDIA[how]})
    if answer is None or code_of(answer) == "outcome_unknown":
        client.ledger.count("unheard uploads")
        with client.ledger.lock:
            client.ledger.unheard += x.nbytes + 64
        return None
    if answer.status in (429, 503, 507):
        client.ledger.refused(code_of(answer))
        return None
    if answer.status != 201:
        raise Finding("wrong", "an upload of %s %s as %s: %r" % (dtype, x.shape, how, answer))
    client.ledger.count("uploads")
    client.ledger.note("upload", answer.json["tensor"])
    return Upload(answer.json["tensor"], dtype, x, client.stage.epoch.value)


def read(client, it):
    """It has the bytes that were sent, however they are read."""
    data, path = it.x.tobytes(), "/v1/tensors/%s?format=raw" % it.id
    if client.rng.random() < 0.3 and len(data) > 8:
        a = client.rng.randrange(len(data) - 4)
        b = client.rng.randrange(a, len(data))
        answer = client.door.insist("GET", path, headers={"Range": "bytes=%d-%d" % (a, b)})
        data, status = data[a:b + 1], 206
    else:
        answer, status = client.door.insist("GET", path), 200
    if answer.status != status:
        raise Finding("lost", "tensor %s: %r" % (it.id, answer))
    if answer.body != data:
        raise Finding("wrong", "tensor %s has other bytes than were sent" % it.id)
    client.ledger.count("tensors read" + (" after a restart" if client.stage.epoch.value != it.epoch else ""))


def tensors(client):
    """Uploads; some jobs on them; most are deleted at once, some are read again later."""
    rng = client.rng
    it = upload(client, *rng.choice(client.pool.tensors))
    if it is None:
        return
    read(client, it)
    if rng.random() < 0.7:
        op, group = rng.choice(("all_gather", "broadcast", "all_reduce_max")), rng.choice(pool.GROUPS)
        op = op if it.x.ndim else "broadcast"
        job = client.job(op, it.dtype, reference.outputs(op, [it.x] * len(group), it.dtype), group)
        body = {"op": op, "group": list(group), "inputs": [{"tensor": it.id}] * len(group)}
        answer = client.submit(job, "/v1/jobs", json.dumps(body).encode(), JSON, rng.choice((0, 10)))
        if answer is not None:
            if rng.random() < 0.3:  # the job keeps its bytes
                client.gone("/v1/tensors/" + it.id)
                it = None
            client.settle(job)
            client.keep_or_delete(job)
    if it is not None and rng.random() < 0.4:
        client.held.append(it)
        if len(client.held) > HELD or client.held[0].begun + HELD_S < time.monotonic():
            let_go(client, client.held.pop(0))
    elif it is not None:
        let_go(client, it)


def let_go(client, it):
    read(client, it)
    client.gone("/v1/tensors/" + it.id)


def groups(client):
    """A group is there from its 201 to its deletion, over restarts."""
    rng = client.rng
    name, ranks = "g-%s" % client.label(False), list(rng.choice(pool.GROUPS))
    body = json.dumps({"name": name, "ranks": ranks}).encode()
    answer = client.door.insist("POST", "/v1/groups", body, JSON)
    if answer.status not in (200, 201):
        raise Finding("wrong", "group %s: %r" % (name, answer))
    entry = rng.choice([e for e in client.pool.small if e.group == ranks])
    job = client.job(entry.op, entry.dtype, entry.want, entry.group)
    query, headers, content = entry.request("json")
    answer = client.submit(job, "/v1/jobs?group=%s%s" % (name, query), content, headers, rng.choice((0, 5)))
    answer = client.door.insist("GET", "/v1/groups/" + name)
    if answer.status != 200 or answer.json["ranks"] != ranks:
        raise Finding("lost", "group %s of %s: %r" % (name, ranks, answer))
    client.gone("/v1/groups/" + name)
    if job.id:
        client.settle(job)
        client.keep_or_delete(job)


def keys(client):
    """The value that was put last, or, where an answer was lost, that or the one before."""
    rng = client.rng
    path, may = "/v1/groups/world/kv/%s" % client.label(False), [None]
    for _ in range(rng.randint(2, 8)):
        what = rng.choice(("put", "put", "get", "get", "pop"))
        if what == "put":
            value = {"n": rng.getrandbits(40), "who": client.name}
            answer = client.door.ask("PUT", path, json.dumps(value).encode(), JSON)
            may = [value] if answer is not None and answer.status in (201, 204) else may + [value]
        else:
            answer = client.door.ask("GET" if what == "get" else "DELETE", path)
            seen = None if answer is None or answer.status == 404 else answer.json if answer.status == 200 else answer
            if answer is not None and answer.status in (200, 404):
                if seen not in may:
                    raise Finding("lost" if seen is None else "wrong", "key %s has %s, and may have %s" % (path, seen, may))
                may = [None if what == "pop" else seen]
            elif what == "pop":
                may = may + [None]
        if answer is not None and answer.status not in (200, 201, 204, 404, 429, 503, 507):
            raise Finding("wrong", "%s %s: %r" % (what, path, answer))
    client.door.insist("DELETE", path)
    client.ledger.count("keys and values")


def events(client):
    """A job is followed to its end, or all that happens for a moment."""
    rng = client.rng
    if rng.random() < 0.3:
        last = None
        for _ in range(2):
            for name, id_, data in client.door.stream("/v1/events", rng.uniform(0.1, 0.6), last):
                last = id_ or last
                if name not in ("job", "worker", "group", "gap", None):
                    raise Finding("wrong", "an event %s %s" % (name, data))
        client.ledger.count("streams")
        return
    entry = rng.choice(client.pool.small)
    job = client.job(entry.op, entry.dtype, entry.want, entry.group)
    if jobs.post(client, job, entry, "json", "json", 0) is None:
        return
    seen = []
    for name, _, data in client.door.stream("/v1/jobs/%s/events" % job.id, BOUND_S):
        if name is None and (not seen or seen[-1]["state"] not in TERMINAL):
            client.ledger.count("streams cut off")  # the server is gone, perhaps by a FIN
        elif name == "job":
            seen.append(data)
    client.ledger.count("streams")
    client.settle(job)
    if seen and seen[-1]["state"] in TERMINAL and seen[-1]["state"] != job.state:
        raise Finding("wrong", "%s: the stream said %s, and it is %s" % (job, seen[-1]["state"], job.state))
    client.keep_or_delete(job)


def rude(client):
    """Gone with a reset: in the middle of an upload, of a job's body, or while it waits."""
    rng = client.rng
    dtype, x = rng.choice(client.pool.tensors)
    how = rng.choice(("upload", "body", "wait", "wait"))
    if how == "upload" and x.size:
        client.door.rude("POST", "/v1/tensors?dtype=%s&shape=%s" % (dtype, ",".join(map(str, x.shape))), x.tobytes(),
                         {"Content-Type": formats.MEDIA["raw"]}, rng.uniform(0, 0.99), rng.random() * 0.05)
        return
    entry = rng.choice(client.pool.small)
    job = client.job(entry.op, entry.dtype, entry.want, entry.group, True)
    query, headers, body = entry.request("safetensors")
    path = "/v1/jobs?group=%s%s&wait=20&label=%s" % (",".join(map(str, entry.group)), query, job.label)
    client.door.rude("POST", path, body, {**headers, "Idempotency-Key": job.key}, 0.7 if how == "body" else 1,
                     rng.random() * 0.02)
    end = time.monotonic() + END_S  # and as someone who comes back
    path = path.replace("wait=20", "wait=5")
    while True:
        answer = client.door.ask("POST", path, body, {**headers, "Idempotency-Key": job.key}, 5)
        if answer is not None and client.heard(job, answer):
            break
        if time.monotonic() > end:
            raise Finding("hung", "%s was never heard of, last %s" % (job, answer))
        if answer is not None and answer.status not in (429, 503, 507):
            raise Finding("wrong", "%s was refused: %r" % (job, answer))
        time.sleep(0.02)
    client.settle(job)
    client.keep_or_delete(job)


SCENARIOS = ((jobs.any_job, 40), (jobs.several, 8), (jobs.chain, 6), (jobs.batch, 6), (jobs.backward, 6), (jobs.cancel, 4),
             (jobs.large, 1), (tensors, 8), (groups, 3), (keys, 4), (events, 3), (rude, 4))


def run(client):
    """Until the soak is over; then everything that is left is read once more and deleted."""
    scenarios, weights = zip(*SCENARIOS)
    client.held = []
    client.stage.wait_for(RUN)
    while client.stage.running():
        guarded(client, client.rng.choices(scenarios, weights)[0])
    client.stage.wait_for(SETTLE)
    for job in client.kept:
        guarded(client, lambda c, job=job: c.part(job))
    for it in client.held:
        guarded(client, lambda c, it=it: let_go(c, it))
    client.door.close()


def guarded(client, scenario):
    """What it finds is written down, and the client goes on."""
    try:
        scenario(client)
    except Finding as e:
        client.stage.stop_if(not client.ledger.found(e.kind, e.text))
    except Exception as e:
        at = e.__traceback__
        while at.tb_next:
            at = at.tb_next
        client.door.close()
        client.stage.stop_if(not client.ledger.found("other", "%r at %s:%d" % (e, at.tb_frame.f_code.co_filename, at.tb_lineno)))
