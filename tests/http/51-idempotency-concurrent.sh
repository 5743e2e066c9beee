#!/bin/sh
# Fifty clients at once with one Idempotency-Key get one job.
. "$(dirname "$0")/lib.sh"
export TUTTI_FAILPOINTS=worker.before_run=sleep:200
start_server

python "$url" <<'PY'
import http.client, json, sys, threading
host = sys.argv[1].split("//")[1]
ids, lock = [], threading.Lock()
start = threading.Barrier(50)

def one():
    c = http.client.HTTPConnection(host, timeout=60)
    c.connect()
    start.wait()
    c.request("POST", "/v1/jobs?wait=20", '{"op":"all_reduce_sum","inputs":[[1],[2]]}',
              {"Content-Type": "application/json", "Idempotency-Key": "one"})
    r = c.getresponse()
    job = json.loads(r.read())
    assert r.status == 200, job
    with lock:
        ids.append((job["id"], job["attempts"], str(job["outputs"][0]["data"])))

threads = [threading.Thread(target=one) for _ in range(50)]
[t.start() for t in threads]
[t.join() for t in threads]
assert len(ids) == 50 and len(set(ids)) == 1, set(ids)
PY
get '/v1/jobs'
expect '.jobs | length' 1
row F45
