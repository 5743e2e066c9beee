#!/usr/bin/python3
"""Whoever connects as a worker and is none of the server's: a rank that is held stays held, another build is refused with both
versions, garbage ends the link and the process behind it, answers for other jobs, or for runs that are over, change nothing; and the
server takes no memory and no descriptors for it."""
import os
import random
import signal
import subprocess
import time

from invariants import Ledger, np, row
from link import ANY_RANK, FRAMES, HEADER, Worker, encode, hello_of_a_worker
from service import BUILD, SANITIZED, Service, alive, until

RANK = 1  # the one that is not launched by the server


def real_worker(service, rank):
    return subprocess.Popen([os.path.join(BUILD, "tutti-worker"), "--server", "unix:%s/worker.sock" % service.data_dir, "--rank", str(rank),
                             "--backend", "shm", "--device", "cpu"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)


def state(service, rank=RANK):
    return service.get("/v1/workers/%d" % rank).json["state"]


def log_of(service):
    with open(service.log_path, errors="replace") as f:
        return f.read()


def descriptors(service):
    return len(os.listdir("/proc/%d/fd" % service.pid))


def two_of_one_rank(service, first):
    """The second is refused, in words that say who holds it; the first goes on."""
    for rank, words in ((RANK, "rank 1 is held by process %d" % first.pid), (0, "rank 0 belongs to a worker that the server starts itself"),
                        (7, "rank 7 is outside the world of 2 ranks")):
        second = real_worker(service, rank)
        said = second.communicate(timeout=30)[1].decode()
        assert second.returncode not in (0, None) and words in said, (second.returncode, said)
        assert words in log_of(service)
    assert service.get("/v1/workers/1").json["pid"] == first.pid and first.poll() is None
    assert state(service) == "ready" and state(service, 0) == "ready"


def another_build(service, hello):
    """Versions of both are said, to it and in the log."""
    for more in ({"schema_hash": hello["schema_hash"] ^ 1, "version": "9.9.9"}, {"schema_hash": 0, "version": "9.9.9", "rank": ANY_RANK}):
        worker = Worker(service)
        worker.send("hello", **{**hello, **more})
        name, refusal = worker.read()
        assert name == "refuse" and refusal["code"] == "refused", (name, refusal)
        said = refusal["detail"]
        assert "worker 9.9.9 has schema %016x" % more["schema_hash"] in said, said
        assert "server %s has %016x" % (hello["version"], hello["schema_hash"]) in said, said
        assert said in log_of(service)
        assert worker.read() is None, "the link should be closed"
        worker.leave()


def hostile_frames(hello):
    """What ends the link at once: (bytes, what the log says)."""
    draw = random.Random(5)
    beat = encode("heartbeat")
    yield HEADER.pack(8, 77) + bytes(8), "unknown frame type 77"
    yield bytes([255, 255, 255, 255, 99]) + draw.randbytes(60000), "a frame of 4294967295 bytes"
    yield HEADER.pack(0xFFFFFFFF, 1), "a frame of 4294967295 bytes"
    yield HEADER.pack(65536, HEADER.unpack_from(beat)[1]), "a frame of 65536 bytes"
    yield HEADER.pack(len(beat) - HEADER.size + 1, HEADER.unpack_from(beat)[1]) + beat[HEADER.size:] + b"x", "malformed heartbeat frame"
    failed = encode("failed", code="aborted", detail="x")
    yield failed[:-5] + b"\xff\xff\xff\xff" + b"x", "malformed failed frame"
    for name in ("hello", "welcome", "refuse", "join", "leave", "run", "fetch", "drop", "cancel", "stop", "challenge",
                 "auth", "proof", "ready", "region", "region_gone"):
        yield encode(name, **(hello if name == "hello" else {})), "a %s frame, which is not its to send" % name


def garbage(service, hello):
    # Before HELLO: the link is closed, and nothing else happens.
    for data, _ in hostile_frames(hello):
        if data == encode("hello", **hello):
            continue
        worker = Worker(service)
        worker.raw(data)
        got = worker.read()
        assert got is None or got[0] == "refuse", got
        worker.leave()
    # After it: the process is killed, too.
    for data, words in hostile_frames(hello):
        worker = Worker(service)
        worker.join(hello)
        until(lambda: state(service) == "ready", 10)
        seen = len(log_of(service))
        worker.raw(data)
        assert worker.ended() == -signal.SIGKILL, (words, worker.ended(0))
        until(lambda: state(service) == "absent", 10)
        assert words in log_of(service)[seen:], (words, log_of(service)[seen:])


def answers_of_others(service, hello, ledger):
    """DONE and FAILED for every job and attempt that there may be, while rank 0 is at one; words to groups that it is not of."""
    worker = Worker(service)
    worker.join(hello)
    late = service.metrics()["jobs"]["late_answers"]
    slow = ledger.post("all_reduce_max", [np.arange(4, dtype=np.int32)], group=[0]).json["id"]
    until(lambda: service.get("/v1/jobs/" + slow).json["state"] == "running")
    frames = b""
    for epoch in (worker.epoch, worker.epoch - 1, 0):
        for job in range(60):
            for attempt in (0, 1, 2):
                frames += encode("done", epoch=epoch, job=job, attempt=attempt, end_ns=5)
                frames += encode("failed", epoch=epoch, job=job, attempt=attempt, code="worker_failed", detail="\x7f\xc3\xa9")
    for comm in range(40):
        frames += encode("store_put", comm=comm, key="0", value=b"\xff" * 8192)
    frames += encode("fetched", epoch=worker.epoch, tensor=1) + encode("ticket", epoch=1, ticket="x" * 250)
    assert worker.raw(frames)
    until(lambda: service.metrics()["jobs"]["late_answers"] == late + 3 * 60 * 3 * 2)
    assert service.get("/v1/jobs/" + slow).json["state"] == "running"
    assert service.get("/v1/jobs/%s?wait=20" % slow).json["state"] == "succeeded"
    worker.leave()
    until(lambda: state(service) == "absent", 10)


def floods(service, hello):
    """Many connections that say nothing, many frames, many descriptors."""
    silent = [Worker(service) for _ in range(20)]
    worker = Worker(service)
    worker.join(hello)
    for _ in range(20):
        assert worker.raw(encode("heartbeat", epoch=worker.epoch) * 5000)
        assert worker.raw(encode("done", epoch=worker.epoch, job=1 << 60) * 1000)
    open_ = descriptors(service)
    for _ in range(50):
        assert worker.send_fds("heartbeat", epoch=worker.epoch)
    assert service.get("/healthz").status == 200
    until(lambda: descriptors(service) <= open_, 10)
    worker.raw(encode("heartbeat")[:-1])  # a frame that never ends, and so no heartbeat any more
    begun = time.monotonic()
    for s in silent:
        assert s.read()[0] == "refuse" and s.read() is None
        s.leave()
    assert worker.ended(30) == -signal.SIGKILL and time.monotonic() - begun > 5
    until(lambda: state(service) == "absent", 10)


def late_answers(service, hello, ledger):
    """DONE of the first attempt after the second was sent, and DONE of the second twice."""
    worker = Worker(service)
    worker.join(hello)
    late = service.metrics()["jobs"]["late_answers"]
    values = np.array([5, 6], np.int32)
    id_ = ledger.post("remote_send", [values, None], group=[0, RANK]).json["id"]
    _, first = worker.read("run")
    assert first["attempt"] == 1
    os.kill(service.get("/v1/workers/0").json["pid"], signal.SIGKILL)
    assert worker.read("cancel")
    worker.send("failed", epoch=worker.epoch, job=first["job"], attempt=1, code="cancelled", detail="as told")
    _, second = worker.read("run")
    assert (second["job"], second["attempt"]) == (first["job"], 2), second
    worker.send("done", epoch=worker.epoch, job=first["job"], attempt=1)
    until(lambda: service.metrics()["jobs"]["late_answers"] == late + 1, 10)
    until(lambda: state(service, 0) == "ready" and service.get("/v1/workers/0").json["counters"]["jobs_done"] > 0, 20)
    worker.send("heartbeat", epoch=worker.epoch)
    assert service.get("/v1/jobs/" + id_).json["state"] == "running", "the late DONE was taken for one of this attempt"
    for _ in range(2):
        worker.send("done", epoch=worker.epoch, job=first["job"], attempt=2)
    job = service.get("/v1/jobs/%s?wait=20" % id_).json
    assert (job["state"], job["attempts"]) == ("succeeded", 2), job
    until(lambda: service.metrics()["jobs"]["late_answers"] == late + 2, 10)
    worker.leave()
    until(lambda: state(service) == "absent", 10)


service = Service(workers=1, options=["--world", "2"],
                  failpoints="worker.mid_run/all_reduce_max=sleep:1500,worker.mid_run/remote_send=sleep:1000")
service.start(wait=False)
until(lambda: os.path.exists(service.data_dir + "/worker.sock"))
first = real_worker(service, RANK)
try:
    service.wait_ready()
    with service:
        ledger = Ledger(service)
        with row("F26"):
            two_of_one_rank(service, first)
        first.kill()
        first.communicate()
        until(lambda: state(service) == "absent", 10)
        with row("F28"):
            hello, status, words = hello_of_a_worker()
            assert status != 0 and "this is not your server" in words, (status, words)
            another_build(service, hello)
        with row("F27"):
            assert set(FRAMES) == {"hello", "ticket", "heartbeat", "fetched", "done", "failed", "welcome", "refuse", "join", "leave", "run",
                                   "fetch", "drop", "cancel", "stop", "challenge", "auth", "proof", "ready", "carry", "attach", "look", "seen", "store_put",
                                   "region", "region_gone"}, "a frame that this test does not know"
            rss, open_ = service.rss_bytes(), descriptors(service)
            garbage(service, hello)
            answers_of_others(service, hello, ledger)
            floods(service, hello)
            assert ledger.sum(n=1, group=[0], wait=20).status == 200
            growth = service.rss_bytes() - rss
            assert SANITIZED or growth < 4 << 20, "grew by %d bytes" % growth
            until(lambda: descriptors(service) <= open_ + 2, 10)
        with row("F54"):
            late_answers(service, hello, ledger)
        service.stop()
        service.options = ["--workers", "2", "--arena-size", "64M"]
        service.start(failpoints="")
        assert ledger.sum(n=2, seed=3, wait=20).status == 200
        for id_ in [id_ for id_, (op, *_) in ledger.jobs.items() if op == "all_reduce_max"]:  # with its inputs beside its outputs
            assert service.delete("/v1/jobs/" + id_).status == 204
            del ledger.jobs[id_]
        ledger.close()
finally:
    if alive(first.pid) and first.poll() is None:
        first.kill()
