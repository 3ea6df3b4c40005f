#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Disks that come to a running machine, and go: what is refused, what is not, what is recorded.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
# shellcheck source=../lib/libvirt.sh
. "$(dirname "$0")/../lib/libvirt.sh"
# shellcheck source=../lib/hook.sh
. "$(dirname "$0")/../lib/hook.sh"
requires qemu-img qemu-io qemu-system-x86_64 libvirtd virsh unshare nsenter tini

# guarded FILE...: a running, guarded domain d on these images, with a bus for more disks that needs
# no help of the guest's to let them go
guarded() {
    start_libvirt
    install_hook '[guard]' mode=required
    define d "${@/#/$PWD/}"
    sed -i "s|</devices>|<controller type='scsi' model='virtio-scsi'/>&|" d.xml
    libvirt undefine d >/dev/null
    expect_rc 0 libvirt define d.xml
    expect_rc 0 libvirt start d
}

# with_snapshot TAG FILE...: the files with a snapshot of a machine on all of them
with_snapshot() {
    local tag=$1
    shift
    start_qemu maker "$@"
    hmp maker "savevm $tag" >/dev/null
    stop_qemu maker
}

# plug FILE TARGET [FORMAT]: virsh attach-disk, into the running machine only
plug() {
    libvirt attach-disk d "$PWD/$1" "$2" --targetbus scsi --driver qemu --subdriver "${3:-qcow2}" --live
}

unplug() {
    expect_rc 0 libvirt detach-disk d "$1" --live
}

# plug_xml FILE TARGET OPTIONS ELEMENT: what attach-disk has no option for
plug_xml() {
    printf "<disk type='file' device='disk'><driver name='qemu' type='qcow2' %s/>
        <source file='%s'/><target dev='%s' bus='scsi'/>%s</disk>\n" "$3" "$PWD/$1" "$2" "$4" >disk.xml
    expect_rc 0 libvirt attach-device d disk.xml --live
}

# journal: the domain's live journal; fails when there is none
journal() {
    nsenter --target "$LIBVIRT_PID" --mount --root sh -c 'cat /var/lib/snapshot-set/domains/*.events'
}

# parents FILE...: what these images, together, say of each snapshot's parent and of where they stand
parents() {
    expect_rc 0 ss list --output=json "$@"
    json '" ".join("%s<%s:%s%s" % (s["tag"], next((p["tag"] for p in d["snapshots"] if p["id"] == s["parent"]), "-"),
        s["parent-source"], "*" if s["current"] else "") for s in d["snapshots"])'
}

test_colliding_disk_is_refused() {
    local before round
    new_images a.qcow2 c.qcow2 good.qcow2 same.qcow2
    truncate -s 8M raw.img
    with_snapshot b c.qcow2
    ss create -q own c.qcow2 # a record, and a seal, which QEMU breaks by merely opening the image
    expect_rc 0 ss list --output=json c.qcow2
    expect_equal "$(json 'd["images"][0]["sealed"]')" true 'the seal'
    with_snapshot b a.qcow2 same.qcow2
    guarded a.qcow2
    before=$(checksum c.qcow2)
    for round in 1 2; do
        expect_rc 1 plug c.qcow2 sda
        expect_err "device_add.*snapshot-set: refused \\[identity-collision\\]: tag 'b' is two different snapshots: [0-9a-f]{8} on .*/[ac]\\.qcow2 \\(20.* on .*/[ac]\\.qcow2"
        expect_equal "$(checksum c.qcow2)" "$before" "the disk refused, time $round"
        expect_equal "$(libvirt domblklist d | grep -c qcow2)" 1 'disks'
    done
    expect_equal "$(libvirt domstate d | head -n 1)" running
    # as a whole it is the same question as at the start: the rule's verdict is the policy's
    policy '[guard]' mode=required '[rules]' identity-collision=warn
    expect_rc 0 plug c.qcow2 sda
    unplug sda
    policy '[guard]' mode=required
    # the same snapshot, and then, with a disk that has none, one that cannot be loaded
    expect_rc 0 plug same.qcow2 sda
    expect_rc 1 plug c.qcow2 sdb
    expect_err 'identity-collision'
    expect_rc 0 plug good.qcow2 sdb
    expect_rc 0 plug c.qcow2 sdc
    expect_rc 0 plug raw.img sdd raw
}

# none of this makes the colliding image a disk beside the others
test_nothing_else_is_refused() {
    new_images a.qcow2 old.qcow2
    with_snapshot b old.qcow2
    with_snapshot b a.qcow2
    guarded a.qcow2
    plug_xml old.qcow2 sda '' '<readonly/>'
    unplug sda
    plug_xml old.qcow2 sda '' '<transient/>'
    unplug sda
    cp old.qcow2 over.qcow2
    real rebase -u -b "$PWD/a.qcow2" -F qcow2 over.qcow2
    expect_rc 0 libvirt snapshot-create-as d x --no-metadata --disk-only --reuse-external \
        --diskspec "vda,file=$PWD/over.qcow2"
    cp old.qcow2 copy.qcow2
    expect_rc 0 libvirt blockcopy d vda "$PWD/copy.qcow2" --reuse-external --format qcow2 \
        --transient-job
    job_copied d
    expect_rc 0 libvirt blockjob d vda --pivot
    expect_rc 0 libvirt backup-begin d
}

# read-write, the disk sits behind a filter
test_filter_is_seen_through() {
    new_images a.qcow2 c.qcow2
    with_snapshot b c.qcow2
    with_snapshot b a.qcow2
    guarded a.qcow2
    printf "<disk type='file' device='disk'><driver name='qemu' type='qcow2' copy_on_read='on'/>
        <source file='%s'/><target dev='sda' bus='scsi'/></disk>\n" "$PWD/c.qcow2" >disk.xml
    expect_rc 1 libvirt attach-device d disk.xml --live
    expect_err 'refused \[identity-collision\]'
    new_images e.qcow2
    # libvirt itself leaves the filter of a disk that failed, so this needs another name
    plug_xml e.qcow2 sdb "copy_on_read='on'" ''
}

# What a disk's image records does not wait for the end of a machine that it has left.
test_plugged_disks_are_recorded() {
    new_images a.qcow2 c.qcow2
    guarded a.qcow2
    expect_rc 0 libvirt snapshot-create-as d alone
    expect_rc 0 plug c.qcow2 sda
    expect_rc 0 libvirt snapshot-create-as d s1
    expect_rc 0 libvirt snapshot-create-as d s2
    unplug sda
    expect_equal "$(parents c.qcow2)" 's1<-:recorded s2<s1:recorded*'
    expect_equal "$(json 'd["images"][0]["sealed"]')" true 'the seal'
    journal >journal-unplugged
    refute_file journal-unplugged c.qcow2 storage-node
    # again, from where it stands
    expect_rc 0 plug c.qcow2 sda
    expect_rc 0 libvirt snapshot-create-as d s3
    expect_rc 0 libvirt destroy d
    expect_equal "$(parents c.qcow2)" 's1<-:recorded s2<s1:recorded s3<s2:recorded*'
    expect_equal "$(parents a.qcow2)" \
        'alone<-:recorded s1<alone:recorded s2<s1:recorded s3<s2:recorded*'
    expect_equal "$(identity_of s3 c.qcow2)" "$(identity_of s3 a.qcow2)"
    expect_rc 1 journal
}

# refute_file FILE WORD...: fail if any of the words is in it
refute_file() {
    local word
    for word in "${@:2}"; do
        ! grep -q -- "$word" "$1" || fail "'$word' is in '$1': $(cat "$1")"
    done
}

# An image that is in use when its record should be written is not forgotten, and not waited for
# once it is gone.
test_images_in_use_are_recorded_later() {
    new_images a.qcow2 c.qcow2 e.qcow2
    guarded a.qcow2
    expect_rc 0 plug c.qcow2 sda
    expect_rc 0 plug e.qcow2 sdb
    expect_rc 0 libvirt snapshot-create-as d s1
    hold c.qcow2 e.qcow2
    unplug sda
    unplug sdb
    expect_rc 0 libvirt snapshot-create-as d s2
    expect_rc 0 libvirt destroy d
    expect_equal "$(parents a.qcow2)" 's1<-:recorded s2<s1:recorded*'
    expect_equal "$(parents c.qcow2)" 's1<-:none'
    journal >journal-kept
    refute_file journal-kept a.qcow2 storage-node
    grep -q c.qcow2 journal-kept
    release_all
    rm e.qcow2
    # another machine's record of the same disk meanwhile says where it stands now
    ss create -q other c.qcow2
    expect_rc 0 libvirt start d
    expect_equal "$(parents c.qcow2)" 's1<-:recorded other<-:recorded*'
    journal >journal-new
    refute_file journal-new c.qcow2 e.qcow2
    expect_rc 0 libvirt destroy d
    expect_rc 1 journal
}

# hold FILE...: keep the images open for reading, whoever else has them open; release_all: no longer
hold() {
    local file
    for file; do
        qemu-io -U -r -c 'sleep 1000000' "$file" &
        HOLDERS+=($!)
        cleanup_fn eval "kill $! 2>/dev/null || true"
    done
    # libvirt's QEMU has the guest's disks open in a way that a reader must be seen beside
    for file; do
        until [ "$(grep -c ":$(stat -c %i "$file") 100 " /proc/locks)" -ge 2 ]; do
            sleep 0.05
        done
    done
}

release_all() {
    kill "${HOLDERS[@]}"
    wait "${HOLDERS[@]}" || true
    HOLDERS=()
}

run_tests "$@"
