#!/usr/bin/python3
"""What a deleted tensor held is never shown again: the arena is filled with a canary and freed, and then nothing that a
client can reach has it: cut uploads, odd sizes and their padding, ranges, empty tensors, outputs of each operation in
each format, of jobs that failed, were cancelled, or had a worker die in the middle."""
import os
import signal

from invariants import Ledger, formats, np
from service import Service, until

CANARY = bytes((0xC5, 0x3A, 0x96, 0x71, 0xE8, 0x0D, 0xB2, 0x4F))
LOOK = 3  # bytes of it in a row, wherever they begin
PIECES = {(CANARY * 2)[at:at + LOOK] for at in range(len(CANARY))}
RAW = {"Content-Type": "application/octet-stream"}
ARENA = 8 << 20


def clean(body, why):
    """The body has no piece of the canary; of JSON, not as numbers either."""
    seen = [piece for piece in PIECES if piece in body]
    text = body.decode("latin-1").replace(" ", "")
    seen += [piece for piece in PIECES if ",".join(map(str, piece)) in text]
    assert not seen, "%s: the canary is seen: %r" % (why, body[:200])


def upload(service, data, shape=None, status=201):
    answer = service.post("/v1/tensors?dtype=uint8&shape=%s" % (len(data) if shape is None else shape), data, RAW)
    assert answer.status == status, answer
    return answer.json.get("tensor")


def fill(service):
    """Every free byte of the arena has been the canary, and is free again."""
    kept = []
    for size in (1 << 20, 64 << 10, 4096, 64):
        while True:
            answer = service.post("/v1/tensors?dtype=uint8&shape=%d" % size, CANARY * (size // 8), RAW)
            if answer.status != 201:
                break
            kept.append(answer.json["tensor"])
    assert answer.status == 507 and answer.json["free_bytes"] < 4096, answer
    for tensor in kept:
        assert service.delete("/v1/tensors/" + tensor).status == 204
    with open(service.arena_dir + "/arena", "rb") as f:  # it is there, or the test would prove nothing
        assert f.read().count(CANARY) > ARENA // 8 * 0.95


def cut_uploads(service):
    """Bodies that end early leave nothing that can be read."""
    head = "POST /v1/tensors%s HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
    whole = formats.write_npy(np.ones(5000, np.uint8))
    for query, media, body in (("?dtype=uint8&shape=5000", "raw", bytes(5000)), ("", "npy", whole),
                               ("", "safetensors", formats.write_safetensors({"x": np.ones(5000, np.uint8)}, "uint8"))):
        for kept in (len(body) // 2, len(body) - 1):
            with service.socket() as s:  # and hangs up in the middle
                s.sendall((head % (query, service.host, service.port, formats.MEDIA[media], len(body))).encode() + body[:kept])
        for short in (body[:-1], iter([body[:kept // 2], body[kept // 2:kept]])):  # the second one in chunks, of no said length
            answer = service.post("/v1/tensors" + query, short, {"Content-Type": formats.MEDIA[media]})
            clean(answer.body, "a short %s" % media)
            if answer.status == 201:
                clean(service.get("/v1/tensors/%s?format=raw" % answer.json["tensor"]).body, "a short %s, accepted" % media)
            assert 400 <= answer.status < 500, answer


def odd_sizes(service):
    """No byte of the padding behind a tensor is reached by any format or range."""
    for size in (1, 7, 63, 65, 130):
        tensor = upload(service, b"\1" * size)
        for form in ("raw", "npy", "safetensors", "json"):
            answer = service.get("/v1/tensors/%s?format=%s" % (tensor, form))
            assert answer.status == 200, answer
            clean(answer.body, "%d bytes as %s" % (size, form))
        for span in ("0-99999", "%d-%d" % (size - 1, size + 63), "-99999"):
            answer = service.get("/v1/tensors/%s?format=raw" % tensor, {"Range": "bytes=" + span})
            assert answer.status == 206 and answer.body == b"\1" * len(answer.body) and len(answer.body) <= size, answer
        answer = service.get("/v1/tensors/%s?format=raw" % tensor, {"Range": "bytes=%d-%d" % (size, size + 7)})
        assert answer.status == 416, answer
        clean(answer.body, "a range behind the end")
        assert service.delete("/v1/tensors/" + tensor).status == 204


def empty(service):
    answer = service.post("/v1/tensors", formats.write_npy(np.zeros((0, 3), np.uint8)), {"Content-Type": formats.MEDIA["npy"]})
    assert answer.status == 201, answer
    tensor = answer.json["tensor"]
    for form in ("raw", "npy", "safetensors", "json"):
        for headers in ({}, {"Range": "bytes=0-63"}):
            answer = service.get("/v1/tensors/%s?format=%s" % (tensor, form), headers)
            clean(answer.body, "an empty tensor as " + form)
    assert service.delete("/v1/tensors/" + tensor).status == 204
    job = service.post("/v1/jobs?wait=10&dtype=uint8", {"op": "all_gather", "inputs": [[], []]})
    assert job.status == 200, job
    clean(job.body, "a job on empty tensors")
    service.delete("/v1/jobs/" + job.json["id"])


def outputs(service):
    """Of each operation, in each format, of sizes that fill no cache line."""
    for op in [op["name"] for op in service.get("/v1").json["ops"]]:
        if op == "barrier":
            continue
        rows = [np.full(6, 1 + r, np.uint8).tolist() for r in range(2)]
        for dtype, inputs in (("uint8", rows), ("float32", rows), ("uint8", [rows[0], None])):  # one of them it takes
            answer = service.post("/v1/jobs?wait=20&dtype=" + dtype, {"op": op, "inputs": inputs})
            if answer.status == 200:
                break
        assert answer.status == 200, (op, answer)
        clean(answer.body, op)
        for output in answer.json["outputs"]:
            for form in ("raw", "npy", "safetensors", "json") if output else ():
                got = service.get("/v1/tensors/%s?format=%s" % (output["tensor"], form))
                assert got.status == 200, got
                clean(got.body, "an output of %s as %s" % (op, form))
        assert service.delete("/v1/jobs/" + answer.json["id"]).status == 204


def reach(service, job, why):
    """Whatever a client can ask of a job and its outputs."""
    paths = ["/v1/jobs/%s%s" % (job, rest) for rest in ("", "?data=1", "/outputs", "/outputs?format=npy", "/outputs/0",
                                                        "/outputs/0?format=raw", "/outputs/1?format=raw")]
    document = service.get(paths[0]).json
    paths += ["/v1/tensors/%s?format=raw" % o["tensor"] for o in document.get("outputs") or [] if o]
    for path in paths:
        clean(service.get(path).body, "%s: %s" % (why, path))


def unfinished(service):
    """Jobs whose outputs have been allocated and are half written, or not at all."""
    given = [np.ones(3 << 10, np.uint8).tolist()] * 2
    slow = service.post("/v1/jobs?dtype=uint8", {"op": "all_gather", "inputs": given}).json["id"]
    until(lambda: service.get("/v1/jobs/" + slow).json["state"] == "running", 20)
    reach(service, slow, "a running job")
    assert service.post("/v1/jobs/%s/cancel" % slow, "").status in (200, 202)
    until(lambda: service.get("/v1/jobs/" + slow).json["state"] not in ("queued", "running"), 20)
    reach(service, slow, "a cancelled job")
    assert service.delete("/v1/jobs/" + slow).status == 204


with Service(workers=2, arena="8M") as service:
    fill(service)
    for part in (odd_sizes, empty, outputs, cut_uploads):
        part(service)
    service.stop()

    # A job that is slow, and cancelled; then one whose worker dies in the middle, and which is run again.
    service.start(failpoints="worker.mid_run=sleep:1500")
    fill(service)
    unfinished(service)
    ledger = Ledger(service)
    answer = ledger.post("all_gather", [np.ones(5000, np.uint8)] * 2, dtype="uint8")
    assert answer.status == 202, answer
    until(lambda: service.get("/v1/jobs/%s" % answer.json["id"]).json["state"] == "running", 20)
    os.kill(service.get("/v1/workers/1").json["pid"], signal.SIGKILL)
    ledger.finish()
    reach(service, answer.json["id"], "a job that was run again")
    assert service.delete("/v1/jobs/" + answer.json["id"]).status == 204
    service.stop()

    # One that kills its workers each time, and so fails for good, with its outputs allocated.
    service.start(failpoints="worker.mid_run=kill")
    fill(service)
    answer = service.post("/v1/jobs?wait=60&dtype=uint8", {"op": "all_gather", "inputs": [[1] * 3000] * 2})
    assert answer.status == 500, answer
    clean(answer.body, "the answer of a job that failed")
    reach(service, answer.json["job"], "a job that failed")
    service.stop()
