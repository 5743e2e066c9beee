"""jobs.py - what the soak's clients do with jobs: one of any operation and format, chains, batches, gradients, cancelling."""
import json
import time

import numpy as np

from door import Finding, code_of
from ledger import TERMINAL
import formats
import pool
import reference

FORMATS = ("json", "npy", "safetensors", "raw")
SUMS = ("all_reduce_sum", "all_reduce_max", "reduce_sum", "all_gather", "broadcast")


def group_text(client, group):
    """A list of ranks, or a name that stands for it."""
    name = client.stage.groups.get(tuple(group))
    return name if name and client.rng.random() < 0.5 else ",".join(map(str, group))


def post(client, job, entry, how, out, wait, group=None):
    query, headers, body = entry.request(how)
    path = "/v1/jobs?group=%s%s" % (group or group_text(client, entry.group), query)
    if out != "json":
        headers = {**headers, "Accept": formats.MEDIA[out]}
    return client.submit(job, path, body, headers, wait)


def any_job(client, large=False):
    rng = client.rng
    entry = rng.choice(client.pool.large if large else client.pool.small)
    how = rng.choice(FORMATS[1:] if large else FORMATS)
    wait = rng.choice((0, 5, 10, 20))
    out = "json" if wait == 0 else rng.choice(("json", "json", "safetensors", "raw") if entry.stackable else ("json", "safetensors"))
    job, group = client.job(entry.op, entry.dtype, entry.want, entry.group), group_text(client, entry.group)
    answer = post(client, job, entry, how, out, wait, group)
    if answer is None:
        return
    if job.key and rng.random() < 0.1:  # sent again though it was heard
        again = post(client, job, entry, how, out, 0, group)
        if again is not None and again.status not in (200, 202) and "job" not in again.json:
            raise Finding("wrong", "%s sent again: %r" % (job, again))
    client.settle(job, answer, out)
    client.keep_or_delete(job)


def large(client):
    any_job(client, True)


def several(client):
    """A burst without waits, whose ends are looked for afterwards."""
    made = []
    for _ in range(client.rng.randint(3, 12)):
        entry = client.rng.choice(client.pool.small)
        job = client.job(entry.op, entry.dtype, entry.want, entry.group)
        if post(client, job, entry, client.rng.choice(FORMATS), "json", 0) is not None:
            made.append(job)
    client.rng.shuffle(made)
    for job in made:
        client.settle(job)
        client.keep_or_delete(job)


def follow_up(client, before, id_):
    """A job that takes the first output of another: what it is, and what it must give."""
    rng, dtype = client.rng, before.dtype
    n, x = len(before.group), np.asarray(before.want[0])
    op = rng.choice(SUMS[:3] + (SUMS[3:] if x.ndim else SUMS[4:]))
    others = [x] + [pool.whole(np.random.default_rng(rng.getrandbits(32)), x.shape, dtype) for _ in range(n - 1)]
    place = 0 if op == "broadcast" else rng.randrange(n)
    others[0], others[place] = others[place], others[0]
    rows = [{"job": id_, "rank": 0} if r == place else None if op == "broadcast" else formats.to_json(y, dtype)
            for r, y in enumerate(others)]
    want = reference.outputs(op, others, dtype)
    return op, rows, want


def chain(client):
    """Each takes the output of the one before, which may not have ended."""
    rng = client.rng
    entry = rng.choice(client.pool.chained)
    made = [client.job(entry.op, entry.dtype, entry.want, entry.group)]
    if post(client, made[0], entry, rng.choice(FORMATS), "json", rng.choice((0, 0, 5))) is None:
        return
    for _ in range(rng.randint(1, 5)):
        before = made[-1]
        op, rows, want = follow_up(client, before, before.id)
        body = json.dumps({"op": op, "dtype": before.dtype, "group": list(before.group), "inputs": rows}).encode()
        job = client.job(op, before.dtype, want, before.group, parents=(before,))
        if client.submit(job, "/v1/jobs", body, {"Content-Type": "application/json"}, allowed=("input_failed",)) is None:
            break
        made.append(job)
    for job in made:
        client.settle(job)
    for job in made:
        client.keep_or_delete(job)


def line_of(client, made):
    """A line of a batch: (job, document). Some take the output of the line before."""
    rng = client.rng
    before = made[-1] if made and rng.random() < 0.4 else None
    if before is not None and before.dtype == "int32" and before.want[0] is not None:
        op, rows, want = follow_up(client, before, -1)  # the line before
        job = client.job(op, "int32", want, before.group, False, parents=(before,))
        document = {"op": op, "dtype": "int32", "group": list(before.group), "inputs": rows}
    else:
        entry = rng.choice([e for e in client.pool.chained if e.dtype == "int32"])
        job = client.job(entry.op, entry.dtype, entry.want, entry.group, False)
        document = json.loads(entry.request("json")[2])
        document["group"] = list(entry.group)
    document["label"] = job.label
    return job, document


def lines_heard(client, made, documents):
    """What a batch was answered, the first time or again: a line that is a job stays that job; one that was put off is
    no job yet, and may become one when it is sent again."""
    for job, document in zip(made, documents, strict=True):
        if "id" in document:
            job.state = None
            client.ledger.acknowledged(job, document["id"])
            continue
        client.ledger.refused(document["code"])
        if document["status"] not in (429, 503, 507) and document["code"] != "input_failed":
            raise Finding("wrong", "a line of a batch: %s" % document)
        if job.id is None:
            job.state = "failed"
        elif document["status"] not in (429, 503):
            raise Finding("lost", "%s is refused as a line that comes again: %s" % (job, document))


def batch(client):
    rng, made, lines = client.rng, [], []
    for _ in range(rng.randint(2, 24)):
        job, document = line_of(client, made)
        made.append(job)
        lines.append(json.dumps(document))
    key = client.label(True) if rng.random() < 0.8 else None
    if key:
        for n, job in enumerate(made):  # a label with a k: none may be left that we have not deleted
            old, job.label, job.key = job.label, job.label + "k", key
            lines[n] = lines[n].replace('"%s"' % old, '"%s"' % job.label)
    body = "\n".join(lines).encode()
    wait = rng.choice((0, 10))
    answers = send_batch(client, key, body, wait)
    if answers is None:
        return
    lines_heard(client, made, answers)
    if key and rng.random() < 0.3:
        lines_heard(client, made, send_batch(client, key, body, 0))
    there = [job for job in made if job.id is not None]
    for job in there:
        client.settle(job)
    for job in there:
        client.keep_or_delete(job)


def send_batch(client, key, body, wait):
    """The answer's lines; None: not heard, or refused. With a key it is sent until each line is known to be a job or none."""
    headers = {"Content-Type": "application/x-ndjson", **({"Idempotency-Key": key} if key else {})}
    if not key:
        answer = client.door.ask("POST", "/v1/jobs:batch?wait=%s" % wait, body, headers, wait)
        if answer is None or code_of(answer) == "outcome_unknown":
            client.ledger.count("unheard", body.count(b"\n") + 1)
            return None
        if answer.status in (429, 503, 507):
            client.ledger.refused(code_of(answer))
            return None
    else:
        answer = client.door.insist("POST", "/v1/jobs:batch?wait=%s" % wait, body, headers, wait)
    if answer.status not in (200, 202):
        raise Finding("wrong", "a batch: %r" % answer)
    lines = [json.loads(line) for line in answer.body.splitlines()]
    if key and any(line.get("code") == "outcome_unknown" for line in lines):
        time.sleep(0.05)
        return send_batch(client, key, body, wait)
    return lines


def backward(client):
    rng = client.rng
    entry = rng.choice(client.pool.smooth)
    parent = client.job(entry.op, entry.dtype, entry.want, entry.group)
    if post(client, parent, entry, rng.choice(FORMATS), "json", 10) is None:
        return
    client.settle(parent)
    if parent.state == "succeeded":
        grads, want = pool.gradient_of(entry, np.random.default_rng(rng.getrandbits(32)))
        body = {"grads": [None if g is None else pool.tensor_json(g, entry.dtype) for g in grads]}
        job = client.job(entry.op, entry.dtype, want, entry.group, exact=False)
        answer = client.submit(job, "/v1/jobs/%s/backward" % parent.id, json.dumps(body).encode(),
                               {"Content-Type": "application/json"}, rng.choice((0, 10)))
        if answer is not None:
            client.settle(job)
            client.keep_or_delete(job)
    client.keep_or_delete(parent)


def cancel(client):
    rng = client.rng
    entry = rng.choice(client.pool.large if rng.random() < 0.1 else client.pool.small)
    job = client.job(entry.op, entry.dtype, entry.want, entry.group)
    if post(client, job, entry, "safetensors", "json", 0) is None:
        return
    job.cancel = True
    if rng.random() < 0.5:
        time.sleep(rng.random() * 0.02)
    answer = client.door.insist("POST", "/v1/jobs/%s/cancel" % job.id)
    if answer.status not in (200, 409) or (answer.status == 200 and answer.json["state"] not in TERMINAL):
        raise Finding("lost" if answer.status == 404 else "wrong", "cancelling %s: %r" % (job, answer))
    client.settle(job)
    client.keep_or_delete(job)
