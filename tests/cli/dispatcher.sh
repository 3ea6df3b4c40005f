#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The dispatcher: everything but plugins and `snapshot -c|-a|-d` reaches the real qemu-img as it is.
#
# Where a test must see exactly what arrives, cat, ls and the like stand in for the real qemu-img:
# they print the kernel's own view of their process.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
requires qemu-img gcc

# real ARGUMENT...: the real qemu-img under its usual name
real() {
    (exec -a qemu-img "$REAL_QEMU_IMG" "$@")
}

# same ARGUMENT...: dispatcher and real one agree on output, errors and exit code
same() {
    local rc=0
    real "$@" >real.out 2>real.err || rc=$?
    expect_rc "$rc" "$QEMU_IMG" "$@"
    expect_same_file "$OUT_FILE" real.out
    expect_same_file "$ERR_FILE" real.err
    SAME_RC=$rc
}

# via PROGRAM ARGUMENT...: the dispatcher, with PROGRAM in the place of the real qemu-img
via() {
    SNAPSHOT_SET_QEMU_IMG=$(command -v "$1") "$QEMU_IMG" "${@:2}"
}

# script FILE LINE...: an executable shell script
script() {
    printf '%s\n' '#!/bin/sh' "${@:2}" >"$1"
    chmod +x "$1"
}

# A dispatcher away from the build tree's plugins, ./d/qemu-img, with our own plugins beside it.
# Commands installed in the compiled-in directory would come first: then there is nothing to test.
private_dispatcher() {
    mkdir d
    cp "$QEMU_IMG" d/qemu-img
    QEMU_IMG=$PWD/d/qemu-img
    if PATH=/nonexistent "$QEMU_IMG" --help | grep -q '^  snapshot-set$'; then
        skip 'snapshot-set is installed where this build looks first'
    fi
}

# As above; `snapshot` commands print whom they reached: "plugin" or "real", and the arguments.
private_guard() {
    private_dispatcher
    script d/qemu-img-snapshot-set 'printf plugin; printf "<%s>" "$@"'
    script recorder 'printf real; printf "<%s>" "$@"'
    export SNAPSHOT_SET_QEMU_IMG=$PWD/recorder
}

# ---- exit codes, streams, signals, descriptors, arguments ---------------------------------------

test_output_and_exit_codes_of_the_real_one() {
    local codes=''
    same create -f qcow2 a.qcow2 1M
    while read -r -a arguments; do
        same "${arguments[@]}"
        codes+="$SAME_RC "
    done <<'EOT'

-z
-T
--trace
--version
--vers
-V snapshot -c x a.qcow2
no-such-command
-- info a.qcow2
-T x info a.qcow2
info --output=json a.qcow2
info no-such-file
info
create -f qcow2 -o help
create --help
check a.qcow2
check -f raw a.qcow2
compare a.qcow2 a.qcow2
compare a.qcow2 no-such-file
map --output=json a.qcow2
snapshot
snapshot -l
snapshot -l a.qcow2
snapshot a.qcow2 -l
snapshot a.qcow2
snapshot -h
snapshot -c x
snapshot -c
snapshot -z -c x a.qcow2
snapshot -c x -a y a.qcow2
snapshot -c x -l a.qcow2
snapshot -c x a.qcow2 b.qcow2
EOT
    [[ $codes == *'63'* && $codes == *2* && $codes == *1* && $codes == *0* ]] || fail "$codes"
    same ''
    same info ''
}

test_signal_death_of_the_real_one() {
    local limited='ulimit -c 0; ulimit -f 0; exec "$0" create -q -f qcow2 big.qcow2 1G'
    expect_rc 153 bash -c "$limited" "$REAL_QEMU_IMG"
    expect_rc 153 bash -c "$limited" "$QEMU_IMG"
}

test_same_process_takes_the_signals() {
    local pid rc=0
    real create -q -f raw a.raw 1M
    "$QEMU_IMG" bench -c 2000000000 -f raw a.raw >/dev/null &
    pid=$!
    cleanup_fn eval "kill -KILL $pid 2>/dev/null"
    until [ "$(readlink "/proc/$pid/exe")" = "$(realpath "$REAL_QEMU_IMG")" ]; do sleep 0.01; done
    kill -TERM "$pid"
    wait "$pid" || rc=$?
    expect_equal "$rc" 143 'exit code'
}

test_signal_dispositions_and_mask_arrive() {
    local ignore=(env '--ignore-signal=PIPE,HUP' --block-signal=USR1)
    "${ignore[@]}" cat /proc/self/status | grep '^Sig[BIC]' >want
    SNAPSHOT_SET_QEMU_IMG=$(command -v cat) "${ignore[@]}" "$QEMU_IMG" /proc/self/status |
        grep '^Sig[BIC]' >got
    expect_same_file got want
}

test_standard_input_is_the_real_ones() {
    head -c 1000000 /dev/urandom >in
    via cat - <in >out
    expect_same_file out in
    "$QEMU_IMG" convert -f raw -O raw /dev/stdin out2 <in
    expect_same_file <(head -c 1000000 out2) in
}

test_standard_streams_may_be_closed() {
    expect_rc 0 bash -c '"$0" --version <&-' "$QEMU_IMG"
    expect_out '^qemu-img version'
    expect_rc 1 bash -c '"$0" info no-such-file >&-' "$QEMU_IMG"
    expect_err '^qemu-img: Could not open'
}

test_inherited_descriptors() {
    real create -q -f qcow2 a.qcow2 3M
    exec 7<a.qcow2 42>inherited
    ls /proc/self/fd >want
    via ls /proc/self/fd >got
    expect_same_file got want
    expect_equal "$(via readlink /proc/self/fd/7)" "$PWD/a.qcow2"
    expect_rc 0 "$QEMU_IMG" info -U --output=json /dev/fd/7
    expect_json 'd["virtual-size"]' $((3 << 20))
}

test_arguments_with_any_bytes() {
    local bytes='' number
    for number in {1..255}; do
        printf -v number '\\x%02x' "$number"
        # shellcheck disable=SC2059
        printf -v number "$number."
        bytes+=${number%.}
    done
    expect_equal "$(printf %s "$bytes" | wc -c)" 255 'number of bytes'
    set -- /proc/self/cmdline '' "$bytes" "$bytes$bytes" ' ' $'\n' -- -z --help '*' ''
    printf '%s\0' qemu-img "$@" >want
    via cat "$@" >got 2>errors || true
    expect_same_file got want
}

test_many_arguments() {
    local words=()
    mapfile -t words < <(seq 100000)
    printf '%s\0' qemu-img /proc/self/cmdline "${words[@]}" >want
    via cat /proc/self/cmdline "${words[@]}" >got 2>/dev/null || true
    expect_same_file got want
}

test_order_of_snapshot_arguments() {
    private_guard
    expect_rc 0 "$QEMU_IMG" snapshot b.qcow2 -l -q -- -c
    expect_equal "$OUT" 'real<snapshot><b.qcow2><-l><-q><--><-c>'
}

test_environment_is_untouched() {
    local name=(SNAPSHOT_SET_QEMU_IMG="$(command -v cat)" B=$'\xff\n' A= PATH=/no/where)
    env -i "${name[@]}" "$QEMU_IMG" /proc/self/environ >got
    printf '%s\0' "${name[@]}" >want
    expect_same_file got want
}

test_no_arguments_at_all() {
    cat >bare.c <<'EOT'
#include <unistd.h>
int main(int argc, char **argv) { char *none[] = {NULL}; return execv(argv[1], none); }
EOT
    gcc -w -o bare bare.c
    same
    expect_rc 1 ./bare "$QEMU_IMG"
    expect_err '^qemu-img: Not enough arguments$'
}

# ---- which qemu-img is the real one -------------------------------------------------------------

test_never_itself() {
    mkdir first second third
    cp "$QEMU_IMG" first/qemu-img
    strip -o second/qemu-img "$QEMU_IMG"
    ln -s "$QEMU_IMG" third/qemu-img
    real --version >want
    for path in "$(dirname "$QEMU_IMG")" "$PWD/first" "$PWD/first:$PWD/second:$PWD/third" \
        "$PWD/second:$PWD/first" "$PWD/third:$PWD/third"; do
        expect_rc 0 timeout 10 env PATH="$path:$PATH" qemu-img --version
        expect_same_file "$OUT_FILE" want
    done
    expect_rc 0 timeout 10 env SNAPSHOT_SET_QEMU_IMG="$PWD/first/qemu-img" "$QEMU_IMG" --version
    expect_same_file "$OUT_FILE" want
}

# Only another user cannot read what he may run, so root tests as one.
test_never_itself_when_it_cannot_be_read() {
    local as=()
    [ "$(id -u)" -ne 0 ] || as=(setpriv --reuid 65534 --regid 65534 --clear-groups)
    "${as[@]}" true || skip 'cannot become another user'
    cp "$QEMU_IMG" qemu-img
    chmod 111 qemu-img
    chmod 755 "$TEST_DIR" "$TEST_DIR/work"
    real --version >want
    expect_rc 0 "${as[@]}" timeout 10 env PATH="$PWD:$PATH" qemu-img --version
    expect_same_file "$OUT_FILE" want
}

test_diverted_name_is_preferred() {
    mkdir usr
    cp "$QEMU_IMG" usr/qemu-img
    script usr/qemu-img.real 'echo diverted'
    expect_rc 0 env PATH="$PWD/usr:$PATH" "$QEMU_IMG" --version
    expect_equal "$OUT" diverted
    script other 'echo not diverted'
    mv other usr/qemu-img
    expect_rc 0 env PATH="$PWD/usr:$PATH" "$QEMU_IMG" --version
    expect_equal "$OUT" diverted
    chmod -x usr/qemu-img.real
    expect_rc 0 env PATH="$PWD/usr:$PATH" "$QEMU_IMG" --version
    expect_equal "$OUT" 'not diverted'
}

test_path_elements() {
    mkdir bin not-a-file
    mkdir not-a-file/qemu-img
    script bin/qemu-img 'echo mine'
    script qemu-img 'echo here'
    real --version >want
    for path in "$PWD/not-a-file:$PWD/bin" "::$PWD/bin" ".:bin:$PWD/bin:" "/no/where:$PWD/bin"; do
        expect_rc 0 env PATH="$path" "$QEMU_IMG" --version
        expect_equal "$OUT" mine "with PATH=$path, output"
    done
    [ -x /usr/bin/qemu-img ] || skip 'no qemu-img in /usr/bin'
    for path in '' ':' /no/where; do
        expect_rc 0 env PATH="$path" "$QEMU_IMG" --version
        expect_same_file "$OUT_FILE" want
    done
    expect_rc 0 env -u PATH "$QEMU_IMG" --version
    expect_same_file "$OUT_FILE" want
}

test_real_one_missing() {
    local hide='mount --bind "$0" "$1" && shift && PATH=/no/where exec "$@"'
    [ -f /usr/bin/qemu-img ] || skip 'no qemu-img in /usr/bin'
    [ ! -e /usr/bin/qemu-img.real ] || skip 'qemu-img is diverted here'
    unshare -rm true 2>/dev/null || skip 'cannot make a mount namespace'
    for arguments in --version --help 'snapshot -l x'; do
        # shellcheck disable=SC2086
        expect_rc 1 unshare -rm sh -c "$hide" "$QEMU_IMG" /usr/bin/qemu-img "$QEMU_IMG" $arguments
        expect_equal "$ERR" \
            'qemu-img: cannot find the real qemu-img; set SNAPSHOT_SET_QEMU_IMG' message
        expect_equal "$OUT" ''
    done
}

test_real_one_cannot_run() {
    expect_rc 1 env SNAPSHOT_SET_QEMU_IMG=/no/where "$QEMU_IMG" --version
    expect_equal "$ERR" "qemu-img: cannot run '/no/where': No such file or directory"
}

# ---- plugins ------------------------------------------------------------------------------------

test_plugin_gets_its_arguments() {
    private_dispatcher
    script d/qemu-img-x 'echo "$0"; printf "<%s>" "$@"; echo; echo "$SNAPSHOT_SET_QEMU_IMG"; exit 42'
    expect_rc 42 env -u SNAPSHOT_SET_QEMU_IMG "$QEMU_IMG" -T y x '' -a 'b c' -- --help
    expect_equal "$OUT" "$PWD/d/qemu-img-x
<><-a><b c><--><--help>
$REAL_QEMU_IMG"
    expect_rc 42 env SNAPSHOT_SET_QEMU_IMG=/bin/false "$QEMU_IMG" x
    expect_out '^/bin/false$'
}

test_plugin_lookup_order() {
    mkdir installed path beside
    gcc -std=gnu11 -D_GNU_SOURCE -I"$TOP" -DSNAPSET_BINDIR="\"$PWD/installed\"" \
        -o beside/qemu-img "$TOP"/qemu-img-plugin/{dispatch,plugin-search}.c \
        "$TOP/common/io/find-qemu-img.c"
    export PATH=$PWD/path:$PATH
    for directory in beside path installed; do
        script "$directory/qemu-img-x" "echo $directory"
        expect_rc 0 beside/qemu-img x
        expect_equal "$OUT" "$directory"
    done
    expect_rc 0 beside/qemu-img --help
    expect_out '^  x$'
}

test_what_is_no_plugin() {
    private_dispatcher
    for name in info snapshot create --x ''; do
        script "d/qemu-img-$name" 'echo plugin'
    done
    mkdir d/qemu-img-sub d/qemu-img-dir
    script d/qemu-img-sub/x 'echo plugin'
    printf '#!/bin/sh\necho plugin\n' >d/qemu-img-plain
    for name in info snapshot create --x -x '' sub/x dir plain; do
        same "$name"
        same -- "$name"
        refute_out plugin
    done
}

test_help_lists_plugins() {
    private_dispatcher
    mkdir bin d/qemu-img-directory
    for name in d/qemu-img-zulu d/qemu-img-alpha bin/qemu-img-alpha bin/qemu-img-info \
        bin/qemu-img-Mike $'bin/qemu-img-new\nline'; do
        script "$name" true
    done
    touch bin/qemu-img-plain
    real --help >real.out
    for option in --help -h --he '-T x -h' -hV; do
        # shellcheck disable=SC2086
        expect_rc 0 env PATH="$PWD/bin:$PATH:$PWD/bin" "$QEMU_IMG" $option
        expect_same_file <(head -c "$(stat -c %s real.out)" "$OUT_FILE") real.out
        tail -c "+$(($(stat -c %s real.out) + 1))" "$OUT_FILE" >paragraph
        expect_equal "$(head -n 2 paragraph)" $'\nPlugins:' paragraph
        tail -n +3 paragraph >names
        LC_ALL=C sort -uC names || fail "$(cat names)"
        expect_equal "$(grep -cE '^  (Mike|alpha|zulu)$' names)" 3 plugins
        expect_equal "$(grep -cE 'info|directory|plain|new|line' names || true)" 0 'not plugins'
    done
}

test_help_without_plugins_is_the_real_ones() {
    private_dispatcher
    PATH=/no/where SNAPSHOT_SET_QEMU_IMG=$REAL_QEMU_IMG "$QEMU_IMG" --help >got
    ! grep -q '^Plugins:' got || skip 'plugins are installed where this build looks first'
    real --help >want
    expect_same_file got want
}

test_help_ends_as_the_real_one() {
    private_dispatcher
    script d/qemu-img-x true
    script seven 'exit 7'
    script killed 'kill -KILL $$'
    script terminated 'kill -TERM $$'
    expect_rc 7 env SNAPSHOT_SET_QEMU_IMG="$PWD/seven" "$QEMU_IMG" --help
    refute_out Plugins
    expect_rc 137 env SNAPSHOT_SET_QEMU_IMG="$PWD/killed" "$QEMU_IMG" --help
    expect_rc 143 env SNAPSHOT_SET_QEMU_IMG="$PWD/terminated" "$QEMU_IMG" --help
    expect_rc 7 env --ignore-signal=CHLD SNAPSHOT_SET_QEMU_IMG="$PWD/seven" "$QEMU_IMG" --help
}

# ---- the guard ----------------------------------------------------------------------------------

test_guard_hands_over_changes() {
    private_guard
    while IFS='|' read -r arguments want; do
        # shellcheck disable=SC2086
        expect_rc 0 "$QEMU_IMG" $arguments
        expect_equal "$OUT" "$want" "for '$arguments', output"
    done <<'EOT'
snapshot -c t i|plugin<snapshot><-c><t><i>
snapshot -a t i|plugin<snapshot><-a><t><i>
snapshot -d t i|plugin<snapshot><-d><t><i>
snapshot i -c t|plugin<snapshot><i><-c><t>
snapshot -qct i|plugin<snapshot><-qct><i>
snapshot -c t -- i|plugin<snapshot><-c><t><--><i>
snapshot -U --image-opts --object o -d t i|plugin<snapshot><-U><--image-opts><--object><o><-d><t><i>
snapshot --force -c t i|plugin<snapshot><--force><-c><t><i>
snapshot -f qcow2 --create=t i|plugin<snapshot><-f><qcow2><--create=t><i>
-T x snapshot -c t i|plugin<snapshot><-c><t><i>
--trace=x -Ty -- snapshot -c t i|plugin<snapshot><-c><t><i>
snapshot -l i|real<snapshot><-l><i>
snapshot i|real<snapshot><i>
snapshot -c t -h i|real<snapshot><-c><t><-h><i>
snapshot -c t|real<snapshot><-c><t>
snapshot -c t i j|real<snapshot><-c><t><i><j>
snapshot -c t -d t i|real<snapshot><-c><t><-d><t><i>
snapshot -l -c t i|real<snapshot><-l><-c><t><i>
snapshot -- -c t i|real<snapshot><--><-c><t><i>
snapshot i -c|real<snapshot><i><-c>
-T x snapshot -l i|real<-T><x><snapshot><-l><i>
info -c t i|real<info><-c><t><i>
EOT
    expect_rc 0 "$QEMU_IMG" snapshot -c '' i
    expect_equal "$OUT" 'plugin<snapshot><-c><><i>'
}

test_guard_inside_our_own_command_does_not_judge_again() {
    private_guard
    expect_rc 0 env SNAPSHOT_SET_INSIDE=1 "$QEMU_IMG" snapshot -c t i
    expect_equal "$OUT" 'real<snapshot><-c><t><i>'
    expect_rc 0 env SNAPSHOT_SET_INSIDE= "$QEMU_IMG" --help
    expect_equal "$OUT" 'real<--help>'
}

test_guard_without_its_plugin_is_the_real_one() {
    private_dispatcher
    real create -q -f qcow2 a.qcow2 1M
    expect_rc 0 "$QEMU_IMG" snapshot -c t a.qcow2
    expect_rc 0 "$QEMU_IMG" snapshot -l a.qcow2
    expect_out '^1 +t '
}

# Whatever of these the real qemu-img takes for a change, the dispatcher must have taken for one.
test_guard_misses_no_change_that_the_real_one_makes() {
    local words=(-c -l t -q -- i.qcow2 -ct --f -U) changed=0 rc
    private_dispatcher
    script d/qemu-img-snapshot-set 'exit 42'
    real create -q -f qcow2 -o cluster_size=512 empty.qcow2 64k
    for one in "${words[@]}"; do
        for two in "${words[@]}"; do
            for three in "${words[@]}"; do
                set -- "$one" "$two" "$three"
                [[ " $* " == *' i.qcow2 '* ]] || continue
                cp empty.qcow2 i.qcow2
                real snapshot "$@" >/dev/null 2>&1 || true
                ! cmp -s i.qcow2 empty.qcow2 || continue
                changed=$((changed + 1))
                rc=0
                SNAPSHOT_SET_QEMU_IMG=/bin/true "$QEMU_IMG" snapshot "$@" || rc=$?
                expect_equal "$rc" 42 "for 'snapshot $*', exit code"
            done
        done
    done
    [ "$changed" -ge 10 ] || fail "only $changed of the commands changed the image"
}

# ---- cost ---------------------------------------------------------------------------------------

test_allocates_nothing_before_it_is_the_real_one() {
    [ -z "$SANITIZE" ] || skip 'the sanitizers allocate'
    requires strace
    strace -o trace true || skip 'cannot trace'
    real create -q -f qcow2 a.qcow2 1M
    for arguments in 'info a.qcow2' '-T x info a.qcow2' 'snapshot -l a.qcow2' 'no-such-command'; do
        # shellcheck disable=SC2086
        strace -e trace=brk,execve -o trace "$QEMU_IMG" $arguments >/dev/null 2>&1 || true
        expect_equal "$(grep -c '^execve(.*= 0$' trace)" 2 'number of programs run'
        awk '/^execve/ { run++ } run == 1' trace >before
        expect_equal "$(grep -c '^brk(0x' before || true)" 0 "heap calls for '$arguments'"
    done
}

# Medians of the processor's time in runs that alternate; a busy machine gets three tries.
test_costs_less_than_a_millisecond() {
    [ -z "$SANITIZE" ] || skip 'a sanitized build tells nothing about time'
    cat >cost.py <<'EOT'
import os, statistics, sys

def run(program):
    pid = os.posix_spawn(program, ["qemu-img", "--version"], os.environ,
                         file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)])
    _, status, usage = os.wait4(pid, 0)
    assert status == 0
    return 1000 * (usage.ru_utime + usage.ru_stime)

for attempt in range(3):
    pairs = [(run(sys.argv[1]), run(sys.argv[2])) for _ in range(200)]
    through, direct = (statistics.median(times) for times in zip(*pairs))
    print(f"{through:.3f} ms through the dispatcher, {direct:.3f} ms without")
    if through - direct < 1:
        sys.exit(0)
sys.exit(1)
EOT
    expect_rc 0 "$PYTHON" cost.py "$QEMU_IMG" "$REAL_QEMU_IMG"
    note "$OUT"
}

run_tests "$@"
