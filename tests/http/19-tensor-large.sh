#!/bin/sh
# JSON shows data up to 65,536 elements; of a larger tensor it shows what it is, and so does ?meta=1 of any.
. "$(dirname "$0")/lib.sh"
start_server

head -c 65537 /dev/zero >"$here/large"
head -c 65536 /dev/zero >"$here/small"
upload '/v1/tensors?dtype=uint8&shape=65536' "$raw" "$here/small"
small=$(value .tensor)
upload '/v1/tensors?dtype=uint8&shape=65537' "$raw" "$here/large"
large=$(value .tensor)
get "/v1/tensors/$small"
expect '.data | length' 65536
expect 'has("data_omitted")' false
get "/v1/tensors/$small?meta=1"
expect 'has("data") or has("data_omitted")' false
expect .size_bytes 65536
get "/v1/tensors/$large"
expect_status 200
expect 'has("data")' false
expect '.data_omitted' '"65537 elements, and JSON shows at most 65536 unasked: ask for application/x-npy, application/vnd.safetensors or application/octet-stream (Accept)"'
expect .shape '[65537]'
get "/v1/tensors/$large?meta=1"
expect 'has("data_omitted")' false
