#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Every error a person can run into: one clear message, the right exit code, nothing changed.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
requires qemu-img qemu-io

# expect_error PATTERN COMMAND...: it exits 1 within seconds, with one message that matches and no
# output; what was remembered did not change
expect_error() {
    local pattern=$1
    shift
    expect_rc 1 timeout 20 "$@"
    expect_equal "$(grep -c '^qemu-img: snapshot-set: ' "$ERR_FILE" || true)" 1 \
        "number of messages of '${*: -4}'"
    expect_equal "$(grep -cv '^qemu-img: snapshot-set: \|^hint: ' "$ERR_FILE" || true)" 0 \
        "number of other lines of '${*: -4}'"
    expect_err "^qemu-img: snapshot-set: $pattern"
    expect_equal "$OUT" '' "output of '${*: -4}'"
    [ -z "${REMEMBERED_SUMS:-}" ] || expect_unchanged "$*"
}

COMMANDS=('list' 'tree' 'show tag=one' 'check' 'create two' 'apply tag=one' 'delete tag=one'
    'adopt tag=one' 'accept' 'protect tag=one' 'unprotect tag=one' 'describe tag=one text')
READING=('list' 'list --output=json' 'tree' 'show tag=one' 'check')
WRITING=('create two' 'apply tag=one' 'delete tag=one' 'adopt tag=one' 'accept' 'protect tag=one')

pair() {
    new_images a b
    ss create -q one a b
    remember a b
}

# script FILE LINE...: an executable shell script
script() {
    printf '%s\n' '#!/bin/sh' "${@:2}" >"$1"
    chmod +x "$1"
}

# ---- files --------------------------------------------------------------------------------------

test_no_such_file() {
    pair
    ln -s nowhere dangling
    for command in "${COMMANDS[@]}"; do
        # shellcheck disable=SC2086
        expect_error "'c': .*No such file or directory$" "$SNAPSHOT_SET" $command a b c
    done
    expect_error "'no/where': .*No such file or directory$" "$SNAPSHOT_SET" list no/where
    expect_error "'dangling': .*No such file or directory$" "$SNAPSHOT_SET" create two a dangling
    expect_error "'a/b': .*Not a directory$" "$SNAPSHOT_SET" list a/b
    expect_error "'c{4000}.*': .*File name too long$" "$SNAPSHOT_SET" list \
        "$(head -c 5000 /dev/zero | tr '\0' c)"
    expect_error 'an image name may not be empty$' "$SNAPSHOT_SET" list a ''
}

test_not_readable() {
    local as=()
    [ "$(id -u)" -ne 0 ] || as=(setpriv --reuid 65534 --regid 65534 --clear-groups)
    "${as[@]}" true || skip 'cannot become another user'
    pair
    chmod 755 "$TEST_DIR" "$TEST_DIR/work"
    chmod 644 a
    cp "$SNAPSHOT_SET" plugin # it may have been built where others have no access
    chmod 000 b
    for command in "${READING[@]}"; do
        # shellcheck disable=SC2086
        expect_error "'b': .*Permission denied$" "${as[@]}" ./plugin $command a b
    done
}

test_directories() {
    pair
    mkdir d
    for command in "${COMMANDS[@]}"; do
        # shellcheck disable=SC2086
        expect_error "'d': .*([Ii]s a directory|regular file)" "$SNAPSHOT_SET" $command a b d
    done
}

# Opened carelessly, these would never come back.
test_fifos_sockets_and_devices() {
    pair
    mkfifo fifo
    "$PYTHON" -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
    for file in fifo socket /dev/tty; do
        for command in "${COMMANDS[@]}"; do
            # shellcheck disable=SC2086
            expect_error "'$file': " "$SNAPSHOT_SET" $command a b "$file"
        done
    done
    # QEMU takes these for raw images
    for file in /dev/null /dev/zero; do
        expect_rc 0 timeout 20 "$SNAPSHOT_SET" list a b "$file"
        for command in "${WRITING[@]}"; do
            # shellcheck disable=SC2086
            expect_refused image-unsupported timeout 20 "$SNAPSHOT_SET" $command a b "$file"
        done
    done
}

test_not_qcow2() {
    pair
    : >empty
    printf 'just some text\n' >text
    head -c 1M /dev/urandom >noise
    for file in empty text noise; do
        expect_rc 0 ss list --output=json a "$file"
        expect_equal "$ERR" ''
        expect_json 'd["images"][1]["format"]' raw
        expect_error "'$file': .*not (a |in )?qcow2" "$SNAPSHOT_SET" list -f qcow2 a "$file"
        expect_refused image-unsupported ss create two a b "$file"
    done
}

# However short: an answer or one message, and never a crash.
test_truncated() {
    local size length rc
    pair
    real snapshot -c more a
    size=$(stat -c %s a)
    for length in 1 3 4 8 23 60 71 72 103 104 111 112 120 200 511 512 4095 4096 16384 32767 65535 \
        65536 131072 196608 $((size - 1)) $((size - 20)) $((size - 60)) $((size - 200)); do
        [ "$length" -lt "$size" ] || continue
        cp a cut
        truncate -s "$length" cut
        remember cut
        for command in list 'check' 'create two' 'apply tag=one' 'delete tag=one'; do
            rc=0
            # shellcheck disable=SC2086
            timeout 20 "$SNAPSHOT_SET" $command --dry-run cut >out 2>err </dev/null || rc=$?
            case $command in list | check)
                rc=0
                timeout 20 "$SNAPSHOT_SET" "$command" cut >out 2>err || rc=$?
                ;;
            esac
            [ "$rc" -le 2 ] || fail "cut at $length, '$command' ends with $rc"
            [ "$rc" -ne 1 ] || [ "$(grep -c "^qemu-img: snapshot-set: 'cut': " err)" -eq 1 ] ||
                fail "cut at $length, '$command' says $(cat err)"
            expect_unchanged "cut at $length, '$command'"
        done
    done
    # QEMU lists blanks where the table is cut off; we do not
    REMEMBERED_SUMS=''
    for length in $((size - 1)) $((size - 20)) $((size - 60)); do
        cp a cut
        truncate -s "$length" cut
        expect_error "'cut': .*(truncated|past the end)" "$SNAPSHOT_SET" list cut
    done
}

test_same_image_twice() {
    pair
    ln a hard
    ln -s a soft
    ln -s . here
    for other in a ./a "$PWD/a" hard soft here/a file:a; do
        for command in "${COMMANDS[@]}"; do
            # shellcheck disable=SC2086
            expect_error "'a' and '.*' are the same image$" "$SNAPSHOT_SET" $command a b "$other"
        done
    done
    expect_error "'soft' and 'hard' are the same image$" "$SNAPSHOT_SET" list soft b hard
}

test_deleted_folder() {
    pair
    remember "$PWD/a" "$PWD/b"
    mkdir d
    cd d
    rmdir ../d
    expect_rc 0 ss list "$TEST_DIR/work/a" "$TEST_DIR/work/b"
    expect_error "'a': " "$SNAPSHOT_SET" list a
    cd ..
}

# ---- the command line ---------------------------------------------------------------------------

test_no_command() {
    pair
    expect_error 'expecting a command; ' "$SNAPSHOT_SET"
    expect_error "there is no command 'no-such'; see " "$SNAPSHOT_SET" no-such a
    expect_error "there is no command ''; see " "$SNAPSHOT_SET" '' a
    expect_error "there is no command '--no-such'; see " "$SNAPSHOT_SET" --no-such
    expect_error "there is no command 'LIST'; see " "$SNAPSHOT_SET" LIST a
}

test_no_image() {
    for command in list tree check accept; do
        expect_error 'expecting IMAGE...$' "$SNAPSHOT_SET" "$command"
    done
    for command in show apply delete adopt protect unprotect; do
        expect_error 'expecting SELECTOR IMAGE...$' "$SNAPSHOT_SET" "$command"
        expect_error 'expecting SELECTOR IMAGE...$' "$SNAPSHOT_SET" "$command" tag=one
    done
    expect_error 'expecting TAG IMAGE...$' "$SNAPSHOT_SET" create one
    expect_error 'expecting SELECTOR TEXT IMAGE...$' "$SNAPSHOT_SET" describe tag=one text
    expect_rc 0 ss recover
    expect_out '^nothing to recover$'
}

test_wrong_options() {
    pair
    for command in "${COMMANDS[@]}" recover; do
        # shellcheck disable=SC2086
        expect_error '.*--no-such' "$SNAPSHOT_SET" $command a b --no-such
        # shellcheck disable=SC2086
        expect_error '.*-Z' "$SNAPSHOT_SET" $command -Z a b
        # shellcheck disable=SC2086
        expect_error '.*(--output|output)' "$SNAPSHOT_SET" $command a b --output
        # shellcheck disable=SC2086
        expect_error "--output cannot be 'xml' here$" "$SNAPSHOT_SET" $command a b --output xml
    done
    expect_error "--output cannot be 'dot' here$" "$SNAPSHOT_SET" list --output=dot a b
    expect_error '.*--all' "$SNAPSHOT_SET" check --all a b
    expect_error '.*--dry-run' "$SNAPSHOT_SET" list --dry-run a b
    expect_error '.*--children' "$SNAPSHOT_SET" apply --children tag=one a b
    expect_error '.*--save-current' "$SNAPSHOT_SET" create --save-current x two a b
    expect_error '.*-U' "$SNAPSHOT_SET" create -U two a b
    expect_error "there is no rule 'x'$" "$SNAPSHOT_SET" create --allow x two a b
    expect_error "'b': .*nosuch" "$SNAPSHOT_SET" list -f nosuch b
    expect_error "'a': .*nosuch|'a': .*secret" "$SNAPSHOT_SET" list --object nosuch,id=x -f raw a
    expect_error "'driver=qcow2' names no file" "$SNAPSHOT_SET" list --image-opts driver=qcow2
}

test_help_is_no_error() {
    expect_rc 0 ss --help
    expect_out '^Usage: qemu-img snapshot-set COMMAND '
    expect_rc 0 ss -h
    expect_rc 0 ss --version
    expect_out '^qemu-img-snapshot-set [0-9]'
    for command in "${COMMANDS[@]}" recover; do
        expect_rc 0 ss "${command%% *}" --help
        expect_out "qemu-img snapshot-set ${command%% *}"
        expect_equal "$ERR" ''
    done
}

# ---- standard streams ---------------------------------------------------------------------------

test_full_standard_output() {
    local rc
    [ -w /dev/full ] || skip 'no /dev/full'
    pair
    for command in "${READING[@]}" 'tree --output=svg' 'tree --output=dot' --help --version \
        'list --help' 'recover' 'create --dry-run two'; do
        rc=0
        # shellcheck disable=SC2086
        "$SNAPSHOT_SET" $command a b >/dev/full 2>err || rc=$?
        expect_equal "$rc" 1 "'$command' into a full device: exit code"
        expect_equal "$(cat err)" 'qemu-img: snapshot-set: cannot write to standard output' message
    done
    expect_unchanged
}

test_closed_pipe() {
    local index
    new_images a
    for index in {1..40}; do
        real snapshot -c "$(printf 'long-%.0s' {1..40})$index" a
    done
    expect_rc 1 bash -c '
        trap "" PIPE
        { until [ -e closed ]; do sleep 0.01; done; "$0" list --output=json a; echo $? >rc; } |
            { exec <&-; : >closed; }
        exit $(cat rc)' "$SNAPSHOT_SET"
    expect_rc 0 bash -c '"$0" list --output=json a | head -n 1 >/dev/null' "$SNAPSHOT_SET"
}

# A file opened in the place of a closed stream must not get what is printed there.
test_closed_streams() {
    pair
    put 1 a b
    for closed in '>&-' '2>&-' '<&-' '>&- 2>&-' '<&- >&- 2>&-'; do
        new_images c d
        put 1 c d
        bash -c "\"\$0\" create one c d $closed" "$SNAPSHOT_SET" || true
        bash -c "\"\$0\" list c d no-such-file $closed" "$SNAPSHOT_SET" || true
        bash -c "\"\$0\" create one c d $closed" "$SNAPSHOT_SET" || true
        bash -c "\"\$0\" apply tag=one c d $closed" "$SNAPSHOT_SET" || true
        expect_clean c d
        expect_data 1 c d
        expect_equal "$(tags c) $(tags d)" 'one one' "with '$closed', tags"
        expect_rc 0 ss check c d
        rm c d
    done
}

# ---- the state folder, and what is in it --------------------------------------------------------

test_state_folder_cannot_be_made() {
    pair
    : >file
    for state in /proc/no-such /dev/null/x "$PWD/file" "$PWD/file/x"; do
        export SNAPSHOT_SET_STATE_DIR=$state
        for command in 'create two' 'apply tag=one' 'delete tag=one' accept 'protect tag=one'; do
            # shellcheck disable=SC2086
            expect_error '.*(state folder|journal).*' "$SNAPSHOT_SET" $command a b
        done
        expect_rc 0 ss list a b
        expect_rc 0 ss create --dry-run two a b
    done
}

test_journal_that_cannot_be_read() {
    pair
    mkdir -p "$SNAPSHOT_SET_STATE_DIR/operations"
    printf 'nonsense' >"$SNAPSHOT_SET_STATE_DIR/operations/x.journal"
    expect_rc 0 ss list a b
    expect_err 'operation-pending'
    expect_out ' one '
    for command in "${WRITING[@]}"; do
        # shellcheck disable=SC2086
        expect_rc 3 ss $command a b
        expect_err "^qemu-img: snapshot-set: .*x\\.journal"
        expect_unchanged
    done
    expect_rc 3 ss recover
}

# ---- the real qemu-img --------------------------------------------------------------------------

test_qemu_img_is_missing() {
    local state=$SNAPSHOT_SET_STATE_DIR
    pair
    export SNAPSHOT_SET_QEMU_IMG=/nonexistent/qemu-img
    for command in 'create two' 'apply tag=one' 'delete tag=one'; do
        # shellcheck disable=SC2086
        expect_error '.*/nonexistent/qemu-img.*' "$SNAPSHOT_SET" $command a b
        expect_equal "$(find "$state" -name '*.journal' | wc -l)" 0 journals
    done
    # what needs none goes on
    expect_rc 0 ss list a b
    expect_rc 0 ss protect tag=one a b
    real create -q -f raw c 8M
    REMEMBERED_SUMS=''
    expect_error "'c': .*/nonexistent/qemu-img.*" "$SNAPSHOT_SET" list a b c
}

# broken_qemu_img PATTERN LINE...: with a qemu-img that does only this
broken_qemu_img() {
    local pattern=$1
    shift
    script broken "$@"
    export SNAPSHOT_SET_QEMU_IMG=$PWD/broken
    for command in 'create two' 'apply tag=one'; do
        # shellcheck disable=SC2086
        expect_error "'[ab]': $pattern; all images are as they were$" "$SNAPSHOT_SET" $command a b
    done
    expect_error "'[ab]': $pattern; nothing was deleted$" "$SNAPSHOT_SET" delete tag=one a b
    expect_equal "$(find "$SNAPSHOT_SET_STATE_DIR" -name '*.journal' | wc -l)" 0 journals
    real create -q -f raw c 8M
    expect_error "'c': $pattern$" "$SNAPSHOT_SET" list a b c
}

test_qemu_img_is_killed() {
    pair
    broken_qemu_img '.*ended by signal 11.*' 'kill -SEGV $$'
    broken_qemu_img '.*ended by signal 9.*' 'kill -KILL $$'
}

test_qemu_img_fails() {
    pair
    broken_qemu_img '.*ended with status 3.*' 'exit 3'
    broken_qemu_img 'no luck today' 'echo "qemu-img: no luck today" >&2; exit 1'
}

test_qemu_img_fails_noisily() {
    pair
    script broken 'printf "one\ntwo\n\033[31mred\n\n" >&2' 'head -c 1000000 /dev/zero' 'exit 1'
    export SNAPSHOT_SET_QEMU_IMG=$PWD/broken
    expect_error '.*red.*' "$SNAPSHOT_SET" create two a b
    refute_err $'\e'
}

# It says that it did, and did not.
test_qemu_img_does_nothing() {
    pair
    script broken 'exit 0'
    export SNAPSHOT_SET_QEMU_IMG=$PWD/broken
    expect_error "'?[ab]'?: qemu-img did not make the snapshot; all images are as they were$" \
        "$SNAPSHOT_SET" create two a b
    expect_error '.*; all images are as they were$' "$SNAPSHOT_SET" apply tag=one a b
}

test_qemu_img_does_not_delete() {
    pair
    script broken 'exit 0'
    export SNAPSHOT_SET_QEMU_IMG=$PWD/broken
    expect_error '.*' "$SNAPSHOT_SET" delete tag=one a b
}

# ---- limits of the system -----------------------------------------------------------------------

test_too_many_files() {
    local index images=()
    for index in {1..30}; do
        images+=("i$index")
    done
    new_images i1
    for index in {2..30}; do
        cp i1 "i$index"
    done
    remember "${images[@]}"
    expect_error "'i[0-9]+': .*[Tt]oo many open files|.*Too many open files" \
        bash -c 'ulimit -n 16; exec "$0" create two "$@"' "$SNAPSHOT_SET" "${images[@]}"
    expect_rc 0 bash -c 'ulimit -n 16; exec "$0" list "$@"' "$SNAPSHOT_SET" "${images[@]}"
    # each of its children, of which there may be two for a processor, takes three
    expect_rc 0 bash -c 'ulimit -n $((64 + 6 * $(nproc))); exec "$0" create two "$@"' "$SNAPSHOT_SET" "${images[@]}"
    # what is usual is less than what is allowed
    expect_rc 0 bash -c 'ulimit -Sn 16; exec "$0" create three "$@"' "$SNAPSHOT_SET" "${images[@]}"
}

test_many_images() {
    local index images=()
    new_images i1
    for index in {1..40}; do
        [ -e "i$index" ] || cp i1 "i$index"
        images+=("i$index")
    done
    expect_rc 0 ss create -p one "${images[@]}"
    expect_err '100\.00/100%'
    expect_rc 0 ss apply -p tag=one "${images[@]}"
    expect_rc 0 ss delete -q -p tag=one "${images[@]}"
    expect_equal "$(tags i40)" ''
}

run_tests "$@"
