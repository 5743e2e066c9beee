"""keeper.py - keeps the server up as a supervisor would: whenever it ends it is started again on the same data, and it is
written down how it ended and how long it was gone. What the clients know of it is in Stage."""
import http.client
import multiprocessing.sharedctypes
import os
import signal
import statistics
import threading
import time

from door import DOWN_S, HEADERS, RESET, SLOWER
from service import alive, children

BEFORE, RUN, OVER, SETTLE = range(4)
OUTCOME_UNKNOWN = 70  # it leaves by itself when a commit failed


class Stage:
    """What all processes of the soak see."""

    def __init__(self, seed, place):
        value = multiprocessing.sharedctypes.RawValue
        self.seed, self.place = seed, place
        self.port, self.epoch, self.phase = value("i", 0), value("i", 0), value("i", BEFORE)
        self.dead = value("i", 0)  # it is not started again
        self.groups = {}  # ranks -> a name that stands for them all the time

    def running(self):
        return self.phase.value == RUN

    def stop_if(self, enough):
        if enough and self.running():
            self.phase.value = OVER

    def wait_for(self, phase):
        """Of a process whose parent has not died."""
        parent = os.getppid()
        while self.phase.value < phase and os.getppid() == parent:
            time.sleep(0.02)


class Keeper(threading.Thread):
    def __init__(self, service, stage, found, say):
        super().__init__(daemon=True)
        self.service, self.stage, self.found, self.say = service, stage, found, say
        self.lock = threading.Lock()
        self.failpoints = ""   # of the next start
        self.unasked = 0       # ends that nobody had caused
        self.killed_at = None  # of the signal; a failpoint's is seen a moment later
        self.ending = False
        self.restless = []     # (from, to): starts and stops, when nobody is asked how well it is
        self.recovered = []    # seconds from each end to the first 200 of /readyz
        self.starts = self.kills = self.own_kills = self.left = self.drained = 0
        self.draining = False
        self.workers = set()

    def run(self):
        while not self.stage.dead.value and self.up():
            self.service.process.wait()
            status = self.service.process.returncode
            self.stage.port.value = 0
            if self.ending:
                return
            with self.lock:
                begun, by_us = self.killed_at or time.monotonic(), self.killed_at is not None
                self.killed_at = None
            self.judge(status, by_us)
            self.draining = False
            if self.stage.dead.value:
                return
            self.gone_since = begun
            self.launch()

    def judge(self, status, by_us):
        points = self.service.failpoints
        if status == -signal.SIGKILL and by_us:
            self.kills += 1
        elif status == -signal.SIGKILL and "=kill" in points:
            self.own_kills += 1
            self.say("the server killed itself (%s)" % points)
        elif status == 0 and self.draining:
            self.drained += 1
        elif status == OUTCOME_UNKNOWN and "=err" in points:
            self.left += 1
            self.say("the server left: a commit failed (%s)" % points)
        else:
            self.found("other", "the server ended with status %s, failpoints \"%s\"" % (status, points))
            self.unasked += 1
            if self.unasked == 3:
                self.give_up()

    def give_up(self):
        self.say("the server is given up")
        self.stage.dead.value = 1
        self.stage.stop_if(True)

    def launch(self):
        points, self.failpoints = self.failpoints, ""
        if self.starts:
            self.say("start%s" % (" with " + points if points else ""))
        self.starts += 1
        self.service.start(failpoints=points, wait=False)

    def up(self):
        """Waits until the server that was started answers, or has ended. False: it does neither."""
        end = time.monotonic() + DOWN_S
        while not self.service.ready() or not self.answers():
            if self.service.process.poll() is not None:
                return True
            if time.monotonic() > end:
                self.found("hung", "the server did not come up within %d s" % DOWN_S)
                self.give_up()
                return False
            time.sleep(0.005)
        now = time.monotonic()
        if self.starts > 1:
            self.recovered.append(now - self.gone_since)
            self.restless.append((self.gone_since, now))
        self.workers.update(children(self.service.pid))
        self.stage.epoch.value += 1
        self.stage.port.value = self.service.port
        return True

    def answers(self):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=5 * SLOWER)
            connection.request("GET", "/readyz", headers=HEADERS)
            status = connection.getresponse().status
            connection.close()
            return status == 200
        except RESET:
            return False

    def kill(self, failpoints=""):
        """kill -9; the next start has these failpoints."""
        with self.lock:
            self.failpoints = failpoints
            if self.killed_at is None and self.service.process.poll() is None:
                self.killed_at = time.monotonic()
                self.stage.port.value = 0
                self.service.process.kill()

    def drain(self):
        """SIGTERM: running jobs may finish, and it leaves with 0."""
        with self.lock:
            if self.killed_at is None and self.service.process.poll() is None:
                self.draining = True
                self.restless.append((time.monotonic(), time.monotonic() + 15))
                self.service.process.terminate()

    def wait_up(self, after):
        """Until a server of a later epoch answers."""
        end = time.monotonic() + 2 * DOWN_S
        while (self.stage.epoch.value <= after or not self.stage.port.value) and time.monotonic() < end and not self.stage.dead.value:
            time.sleep(0.01)

    def calm(self, begun, ended):
        """Was nothing started or stopped between these moments, or shortly before?"""
        return not any(a - 1 < ended and begun < b + 1 for a, b in self.restless[-50:]) and self.stage.port.value != 0


class Pulse(threading.Thread):
    """Asks /healthz all the time: within a second, unless the server is being started or stopped. A second in which this
    thread itself had to wait for the machine does not count."""

    def __init__(self, keeper, found):
        super().__init__(daemon=True)
        self.keeper, self.found, self.over, self.took = keeper, found, False, []

    def run(self):
        before = time.monotonic()
        while not self.over:
            time.sleep(0.2)
            begun, port = time.monotonic(), self.keeper.stage.port.value
            late, epoch = begun - before > 0.5, self.keeper.stage.epoch.value
            if port:
                self.ask(begun, port, late, epoch)
            before = time.monotonic()

    def ask(self, begun, port, late, epoch):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20 * SLOWER)
            connection.request("GET", "/healthz", headers=HEADERS)
            status = connection.getresponse().status
            connection.close()
        except RESET as e:
            status = repr(e)
        ended = time.monotonic()
        time.sleep(0.05)  # a kill is noticed a moment later
        if late or epoch != self.keeper.stage.epoch.value or not self.keeper.calm(begun, ended):
            return
        if self.keeper.service.process.poll() is not None:
            return  # it has killed itself, and the keeper has not noticed
        self.took.append(ended - begun)
        if status != 200 or ended - begun > 1 * SLOWER:
            self.found("other", "/healthz: %s after %.2f s" % (status, ended - begun))


def middle(numbers):
    return "median %.2f s, max %.2f s of %d" % (statistics.median(numbers), max(numbers), len(numbers)) if numbers else "none"


def stray(keeper):
    """Worker processes that should have ended with their server, or with their place."""
    now = set(children(keeper.service.pid)) if keeper.service.process else set()
    return [pid for pid in keeper.workers - now if alive(pid) and is_worker(pid)]


def is_worker(pid):
    try:
        with open("/proc/%d/comm" % pid) as f:
            return f.read().startswith("tutti-worker")
    except OSError:
        return False


def descriptors(pid):
    return len(os.listdir("/proc/%d/fd" % pid))
