#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Operations over three images that are killed, or that fail, at each of their system calls, and
# with each of their qemu-img: after recovery all images are as before, or all as if nothing had
# gone wrong.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
# shellcheck source=../lib/crash.sh
. "$(dirname "$0")/../lib/crash.sh"
requires qemu-img qemu-io strace flock

IMAGES=(a b c)

# ---- the scene ----------------------------------------------------------------------------------

# Three images at data 3; "old" holds 1, "newer" 2; "looped" is what a loop of qemu-img left.
pristine_images() {
    new_images "${IMAGES[@]}"
    put 1 "${IMAGES[@]}"
    ss create -q --description text old "${IMAGES[@]}"
    put 2 "${IMAGES[@]}"
    ss create -q newer "${IMAGES[@]}"
    put 3 "${IMAGES[@]}"
    for image in "${IMAGES[@]}"; do
        real snapshot -c looped "$image"
    done
}

# Three images that were never stamped, with a backing file.
unstamped_images() {
    new_images base
    for image in "${IMAGES[@]}"; do
        real create -q -f qcow2 -F qcow2 -b base "$image"
    done
    put 3 "${IMAGES[@]}"
}

# state_of FILE: what the image holds: snapshots, records, guest data
state_of() {
    local byte
    "$SNAPSHOT_SET" list --all --output=json "$1" 2>/dev/null | "$PYTHON" -c '
import json, sys
d = json.load(sys.stdin)
keys = "id", "identity", "tag", "description", "parent", "parent-source", "protected", "members"
for s in d["snapshots"]:
    if s["identity"] != "recorded": s["id"] = "" # another on each image
print(d["images"][0]["current"], [[s[key] for key in keys] for s in d["snapshots"]])'
    for byte in 1 2 3; do
        ! qemu-io -r -f qcow2 -c "read -q -P $byte 0 64k" "$1" >/dev/null || printf '%s\n' "$byte"
    done
}

# normalized FILE...: the same without what differs from run to run: identities by their order
normalized() {
    "$PYTHON" -c '
import re, sys
for name in sys.argv[1:]:
    seen = {}
    text = open(name).read()
    print(re.sub("[0-9a-f]{8}-[0-9a-f-]{27}", lambda m: seen.setdefault(m[0], f"#{len(seen)}"),
                 text), end="")' "$@"
}

# all_states: into the files state.a, state.b, ...
all_states() {
    local image
    for image in "${IMAGES[@]}"; do
        state_of "$image" >"state.$image"
    done
}

# scene MAKER COMMAND...: the images, the operation under test, and what it makes of them
scene() {
    "$1"
    shift
    OPERATION=("$1" -q "${@:2}" "${IMAGES[@]}") # quiet: all it writes is journals
    mkdir saved saved-crash
    cp --sparse=always "${IMAGES[@]}" saved/
    all_states
    BEFORE=$(normalized state.a)
    for image in "${IMAGES[@]}"; do
        expect_equal "$(normalized "state.$image")" "$BEFORE" "before, $image"
    done
    ss "${OPERATION[@]}" >/dev/null
    all_states
    AFTER=$(normalized state.a)
    for image in "${IMAGES[@]}"; do
        expect_equal "$(normalized "state.$image")" "$AFTER" "after, $image"
    done
    [ "$BEFORE" != "$AFTER" ] || fail 'the operation does nothing'
    POINTS=0
}

# The images as at first, and no state. They stay the same files: a journal knows them by that.
reset_scene() {
    local image
    for image in "${IMAGES[@]}"; do
        cp --sparse=always "saved/$image" "$image"
    done
    rm -rf "$SNAPSHOT_SET_STATE_DIR"
}

# ---- judging ------------------------------------------------------------------------------------

# all_or_none [BEFORE]: judge the images; with an argument only that outcome is right
all_or_none() {
    local image outcome rc
    all_states
    outcome=$(normalized state.a)
    [ "$outcome" = "$BEFORE" ] || { [ "$outcome" = "$AFTER" ] && [ $# -eq 0 ]; } ||
        fail "$AT: a is $outcome"
    for image in "${IMAGES[@]}"; do
        expect_equal "$(normalized "state.$image")" "$outcome" "$AT: unlike a, $image"
        rc=0
        real check -q "$image" >check.out 2>&1 || rc=$?
        [[ $rc == 0 || $rc == 3 ]] || fail "$AT: qemu-img check of $image: $rc: $(cat check.out)"
    done
    if [[ $outcome == "$AFTER" && $outcome == *recorded* ]]; then
        expect_same_file state.b state.a
        expect_same_file state.c state.a
    fi
    expect_equal "$(journals)" '' "$AT: left behind"
}

# Reading commands work and tell of what is pending.
expect_told() {
    local pending
    pending=$(journals)
    expect_rc 0 ss list "${IMAGES[@]}"
    if [ -n "$pending" ]; then
        expect_err '\[operation-pending\]'
    else
        refute_err 'operation-pending'
    fi
}

# recovered: what was interrupted is settled; every second time by another writing command
recovered() {
    settle
    expect_told
    if ((POINTS % 2)) || [ -z "$(journals)" ]; then
        expect_rc 0 ss recover
    else
        # it recovers first, and then has nothing to do
        ss unprotect -q tag=no-such "${IMAGES[@]}" 2>err.txt && fail "$AT: there is such a tag"
        grep -q 'warning: an interrupted operation: .*: \(finished\|undone\)$' err.txt ||
            fail "$AT: $(cat err.txt)"
    fi
    all_or_none
    POINTS=$((POINTS + 1))
}

# ---- killed -------------------------------------------------------------------------------------

# killed SYSCALL [STEP]: at every STEPth such call that the operation makes itself. Calls are regular
# expressions to strace where libraries differ in which of several like calls they make.
killed() {
    local number step=${2:-1}
    for ((number = 1; number < 1000; number += step)); do
        reset_scene
        if ! inject "$1" signal=KILL "$number" "${OPERATION[@]}"; then
            [ "$number" -gt 1 ] || fail "${OPERATION[*]}: it makes no call $1"
            return 0
        fi
        [ "$RC" -eq 137 ] || fail "$AT: exit code $RC: $(cat err.txt)"
        recovered
    done
    fail "$1: no end"
}

killed_everywhere() {
    traceable
    for call in pwrite64 fdatasync fsync /^rename /^unlink write; do
        killed "$call"
    done
    killed /^fcntl 29
    killed /^open 17
    note "killed at $POINTS calls"
}

test_create_killed() { scene pristine_images create --description more new && killed_everywhere; }
test_first_create_killed() { scene unstamped_images create new && killed_everywhere; }
test_apply_killed() { scene pristine_images apply tag=old && killed_everywhere; }
test_apply_with_save_killed() {
    scene pristine_images apply --save-current saved tag=old && killed_everywhere
}
test_delete_killed() { scene pristine_images delete tag=old && killed_everywhere; }
test_delete_with_children_killed() {
    scene pristine_images delete --children tag=old && killed_everywhere
}
test_adopt_killed() { scene pristine_images adopt tag=looped && killed_everywhere; }
test_protect_killed() { scene pristine_images protect tag=old && killed_everywhere; }

# ---- the children -------------------------------------------------------------------------------

# The Nth qemu-img dies, or fails, and the operation lives: all is undone, and one message says so.
children_fail() {
    local number rc
    for whom in child fail rest; do
        for when in before after; do
            for ((number = 1; ; number++)); do
                AT="${OPERATION[*]}: qemu-img $number: $whom $when"
                reset_scene
                doomed_qemu_img "$number" "$when" "$whom"
                rc=0
                SNAPSHOT_SET_QEMU_IMG=$PWD/doomed ss "${OPERATION[@]}" >out.txt 2>err.txt || rc=$?
                [ -e "turns/$number" ] || break
                expect_equal "$(grep -c '^qemu-img: snapshot-set: ' err.txt)" 1 "$AT: messages"
                expect_told
                case $rc in
                1) all_or_none BEFORE ;;
                3) recovered ;;
                *) fail "$AT: exit code $rc: $(cat err.txt)" ;;
                esac
                POINTS=$((POINTS + 1))
            done
        done
    done
    note "$POINTS children killed or failing"
}

test_children_of_create_fail() { scene pristine_images create new && children_fail; }
test_children_of_apply_fail() { scene pristine_images apply tag=old && children_fail; }
test_children_of_delete_fail() { scene pristine_images delete tag=old && children_fail; }

# The Nth qemu-img dies, and the operation with it; the others live on.
all_die() {
    local number
    for when in before after; do
        for ((number = 1; ; number++)); do
            AT="${OPERATION[*]}: qemu-img $number and all: $when"
            reset_scene
            doomed_qemu_img "$number" "$when" both
            {
                SNAPSHOT_SET_QEMU_IMG=$PWD/doomed ss "${OPERATION[@]}" >out.txt 2>err.txt || true
            } 2>/dev/null
            [ -e "turns/$number" ] || break
            recovered
        done
    done
    note "$POINTS times killed with a child"
}

test_create_dies_with_a_child() { scene pristine_images create new && all_die; }
test_apply_dies_with_a_child() { scene pristine_images apply tag=old && all_die; }
test_delete_dies_with_a_child() { scene pristine_images delete tag=old && all_die; }

# Within qemu-img too: some of its threads make the Nth such call.
test_killed_within_the_children() {
    traceable
    FOLLOW=(-f)
    scene pristine_images apply tag=old
    for call in pwrite64 fdatasync; do
        for ((number = 1; number < 100; number++)); do
            reset_scene
            inject "$call" signal=KILL "$number" "${OPERATION[@]}" || break
            recovered
        done
    done
    note "killed at $POINTS calls"
}

# ---- killed twice -------------------------------------------------------------------------------

# crash_scene: the images and journals of an interrupted operation, kept
keep_crash() {
    settle
    [ -n "$(journals)" ] || fail "$AT: nothing is pending"
    rm -rf saved-crash
    mkdir saved-crash
    cp --sparse=always "${IMAGES[@]}" saved-crash/
    cp -r "$SNAPSHOT_SET_STATE_DIR" saved-crash/state
}

reset_crash() {
    local image
    for image in "${IMAGES[@]}"; do
        cp --sparse=always "saved-crash/$image" "$image"
    done
    rm -rf "$SNAPSHOT_SET_STATE_DIR"
    cp -r saved-crash/state "$SNAPSHOT_SET_STATE_DIR"
}

# killed_again SYSCALL N: the operation is killed there, and its recovery everywhere
killed_again() {
    local call number
    reset_scene
    inject "$1" signal=KILL "$2" "${OPERATION[@]}" || fail "$AT: it was not killed"
    keep_crash
    for call in pwrite64 fdatasync /^rename /^unlink fsync /^wait; do
        for ((number = 1; number < 100; number++)); do
            reset_crash
            inject "$call" signal=KILL "$number" recover || break
            recovered
        done
    done
}

test_create_killed_twice() {
    traceable
    scene pristine_images create new
    killed_again /^rename 2
    killed_again pwrite64 2
    note "$POINTS times"
}

test_apply_killed_twice() {
    traceable
    scene pristine_images apply tag=old
    killed_again /^rename 3
    killed_again pwrite64 2
    note "$POINTS times"
}

test_delete_killed_twice() {
    traceable
    scene pristine_images delete tag=old
    killed_again pwrite64 1
    note "$POINTS times"
}

# ---- what lies between crash and recovery --------------------------------------------------------

# pending: an apply that has been killed when all images had been applied
pending() {
    traceable
    scene pristine_images apply tag=old
    reset_scene
    inject /^rename signal=KILL 3 "${OPERATION[@]}" || fail "$AT: it was not killed"
    keep_crash
}

test_recovery_may_be_tried_out() {
    pending
    remember "${IMAGES[@]}" "$(journals)"
    expect_rc 0 ss recover --dry-run
    expect_out "^'apply' of 3 images would be undone$"
    expect_rc 0 ss recover --dry-run a
    expect_rc 0 ss recover no-such-image
    expect_unchanged
    expect_rc 0 ss recover b
    expect_out "^'apply' of 3 images: undone$"
    all_or_none BEFORE
}

test_recovery_of_images_in_use() {
    requires qemu-system-x86_64
    pending
    new_images d
    start_qemu m a
    for command in 'recover' 'recover b' 'create new b c' 'apply tag=newer b c'; do
        # shellcheck disable=SC2086
        expect_rc 3 ss $command
        expect_err "^qemu-img: snapshot-set: the interrupted 'apply' cannot be recovered now: .*/a'"
    done
    expect_told
    expect_rc 0 ss create new d
    stop_qemu m
    expect_rc 0 ss recover
    all_or_none BEFORE
}

test_recovery_without_one_of_the_images() {
    pending
    mv b elsewhere
    remember a c
    expect_rc 3 ss recover
    expect_err "/b' is not there"
    expect_unchanged
    expect_rc 0 ss recover --without-missing
    expect_out "/b' is no longer there"
    mv elsewhere b
    state_of a >one
    state_of c >two
    expect_equal "$(normalized one)" "$BEFORE"
    expect_same_file two one
    # and what remains in the other can be seen
    expect_equal "$(tags b | wc -w)" 4 'snapshots of b, with the undo snapshot'
}

# An image that was away for a while is recovered with the others when it is back.
test_recovery_waits_for_an_image() {
    pending
    mv b elsewhere
    expect_rc 3 ss recover
    mv elsewhere b
    expect_rc 0 ss recover
    all_or_none BEFORE
}

# killer OPTION: a qemu-img that kills who started it, and has not been killed yet, once it has done
# what that option says; without one at once, and in place of anything else
killer() {
    {
        echo '#!/bin/bash'
        [ $# -eq 0 ] || printf '"%s" "$@"; rc=$?\n[[ " $* " = *" %s "* ]] || exit $rc\n' \
            "$REAL_QEMU_IMG" "$1"
        echo '[ "$(cat /proc/$PPID/comm)" != qemu-img-snapsh ] || kill -KILL $PPID'
    } >killer
    chmod +x killer
}

# interrupted TAG: an apply that is killed once qemu-img has applied it
interrupted() {
    killer -a
    SNAPSHOT_SET_QEMU_IMG=$PWD/killer ss apply -q "tag=$1" x y 2>/dev/null || true
    AT="apply tag=$1"
    settle # its children may still be at work
    [ -n "$(journals)" ] || fail 'nothing is pending'
}

# The machine was used after the crash: going back would lose what it wrote.
test_what_was_written_since_is_kept() {
    new_images x y
    put 1 x y
    ss create -q one x y
    put 2 x y
    interrupted one
    put 9 x y
    remember x y
    expect_rc 3 ss recover
    expect_err 'written to since'
    expect_rc 3 ss create today x y
    expect_rc 3 ss describe tag=one text x
    expect_rc 3 "$QEMU_IMG" snapshot -c today x
    expect_unchanged
    expect_rc 0 ss recover --keep-written
    expect_data 9 x y
    expect_equal "$(journals)" ''
    # and the state before the apply is there too
    tag=$(tags x | tr ' ' '\n' | grep undo)
    ss adopt -q "tag=$tag" x y
    ss apply -q "tag=$tag" x y
    expect_data 2 x y
    expect_clean x y
}

# A snapshot taken since hides whether anything was written before it.
test_what_was_taken_a_snapshot_of_since_is_kept() {
    new_images x y
    put 1 x y
    ss create -q one x y
    put 2 x y
    interrupted one
    put 9 x y
    real snapshot -c later x
    real snapshot -c later y
    expect_rc 3 ss recover
    expect_err 'taken a snapshot of since'
    expect_rc 0 ss recover --keep-written
    expect_data 9 x y
}

# libvirt makes overlays of machines that are off: nothing is changed under them.
test_what_an_overlay_stands_on_is_kept() {
    new_images x y
    ss create -q one x y
    put 2 x y
    interrupted one
    real create -q -f qcow2 -F qcow2 -b x over
    put 9 over
    remember x y over
    expect_rc 3 ss check over y
    expect_out '\[operation-pending\].*over'
    expect_rc 3 ss recover
    expect_err "x': '.*/over' was put on top of it since"
    expect_rc 3 ss create today over y
    expect_unchanged
    rm over
    expect_rc 0 ss recover
    expect_data 2 x y
}

# in_journal NUMBER FROM: change a number in the only journal
in_journal() {
    "$PYTHON" - "$(journals)" "$@" <<'EOT'
import re, sys
path, name, change = sys.argv[1:]
text = open(path).read()
new = re.sub(rf"('{name}': <u?int64 )(\d+)", lambda m: m[1] + str(eval(m[2] + change)), text)
assert new != text
open(path, "w").write(new)
EOT
}

# On a slow disk the snapshots to go back to take their time, and a clock may be set meanwhile.
test_slow_apply_is_undone() {
    new_images x y
    ss create -q one x y
    put 2 x y
    interrupted one
    in_journal started -600
    expect_rc 0 ss recover
    expect_data 2 x y
    expect_equal "$(tags x) $(tags y)" 'one one'
}

# The host was started again: devices have other numbers, and files are found by their real names.
test_names_are_found_again_after_a_restart() {
    new_images x y
    ss create -q one x y
    put 2 x y
    ln -s "$PWD" link
    interrupted one
    in_journal device +1
    expect_rc 3 ss check link/x link/y
    expect_out '\[operation-pending\]'
    expect_rc 0 ss create two link/x link/y
    expect_data 2 x y
}

# attach NAME FILE: a link of that name to a device with this content
attach() {
    local device
    device=$(losetup --find --show "$2" 2>/dev/null) || skip 'cannot attach a loop device'
    cleanup_fn eval "losetup --detach $device 2>/dev/null || true"
    ln -sfn "$device" "$1"
}

# Of devices only the links keep their names.
test_devices_are_found_again_after_a_restart() {
    requires losetup
    local name
    for name in x y; do
        new_images "$name.img"
        truncate -s 16M "$name.img"
        attach "$name" "$name.img"
        qemu-io -f qcow2 -c 'write -q -P 1 0 64k' "$name"
    done
    ss create -q one x y
    qemu-io -f qcow2 -c 'write -q -P 2 0 64k' x
    qemu-io -f qcow2 -c 'write -q -P 3 0 64k' y
    interrupted one
    losetup --detach "$(realpath x)" "$(realpath y)"
    new_images z.img
    truncate -s 16M z.img
    attach z z.img # in the place of x
    attach y y.img
    attach x x.img
    expect_rc 0 ss check z
    expect_rc 3 ss check x y
    expect_rc 0 ss recover x
    expect_rc 0 qemu-io -r -f qcow2 -c 'read -q -P 2 0 64k' x
    expect_equal "$OUT" ''
    expect_rc 0 qemu-io -r -f qcow2 -c 'read -q -P 3 0 64k' y
    expect_equal "$OUT" ''
}

# The command was killed, and its child is still at work on one image: the other is not free, either.
test_a_child_is_still_at_work() {
    new_images x y
    ss create -q one x y
    cat >slow <<EOT
#!/bin/bash
if [[ " \$* " = *' -a '* && \$* = */x* ]]; then
    touch begun
    until [ -e end ]; do sleep 0.01; done
fi
exec -a qemu-img "$REAL_QEMU_IMG" "\$@"
EOT
    chmod +x slow
    SNAPSHOT_SET_QEMU_IMG=$PWD/slow "$SNAPSHOT_SET" apply -q tag=one x y 2>/dev/null &
    until [ -e begun ]; do sleep 0.01; done
    kill -KILL $!
    wait $! || true
    remember y
    expect_rc 3 "$QEMU_IMG" snapshot -c today y
    expect_err 'another command is at work'
    expect_unchanged
    touch end
    AT='the child'
    settle
    expect_rc 0 ss recover
    expect_rc 0 "$QEMU_IMG" snapshot -c today y
}

# Nobody wrote: it goes back by itself.
test_apply_is_undone_by_the_next_command() {
    new_images x y
    put 1 x y
    ss create -q one x y
    put 2 x y
    interrupted one
    expect_rc 0 ss create two x y
    expect_data 2 x y
    expect_equal "$(tags x) $(tags y)" 'one two one two'
}

# A record written since the crash, by a user with a state folder of his own, is newer than the plan.
test_a_newer_record_is_kept() {
    local before
    new_images x y
    ss create -q one x y
    ss create -q two x y
    killer -d
    SNAPSHOT_SET_QEMU_IMG=$PWD/killer ss delete -q tag=one x y 2>/dev/null || true
    settle
    [ -n "$(journals)" ] || fail 'nothing is pending'
    SNAPSHOT_SET_STATE_DIR=$PWD/other expect_rc 0 ss create new x y
    SNAPSHOT_SET_STATE_DIR=$PWD/other expect_rc 0 ss protect tag=new x y
    expect_rc 0 ss list --output=json x y
    before=$(json '[[s["id"], s["identity"], s["protected"], s["current"]] for s in d["snapshots"] if s["tag"] == "new"]')
    expect_rc 0 ss recover
    expect_rc 0 ss list --output=json x y
    expect_equal "$(json '[[s["id"], s["identity"], s["protected"], s["current"]] for s in d["snapshots"] if s["tag"] == "new"]')" "$before"
    expect_equal "$(tags x) $(tags y)" 'two new two new'
}

# What somebody else took under the same tag later is not ours to delete.
test_a_later_snapshot_of_the_same_tag_is_kept() {
    new_images x y
    killer
    SNAPSHOT_SET_QEMU_IMG=$PWD/killer ss create -q mine x y 2>/dev/null || true
    AT='create mine'
    settle # its other child may still run
    in_journal started -600
    real snapshot -c mine y
    expect_rc 0 ss recover
    expect_equal "$(tags x)$(tags y)" mine
}

test_dispatcher_recovers_first() {
    pending
    expect_rc 2 "$QEMU_IMG" snapshot -c looped a
    all_or_none BEFORE
}

test_several_operations_are_pending() {
    pending
    new_images d e f
    for image in d e f; do
        inject /^rename signal=KILL 2 create -q new "$image" || fail "$AT: it was not killed"
    done
    settle
    expect_equal "$(journals | wc -l)" 4 'number of journals'
    expect_rc 0 ss recover
    all_or_none BEFORE
    expect_equal "$(tags d)$(tags e)$(tags f)" ''
}

# ---- failing system calls -----------------------------------------------------------------------

# failing SYSCALL ERROR [STEP]: at every such call; all is undone at once, or left to be finished
failing() {
    local number call=$1 error=$2 step=${3:-1}
    for ((number = 1; number < 1000; number += step)); do
        reset_scene
        inject "$call" "error=$error" "$number" "${OPERATION[@]}" || return 0
        case $RC in
        0) ;;
        1 | 3)
            expect_equal "$(grep -c '^qemu-img: snapshot-set: ' err.txt)" 1 \
                "$AT: $(cat err.txt): messages"
            ;;
        2) grep -q 'refused \[' err.txt || fail "$AT: $(cat err.txt)" ;;
        *) fail "$AT: exit code $RC: $(cat err.txt)" ;;
        esac
        case $RC in
        0) all_or_none ;;
        1 | 2) all_or_none BEFORE ;;
        3)
            expect_told
            [ -n "$(journals)" ] || fail "$AT: exit code 3, and nothing is pending"
            recovered
            ;;
        esac
        POINTS=$((POINTS + 1))
    done
    fail "$call: no end"
}

failing_everywhere() {
    traceable
    failing pwrite64 EIO
    failing fdatasync EIO
    failing fsync ENOSPC
    failing /^rename EACCES
    failing write ENOSPC
    note "$POINTS calls failed"
}

test_create_with_failing_calls() { scene pristine_images create new && failing_everywhere; }
test_first_create_with_failing_calls() { scene unstamped_images create new && failing_everywhere; }
test_apply_with_failing_calls() { scene pristine_images apply tag=old && failing_everywhere; }
test_delete_with_failing_calls() { scene pristine_images delete tag=old && failing_everywhere; }
test_adopt_with_failing_calls() { scene pristine_images adopt tag=looped && failing_everywhere; }
test_protect_with_failing_calls() { scene pristine_images protect tag=old && failing_everywhere; }

run_tests "$@"
