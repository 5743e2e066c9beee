#!/usr/bin/python3
"""60-power-lost.py [ROUNDS [SEED]] - the power goes at any moment, and of the files there is what was flushed, now and
then with some of what was not. A server with --durable then has every acknowledged upload with its bytes, every
acknowledged job with the right result, results that were seen unchanged, keys, values, groups."""
import random
import sys
import time

from acknowledged import Clients
from durable import DurableService, Early, EarlyFiles, Power, disk_place
from invariants import database_whole
from service import until

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 10
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(1 << 32)
RUN = "worker.before_run=sleep:%d"
# Where the power goes; None: after so many seconds at most.
POINTS = (None, "store.before_commit=kill@%d", RUN % 150, "store.after_commit=kill@%d", None, "store.flush=kill@%d",
          "sched.before_record=kill@%d", "job.before_ack=kill@%d", "ckpt.before=kill@1", RUN % 30)


def wait_for_end(service, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end and service.process.poll() is None:
        time.sleep(0.005)


def one_round(service, client, power, n, rng):
    point = POINTS[n % len(POINTS)]
    failpoints = point or ""
    if "%d" in failpoints:
        failpoints %= rng.randrange(1, 40)
    early = Early(random.Random(rng.random())) if n % 3 else None
    service.start(failpoints=failpoints)
    client.start(rng)
    wait_for_end(service, rng.uniform(0.05, 0.6))
    if failpoints.startswith("ckpt"):  # a checkpoint comes when nothing else does
        client.idle.set()
        wait_for_end(service, 4)
    service.end_all()
    client.join()
    power.lose(early)
    service.start(failpoints="")
    client.check()
    print("round %d: %s, %s: %d uploads, %d jobs, %d values" % (
        n, failpoints or "any moment", "some early" if early else "as flushed", len(client.uploads), len(client.ledger.jobs),
        len(client.values)), flush=True)
    client.forget()
    service.end_all()
    power.lose()  # once more, while nothing is under way


def grown(service, client, power):
    """The power goes while the arena is made longer: its header may be on the disk before its length."""
    service.options += ["--arena-size", "96M"]
    service.start(failpoints="arena.header=kill", wait=False)
    service.wait_killed()
    power.lose(EarlyFiles("arena"))
    service.start(failpoints="")
    client.check()


def lose_often(place, rounds, rng, apart):
    service = DurableService(place=place, workers=2, arena="64M")
    power = Power(service, apart)
    try:
        with service:
            service.end_all()
            power.lose()
            client = Clients(service)
            for n in range(rounds):
                one_round(service, client, power, n, rng)
            grown(service, client, power)
            with open(service.log_path) as f:
                assert "did not survive" not in f.read(), "tensors were lost"
            # Not its close(): of some jobs and uploads nobody heard that they are there.
            until(lambda: not any(service.metrics()["jobs"][state] for state in ("waiting", "queued", "running")))
            client.ledger.healthy()
            service.stop()
            database_whole(service)
    finally:
        power.close()


def main():
    place = disk_place()
    if not place:
        print("NOTE not run: no directory here is on a disk")
        return
    print("seed %d" % SEED, flush=True)
    rng = random.Random(SEED)
    lose_often(place, 2, rng, apart=True)
    lose_often(place, ROUNDS, rng, apart=False)


main()
