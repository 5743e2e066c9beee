#!/usr/bin/python3
"""docker_test.py - `make docker-test`: builds every image, starts docker/compose.yaml, and holds it to what it promises: the first curl
of the README, the whole conformance over HTTP, containers without rights, and every acknowledged job after the server's container
and each rank's was killed. As root; with a Docker daemon of its own, of which nothing is left.

TUTTI_TEST_DOCKER_ROOT names a directory for the daemon's data that is kept, so that the next run need not build anew.
"""
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

import yaml

import images
from daemon import ROOT, Daemon, contained, inspect, run

URL = "http://127.0.0.1:8080"
RANKS = 4
COMPOSE = ["docker-compose", "-p", "tutti", "-f", os.path.join(ROOT, "docker", "compose.yaml")]
SERVER, WORKERS = "tutti_server_1", ["tutti_worker-%d_1" % r for r in range(RANKS)]
JOBS_A_KILL = 40
CREDENTIALS = {}  # a header, while a service asks for one
SIMGPU = os.path.join(ROOT, os.environ.get("BUILD", "build"), "simgpu")


def ask(path, body=None):
    request = urllib.request.Request(URL + path, json.dumps(body).encode() if body is not None else None,
                                     {"Content-Type": "application/json", **CREDENTIALS})
    with urllib.request.urlopen(request, timeout=70) as answer:
        return json.load(answer)


def until(what, seconds=90):
    end = time.monotonic() + seconds
    while True:
        try:
            if what():
                return
        except OSError:
            pass  # it is being started again
        assert time.monotonic() < end, "never came true within %d s" % seconds
        time.sleep(0.2)


def ready(ranks=RANKS):
    return [w["state"] in ("ready", "busy") for w in ask("/v1/workers")["workers"]] == [True] * ranks


def first_curl():
    """As it stands in the README."""
    with open(os.path.join(ROOT, "README.md")) as f:
        command = re.search(r"^```sh\n(curl [^`]*)^```$", f.read(), re.M).group(1)
    assert URL in command, command
    said = run("sh", "-c", command)
    assert '"state":"succeeded"' in said and '"data":[16,20]' in said, said


def healthy():
    until(lambda: inspect(SERVER)["State"]["Health"]["Status"] == "healthy")
    until(ready)


def confined():
    """Seen from inside, and by the kernel from outside."""
    for name in [SERVER] + WORKERS:
        said = run("docker", "exec", name, "sh", "-c", "id -u; touch /x /usr/x 2>&1; cat /proc/1/status")
        status = dict(re.findall(r"^(\w+):\s+(.*)$", said, re.M))
        assert said.startswith("10001\n") and said.count("Read-only file system") == 2, said
        assert status["Uid"].split() == ["10001"] * 4 and status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", (name, status)
        assert all(int(status[c], 16) == 0 for c in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")), (name, status)
    for name in WORKERS:
        said = run("docker", "exec", name, "sh", "-c", "ls /sys/class/net; touch /arena/x /run/tutti/x 2>&1; ls /var/lib/tutti")
        assert said.split()[0] == "lo" and "eth0" not in said and said.count("Read-only file system") == 2 and "tutti.db" not in said, said


def conformance():
    for name in ("conformance", "gradients"):
        begun = time.monotonic()
        said = run("/usr/bin/python3", os.path.join(ROOT, "tests", "conformance", name + ".py"), env={**os.environ, "TUTTI_URL": URL})
        cases = re.search(r"^CASES (\d+) 0$", said, re.M)
        assert cases, said
        print("%s over HTTP: %s; %s in %.0f s" % (name, re.search(r"^NOTE (.*)", said, re.M).group(1), cases.group(), time.monotonic() - begun),
              flush=True)


class Clients:
    """Four that ask for sums without end, and remember what was acknowledged, and what must come of it."""

    def __init__(self):
        self.acknowledged, self.stop, self.failed = {}, False, []
        self.threads = [threading.Thread(target=self.go_on, args=(i,)) for i in range(4)]
        for thread in self.threads:
            thread.start()

    def go_on(self, me):
        n = 0
        while not self.stop:
            n += 1
            try:
                job = ask("/v1/jobs", {"op": "all_reduce_sum", "dtype": "int64", "inputs": [[me, n, r] for r in range(RANKS)]})
                self.acknowledged[job["id"]] = [RANKS * me, RANKS * n, sum(range(RANKS))]
            except urllib.error.HTTPError as e:
                if e.code != 503:
                    self.failed.append(str(e))
            except OSError:
                time.sleep(0.1)  # it hears nothing: nothing was promised
            time.sleep(0.01)

    def close(self):
        """Each is there, and right."""
        self.stop = True
        for thread in self.threads:
            thread.join()
        assert not self.failed, self.failed[:3]
        for id_, want in self.acknowledged.items():
            job = ask("/v1/jobs/%s?wait=60" % id_)
            assert job["state"] == "succeeded", job
            assert [output["data"] for output in job["outputs"]] == [want] * RANKS, job
        return len(self.acknowledged)


def more(clients):
    """Until so many more were acknowledged."""
    enough = len(clients.acknowledged) + JOBS_A_KILL
    until(lambda: len(clients.acknowledged) >= enough)


def kill(name, ranks=RANKS):
    """The container's first process, by the kernel; Docker starts it again."""
    before = inspect(name)["State"]["Pid"]
    os.kill(before, signal.SIGKILL)
    until(lambda: inspect(name)["State"]["Pid"] not in (0, before))
    until(lambda: ready(ranks))


def killed():
    """Each container, and the server's twice."""
    clients = Clients()
    try:
        for name in [SERVER] + WORKERS + [SERVER]:
            more(clients)
            kill(name)
        # What a person kills stays so, until they start it.
        for name in (SERVER, WORKERS[1]):
            more(clients)
            run("docker", "kill", name)
            run("docker", "start", name)
            until(ready)
        more(clients)
    finally:
        clients.stop = True
    print("killed %d times: %d acknowledged jobs, all there and right" % (len(WORKERS) + 4, clients.close()), flush=True)


def stops():
    """SIGTERM is heard, in time, and results are there afterwards, though the containers are new."""
    tensor = ask("/v1/tensors", {"dtype": "int32", "shape": [2], "data": [5, 6]})["tensor"]
    begun = time.monotonic()
    run(*COMPOSE, "stop", "server")
    assert time.monotonic() - begun < 25, "it took %.0f s" % (time.monotonic() - begun)
    assert inspect(SERVER)["State"]["ExitCode"] == 0, inspect(SERVER)["State"]
    run(*COMPOSE, "up", "-d", "--no-build", "--force-recreate", "server")
    until(ready)
    assert ask("/v1/tensors/" + tensor)["data"] == [5, 6]
    run(*COMPOSE, "stop")
    codes = {name: inspect(name)["State"]["ExitCode"] for name in [SERVER] + WORKERS}
    assert set(codes.values()) == {0}, codes


def with_tokens():
    """The loopback's default turned off by three variables, and a token made in a container."""
    file = "/var/lib/tutti/tokens"
    os.environ.update(TUTTI_TOKEN_FILE=file, TUTTI_INSECURE_NO_AUTH="")
    made = run(*COMPOSE, "run", "--rm", "--no-deps", "-T", "server", "--token-file", file, "--new-token", "alice:user")
    token = re.search(r"^(alice\.\S+)$", made, re.M).group(1)
    run(*COMPOSE, "up", "-d", "--no-build")
    workers = urllib.request.Request(URL + "/v1/workers", headers={"Authorization": "Bearer " + token})
    until(lambda: urllib.request.urlopen(workers, timeout=10).status == 200)
    try:
        ask("/v1/jobs")
        raise AssertionError("nobody asked for a token")
    except urllib.error.HTTPError as e:
        assert e.code == 401, e
    for name in ("TUTTI_TOKEN_FILE", "TUTTI_INSECURE_NO_AUTH"):
        del os.environ[name]


@contextlib.contextmanager
def started(compose):
    """Up for the block; where it ends badly, with what the containers said."""
    try:
        run(*compose, "up", "-d", "--no-build")
        yield
    except BaseException:
        print(run(*compose, "logs", "--no-color", "--tail", "30", check=False)[-6000:])
        raise
    finally:
        run(*compose, "down", "-v", check=False)
        CREDENTIALS.clear()


def on_doubles(project, place):
    """compose.gpu.yaml as it stands but for the devices, which the doubles of tests/simgpu stand in for, and for the limits, which
    a machine may forbid to raise; a file in place."""
    with open(os.path.join(ROOT, "docker", "compose.gpu.yaml")) as f:
        document = {key: value for key, value in yaml.safe_load(f).items() if not key.startswith("x-")}
    for service in document["services"].values():
        service.pop("build", None)
        service.pop("ulimits", None)
        if service.pop("deploy", None):
            service["volumes"] = service["volumes"] + [SIMGPU + ":/simgpu:ro", place + ":/report"]
            service["environment"] = {**service["environment"], "LD_LIBRARY_PATH": "/simgpu", "SIMGPU_DEVICES": "2",
                                      "SIMGPU_REPORT": "/report", "SIMGPU_TAG": project}
    path = os.path.join(place, "compose.yaml")
    with open(path, "w") as f:
        yaml.safe_dump(document, f)
    return ["docker-compose", "-p", project, "-f", path]


def gpus():
    """Ranks of a container each find one another by NCCL, and again after one of them, or the server, was killed."""
    if not os.path.exists(os.path.join(SIMGPU, "libnccl.so.2")):
        print("NOTE compose.gpu.yaml was not started: no CUDA toolkit")
        return

    def right():
        job = ask("/v1/jobs?wait=60", {"op": "all_reduce_sum", "inputs": [[1, 2], [3, 4]]})
        assert [o["data"] for o in job["outputs"]] == [[4, 6]] * 2, job

    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        os.chown(place, 10001, 10001)
        compose = on_doubles("gpus", place)
        with started(compose):
            until(lambda: ready(2))
            for worker in ask("/v1/workers")["workers"]:
                assert (worker["backend"], worker["link"], worker["gpu"]["simulated"]) == ("nccl", "unix", True), worker
            right()
            for name in ("gpus_worker-1_1", "gpus_server_1", "gpus_worker-0_1"):
                kill(name, 2)
                right()
            print("two ranks on simulated GPUs, killed 3 times", flush=True)


def hosts_of(place):
    """compose.hosts.yaml as it stands, in place, with the secrets that its first lines make."""
    shutil.copy(os.path.join(ROOT, "docker", "compose.hosts.yaml"), place)
    with open(os.path.join(place, "compose.hosts.yaml")) as f:
        script = re.search(r"--entrypoint sh tutti-server -c '(.*?)'", f.read(), re.S).group(1).replace("\n#", "\n")
    secrets = os.path.join(place, "secrets")
    os.mkdir(secrets, 0o700)
    os.chown(secrets, 10001, 10001)
    said = run("docker", "run", "--rm", "-v", secrets + ":/secrets", "--entrypoint", "sh", "tutti-server", "-c", script)
    CREDENTIALS["Authorization"] = "Bearer " + re.search(r"^(me\.\S+)$", said, re.M).group(1)
    return ["docker-compose", "-p", "hosts", "-f", os.path.join(place, "compose.hosts.yaml")]


def apart():
    """Two hosts on networks of their own: a group of all ranks works across, and again after one was killed."""
    def right():
        job = ask("/v1/jobs?wait=60", {"op": "all_reduce_sum", "inputs": [[r, 1.5] for r in range(4)]})
        assert job["state"] == "succeeded" and [o["data"] for o in job["outputs"]] == [[6, 6]] * 4, job
        job = ask("/v1/jobs?wait=60", {"op": "all_gather", "group": [1, 2], "inputs": [[1, 2], [3, 4]]})
        assert [o["data"] for o in job["outputs"]] == [[1, 2, 3, 4]] * 2, job

    with tempfile.TemporaryDirectory() as place:
        compose = hosts_of(place)
        with started(compose):
            until(ready)
            right()
            workers = ask("/v1/workers")["workers"]
            assert all(w["link"] == "tcp" for w in workers), workers
            arenas = [w["arena"] for w in workers]  # of the host: the same for both of its ranks
            assert arenas[0] == arenas[1] and arenas[2] == arenas[3] and all(a["sent_bytes"] for a in arenas), arenas
            for name in ("hosts_b-0_1", "hosts_a-1_1"):
                kill(name)
                right()
            print("two hosts of two ranks, killed 2 times", flush=True)


def steps(*functions):
    """Each, whatever became of the one before; how many failed."""
    failed = 0
    for function in functions:
        begun = time.monotonic()
        try:
            function()
            print("ok   %s  (%.0f s)" % (function.__name__, time.monotonic() - begun), flush=True)
        except Exception as e:
            failed += 1
            print("FAIL %s: %s %s" % (function.__name__, type(e).__name__, str(e)[:3000]), flush=True)
    return failed


def run_compose(root):
    """In a network of its own."""
    run("ip", "link", "set", "lo", "up")
    os.environ["TUTTI_RETAIN"] = "20"  # the conformance makes more than the arena holds
    with Daemon(root, network=True):
        try:
            run(*COMPOSE, "up", "-d", "--no-build")
            failed = steps(healthy, first_curl, confined, conformance)
            os.environ["TUTTI_RETAIN"] = "3600"
            run(*COMPOSE, "up", "-d", "--no-build")
            failed += steps(healthy, killed, stops, with_tokens)
            if failed:
                print(run(*COMPOSE, "logs", "--no-color", "--tail", "60", check=False)[-12000:])
        finally:
            run(*COMPOSE, "down", "-v", check=False)
        return failed + steps(gpus, apart)


def build_images(root):
    """Where packages can be reached: in the caller's network."""
    with Daemon(root, network=False):
        return steps(images.build_all)


def main():
    if os.geteuid() != 0:
        print("docker-test: a Docker daemon needs root", file=sys.stderr)
        return 1
    kept = os.environ.get("TUTTI_TEST_DOCKER_ROOT")
    place = os.path.abspath(kept or tempfile.mkdtemp(prefix="tutti-docker-"))
    try:
        root = os.path.join(place, "data")
        failed = contained(False, "--build", root)
        failed = failed or contained(True, "--run", root)
    finally:
        if not kept:
            shutil.rmtree(place, ignore_errors=True)
    print("FAILED" if failed else "all is well")
    return 1 if failed else 0


if __name__ == "__main__":
    inner = {"--build": build_images, "--run": run_compose}
    if len(sys.argv) == 3:
        sys.exit(inner[sys.argv[1]](sys.argv[2]))
    sys.exit(main())
