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
expect '.outputs[0] | has("data")' false
printf 'xx' >>"$here/x"
upload "$query&shape=2,32769" "$raw" "$here/x"
expect_status 200
expect '.outputs[0] | has("data")' false
job=$(value .id)
get "/v1/jobs/$job?data=1"
expect '.outputs[1].data | length' 32769
