#!/usr/bin/python3
"""GET /v1/jobs/{id}/reproduce gives a shell script that repeats the job: the same outputs bit for bit, for every operation and
dtype, for calls and gradients, whatever a label holds. Each script is read by shellcheck before it runs."""
import json
import os
import random
import re
import string
import subprocess
import sys
import tempfile
import threading

sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
from service import BUILD, Service, until

RANKS = 4
SHELLS = [shell for shell in ("dash", "bash", "busybox") if subprocess.run(["which", shell], capture_output=True).returncode == 0]


def tables():
    printed = subprocess.run([os.path.join(BUILD, "tutti-server"), "--print-tables"], check=True, capture_output=True, text=True)
    rows = [line.split(" ") for line in printed.stdout.splitlines()]
    return [r[1] for r in rows if r[0] == "op"], {r[1]: int(r[2]) for r in rows if r[0] == "dtype"}


OPS, DTYPES = tables()


def script_of(service, job, headers=None):
    answer = service.get("/v1/jobs/%s/reproduce" % job, headers)
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "text/x-shellscript; charset=us-ascii", answer.headers
    text = answer.body.decode("ascii")
    checked = subprocess.run(["shellcheck", "-s", "sh", "-o", "all", "-e", "SC2250,SC2310,SC2312", "-"], input=text, capture_output=True,
                             text=True)
    assert checked.returncode == 0, text + checked.stdout
    return text


def run(text, *arguments, status=0, **environment):
    """What it prints; under another shell each time."""
    SHELLS.append(SHELLS.pop(0))
    command = {"busybox": ["busybox", "sh"]}.get(SHELLS[0], [SHELLS[0]])
    home = {k: v for k, v in os.environ.items() if not k.startswith("TUTTI_")}
    done = subprocess.run([*command, "-c", text, "script", *arguments], capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL, env={**home, **environment})
    assert done.returncode == status, (command, done, text)
    return done.stdout if status == 0 else done.stderr


def outputs(service, job):
    """Of each rank, its bytes."""
    ranks = service.get("/v1/jobs/%s?data=0" % job).json["outputs"]
    return [row and service.get("/v1/jobs/%s/outputs/%d?format=raw" % (job, row["rank"])).body for row in ranks]


def same(service, job, text=None, *arguments):
    """Repeats it, and compares. Gives the new document."""
    again = json.loads(run(text or script_of(service, job), *arguments))
    assert again["state"] == "succeeded" and again["id"] != job, again
    want, got = outputs(service, job), outputs(service, again["id"])
    assert want == got, (job, again, want, got)
    old = service.get("/v1/jobs/%s?data=0" % job).json
    for key in ("op", "ranks", "dtype", "label", "priority", "stream", "parent"):
        assert old[key] == again[key], (key, old, again)
    return again


def bits(rng, dtype, elements):
    """Any bits at all: NaNs of every kind, infinities, subnormals."""
    if dtype == "bool":
        return bytes(rng.randrange(2) for _ in range(elements))
    return rng.randbytes(elements * DTYPES[dtype])


def upload(service, data, dtype, shape):
    answer = service.request("POST", "/v1/tensors?dtype=%s&shape=%s" % (dtype, ",".join(map(str, shape))), data,
                             {"Content-Type": "application/octet-stream"})
    assert answer.status == 201, answer
    return answer.json["tensor"]


def job_of(service, op, dtype, shape, data, **parameters):
    """Of uploads that are gone afterwards: the script must have what it needs."""
    tensors = [upload(service, d, dtype, shape) for d in data]
    answer = service.post("/v1/jobs?wait=30", {"op": op, "inputs": [{"tensor": t} for t in tensors], **parameters})
    for t in tensors:
        assert service.delete("/v1/tensors/" + t).status == 204
    return answer


def every_op_and_dtype():
    rng = random.Random(1)
    with Service(workers=RANKS) as service:
        cases = [("all_gather", dtype) for dtype in DTYPES] + [("all_reduce_sum", d) for d in ("bfloat16", "uint64", "float16")]
        for op in OPS:
            dtype = {"all_reduce_avg": "bfloat16"}.get(op, "uint64" if "sum" in op or op.endswith(("and", "or", "xor")) else "bfloat16")
            cases.append((op, dtype))
        for op, dtype in cases:
            axes = {"all_to_all": {"split_axis": 1, "concat_axis": -3}}.get(op, {"axis": 1} if re.search("gather|scatter", op) else {})
            peers = {"src": 2, "dst": 1} if op.startswith("remote") else {}
            if op == "barrier":
                answer = service.post("/v1/jobs?wait=30", {"op": op})
            else:
                answer = job_of(service, op, dtype, (3, RANKS, 2), [bits(rng, dtype, 24) for _ in range(RANKS)], group=[3, 1, 0, 2],
                                priority=-7, stream=3, timeout=33.5, label="as %s" % op, **axes, **peers)
            assert answer.status == 200, (op, dtype, answer)
            same(service, answer.json["id"])
        assert service.get("/v1/metrics").json["tensors"] > 0
    return len(cases)


def readable():
    """Where JSON says it all the script has JSON, and no upload: the special numbers that it has names for too."""
    with Service(workers=2) as service:
        for dtype, data in (("float32", ["NaN", "Infinity", "-Infinity", -0.0, 1e-45, 0.1]), ("uint64", ["18446744073709551615", 1, 0, 2, 3, 4]),
                            ("bfloat16", ["NaN", 3.14, 1, 2, 3, 4]), ("bool", [True, False] * 3), ("int64", [-2**63, 1, 2, 3, 4, 5])):
            answer = service.post("/v1/jobs?wait=10", {"op": "all_gather", "dtype": dtype, "inputs": [data, data]})
            text = script_of(service, answer.json["id"])
            assert "upload" not in text and json.dumps(data[-1]) in text, text
            same(service, answer.json["id"], text)
        for shape in ([], [0], [0, 3], [2, 0]):  # a scalar, and what has no element that would say its shape
            count = 0 if 0 in shape else 1
            given = {"dtype": "int8", "shape": shape, "data": [5] * count}
            answer = service.post("/v1/jobs?wait=10", {"op": "all_reduce_max", "inputs": [given, given]})
            assert answer.status == 200, answer
            again = same(service, answer.json["id"])
            assert again["outputs"][0]["shape"] == shape, again


def hostile_labels():
    rng = random.Random(2)
    labels = ["'; touch owned; '", "$(touch owned)", "`touch owned`", "\"; touch owned; \"", "\\", "\\'", "'\\''", "${HOME}", "%s%n", "-n", "*", "~/x",
              "\u2019\u201c\u2028\u202e\ufeff", "\U0001f600'\U0001f600", "EOF", "&& exit 1 #", "<<x", "!!", "\\u0027", "$'\\n'", "\"state\":\"queued\"",
              "{\"state\":\"running\"}", "t\u00e9st"]
    labels += ["".join(rng.choice(string.punctuation + " a\u00e9") for _ in range(40)) for _ in range(12)]
    with Service(workers=2) as service:
        for label in labels:
            job = service.post("/v1/jobs?wait=10", {"op": "all_reduce_sum", "label": label, "inputs": [[1], [2]]}).json["id"]
            text = script_of(service, job)
            assert not any(line.startswith("#") and label in line for line in text.splitlines() if len(label) > 4), text
            same(service, job, text)
        assert not os.path.exists("owned")
        # Nor is there anything of the Host that a shell would read.
        for host in ("127.0.0.1:$(touch owned)", "localhost`touch owned`", "localhost;touch owned"):
            answer = service.get("/v1/jobs/%s/reproduce" % job, {"Host": host})
            assert answer.status in (400, 403), answer
    return len(labels)


def larger_inputs(work):
    """By the tensors' names as long as they are there, then from files."""
    rng = random.Random(3)
    with Service(workers=2) as service:
        data = [bits(rng, "float16", 3000) for _ in range(2)]
        tensors = [upload(service, d, "float16", (3, 1000)) for d in data]
        job = service.post("/v1/jobs?wait=10", {"op": "all_gather", "inputs": [{"tensor": t} for t in tensors]}).json["id"]
        text = script_of(service, job)
        assert all(t in text for t in tensors) and "upload" not in text
        same(service, job, text)
        assert service.delete("/v1/tensors/" + tensors[1]).status == 204
        text = script_of(service, job)
        said = run(text, status=2)
        for words in ("usage: script FILE...: 1 file of raw bytes, float16 ", "for the input of group rank 1\n", "does not have it any more",
                      "at most 4096 bytes", "--retain", "POST /v1/tensors"):
            assert words in said, (words, said)
        assert tensors[1] not in text and tensors[0] in text
        path = os.path.join(work, "1.raw")
        with open(path, "wb") as f:
            f.write(data[1])
        before = service.get("/v1/metrics").json["tensors"]
        again = same(service, job, text, path)
        assert service.get("/v1/metrics").json["tensors"] == before + 1, "it leaves what it uploaded"  # the output is one
        with open(path, "wb") as f:
            f.write(data[1][:-1])
        assert "size_mismatch" in run(text, path, status=1) or "body_mismatch" in run(text, path, status=1)
        # One that was sent with the job has no name.
        sent = service.request("POST", "/v1/jobs?op=broadcast&dtype=float16&shape=2,3000&wait=10", data[0] + data[1],
                               {"Content-Type": "application/octet-stream"}).json["id"]
        with open(path, "wb") as f:
            f.write(data[0])
        text = script_of(service, sent)
        assert "for the input of group rank 0\n" in run(text, status=2)
        same(service, sent, text, path)
        assert again["outputs"][0]["shape"] == [6, 1000]


def calls_and_gradients():
    with Service(workers=RANKS) as service:
        def call(rank, path, body):
            answers[rank] = service.post("/v1/groups/world/" + path % rank, body)

        for path, bodies in (("ranks/%d/calls", [{"op": "all_reduce_max", "input": [r, 5.5, -r]} for r in range(RANKS)]),
                             ("barrier?rank=%d", [None] * RANKS), ("bcast?rank=%d", [{"a": "it's"}] + [None] * 3)):
            answers = [None] * RANKS
            threads = [threading.Thread(target=call, args=(r, path, bodies[r])) for r in range(RANKS)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            assert {a.status for a in answers} == {200}, answers
            job = answers[0].json["job"]
            same(service, job)
            if "calls" in path:  # the gradient of a maximum has a mask, and one that is missing counts as zeros
                for grads in ([[1, 2, 3], None, [4, 5, 6], None], [None] * RANKS):
                    back = service.post("/v1/jobs/%s/backward?wait=10&label=grad" % job, {"grads": grads})
                    assert back.status == 200, back
                    assert same(service, back.json["id"])["parent"] == job


def unfinished_and_unknown():
    with Service(workers=2, failpoints="worker.before_run/all_reduce_min=sleep:3000@1") as service:
        waits = service.post("/v1/groups/world/ranks/1/calls?wait=0&timeout=1", {"op": "broadcast"})
        id_ = service.get("/v1/jobs?state=waiting").json["jobs"][0]["id"]
        answer = service.get("/v1/jobs/%s/reproduce" % id_)
        assert waits.status == 202 and (answer.status, answer.json["code"]) == (409, "job_running"), answer
        until(lambda: service.get("/v1/jobs/" + id_).json["state"] == "failed")
        answer = service.get("/v1/jobs/%s/reproduce" % id_)
        assert (answer.status, answer.json["code"]) == (410, "inputs_lost"), answer
        runs = service.post("/v1/jobs", {"op": "all_reduce_min", "inputs": [[4, 2], [3, 5]]}).json["id"]
        text = script_of(service, runs)  # while it runs
        again = same(service, runs, text)
        assert again["outputs"][1]["data"] == [3, 2], again
        assert service.get("/v1/jobs/j_01ARZ3NDEKTSV4RRFFQ69G5FAV/reproduce").status == 404
        service.stop()
        service.start(failpoints="")
        same(service, runs)  # the database has what it was given
        refused = service.post("/v1/jobs?wait=5", {"op": "all_reduce_prod", "inputs": [[1], [2]]}).json["id"]
        text = script_of(service, refused).replace("all_reduce_prod", "no_such_op")
        assert "op_unknown" in run(text, status=1)


def tokens():
    service = Service(workers=2)
    path = os.path.join(service.dir, "tokens")
    ann, bob = (subprocess.run([os.path.join(BUILD, "tutti-server"), "--token-file", path, "--new-token", who + ":user"], check=True,
                               capture_output=True, text=True).stdout.strip() for who in ("ann", "bob"))
    service.options += ["--token-file", path]
    with service:
        mine, others = {"Authorization": "Bearer " + ann}, {"Authorization": "Bearer " + bob}
        job = service.post("/v1/jobs?wait=10", {"op": "broadcast", "inputs": [[7], None]}, mine).json["id"]
        assert service.get("/v1/jobs/%s/reproduce" % job, others).status == 404
        text = script_of(service, job, mine)
        assert ann not in text and ann.split(".")[1] not in text
        assert "unauthorized" in run(text, status=1)
        again = json.loads(run(text, TUTTI_TOKEN=ann))
        assert again["outputs"][1]["data"] == [7] and again["owner"] == "ann", again
        again = json.loads(run(text.replace("127.0.0.1", "192.0.2.1"), TUTTI_TOKEN=ann, TUTTI_URL="http://127.0.0.1:%d/" % service.port))
        assert again["outputs"][1]["data"] == [7], again


os.chdir(os.environ.get("TMPDIR") or "/tmp")
for check in (every_op_and_dtype, readable, hostile_labels, calls_and_gradients, unfinished_and_unknown, tokens):
    check()
with tempfile.TemporaryDirectory() as place:
    larger_inputs(place)
print("NOTE with " + ", ".join(sorted(SHELLS)))
print("CASES 7 0")
