#!/bin/sh
# Runs Node's clients against `transom demo` and `transom serve`.
#
# usage: run.sh [FILE.test.js]...
#   WORK               folder for what is installed   (transom-node in the temporary folder)
#   TRANSOM_BIN        the gateway                    (target/debug/transom)
#   DEMO_BACKEND_BIN   the sample service alone       (target/debug/examples/demo_backend)
# Nothing is left in the tree: what is installed and the tests are put beside each other in WORK.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=${WORK:-${TMPDIR:-/tmp}/transom-node}
mkdir -p "$work"

# What is installed stays until package.json says something else.
if ! cmp -s "$here/package.json" "$work/installed.json"; then
    rm -rf "$work/node_modules" "$work/installed.json"
    cp "$here/package.json" "$work/"
    (cd "$work" && npm install --no-package-lock --no-fund --no-audit --loglevel=error)
    cp "$here/package.json" "$work/installed.json"
fi
rm -f "$work"/*.js
cp "$here"/*.js "$work/"

export TRANSOM_BIN="${TRANSOM_BIN:-$root/target/debug/transom}"
export DEMO_BACKEND_BIN="${DEMO_BACKEND_BIN:-$root/target/debug/examples/demo_backend}"
export PROTOS="$root/protos" BREAKING="$root/tests/breaking" PATH="$work/node_modules/.bin:$PATH"
# The library's descriptors, for the gateway and for the clients that need no generated code.
buf build "$PROTOS" --as-file-descriptor-set --path "$PROTOS/transom" --path "$PROTOS/google/rpc" -o "$work/demo.binpb"
export DESCRIPTORS="$work/demo.binpb"
cd "$work"
exec node --test --test-reporter=spec ${*:+"$@"}
