# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# The shell test library. A test file reads
#
#     #!/usr/bin/env bash
#     . "$(dirname "$0")/../lib/harness.sh"
#     requires qemu-img                 # all tests of the file are skipped without it
#     test_something() { ... }
#     run_tests "$@"                    # arguments choose tests by name or glob
#
# Each test_* function runs in a bash of its own, with errexit, nounset and pipefail in force (in
# command substitutions too), in a fresh empty directory. A test fails when a command of it fails,
# when it takes longer than $TEST_TIMEOUT seconds, or when a sanitizer finds anything in any
# program that it ran. Its output is shown only then.
#
# Remember that bash does not stop at a failing command in `if COMMAND`, `COMMAND ||`, `! COMMAND`:
# use the helpers, all of which fail by themselves.
#
# Variables
#   TOP             the source tree
#   BUILD_DIR       the build tree (environment; default TOP/build)
#   QEMU_IMG        the dispatcher         SNAPSHOT_SET   our command
#   REAL_QEMU_IMG   the real qemu-img (environment; default: from PATH)
#   SANITIZE        not empty in a sanitized build: skip what measures time or counts system calls
#   OUT, ERR        what the last expect_rc got, without NUL bytes; OUT_FILE, ERR_FILE: all of it
#   TEST_DIR        the test's private directory; the test starts in TEST_DIR/work

set -u

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BUILD_DIR=$(realpath -m "${BUILD_DIR:-$TOP/build}")
# shellcheck disable=SC2034 # for test files
QEMU_IMG=$BUILD_DIR/qemu-img-plugin/qemu-img
SNAPSHOT_SET=$BUILD_DIR/qemu-img-plugin/qemu-img-snapshot-set
REAL_QEMU_IMG=${REAL_QEMU_IMG:-$(command -v qemu-img.real || command -v qemu-img || true)}
PYTHON=$(command -v /usr/bin/python3 || command -v python3 || true)
SANITIZE=${SANITIZE:-}
TEST_TIMEOUT=${TEST_TIMEOUT:-300}
HARNESS_FILE=$(realpath "$0")
HARNESS_NAME=$(basename "$(dirname "$HARNESS_FILE")")/$(basename "$HARNESS_FILE")
HARNESS_MISSING=
export BUILD_DIR REAL_QEMU_IMG LC_ALL=C.UTF-8 TZ=UTC
unset SNAPSHOT_SET_INSIDE SNAPSHOT_SET_QEMU_IMG POSIXLY_CORRECT

# ---- for test files ----------------------------------------------------------------------------

# requires COMMAND...: skip the test, or at file level all tests, if a command is not there
requires() {
    local command
    for command; do
        command -v "$command" >/dev/null && continue
        [ -z "${HARNESS_TEST:-}" ] || skip "needs $command"
        HARNESS_MISSING="needs $command"
    done
}

# skip REASON: end the test here, neither passed nor failed
skip() {
    printf '%s\n' "$*" >"$TEST_DIR/skip"
    exit 77
}

# fail MESSAGE: end the test here, failed
fail() {
    printf '%s: %s\n' "$(harness_place)" "$*" >&2
    exit 1
}

# note TEXT: a measured value, say, to show below the verdict
note() {
    printf '%s\n' "$*" >>"$TEST_DIR/notes"
}

# cleanup_fn COMMAND [ARGUMENT...]: run it when the test ends, the last registered first
cleanup_fn() {
    HARNESS_CLEANUPS+=("$(printf '%q ' "$@")")
}

# expect_rc N COMMAND [ARGUMENT...]: run it and fail unless it exits N. Sets OUT and ERR.
# 99 is the exit code of a sanitizer's finding, so it is never what was expected.
expect_rc() {
    local want=$1 rc=0
    shift
    "$@" >"$OUT_FILE" 2>"$ERR_FILE" || rc=$?
    OUT=$(tr -d '\0' <"$OUT_FILE")
    ERR=$(tr -d '\0' <"$ERR_FILE")
    [ "$rc" -ne 99 ] || harness_fail_output "a sanitizer stopped: $*"
    refute_err ': runtime error: ' # a finding in a child of what was run
    [ "$rc" -eq "$want" ] || harness_fail_output "exit code $rc instead of $want: $*"
}

# expect_out PATTERN, expect_err PATTERN: fail unless a line of OUT (ERR) matches (grep -E)
expect_out() { harness_matches "$OUT_FILE" "$1" || harness_fail_output "no output line matches: $1"; }
expect_err() { harness_matches "$ERR_FILE" "$1" || harness_fail_output "no error line matches: $1"; }

# refute_out PATTERN, refute_err PATTERN: fail if a line of OUT (ERR) matches
refute_out() { ! harness_matches "$OUT_FILE" "$1" || harness_fail_output "output matches: $1"; }
refute_err() { ! harness_matches "$ERR_FILE" "$1" || harness_fail_output "errors match: $1"; }

# expect_equal GOT WANT [WHAT]: compare two strings
expect_equal() {
    [ "$1" = "$2" ] || fail "${3:-value} is '$1' instead of '$2'"
}

# expect_same_file GOT WANT: compare two files byte by byte
expect_same_file() {
    cmp -- "$1" "$2" || fail "'$1' differs from '$2': $(diff -u -- "$2" "$1" | head -n 20)"
}

# checksum FILE...: one line per file that changes if a byte of it does
checksum() { sha256sum -- "$@"; }

# json EXPRESSION: print the Python expression over OUT parsed as JSON, called d: strings as they
# are, everything else as JSON (null, true, [1, 2])
json() {
    "$PYTHON" -c '
import json, sys
d = json.load(open(sys.argv[1], encoding="utf-8"))
value = eval(sys.argv[2])
print(value if isinstance(value, str) else json.dumps(value))' "$OUT_FILE" "$1"
}

# expect_json EXPRESSION WANT: fail unless `json EXPRESSION` prints WANT
expect_json() {
    local got
    got=$(json "$1") || harness_fail_output "cannot tell $1"
    [ "$got" = "$2" ] || harness_fail_output "$1 is '$got' instead of '$2'"
}

# ss ARGUMENT...: our command
ss() { "$SNAPSHOT_SET" "$@"; }

# start_qemu NAME [FILE...] [-- QEMU-OPTION...]: start a machine without an operating system, with
# the qcow2 FILEs as virtio disks (node names d0, d1, ...), and wait until it answers. It is stopped
# at the end of the test. Its process is ${QEMU_PID[NAME]}, its QMP socket $TEST_DIR/NAME.qmp.
start_qemu() {
    local name=$1 index=0 options=()
    shift
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        options+=(-blockdev "driver=qcow2,node-name=d$index,file.driver=file,file.filename=${1//,/,,}"
            -device "virtio-blk-pci,drive=d$index")
        index=$((index + 1))
        shift
    done
    [ $# -eq 0 ] || shift
    qemu-system-x86_64 -machine pc,accel=kvm:tcg -m 64 -nodefaults -display none \
        -qmp "unix:$TEST_DIR/$name.qmp,server=on,wait=off" "${options[@]}" "$@" \
        </dev/null >"$TEST_DIR/$name.log" 2>&1 &
    QEMU_PID[$name]=$!
    cleanup_fn harness_kill_qemu "$name"
    "$PYTHON" "$TOP/tests/lib/qmp.py" --pid "${QEMU_PID[$name]}" "$TEST_DIR/$name.qmp" \
        '{"execute": "query-status"}' >/dev/null || fail "QEMU: $(cat "$TEST_DIR/$name.log")"
}

# qmp NAME COMMAND...: send QMP commands, print one reply per line; fails at the first error reply
qmp() { "$PYTHON" "$TOP/tests/lib/qmp.py" "$TEST_DIR/$1.qmp" "${@:2}"; }

# qmp_job NAME COMMAND: send a command with a job-id, wait for that job, fail if it failed
qmp_job() { "$PYTHON" "$TOP/tests/lib/qmp.py" --job "$TEST_DIR/$1.qmp" "$2"; }

# hmp NAME COMMAND-LINE: a human monitor command; prints its text and fails if that says Error
hmp() { "$PYTHON" "$TOP/tests/lib/qmp.py" --hmp "$TEST_DIR/$1.qmp" "$2"; }

# stop_qemu NAME: let the machine quit, and wait until it has
stop_qemu() {
    qmp "$1" '{"execute": "quit"}' >/dev/null
    wait "${QEMU_PID[$1]}"
    unset "QEMU_PID[$1]"
}

# ---- inside ------------------------------------------------------------------------------------

harness_matches() {
    grep -qE -- "$2" "$1"
}

harness_fail_output() {
    printf '%s: %s\n--- standard output\n%s\n--- standard error\n%s\n---\n' \
        "$(harness_place)" "$1" "$OUT" "$ERR" >&2
    exit 1
}

harness_kill_qemu() {
    local pid=${QEMU_PID[$1]:-}
    [ -z "$pid" ] || { kill -KILL "$pid" && wait "$pid"; } 2>/dev/null
}

# The line of the test file that was reached, through whatever functions of this one.
harness_place() {
    local frame
    for ((frame = 1; frame < ${#BASH_SOURCE[@]}; frame++)); do
        [ "${BASH_SOURCE[frame]}" != "$HARNESS_FILE" ] || break
    done
    printf '%s:%s' "$HARNESS_NAME" "${BASH_LINENO[frame - 1]}"
}

harness_command_failed() {
    printf '%s: exit code %s: %s\n' "$(harness_place)" "$1" "$2" >&2
}

harness_end_test() {
    local rc=$? index
    trap - EXIT ERR
    trap '' TERM # timeout(1) sends it to the test and then to the whole group, so to what runs here
    set +eu
    for ((index = ${#HARNESS_CLEANUPS[@]} - 1; index >= 0; index--)); do
        eval "${HARNESS_CLEANUPS[index]}"
    done
    exit "$rc"
}

# One test, in the process made for it.
harness_run_test() {
    OUT_FILE=$TEST_DIR/out ERR_FILE=$TEST_DIR/err OUT='' ERR=''
    touch "$OUT_FILE" "$ERR_FILE"
    export SNAPSHOT_SET_STATE_DIR=$TEST_DIR/state SNAPSHOT_SET_POLICY=$TEST_DIR/policy.conf
    local findings=exitcode=99:print_stacktrace=1:halt_on_error=1:log_path=$TEST_DIR/sanitizer
    export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:$findings UBSAN_OPTIONS=$findings
    declare -gA QEMU_PID=()
    HARNESS_CLEANUPS=()
    umask 022
    cd "$TEST_DIR/work" || exit 1
    set -eEuo pipefail
    shopt -s inherit_errexit
    trap harness_end_test EXIT
    trap 'harness_command_failed $? "$BASH_COMMAND"' ERR
    "$HARNESS_TEST"
    exit 0
}

# All test functions of the file in the order they stand there, but only those that @... name.
harness_chosen_tests() {
    local name pattern
    shopt -s extdebug
    for name in $(compgen -A function test_); do
        declare -F "$name"
    done | sort -k2n | while read -r name _; do
        [ $# -gt 0 ] || printf '%s\n' "$name"
        for pattern; do
            # shellcheck disable=SC2053 # a glob on purpose
            [[ $name != $pattern && ${name#test_} != $pattern ]] || { printf '%s\n' "$name" && break; }
        done
    done
}

# Whether a sanitizer complained: address and leak reports are files, undefined behaviour is text.
# Of a process that is killed while it is searched for leaks a line says that, and no more.
harness_has_findings() {
    grep -qsv '^==[0-9]*==Unable to get registers from thread [0-9]*\.$' "$TEST_DIR"/sanitizer* ||
        grep -q ': runtime error: ' "$TEST_DIR/log"
}

# The verdict over the test @what, which ended with @rc.
harness_report() {
    local rc=$1 what=$2 started=$3 elapsed
    elapsed=$(((${EPOCHREALTIME/[^0-9]/} - started) / 1000))
    if [ "$rc" -eq 77 ] && [ -s "$TEST_DIR/skip" ]; then
        printf 'skip - %s: %s\n' "$what" "$(head -n 1 "$TEST_DIR/skip")"
    elif [ "$rc" -eq 0 ] && ! harness_has_findings; then
        printf 'ok - %s (%s ms)\n' "$what" "$elapsed"
        [ ! -e "$TEST_DIR/notes" ] || sed 's/^/  # /' "$TEST_DIR/notes"
    else
        printf 'not ok - %s\n' "$what"
        [[ $rc != 124 && $rc != 137 ]] || printf '  | killed, after %s s at most\n' "$TEST_TIMEOUT"
        cat "$TEST_DIR/log" "$TEST_DIR"/sanitizer* 2>/dev/null | tail -n 200 | sed 's/^/  | /'
        return 1
    fi
}

# A test runs under timeout(1), in a process group of its own, so that all of it can be ended.
harness_try_test() {
    local rc=0 started=${EPOCHREALTIME/[^0-9]/}
    TEST_DIR=$(mktemp -d "${TMPDIR:-/tmp}/sset-XXXXXX")
    mkdir "$TEST_DIR/work"
    export TEST_DIR
    HARNESS_TEST=$1 timeout -k 10 "$TEST_TIMEOUT" bash "$HARNESS_FILE" \
        </dev/null >"$TEST_DIR/log" 2>&1 &
    HARNESS_CHILD=$!
    wait "$HARNESS_CHILD" || rc=$?
    HARNESS_CHILD=
    harness_report "$rc" "$HARNESS_NAME: ${1#test_}" "$started" || rc=$?
    rm -rf "$TEST_DIR"
    [ "$rc" -eq 0 ] || [ "$rc" -eq 77 ]
}

harness_interrupted() {
    [ -z "${HARNESS_CHILD:-}" ] || kill "$HARNESS_CHILD"
    wait
    rm -rf "${TEST_DIR:-}"
    exit 130
}

# The last line of a test file.
run_tests() {
    local name failed=0 names
    [ -z "${HARNESS_TEST:-}" ] || harness_run_test
    trap harness_interrupted INT TERM
    names=$(harness_chosen_tests "$@")
    if [ -z "$names" ]; then
        printf 'not ok - %s: no such test: %s\n' "$HARNESS_NAME" "$*"
        exit 1
    fi
    for name in $names; do
        if [ -n "$HARNESS_MISSING" ]; then
            printf 'skip - %s: %s: %s\n' "$HARNESS_NAME" "${name#test_}" "$HARNESS_MISSING"
        else
            harness_try_test "$name" || failed=1
        fi
    done
    exit "$failed"
}
