#!/usr/bin/python3
"""What happens is told as it happens: who has called and who is missing, states of jobs, workers lost and back, groups; a
stream that is cut off goes on where it was, or says that it cannot; and nothing is left of those who hang up."""
import contextlib
import os
import re
import signal
import socket
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE), os.path.join(os.path.dirname(HERE), "fault")]
from events import Follower
from invariants import row
from service import SANITIZED, Service, until

passed = 0


def call(service, rank, body, query="?wait=20"):
    return service.post("/v1/groups/world/ranks/%d/calls%s" % (rank, query), body)


def later(what, *arguments):
    t = threading.Thread(target=what, args=arguments)
    t.start()
    return t


def states(events, id_):
    return [d["state"] for name, d in events if name == "job" and d["id"] == id_]


def who_came_and_who_is_missing(service):
    everything = Follower(service)
    assert everything.answer.getheader("Content-Type") == "text/event-stream"
    assert everything.answer.getheader("X-Accel-Buffering") == "no"
    first = call(service, 2, {"op": "all_reduce_sum", "input": [1]}, "?wait=0").json
    one = Follower(service, "/v1/jobs/%s/events" % first["id"])
    rest = [later(call, service, rank, {"op": "all_reduce_sum", "input": [1]}) for rank in (0, 1, 3)]
    for follower in (everything, one):
        seen = follower.until("job", lambda d: d["state"] == "succeeded")
        mine = [d for name, d in seen if name == "job" and d["id"] == first["id"]]
        waiting = [d for d in mine if d["state"] == "waiting"]
        assert waiting[0]["missing"] == [0, 1, 3] and [a["rank"] for a in waiting[0]["arrived"]] == [2], waiting[0]
        assert [len(d["missing"]) for d in waiting] == sorted((len(d["missing"]) for d in waiting), reverse=True)
        assert waiting[-1]["missing"] == [] and len(waiting) == 4, waiting
        assert states(seen, first["id"])[4:] == ["queued", "running", "succeeded"], seen
        assert mine[-1]["outputs"][0]["tensor"] and "data" not in mine[-1]["outputs"][0]
    assert list(one) == [], "the stream of a job ends with it"
    [t.join() for t in rest]
    over = Follower(service, "/v1/jobs/%s/events" % first["id"])
    assert [d["state"] for _, _, d in over] == ["succeeded"] and over.comments == 1
    everything.close()


def failures_and_chains(service):
    follower = Follower(service)
    first = call(service, 0, {"op": "all_reduce_sum", "input": [1]}, "?wait=0&timeout=1").json["id"]
    second = service.post("/v1/jobs", {"op": "all_reduce_sum", "inputs": [{"job": first}, [1], [1], [1]]}).json["id"]
    seen = follower.until("job", lambda d: d["id"] == second and d["state"] == "failed")
    assert states(seen, first) == ["waiting", "failed"] and states(seen, second) == ["waiting", "failed"], seen
    assert [d["waits_for"] for name, d in seen if d["id"] == second and d["state"] == "waiting"] == [[first]]
    assert [d["error"]["ranks"] for name, d in seen if d["id"] == first and d["state"] == "failed"] == [[1, 2, 3]]
    for rank in (1, 2, 3):
        assert call(service, rank, {"op": "all_reduce_sum", "input": [1]}).status == 504
    follower.close()


def workers_and_groups(service):
    follower = Follower(service)
    assert service.post("/v1/groups", {"name": "pair", "ranks": [3, 1]}).status == 201
    assert service.delete("/v1/groups/pair").status == 204
    seen = follower.until("group", lambda d: d["deleted"])
    assert [d for _, d in seen] == [{"name": "pair", "ranks": [3, 1], "deleted": False}, {"name": "pair", "ranks": [3, 1], "deleted": True}]
    workers = service.get("/v1/workers").json["workers"]
    os.kill(workers[2]["pid"], signal.SIGKILL)
    seen = follower.until("worker", lambda d: d["rank"] == 2 and d["state"] == "ready")
    assert "absent" in [d["state"] for name, d in seen if name == "worker" and d["rank"] == 2], seen
    until(lambda: all(w["state"] in ("ready", "busy") for w in service.get("/v1/workers").json["workers"]))
    follower.close()


def a_stream_goes_on_where_it_was(service):
    follower = Follower(service)
    a = service.post("/v1/jobs?wait=10", {"op": "barrier"}).json["id"]
    follower.until("job", lambda d: d["id"] == a and d["state"] == "succeeded")
    follower.close()
    b = service.post("/v1/jobs?wait=10", {"op": "barrier"}).json["id"]
    again = Follower(service, last=follower.last)
    seen = again.until("job", lambda d: d["state"] == "succeeded")
    assert states(seen, a) == [] and states(seen, b) == ["queued", "running", "succeeded"], seen
    again.close()
    for old in ("1-1", follower.last.split("-")[0] + "-999999999"):
        old = Follower(service, last=old)
        service.post("/v1/jobs?wait=10", {"op": "barrier"})
        assert old.until("job", lambda d: True)[0] == ("gap", {}), "what is not known is a gap"
        old.close()
    for junk in ("x", "1", "-1", "1-", "1-2-3", "99999999999999999999-1", "1-\u00e9".encode().decode("latin-1")):
        f = Follower(service, last=junk)
        assert f.answer.status == 400, junk
        f.close()


def deaf(service):
    """Follows, with a small buffer, and does not read."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.connect((service.host, service.port))
    s.sendall(("GET /v1/events HTTP/1.1\r\nHost: %s:%d\r\n\r\n" % (service.host, service.port)).encode())
    return s


def whoever_does_not_read_has_a_gap(service):
    """Clients that do not read cost no memory, and hold nobody up; what was dropped is a gap, also for whoever comes back with
    the last event that it had."""
    followers = [deaf(service) for _ in range(40)]
    until(lambda: service.metrics()["event_streams"] == len(followers))
    line = '{"op": "barrier", "label": "%s"}\n' % ("x" * 250)
    headers = {"Content-Type": "application/x-ndjson"}
    assert service.post("/v1/jobs:batch?wait=60", (line * 2000).encode(), headers).status == 200
    rss = service.rss_bytes()
    for _ in range(3):
        assert service.post("/v1/jobs:batch?wait=60", (line * 2000).encode(), headers).status == 200
    growth = service.rss_bytes() - rss
    assert SANITIZED or growth < 16 << 20, "grew by %d bytes" % growth  # 40 queues of all that happened would be 400 MB
    s = followers[0]
    s.settimeout(5)
    got, tail, first = 0, b"", None
    while b"event: gap" not in tail:
        piece = s.recv(1 << 16)
        assert piece, "the stream ended after %d bytes" % got
        got, tail = got + len(piece), tail[-400:] + piece
        first = first or re.search(rb"id: (\S+)\n", tail)
    for s in followers:
        s.close()
    until(lambda: service.metrics()["event_streams"] == 0)
    again = Follower(service, last=first.group(1).decode())
    service.post("/v1/jobs?wait=10", {"op": "barrier"})
    seen = again.until("job", lambda d: d["state"] == "succeeded")
    assert seen[0] == ("gap", {}), seen[0]
    again.close()


def nothing_is_left_of_those_who_hang_up(service):
    many = [Follower(service) for _ in range(256)]
    assert service.metrics()["event_streams"] == 256
    f = Follower(service)
    assert f.answer.status == 429 and f.answer.getheader("Retry-After"), f.answer.status
    f.close()
    busy = later(lambda: [service.post("/v1/jobs?wait=10", {"op": "barrier"}) for _ in range(200)])
    for f in many:
        f.close()
    until(lambda: service.metrics()["event_streams"] == 0)
    busy.join()
    assert Follower(service, "/v1/jobs/j_00000000000000000000000000/events").answer.status == 404
    until(lambda: service.metrics()["event_streams"] == 0)


def a_comment_comes_when_nothing_happens(service):
    follower = Follower(service, timeout=18)
    while follower.comments < 2:
        line = follower.answer.readline().decode()
        assert line in ("\n", "retry: 1000\n") or line.startswith(":"), line
        follower.comments += line.startswith(":")
    follower.close()


def the_service_stops(service):
    follower = Follower(service)
    started = time.monotonic()
    service.stop()
    list(follower)
    assert time.monotonic() - started < 10


TESTS = (who_came_and_who_is_missing, failures_and_chains, workers_and_groups, a_stream_goes_on_where_it_was,
         whoever_does_not_read_has_a_gap, nothing_is_left_of_those_who_hang_up,
         a_comment_comes_when_nothing_happens, the_service_stops)
with Service(workers=4) as service:
    for test in TESTS:
        try:
            with row("F32") if test is whoever_does_not_read_has_a_gap else contextlib.nullcontext():
                test(service)
            passed += 1
        except Exception as e:
            print("%s: %s: %s" % (test.__name__, type(e).__name__, str(e)[:2000]), flush=True)
print("CASES %d %d" % (passed, len(TESTS) - passed))
sys.exit(passed != len(TESTS))
