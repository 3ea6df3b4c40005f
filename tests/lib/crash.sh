# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# What tests of interrupted operations have in common; to be read in after harness.sh. OPERATION is
# the command line under test, AT where it was interrupted, for messages.

# traceable: skip the test where a program cannot be traced
traceable() {
    [ -z "$SANITIZE" ] || skip 'a traced process cannot be searched for leaks'
    strace -o trace true 2>/dev/null || skip 'cannot trace'
}

# journals: the files of operations that are pending
journals() {
    [ ! -d "$SNAPSHOT_SET_STATE_DIR" ] || find "$SNAPSHOT_SET_STATE_DIR" -name '*.journal'
}

# Children that outlive what started them are waited for.
settle() {
    local lock
    for lock in "$SNAPSHOT_SET_STATE_DIR"/operations/*.lock; do
        [ ! -e "$lock" ] || flock -w 20 "$lock" true || fail "$AT: something still runs"
    done
}

# inject SYSCALL WHAT N COMMAND...: run it, and into RC how it ended; FALSE when nothing happened to
# it because it makes fewer such calls
inject() {
    local call=$1 what=$2 number=$3
    shift 3
    AT="${OPERATION[*]}: $what in $call $number"
    RC=0
    # shellcheck disable=SC2034 # for test files
    { # in braces, that bash says "Killed" to no one
        strace "${FOLLOW[@]}" -qq -o trace -e "trace=$call" -e "inject=$call:$what:when=$number" \
            "$SNAPSHOT_SET" "$@" >out.txt 2>err.txt || RC=$?
    } 2>/dev/null
    grep -q '(INJECTED)\|killed by SIGKILL' trace
}
FOLLOW=()

# doomed_qemu_img N WHEN WHOM: a qemu-img of which the Nth to be started kills itself before or after
# its work; with WHOM "both" what started it too; with "fail" it only fails, with "rest" so do all
# after it
doomed_qemu_img() {
    rm -rf turns
    mkdir turns
    cat >doomed <<EOT
#!/bin/bash
turn=1
until mkdir "$PWD/turns/\$turn" 2>/dev/null; do turn=\$((turn + 1)); done
[ \$turn -eq $1 ] || { [ $3 = rest ] && [ \$turn -gt $1 ]; } ||
    exec -a qemu-img "$REAL_QEMU_IMG" "\$@"
[ $2 = before ] || "$REAL_QEMU_IMG" "\$@"
case $3 in
fail | rest) echo 'qemu-img: no luck' >&2; exit 1 ;;
both) kill -KILL \$PPID ;;
esac
kill -KILL \$\$
EOT
    chmod +x doomed
}
