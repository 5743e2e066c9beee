#!/bin/sh
# outputs=unique sends an output that several ranks have once, in every format, and says which is whose.
. "$(dirname "$0")/lib.sh"
start_server --workers 4

# Of a job that is there. All ranks share one output.
post '/v1/jobs?wait=10' '{"op": "all_reduce_sum", "dtype": "int32", "inputs": [[1, 2], [3, 4], [5, 6], [7, 8]]}'
job=$(value .id) shared=$(value '.outputs[0].tensor')
for at in "/v1/jobs/$job" "/v1/jobs/$job/outputs"; do
    get "$at?outputs=unique"
    expect '[.outputs[].tensor]' "[\"$shared\",\"$shared\",\"$shared\",\"$shared\"]"
    expect '[.outputs[] | .data?]' '[[16,20],null,null,null]'
    expect '[.outputs[] | has("data")]' '[true,false,false,false]'
    get "$at?outputs=each"
    expect '[.outputs[] | .data?]' '[[16,20],[16,20],[16,20],[16,20]]'
done
printf '\20\0\0\0\24\0\0\0' >"$here/want"
get "/v1/jobs/$job/outputs?outputs=unique&format=raw"
expect_file "$here/want"
expect_header Tutti-Outputs 0,0,0,0
expect_header Tutti-Shape 1,2
get "/v1/jobs/$job/outputs?outputs=unique&format=npy"
cp "$here/body" "$here/unique.npy"
get "/v1/jobs/$job/outputs?outputs=unique&format=safetensors"
expect_header Tutti-Outputs 0,0,0,0
cp "$here/body" "$here/unique.safetensors"
get "/v1/jobs/$job/outputs?format=raw"
[ -z "$(header Tutti-Outputs)" ] && [ "$(wc -c <"$here/body")" -eq 32 ] || fail "what is not asked for is as it was"
get "/v1/jobs/$job/outputs/3?outputs=unique&format=raw"
expect_file "$here/want"
python <<'END'
import json
import numpy as np
assert np.load("unique.npy").tolist() == [[16, 20]]
body = open("unique.safetensors", "rb").read()
head = json.loads(body[8:8 + int.from_bytes(body[:8], "little")])
assert head["__metadata__"] == {"outputs": "0,0,0,0"}, head
assert list(head) == ["__metadata__", "0"] and head["0"]["data_offsets"] == [0, 8] and len(body) % 8 == 0, head
END

# As the answer to the request that waits, in every format, and of a gradient.
stack='/v1/jobs?op=all_gather&wait=10&dtype=int32&shape=4,1&outputs=unique'
printf '\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0' >"$here/in"
for format in raw npy safetensors; do
    upload "$stack&format=$format" "$raw" "$here/in"
    expect_status 200
    expect_header Tutti-Outputs 0,0,0,0
    tail -c 16 "$here/body" | cmp -s - "$here/in" || fail "$format"
done
upload "$stack" "$raw" "$here/in"
expect '[.outputs[] | .data?]' '[[1,2,3,4],null,null,null]'
post "/v1/jobs/$job/backward?wait=10&outputs=unique&format=raw" '{"grads": [[1, 0], null, null, [0, 1]]}'
expect_header Tutti-Outputs 0,0,0,0
printf '\1\0\0\0\1\0\0\0' >"$here/ones"
expect_file "$here/ones"
post "/v1/jobs/$job/backward?wait=10&outputs=unique" '{"grads": [[1, 0], null, null, [1, 2]]}'
expect '[.outputs[] | .data?]' '[[2,2],null,null,null]'

# Where each rank has its own, each comes; where only some have one, only those.
post '/v1/jobs?wait=10&outputs=unique' '{"op": "scatter", "dtype": "int32", "inputs": [[1, 2, 3, 4], null, null, null]}'
expect '[.outputs[].data]' '[[1],[2],[3],[4]]'
get "/v1/jobs/$(value .id)/outputs?outputs=unique&format=raw"
expect_header Tutti-Outputs 0,1,2,3
expect_header Tutti-Shape 4,1
expect_file "$here/in"
for format in raw npy safetensors; do
    post "/v1/jobs?wait=10&outputs=unique&format=$format" \
        '{"op": "remote_send", "src": 0, "dst": 2, "dtype": "int32", "inputs": [[16, 20], null, null, null]}'
    expect_status 200
    expect_header Tutti-Outputs -,-,0,-
    tail -c 8 "$here/body" | cmp -s - "$here/want" || fail "$format of one rank alone"
done
post '/v1/jobs?wait=10&outputs=unique' '{"op": "barrier", "inputs": [null, null, null, null]}'
job=$(value .id)
expect .outputs '[null,null,null,null]'
get "/v1/jobs/$job/outputs?outputs=unique&format=safetensors"
expect_header Tutti-Outputs -,-,-,-
get "/v1/jobs/$job/outputs?outputs=unique&format=npy"
expect_problem 406 not_acceptable

# A batch, in the query or line by line; the limit of what is shown counts what is shown.
upload '/v1/jobs:batch?wait=10&outputs=unique' application/x-ndjson /dev/stdin <<'END'
{"op": "all_reduce_max", "inputs": [[1], [2], [3], [4]]}
{"op": "all_to_all", "inputs": [[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4]]}
END
[ "$(jq -c '[.outputs[] | .data?]' "$here/body")" = "[[4],null,null,null]
[[1,1,1,1],[2,2,2,2],[3,3,3,3],[4,4,4,4]]" ] || fail "the batch: $(jq -c .outputs "$here/body")"
head -c 800000 /dev/zero >"$here/zeros" # 4 x 50,000 float32
upload '/v1/jobs?op=all_reduce_sum&wait=10&dtype=float32&shape=4,50000' "$raw" "$here/zeros"
expect '[.outputs[] | has("data")]' '[false,false,false,false]'
get "/v1/jobs/$(value .id)?outputs=unique"
expect '[.outputs[] | has("data")]' '[true,false,false,false]'

# What it may be.
get "/v1/jobs/$job?outputs=some"
expect_problem 422 parameter_range
expect_true '.detail | test("unique or each")'
post '/v1/jobs' '{"op": "barrier", "outputs": "twice"}'
expect_problem 422 parameter_range
get '/v1/jobs?outputs=unique'
expect_problem 400 unknown_parameter
