#!/bin/sh
# What the server carries for browsers is answered as it lies in the repository, with an ETag: who has it already gets 304.
. "$(dirname "$0")/lib.sh"
start_server --workers 2

get /
expect_status 200
expect_header Content-Type 'text/html; charset=utf-8'
expect_header Cache-Control no-cache
expect_file "$root/web/index.html"
tag=$(header ETag)
get / -H "If-None-Match: $tag"
expect_status 304
expect_header ETag "$tag"
get / -H 'If-None-Match: "other"'
expect_status 200
expect_file "$root/web/index.html"

# Each has an answer, its own ETag, and is the same for HEAD.
"$build/tutti-server" --print-tables | sed -n 's/^route GET \(\/ui\/[^ ]*\) .*/\1/p' >"$here/files"
[ -s "$here/files" ] || fail "no file under /ui/"
while read -r file; do
    get "$file"
    expect_status 200
    [ -s "$here/body" ] || [ "${WEB:-npm}" = none ] || fail "$file is empty"
    [ "$(header ETag)" != "$tag" ] || fail "$file has the ETag of another"
done <"$here/files"
# What a page loads is there, from where the page is.
get /docs
sed -n 's/.*\(src\|href\)="\([^"]*\)".*/\2/p' "$here/body" >"$here/links"
grep -q ui/docs.js "$here/links" || fail "/docs does not load its script"
while read -r file; do
    get "/${file#./}"
    expect_status 200
done <"$here/links"
get /ui/nothing.js
expect_problem 404 not_found
post / '{}'
expect_problem 405 method_not_allowed
