#!/bin/sh
# Each dtype's extreme values survive a job in JSON, as numbers or as the strings that JSON needs.
. "$(dirname "$0")/lib.sh"
start_server --workers 2

# same DTYPE DATA: broadcast gives it back byte for byte
same() {
    post '/v1/jobs?wait=10' "{\"op\":\"broadcast\",\"dtype\":\"$1\",\"inputs\":[$2,null]}"
    expect_status 200
    expect_in "\"dtype\":\"$1\""
    expect_in "\"data\":$2"
}
same int8 '[-128,127]'
same uint8 '[0,255]'
same int16 '[-32768,32767]'
same uint16 '[0,65535]'
same int32 '[-2147483648,2147483647]'
same uint32 '[0,4294967295]'
same int64 '[-9223372036854775808,9223372036854775807]'
same uint64 '[0,9223372036854775807,"9223372036854775808","18446744073709551615"]'
same bool '[true,false]'
same float16 '[65504,-0.5,"NaN","Infinity","-Infinity"]'
same bfloat16 '[1,-0.5,"NaN"]'
same float32 '[0.1,16777216,"NaN"]'
same float64 '[0.1,9007199254740992,5e-324]'
