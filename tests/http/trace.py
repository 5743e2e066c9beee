#!/usr/bin/python3
"""GET /v1/trace shows jobs rank by rank on one time axis, in Chrome's Trace Event Format: what it says is checked by the
letter of the format, slices of a thread nest, the ranks of a collective overlap, large batches have few threads, and an account sees
its own jobs alone."""
import concurrent.futures
import datetime
import itertools
import json
import os
import subprocess
import sys

sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
from service import BUILD, Service

NEEDED = {"X": {"name", "cat", "ph", "pid", "tid", "ts", "dur", "args"}, "M": {"name", "ph", "pid", "tid", "args"},
          "s": {"name", "cat", "id", "ph", "pid", "tid", "ts"}, "f": {"name", "cat", "id", "ph", "bp", "pid", "tid", "ts"}}
METADATA = {"process_name": str, "thread_name": str, "process_sort_index": int, "thread_sort_index": int}


def ns(event, key):
    """Exactly: a double of microseconds has not the digits for long traces."""
    value = event[key]
    assert isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0, event
    return round(value * 1000)


def nest(slices):
    """Slices of one thread: each lies within the one that is open, or behind it."""
    stack = []
    for begin, end, name in sorted(slices, key=lambda s: (s[0], -s[1])):
        while stack and stack[-1][1] <= begin and not (stack[-1][0] == begin and stack[-1][1] >= end):
            stack.pop()
        assert not stack or end <= stack[-1][1], "%s leaves %s, in which it began" % ((begin, end, name), stack[-1])
        stack.append((begin, end, name))


def parsed(text):
    """What a strict reader makes of it: {(process, thread): slices}, and the arrows."""
    document = json.loads(text, parse_constant=lambda word: (_ for _ in ()).throw(AssertionError(word)))
    assert set(document) == {"traceEvents", "displayTimeUnit", "otherData"} and document["displayTimeUnit"] in ("ns", "ms")
    processes, threads, slices, arrows = {}, {}, {}, {}
    for event in document["traceEvents"]:
        kind = event["ph"]
        assert set(event) == NEEDED[kind], event
        assert isinstance(event["pid"], int) and event["pid"] > 0 and isinstance(event["tid"], int) and event["tid"] > 0, event
        place = (event["pid"], event["tid"])
        if kind == "M":
            key = "name" if event["name"].endswith("_name") else "sort_index"
            assert set(event["args"]) == {key} and isinstance(event["args"][key], METADATA[event["name"]]), event
            if event["name"] == "process_name":
                assert processes.setdefault(event["pid"], event["args"]["name"]) == event["args"]["name"], event
            if event["name"] == "thread_name":
                assert place not in threads, "a thread is named twice"
                threads[place] = event["args"]["name"]
        elif kind == "X":
            begin = ns(event, "ts")
            slices.setdefault(place, []).append((begin, begin + ns(event, "dur"), event))
        else:
            arrows.setdefault(event["id"], {})[kind] = (ns(event, "ts"), place)
    assert set(slices) == set(threads) and {p for p, _ in slices} == set(processes), (set(slices), threads, processes)
    for place in slices:
        nest([(b, e, x["name"]) for b, e, x in slices[place]])
    for ends in arrows.values():
        assert set(ends) == {"s", "f"} and ends["s"][0] <= ends["f"][0], ends
        for at, place in ends.values():
            assert any(b <= at <= e for b, e, _ in slices[place]), "an arrow from or to nowhere"
    return document, {(processes[p], t): s for (p, t), s in slices.items()}, arrows


def of_category(slices, category):
    return [(place, b, e, x["args"], x) for place, found in slices.items() for b, e, x in found if x["cat"] == category]


def check_enclosed(slices):
    """The coordinator's span of a job has all of its ranks' parts inside."""
    spans = {}
    for place, found in slices.items():
        for b, e, x in found:
            if x["cat"] == "job":
                job = x["args"]["job"]
            elif x["cat"] == "span":  # it follows its job
                assert place[0] == "coordinator" and x["name"] == "in the ranks" and job not in spans, x
                spans[job] = (b, e)
    parts = of_category(slices, "collective")
    for _, b, e, args, _ in parts:
        begin, end = spans[args["job"]]
        assert begin - 1000 <= b and e <= end + 1000, "%s is not within %s" % ((b, e), spans[args["job"]])  # a microsecond
    assert set(spans) == {args["job"] for _, _, _, args, _ in parts}


def trace(service, query, headers=None):
    answer = service.get("/v1/trace" + query, headers)
    assert answer.status == 200 and answer.headers["content-type"] == "application/json", answer
    return parsed(answer.body.decode())


def ranks_overlap():
    with Service(workers=4, failpoints="worker.mid_run/all_reduce_max=sleep:300@1") as service:
        job = service.post("/v1/jobs?wait=30", {"op": "all_reduce_max", "label": "<the & 'one\">",
                                                "inputs": [[r, 1.5] for r in range(4)]}).json
        _, slices, arrows = trace(service, "?jobs=" + job["id"])
        parts = of_category(slices, "collective")
        assert sorted(place[0] for place, *_ in parts) == ["rank 0", "rank 1", "rank 2", "rank 3"], parts
        for (_, b, e, *_), (_, b2, e2, *_) in itertools.combinations(parts, 2):
            assert b < e2 and b2 < e, "two ranks do not overlap: %s" % parts
        assert all(x["name"] == "all_reduce_max" and args["job"] == job["id"] and args["input_bytes"] == 8
                   for *_, args, x in parts), parts
        assert len(arrows) == 4
        (_, begin, end, args, _), = of_category(slices, "job")
        assert begin == 0 and end == job["timeline"]["total_us"] * 1000 and args["state"] == "succeeded", args
        assert args["label"] == "<the & 'one\">" and args["busbw_GBps"] == job["busbw_GBps"], args
        names = [x["name"] for *_, x in of_category(slices, "phase")]
        assert names == ["check", "record", "queue", "run"], names
        check_enclosed(slices)
        for row in job["timeline"]["ranks"]:  # the same moments as the document's
            (b, e), = [(b, e) for place, b, e, *_ in parts if place[0] == "rank %d" % row["world_rank"]]
            assert (b, e - b) == (round(row["started_us"] * 1000), round(row["collective_us"] * 1000)), (row, b, e)


def large_ones_overlap():
    """Nothing holds the ranks here: what they have to do, with outputs in pages that nobody has touched, takes longer than the
    last one takes to wake."""
    tries, size = 5, 64 << 20
    with Service(workers=4, arena=str((4 + tries) * (size + 4096))) as service:
        sent = [service.post("/v1/tensors?dtype=float32&shape=%d" % (size // 4), bytes(size), {"Content-Type": "application/octet-stream"})
                for _ in range(4)]
        assert [a.status for a in sent] == [201] * 4, sent
        body, overlap = {"op": "all_reduce_sum", "inputs": [{"tensor": a.json["tensor"]} for a in sent]}, 0
        for _ in range(tries):
            job = service.post("/v1/jobs?wait=60&data=0", body).json
            assert job["state"] == "succeeded", job
            _, slices, _ = trace(service, "?jobs=" + job["id"])
            parts = of_category(slices, "collective")
            assert len(parts) == 4, parts
            overlap += any(b < e2 and b2 < e for (_, b, e, *_), (_, b2, e2, *_) in itertools.combinations(parts, 2))
            check_enclosed(slices)
        assert overlap > tries // 2, "ranks overlap in %d of %d" % (overlap, tries)


def a_large_batch():
    """Hundreds of jobs wait at once: their threads are few, each job is there, and what is cut says so."""
    for groups, options in (([[0, 1, 2, 3]], []), ([[0, 1], [2, 3], [4, 5], [6, 7]], ["--overlap"])):
        with Service(workers=2 * len(groups) if len(groups) > 1 else 4, options=options) as service:
            lines = [{"op": "all_reduce_sum", "group": groups[i % len(groups)], "inputs": [[i, 1]] * len(groups[0])} for i in range(500)]
            answer = service.post("/v1/jobs:batch?wait=60&data=0", "".join(json.dumps(line) + "\n" for line in lines),
                                  {"Content-Type": "application/x-ndjson"})
            docs = {doc["id"]: doc for doc in map(json.loads, answer.body.splitlines())}
            assert {doc["state"] for doc in docs.values()} == {"succeeded"}
            document, slices, _ = trace(service, "?last=500")
            names = {x["args"]["name"] for x in document["traceEvents"] if x["name"] == "thread_name" and x["pid"] == 1}
            assert len(names) <= 64 and all(n.split(" ")[0] in ("jobs", "runs") for n in names), names
            jobs = of_category(slices, "job")
            assert sorted(args["job"] for *_, args, _ in jobs) == sorted(docs)
            received = min(doc["timeline"]["received_at"] for doc in docs.values())
            cut = 0
            for _, b, e, args, _ in jobs:
                line = docs[args["job"]]["timeline"]
                at = (datetime.datetime.fromisoformat(line["received_at"][:-1]) - datetime.datetime.fromisoformat(received[:-1]))
                at_ns = round(at / datetime.timedelta(microseconds=1)) * 1000
                assert e == at_ns + line["total_us"] * 1000 and b == at_ns + round(args.get("waited_us", 0) * 1000), (b, e, args, line)
                cut += "waited_us" in args
            assert 500 - 32 >= cut > 0, cut
            assert len(of_category(slices, "collective")) == 500 * len(groups[0])
            if len(groups) == 1:  # as many run at once as there are threads
                check_enclosed(slices)


def without_a_tensor():
    """A barrier has no tensor: nobody says of what dtype it was, nor of how many bytes."""
    with Service(workers=2) as service:
        whole = service.post("/v1/jobs?wait=10", {"op": "barrier"}).json
        assert service.post("/v1/groups/world/barrier?rank=0&wait=0").status == 202
        called = service.post("/v1/groups/world/barrier?rank=1&wait=10").json["job"]
        for op in ("barrier", "broadcast"):  # which is missed by whom would give
            lost = service.post("/v1/groups/world/ranks/1/calls?timeout=1&wait=5&label=lost", {"op": op})
            assert (lost.status, lost.json["code"]) == (504, "ranks_missing"), lost
            assert service.post("/v1/groups/world/ranks/0/calls", {"op": op, "input": None if op == "barrier" else [1]}).status == 504
        lost = [row["id"] for row in service.get("/v1/jobs?label=lost").json["jobs"]]
        assert len(lost) == 2, lost
        for _ in range(2):
            for job in [whole["id"], called, *lost]:
                doc = service.get("/v1/jobs/" + job).json
                assert doc["dtype"] is None and doc["input_shape"] is None, doc
            _, slices, _ = trace(service, "")
            for found in slices.values():
                assert all({"dtype", "input_bytes", "output_bytes"}.isdisjoint(x["args"]) for *_, x in found), found
            service.stop()
            service.start()  # and now by the database


def many_jobs():
    """In batches, side by side, on streams, by calls, failed, unfinished: all of it is a trace."""
    with Service(workers=4, options=["--overlap"]) as service:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            done = list(pool.map(lambda n: service.post("/v1/jobs?wait=30", {
                "op": ("all_gather", "broadcast", "reduce_sum", "all_to_all")[n % 4], "stream": n % 3,
                "group": [[0, 1], [3, 2], [0, 1, 2, 3]][n % 3], "inputs": [[n] * 12] * [2, 2, 4][n % 3]}), range(60)))
            assert {a.status for a in done} == {200}, done
        service.post("/v1/groups/world/ranks/1/calls?wait=0", {"op": "all_reduce_sum", "input": [1, 2]})
        lost = service.post("/v1/groups/world/barrier?rank=2&timeout=1&wait=5&stream=1")
        assert lost.status == 409, lost  # it disagrees with the call
        service.post("/v1/groups", {"name": "pair", "ranks": [0, 1]})
        assert service.post("/v1/groups/pair/ranks/0/calls?wait=0", {"op": "broadcast", "input": [1, 2]}).status == 202
        document, slices, _ = trace(service, "?last=500")
        jobs = of_category(slices, "job")
        states = sorted({args["state"] for *_, args, _ in jobs})
        assert len(jobs) == 62 and states == ["failed", "succeeded", "waiting"], (len(jobs), states)
        assert ["mismatch"] == [args["error"] for *_, args, _ in jobs if "error" in args]
        began = datetime.datetime.fromisoformat(document["otherData"]["began_at"].replace("Z", "+00:00"))
        for a in done:  # one axis for all of them
            at = datetime.datetime.fromisoformat(a.json["timeline"]["received_at"].replace("Z", "+00:00"))
            (_, begin, *_), = [j for j in jobs if j[3]["job"] == a.json["id"]]
            assert begin == round((at - began) / datetime.timedelta(microseconds=1)) * 1000, (begin, at, began)
        assert len(of_category(slices, "collective")) == sum(len(a.json["ranks"]) for a in done)
        check_enclosed(slices)
        newest = [row["id"] for row in service.get("/v1/jobs?limit=3").json["jobs"]]
        _, slices, _ = trace(service, "?last=3")
        assert sorted(args["job"] for *_, args, _ in of_category(slices, "job")) == sorted(newest)
        _, slices, _ = trace(service, "?jobs=%s,%s,%s" % (newest[2], newest[0], newest[2]))  # one twice
        assert len(of_category(slices, "job")) == 2
        service.stop()
        service.start()
        _, slices, _ = trace(service, "?last=500")  # the ranks' times are in the database
        assert len(of_category(slices, "collective")) == sum(len(a.json["ranks"]) for a in done)


def refusals():
    with Service(workers=2) as service:
        document, slices, _ = trace(service, "")
        assert document["traceEvents"] == []
        for query, status, code in (("?jobs=x", 400, "bad_parameter"), ("?last=0", 422, "parameter_range"),
                                    ("?jobs=j_01ARZ3NDEKTSV4RRFFQ69G5FAV", 404, "job_unknown"),
                                    ("?jobs=j_01ARZ3NDEKTSV4RRFFQ69G5FAV&last=3", 400, "conflicting_parameter")):
            answer = service.get("/v1/trace" + query)
            assert (answer.status, answer.json["code"]) == (status, code), (query, answer)


def accounts():
    service = Service(workers=2)
    tokens = os.path.join(service.dir, "tokens")
    token = {who: {"Authorization": "Bearer " + subprocess.run(
        [os.path.join(BUILD, "tutti-server"), "--token-file", tokens, "--new-token", who + ":" + role], check=True,
        capture_output=True, text=True).stdout.strip()} for who, role in (("ann", "user"), ("bob", "read"), ("root", "admin"))}
    service.options += ["--token-file", tokens]
    with service:
        body = {"op": "broadcast", "inputs": [[1], None]}
        job = service.post("/v1/jobs?wait=10", body, token["ann"]).json["id"]
        assert service.post("/v1/groups/world/ranks/0/calls?wait=0", {"op": "broadcast", "input": [1]},
                            token["ann"]).status == 202
        for who, seen in (("ann", 2), ("bob", 0), ("root", 2)):
            _, slices, _ = trace(service, "", token[who])
            assert len(of_category(slices, "job")) == seen, (who, slices)
        waits = [row["id"] for row in service.get("/v1/jobs?state=waiting", token["ann"]).json["jobs"]]
        for id_ in [job] + waits:
            assert service.get("/v1/trace?jobs=" + id_, token["bob"]).status == 404
            assert service.get("/v1/trace?jobs=" + id_, token["ann"]).status == 200


for check in (ranks_overlap, large_ones_overlap, a_large_batch, without_a_tensor, many_jobs, refusals, accounts):
    check()
print("CASES 7 0")
