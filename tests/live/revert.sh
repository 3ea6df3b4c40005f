#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Loading and deleting snapshots of a running guest. libvirt up to 10.9 reverts by a new QEMU with
# -loadvm, which only the hook can judge, and deletes by delvm; later ones send snapshot-load and
# snapshot-delete, which the guard judges and records.
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
requires qemu-img qemu-io qemu-system-x86_64 libvirtd virsh unshare nsenter tini

# snapshots TAG...
snapshots() {
    local tag
    for tag; do
        expect_rc 0 libvirt snapshot-create-as d "$tag"
    done
}

# P13: QEMU would revert the first disk, and then fail at the second
test_load_that_would_fail() {
    local one two
    guarded a.qcow2 b.qcow2
    snapshots x
    expect_rc 0 libvirt destroy d
    put 7 a.qcow2 b.qcow2
    real bitmap --add b.qcow2 backup
    expect_rc 0 libvirt start d
    settle
    { read -r one && read -r two; } <<<"$(nodes)"
    refused_hmp load-would-fail 'loadvm x'
    refused_qmp load-would-fail snapshot-load "\"job-id\": \"j\", \"tag\": \"x\", \
        \"vmstate\": \"$one\", \"devices\": [\"$one\", \"$two\"]"
    ! sends_hmp || return 0 # no one can foresee the -loadvm
    expect_rc 1 libvirt snapshot-revert d x
    expect_err "'snapshot-load': snapshot-set: refused \[load-would-fail\]: .*b\.qcow2 has a dirty bitmap"
    expect_equal "$(libvirt domstate d)" 'shut off'
    expect_data 7 a.qcow2 b.qcow2
    real bitmap --remove b.qcow2 backup
    expect_rc 0 libvirt snapshot-revert d x
    expect_rc 0 libvirt destroy d
    expect_data 0 a.qcow2 b.qcow2
}

# What is deleted, and what then becomes of its children, is recorded too.
test_deleting_is_recorded() {
    guarded a.qcow2 b.qcow2
    snapshots a b c
    expect_rc 0 libvirt snapshot-revert d b
    expect_rc 0 libvirt snapshot-delete d b
    in_libvirt sh -c "grep -q \"('delete', b'b'\" /var/lib/snapshot-set/domains/*.events"
    snapshots d
    expect_rc 0 libvirt destroy d
    expect_equal "$(libvirt snapshot-parent d c)$(libvirt snapshot-parent d d)" aa 'parents'
    expect_tree_of_virsh a.qcow2 b.qcow2
    expect_rc 0 libvirt start d
    expect_rc 0 libvirt snapshot-delete d d
    snapshots e
    expect_rc 0 libvirt snapshot-delete d a --children
    snapshots f g
    expect_rc 0 libvirt destroy d
    expect_equal "$(tags a.qcow2) $(tags b.qcow2)" 'f g f g'
    expect_tree_of_virsh a.qcow2 b.qcow2
    expect_rc 0 ss list --output=json a.qcow2 b.qcow2
    expect_json '[s["identity"] for s in d["snapshots"]]' '["recorded", "recorded"]'
    expect_rc 0 ss check a.qcow2 b.qcow2
}

# Since 10.9 the firmware's variables are part of a snapshot, if their image can hold one.
test_variables() {
    ! sends_hmp || skip 'this libvirt takes no variables into a snapshot'
    start_libvirt
    install_hook '[guard]' mode=required
    new_images a.qcow2
    real create -q -f qcow2 vars.qcow2 512k
    truncate -s 512k code.fd
    define d "$PWD/a.qcow2"
    sed -i "s|</os>|<loader readonly='yes' type='pflash'>$PWD/code.fd</loader>\
        <nvram format='qcow2'>$PWD/vars.qcow2</nvram></os><features><acpi/></features>|" d.xml
    libvirt undefine d >/dev/null
    libvirt define d.xml >/dev/null
    expect_rc 0 libvirt start d
    snapshots x y
    expect_rc 0 libvirt snapshot-revert d x
    snapshots z
    expect_rc 0 libvirt destroy d
    expect_tree_of_virsh a.qcow2 vars.qcow2
    start_qemu other vars.qcow2
    hmp other 'delvm z'
    hmp other 'savevm z'
    stop_qemu other
    expect_rc 1 libvirt start d
    expect_err 'refused \[identity-collision\]: tag .z. .* on .*vars\.qcow2 \(20'
}

# Since 9.9 libvirt reverts to external snapshots, by overlays and a start, and deletes them, by block
# jobs. Nothing of that is refused.
test_external_snapshots() {
    reverts_external || skip 'this libvirt does not revert to external snapshots'
    guarded a.qcow2 b.qcow2
    expect_rc 0 libvirt snapshot-create-as d one --disk-only
    expect_rc 0 libvirt snapshot-create-as d two --disk-only
    expect_rc 0 libvirt snapshot-revert d one --running
    expect_rc 0 libvirt snapshot-create-as d three
    expect_rc 0 libvirt snapshot-delete d three
    expect_rc 0 libvirt snapshot-delete d two
    expect_rc 0 libvirt snapshot-delete d one
    expect_rc 0 libvirt domblklist d
    expect_out "^ vda +$PWD/a.qcow2$"
    expect_out "^ vdb +$PWD/b.qcow2$"
    settle
    good_snapshot
}

# libvirt 11 gives a raw disk no node of its format.
test_raw_disk_left_out() {
    local disk
    real create -q -f raw b.raw 8M
    guarded a.qcow2 b.raw
    for disk in vda vdb; do
        refused coverage snapshot-create-as d x --disk-only --diskspec "$disk,snapshot=no"
    done
    expect_rc 0 libvirt snapshot-create-as d x --disk-only
}

run_tests "$@"
