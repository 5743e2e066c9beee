"""nemesis.py - kills, stops, slows and starves, at random instants from a random stream of its own."""
import os
import random
import signal
import threading
import time

from door import HEADERS, RESET, SLOWER, Door, Finding
from service import SANITIZED

# name, and how late its n-th passage may be chosen; recovery is passed within a start. A worker lives for a few jobs: else
# its rank is back later and later, and the server is not up before every rank is.
WORKER_JOBS = 5
KILLS = (("store.before_commit", 300), ("store.after_commit", 300), ("job.before_ack", 200), ("sched.before_run", 200),
         ("sched.after_run", 200), ("sched.before_record", 300), ("ckpt.before", 3), ("ckpt.after", 3),
         ("recover.tensors", 5), ("recover.groups", 3), ("recover.jobs", 20), ("recover.calls", 2),
         ("worker.before_run", 300), ("worker.mid_run", 300), ("worker.before_done", 300), ("worker.after_done", 300))
SLOWS = (("worker.before_run", 20), ("worker.mid_run", 20), ("worker.before_done", 10), ("store.before_commit", 30),
         ("store.after_commit", 20), ("sched.before_record", 10), ("job.before_ack", 5), ("sched.after_run", 10))
FAILS = ("store.before_commit=err:28", "store.before_commit=err:5", "store.commit_err=err:5")  # a full disk, a broken one
PIECE = 4 << 20


class Nemesis:
    def __init__(self, keeper, seed, say, found):
        self.keeper, self.stage, self.say, self.found = keeper, keeper.stage, say, found
        self.rng = random.Random("%s/nemesis" % seed)
        self.door = Door(self.stage)
        self.worker_kills = self.worker_stops = self.server_stops = 0
        self.back = []      # seconds from a worker's death to its rank's being ready
        self.starved = []   # (from, to)
        self.threads = []
        self.unheard = 0    # most bytes of uploads that nobody heard an answer to

    def run(self, until):
        """Things happen about every second, whatever the machine's pace."""
        steps = ((self.kill_server, 26), (self.kill_worker, 36), (self.stop_worker, 7), (self.stop_server, 4), (self.drain_server, 2),
                 (self.kill_at_a_point, 14), (self.slow, 4), (self.fail_a_commit, 3), (self.starve, 3), (self.crowd, 2),
                 (self.read_slowly, 2))
        what, weights = zip(*steps)
        while time.monotonic() < until and self.stage.running():
            time.sleep(min(self.rng.expovariate(1 / (2.5 if SANITIZED else 1.1)), 10))
            try:
                self.rng.choices(what, weights)[0]()
            except Finding as e:
                self.found(e.kind, "the nemesis: " + e.text)
                return
        for thread in self.threads:
            thread.join(30)
        self.door.close()

    # ---- the server ----

    def kill_server(self, points=""):
        epoch = self.stage.epoch.value
        self.say("kill -9 the server")
        self.keeper.kill(points)
        if self.rng.random() < 0.15:  # once more, while it comes up
            time.sleep(self.rng.random() * 0.3)
            self.say("kill -9 the server again")
            self.keeper.kill(points)
        self.keeper.wait_up(epoch)

    def kill_at_a_point(self):
        points = []
        for name, last in self.rng.sample(KILLS, self.rng.choice((1, 1, 2))):
            n = int(last ** self.rng.random()) if last > 20 else self.rng.randint(1, last)
            points.append("%s=kill@%d" % (name, n + WORKER_JOBS * name.startswith("worker.")))
        self.kill_server(",".join(points))

    def slow(self):
        name, most = self.rng.choice(SLOWS)
        self.kill_server("%s=sleep:%d" % (name, self.rng.randint(1, most)))

    def fail_a_commit(self):
        self.kill_server("%s@%d" % (self.rng.choice(FAILS), self.rng.randint(1, 200)))

    def drain_server(self):
        epoch = self.stage.epoch.value
        self.say("SIGTERM to the server")
        self.keeper.drain()
        self.keeper.wait_up(epoch)

    def stop_server(self):
        seconds = self.rng.uniform(0.1, 3)
        self.say("stop the server for %.1f s" % seconds)
        self.server_stops += 1
        self.pause(self.keeper.service.pid, seconds, True)

    def pause(self, pid, seconds, server=False):
        begun = time.monotonic()
        if server:
            self.keeper.restless.append((begun, begun + seconds + 1))
        try:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(seconds)
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass

    # ---- a worker ----

    def a_worker(self):
        """Rank and process of one that is there, by the server's word; (None, None): not now."""
        answer = self.door.ask("GET", "/v1/workers")
        rows = [w for w in answer.json["workers"] if w["pid"] and w["state"] in ("ready", "busy")] if answer and answer.status == 200 else []
        row = self.rng.choice(rows) if rows else {"rank": None, "pid": None}
        return row["rank"], row["pid"]

    def kill_worker(self):
        rank, pid = self.a_worker()
        if pid is None:
            return
        self.say("kill -9 the worker of rank %d" % rank)
        begun, epoch = time.monotonic(), self.stage.epoch.value
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.worker_kills += 1
        self.threads = [t for t in self.threads if t.is_alive()]
        self.threads.append(threading.Thread(target=self.watch_back, args=(rank, pid, begun, epoch)))
        self.threads[-1].start()

    def watch_back(self, rank, pid, begun, epoch):
        """Until the rank is held by another; given up when the server, or that one, is killed meanwhile."""
        door = Door(self.stage)
        try:
            while self.stage.epoch.value == epoch and self.stage.port.value and self.stage.running():
                answer = door.ask("GET", "/v1/workers/%d" % rank)
                if answer and answer.status == 200 and answer.json["pid"] not in (pid, None) and answer.json["state"] in ("ready", "busy"):
                    self.back.append(time.monotonic() - begun)
                    break
                if time.monotonic() - begun > 30 * SLOWER:
                    raise Finding("hung", "rank %d is not back after 30 s: %r" % (rank, answer))
                time.sleep(0.02)
        except Finding as e:
            self.found(e.kind, e.text)
        door.close()

    def stop_worker(self):
        rank, pid = self.a_worker()
        if pid is None:
            return
        seconds = self.rng.uniform(0.1, 3)
        self.say("stop the worker of rank %d for %.1f s" % (rank, seconds))
        self.worker_stops += 1
        thread = threading.Thread(target=self.pause, args=(pid, seconds))
        self.threads.append(thread)  # other things happen meanwhile
        thread.start()

    # ---- hunger ----

    def upload(self, body):
        answer = self.door.ask("POST", "/v1/tensors?dtype=uint8&shape=%d" % len(body), body,
                               {"Content-Type": "application/octet-stream"})
        self.unheard += (answer is None or answer.status == 503) * (len(body) + 64)
        return answer

    def starve(self):
        """Fills the arena, holds it for a while, gives it back."""
        begun, held, body = time.monotonic(), [], os.urandom(PIECE)
        for _ in range(64):
            answer = self.upload(body)
            if answer is None or answer.status != 201:
                break
            held.append(answer.json["tensor"])
        self.say("starve: took %d MiB, then %s" % (len(held) * PIECE >> 20, answer))
        time.sleep(self.rng.uniform(0.2, 1.5))
        for id_ in held:
            got = self.door.insist("GET", "/v1/tensors/%s?format=raw" % id_) if id_ == held[0] else None
            if got is not None and (got.status != 200 or got.body != body):
                raise Finding("lost" if got.status != 200 else "wrong", "tensor %s of the nemesis: %r" % (id_, got))
            self.door.insist("DELETE", "/v1/tensors/" + id_)
        self.starved.append((begun, time.monotonic()))

    def crowd(self):
        """Holds many idle connections."""
        held = []
        self.say("hold 300 idle connections")
        try:
            for _ in range(300):
                held.append(self.door.fresh())
        except RESET:
            pass
        time.sleep(self.rng.uniform(0.2, 1))
        for connection in held:
            connection.close()

    def read_slowly(self):
        """Asks for megabytes, reads a little, and leaves."""
        answer = self.upload(bytes(PIECE))
        if answer is None or answer.status != 201:
            return
        path, held = "/v1/tensors/%s" % answer.json["tensor"], []
        self.say("read slowly")
        try:
            for _ in range(4):
                held.append(self.door.fresh())
                held[-1].request("GET", path + "?format=raw", headers=HEADERS)
            for _ in range(10):
                for connection in held:
                    connection.sock.recv(1000)
                time.sleep(self.rng.uniform(0.05, 0.2))
        except RESET:
            pass
        self.door.insist("DELETE", path)
        for connection in held:
            connection.close()
