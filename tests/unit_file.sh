#!/bin/sh
# unit_file.sh - docker/tutti.service: its options are options of this server, each setting of the checklist is there, and
# where systemd is installed it finds no fault, and rates the exposure.
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build}
unit=docker/tutti.service
bad=0
fail() {
    echo "FAILED: $*"
    bad=1
}

"$build/tutti-server" --help >"${TMPDIR:-/tmp}/help.$$"
trap 'rm -rf "${TMPDIR:-/tmp}/help.$$" "${TMPDIR:-/tmp}/unit.$$"' EXIT
for word in $(sed -n 's/^ExecStart=//p' "$unit"; grep -oE 'TUTTI_[A-Z_]+' "$unit"); do
    case $word in
    --* | TUTTI_*) grep -qE -- "(^|[ (])$word([ )]|\$)" "${TMPDIR:-/tmp}/help.$$" || fail "the server has no $word" ;;
    esac
done
for setting in User=tutti NoNewPrivileges=yes ProtectSystem=strict ReadWritePaths=/dev/shm StateDirectory=tutti \
    StateDirectoryMode=0700 UMask=0077 PrivateTmp=yes PrivateDevices=yes 'RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX' \
    MemoryDenyWriteExecute=yes CapabilityBoundingSet= RestrictNamespaces=yes KillMode=mixed Restart=on-failure LimitCORE=0; do
    grep -qxF "$setting" "$unit" || fail "$unit lacks $setting"
done
for setting in SystemCallFilter LimitMEMLOCK TasksMax; do
    grep -qE "^$setting=." "$unit" || fail "$unit lacks $setting"
done
# 70, of a database that took no commit, is started anew; what a person must see to is not.
! grep -qE '^RestartPreventExitStatus=.*\b70\b|^SuccessExitStatus=.*\b70\b' "$unit" || fail 'exit status 70 is not started anew'

if ! command -v systemd-analyze >/dev/null; then
    echo 'NOTE without systemd: only the settings were looked at'
    exit $bad
fi
mkdir "${TMPDIR:-/tmp}/unit.$$"
copy=${TMPDIR:-/tmp}/unit.$$/tutti.service
case $build in
/*) ;;
*) build=$PWD/$build ;;
esac
sed "s|/usr/local/bin/tutti-server|$build/tutti-server|; /^Documentation=/d; s/^User=.*/User=root/; s/^Group=.*/Group=root/" "$unit" >"$copy"
said=$(systemd-analyze verify "$copy" 2>&1) || fail "systemd-analyze verify leaves with an error"
[ -z "$(echo "$said" | grep -F tutti || true)" ] || fail "systemd-analyze verify: $said"
rating=$(systemd-analyze security --offline=true --threshold=20 "$unit" 2>&1) || fail "more exposed than 2.0: $rating"
echo "NOTE $(echo "$rating" | sed -n 's/.*exposure level for [^:]*: \([0-9.]*\).*/exposure \1 of 10/p')"
exit $bad
