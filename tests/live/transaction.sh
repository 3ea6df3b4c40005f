#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The session of https://wiki.qemu.org/Features/SnapshotsMultipleDevices: one transaction puts
# overlays on two drives, one raw and one qcow2, or on neither. Step by step at QEMU's monitor, by
# our one command, and by libvirt.
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
# shellcheck source=../lib/domain.sh
. "$(dirname "$0")/../lib/domain.sh"
# shellcheck source=../lib/live.sh
. "$(dirname "$0")/../lib/live.sh"
requires qemu-img qemu-io qemu-system-x86_64 python3

# ---- QEMU alone ---------------------------------------------------------------------------------

# two_drives: the page's machine, whose monitor is at $MONITOR
two_drives() {
    truncate -s 8M win.img
    new_images data.qcow2
    MONITOR=tcp:localhost:$(free_port)
    qemu-system-x86_64 -machine pc,accel=kvm:tcg -m 64 -nodefaults -display none \
        -drive file=win.img,format=raw,if=none,id=ide-hd0 -device ide-hd,drive=ide-hd0 \
        -drive file=data.qcow2,format=qcow2,if=none,id=virtio0 -device virtio-blk-pci,drive=virtio0 \
        -qmp "$MONITOR,server=on,wait=off" </dev/null >"$TEST_DIR/log" 2>&1 &
    QEMU_PID[two]=$!
    cleanup_fn harness_kill_qemu two
    session '{"execute": "query-status"}' >/dev/null || fail "QEMU: $(cat "$TEST_DIR/log")"
}

# session COMMAND...: QMP commands, after qmp_capabilities
session() { "$PYTHON" "$TOP/tests/lib/qmp.py" --pid "${QEMU_PID[two]}" "$MONITOR" "$@"; }

# monitor LINE: of the human monitor
monitor() { "$PYTHON" "$TOP/tests/lib/qmp.py" --hmp "$MONITOR" "$1"; }

# info_block: what each drive has open, as the human monitor shows it: DRIVE FILE FORMAT
info_block() {
    monitor 'info block' | sed -nE 's/^([a-z0-9-]+) \([^)]*\): (.*) \(([a-z0-9]+)\)\r?$/\1 \2 \3/p' |
        sed -E 's/json:.*"filename": "([^"]*)"\}\}/\1/'
}

# writes BYTE: the guest fills the first 64 KiB of both disks
writes() {
    local drive
    for drive in ide-hd0 virtio0; do
        expect_equal "$(monitor "qemu-io $drive \"write -q -P $1 0 64k\"")" '' 'answer to a write'
    done
}

# quit: the machine ends, and its images are closed
quit() {
    session '{"execute": "quit"}' >/dev/null 2>&1 || true # TCP may lose the answer at the end
    wait "${QEMU_PID[two]}"
    unset 'QEMU_PID[two]'
}

# overlays FILE FILE: the page's transaction
overlays() {
    printf "{ 'execute': 'transaction', 'arguments': {'actions': [
        { 'type': 'blockdev-snapshot-sync', 'data': {'device': 'ide-hd0',
            'snapshot-file': '%s', 'format': 'qcow2'} },
        { 'type': 'blockdev-snapshot-sync', 'data': {'device': 'virtio0',
            'snapshot-file': '%s', 'format': 'qcow2'} } ] } }" "$@"
}

# holds BYTE FILE [FORMAT]: fail unless the first 64 KiB of that image are filled so
holds() {
    local said
    said=$(qemu-io -r -U -f "${3:-qcow2}" -c "read -q -P $1 0 64k" "$2") || said="no image: $said"
    expect_equal "$said" '' "not only $1 in $2"
}

# Nothing tells of what moment the overlays are that QEMU was told to make by others.
test_session_at_the_monitor() {
    local command
    two_drives
    expect_equal "$(info_block)" 'ide-hd0 win.img raw
virtio0 data.qcow2 qcow2'
    writes 1
    expect_equal "$(session "$(overlays "$PWD/win.snap" "$PWD/data.snap")")" '{}'
    expect_equal "$(info_block)" "ide-hd0 $PWD/win.snap qcow2
virtio0 $PWD/data.snap qcow2"
    writes 2
    for command in tree list; do
        expect_rc 0 ss "$command" --qmp "$MONITOR"
        expect_equal "$OUT$ERR" "no snapshot is recorded, but these are overlays: \
$PWD/win.snap on win.img, $PWD/data.snap on data.qcow2"
        expect_rc 0 ss "$command" -q --qmp "$MONITOR"
        expect_equal "$OUT$ERR" ''
    done
    expect_rc 0 ss list --output=json --qmp "$MONITOR"
    expect_json '[[i["filename"], i["backing-chain"], i["current"]] for i in d["images"]]' \
        "[[\"$PWD/win.snap\", [\"$PWD/win.img\"], null], [\"$PWD/data.snap\", [\"$PWD/data.qcow2\"], null]]"
    expect_refused selector-unknown ss show tag=snap --qmp "$MONITOR"
    expect_rc 0 ss check --qmp "$MONITOR"
    # from here on it is recorded
    expect_rc 0 ss create next --external --qmp "$MONITOR"
    expect_rc 0 ss tree --qmp "$MONITOR"
    expect_out '^next +[0-9a-f]{8} .* current, external$'
    writes 3
    quit
    holds 1 win.img raw
    holds 1 data.qcow2
    holds 2 win.snap
    holds 2 data.snap
    holds 3 win.next
    holds 3 data.next
    expect_equal "$(drawn win.next data.next)" 'next current, external'
}

test_one_command() {
    two_drives
    writes 1
    expect_rc 0 ss create first --external --description 'by one command' --qmp "$MONITOR"
    expect_out "^created snapshot 'first' \([0-9a-f]{8}\) on 2 images$"
    expect_out "$PWD/win.first$"
    expect_equal "$(info_block)" "ide-hd0 $PWD/win.first qcow2
virtio0 $PWD/data.first qcow2"
    writes 2
    expect_rc 0 ss create second --external --qmp "$MONITOR"
    writes 3
    expect_rc 0 ss tree --qmp "$MONITOR"
    expect_equal "$(sed -E '1d; s/ +[0-9a-f]{8} [-0-9]{10} [0-9:]{8} / /' <<<"$OUT")" 'first external
└─second current, external'
    expect_rc 0 ss show tag=first --qmp "$MONITOR"
    expect_out 'by one command'
    expect_rc 0 ss check --qmp "$MONITOR"
    quit
    # the images themselves know it all
    expect_equal "$(drawn win.second data.second)" 'first external
└─second current, external'
    expect_clean {win,data}.{first,second}
    holds 1 win.img raw
    holds 1 data.qcow2
    holds 2 win.first
    holds 2 data.first
    holds 3 win.second
    holds 3 data.second
    # and what was frozen is found when it is written to
    expect_rc 0 ss recover
    put 9 data.qcow2
    expect_rc 2 ss check win.second data.second
    expect_out '^\[chain-broken\].*data\.qcow2'
}

# ---- libvirt ------------------------------------------------------------------------------------

# small_guest: a guarded guest on win.raw and data.qcow2, and a file system for one overlay at small
small_guest() {
    requires libvirtd virsh unshare nsenter tini
    start_libvirt
    install_hook '[guard]' mode=required
    mkdir small
    in_libvirt mount -t tmpfs -o size=300k none small
    truncate -s 8M win.raw
    new_images data.qcow2
    define d "$PWD/win.raw" "$PWD/data.qcow2"
    expect_rc 0 libvirt start d
}

# page_xml DISK FILE DISK FILE: a snapshot as the page describes it
page_xml() {
    cat <<EOT
<domainsnapshot>
  <disks>
    <disk name='$1'><source file='$2'/></disk>
    <disk name='$3'><source file='$4'/></disk>
  </disks>
</domainsnapshot>
EOT
}

# our_tree: of the running domain, tags and remarks; the names that libvirt makes up are 0
our_tree() {
    expect_rc 0 dss tree
    sed -E '1d; s/ +[0-9a-f]{8} [-0-9]{10} [0-9:]{8} / /; s/[0-9]{10}/0/; s/ +$//' <<<"$OUT"
}

test_session_by_libvirt() {
    small_guest
    guest_writes 1 0 1
    page_xml "$PWD/win.raw" "$PWD/win.snap" "$PWD/data.qcow2" "$PWD/data.snap" >snap.xml
    expect_rc 0 libvirt snapshot-create d --xmlfile snap.xml --disk-only --atomic
    expect_equal "$(disks | xargs)" "$PWD/win.snap $PWD/data.snap"
    expect_equal "$(our_tree)" '0 current, external'
    guest_writes 2 0 1
    page_xml vda "$PWD/win.2" vdb "$PWD/data.2" | sed 's|^  <disks>|<name>two</name>&|' >two.xml
    expect_rc 0 libvirt snapshot-create d two.xml --disk-only --atomic
    guest_writes 3 0 1
    expect_rc 0 libvirt snapshot-create-as d three
    expect_equal "$(our_tree)" '0 external
└─two external
  └─three current'
    expect_rc 0 dss check
    expect_rc 0 libvirt destroy d
    # what was seen is now recorded
    expect_equal "$(drawn win.2 data.2 | sed -E 's/[0-9]{10}/0/')" '0 external
└─two external
  └─three current'
    expect_rc 0 ss check win.2 data.2
    holds 1 win.raw raw
    holds 1 data.qcow2
    holds 2 win.snap
    holds 2 data.snap
    holds 3 win.2
    holds 3 data.2
}

# refused_overlays TEXT COMMAND...: it fails with that text, both disks are where they were, and
# there is no file that was not there before
refused_overlays() {
    local text=$1 disks files
    shift
    disks=$(disks)
    files=$(in_libvirt find . -type f | sort)
    "$@"
    expect_equal "$(disks)" "$disks" "after $*, the disks"
    expect_equal "$(in_libvirt find . -type f | sort)" "$files" "after $*, the files"
    expect_equal "$(cat taken)" hello 'the file that was there'
    guest_writes 7 0 1
}

# by_virsh WIN DATA [FORMAT]: a snapshot with these overlays
by_virsh() {
    expect_rc 1 libvirt snapshot-create-as d x --disk-only --atomic \
        --diskspec "vda,file=$PWD/$1" --diskspec "vdb,file=$PWD/$2${3:+,driver=$3}"
    expect_err "$text"
    expect_rc 1 libvirt snapshot-info d x
}

# by_monitor WIN DATA [FORMAT [MODE]]: the page's transaction, through the guard; where $from is
# set, that is the folder
by_monitor() {
    local one two from=${from:-$PWD}
    { read -r one && read -r two; } <<<"$(nodes_in_use)"
    expect_rc 0 libvirt qemu-monitor-command d "$(tr "'" '"' <<EOT
{'execute': 'transaction', 'arguments': {'actions': [
    {'type': 'blockdev-snapshot-sync', 'data': {'node-name': '$one',
        'snapshot-node-name': 'x0', 'snapshot-file': '$from/$1'} },
    {'type': 'blockdev-snapshot-sync', 'data': {'node-name': '$two',
        'snapshot-node-name': 'x1', 'snapshot-file': '$from/$2',
        'format': '${3:-qcow2}', 'mode': '${4:-absolute-paths}'} }]}}
EOT
)"
    expect_out "\"error\":.*\"desc\": ?\"$text"
}

# One overlay cannot be made: neither is there afterwards, and the caller is told why.
test_both_or_none() {
    small_guest
    echo hello >taken
    mkdir folder
    refused_overlays 'No space left on device' by_virsh small/win.x small/data.x
    refused_overlays 'already exists.*taken' by_virsh win.x taken
    refused_overlays "unknown disk snapshot driver 'odd'" by_virsh win.x data.x odd
    refused_overlays 'format for disk vdb is unsupported: raw' by_virsh win.x data.x raw
    refused_overlays 'nowhere/data.x.: No such file' by_virsh win.x nowhere/data.x
    refused_overlays 'snapshot-set: refused .no-space.: .*win.x, .*data.x, and .* are free' \
        by_monitor small/win.x small/data.x
    refused_overlays 'snapshot-set: refused .tag-exists.: .*taken.* exists already' \
        by_monitor win.x taken
    # libvirt has QEMU run in /
    from=${PWD#/} refused_overlays 'snapshot-set: refused .tag-exists.: .*taken.* exists already' \
        by_monitor win.x taken
    refused_overlays 'snapshot-set: refused .atomic.: .*data.x.* takes no backing file' \
        by_monitor win.x data.x odd
    refused_overlays 'snapshot-set: refused .atomic.: .*no such folder' by_monitor win.x nowhere/x
    refused_overlays 'snapshot-set: refused .atomic.: .*no file' by_monitor win.x folder
    refused_overlays 'snapshot-set: refused .atomic.: .*another disk' by_monitor win.x win.x

    refused_overlays 'snapshot-set: refused .atomic.: .*taken.* cannot be used: .*qcow2' \
        by_monitor win.x taken qcow2 existing
    expect_rc 0 libvirt snapshot-create-as d good --disk-only --atomic
    expect_equal "$(our_tree)" 'good current, external'
    guest_writes 8 0 1
    expect_rc 0 libvirt destroy d
    holds 7 data.qcow2
    holds 8 data.good
    expect_rc 0 ss check win.good data.good
}

run_tests "$@"
