#!/bin/sh
# Calls a gateway from headless Chromium: from the page of examples/web, which is built and of another origin, and from
# the page of `transom demo`, over HTTP/3 too.
#
# usage: run.sh
#   WORK               folder for what is installed   (transom-browser in the temporary folder)
#   CHROMIUM           the browser                    (/usr/bin/chromium)
#   TRANSOM_BIN        the gateway                    (target/debug/transom)
#   DEMO_BACKEND_BIN   the sample service alone       (target/debug/examples/demo_backend)
#   SCREENSHOTS        folder for a picture of the page after each call   (none are taken)
# Nothing is left in the tree: the page and the tests are copied to WORK, built and run there.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=${WORK:-${TMPDIR:-/tmp}/transom-browser}

# install FOLDER: its packages into a folder of that name in WORK, once for each content of package.json.
install() {
    into=$work/$(basename "$1")
    if ! cmp -s "$1/package.json" "$into/installed.json"; then
        rm -rf "$into"
        mkdir -p "$into"
        cp "$1/package.json" "$into/"
        (cd "$into" && npm install --no-package-lock --no-fund --no-audit --loglevel=error)
        cp "$1/package.json" "$into/installed.json"
    fi
}
install "$root/examples/web"
install "$here"

export PROTOS="$root/protos"
rm -rf "$work/web/src" "$work/web/page" "$work/web/generated"
cp -R "$root/examples/web/src" "$root/examples/web/page" "$root/examples/web/buf.gen.yaml" "$work/web/"
(cd "$work/web" && npm run --silent build)

export TRANSOM_BIN="${TRANSOM_BIN:-$root/target/debug/transom}"
export DEMO_BACKEND_BIN="${DEMO_BACKEND_BIN:-$root/target/debug/examples/demo_backend}"
export CHROMIUM="${CHROMIUM:-/usr/bin/chromium}" PAGE="$work/web/page"
export DESCRIPTORS="$work/demo.binpb"
"$work/web/node_modules/.bin/buf" build "$PROTOS" --as-file-descriptor-set --path "$PROTOS/transom" -o "$DESCRIPTORS"
rm -f "$work/browser"/*.js
cp "$here"/*.js "$root/tests/node/harness.js" "$work/browser/"
cd "$work/browser"
exec node --test --test-reporter=spec
