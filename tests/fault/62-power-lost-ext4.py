#!/usr/bin/python3
"""62-power-lost-ext4.py [ROUNDS [SEED]] - the kernel's own word for it: an ext4 on a loop device is shut down, without its
journal's last part, while a server with --durable works on it; what was in memory alone is gone. Mounted again, it has all
that was acknowledged. Needs root and a loop device; runs in a mount namespace of its own, so that nothing stays mounted."""
import fcntl
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time

from acknowledged import Clients
from durable import DurableService, disk_place
from invariants import database_whole
from service import until

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(1 << 32)
SHUTDOWN, WITHOUT_JOURNAL = 0x8004587D, 2  # EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH
INSIDE = "TUTTI_TEST_IN_NAMESPACE"


class Disk:
    def __init__(self, home):
        self.image, self.at = home + "/image", home + "/disk"
        os.mkdir(self.at, 0o700)
        with open(self.image, "wb") as f:
            f.truncate(192 << 20)
        run("mkfs.ext4", "-q", "-F", self.image)
        self.mount()

    def mount(self):
        run("mount", "-o", "loop", self.image, self.at)

    def unmount(self):
        until(lambda: subprocess.run(["umount", self.at], capture_output=True).returncode == 0, 20)

    def power_off(self):
        fd = os.open(self.at, os.O_RDONLY)
        fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", WITHOUT_JOURNAL))
        os.close(fd)


def run(*command):
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)


def lose_often(home, disk, rng):
    service = DurableService(place=home, workers=2, arena="64M")
    service.data_dir = service.arena_dir = disk.at + "/state/data"
    with service:
        clients = Clients(service)
        for n in range(ROUNDS):
            clients.start(rng)
            time.sleep(rng.uniform(0.05, 0.6))
            clients.deaf = True  # before: while it goes down, a flush under way may be called done
            disk.power_off()
            service.end_all()
            clients.join()
            clients.deaf = False
            disk.unmount()
            disk.mount()
            service.start()
            clients.check()
            print("round %d: %d uploads, %d jobs" % (n, len(clients.uploads), len(clients.ledger.jobs)), flush=True)
            clients.forget()
        with open(service.log_path) as f:
            assert "did not survive" not in f.read(), "tensors were lost"
        until(lambda: not any(service.metrics()["jobs"][state] for state in ("waiting", "queued", "running")))
        clients.ledger.healthy()
        service.stop()
        database_whole(service)


def main():
    place = disk_place()
    if INSIDE not in os.environ:
        enter = ["unshare", "--mount", "--propagation", "private"]
        if not place or not shutil.which("mkfs.ext4") or subprocess.run([*enter, "true"], capture_output=True).returncode != 0:
            print("NOTE not run: it takes root, mkfs.ext4 and a directory on a disk")
            return
        os.environ[INSIDE] = "1"
        os.execvp("unshare", [*enter, sys.executable, os.path.abspath(__file__), *sys.argv[1:]])
    home = tempfile.mkdtemp(prefix="tutti-test-", dir=place)
    try:
        try:
            disk = Disk(home)
        except subprocess.CalledProcessError as e:
            print("NOTE not run: no loop device: %s" % e.stderr.strip())
            return
        print("seed %d" % SEED, flush=True)
        try:
            lose_often(home, disk, random.Random(SEED))
        finally:
            disk.unmount()
    finally:
        shutil.rmtree(home, ignore_errors=True)


main()
