#!/bin/sh
# embed.sh FILE... - each file as a C string constant: embed_NAME, NAME with [^a-z0-9] as _.
set -eu
for f; do
    name=$(basename "$f" | tr -c 'a-z0-9\n' '_')
    printf 'static const char embed_%s[] = {' "$name"
    od -An -v -tu1 "$f" | sed 's/  */,/g; s/^,//; s/$/,/'
    printf '0};\n'
done
