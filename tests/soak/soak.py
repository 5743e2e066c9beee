#!/usr/bin/python3
"""soak.py [--seconds 60] [--seed 1] [--verbose] - random clients and a nemesis on one server, for as long as is asked for; then
everything that was acknowledged is there, is right, is there once, and nothing hangs or is left over.

A failing run leaves its evidence (logs, journals) in a directory that it prints."""
import argparse
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import time

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__))]
import pool as pools
from client import Client
from door import END_S, SLOWER, Door, Finding
from inventory import Inventory
from keeper import OVER, RUN, SETTLE, Keeper, Pulse, Stage, descriptors
from ledger import Ledger
from nemesis import Nemesis
from service import BUILD, Service
from team import Team
import things

PROCESSES, THREADS = 2, 6
ARENA, RETAIN_S = "64M", 600  # uploads that nobody heard an answer to go by themselves


def clients(stage, pool, name):
    """One process of independent clients."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ledger = Ledger(stage, name)
    threads = [threading.Thread(target=things.run, args=(Client(stage, ledger, pool, "%s.%d" % (name, n)),)) for n in range(THREADS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    ledger.close()


def team(stage, pool, name):
    """Four that call, each its own rank."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ledger = Ledger(stage, name)
    Team(stage, ledger, pool, name).run()
    ledger.close()


class Soak:
    def __init__(self, options):
        self.options, self.begun = options, time.monotonic()
        self.place = tempfile.mkdtemp(prefix="soak-", dir=BUILD)
        self.stage = Stage(options.seed, self.place)
        self.stage.groups = {tuple(g): "soak-%d" % n for n, g in enumerate(pools.GROUPS)}
        self.findings, self.processes = [], []
        self.steps = open(os.path.join(self.place, "steps"), "w", buffering=1)
        self.service = Service(workers=pools.RANKS, arena=ARENA, options=["--retain", str(RETAIN_S)])
        self.keeper = Keeper(self.service, self.stage, self.found, self.say)
        self.nemesis = Nemesis(self.keeper, options.seed, self.say, self.found)
        self.pulse = Pulse(self.keeper, self.found)

    def say(self, text):
        line = "%8.3f %.3f %s" % (time.monotonic() - self.begun, time.time(), text)
        self.steps.write(line + "\n")
        if self.options.verbose:
            print(line, flush=True)

    def found(self, kind, text):
        self.say("FINDING %s: %s" % (kind, text))
        self.findings.append((kind, "%.3f main: %s" % (time.time(), text)))

    def run(self):
        """Clients are processes that were forked before there was a thread."""
        pool = pools.Pool(self.options.seed)
        fork = multiprocessing.get_context("fork")
        whom = [(clients, "c%d" % n) for n in range(PROCESSES)] + [(team, "team")]
        self.processes = [fork.Process(target=target, args=(self.stage, pool, name)) for target, name in whom]
        for process in self.processes:
            process.start()
        self.keeper.launch()
        self.keeper.start()
        door = Door(self.stage)
        for ranks, name in self.stage.groups.items():
            body = json.dumps({"name": name, "ranks": ranks}).encode()
            assert door.insist("POST", "/v1/groups", body, {"Content-Type": "application/json"}).status == 201
        door.close()
        self.pulse.start()
        self.stage.phase.value = RUN
        self.nemesis.run(time.monotonic() + self.options.seconds)
        self.stage.stop_if(True)
        self.settle()

    def settle(self):
        """One more kill; then the clients look at all that they have, and delete it."""
        self.say("the nemesis rests")
        epoch = self.stage.epoch.value
        self.keeper.kill()
        self.keeper.wait_up(epoch)
        before = 0 if self.stage.dead.value else descriptors(self.service.pid)
        self.stage.phase.value = SETTLE
        end = time.monotonic() + 2 * END_S
        for process in self.processes:
            process.join(max(0, end - time.monotonic()))
            if process.is_alive():
                self.found("hung", "a process of clients did not end")
        self.pulse.over = True
        self.pulse.join()
        self.say("the clients are done")
        inventory = Inventory(self)
        inventory.collect()
        inventory.take(before)
        self.inventory = inventory

    def close(self):
        """Nobody is left, whatever happened."""
        self.keeper.ending = True
        for process in self.processes:
            if process.is_alive():
                process.kill()
            process.join()
        if self.keeper.is_alive():
            self.stage.dead.value = 1
            self.service.process.kill()
            self.keeper.join(10)
        if self.service.process is not None:
            self.service.process.kill()
            self.service.process.wait()


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--verbose", action="store_true")
    return parser.parse_args()


def stopped(*_):
    """Whoever stops it says so once or twice: the first time counts."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(143)


def main(options):
    print("soak: %g seconds, seed %d" % (options.seconds, options.seed), flush=True)
    signal.signal(signal.SIGTERM, stopped)
    soak, failed = Soak(options), 1
    try:
        soak.run()
        failed = soak.inventory.report()
    except Finding as e:
        soak.found(e.kind, e.text)
        print("FOUND %s: %s" % (e.kind, e.text))
    finally:
        soak.close()
        soak.steps.close()
        if failed:
            shutil.copytree(soak.service.dir, os.path.join(soak.place, "server"), dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.sock"))
            print("evidence: %s" % soak.place)
        else:
            shutil.rmtree(soak.place)
        shutil.rmtree(soak.service.dir, ignore_errors=True)
        shutil.rmtree(soak.service.arena_dir, ignore_errors=True)
    passed = soak.inventory.checks - failed if hasattr(soak, "inventory") else 0
    print("CASES %d %d\n%d passed, %d failed" % (passed, failed, passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(arguments()))
