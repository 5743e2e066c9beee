#!/usr/bin/python3
"""A Prometheus from Debian scrapes a live server, with a token, and its HTTP API gives the right counts; promtool finds
nothing to say about /metrics; every query of docker/grafana-tutti.json names metrics that are there, and is one."""
import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.parse

sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
import exposition
from service import BUILD, ROOT, Service, ended, until

JOBS = 7


def program(name):
    """Installed, or unpacked by deps.sh."""
    unpacked = os.path.join(ROOT, "build/unpacked/prometheus/usr/bin", name)
    return shutil.which(name) or (unpacked if os.path.exists(unpacked) else sys.exit("no %s: run tests/deps.sh metrics" % name))


def free_port():
    with contextlib.closing(socket.socket()) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Prometheus:
    def __init__(self, place, target, token):
        self.place, self.target, self.token = place, target, token

    def __enter__(self):
        with open(os.path.join(self.place, "token"), "w") as f:
            f.write(self.token)
        with open(os.path.join(self.place, "prometheus.yml"), "w") as f:
            json.dump({"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [
                {"job_name": "tutti", "authorization": {"credentials_file": os.path.join(self.place, "token")},
                 "static_configs": [{"targets": [self.target]}]}]}, f)  # JSON is YAML
        self.port = free_port()
        self.log = open(os.path.join(self.place, "log"), "wb")
        self.process = subprocess.Popen(
            [program("prometheus"), "--config.file=" + self.log.name.replace("/log", "/prometheus.yml"), "--storage.tsdb.path=" + os.path.join(self.place, "tsdb"),
             "--web.listen-address=127.0.0.1:%d" % self.port], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        try:
            until(lambda: self.process.poll() is not None or self.ready())
            assert self.process.poll() is None, open(self.log.name).read()[-2000:]
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            ended(self.process, 20)
        self.log.close()

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def ready(self):
        try:
            return self.get("/-/ready")[0] == 200
        except OSError:
            return False

    def query(self, expression):
        """[(labels, value)]"""
        status, body = self.get("/api/v1/query?query=" + urllib.parse.quote(expression))
        document = json.loads(body)
        assert status == 200 and document["status"] == "success" and not document.get("warnings"), (expression, document)
        return [(row["metric"], float(row["value"][1])) for row in document["data"]["result"]]


def promtool(text):
    done = subprocess.run([program("promtool"), "check", "metrics"], input=text, capture_output=True)
    assert done.returncode == 0 and not done.stdout and not done.stderr, done.stdout.decode() + done.stderr.decode()


def expressions(dashboard):
    found = [t["expr"] for panel in dashboard["panels"] for t in panel["targets"]]
    found += [v["definition"] for v in dashboard["templating"]["list"] if "definition" in v]
    return found


def check_dashboard(families, prometheus):
    with open(os.path.join(ROOT, "docker/grafana-tutti.json")) as f:
        dashboard = json.load(f)
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids)) > 10
    places = [(p["gridPos"]["x"] + dx, p["gridPos"]["y"] + dy) for p in dashboard["panels"] for dx in range(p["gridPos"]["w"]) for dy in range(p["gridPos"]["h"])]
    assert len(places) == len(set(places)) and max(x for x, _ in places) < 24, "panels overlap"
    names = {name for x in families.values() for name, _ in x.samples} | set(families)
    for expression in expressions(dashboard):
        used = re.findall(r"\b(?:tutti|process)_\w+", expression)
        assert used and set(used) <= names, (expression, set(used) - names)
        if expression.startswith("label_values("):
            continue
        rows = prometheus.query(expression.replace("$instance", ".*").replace("$__rate_interval", "1m"))
        for labels in re.findall(r"{{(\w+)}}", next(t["legendFormat"] for p in dashboard["panels"] for t in p["targets"] if t["expr"] == expression)):
            assert all(labels in metric for metric, _ in rows), (expression, rows[:2])
    shown = {re.sub("_(bucket|sum|count)$", "", name) for e in expressions(dashboard) for name in re.findall(r"\btutti_\w+", e)}
    return len(shown)


service = Service(workers=2)
tokens = os.path.join(service.dir, "tokens")
token, reader = (subprocess.run([os.path.join(BUILD, "tutti-server"), "--token-file", tokens, "--new-token", who], check=True, capture_output=True,
                                text=True).stdout.strip() for who in ("ann:user", "prometheus:read"))
service.options += ["--token-file", tokens]
with service, tempfile.TemporaryDirectory() as place:
    mine = {"Authorization": "Bearer " + token}
    promtool(service.get("/metrics", mine).body)  # also of a server that has done nothing
    for n in range(JOBS):
        assert service.post("/v1/jobs?wait=10", {"op": "all_reduce_sum", "inputs": [[n], [n]]}, mine).status == 200
    assert service.get("/v1/nothing", mine).status == 404
    assert service.post("/v1/groups/world/ranks/1/calls?wait=0", {"op": "broadcast"}, mine).status == 202
    text = service.get("/metrics", mine).body
    promtool(text)
    with Prometheus(place, "127.0.0.1:%d" % service.port, reader) as prometheus:
        counted = 'tutti_jobs_total{op="all_reduce_sum",state="succeeded"}'
        until(lambda: [v for _, v in prometheus.query(counted)] == [JOBS])
        assert [v for _, v in prometheus.query("up")] == [1]
        assert [v for _, v in prometheus.query("sum(tutti_jobs_total)")] == [JOBS]
        assert [v for _, v in prometheus.query("tutti_ranks_missing")] == [1]
        (_, p50), = prometheus.query('histogram_quantile(0.5, tutti_job_duration_seconds_bucket{op="all_reduce_sum"})')
        assert 0 < p50 < 10, p50
        for n in range(JOBS):  # and it goes on
            assert service.post("/v1/jobs?wait=10", {"op": "all_reduce_sum", "inputs": [[n], [n]]}, mine).status == 200
        until(lambda: [v for _, v in prometheus.query(counted)] == [2 * JOBS])
        until(lambda: [v > 0 for _, v in prometheus.query("rate(%s[1m])" % counted)] == [True])
        shown = check_dashboard(exposition.read(text.decode()), prometheus)
print("NOTE the dashboard shows %d metrics" % shown)
