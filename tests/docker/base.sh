#!/bin/sh
# base.sh FILE - makes the filesystem of a minimal Debian 12, as `docker import` takes it, where no image can be pulled: by
# debootstrap, with what the caller's apt and npm know of how packages are reached. As root.
set -eu
file=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root suite=bookworm

# What stands in $( ) is apt's to fill in.
# shellcheck disable=SC2016
site=$(apt-get indextargets --format '$(SITE) $(RELEASE)' 'Created-By: Packages' | sed -n "s/ $suite\$//p" | head -n 1)
debootstrap --variant=minbase "$suite" "$root" "${site:-http://deb.debian.org/debian}" >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    exit 1
}

# apt: where the caller's packages come from, whom it trusts, how it gets there.
for what in sources.list sources.list.d keyrings trusted.gpg.d auth.conf auth.conf.d; do
    [ ! -e "/etc/apt/$what" ] || {
        rm -rf "${root:?}/etc/apt/$what"
        cp -rL "/etc/apt/$what" "$root/etc/apt/"
    }
done
apt-config dump --format '%F "%v";%n' Acquire >"$root/etc/apt/apt.conf.d/50caller"

# npm: the caller's settings, and whom it trusts.
authorities=${NODE_EXTRA_CA_CERTS:-/etc/ssl/certs/ca-certificates.crt}
: >"$root/root/.npmrc"
if command -v npm >/dev/null; then
    for which in globalconfig userconfig; do
        settings=$(npm config get "$which")
        [ ! -f "$settings" ] || grep -v '^ *\(cafile\|nodedir\) *=' "$settings" >>"$root/root/.npmrc" || true
    done
fi
if [ -f "$authorities" ]; then
    install -D -m 644 "$authorities" "$root/etc/ssl/caller.crt"
    echo 'cafile=/etc/ssl/caller.crt' >>"$root/root/.npmrc"
fi

# What Debian's own slim image leaves out.
rm -rf "$root/var/lib/apt/lists/"* "$root/var/cache/apt/"*.bin "$root/var/cache/apt/archives/"*.deb "$root/var/log/"* \
    "$root/usr/share/doc/"* "$root/usr/share/man/"* "$root/usr/share/info/"* "$root/usr/share/locale/"*
tar -C "$root" --numeric-owner -cf "$file.part" .
mv "$file.part" "$file"
