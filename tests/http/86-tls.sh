#!/bin/sh
# With a certificate the service speaks HTTPS, TLS 1.2 and later alone: requests, waits, streams and large bodies as without.
# A key that others may read, or that is not the certificate's, is refused.
. "$(dirname "$0")/lib.sh"

certificate() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$here/$1.key" \
        -out "$here/$1.pem" -days 2 -subj /CN=localhost -addext 'subjectAltName=IP:127.0.0.1' 2>"$here/openssl" ||
        fail "no certificate: $(cat "$here/openssl")"
    chmod 600 "$here/$1.key"
}
certificate one
certificate two
CURL_CA_BUNDLE=$here/one.pem
export CURL_CA_BUNDLE
start_server --tls-cert "$here/one.pem" --tls-key "$here/one.key"
case $url in
https://*) ;;
*) fail "it announces $url" ;;
esac

post '/v1/jobs?wait=20' '{"op":"all_reduce_sum","inputs":[[1],[2]]}'
expect_status 200
expect '.outputs[0].data' '[3]'
get /v1 -H "Origin: $url"
expect_status 200
# A large body each way, whole and a piece, and outputs of many parts.
head -c 9000000 /dev/urandom >"$here/big"
upload '/v1/tensors?dtype=uint8&shape=9000000' "$raw" "$here/big"
expect_status 201
big=$(value .tensor)
get "/v1/tensors/$big?format=raw"
expect_file "$here/big"
get "/v1/tensors/$big" -H "Accept: $raw" -H 'Range: bytes=8999990-'
expect_status 206
[ "$(wc -c <"$here/body")" -eq 10 ] || fail "ten bytes were asked for"
post "/v1/jobs?wait=20" "{\"op\":\"all_gather\",\"inputs\":[{\"tensor\":\"$big\"},{\"tensor\":\"$big\"}]}" -H "Accept: $safetensors"
expect_status 200
[ "$(wc -c <"$here/body")" -gt 36000000 ] || fail "two outputs of 18 MB were asked for"
# A wait, a client that hangs up in one, a stream.
aside waits get '/v1/groups/world/kv/k?wait=20'
timeout 1 curl -s "$url/v1/groups/world/kv/other?wait=20" && fail "this key has no value"
tries=100
until get /v1/metrics && [ "$(value .waits)" = 1 ]; do
    [ $((tries -= 1)) -gt 0 ] || fail "who hung up still waits"
    sleep 0.05
done
request PUT /v1/groups/world/kv/k -H 'Content-Type: application/json' --data-binary 7
join waits
expect_text 7
curl -sN --max-time 20 "$url/v1/events" >"$here/events" &
reads=$!
tries=100
until grep -q tutti "$here/events"; do
    [ $((tries -= 1)) -gt 0 ] || fail "the stream does not begin"
    sleep 0.05
done
post '/v1/jobs?wait=20' '{"op":"all_reduce_sum","inputs":[[1],[2]]}'
tries=100
until grep -q succeeded "$here/events"; do
    [ $((tries -= 1)) -gt 0 ] || fail "the event does not come"
    sleep 0.05
done
kill "$reads"

# Old versions, and whoever speaks plain HTTP, are refused.
address=${url#https://}
for version in tls1 tls1_1; do
    openssl s_client -connect "$address" -$version -cipher 'ALL@SECLEVEL=0' </dev/null >"$here/ssl" 2>&1 &&
        fail "$version is spoken"
done
for version in tls1_2 tls1_3; do
    openssl s_client -connect "$address" -$version </dev/null >"$here/ssl" 2>&1 || fail "$version is not spoken"
done
curl -s --max-time 5 "http://$address/healthz" && fail "plain HTTP is answered"
stop_server

refused() {
    "$build/tutti-server" --listen 127.0.0.1:0 --data-dir "$data_dir" --arena-dir "$arena_dir" --workers 2 \
        --arena-size 64M "$@" >"$here/refused" 2>&1 && fail "it started"
    grep -q -- "$want" "$here/refused" || fail "it should say $want: $(cat "$here/refused")"
}
want='give both' refused --tls-cert "$here/one.pem"
want='do not go together' refused --tls-cert "$here/one.pem" --tls-key "$here/two.key"
want='--tls-key .*No such file' refused --tls-cert "$here/one.pem" --tls-key "$here/none"
want='do not go together' refused --tls-cert "$here/one.key" --tls-key "$here/one.key"
chmod 644 "$here/one.key"
want='chmod 600' refused --tls-cert "$here/one.pem" --tls-key "$here/one.key"
