#!/bin/sh
# A tensor never changes: it has an ETag, may be cached for ever, and If-None-Match saves the bytes.
. "$(dirname "$0")/lib.sh"
start_server

post /v1/tensors '[1, 2, 3]'
id=$(value .tensor)
get "/v1/tensors/$id?format=raw"
expect_status 200
expect_header ETag
case $(header Cache-Control) in
*private*immutable* | *immutable*private*) ;;
*) fail "Cache-Control: $(header Cache-Control)" ;;
esac
etag=$(header ETag)
get "/v1/tensors/$id?format=raw" -H "If-None-Match: $etag"
expect_status 304
[ ! -s "$here/body" ] || fail "a 304 has no body"
get "/v1/tensors/$id?format=raw" -H 'If-None-Match: "other"'
expect_status 200
get "/v1/tensors/$id?format=npy"
[ "$(header ETag)" != "$etag" ] || fail "other bytes should have another ETag"
