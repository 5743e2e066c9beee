"""durable.py - servers with --durable, and what a loss of power leaves of their files."""
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [TESTS]
from service import BUILD, SANITIZED, Service, alive, until

PAGE = 4096


def disk_place():
    """A directory whose files are not in memory; None: there is none here."""
    for place in (tempfile.gettempdir(), "/var/tmp", BUILD):
        got = subprocess.run(["stat", "-f", "-c", "%T", place], capture_output=True, text=True)
        if got.returncode == 0 and got.stdout.strip() not in ("tmpfs", "ramfs") and os.access(place, os.W_OK):
            return place
    return None


class DurableService(Service):
    """With --durable, its arena beside its database. place: a directory for it, on a disk."""

    def __init__(self, place=None, **more):
        super().__init__(**more)
        shutil.rmtree(self.arena_dir)
        if place:
            shutil.rmtree(self.dir)
            self.dir = tempfile.mkdtemp(prefix="tutti-test-", dir=place)
            self.data_dir = os.path.join(self.dir, "data")
            self.log_path = os.path.join(self.dir, "log")
        self.arena_dir = self.data_dir
        self.options.append("--durable")

    def check_left(self):
        left = [pid for pid in self.workers_seen if alive(pid)]
        assert not left, "worker processes %s are left" % left
        assert {"arena", "arena.lock"} <= set(os.listdir(self.arena_dir)), os.listdir(self.arena_dir)

    def end_all(self):
        """Server and workers end at the same moment, as far as a signal can do that."""
        if self.process is None:
            return
        workers = self.worker_pids()
        self.workers_seen.update(workers)
        for pid in [self.process.pid, *workers]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        self.process = None
        until(lambda: not [pid for pid in self.workers_seen if alive(pid)], 20)


class Early:
    """What a disk has sooner than it must."""

    def __init__(self, rng):
        self.rng = rng

    def some(self):
        return self.rng.random() < 0.5

    def page_of(self, _name):
        """Says of each page of a file, one after the other, whether it is there."""
        share = self.rng.choice((0, 0.1, 0.5, 0.9, 1))
        return lambda: self.rng.random() < share


class EarlyFiles(Early):
    """Every page of the files that are named so, and none of the others."""

    def __init__(self, *names):
        super().__init__(None)
        self.names = names

    def some(self):
        return True

    def page_of(self, name):
        return lambda: name in self.names


class Power:
    """What is surely on the disk, of a service with power.c preloaded."""

    def __init__(self, service, apart=False):
        """apart: the arena has a directory of its own."""
        self.service = service
        self.home = tempfile.mkdtemp(prefix="tutti-power-", dir=os.path.dirname(service.dir))
        library = os.path.join(self.home, "power.so")
        subprocess.run([os.environ.get("CC", "gcc"), "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared",
                        "-D_GNU_SOURCE", "-o", library, os.path.join(TESTS, "fault", "power.c"), "-pthread"], check=True)
        self.library = ctypes.CDLL(library)
        # Only the directory of the data is watched: the test's log lies beside it.
        self.root = os.path.realpath(service.dir) + "/watched"
        # The sandbox lets the server write where its socket is, and so the library.
        service.options += ["--worker-listen", "unix:%s/worker.sock" % self.home]
        os.mkdir(self.root, 0o700)
        service.data_dir = self.root + "/state/data"
        service.arena_dir = self.root + "/tensors/here" if apart else service.data_dir
        self.disk, self.boot, self.boots = os.path.join(self.home, "disk"), os.path.join(self.home, "boot_id"), 0
        service.environment.update(LD_PRELOAD=library, POWER_ROOT=self.root, POWER_DISK=self.disk, POWER_BOOT=self.boot)
        if SANITIZED:
            service.environment["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        self.new_boot()

    def close(self):
        shutil.rmtree(self.home, ignore_errors=True)

    def new_boot(self):
        """What is there now is on the disk; another boot id."""
        shutil.rmtree(self.disk, ignore_errors=True)
        os.mkdir(self.disk)
        self.boots += 1
        with open(self.boot, "w") as f:
            f.write("00000000-0000-4000-8000-%012d\n" % self.boots)

    def key(self, path):
        got = ctypes.create_string_buffer(64)
        kind = self.library.power_key(path.encode(), got)
        return (chr(kind), got.value.decode()) if kind else None

    def lose(self, early=None):
        """After end_all: the files become what was flushed; and of what was not, what early (an Early) picks."""
        old = self.root + ".old"
        root = self.key(self.root)
        os.rename(self.root, old)
        os.mkdir(self.root, 0o700)
        self.restore(root[1], old, self.root, early)
        shutil.rmtree(old)
        self.new_boot()

    def names(self, key):
        """name -> (type, key) of a directory as it is on the disk; nothing, when it never was flushed."""
        try:
            with open(os.path.join(self.disk, "d-" + key)) as f:
                return {name: (kind, k) for kind, k, name in (line.rstrip("\n").split(" ", 2) for line in f)}
        except FileNotFoundError:
            return {}

    def restore(self, key, live, to, early):
        there = self.names(key)
        if early and live:
            now = {name: self.key(os.path.join(live, name)) for name in os.listdir(live)}
            for name in sorted(set(there) | set(now)):
                if there.get(name) != now.get(name) and early.some():
                    there[name] = now.get(name)
        for name, what in there.items():
            path = os.path.join(live, name) if live else None
            same = path if path and self.key(path) == what else None
            if what and what[0] == "d":
                os.mkdir(os.path.join(to, name), 0o700)
                self.restore(what[1], same, os.path.join(to, name), early)
            elif what and what[0] == "f":
                self.restore_file(what[1], same, os.path.join(to, name), early)

    def restore_file(self, key, live, to, early):
        flushed = os.path.join(self.disk, "f-" + key)
        with open(os.open(to, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "r+b") as out:
            if os.path.exists(flushed):
                with open(flushed, "rb") as f:
                    shutil.copyfileobj(f, out)
            size = out.tell()
            if not early or not live:
                return
            with open(live, "rb") as f:
                self.mix(f, out, size, early, early.page_of(os.path.basename(to)))

    @staticmethod
    def mix(live, out, size, early, picks):
        """Each page that differs may be the live one, and the length the live length."""
        length = os.fstat(live.fileno()).st_size
        for at in range(0, length, PAGE):
            live.seek(at)
            new = live.read(PAGE)
            out.seek(at)
            if new != out.read(PAGE).ljust(len(new), b"\0") and picks():
                out.seek(at)
                out.write(new)
        if length < size and early.some():
            out.truncate(length)
