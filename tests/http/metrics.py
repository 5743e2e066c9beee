#!/usr/bin/python3
"""GET /metrics by the letter of Prometheus' format, and GET /v1/metrics: what they count is what happened; labels are those of
metrics.def, and nothing that a client named is in them; both ask for a token where one is wanted."""
import json
import os
import re
import subprocess
import sys
import threading
import time

sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
import exposition
from service import BUILD, Service, until

RANKS = 3


def scrape(service, headers=None):
    answer = service.get("/metrics", headers)
    assert answer.status == 200 and answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8", answer
    return exposition.read(answer.body.decode("ascii"))


def table():
    printed = subprocess.run([os.path.join(BUILD, "tutti-server"), "--print-tables"], check=True, capture_output=True, text=True)
    rows = [line.split(" ") for line in printed.stdout.splitlines()]
    return {r[1]: (r[2], set() if r[3] == "-" else set(r[3].split(","))) for r in rows if r[0] == "metric"}


def workload(service):
    """Some of everything. Gives how many of what."""
    ok = [service.post("/v1/jobs?wait=20", {"op": "all_reduce_sum", "label": "secret", "inputs": [[r] * 100 for r in range(RANKS)]})
          for _ in range(20)]
    ok += [service.post("/v1/jobs?wait=20", {"op": "broadcast", "inputs": [[1, 2], None, None]}) for _ in range(5)]
    assert {a.status for a in ok} == {200}, ok
    assert service.post("/v1/groups", {"name": "secretgroup", "ranks": [1, 0]}).status == 201
    lost = service.post("/v1/groups/secretgroup/ranks/1/calls?timeout=1&wait=5", {"op": "all_gather", "input": [1]})
    assert lost.status == 504, lost
    assert service.post("/v1/groups/secretgroup/barrier?rank=0&wait=5").status == 504  # it comes late to that
    assert service.post("/v1/jobs", {"op": "secretop", "inputs": []}).status == 422
    assert service.get("/v1/secretpath").status == 404
    assert service.request("HEAD", "/v1/workers").status == 200
    assert service.request("PUT", "/v1/jobs").status == 405
    assert service.post("/v1/groups/world/ranks/0/calls?wait=0", {"op": "all_reduce_sum", "input": [1]}).status == 202
    return ok


def counts_are_right(service):
    before = time.monotonic()
    jobs = [a.json for a in workload(service)]
    time.sleep(2.1)  # rates are of whole seconds, and this one is not over
    f, rows = scrape(service), table()
    assert {name: x.type for name, x in f.items()} == {name: type_ for name, (type_, _) in rows.items()}
    assert list(f) == list(rows), "the order is not the table's"
    for name, x in f.items():
        for _, labels in x.samples:
            assert {k for k, _ in labels} - {"le"} == rows[name][1], (name, labels)
    text = service.get("/metrics").body.decode()
    assert "secret" not in text and "world\"" not in text, [line for line in text.splitlines() if "secret" in line]

    value = lambda name, **labels: f["tutti_" + name].value(**labels)
    assert value("jobs_total", op="all_reduce_sum", state="succeeded") == 20
    assert value("jobs_total", op="broadcast", state="succeeded") == 5
    assert value("jobs_total", op="all_gather", state="failed") == 1
    assert f["tutti_jobs_total"].total() == 26
    assert value("jobs_unfinished", state="waiting") == 1 and value("calls_waiting") == 1 and value("ranks_missing") == RANKS - 1
    assert value("job_bytes_total", op="all_reduce_sum", direction="in") == 20 * RANKS * 400 == value("job_bytes_total", op="all_reduce_sum", direction="out")
    assert value("job_bytes_total", op="broadcast", direction="in") == 5 * 8 and value("job_bytes_total", op="broadcast", direction="out") == 5 * 8 * RANKS
    assert value("job_algorithm_bytes_total", op="all_reduce_sum") == 20 * 400
    assert value("job_bus_bytes_total", op="all_reduce_sum") == 20 * int(400 * 2 * (RANKS - 1) / RANKS)
    for rank in range(RANKS):
        assert value("worker_jobs_total", rank=str(rank), result="done") == 25
        assert value("worker_state", rank=str(rank), state="ready") == 1 and f["tutti_worker_state"].total(rank=str(rank)) == 1
        assert value("worker_bytes_total", rank=str(rank)) == 20 * 800 + 5 * (16 if rank == 0 else 8)
        assert 0 < value("worker_busy_seconds_total", rank=str(rank)) < 10
        assert value("worker_info", rank=str(rank), backend="shm", device="cpu", link="unix") == 1
    for name, key in (("job_duration_seconds", "total_us"), ("job_collective_seconds", "collective_us"), ("job_queue_seconds", "dispatch_us")):
        mine = [j["timeline"][key] for j in jobs if j["op"] == "all_reduce_sum"]
        buckets, total, count = exposition.series(f["tutti_" + name])[frozenset({("op", "all_reduce_sum")})]
        assert count == 20 and abs(total - sum(mine) / 1e6) < 1e-9, (name, total, mine)
        assert all(below == sum(us <= bound * 1e6 * (1 + 1e-9) for us in mine) for bound, below in buckets), (name, buckets, mine)
    http = exposition.series(f["tutti_http_request_duration_seconds"])
    count = lambda **labels: http[frozenset(labels.items())][2]
    assert count(method="POST", route="/v1/jobs", status="2xx") == 25 and count(method="POST", route="/v1/jobs", status="4xx") == 1
    assert count(method="HEAD", route="/v1/workers", status="2xx") == 1 and count(method="other", route="none", status="4xx") == 2
    assert count(method="POST", route="/v1/groups/{name}/ranks/{rank}/calls", status="5xx") == 1
    assert http[frozenset({("method", "POST"), ("route", "/v1/groups/{name}/ranks/{rank}/calls"), ("status", "5xx")})][1] >= 1
    assert value("http_refusals_total", code="op_unknown") == 1 and value("http_refusals_total", code="not_found") == 1
    assert value("http_refusals_total", code="method_not_allowed") == 1 and f["tutti_http_refusals_total"].total() == 3
    _, _, commits = exposition.series(f["tutti_store_commit_seconds"])[frozenset()]
    _, messages, batches = exposition.series(f["tutti_store_batch_messages"])[frozenset()]
    assert commits == batches == value("store_commits_total", result="done") > 0 == value("store_commits_total", result="refused")
    assert messages >= 2 * 26
    arena = service.get("/v1/metrics").json["arena"]
    for name in ("size", "used", "free", "largest_free", "reserved"):
        assert value("arena_%s_bytes" % name) == arena[name + "_bytes"], name
    assert value("arena_extents") == arena["extents"]

    own = {name: x.value() for name, x in f.items() if name.startswith("process_")}
    assert abs(own["process_start_time_seconds"] - service.started) < 2, own
    assert 0 < own["process_cpu_seconds_total"] < 60 and 1e6 < own["process_resident_memory_bytes"] < own["process_virtual_memory_bytes"], own
    assert abs(own["process_open_fds"] - sum(service.descriptors_open().values())) < 12 and own["process_max_fds"] >= own["process_open_fds"], own
    assert own["process_threads"] == len(os.listdir("/proc/%d/task" % service.pid)), own
    return jobs, time.monotonic() - before


def json_says_the_same(service, jobs, seconds):
    m = service.get("/v1/metrics").json
    assert [m["jobs"][s] for s in ("waiting", "queued", "running", "succeeded", "failed", "cancelled")] == [1, 0, 0, 25, 1, 0], m["jobs"]
    op = m["ops"]["all_reduce_sum"]
    assert op["succeeded"] == 20 and op["in_bytes"] == op["out_bytes"] == 20 * RANKS * 400, op
    assert m["calls"] == {"waiting": 1, "ranks_missing": RANKS - 1} and m["refusals"]["op_unknown"] == 1, m
    rate = m["jobs_per_s"]
    assert rate["last_1s"] == 0 and abs(rate["last_60s"] - 26 / 60) < 1e-9, (rate, seconds)
    assert seconds > 9 or abs(rate["last_10s"] - 2.6) < 1e-9, (rate, seconds)
    assert abs(op["moved_GBps"]["last_60s"] - 2 * 20 * RANKS * 400 / 60e9) < 1e-15, op
    spent = sum(j["timeline"]["collective_us"] for j in jobs if j["op"] == "all_reduce_sum")
    assert abs(op["algbw_GBps"] - 20 * 400 / spent / 1e3) < 1e-9 and abs(op["busbw_GBps"] - op["algbw_GBps"] * 4 / 3) < op["algbw_GBps"] / 100, op
    for key, name in (("total_us", "total"), ("collective_us", "collective"), ("dispatch_us", "queue")):
        mine = sorted(j["timeline"][key] for j in jobs if j["op"] == "all_reduce_sum")
        for kind in ("latency", "recent_latency"):
            p = op[kind][name]
            assert p["count"] == 20, p
            for share in (50, 90, 99):  # between the neighbours of the true one, and a bucket's width
                low, high = mine[max(0, share * 20 // 100 - 2)], mine[min(19, share * 20 // 100)]
                assert low * 0.9 - 1 <= p["p%d_us" % share] <= high * 1.1 + 1, (name, share, p, mine)
    assert m["ops"]["gather"]["latency"] == {"queue": None, "collective": None, "total": None} and m["ops"]["gather"]["algbw_GBps"] is None


def a_lost_worker_is_counted(service):
    victim = next(w for w in service.get("/v1/workers").json["workers"] if w["rank"] == 1)
    os.kill(victim["pid"], 9)
    until(lambda: scrape(service)["tutti_worker_restarts_total"].value(rank="1") == 1)
    until(lambda: service.get("/readyz").status == 200)
    f = scrape(service)
    assert f["tutti_worker_losses_total"].value(rank="1") == 1 and f["tutti_worker_losses_total"].total() == 1
    w = service.get("/v1/workers/1").json["counters"]
    assert (w["losses"], w["restarts"], w["moved_bytes"]) == (1, 1, 20 * 800 + 5 * 8), w


def while_it_works(service):
    """Every answer adds up, whatever is counted meanwhile, and nothing ever goes back."""
    stop, failed = threading.Event(), []

    def load(n):
        while not stop.is_set():
            a = service.post("/v1/jobs?wait=20", {"op": ("all_gather", "gather")[n % 2], "inputs": [[n]] * RANKS})
            if a.status != 200:
                failed.append(a)

    threads = [threading.Thread(target=load, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    last = {}
    for _ in range(30):
        for x in scrape(service).values():
            for key, v in x.samples.items():
                if x.type != "gauge":
                    assert v >= last.get(key, 0), (key, last[key], v)
                    last[key] = v
    stop.set()
    for t in threads:
        t.join()
    assert not failed, failed[0]


def tokens():
    service = Service(workers=2)
    path = os.path.join(service.dir, "tokens")
    token = {role: subprocess.run([os.path.join(BUILD, "tutti-server"), "--token-file", path, "--new-token", "x%s:%s" % (role, role)], check=True,
                                  capture_output=True, text=True).stdout.strip() for role in ("read", "user", "admin")}
    service.options += ["--token-file", path]
    with service:
        for path in ("/metrics", "/v1/metrics"):
            answer = service.get(path)
            assert answer.status == 401 and answer.json["code"] == "unauthorized", answer
            for role, text in token.items():
                answer = service.get(path, {"Authorization": "Bearer " + text})
                assert answer.status == 200 and not re.search(rb"x(read|user|admin)", answer.body), (role, answer)


with Service(workers=RANKS) as service:
    jobs, seconds = counts_are_right(service)
    json_says_the_same(service, jobs, seconds)
    a_lost_worker_is_counted(service)
    while_it_works(service)
tokens()
print("CASES 5 0")
