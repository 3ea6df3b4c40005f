#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Whatever part of ours fails, the guest lives, and the answer follows the policy.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
# shellcheck source=../lib/libvirt.sh
. "$(dirname "$0")/../lib/libvirt.sh"
# shellcheck source=../lib/hook.sh
. "$(dirname "$0")/../lib/hook.sh"
# shellcheck source=../lib/guarded.sh
. "$(dirname "$0")/../lib/guarded.sh"
requires qemu-img qemu-system-x86_64 libvirtd virsh unshare nsenter tini

# own_programs: copies of hook, guard and judge, to be broken
own_programs() {
    PROGRAMS=$TEST_DIR/programs
    mkdir "$PROGRAMS"
    cp "$BUILD_DIR"/libvirt-hooks/snapshot-set-{hook,judge} \
        "$BUILD_DIR/libvirt-hooks/guard/snapshot-set-guard" "$PROGRAMS"
}

# replace PROGRAM COMMANDS: let that one be a script; the real one is $real in it
replace() {
    local program=$PROGRAMS/snapshot-set-$1
    [ -e "$program.real" ] || mv "$program" "$program.real"
    printf '#!/bin/bash\nreal=%q\n%s\n' "$program.real" "$2" >"$program.new"
    chmod +x "$program.new"
    mv "$program.new" "$program"
}

# restore PROGRAM: it is the real one again
restore() {
    mv "$PROGRAMS/snapshot-set-$1.real" "$PROGRAMS/snapshot-set-$1"
}

STATE=/var/lib/snapshot-set
POLICY=/etc/snapshot-set/policy.conf

# break_it FAULT: something of ours works no more
break_it() {
    case $1 in
    judge_killed) replace judge 'kill -KILL $$' ;;
    judge_hangs) replace judge '[ "$1" = record ] || sleep 600' ;;
    judge_missing) mv "$PROGRAMS/snapshot-set-judge"{,.real} ;;
    judge_not_executable) replace judge '' && chmod -x "$PROGRAMS/snapshot-set-judge" ;;
    judge_babbles) replace judge 'echo perhaps' ;;
    guard_missing) mv "$PROGRAMS/snapshot-set-guard"{,.real} ;;
    guard_fails) replace guard 'echo "no way" >&2; exit 1' ;;
    guard_hangs) replace guard 'sleep 600' ;;
    journal_full)
        in_libvirt mount -t tmpfs -o size=16k none "$STATE"
        in_libvirt dd if=/dev/zero of="$STATE/all" bs=4k status=none 2>/dev/null || true
        ;;
    journal_read_only) in_libvirt mount -t tmpfs -o ro none "$STATE" ;;
    policy_broken) policy '[rules]' 'tag-exists=perhaps' ;;
    policy_is_folder) in_libvirt bash -c "rm $POLICY && mkdir $POLICY" ;;
    policy_is_pipe) in_libvirt bash -c "rm $POLICY && mkfifo $POLICY" ;;
    esac
}

# mend_it FAULT: everything works again
mend_it() {
    case $1 in
    judge_* | guard_*) restore "${1%%_*}" ;;
    journal_*) in_libvirt umount "$STATE" ;;
    policy_*)
        in_libvirt rm -rf "$POLICY"
        policy "${POLICY_LINES[@]}"
        ;;
    esac
}

# reason FAULT: what is said of it, to the refused or in the log
reason() {
    case $1 in
    judge_killed) echo 'it was killed' ;;
    judge_hangs) echo 'it took too long' ;;
    judge_missing | judge_not_executable) echo 'it cannot be run' ;;
    judge_babbles) echo 'it answered neither allow nor deny' ;;
    policy_broken) echo "$POLICY: line 2: 'tag-exists' cannot be 'perhaps'" ;;
    policy_is_folder) echo "$POLICY.*: Is a directory" ;;
    policy_is_pipe) echo "'$POLICY' is a pipe" ;;
    journal_full) echo "no space for '$STATE/domains/[-0-9a-f]*\\.events': No space left on device" ;;
    journal_read_only) echo "cannot .*'$STATE.*': Read-only file system" ;;
    esac
}

# hook OPERATION: call it as libvirt would, for the running d
hook() {
    libvirt dumpxml d >live.xml
    in_libvirt "$PROGRAMS/snapshot-set-hook" d "$1" begin - <live.xml
    rm live.xml
}

# expect_survived: hook calls at which libvirt kills a guest pass, and say nothing
expect_survived() {
    local operation
    for operation in started reconnect; do
        expect_rc 0 hook "$operation"
        expect_equal "$OUT$ERR" '' "what $operation says"
    done
    expect_equal "$(libvirt domstate d)" running 'the guest'
}

# two_guests: d, and e which is let do what cannot be judged
two_guests() {
    own_programs
    POLICY_LINES=('[guard]' mode=required '[domain e]' on-judge-failure=allow)
    new_images ../other.qcow2
    guarded a.qcow2 b.qcow2
    watch_log
    policy "${POLICY_LINES[@]}"
    define e "$TEST_DIR/other.qcow2"
    expect_rc 0 libvirt start e
    settle
}

test_judging_fails() {
    local fault
    two_guests
    for fault in judge_{killed,missing,not_executable,babbles,hangs} journal_{full,read_only}; do
        : >"$LOG"
        break_it "$fault"
        expect_rc 1 libvirt snapshot-create-as d x
        expect_err "snapshot-set: the judge of snapshot commands failed: $(reason "$fault");.*\
\(on-judge-failure=deny\)"
        expect_equal "$(standing)" "$STANDING" "with $fault, what is there"
        expect_logged "domain 'd': judge failed, command refused: $(reason "$fault")"
        expect_rc 0 libvirt snapshot-create-as e "$fault"
        expect_logged "domain 'e': judge failed, command allowed: $(reason "$fault")"
        expect_survived
        mend_it "$fault"
    done
    good_snapshot
    expect_equal "$(tags_in_use ../other.qcow2)" 'judge_killed judge_missing judge_not_executable '\
'judge_babbles judge_hangs journal_full journal_read_only '
    expect_equal "$(libvirt domstate e)" running
}

# A deletion needs no record and may be what makes space again. Starting and reverting go on.
test_journal_cannot_be_written() {
    local fault
    two_guests
    expect_rc 0 libvirt snapshot-create-as d one
    expect_rc 0 libvirt snapshot-create-as e one
    for fault in journal_full journal_read_only; do
        expect_rc 0 libvirt snapshot-create-as d more
        : >"$LOG"
        break_it "$fault"
        expect_rc 0 libvirt snapshot-delete d more
        expect_logged "domain 'd': not recorded"
        expect_rc 0 libvirt snapshot-revert e one
        expect_equal "$(libvirt domstate e)" running 'the reverted guest'
        expect_rc 0 libvirt destroy e
        expect_rc 0 libvirt start e
        expect_logged "domain e: cannot .*$STATE|domain e: no space for '$STATE"
        mend_it "$fault"
    done
    good_snapshot
}

test_policy_cannot_be_read() {
    local fault
    two_guests
    POLICY_LINES+=('[rules]' tag-exists=warn)
    good_snapshot
    expect_rc 0 libvirt snapshot-delete --metadata d good-1
    for fault in policy_{broken,is_folder,is_pipe}; do
        : >"$LOG"
        break_it "$fault"
        refused tag-exists snapshot-create-as d good-1
        expect_logged "domain d: .*$(reason "$fault").*; the default policy is used"
        expect_rc 0 libvirt destroy e
        expect_rc 0 libvirt start e
        expect_logged "domain e: .*$(reason "$fault").*; the default policy is used"
        expect_survived
        mend_it "$fault"
    done
    expect_rc 0 libvirt qemu-monitor-command d --hmp 'savevm good-1'
    expect_logged 'domain d: warning \[tag-exists\]'
}

test_guard_cannot_be_put_in_place() {
    local fault
    own_programs
    start_libvirt
    install_hook
    watch_log
    new_images a.qcow2
    define d "$PWD/a.qcow2"
    for fault in guard_missing guard_fails guard_hangs; do
        break_it "$fault"
        expect_rc 1 libvirt start d
        expect_err 'snapshot-set: the machine may not start without its monitor guard: '
        expect_equal "$(libvirt domstate d)" 'shut off'
        mend_it "$fault"
    done
    expect_logged 'domain d: start: the hook took too long, and was given up; the event is refused'
    break_it guard_fails
    : >"$LOG"
    policy '[guard]' mode=best-effort
    expect_rc 0 libvirt start d
    expect_logged 'domain d: no guard: the guard did not start: no way'
    expect_survived
    expect_rc 0 libvirt snapshot-create-as d bare
    expect_rc 0 libvirt destroy d
    policy '[guard]' mode=off
    : >"$LOG"
    expect_rc 0 libvirt start d
    expect_rc 0 libvirt snapshot-create-as d barer
    expect_equal "$(grep -c guard "$LOG")" 0 'what the log says of guards'
    mend_it guard_fails
}

# guard_of_d FIELD: what is said of it
guard_of_d() {
    guards --output=json
    json "' '.join(str(guard['$1']) for guard in d if guard['domain'] == 'd')"
}

kill_relay() {
    local pid
    pid=$(guard_of_d pid)
    until [ -n "$(cat "/proc/$pid/task/$pid/children")" ]; do
        sleep 0.01 # libvirtd answers before it has connected again
    done
    xargs kill -KILL <"/proc/$pid/task/$pid/children"
}

# killed_at_work judge|record ARGUMENT...: virsh, and the relay of $KEEPER is killed while its judge,
# or the recorder, is at work
killed_at_work() {
    local at=$TEST_DIR/at-work virsh rc=0
    rm -rf "$at"
    # the judge waits for a command, and as the recorder for a reply: what is at work has got it
    replace judge "at_work() { [ $1 != \$1 ] || ! mkdir $at 2>/dev/null || sleep 1; }
        command=\$(cat)
        if [ \$1 = judge ]; then
            at_work judge
            \$real \"\$@\" <<<\$command 3<&- || exit
        fi
        reply=\$(cat <&3)
        [ -n \"\$reply\" ] || exit 0
        at_work record
        exec \$real record \"\${@:2}\" <<<\$command 3<<<\$reply"
    libvirt "${@:2}" &
    virsh=$!
    until [ -e "$at" ]; do sleep 0.01; done
    xargs kill -KILL <"/proc/$KEEPER/task/$KEEPER/children"
    wait "$virsh" || rc=$?
    return "$rc"
}

test_processes_killed() {
    local old why
    two_guests
    kill_relay
    good_snapshot
    refused_hmp tag-empty 'savevm ""'
    KEEPER=$(guard_of_d pid)
    # while the judge is at work, on what is refused and what is not; while the recorder is
    expect_rc 1 killed_at_work judge qemu-monitor-command d --hmp 'savevm good-1'
    expect_err 'snapshot-set: refused \[tag-exists\]: .'
    expect_equal "$(standing)" "$STANDING" 'what is there'
    expect_rc 0 killed_at_work judge snapshot-create-as d judged
    expect_rc 0 killed_at_work record snapshot-create-as d recorded
    expect_equal "$(tags_in_use a.qcow2)" 'good-1 judged recorded '
    expect_logged "domain 'd': the relay died, a new one goes on"
    settle
    # and the keeper, whose relay makes a new one, which knows what the old one did
    old=$(guard_of_d pid)
    why=$(guard_of_d reason)
    [[ $why == 'refused [tag-exists]: '* ]] || fail "refused last: $why"
    kill -KILL "$old"
    until [ -n "$(guard_of_d pid)" ] && [ "$(guard_of_d pid)" != "$old" ]; do sleep 0.01; done
    expect_equal "$(guard_of_d reason)" "$why" 'refused last'
    refused_hmp tag-empty 'savevm ""'
    [[ $(guard_of_d reason) == 'refused [tag-empty]: '* ]] || fail "refused last: $(guard_of_d reason)"
    kill_relay
    restart_libvirt
    expect_survived
    good_snapshot
    expect_rc 0 libvirt destroy d
    expect_equal "$(drawn a.qcow2 b.qcow2)" "$(printf '%s\n' good-1 '└─judged' '  └─recorded' \
        '    └─good-2 current')" 'the lineage'
}

# Nobody lived to record a load: whose child the next snapshot is is not known then, and said so.
test_load_is_not_recorded() {
    own_programs
    guarded a.qcow2 b.qcow2
    good_snapshot
    good_snapshot
    replace judge '[ $1 = judge ] || exit 1; exec $real "$@" 3<&-'
    kill_relay # its judge waits already
    expect_rc 0 libvirt qemu-monitor-command d --hmp 'loadvm good-1'
    restore judge
    kill_relay
    good_snapshot
    expect_rc 0 libvirt destroy d
    expect_rc 0 ss list --output=json a.qcow2 b.qcow2
    expect_json '[(s["tag"], s["parent"] is None) for s in d["snapshots"]]' \
        '[["good-1", true], ["good-2", false], ["good-3", true]]'
    expect_json '[s["parent-source"] for s in d["snapshots"]]' '["recorded", "recorded", "none"]'
}

# A disk on a file system that hangs for the hook, and then for the judge: they cannot even be
# killed, but nobody waits for them.
test_disk_hangs() {
    local hung=$TEST_DIR/hung
    [ -e /dev/fuse ] || skip 'needs /dev/fuse'
    own_programs
    start_libvirt
    install_hook
    watch_log
    new_images a.qcow2 b.qcow2
    mkdir ../mount
    nsenter --target "$LIBVIRT_PID" --mount --root "$PYTHON" "$TOP/tests/lib/hangfs.py" \
        "$TEST_DIR/mount" "$PWD/a.qcow2" "$hung" &
    cleanup_fn kill $!
    until in_libvirt test -e "$TEST_DIR/mount/disk"; do sleep 0.01; done
    define d "$TEST_DIR/mount/disk" "$PWD/b.qcow2"
    printf '%s\n' 50-snapshot-set snapshot-set-ho >"$hung" # as libvirt calls it, or a script does
    expect_rc 0 libvirt start d
    expect_logged 'domain d: prepare: the hook took too long, and was given up; the event passes'
    good_snapshot
    echo snapshot-set-ju >"$hung"
    expect_rc 1 libvirt snapshot-create-as d x
    expect_err "the judge of snapshot commands failed: it took too long"
    expect_equal "$(standing)" "$STANDING" 'what is there'
    [ ! -e "$hung" ] || fail 'the judge did not read the disk'
    good_snapshot
}

test_hook_meets_what_it_cannot_read() {
    local operation
    own_programs
    start_libvirt
    install_hook
    watch_log
    mkfifo pipe
    new_images a.qcow2
    define d "$PWD/pipe" "$PWD/a.qcow2"
    hook_for() { in_libvirt "$PROGRAMS/snapshot-set-hook" d "$@" - <"$1.xml"; }
    for operation in prepare started release reconnect stopped migrate; do
        sed 's/<name>/<uuid>c0ffee00-0000-4000-8000-000000000001<\/uuid><name>/' d.xml >"$operation.xml"
        expect_rc 0 hook_for "$operation" "$([[ $operation == release ]] && echo end || echo begin)"
    done
    expect_logged "domain d: .*pipe': .*; it is judged as if it had no snapshots"
    echo '<domain' >prepare.xml
    expect_rc 0 hook_for prepare begin
    expect_logged 'domain d: this is not a domain.s XML; nothing was judged'
    ! grep 'took too long' "$LOG" || fail 'the hook waited for a pipe'
}

# A worker of the hook that dies is not the guest's death; what policy asks for before is.
test_hook_crashes() {
    own_programs
    start_libvirt
    install_hook
    watch_log
    new_images a.qcow2
    define d "$PWD/a.qcow2"
    # whoever writes to a file gets SIGXFSZ: with the guard in place, but not in the journal yet
    replace hook 'ulimit -f 0; exec "$real" "$@"'
    expect_rc 0 libvirt start d
    expect_logged 'domain d: start: the hook crashed, and was given up; the event passes'
    expect_rc 1 libvirt snapshot-create-as d x
    expect_err 'the judge of snapshot commands failed: .*on-judge-failure=deny'
    expect_survived
    restore hook
    expect_survived
}

# Disks half-way between two snapshots are not started with.
test_recovery_takes_long() {
    own_programs
    start_libvirt
    install_hook
    new_images a.qcow2 b.qcow2
    ss create -q one a.qcow2 b.qcow2
    cat >killer <<EOT
#!/bin/bash
[[ " \$* " != *' -a '* ]] || ! mkdir '$PWD/once' 2>/dev/null || kill -KILL \$PPID
exec -a qemu-img "$REAL_QEMU_IMG" "\$@"
EOT
    printf '%s\n' '#!/bin/sh' 'sleep 600' >sleeper
    chmod +x killer sleeper
    define d "$PWD/a.qcow2" "$PWD/b.qcow2"
    expect_rc 137 in_libvirt env SNAPSHOT_SET_STATE_DIR="$STATE" \
        SNAPSHOT_SET_QEMU_IMG="$PWD/killer" "$SNAPSHOT_SET" apply tag=one a.qcow2 b.qcow2
    # its children may still be at work
    in_libvirt flock --wait 60 "$STATE"/operations/*.lock true
    replace hook "SNAPSHOT_SET_QEMU_IMG='$PWD/sleeper' exec \"\$real\" \"\$@\""
    expect_rc 1 libvirt start d
    expect_err 'snapshot-set: refused \[operation-pending\]: recovering .* takes long'
    restore hook
    expect_rc 0 libvirt start d
}

# Everything at once, and libvirtd comes back.
test_reconnect_with_all_broken() {
    local fault faults=(judge_missing guard_missing journal_read_only policy_is_pipe)
    two_guests
    for fault in "${faults[@]}"; do
        break_it "$fault"
    done
    kill_relay
    restart_libvirt
    kill_relay
    expect_survived
    expect_equal "$(libvirt domstate e)" running
    for fault in "${faults[@]}"; do
        mend_it "$fault"
    done
    good_snapshot
}

run_tests "$@"
