#!/usr/bin/python3
"""--durable taken up, given up, refused: what is where it can survive is there, what is not is 410 tensor_lost, and no
tensor ever has wrong bytes. A flush that fails ends the server before anything is acknowledged."""
import os
import shutil
import subprocess
import sys
import tempfile

from durable import DurableService, EarlyFiles, Power, disk_place
from invariants import RESET, Ledger
from service import BUILD, until

RAW = {"Accept": "application/octet-stream"}
DURABLE = ["--durable"]


def upload(service, text):
    answer = service.post("/v1/tensors?dtype=uint8&shape=%d" % len(text), text, {"Content-Type": "application/octet-stream"})
    assert answer.status == 201, answer
    return answer.json["tensor"]


def expect(service, tensor, text):
    """text None: lost."""
    answer = service.get("/v1/tensors/" + tensor, RAW)
    if text is None:
        assert answer.status == 410 and answer.json["code"] == "tensor_lost", answer
    else:
        assert answer.status == 200 and answer.body == text, answer


def is_durable(service, yes):
    assert service.get("/v1").json["durable"] is yes


def said(service, sentence):
    with open(service.log_path) as f:
        return sentence in f.read()


def refused(place, in_memory):
    """In memory nothing survives, and the sentence says which directory."""
    if in_memory is None:
        return
    for data, arena, word in ((place, in_memory, "--arena-dir"), (in_memory, place, "--data-dir")):
        got = subprocess.run([os.path.join(BUILD, "tutti-server"), "--listen", "127.0.0.1:0", "--workers", "1", "--durable",
                              "--data-dir", data + "/data", "--arena-dir", arena + "/arena", "--arena-size", "4M"],
                             capture_output=True, text=True, timeout=30)
        assert got.returncode == 1 and not got.stdout, got
        assert "--durable: " in got.stderr and word in got.stderr and in_memory in got.stderr, got.stderr


def moved(place):
    """Arenas at their default places: of a start without --durable in memory, with it beside the database."""
    with DurableService(place=place, workers=2, arena="16M") as service:
        with_it, beside = service.options, service.arena_dir
        without, apart = with_it[:-1], tempfile.mkdtemp(dir=service.dir)
        first = upload(service, b"first")
        done = Ledger(service).sum(n=2, wait=20).json
        service.stop()
        for options, arena in ((without, apart), (with_it, beside)):
            service.options, service.arena_dir = options, arena
            service.start()
            is_durable(service, options is with_it)
            expect(service, first, None)
            assert service.get("/v1/jobs/" + done["id"]).json["state"] == "succeeded"
            assert service.get("/v1/jobs/%s/outputs" % done["id"]).status == 410
            second = upload(service, b"second")
            Ledger(service).sum(n=2, wait=20)
            service.kill()
            service.start()
            expect(service, second, b"second")
            service.stop()
            assert said(service, "did not survive")


def taken_up(place):
    """The arena's directory is on a disk all along: what is there when --durable comes is kept, also when the power goes
    at once."""
    service = DurableService(place=place, workers=2, arena="16M")
    power = Power(service)
    try:
        service.options.remove("--durable")
        with service:
            is_durable(service, False)
            tensor = upload(service, b"before" * 2000)
            service.stop()
            service.start(options=DURABLE)
            is_durable(service, True)
            assert said(service, "is durable from now on")
            expect(service, tensor, b"before" * 2000)
            service.end_all()
            power.lose()
            service.start(options=DURABLE)
            expect(service, tensor, b"before" * 2000)
            service.stop()
    finally:
        power.close()


def given_up(place):
    """And the other way round: what was there is kept; but after a loss of power nobody vouches for any of it."""
    service = DurableService(place=place, workers=2, arena="16M")
    power = Power(service)
    try:
        with service:
            tensor = upload(service, b"before" * 2000)
            service.end_all()
            power.lose()
            service.options.remove("--durable")
            service.start()
            assert said(service, "was durable and is no more")
            expect(service, tensor, b"before" * 2000)
            later = upload(service, b"later" * 3000)
            service.end_all()
            power.lose(EarlyFiles("tutti.db", "tutti.db-wal"))  # its row is there, its bytes are not
            service.start(options=DURABLE)
            expect(service, tensor, None)
            expect(service, later, None)
            service.stop()
    finally:
        power.close()


def arena_gone(place):
    for harm in (os.remove, lambda path: os.truncate(path, 8192)):
        with DurableService(place=place, workers=2, arena="16M") as service:
            tensor = upload(service, b"here")
            service.stop()
            service.start(failpoints="worker.before_run=sleep:5000")
            job = Ledger(service).sum(n=2)
            assert job.status == 202, job
            service.end_all()
            harm(service.arena_dir + "/arena")
            service.start(failpoints="")
            expect(service, tensor, None)
            answer = service.get("/v1/jobs/%s?wait=10" % job.json["id"]).json
            assert (answer["state"], answer["error"]["code"]) == ("failed", "inputs_lost"), answer
            tensor = upload(service, b"again")
            service.end_all()
            service.start()
            expect(service, tensor, b"again")


def flush_fails(place):
    with DurableService(place=place, workers=2, arena="16M") as service:
        kept = upload(service, b"kept")
        service.stop()
        service.start(failpoints="store.flush=err:5@1")
        try:
            answer = service.post("/v1/tensors", [1, 2, 3])
            assert answer.status == 503 and answer.json["code"] == "outcome_unknown", answer
        except RESET:
            pass
        assert service.process.wait(30) == 70
        service.process = None
        until(lambda: not [pid for pid in service.workers_seen if os.path.exists("/proc/%d" % pid)], 20)
        service.start(failpoints="")
        expect(service, kept, b"kept")
        assert service.metrics()["tensors"] == 1, "what was not flushed was recorded"
        service.stop()


def memory_place():
    got = subprocess.run(["stat", "-f", "-c", "%T", "/dev/shm"], capture_output=True, text=True)
    return tempfile.mkdtemp(dir="/dev/shm") if got.stdout.strip() == "tmpfs" and os.access("/dev/shm", os.W_OK) else None


def main():
    disk, memory = disk_place(), memory_place()
    place = tempfile.mkdtemp(prefix="tutti-test-", dir=disk) if disk else None
    failed = 0
    cases = [(refused, (place, memory))] + [(case, (place,)) for case in (moved, taken_up, given_up, arena_gone, flush_fails)]
    try:
        if not disk:
            print("NOTE not run: no directory here is on a disk")
            return 0
        for case, arguments in cases:
            try:
                case(*arguments)
            except Exception as e:
                failed += 1
                print("%s: %r" % (case.__name__, e), flush=True)
        print("CASES %d %d" % (len(cases) - failed, failed))
        return failed > 0
    finally:
        for at in (place, memory):
            if at:
                shutil.rmtree(at, ignore_errors=True)


sys.exit(main())
