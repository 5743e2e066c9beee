#!/bin/sh
# deps.sh SET... - installs the Debian packages of the sets build, demo, wheel, test, torch, lint, fuzz, valgrind, rocm that
# are missing; silent and without network when none is.
set -eu

packages=
for set; do
    case $set in
    build) packages="$packages gcc g++ libc6-dev libmicrohttpd-dev libgnutls28-dev libbsd-dev libsqlite3-dev libxxhash-dev"
        # Which brings what the pages use. It may have come with another package than Debian's.
        [ "${WEB:-npm}" = none ] || command -v npm >/dev/null || packages="$packages npm ca-certificates" ;;
    demo) packages="$packages curl" ;;
    test) packages="$packages libjansson-dev curl jq openssl libcmocka-dev python3-numpy python3-yaml"
        packages="$packages python3-tqdm python3-matplotlib python3-ipykernel jupyter-nbconvert e2fsprogs binutils iproute2 iptables shellcheck" ;;
    torch) packages="$packages python3-torch" ;;
    wheel) packages="$packages python3-build python3-setuptools python3-wheel python3-venv" ;;
    lint) packages="$packages clang-format cppcheck shellcheck universal-ctags python3-yaml mypy python3-numpy" ;;
    fuzz) packages="$packages clang libclang-rt-dev llvm" ;;
    valgrind) packages="$packages valgrind" ;;
    rocm) packages="$packages libamdhip64-dev" ;;
    *)
        echo "deps.sh: no set \"$set\"" >&2
        exit 2
        ;;
    esac
done

if ! command -v dpkg-query >/dev/null; then
    echo "deps: this is no Debian; have ready what these packages bring:$packages" >&2
    exit 0
fi
missing=
for package in $packages; do
    case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true) in
    installed) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "deps: as root, run: apt-get install --no-install-recommends$missing" >&2
        exit 1
    fi
    as_root=sudo
fi
echo "deps: installing$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The names are words on purpose.
# shellcheck disable=SC2086
if ! { $as_root apt-get -qq update &&
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y $missing; } \
    </dev/null >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
fi
