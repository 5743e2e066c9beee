#!/bin/sh
# Every answer says that no other site may read it and that its type is what it says; HTML loads nothing from elsewhere and
# stands in no frame; nothing sets a cookie or opens the service to other sites' pages.
. "$(dirname "$0")/lib.sh"
start_server

common() {
    expect_header X-Content-Type-Options nosniff
    expect_header Cross-Origin-Resource-Policy same-origin
    for name in Set-Cookie Access-Control-Allow-Origin Access-Control-Allow-Credentials; do
        [ -z "$(header $name)" ] || fail "there is a header $name"
    done
}
post /v1/tensors '[1,2]'
expect_status 201
common
tensor=$(value .tensor)
post '/v1/jobs?wait=20' "{\"op\":\"all_gather\",\"inputs\":[{\"tensor\":\"$tensor\"},[3,4]],\"label\":\"<script>alert(1)</script>\"}"
expect_status 200
common
job=$(value .id)
expect_true '.label == "<script>alert(1)</script>"'
for at in "/v1/tensors/$tensor" "/v1/jobs/$job" /v1/jobs /v1/nope /v1/jobs?nope=1 /healthz /readyz /openapi.yaml /v1/metrics; do
    get "$at"
    common
    case $(header Content-Type) in
    *html*) fail "$at is HTML" ;;
    esac
done
for format in npy safetensors raw; do
    for at in "/v1/tensors/$tensor" "/v1/jobs/$job/outputs" "/v1/jobs/$job/outputs/0"; do
        get "$at?format=$format"
        expect_status 200
        common
        expect_header Content-Disposition attachment
    done
done
policy="default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
for page in / /docs /docs/errors /docs/errors/internal; do
    get "$page"
    expect_status 200
    common
    case $(header Content-Type) in
    text/html*) ;;
    *) fail "$page is no HTML" ;;
    esac
    expect_header X-Frame-Options DENY
    expect_header Referrer-Policy no-referrer
    [ $page = /docs ] || expect_header Content-Security-Policy "$policy"
done
# Icons of Swagger UI's style are data: URLs, which fetch nothing.
get /docs
expect_header Content-Security-Policy "$policy; img-src 'self' data:"
