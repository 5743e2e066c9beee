#!/usr/bin/python3
"""A full arena is a 507 that says what is free and what was asked; the service goes on; freed room is usable again, in
one piece, also after many sizes came and went. A full tmpfs is the same, never a SIGBUS."""
import os
import random
import subprocess
import sys
import tempfile

from invariants import Ledger, row
from service import Service, until

MIB = 1 << 20


def upload(service, size):
    return service.post("/v1/tensors?dtype=uint8&shape=%d" % size, b"\1" * size, {"Content-Type": "application/octet-stream"})


def full(service, ledger, most):
    kept = []
    while True:
        answer = upload(service, MIB)
        if answer.status != 201:
            break
        kept.append(answer.json["tensor"])
        assert len(kept) <= most, "more than the arena holds"
    assert answer.status == 507, answer
    problem = answer.json
    assert problem["code"] == "arena_full" and problem["asked_bytes"] >= MIB, problem
    assert problem["free_bytes"] < MIB or "filesystem" in problem["detail"], problem
    # What needs no room goes on; so does a job whose output finds some.
    assert service.get("/v1").status == 200
    one = service.post("/v1/jobs?wait=20", {"op": "broadcast", "inputs": [{"tensor": kept[0]}] + [None] * 3})
    assert one.status == 200, one
    assert service.delete("/v1/jobs/" + one.json["id"]).status == 204
    for tensor in kept[::2]:
        assert service.delete("/v1/tensors/" + tensor).status == 204
    assert upload(service, 3 * MIB).status == 507, "only holes of 1 MiB should be free"
    assert ledger.sum(wait=20).status == 200
    for tensor in kept[1::2]:
        assert service.delete("/v1/tensors/" + tensor).status == 204
    return len(kept)


def fragments(service, arena):
    """Random sizes come and go; then the largest that is free can be had."""
    draw, live = random.Random(7), []
    for _ in range(1500):
        size = int(2 ** draw.uniform(3, 21.5))
        answer = upload(service, size)
        if answer.status == 201:
            live.append(answer.json["tensor"])
        if answer.status == 507 or draw.random() < 0.45:
            for _ in range(1 if answer.status == 201 else 3):
                if live:
                    service.delete("/v1/tensors/" + live.pop(draw.randrange(len(live))))
    for tensor in live:
        assert service.delete("/v1/tensors/" + tensor).status == 204
    free = service.metrics()["arena"]["free_bytes"]
    answer = upload(service, int(free * 0.95))
    assert answer.status == 201, answer
    assert service.delete("/v1/tensors/" + answer.json["tensor"]).status == 204


with Service(workers=4, arena="16M") as service:
    ledger = Ledger(service)
    with row("F15"):
        count = full(service, ledger, 16)
        assert count >= 14, "%d MiB of 16 could be used" % count
    for id_ in list(ledger.jobs):
        service.delete("/v1/jobs/" + id_)
        del ledger.jobs[id_]
    until(lambda: service.arena_used() == 0, 5)
    with row("F17"):
        fragments(service, 16 * MIB)
        ledger.sum(wait=20)
        ledger.close()

# A small tmpfs behind a large sparse arena, where this process may mount one.
place = tempfile.mkdtemp()
mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12M", "tmpfs", place], capture_output=True).returncode == 0
if not mounted:
    os.rmdir(place)
    print("NOTE no tmpfs could be mounted")
    sys.exit(0)
try:
    with row("F16"), Service(workers=4, arena="64M", options=["--arena-dir", place + "/arena"]) as service:
        real = os.listdir(place + "/arena")
        assert "arena" in real, real
        service.arena_dir, spare = place + "/arena", service.arena_dir
        ledger = Ledger(service)
        full(service, ledger, 12)
        ledger.close()
        service.arena_dir = spare
finally:
    subprocess.run(["umount", place])
    os.rmdir(place)
