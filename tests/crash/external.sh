#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Operations over external snapshots that are killed, or that fail, at each of their system calls, and
# with each of their qemu-img: after recovery all files are as before, or all as if nothing had gone
# wrong; no file is left over, and none that others made is touched.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
# shellcheck source=../lib/external.sh
. "$(dirname "$0")/../lib/external.sh"
# shellcheck source=../lib/crash.sh
. "$(dirname "$0")/../lib/crash.sh"
requires qemu-img qemu-io strace flock

# ---- the scene: all is in the folder vm ----------------------------------------------------------

# fill BYTE FILE...: the first 64 KiB, and others that no other layer writes to
fill() {
    local file
    put "$@"
    for file in "${@:2}"; do
        qio "$file" "write -q -P $1 $(($1 * 64))k 64k"
    done
}

# Two images that hold 1, with an internal snapshot.
images() {
    new_images vm/a.qcow2 vm/b.qcow2
    fill 1 vm/a.qcow2 vm/b.qcow2
    ss create -q --description text inner vm/a.qcow2 vm/b.qcow2
    ACTIVE=(vm/a.qcow2 vm/b.qcow2)
}

# The same, never stamped; one is raw.
plain_images() {
    new_images vm/a.qcow2
    put 1 vm/a.qcow2
    real convert -f qcow2 -O raw vm/a.qcow2 vm/b.raw
    ACTIVE=(vm/a.qcow2 vm/b.raw)
}

# Snapshots one (1), two (2) and, of long chains, three (3) below the active one.
chains() {
    local tag byte=1
    images
    for tag in one two $1; do
        freeze "$tag"
        byte=$((byte + 1))
        fill "$byte" "${ACTIVE[@]}"
    done
}
short_chains() { chains ''; }
long_chains() { chains three; }
longer_chains() { chains 'three four'; }

# data_of FILE FORMAT: the first byte of each 64 KiB that its guest sees and fill writes
data_of() {
    qemu-io -r -f "$2" -c 'read -v 0 1' -c 'read -v 64k 1' -c 'read -v 128k 1' -c 'read -v 192k 1' \
        -c 'read -v 256k 1' -c 'read -v 320k 1' "$1" |
        sed -nE 's/^[0-9a-f]{8}:  ([0-9a-f]{2}) .*/\1/p' | tr '\n' ' '
}

# state: every file, what it is, and what it says; identities by their order
state() {
    local file format
    for file in vm/* vm/.[!.]*; do
        [ -e "$file" ] || continue
        format=qcow2
        [[ $file != *.raw ]] || format=raw
        printf '%s holds %s ' "$file" "$(data_of "$file" "$format")"
        "$SNAPSHOT_SET" list --all -f "$format" --output=json "$file" 2>/dev/null | "$PYTHON" -c '
import json, sys
d = json.load(sys.stdin)
keys = "id", "tag", "description", "parent", "parent-source", "protected", "members", "kind"
i = d["images"][0]
print(i["current"], i["backing-filename"], [[s[key] for key in keys] for s in d["snapshots"]])'
    done | "$PYTHON" -c '
import re, sys
seen = {}
print(re.sub("[0-9a-f]{8}-[0-9a-f-]{27}", lambda m: seen.setdefault(m[0], f"#{len(seen)}"),
             sys.stdin.read()), end="")'
}

# scene MAKER COMMAND...: the images, the operation under test, and what it makes of them
scene() {
    mkdir -p vm
    "$1"
    shift
    OPERATION=("$1" -q "${@:2}" "${ACTIVE[@]}")
    BEFORE=$(state)
    BEFORE_ACTIVE=("${ACTIVE[@]}")
    cp -a vm saved
    expect_rc 0 ss "${OPERATION[@]}" --output=json
    mapfile -t AFTER_ACTIVE < <(json '"\n".join([o["overlay"] for o in d["overlays"]]
        if "overlays" in d else [i["filename"] for i in d["images"]])')
    AFTER=$(state)
    [ "$BEFORE" != "$AFTER" ] || fail 'the operation does nothing'
    POINTS=0
}

reset_scene() {
    rm -rf vm "$SNAPSHOT_SET_STATE_DIR"
    cp -a saved vm
}

# ---- judging ------------------------------------------------------------------------------------

# all_or_none [BEFORE]: judge the files; with an argument only that outcome is right
all_or_none() {
    local outcome active file
    outcome=$(state)
    case $outcome in
    "$BEFORE") active=("${BEFORE_ACTIVE[@]}") ;;
    "$AFTER") active=("${AFTER_ACTIVE[@]}") ;;
    *) fail "$AT: $(diff <(printf '%s' "$AFTER") <(printf '%s' "$outcome"))" ;;
    esac
    [ $# -eq 0 ] || expect_equal "$outcome" "$BEFORE" "$AT"
    expect_equal "$(journals)" '' "$AT: left behind"
    [[ ${active[*]} == *.raw* ]] || expect_rc 0 ss check "${active[@]}"
    for file in vm/*; do
        [[ $file == *.raw ]] || real check -q "$file" || [ $? -eq 3 ] || fail "$AT: check of $file"
    done
}

# recovered: what was interrupted is settled; every second time by another writing command
recovered() {
    settle
    if ((POINTS % 2)) || [ -z "$(journals)" ]; then
        expect_rc 0 ss recover
    else
        ss unprotect -q tag=no-such "${BEFORE_ACTIVE[@]}" 2>err.txt && fail "$AT: there is such a tag"
        [ -z "$(journals)" ] || expect_rc 0 ss recover
    fi
    all_or_none
    POINTS=$((POINTS + 1))
}

# ---- killed -------------------------------------------------------------------------------------

# killed SYSCALL [STEP]: at every STEPth such call that the operation makes itself
killed() {
    local number step=${2:-1}
    for ((number = 1; number < 1000; number += step)); do
        reset_scene
        inject "$1" signal=KILL "$number" "${OPERATION[@]}" || return 0
        [ "$RC" -eq 137 ] || fail "$AT: exit code $RC: $(cat err.txt)"
        recovered
    done
    fail "$1: no end"
}

killed_everywhere() {
    traceable
    for call in pwrite64 fdatasync fsync /^rename /^unlink; do
        killed "$call"
    done
    killed /^open 13
    [ "$POINTS" -gt 10 ] || fail "only $POINTS points"
    note "killed at $POINTS calls"
}

test_create_killed() { scene images create new --external && killed_everywhere; }
test_create_on_plain_images_killed() { scene plain_images create new --external && killed_everywhere; }
test_apply_killed() { scene short_chains apply tag=one && killed_everywhere; }
test_delete_the_first_killed() { scene long_chains delete tag=one && killed_everywhere; }
test_delete_the_last_killed() { scene short_chains delete tag=two && killed_everywhere; }
test_delete_all_killed() { scene short_chains delete tag=one --children && killed_everywhere; }

# ---- the children -------------------------------------------------------------------------------

# Some qemu-img dies or fails, alone or with what started it.
children_die() {
    local number rc when whom
    for whom in child fail rest both; do
        for when in before after; do
            for ((number = 1; ; number++)); do
                AT="${OPERATION[*]}: qemu-img $number: $whom $when"
                reset_scene
                doomed_qemu_img "$number" "$when" "$whom"
                rc=0
                {
                    SNAPSHOT_SET_QEMU_IMG=$PWD/doomed ss "${OPERATION[@]}" >out.txt 2>err.txt || rc=$?
                } 2>/dev/null
                [ -e "turns/$number" ] || break
                case $rc in
                1) all_or_none BEFORE ;;
                3 | 137) recovered ;;
                *) fail "$AT: exit code $rc: $(cat err.txt)" ;;
                esac
                POINTS=$((POINTS + 1))
            done
        done
    done
    note "$POINTS children killed or failing"
}

test_children_of_create_die() { scene images create new --external && children_die; }
test_children_of_delete_die() { scene short_chains delete tag=one && children_die; }

# ---- failing system calls -----------------------------------------------------------------------

# failing SYSCALL ERROR: at every such call; all is undone at once, or left to be finished
failing() {
    local number call=$1 error=$2
    for ((number = 1; number < 1000; number++)); do
        reset_scene
        inject "$call" "error=$error" "$number" "${OPERATION[@]}" || return 0
        case $RC in
        0) all_or_none ;;
        1 | 2) all_or_none BEFORE ;;
        3) recovered ;;
        *) fail "$AT: exit code $RC: $(cat err.txt)" ;;
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
    failing /^unlink EACCES
    note "$POINTS calls failed"
}

test_create_with_failing_calls() { scene images create new --external && failing_everywhere; }
test_apply_with_failing_calls() { scene short_chains apply tag=one && failing_everywhere; }
test_delete_with_failing_calls() { scene long_chains delete tag=two && failing_everywhere; }

# A file system without renames that refuse to replace: links do.
test_create_without_renameat2() {
    traceable
    scene images create new --external
    for error in EINVAL ENOSYS; do
        reset_scene
        inject renameat2 "error=$error" 1+ "${OPERATION[@]}" || fail 'nothing was renamed'
        expect_equal "$RC" 0 "exit code: $(cat err.txt)"
        expect_equal "$(state)" "$AFTER"
    done
    reset_scene
    { strace -qq -o trace -e trace=renameat2,/^link,/^unlink -e inject=renameat2:error=EINVAL \
        -e 'inject=/^unlink:signal=KILL:when=1' "$SNAPSHOT_SET" "${OPERATION[@]}" || true; } 2>/dev/null
    recovered
}

# ---- between crash and recovery ------------------------------------------------------------------

# pending SYSCALL N MAKER COMMAND...: it is killed there
pending() {
    local call=$1 number=$2
    shift 2
    traceable
    scene "$@"
    reset_scene
    inject "$call" signal=KILL "$number" "${OPERATION[@]}" || fail "$AT: it was not killed"
    settle
    [ -n "$(journals)" ] || fail "$AT: nothing is pending"
}

# A file that somebody else made where an overlay was to be is not ours to remove.
test_undoing_spares_what_others_made() {
    pending fsync 6 images create new --external
    echo precious >vm/a.new
    cp saved/b.qcow2 vm/b.new # sealed, as ours is
    expect_rc 0 ss recover
    expect_equal "$(cat vm/a.new)" precious
    expect_same_file vm/b.new saved/b.qcow2
    rm vm/a.new vm/b.new
    all_or_none BEFORE
}

# The machine was started again on the images as they were: the snapshot is not taken after that.
test_the_images_were_used_since() {
    pending renameat2 1 images create new --external
    put 3 vm/a.qcow2
    expect_rc 0 ss recover
    expect_out "^'create' of 2 images: undone$"
    expect_data 3 vm/a.qcow2
    expect_equal "$(ls -A vm)" $'a.qcow2\nb.qcow2'
    expect_rc 0 ss check vm/a.qcow2 vm/b.qcow2
    expect_equal "$(snapshot_json current inner vm/a.qcow2 vm/b.qcow2)" true
}

# An overlay that has its name already was used: it stays.
test_an_overlay_was_used_since() {
    pending renameat2 2 images create new --external
    [ -e vm/a.new ] || fail 'there is no overlay yet'
    put 3 vm/a.new
    put 3 vm/b.qcow2
    expect_rc 0 ss recover
    expect_out "a.new' was written to since, and is left there"
    expect_data 3 vm/a.new vm/b.qcow2
}

# Somebody else's file has an overlay's name: nothing is lost, and it goes on when that is moved.
test_a_name_was_taken_since() {
    pending renameat2 2 images create new --external
    echo precious >vm/b.new
    expect_rc 3 ss recover
    expect_err "b.new' has been made by somebody else"
    expect_equal "$(cat vm/b.new)" precious
    rm vm/b.new
    expect_rc 0 ss recover
    expect_out "^$PWD/vm/b.qcow2 -> $PWD/vm/b.new$"
    all_or_none
}

# While a deletion is pending the machine goes on with its overlay: what it writes is merged too.
test_the_machine_went_on_before_a_merge_was_finished() {
    for point in 'fdatasync 3' '/^unlink 1'; do
        rm -rf vm saved
        # shellcheck disable=SC2086
        pending $point short_chains delete tag=two
        for file in vm/a.two vm/b.two; do
            [ ! -e "$file" ] || put 9 "$file"
        done
        expect_rc 0 ss list "${BEFORE_ACTIVE[@]}"
        expect_err '\[operation-pending\]'
        expect_rc 0 ss recover
        expect_out "^$PWD/vm/a.two -> $PWD/vm/a.one$"
        expect_data 9 vm/a.one vm/b.one
        expect_rc 0 ss check vm/a.one vm/b.one
    done
}

# The merge was done, and the machine goes on with the backing files: what it writes is not undone.
test_the_machine_went_on_with_what_was_merged() {
    for point in 1 2; do
        rm -rf vm saved
        pending /^unlink "$point" short_chains delete tag=two
        put 9 vm/a.one vm/b.one
        expect_rc 0 ss recover
        expect_data 9 vm/a.one vm/b.one
        expect_equal "$(ls vm)" $'a.one\na.qcow2\nb.one\nb.qcow2'
        expect_rc 0 ss check vm/a.one vm/b.one
    done
}

# The same where a recovery did the merge, and was interrupted too.
test_the_machine_went_on_with_what_a_recovery_merged() {
    pending fdatasync 3 short_chains delete tag=two
    inject /^unlink signal=KILL 1 recover || fail 'it was not killed'
    put 9 vm/a.one vm/b.one
    expect_rc 0 ss recover
    expect_data 9 vm/a.one vm/b.one
}

# Somebody put an overlay on what is merged and removed: it would be left without its backing file.
test_an_overlay_was_put_on_what_goes() {
    pending fdatasync 3 short_chains delete tag=two
    real create -q -f qcow2 -F qcow2 -b a.two vm/over
    put 9 vm/over
    expect_rc 3 ss recover
    expect_err "a.two': '.*/vm/over' was put on top of it since"
    expect_data 9 vm/over
    real commit -q vm/over
    rm vm/over
    expect_rc 0 ss recover
    expect_data 9 vm/a.one
    expect_rc 0 ss check vm/a.one vm/b.one
}

# However far below the images it is.
test_a_deletion_far_below_is_pending() {
    pending fdatasync 4 longer_chains delete tag=one
    expect_rc 3 ss check "${BEFORE_ACTIVE[@]}"
    expect_out '^\[operation-pending\]'
    expect_rc 0 ss protect tag=four "${BEFORE_ACTIVE[@]}"
    expect_err "an interrupted operation: 'delete' of [0-9]+ images: finished$"
    expect_rc 0 ss check "${BEFORE_ACTIVE[@]}"
}

# Killed within the merge itself, again and again.
test_merge_killed_within_qemu_img() {
    traceable
    FOLLOW=(-f)
    scene long_chains delete tag=two
    for ((number = 1; number < 40; number++)); do
        reset_scene
        inject pwrite64 signal=KILL "$number" "${OPERATION[@]}" || break
        recovered
    done
    note "killed at $POINTS calls"
}

test_recovery_killed() {
    local call number
    pending fdatasync 4 long_chains delete tag=two
    rm -rf crashed
    cp -a vm crashed
    cp -a "$SNAPSHOT_SET_STATE_DIR" crashed-state
    for call in pwrite64 /^rename /^unlink; do
        for ((number = 1; number < 100; number++)); do
            rm -rf vm "$SNAPSHOT_SET_STATE_DIR"
            cp -a crashed vm
            cp -a crashed-state "$SNAPSHOT_SET_STATE_DIR"
            renumber
            inject "$call" signal=KILL "$number" recover || break
            recovered
        done
    done
    note "killed at $POINTS calls"
}

# The journal knows files by their inodes; these are copies.
renumber() {
    "$PYTHON" - "$(journals)" <<'EOT'
import os, re, sys
name = sys.argv[1]
text = open(name).read()
for path in re.findall(r"'path': <b'([^']+)'", text):
    inode = os.stat(path).st_ino
    at = text.index(f"'path': <b'{path}'")
    begin, end = text.rindex('{', 0, at), text.index('}', at)
    one = re.sub(r"'inode': <uint64 \d+>", f"'inode': <uint64 {inode}>", text[begin:end])
    text = text[:begin] + one + text[end:]
open(name, "w").write(text)
EOT
}

run_tests "$@"
