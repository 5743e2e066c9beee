#!/bin/sh
# deps.sh SET... - installs the Debian packages of the sets build, demo, wheel, test, bench, torch, browser, metrics, lint, fuzz,
# valgrind, docker, rocm that are missing; silent and without network when none is. A package that would start a service of its own is not
# installed, but unpacked into build/unpacked.
set -eu

packages='' services=''
for set; do
    case $set in
    build) packages="$packages gcc g++ libc6-dev libmicrohttpd-dev libgnutls28-dev libbsd-dev libsqlite3-dev libxxhash-dev libgloo-dev"
        # Which brings what the pages use. It may have come with another package than Debian's.
        [ "${WEB:-npm}" = none ] || command -v npm >/dev/null || packages="$packages npm ca-certificates" ;;
    demo) packages="$packages curl" ;;
    browser) packages="$packages chromium fonts-liberation" services="$services nginx" ;;
    test) packages="$packages libjansson-dev curl jq openssl libcmocka-dev python3-numpy python3-yaml python3-jsonschema"
        packages="$packages python3-tqdm python3-matplotlib python3-ipykernel jupyter-nbconvert e2fsprogs binutils iproute2 iptables shellcheck" ;;
    bench) packages="$packages openmpi-bin libopenmpi-dev mpich libmpich-dev libgloo-dev libjansson-dev iproute2 util-linux"
        packages="$packages python3-numpy python3-mpi4py python3-ipyparallel" services="$services nginx" ;;
    torch) packages="$packages python3-torch" ;;
    wheel) packages="$packages python3-build python3-setuptools python3-wheel python3-venv" ;;
    lint) packages="$packages clang-format cppcheck shellcheck universal-ctags python3-yaml mypy python3-numpy"
        command -v npm >/dev/null || packages="$packages npm ca-certificates" ;;
    fuzz) packages="$packages clang libclang-rt-dev llvm" ;;
    valgrind) packages="$packages valgrind" ;;
    docker) packages="$packages debootstrap iptables iproute2"
        # Either may have come from somebody else, whose package Debian's would push out.
        command -v dockerd >/dev/null || packages="$packages docker.io"
        command -v docker-compose >/dev/null || packages="$packages docker-compose" ;;
    rocm) packages="$packages libamdhip64-dev" ;;
    metrics) services="$services prometheus" ;;
    *)
        echo "deps.sh: no set \"$set\"" >&2
        exit 2
        ;;
    esac
done

if ! command -v dpkg-query >/dev/null; then
    echo "deps: this is no Debian; have ready what these packages bring:$packages$services" >&2
    exit 0
fi
missing=
for package in $packages; do
    case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true) in
    installed) ;;
    *) missing="$missing $package" ;;
    esac
done
unpacked=$(cd "$(dirname "$0")/.." && pwd)/build/unpacked
wanted=
for package in $services; do
    command -v "$package" >/dev/null || [ -d "$unpacked/$package" ] || wanted="$wanted $package"
done
[ -n "$missing$wanted" ] || exit 0

as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "deps: as root, run: apt-get install --no-install-recommends$missing" >&2
        exit 1
    fi
    as_root=sudo
fi
log=$(mktemp)
new=$(mktemp -d)
trap 'rm -rf "$log" "$new"' EXIT

# logged COMMAND...: shows what it said only when it fails, which is the end
logged() {
    "$@" </dev/null >"$log" 2>&1 || {
        cat "$log" >&2
        exit 1
    }
}

# unpack PACKAGE: its files, and nothing of it is started
unpack() {
    (cd "$new" && apt-get -qq download "$1" && dpkg-deb -x ./"$1"_*.deb "$1")
    mkdir -p "$unpacked"
    mv "$new/$1" "$unpacked/"
}

logged $as_root apt-get -qq update
if [ -n "$missing" ]; then
    echo "deps: installing$missing"
    # The names are words on purpose.
    # shellcheck disable=SC2086
    logged $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y $missing
fi
for package in $wanted; do
    echo "deps: unpacking $package"
    logged unpack "$package"
done
