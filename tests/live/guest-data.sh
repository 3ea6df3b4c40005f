#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# After any snapshot was applied, from any other one, every disk holds what the guest saw at that
# moment, to the last byte: internal and external, offline and live, by QEMU and by libvirt. What
# the guest writes is also written to a plain file for each disk, the model; at a snapshot a copy of
# the models is kept, and after it was applied the whole disks are compared with that.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
# shellcheck source=../lib/external.sh
. "$(dirname "$0")/../lib/external.sh"
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

# three_disks: ACTIVE are three images of different make, and nothing has been written to them
three_disks() {
    local disk
    ACTIVE=(a.qcow2 b.qcow2 c.qcow2)
    real create -q -f qcow2 a.qcow2 8M
    real create -q -f qcow2 -o cluster_size=4k b.qcow2 8M
    real create -q -f qcow2 template.qcow2 8M
    real create -q -f qcow2 -b template.qcow2 -F qcow2 c.qcow2
    mkdir models
    for disk in 0 1 2; do
        truncate -s 8M "models/$disk"
    done
}

# HOW the guest's commands get to disk DISK: offline to its image, or to a machine
offline() {
    local disk=$1 options
    shift
    mapfile -t options < <(printf -- '-c\n%s\n' "$@")
    qemu-io -f qcow2 "${options[@]}" "${ACTIVE[disk]}"
}
by_qmp() {
    local device=/machine/peripheral-anon/device[$1]/virtio-backend lines
    shift
    mapfile -t lines < <(printf "qemu-io -d $device \"%s\"\n" "$@" flush)
    "$PYTHON" "$TOP/tests/lib/qmp.py" --hmp "$TEST_DIR/m.qmp" "${lines[@]}"
}
by_libvirt() {
    local device=/machine/peripheral/virtio-disk$1/virtio-backend command
    shift
    for command in "$@" flush; do
        libvirt qemu-monitor-command d --hmp "qemu-io -d $device \"$command\"" | grep . || true
    done
}

# changes HOW NUMBER: the guest writes to all disks: over what all snapshots have, to where nothing
# was, and zeros into what was written the last time; to each disk something else
changes() {
    local how=$1 number=$2 disk commands options
    for disk in 0 1 2; do
        commands=("write -q -P $((number * 8 + disk)) 0 $((64 + 4 * disk))k"
            "write -q -P $((number * 8 + disk + 4)) $((number * 256))k 100k"
            "write -q -z $((number * 256 - 256 + 32))k 16k")
        expect_equal "$("$how" "$disk" "${commands[@]}")" '' 'answer to a write'
        mapfile -t options < <(printf -- '-c\n%s\n' "${commands[@]}")
        qemu-io -f raw "${options[@]}" "models/$disk"
    done
}

# keep TAG: the models are as the disks at that snapshot
keep() {
    local disk
    for disk in 0 1 2; do
        cp "models/$disk" "models/$1-$disk"
    done
}

# hold TAG FILE...: fail unless these files of the disks hold what the disks did then
hold() {
    local tag=$1 disk
    shift
    for disk in 0 1 2; do
        real compare -q -U -F raw "$1" "models/$tag-$disk" ||
            fail "disk $disk, $1, is not what it was at $tag"
        shift
    done
}

# applied TAG: so do all disks, and it is from there that the guest goes on
applied() {
    local disk
    hold "$1" "${ACTIVE[@]}"
    for disk in 0 1 2; do
        cp "models/$1-$disk" "models/$disk"
    done
}

test_internal_offline() {
    local number tag
    three_disks
    for number in 1 2 3 4; do
        changes offline "$number"
        expect_rc 0 ss create "s$number" "${ACTIVE[@]}"
        keep "s$number"
    done
    changes offline 5
    for tag in s1 s2 s3 s4 s3 s2 s1 s4 s1; do
        expect_rc 0 ss apply "tag=$tag" "${ACTIVE[@]}"
        applied "$tag"
        changes offline $((++number))
    done
    expect_clean "${ACTIVE[@]}"
}

# Taken of a running machine and loaded by it, and by the command when it is off; then one of the
# disks alone among them, which only an image that is closed goes back to.
test_internal_live_and_offline() {
    local number tag
    three_disks
    machine m "${ACTIVE[@]}"
    for number in 1 2 3; do
        changes by_qmp "$number"
        expect_rc 0 live m create "s$number"
        keep "s$number"
    done
    changes by_qmp 4
    for tag in s1 s2 s3 s2 s1 s3; do
        expect_rc 0 live m apply "tag=$tag"
        applied "$tag"
        changes by_qmp $((++number))
    done
    stop_qemu m
    expect_rc 0 ss create off "${ACTIVE[@]}"
    keep off
    changes offline 3
    for tag in s1 s3 off s2 off; do
        expect_rc 0 ss apply "tag=$tag" "${ACTIVE[@]}"
        applied "$tag"
        changes offline $((++number))
    done
    machine m "${ACTIVE[@]}"
    expect_refused load-would-fail live m apply tag=off
    for tag in s2 s1; do
        expect_rc 0 live m apply "tag=$tag"
        applied "$tag"
        changes by_qmp $((++number))
    done
    stop_qemu m
    expect_rc 0 ss apply tag=off "${ACTIVE[@]}"
    applied off
    expect_clean "${ACTIVE[@]}"
}

# to_branch TAG: apply an external snapshot of the trunk: ACTIVE is a new branch, from there
to_branch() {
    expect_rc 0 ss apply "tag=$1" --output=json "${TRUNK[@]}"
    mapfile -t ACTIVE < <(json '"\n".join(o["overlay"] for o in d["overlays"])')
}

test_external_offline() {
    local number
    three_disks
    for number in 1 2 3; do
        changes offline "$number"
        freeze "s$number"
        keep "s$number"
    done
    changes offline 4
    keep trunk
    TRUNK=("${ACTIVE[@]}")
    for tag in s1 s2 s3 s2 s1; do
        to_branch "$tag"
        applied "$tag"
        changes offline $((++number))
    done
    hold trunk "${TRUNK[@]}"
    keep branch
    freeze on-branch
    changes offline $((++number))
    TRUNK=("${ACTIVE[@]}")
    to_branch on-branch
    applied branch
    to_branch s1
    applied s1
    expect_rc 0 ss check "${ACTIVE[@]}"
    expect_clean "${ACTIVE[@]}"
}

# freeze_live TAG: an external snapshot of the running machine, whose overlays are ACTIVE then
freeze_live() {
    expect_rc 0 live m create "$1" --external --output=json
    mapfile -t ACTIVE < <(json '"\n".join(o["overlay"] for o in d["overlays"])')
    keep "$1"
}

# Taken of a running machine, which then goes on from a branch, where internal ones are taken too.
test_external_live_and_offline() {
    local number tag
    three_disks
    machine m "${ACTIVE[@]}"
    for number in 1 2 3; do
        changes by_qmp "$number"
        freeze_live "s$number"
    done
    changes by_qmp 4
    keep trunk
    stop_qemu m
    TRUNK=("${ACTIVE[@]}")
    for tag in s3 s1 s2; do
        to_branch "$tag"
        applied "$tag"
        changes offline $((++number))
    done
    hold trunk "${TRUNK[@]}"
    machine m "${ACTIVE[@]}"
    keep branch
    expect_rc 0 live m create inside
    changes by_qmp $((++number))
    freeze_live outside
    changes by_qmp $((++number))
    stop_qemu m
    TRUNK=("${ACTIVE[@]}")
    for tag in outside s2 s1 outside; do
        to_branch "$tag"
        applied "$tag"
        changes offline $((++number))
    done
    expect_rc 0 ss check "${ACTIVE[@]}"
    expect_clean "${ACTIVE[@]}"
}

# ---- libvirt ------------------------------------------------------------------------------------

# domain_with_disks: the domain d with the three disks, guarded, off
domain_with_disks() {
    requires libvirtd virsh unshare nsenter tini
    three_disks
    start_libvirt
    install_hook '[guard]' mode=required
    define d "${ACTIVE[@]/#/$PWD/}"
}

# Of a running domain and of one that is off, from and to either.
test_internal_by_libvirt() {
    local number tag
    domain_with_disks
    changes offline 1
    expect_rc 0 dss create off1
    keep off1
    changes offline 2
    expect_rc 0 libvirt start d
    for number in 3 4; do
        changes by_libvirt "$number"
        expect_rc 0 dss create "on$number"
        keep "on$number"
    done
    changes by_libvirt 5
    for tag in on3 on4 off1 on4 off1 on3; do
        expect_rc 0 dss apply "tag=$tag"
        applied "$tag"
        if [ "$(libvirt domstate d)" = running ]; then
            changes by_libvirt $((++number))
        else
            changes offline $((++number))
        fi
    done
    expect_rc 0 libvirt destroy d
    expect_rc 0 dss create off2
    keep off2
    expect_rc 2 dss create off2
    changes offline $((++number))
    for tag in off1 off2; do
        expect_rc 0 dss apply "tag=$tag"
        applied "$tag"
        changes offline $((++number))
    done
    expect_rc 0 dss check
    expect_clean "${ACTIVE[@]}"
}

# Since 9.9 libvirt reverts to external snapshots, by overlays and a start. These it names by the
# second.
test_external_by_libvirt() {
    local number tag second=
    domain_with_disks
    reverts_external || skip 'this libvirt does not revert to external snapshots'
    expect_rc 0 libvirt start d
    for number in 1 2 3; do
        changes by_libvirt "$number"
        expect_rc 0 libvirt snapshot-create-as d "s$number" --disk-only --atomic
        keep "s$number"
    done
    changes by_libvirt 4
    for tag in s1 s3 s2 s1; do
        while [ "$second" = "$(date +%s)" ]; do sleep 0.01; done
        expect_rc 0 libvirt snapshot-revert d "$tag" --running
        second=$(date +%s)
        mapfile -t ACTIVE < <(disks)
        applied "$tag"
        expect_rc 0 dss list --output=json
        expect_json '[s["tag"] for s in d["snapshots"] if s["current"]]' "[\"$tag\"]"
        changes by_libvirt $((++number))
    done
    expect_rc 0 dss check
}

run_tests "$@"
