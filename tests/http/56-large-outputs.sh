#!/bin/sh
# A job's document shows data up to 65,536 elements in all outputs together, or as ?data= says.
. "$(dirname "$0")/lib.sh"
start_server

head -c 65536 /dev/zero >"$here/x"
query='/v1/jobs?op=all_reduce_max&dtype=uint8&wait=10'
upload "$query&shape=2,32768" "$raw" "$here/x"
expect_status 200
expect '.outputs[0].data | length' 32768
upload "$query&shape=2,32768&data=0" "$raw" "$here/x"
expect '.outputs[0] | has("data") or has("data_omitted")' false
printf 'xx' >>"$here/x"
upload "$query&shape=2,32769" "$raw" "$here/x"
expect_status 200
expect '.outputs[0] | has("data")' false
why="65538 elements in all outputs, and JSON shows at most 65536 unasked: add data=1, or get the job's outputs (/outputs, with Accept) as application/x-npy, application/vnd.safetensors or application/octet-stream"
expect '[.outputs[].data_omitted] | unique | .[]' "\"$why\""
job=$(value .id)
get "/v1/jobs/$job?data=1"
expect '.outputs[1].data | length' 32769
expect '.outputs[1] | has("data_omitted")' false
get "/v1/jobs/$job?outputs=unique"
expect '[.outputs[] | has("data_omitted") or has("data")]' '[true,false]' # 32769 of one are shown
get "/v1/jobs?limit=1"
expect '.jobs[0].outputs[0] | has("data_omitted")' false # nobody expects it there

# So does the output of one rank, and of a call; more than 4 Mi elements cannot be asked for.
head -c 70000 /dev/zero >"$here/x"
upload '/v1/jobs?op=all_gather&dtype=uint8&wait=10&shape=2,35000&data=0' "$raw" "$here/x"
job=$(value .id)
get "/v1/jobs/$job/outputs/1"
expect '[has("data"), (.data_omitted | test("^70000 elements, .*: add data=1, or ask "))]' '[false,true]'
get "/v1/jobs/$job/outputs/1?data=0"
expect 'has("data") or has("data_omitted")' false
post /v1/groups '{"name": "alone", "ranks": [0]}'
upload '/v1/groups/alone/ranks/0/calls?op=all_reduce_sum&dtype=uint8&shape=70000&format=json' "$raw" "$here/x"
expect '.output | [has("data"), (.data_omitted | test("^70000 elements, .*: add data=1, or ask "))]' '[false,true]'
upload '/v1/groups/alone/ranks/0/calls?op=all_reduce_sum&dtype=uint8&shape=70000&format=json&data=1' "$raw" "$here/x"
expect '.output | [(.data | length), has("data_omitted")]' '[70000,false]'
head -c 5000000 /dev/zero >"$here/x"
upload '/v1/groups/alone/ranks/0/calls?op=all_reduce_sum&dtype=uint8&shape=5000000&format=json' "$raw" "$here/x"
expect '.output.data_omitted | test("add data=1")' false

# Jobs of a batch that may each be shown are too many together.
head -c 1500000 /dev/zero >"$here/x"
upload '/v1/tensors?dtype=uint8&shape=1500000' "$raw" "$here/x"
line="{\"op\": \"broadcast\", \"inputs\": [{\"tensor\": \"$(value .tensor)\"}, null]}"
printf '%s\n%s\n' "$line" "$line" >"$here/lines"
request POST '/v1/jobs:batch?wait=20&data=1' -H 'Content-Type: application/x-ndjson' --data-binary "@$here/lines"
expect_status 200
jq -s . "$here/body" >"$here/array" && mv "$here/array" "$here/body"
expect '.[0].outputs[1] | [(.data | length), has("data_omitted")]' '[1500000,false]'
expect '.[1].outputs[1] | [has("data"), (.data_omitted | test("the jobs of this answer have more than the 4194304 elements"))]' '[false,true]'
