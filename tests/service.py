"""service.py - a server of the test's own, for tests in Python: start it, ask it, kill it, stop it.

Only the standard library. A `with Service(...) as service:` block ends with a stop that checks what must
hold: status 0 on SIGTERM, no worker process left, nothing in the arena's directory but the arena and its lock,
no complaint of a sanitizer.
"""
import collections
import http.client
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import weakref

from recorded import record

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build"))
SANITIZED = False  # memory means nothing then
if os.path.exists(os.path.join(BUILD, "tutti-server")):
    with open(os.path.join(BUILD, "tutti-server"), "rb") as _program:
        SANITIZED = re.search(rb"__[at]san_init", _program.read()) is not None
SANITIZER = re.compile(r"ERROR: \w*Sanitizer|WARNING: ThreadSanitizer|runtime error:")
PATIENCE_S = 60


class Answer:
    """What a request got: status, headers (lower-case names), body."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return "%d %r" % (self.status, self.body[:500])


def alive(pid):
    """Is it a process that has not exited?"""
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(parent):
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % entry) as f:
                if int(f.read().rpartition(")")[2].split()[1]) == parent:
                    found.append(int(entry))
        except (ValueError, FileNotFoundError, NotADirectoryError, ProcessLookupError):
            pass
    return found


def ended(process, seconds):
    """The status of a process that is about to end; it is killed when it has not by then."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def until(what, seconds=PATIENCE_S, step=0.02):
    """Asks until the answer is true, and gives it; raises when it never is."""
    end = time.monotonic() + seconds
    while True:
        got = what()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError("never came true within %s s" % seconds)
        time.sleep(step)


class Service:
    def __init__(self, workers=4, arena="64M", options=(), failpoints="", descriptors=None, environment=None, prefix=()):
        self.descriptors = descriptors  # how many files it may have open
        self.environment = environment or {}  # beside the test's own
        self.prefix = list(prefix)  # of the command: a program that becomes the server in the end
        self.options = ["--workers", str(workers), "--arena-size", arena, *options]
        self.dir = tempfile.mkdtemp(prefix="tutti-test-")
        self.data_dir = os.path.join(self.dir, "data")
        self.arena_dir = tempfile.mkdtemp(dir=os.environ.get("TUTTI_TEST_SHM") or
                                          ("/dev/shm" if os.access("/dev/shm", os.W_OK) else self.dir))
        self.log_path = os.path.join(self.dir, "log")
        self.failpoints = failpoints
        self.process = None
        self.local = threading.local()
        self.workers_seen = set()
        self.jobs_deleted = 0  # since the start
        self.descriptors_at_start = None
        self.connections = weakref.WeakSet()  # of all threads

    # ---- life ----

    def start(self, failpoints=None, wait=True, options=()):
        """Starts it; with wait until it can serve. None keeps the failpoints of before."""
        if failpoints is not None:
            self.failpoints = failpoints
        environment = {k: v for k, v in os.environ.items()
                       if not k.startswith("TUTTI_") or k.startswith("TUTTI_TEST")}
        environment["TUTTI_FAILPOINTS"] = self.failpoints
        if os.environ.get("TUTTI_TEST_BACKEND") == "gloo":  # nccl is what there is where there are GPUs
            environment["TUTTI_BACKEND"] = "gloo"
        environment.update(self.environment)
        self.local = threading.local()
        self.jobs_deleted, self.descriptors_at_start, self.started = 0, None, time.time()
        self.out_path = os.path.join(self.dir, "out")
        with open(self.out_path, "wb") as out, open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, os.path.join(BUILD, "tutti-server"), "--listen", "127.0.0.1:0", "--data-dir", self.data_dir,
                 "--arena-dir", self.arena_dir, *self.options, *options],
                stdin=subprocess.DEVNULL, stdout=out, stderr=log, env=environment,
                preexec_fn=self.limit if self.descriptors else None)
        if wait:
            self.wait_ready()
        return self

    def limit(self):
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.descriptors, self.descriptors))

    def ready(self):
        with open(self.out_path) as f:
            found = re.search(r"listening on http://([^:\n]+):(\d+)\n", f.read())
        if found:
            self.host, self.port = found.group(1), int(found.group(2))
            if self.descriptors_at_start is None:
                self.descriptors_at_start = self.descriptors_settled()
        return found

    def wait_ready(self):
        def look():
            if self.ready():
                return True
            if self.process.poll() is not None:
                raise AssertionError("the server left with status %d" % self.process.returncode)
            return False

        until(look)
        self.workers_seen.update(self.worker_pids())

    @property
    def pid(self):
        return self.process.pid

    def worker_pids(self):
        return children(self.process.pid)

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def refused(self):
        """Starts it, and it must not: status 1, nothing on stdout. Gives the last line of its log."""
        self.start(wait=False)
        until(lambda: self.process.poll() is not None)
        status, self.process = self.process.returncode, None
        with open(self.out_path) as f:
            assert (status, f.read()) == (1, ""), (status, self.log()[-600:])
        return self.log().splitlines()[-1]

    def stop(self):
        """SIGTERM and what must hold after it."""
        self.workers_seen.update(self.worker_pids())
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(PATIENCE_S)
        self.process = None
        assert status == 0, "the server left with status %d on SIGTERM" % status
        self.check_left()

    def check_left(self):
        left = [pid for pid in self.workers_seen if alive(pid)]
        assert not left, "worker processes %s are left" % left
        assert sorted(os.listdir(self.arena_dir)) == ["arena", "arena.lock", "fence", "workers.pids"], os.listdir(self.arena_dir)

    def kill(self):
        """kill -9; its workers leave by themselves."""
        self.workers_seen.update(self.worker_pids())
        self.process.kill()
        self.wait_killed()

    def wait_killed(self):
        """Waits for a server that kills itself at a failpoint."""
        self.process.wait(PATIENCE_S)
        assert self.process.returncode == -signal.SIGKILL, self.process.returncode
        self.process = None
        until(lambda: not [pid for pid in self.workers_seen if alive(pid)], 10)

    def __enter__(self):
        return self.start() if self.process is None else self

    def __exit__(self, kind, error, trace):
        try:
            if kind is None and self.process is not None:
                self.stop()
            elif self.process is not None:
                self.process.kill()
                self.process.wait()
            with open(self.log_path, errors="replace") as f:
                log = f.read()
            complaint = SANITIZER.search(log)
            if kind is not None or complaint:
                sys.stderr.write("the server's log:\n" + log[-8000:])
            assert kind is not None or not complaint, "a sanitizer complains"
        except BaseException:
            if kind is None:
                with open(self.log_path, errors="replace") as f:
                    sys.stderr.write("the server's log:\n" + f.read()[-8000:])
            raise
        finally:
            shutil.rmtree(self.dir, ignore_errors=True)
            shutil.rmtree(self.arena_dir, ignore_errors=True)

    # ---- requests ----

    def connection(self):
        """This thread's keep-alive connection."""
        if getattr(self.local, "connection", None) is None:
            self.local.connection = http.client.HTTPConnection(self.host, self.port, timeout=120)
            self.connections.add(self.local.connection)
        return self.local.connection

    def request(self, method, path, body=None, headers=None):
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
            headers = {"Content-Type": "application/json", **(headers or {})}
        connection = self.connection()
        try:
            try:
                connection.request(method, path, body, headers or {})
            except (BrokenPipeError, ConnectionResetError):
                pass  # refused before the body: the answer is there all the same
            got = connection.getresponse()
            answer = Answer(got.status, {k.lower(): v for k, v in got.getheaders()}, got.read())
        except Exception:
            connection.close()
            self.local.connection = None
            raise
        if got.will_close:
            connection.close()
            self.local.connection = None
        record(method, path, list((headers or {}).items()), body.encode() if isinstance(body, str) else body,
               got.status, got.getheaders(), answer.body)
        return answer

    def get(self, path, headers=None):
        return self.request("GET", path, None, headers)

    def post(self, path, body=None, headers=None):
        return self.request("POST", path, body, headers)

    def delete(self, path):
        answer = self.request("DELETE", path)
        self.jobs_deleted += answer.status == 204 and path.startswith("/v1/jobs/")
        return answer

    def hang_up(self):
        """Closes every thread's keep-alive connection."""
        for connection in list(self.connections):
            connection.close()
        self.local.connection = None

    def socket(self, timeout=60):
        s = socket.create_connection((self.host, self.port), timeout)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    # ---- what it holds ----

    def metrics(self):
        answer = self.get("/v1/metrics")
        assert answer.status == 200, answer
        return answer.json

    def arena_used(self):
        return self.metrics()["arena"]["used_bytes"]

    def descriptors_settled(self):
        """The same, when two looks agree: one may miss what comes and goes meanwhile."""
        before, now = None, self.descriptors_open()
        while before != now:
            time.sleep(0.02)
            before, now = now, self.descriptors_open()
        return now

    def descriptors_open(self):
        """How many it has of each kind or path, but for the database's files, which every thread opens when it reads."""
        found = collections.Counter()
        for name in os.listdir("/proc/%d/fd" % self.pid):
            try:
                path = os.readlink("/proc/%d/fd/%s" % (self.pid, name))
            except FileNotFoundError:
                continue
            if not path.startswith(os.path.join(self.data_dir, "tutti.db")):
                found[re.sub(r":\[\d+\]$", "", path)] += 1
        return found

    def rss_bytes(self):
        with open("/proc/%d/status" % self.pid) as f:
            return int(re.search(r"RssAnon:\s+(\d+) kB", f.read()).group(1)) * 1024


class Given(Service):
    """A service that somebody else started, and will stop: requests alone."""

    def __init__(self, url):
        at = urllib.parse.urlsplit(url)
        assert at.scheme == "http" and at.hostname and at.path in ("", "/"), "TUTTI_URL=%s: write http://HOST:PORT" % url
        self.host, self.port = at.hostname, at.port or 80
        self.local, self.connections, self.jobs_deleted = threading.local(), weakref.WeakSet(), 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.hang_up()


def service_of_ranks(**more):
    """That of TUTTI_URL, where it is set; else one of the test's own."""
    url = os.environ.get("TUTTI_URL")
    return Given(url) if url else Service(**more)
