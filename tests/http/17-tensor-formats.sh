#!/bin/sh
# Accept chooses the representation, ?format= beats it, and what cannot be said is a 406 that lists the rest.
. "$(dirname "$0")/lib.sh"
start_server

post /v1/tensors '[1, 2]'
id=$(value .tensor)

# accept HEADER TYPE
accept() {
    get "/v1/tensors/$id" -H "Accept: $1"
    expect_status 200
    expect_header Content-Type "$2"
}
accept '*/*' application/json
accept "$npy" "$npy"
accept "$safetensors" "$safetensors"
accept "$raw;q=0.5, $npy;q=0.4" "$raw"
accept "application/*;q=0.1, $npy" "$npy"
get "/v1/tensors/$id?format=raw" -H "Accept: $npy"
expect_header Content-Type "$raw"
get "/v1/tensors/$id" -H 'Accept: image/png'
expect_problem 406 not_acceptable
expect_true '.detail | test("npy")'
get "/v1/tensors/$id" -H "Accept: $npy;q=0"
expect_problem 406 not_acceptable
