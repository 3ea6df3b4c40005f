#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Snapshots that virsh takes of a machine that is shut off: libvirt's metadata proves them when the
# machine is started.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
# shellcheck source=../lib/libvirt.sh
. "$(dirname "$0")/../lib/libvirt.sh"
# shellcheck source=../lib/hook.sh
. "$(dirname "$0")/../lib/hook.sh"
requires qemu-img qemu-io qemu-system-x86_64 libvirtd virsh unshare nsenter tini

# standings FILE...: "TAG:complete" and so on of every snapshot
standings() {
    expect_rc 0 ss list --all --output=json -- "$@"
    json '" ".join("%s:%s" % (s["tag"], s["identity"] if s["complete"] else "-") for s in d["snapshots"])'
}

# sources FILE...: "TAG:parent-source", and the current's tag in the end
sources() {
    expect_rc 0 ss list --output=json -- "$@"
    json '" ".join([s["tag"] + ":" + s["parent-source"] for s in d["snapshots"]] +
        [s["tag"] for s in d["snapshots"] if s["current"]])'
}

# expect_libvirts_tree FILE...: the images have the lineage that libvirt has of domain d
expect_libvirts_tree() {
    local names name theirs=
    names=$(libvirt snapshot-list d --name --topological | grep .)
    while read -r name; do
        theirs+="$name<$(libvirt snapshot-parent d "$name" 2>/dev/null | grep . || echo -)"$'\n'
    done <<<"$names"
    expect_rc 0 ss list --output=json -- "$@"
    expect_equal "$(json '"\n".join(sorted("%s<%s" % (s["tag"],
        next((p["tag"] for p in d["snapshots"] if p["id"] == s["parent"]), "-")) for s in d["snapshots"]))')" \
        "$(sort <<<"${theirs%$'\n'}")" 'the lineage'
}

# take TAG...: of domain d, shut off or not, by virsh
take() {
    local tag
    for tag; do
        expect_rc 0 libvirt snapshot-create-as d "$tag"
    done
}

# A machine's life under libvirt, mostly shut off. After each start the images say what libvirt does.
live_a_life() {
    new_images a.qcow2 b.qcow2
    define d "$PWD/a.qcow2" "$PWD/b.qcow2"
    take s1 's 2' s3
    expect_rc 0 libvirt snapshot-revert d s1
    take s4
    expect_equal "$(standings a.qcow2 b.qcow2)" 's1:- s 2:- s3:- s4:-'
    expect_rc 0 libvirt start d
    expect_equal "$(standings a.qcow2 b.qcow2)" \
        's1:recorded s 2:recorded s3:recorded s4:recorded'
    expect_libvirts_tree a.qcow2 b.qcow2
    take l5
    expect_rc 0 libvirt destroy d
    expect_libvirts_tree a.qcow2 b.qcow2
    expect_rc 0 libvirt snapshot-revert d 's 2'
    take s6
    expect_rc 0 libvirt snapshot-revert d s3
    expect_rc 0 libvirt snapshot-delete d s4
    expect_rc 0 libvirt start d
    take l7
    expect_rc 0 libvirt snapshot-revert d l5
    take l8
    expect_rc 0 libvirt destroy d
    expect_libvirts_tree a.qcow2 b.qcow2
    expect_rc 0 ss check -q a.qcow2 b.qcow2
}

test_plain_libvirt() {
    start_libvirt
    install_hook '[guard]' mode=required
    live_a_life
    # where nothing was written between libvirt's word and the live snapshot it is a fact
    expect_equal "$(sources a.qcow2 b.qcow2)" \
        's1:libvirt s 2:libvirt s3:libvirt l5:inferred s6:libvirt l7:inferred l8:recorded l8'
}

# The dispatcher records each disk's part by itself; that they are one snapshot is still unproven.
test_with_the_dispatcher() {
    PATH=$(dirname "$QEMU_IMG"):$PATH
    SNAPSHOT_SET_QEMU_IMG=$REAL_QEMU_IMG start_libvirt
    install_hook '[guard]' mode=required
    live_a_life
    expect_equal "$(sources a.qcow2 b.qcow2)" \
        's1:recorded s 2:recorded s3:recorded l5:recorded s6:recorded l7:recorded l8:recorded l8'
}

# prepare NAME: what the start of that domain begins with
prepare() {
    libvirt dumpxml "$1" >"$1.now"
    expect_rc 0 nsenter --target "$LIBVIRT_PID" --mount --root --wd="$PWD" \
        "$BUILD_DIR/libvirt-hooks/snapshot-set-hook" "$1" prepare begin - <"$1.now"
}

# edit_metadata NAME SNAPSHOT SED-SCRIPT
edit_metadata() {
    nsenter --target "$LIBVIRT_PID" --mount --root \
        sed -i "$3" "/var/lib/libvirt/qemu/snapshot/$1/$2.xml"
}

test_metadata_must_fit() {
    local created before change
    start_libvirt
    new_images a.qcow2 b.qcow2 c.qcow2
    # a snapshot of one disk, and one that somebody took of the other
    define one "$PWD/a.qcow2"
    expect_rc 0 libvirt snapshot-create-as one x
    expect_rc 0 libvirt attach-disk one "$PWD/b.qcow2" vdb --driver qemu --subdriver qcow2 --config
    real snapshot -c x b.qcow2
    prepare one
    expect_equal "$(standings a.qcow2 b.qcow2)" 'x:-'
    # of other files, though their content is the same
    new_images e.qcow2 f.qcow2
    define d "$PWD/e.qcow2" "$PWD/f.qcow2"
    expect_rc 0 libvirt snapshot-create-as d x
    cp e.qcow2 e-copy.qcow2
    cp f.qcow2 f-copy.qcow2
    define copy "$PWD/e-copy.qcow2" "$PWD/f-copy.qcow2"
    nsenter --target "$LIBVIRT_PID" --mount --root \
        cp -a /var/lib/libvirt/qemu/snapshot/d /var/lib/libvirt/qemu/snapshot/copy
    edit_metadata copy x "s|<uuid>.*</uuid>|<uuid>$(libvirt domuuid copy)</uuid>|"
    prepare copy
    expect_equal "$(standings e-copy.qcow2 f-copy.qcow2)" 'x:-'
    edit_metadata copy x 's/\.qcow2/-copy&/'
    prepare copy
    expect_equal "$(standings e-copy.qcow2 f-copy.qcow2)" 'x:recorded'
    # of another time, another machine, or a running one, or of more disks
    created=$(date +%s)
    for change in "s/<creationTime>.*</<creationTime>$((created - 100))</" \
        's/<uuid>..../<uuid>0000/' 's/shutoff/running/' \
        "s|<disk name='vda'.*/>|&<disk name='vdc' snapshot='internal'/>|"; do
        nsenter --target "$LIBVIRT_PID" --mount --root cat /var/lib/libvirt/qemu/snapshot/d/x.xml >x.xml
        edit_metadata d x "$change"
        before=$(checksum e.qcow2 f.qcow2)
        prepare d
        expect_equal "$(checksum e.qcow2 f.qcow2)" "$before" "the images, with $change,"
        nsenter --target "$LIBVIRT_PID" --mount --root tee /var/lib/libvirt/qemu/snapshot/d/x.xml <x.xml >/dev/null
    done
    # while somebody reads an image it waits
    qemu-io -U -r -c 'sleep 1000000' f.qcow2 &
    cleanup_fn eval "kill $! 2>/dev/null || true"
    until grep -q ":$(stat -c %i f.qcow2) 100 " /proc/locks; do
        sleep 0.05
    done
    prepare d
    expect_equal "$(checksum e.qcow2 f.qcow2)" "$before" 'the images in use'
    kill $!
    wait $! || true
    prepare d
    expect_equal "$(standings e.qcow2 f.qcow2)" 'x:recorded'
    expect_equal "$(sources e.qcow2 f.qcow2)" 'x:libvirt x'
    # and once is enough
    before=$(checksum e.qcow2 f.qcow2)
    prepare d
    expect_equal "$(checksum e.qcow2 f.qcow2)" "$before" 'the images, the second time,'
}

# An image that stands elsewhere by what is certain is not moved by libvirt's word.
test_records_are_believed_first() {
    start_libvirt
    new_images a.qcow2 b.qcow2
    define d "$PWD/a.qcow2" "$PWD/b.qcow2"
    take s1 s2
    prepare d
    expect_equal "$(sources a.qcow2 b.qcow2)" 's1:libvirt s2:libvirt s2'
    ss apply -q tag=s1 a.qcow2 b.qcow2 # libvirt does not hear of it
    prepare d
    expect_equal "$(sources a.qcow2 b.qcow2)" 's1:libvirt s2:libvirt s1'
    # where one is certain, the other is not somewhere else
    qio a.qcow2 'read -q 0 64k'
    prepare d
    expect_equal "$(sources a.qcow2 b.qcow2)" 's1:libvirt s2:libvirt s1'
    # one disk alone went back: that is to be refused, and not to be forgotten
    ss apply -q tag=s2 --allow set-too-small a.qcow2
    qio a.qcow2 'read -q 0 64k'
    qio b.qcow2 'read -q 0 64k'
    libvirt dumpxml d >d.now
    expect_rc 1 nsenter --target "$LIBVIRT_PID" --mount --root --wd="$PWD" \
        "$BUILD_DIR/libvirt-hooks/snapshot-set-hook" d prepare begin - <d.now
    expect_err 'refused \[current-mismatch\]'
}

run_tests "$@"
