"""daemon.py - a Docker daemon of the test's own: nothing of it is where the system's is, and nothing of it is left.

contained() puts the test into process and mount namespaces of its own, and into a network of its own where it says so: what
runs there ends with it, also when it is killed, and mounts, rules and bridges go with the namespaces.
"""
import glob
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PATIENCE_S = 60


def contained(network, *words):
    """Runs this program again with these words, as process 1 of namespaces of its own. Gives its status."""
    unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"] + (["--net"] if network else [])
    child = subprocess.Popen([*unshare, sys.executable, os.path.abspath(sys.argv[0]), *words])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: child.kill())
    return child.wait()


def run(*words, check=True, **more):
    """Its output, standard error too."""
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)
    assert not check or done.returncode == 0, "%s: %d: %s" % (" ".join(words), done.returncode, done.stdout[-3000:])
    return done.stdout


class Daemon:
    """dockerd, for a block. network: with bridges, which are made in this network namespace."""

    def __init__(self, root, network):
        self.place = root + "-run"
        os.makedirs(self.place, exist_ok=True)
        self.group = "tutti-test-" + secrets.token_hex(4)
        self.log_path = os.path.join(self.place, "log")
        self.words = ["dockerd", "--data-root", root, "--exec-root", os.path.join(self.place, "exec"), "--pidfile",
                      os.path.join(self.place, "pid"), "--host", "unix://" + os.path.join(self.place, "socket"), "--group", "root",
                      "--bridge", "none", "--cgroup-parent", "/" + self.group]
        if not network:
            self.words += ["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]

    def __enter__(self):
        os.environ["DOCKER_HOST"] = "unix://" + os.path.join(self.place, "socket")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(self.words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + PATIENCE_S
        while subprocess.run(["docker", "info"], capture_output=True).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > end:
                with open(self.log_path) as f:
                    raise AssertionError("dockerd does not start:\n" + f.read()[-3000:])
            time.sleep(0.2)
        return self

    def __exit__(self, *_):
        left = run("docker", "ps", "-aq", check=False).split()
        if left:
            run("docker", "rm", "-f", *left, check=False)
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.place, ignore_errors=True)
        for group in glob.glob("/sys/fs/cgroup/*/" + self.group) + glob.glob("/sys/fs/cgroup/" + self.group):
            for inner, _, _ in os.walk(group, topdown=False):  # groups within it, whose files are the kernel's
                os.rmdir(inner)


def inspect(name):
    return json.loads(run("docker", "inspect", name))[0]
