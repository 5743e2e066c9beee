#!/bin/sh
# As many keys as there may be, and one more: refused until one goes; those that have expired do not count.
. "$(dirname "$0")/lib.sh"
start_server --workers 2
/usr/bin/python3 - "$url" <<'PY' || fail 'see above'
import http.client, sys, threading, time, urllib.parse
host = urllib.parse.urlsplit(sys.argv[1]).netloc
MOST = 10000

def ask(c, method, key, query=""):
    c.request(method, "/v1/groups/world/kv/%s%s" % (key, query), "1" if method == "PUT" else None,
              {"Content-Type": "application/json"})
    answer = c.getresponse()
    return answer.status, answer.read()

def fill(part):
    c = http.client.HTTPConnection(host, timeout=60)
    for n in range(part, MOST - 1, 8):
        status, body = ask(c, "PUT", "k%d" % n)
        assert status == 201, body

threads = [threading.Thread(target=fill, args=(part,)) for part in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
c = http.client.HTTPConnection(host, timeout=60)
assert ask(c, "PUT", "brief", "?ttl=2")[0] == 201
status, body = ask(c, "PUT", "more")
assert status == 429 and b"too_many_keys" in body, body
assert ask(c, "PUT", "k5")[0] == 204  # one that is there
time.sleep(2.1)
assert ask(c, "PUT", "more")[0] == 201
assert ask(c, "PUT", "again")[0] == 429
assert ask(c, "DELETE", "k5")[0] == 200
assert ask(c, "PUT", "again")[0] == 201
PY
