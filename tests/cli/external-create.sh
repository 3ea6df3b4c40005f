#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# External snapshots are taken and applied: all overlays are made, or none, and nothing is destroyed.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
# shellcheck source=../lib/external.sh
. "$(dirname "$0")/../lib/external.sh"
requires qemu-img qemu-io

# ---- create -------------------------------------------------------------------------------------

test_create() {
    pair
    umask 000
    expect_rc 0 ss create one --external --description text a.qcow2 b.qcow2
    expect_equal "$(sed -E 's/\([0-9a-f]{8}\)/(UUID)/' <<<"$OUT")" "created snapshot 'one' (UUID) on 2 images
a.qcow2 -> a.one
b.qcow2 -> b.one"
    expect_equal "$ERR" ''
    for disk in a b; do
        expect_equal "$(stat -c %a "$disk.one")" 600 'mode'
        expect_equal "$(info_of "$disk.one" backing-filename)" "$PWD/$disk.qcow2"
        expect_equal "$(info_of "$disk.one" backing-filename-format)" qcow2
        expect_equal "$(info_of "$disk.one" virtual-size)" 8388608
    done
    expect_data 1 a.one b.one
    expect_clean a.one b.one a.qcow2 b.qcow2
    expect_equal "$(sealed a.one b.one a.qcow2 b.qcow2)" 'true true true true'
    expect_rc 0 ss check a.one b.one
    expect_rc 0 ss list --output=json a.one b.one
    expect_json 'len(d["snapshots"])' 1
    expect_json '[d["snapshots"][0][k] for k in ("tag", "description", "kind", "complete", "current",
        "identity", "members", "parent", "vm-state-size")]' \
        '["one", "text", "external", true, true, "recorded", 2, null, 0]'
    expect_json '[i["stored-in"] for i in d["snapshots"][0]["images"]]' \
        "[\"$PWD/a.qcow2\", \"$PWD/b.qcow2\"]"
    expect_json 'd["images"][0]["current"] == d["snapshots"][0]["id"]' true
    expect_no_leftovers
}

# The date of an external snapshot is in its identity.
test_create_is_dated() {
    local before after
    pair
    before=$(date +%s)
    freeze one
    after=$(date +%s)
    expect_rc 0 ss list --output=json "${ACTIVE[@]}"
    expect_json "$before <= d['snapshots'][0]['date-sec'] <= $after" true
}

test_create_json_names_the_overlays() {
    pair
    expect_rc 0 ss create one --external --output=json a.qcow2 b.qcow2
    expect_json 'd["overlays"]' \
        '[{"image": "a.qcow2", "overlay": "a.one"}, {"image": "b.qcow2", "overlay": "b.one"}]'
    expect_json 'd["kind"]' external
    ss create -q --external quiet a.one b.one >out.txt
    expect_equal "$(cat out.txt)" ''
}

test_create_changes_nothing_in_a_dry_run() {
    pair
    remember a.qcow2 b.qcow2
    expect_rc 0 ss create one --external --dry-run a.qcow2 b.qcow2
    expect_out "^dry run: would have created snapshot 'one'$"
    expect_out '^a.qcow2 -> a.one$'
    expect_unchanged
    expect_equal "$(echo *)" 'a.qcow2 b.qcow2'
    expect_no_leftovers
}

test_create_elsewhere() {
    mkdir -p disks over/lays
    ACTIVE=(disks/a.qcow2 disks/b.qcow2)
    new_images "${ACTIVE[@]}"
    put 1 "${ACTIVE[@]}"
    expect_rc 0 ss create one --external --overlay-dir over/lays --overlay-format qcow2 "${ACTIVE[@]}"
    expect_out '^disks/a.qcow2 -> over/lays/a.one$'
    expect_data 1 over/lays/a.one over/lays/b.one
    expect_equal "$(info_of over/lays/a.one backing-filename)" "$PWD/disks/a.qcow2"
    expect_rc 0 ss create two --external over/lays/a.one over/lays/b.one
    expect_out '^over/lays/a.one -> over/lays/a.two$'
    expect_rc 0 ss check over/lays/a.two over/lays/b.two
}

# A folder with all of it can be moved.
test_relative_backing_names() {
    mkdir -p vm/base vm/top
    new_images vm/base/a.qcow2 vm/base/b.qcow2
    put 1 vm/base/a.qcow2 vm/base/b.qcow2
    expect_rc 0 ss create one --external --relative-backing --overlay-dir vm/top vm/base/*
    expect_equal "$(info_of vm/top/a.one backing-filename)" ../base/a.qcow2
    put 2 vm/top/a.one vm/top/b.one
    expect_rc 0 ss create two --external --relative-backing vm/top/*.one
    expect_equal "$(info_of vm/top/a.two backing-filename)" a.one
    mv vm moved
    expect_data 2 moved/top/a.two moved/top/b.two
    expect_rc 0 ss check moved/top/a.two moved/top/b.two
    # it stays so where an overlay stands for one that had such a name
    expect_rc 0 ss apply tag=one moved/top/a.two moved/top/b.two
    expect_out '^moved/top/a.two -> moved/top/a.one-2$'
    expect_equal "$(info_of moved/top/a.one-2 backing-filename)" ../base/a.qcow2
    rm moved/top/*.one-2
    expect_rc 0 ss delete tag=one moved/top/a.two moved/top/b.two
    expect_equal "$(info_of moved/top/a.two backing-filename)" ../base/a.qcow2
    expect_data 2 moved/top/a.two moved/top/b.two
    expect_rc 0 ss check moved/top/a.two moved/top/b.two
}

# A relative name must not be read as a protocol.
test_relative_backing_name_with_a_colon() {
    new_images a
    mv a ssh:a.qcow2
    expect_rc 0 ss create one --external --relative-backing ./ssh:a.qcow2
    expect_equal "$(info_of ./ssh:a.one backing-filename)" ./ssh:a.qcow2
    expect_rc 0 ss check ./ssh:a.one
}

# As libvirt makes them: what is behind the last dot of the image's name gives way to the tag.
test_names_of_overlays() {
    local base tag overlay
    while read -r base tag overlay; do
        new_images "$base"
        expect_rc 0 ss create "$tag" --external "$base"
        expect_out " -> $overlay\$"
        [ -e "$overlay" ] || fail "no $overlay"
        rm -- "$base" "$overlay"
    done <<'EOT'
disk.qcow2    s1    disk.s1
disk          s1    disk.s1
disk.v1.qcow2 s1    disk.v1.s1
disk.qcow2    v1.2  disk.v1.2
.hidden       s1    .hidden.s1
disk,x=y.img  s,1   disk,x=y.s,1
disk.         s1    disk.s1
дом.qcow2     снег  дом.снег
EOT
}

test_overlay_exists() {
    pair
    echo precious >b.one
    remember a.qcow2 b.qcow2 b.one
    expect_refused tag-exists ss create one --external a.qcow2 b.qcow2
    expect_err "'b.one', which exists already"
    expect_err '^hint: choose another tag, or another folder with --overlay-dir'
    expect_equal "$(echo *)" 'a.qcow2 b.one b.qcow2'
    ln -s nowhere a.two
    expect_refused tag-exists ss create two --external a.qcow2 b.qcow2
    expect_no_leftovers
}

test_overlays_of_one_name() {
    mkdir x y
    new_images x/disk.qcow2 y/disk.qcow2
    remember x/disk.qcow2 y/disk.qcow2
    expect_refused tag-exists ss create one --external --overlay-dir . x/disk.qcow2 y/disk.qcow2
    expect_err 'the overlays of x/disk.qcow2 and y/disk.qcow2 would both be'
    new_images x/disk.img
    expect_refused tag-exists ss create one --external x/disk.qcow2 x/disk.img
    expect_rc 0 ss create one --external x/disk.qcow2 y/disk.qcow2
}

test_tags_of_overlays() {
    pair
    ss create -q there a.qcow2 b.qcow2
    remember a.qcow2 b.qcow2
    expect_refused tag-invalid ss create up/there --external a.qcow2 b.qcow2
    expect_refused tag-empty ss create '' --external a.qcow2 b.qcow2
    expect_refused tag-exists ss create there --external a.qcow2 b.qcow2
    expect_refused tag-numeric ss create 7 --external a.qcow2 b.qcow2
    expect_refused tag-invalid ss create "$(printf 'x%.0s' {1..255})" --external a.qcow2 b.qcow2
    freeze ours
    expect_rc 2 ss create ours --external "${ACTIVE[@]}"
    expect_rc 2 ss create ours "${ACTIVE[@]}"
    expect_err 'refused \[tag-exists\]'
    expect_equal "$(echo *)" 'a.ours a.qcow2 b.ours b.qcow2'
}

test_options_go_together() {
    pair
    for option in '--overlay-dir .' '--overlay-format qcow2' --relative-backing; do
        # shellcheck disable=SC2086
        expect_rc 1 ss create one $option a.qcow2 b.qcow2
        expect_err 'go with --external'
    done
    expect_rc 1 ss create one --external --overlay-format raw a.qcow2 b.qcow2
    expect_err "overlays are qcow2: 'raw' has no place for the record"
    expect_rc 1 ss create one --external --overlay-dir nowhere a.qcow2 b.qcow2
    expect_err "cannot find 'nowhere'"
    ss create -q in a.qcow2 b.qcow2
    expect_rc 1 ss apply tag=in --overlay-dir . a.qcow2 b.qcow2
    expect_err 'go with an external snapshot'
    expect_equal "$(echo *)" 'a.qcow2 b.qcow2'
}

# failing_qemu_img N: a qemu-img whose Nth overlay is not made
failing_qemu_img() {
    cat >failing <<EOT
#!/bin/bash
case \$1 in
create)
    turn=1
    until mkdir "$PWD/turn.\$turn" 2>/dev/null; do turn=\$((turn + 1)); done
    [ \$turn -ne $1 ] || { echo 'qemu-img: no luck' >&2; exit 1; }
    ;;
esac
exec -a qemu-img "$REAL_QEMU_IMG" "\$@"
EOT
    chmod +x failing
}

test_all_overlays_or_none() {
    local turn
    pair
    new_images c.qcow2
    for turn in 1 2 3; do
        rm -rf turn.*
        failing_qemu_img "$turn"
        SNAPSHOT_SET_QEMU_IMG=$PWD/failing expect_rc 1 ss create one --external [abc].qcow2
        expect_err ': no luck; all images are as they were$'
        rm -rf turn.* failing
        expect_equal "$(echo *)" 'a.qcow2 b.qcow2 c.qcow2'
        expect_no_leftovers
        expect_rc 0 ss check a.qcow2 b.qcow2 c.qcow2
        expect_data 1 a.qcow2 b.qcow2
    done
}

test_the_owner_of_an_overlay() {
    [ "$(id -u)" -eq 0 ] || skip 'needs root'
    pair
    chown 65534:1 a.qcow2
    chmod 666 a.qcow2
    freeze one
    expect_equal "$(stat -c '%u:%g %a' a.one b.one)" $'65534:1 600\n0:0 600'
}

# The base's format is always told: nothing that a guest writes makes it another.
test_bases_of_other_formats() {
    local format
    for format in raw qed vmdk vdi; do
        mkdir "$format"
        real create -q -f "$format" "$format/disk" 4M
        qemu-io -f "$format" -c 'write -q -P 1 0 64k' "$format/disk"
        expect_rc 0 ss create one --external -f "$format" "$format/disk"
        expect_out "^$format/disk cannot be sealed"
        expect_equal "$(info_of "$format/disk.one" backing-filename-format)" "$format"
        expect_equal "$(info_of "$format/disk.one" virtual-size)" 4194304
        put 2 "$format/disk.one"
        freeze_again "$format/disk.one"
        put 3 "$format/disk.two"
        expect_rc 0 ss apply tag=one "$format/disk.two"
        expect_data 1 "$format/disk.one-2"
        rm "$format/disk.one-2"
        expect_rc 0 ss delete tag=one "$format/disk.two"
        expect_equal "$(info_of "$format/disk.two" backing-filename-format)" "$format"
        expect_data 3 "$format/disk.two"
        expect_rc 0 ss check "$format/disk.two"
        expect_rc 0 ss delete tag=two "$format/disk.two"
        expect_out "^$format/disk.two -> $format/disk$"
        qemu-io -r -f "$format" -c 'read -q -P 3 0 64k' "$format/disk"
        expect_equal "$(ls "$format")" disk
    done
}

freeze_again() { expect_rc 0 ss create two --external "$1"; }

# A raw disk may hold what looks like qcow2; and any number of bytes.
test_a_raw_base_that_looks_like_qcow2() {
    new_images inner
    ss create -q trap inner
    cp inner disk.raw
    truncate -s 8000001 disk.raw
    remember disk.raw
    expect_rc 0 ss create one --external --image-opts driver=raw,file.driver=file,file.filename=disk.raw
    expect_out '^disk.raw -> disk.one$'
    expect_equal "$(info_of disk.one backing-filename-format)" raw
    expect_equal "$(info_of disk.one virtual-size)" 8000512
    expect_rc 0 ss list --all --output=json disk.one
    expect_json '[s["tag"] for s in d["snapshots"]]' '["one"]'
    expect_rc 0 ss delete tag=one disk.one
    expect_unchanged
}

# Options that an overlay has no place for may make another disk of a file.
test_options_that_an_overlay_does_not_have() {
    real create -q -f raw disk.raw 8M
    remember disk.raw
    expect_refused image-unsupported ss create one --external \
        --image-opts driver=raw,offset=1048576,size=1048576,file.filename=disk.raw
    expect_err '^hint: leave out of --image-opts what does not change what the image holds'
    expect_rc 0 ss create one --external --image-opts driver=file,filename=disk.raw
    expect_equal "$(info_of disk.one backing-filename-format)" raw
    expect_refused image-unsupported ss delete tag=one \
        --image-opts driver=qcow2,backing.driver=null-co,file.filename=disk.one
    expect_rc 0 ss delete tag=one --image-opts driver=qcow2,file.driver=file,file.filename=disk.one
    expect_equal "$(echo *)" disk.raw
}

# What cannot be sealed is a base all the same, and no false alarm comes of it.
test_bases_that_cannot_be_sealed() {
    real create -q -f qcow2 -o compat=0.10 v2.qcow2 8M
    real create -q -f qcow2 -o cluster_size=512 small.qcow2 8M
    put 1 v2.qcow2 small.qcow2
    expect_rc 0 ss create one --external v2.qcow2 small.qcow2
    expect_out '^v2.qcow2 cannot be sealed: nothing will tell if it is written to under its overlay$'
    expect_out '^small.qcow2 cannot be sealed'
    thaw v2.qcow2
    thaw small.qcow2
    expect_rc 0 ss check v2.one small.one
    put 2 v2.one small.one
    expect_rc 0 ss apply tag=one v2.one small.one
    expect_data 1 v2.one-2 small.one-2
    rm ./*.one-2
    expect_rc 0 ss delete tag=one v2.one small.one
    expect_data 2 v2.qcow2 small.qcow2
    expect_clean v2.qcow2 small.qcow2
}

test_images_that_no_overlay_may_stand_on() {
    pair
    new_encrypted_image secret.qcow2 key
    real create -q -f qcow2 -o data_file=data.raw outside.qcow2 8M
    new_images dirty.qcow2
    printf '\1' | dd of=dirty.qcow2 bs=1 seek=79 conv=notrunc status=none # the dirty bit
    for bad in secret.qcow2 outside.qcow2 dirty.qcow2; do
        remember a.qcow2 "$bad"
        expect_refused image-unsupported ss create one --external a.qcow2 "$bad"
        expect_err "$bad: "
    done
    expect_refused image-unsupported ss create one --external --object secret,id=s,file=key \
        --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=secret.qcow2
    expect_err 'what is written to an overlay would not be'
    expect_equal "$(compgen -G '*.one' || true)" ''
}

test_create_of_images_in_use() {
    requires qemu-system-x86_64
    pair
    start_qemu m b.qcow2
    remember a.qcow2
    expect_refused image-locked ss create one --external a.qcow2 b.qcow2
    expect_equal "$(echo *)" 'a.qcow2 b.qcow2'
}

test_create_without_space() {
    pair
    mkdir full
    mount -t tmpfs -o size=300k none full 2>/dev/null || skip 'cannot mount a tmpfs'
    cleanup_fn umount "$PWD/full"
    remember a.qcow2 b.qcow2
    expect_refused no-space ss create one --external --overlay-dir full a.qcow2 b.qcow2
    expect_rc 1 ss create one --external --overlay-dir full --allow no-space a.qcow2 b.qcow2
    expect_err 'all images are as they were'
    expect_unchanged
    expect_equal "$(ls -A full)" ''
}

test_create_at_different_points() {
    pair
    ss create -q x a.qcow2
    ss create -q y b.qcow2
    remember a.qcow2 b.qcow2
    expect_refused current-mismatch ss create one --external a.qcow2 b.qcow2
    expect_rc 0 ss create one --external --allow current-mismatch a.qcow2 b.qcow2
    expect_rc 0 ss check a.one b.one --allow current-mismatch --allow set-partial
}

test_a_block_device_is_a_base() {
    local device
    requires losetup
    mkdir over
    new_images disk
    put 1 disk
    device=$(losetup -f --show disk 2>/dev/null) || skip 'cannot attach a loop device'
    cleanup_fn losetup -d "$device"
    expect_rc 1 ss create one --external "$device"
    expect_err 'is a device: --overlay-dir must say where its overlay goes'
    expect_rc 0 ss create one --external --overlay-dir over "$device"
    overlay=over/$(basename "$device").one
    expect_equal "$(info_of "$overlay" backing-filename)" "$device"
    put 2 "$overlay"
    expect_rc 0 ss check "$overlay"
    expect_rc 0 ss delete tag=one "$overlay"
    expect_out "^$overlay -> $device\$"
    qemu-io -r -f qcow2 -c 'read -q -P 2 0 64k' "$device"
}

# ---- apply --------------------------------------------------------------------------------------

test_apply_is_a_branch() {
    trio
    remember "${ACTIVE[@]}" [ab].qcow2 [ab].one [ab].two
    expect_rc 0 ss apply tag=one "${ACTIVE[@]}"
    expect_equal "$(sed -E 's/\([0-9a-f]{8}\)/(UUID)/' <<<"$OUT")" "applied snapshot 'one' (UUID) on 2 images
a.three -> a.one-2
b.three -> b.one-2"
    expect_unchanged
    expect_data 1 a.one-2 b.one-2
    expect_rc 0 ss apply tag=two --output=json "${ACTIVE[@]}"
    expect_json '[o["overlay"] for o in d["overlays"]]' '["a.two-2", "b.two-2"]'
    expect_data 2 a.two-2 b.two-2
    expect_unchanged
    expect_equal "$(stat -c %a a.two-2)" 600
    put 7 a.two-2 b.two-2
    expect_rc 0 ss create four --external a.two-2 b.two-2
    expect_equal "$(drawn a.four b.four)" $'one external\n└─two external\n  └─four current, external'
    expect_rc 0 ss apply tag=one a.four b.four
    expect_out '^a.four -> a.one-3$'
    expect_rc 0 ss check a.one-3 b.one-3
    expect_rc 0 ss check "${ACTIVE[@]}"
    expect_data 4 "${ACTIVE[@]}"
    expect_no_leftovers
}

test_apply_in_a_dry_run() {
    trio
    expect_rc 0 ss apply tag=one --dry-run "${ACTIVE[@]}"
    expect_out "^dry run: would have applied snapshot 'one'"
    expect_out '^a.three -> a.one-2$'
    [ ! -e a.one-2 ] || fail 'it was made'
    expect_no_leftovers
}

test_apply_elsewhere() {
    mkdir over
    trio
    expect_rc 0 ss apply tag=one --overlay-dir over --relative-backing "${ACTIVE[@]}"
    expect_out '^a.three -> over/a.one$'
    expect_equal "$(info_of over/a.one backing-filename)" ../a.qcow2
    expect_data 1 over/a.one over/b.one
}

# What the snapshot is called, and what is known of it, goes along.
test_apply_keeps_the_record() {
    pair
    freeze one --description why
    ss protect -q tag=one "${ACTIVE[@]}"
    expect_rc 0 ss apply tag=one "${ACTIVE[@]}"
    expect_equal "$(identity_of one a.one-2 b.one-2)" "$(identity_of one "${ACTIVE[@]}")"
    expect_equal "$(snapshot_json description one a.one-2 b.one-2)" why
    expect_equal "$(snapshot_json protected one a.one-2 b.one-2)" true
    expect_equal "$(snapshot_json current one a.one-2 b.one-2)" true
}

# There is nothing to save: the images named stay as they are.
test_apply_saves_nothing() {
    trio
    remember "${ACTIVE[@]}"
    expect_rc 1 ss apply tag=one --save-current before "${ACTIVE[@]}"
    expect_err "take it with 'create TAG --external' first"
    expect_unchanged
    expect_equal "$(compgen -G '*-2' || true)" ''
}

test_apply_where_it_is() {
    pair
    freeze one
    new_images c.qcow2
    put 9 c.qcow2
    expect_refused set-partial ss apply tag=one "${ACTIVE[@]}" c.qcow2
    remember c.qcow2
    expect_rc 0 ss apply tag=one --allow set-partial "${ACTIVE[@]}" c.qcow2
    expect_out '^c.qcow2: left as it is$'
    expect_out '^b.one -> b.one-2$'
    expect_unchanged
    expect_refused set-too-small ss apply tag=one a.one
}

# The virtual size of the snapshot, whatever became of the overlay since.
test_apply_after_a_resize() {
    pair
    freeze one
    real resize -q -f qcow2 a.one 16M
    expect_rc 0 ss apply tag=one "${ACTIVE[@]}"
    expect_equal "$(info_of a.one-2 virtual-size)" 8388608
}

run_tests "$@"
