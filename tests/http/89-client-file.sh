#!/bin/sh
# The server carries the notebook client: the file of the repository, which the first cell of a notebook fetches and imports; and
# without a token, where the service wants one for everything else.
. "$(dirname "$0")/lib.sh"

# fetched TOKEN: into an empty directory, as README.md says it
fetched() {
    rm -rf "$here/notebook"
    mkdir "$here/notebook"
    (cd "$here/notebook" && /usr/bin/python3 - "$url" "$1" <<'PY'
import sys, urllib.request
urllib.request.urlretrieve(sys.argv[1] + "/client/tutti.py", "tutti.py")
sys.path.insert(0, "")
import tutti
assert tutti.connect(sys.argv[1], sys.argv[2]).world.all_reduce_sum([1, 2]) == [3, 3]
PY
    ) || fail "it is not imported, or does not work"
    cmp -s "$here/notebook/tutti.py" "$root/web/notebook/tutti.py" || fail "it is another file"
}

start_server --workers 2
get /client/tutti.py
expect_status 200
expect_header Content-Type 'text/x-python; charset=utf-8'
expect_file "$root/web/notebook/tutti.py"
fetched ''
stop_server

alice=$(new_token alice:user)
start_server --workers 2 --token-file "$here/tokens"
get /v1
expect_problem 401 unauthorized
fetched "$alice"
