#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Images that cannot take part: found before anything is written to the others.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
requires qemu-img qemu-io

# refused RULE BAD IMAGE...: every command that writes refuses the set because of the image BAD, in
# which ./a and ./b have the snapshot "one"; with BAD it is one more image.
refused() {
    local rule=$1 bad=$2
    shift 2
    remember "$@"
    for command in 'create two' 'apply --allow set-partial --allow set-too-small tag=one' \
        'delete --allow set-partial --allow set-too-small tag=one' 'protect tag=one' accept; do
        # shellcheck disable=SC2086
        expect_refused "$rule" ss $command "$@"
        expect_err "refused \[$rule\]: .*$bad"
    done
}

pair() {
    new_images a b
    ss create -q one a b
}

# ---- in use -------------------------------------------------------------------------------------

test_open_in_a_machine() {
    requires qemu-system-x86_64
    pair
    new_images c
    start_qemu m c
    refused image-locked c a b c
    refused image-locked c c a b
    expect_err '^hint: shut the machine down'
    expect_rc 2 ss adopt tag=one a b c
    expect_err 'refused \[image-locked\]'
    stop_qemu m
    expect_rc 0 ss create two a b c
}

test_open_read_only_in_a_machine() {
    requires qemu-system-x86_64
    pair
    new_images c
    start_qemu m -- -blockdev driver=qcow2,node-name=x,read-only=on,file.driver=file,file.filename=c
    refused image-locked c a b c
}

test_open_as_a_backing_file() {
    requires qemu-system-x86_64
    pair
    new_images c
    real create -q -f qcow2 -F qcow2 -b c over
    start_qemu m over
    refused image-locked c a b c
}

test_guest_writes_go_on() {
    requires qemu-system-x86_64
    new_images a b
    start_qemu m b
    guest_put m 0 1
    expect_rc 2 ss create one a b
    guest_put m 0 2
    hmp m 'savevm s'
    stop_qemu m
    expect_data 2 b
    expect_clean b
}

# Another command of ours at work on one of the images: it is left alone, its journal too.
test_in_use_by_another_operation() {
    local pid
    pair
    new_images c
    cat >slow <<EOT
#!/bin/sh
touch '$PWD/started'
while [ -e '$PWD/started' ] && [ ! -e '$PWD/go' ]; do sleep 0.02; done
exec '$REAL_QEMU_IMG' "\$@"
EOT
    chmod +x slow
    SNAPSHOT_SET_QEMU_IMG=$PWD/slow ss create two a b >first.out 2>&1 &
    pid=$!
    cleanup_fn touch go
    until [ -e started ]; do sleep 0.02; done
    remember c
    expect_refused image-locked ss create three b c
    expect_rc 3 ss recover
    expect_rc 0 ss list a b
    touch go
    wait "$pid" || fail "the first one: $(cat first.out)"
    expect_equal "$(tags a) $(tags b)$(tags c)" 'one two one two'
    expect_rc 0 ss create three b c --allow current-mismatch
}

# ---- no space, no room --------------------------------------------------------------------------

small_file_system() {
    mkdir full
    mount -t tmpfs -o size=1M none full 2>/dev/null || skip 'cannot mount a tmpfs'
    cleanup_fn umount "$PWD/full"
}

test_full_file_system() {
    small_file_system
    pair
    real create -q -f qcow2 full/c 8M
    ss accept -q a b full/c
    dd if=/dev/zero of=full/fill bs=4k 2>/dev/null || true
    remember a b full/c
    expect_refused no-space ss create two a b full/c
    expect_err 'full/c'
    expect_err '^hint: .*free some space'
    expect_refused no-space ss create two full/c a b
    expect_rc 2 "$SNAPSHOT_SET" create --dry-run two a b full/c
    rm full/fill
    expect_rc 0 ss create two a b full/c
    dd if=/dev/zero of=full/fill bs=4k 2>/dev/null || true
    remember a b full/c
    expect_refused no-space ss apply tag=two a b full/c
    # deleting needs no more than there is
    expect_rc 0 ss delete tag=two a b full/c
    expect_clean a b full/c
}

# The judgement may be wrong, when others fill the disk meanwhile: then all is undone.
test_file_system_that_fills_up() {
    local made=0
    small_file_system
    pair
    real create -q -f qcow2 full/c 8M
    ss accept -q a b full/c
    put 1 a b full/c
    dd if=/dev/zero of=full/fill bs=4k 2>/dev/null || true
    remember a b full/c
    expect_rc 1 ss create --allow no-space two a b full/c
    expect_err '^qemu-img: snapshot-set: .*full/c.*; all images are as they were$'
    expect_equal "$(tags a) $(tags b) $(tags full/c)" 'one one '
    expect_data 1 a b full/c
    made=$(find "$SNAPSHOT_SET_STATE_DIR" -type f | wc -l)
    expect_equal "$made" 0 'files left in the state folder'
}

# Two file systems are not one: the free space of each counts by itself.
test_two_file_systems() {
    small_file_system
    mkdir roomy
    mount -t tmpfs -o size=8M none roomy
    cleanup_fn umount "$PWD/roomy"
    real create -q -f qcow2 full/c 8M
    real create -q -f qcow2 roomy/d 8M
    dd if=/dev/zero of=roomy/fill bs=4k count=1800 2>/dev/null
    expect_rc 0 ss create one full/c roomy/d
    expect_rc 0 ss delete tag=one full/c roomy/d
    dd if=/dev/zero of=roomy/fill bs=4k 2>/dev/null || true
    remember full/c roomy/d
    expect_refused no-space ss create one full/c roomy/d
    expect_err 'may be written to roomy/d, '
}

test_small_clusters() {
    pair
    for size in 512 1024 2048; do
        real create -q -f qcow2 -o "cluster_size=$size" c 8M
        remember a b c
        expect_refused no-room ss create two a b c
        expect_err 'refused \[no-room\]: c: '
        expect_refused no-room ss create two c b a
        expect_refused no-room ss accept a b c
        expect_refused no-room ss create two c
        real snapshot -c x c
        remember a b c
        expect_refused no-room ss protect tag=x c
        expect_refused no-room ss describe tag=x text c
        expect_refused no-room ss adopt tag=x c
    done
}

# What needs no record goes on, and identities are derived.
test_small_clusters_without_records() {
    requires qemu-system-x86_64
    real create -q -f qcow2 -o cluster_size=512 a 8M
    real create -q -f qcow2 -o cluster_size=2048 b 8M
    put 1 a b
    start_qemu m a b
    hmp m 'savevm one'
    guest_put m 0 2
    stop_qemu m
    expect_rc 0 ss check a b
    expect_rc 0 ss apply tag=one a b
    expect_data 1 a b
    expect_rc 0 ss delete tag=one a b
    expect_equal "$(tags a)$(tags b)" ''
    expect_clean a b
    expect_equal "$(ss list --output=json a | grep -c '"current" : null')" 1 'currents that are null'
}

test_no_record_fits_any_more() {
    no_record_fits_any_more 4k 500
}

# The same with clusters of the usual size and longer texts.
test_no_record_fits_any_more_in_large_clusters() {
    no_record_fits_any_more 64k 1024
}

no_record_fits_any_more() {
    local text count=0
    real create -q -f qcow2 -o "cluster_size=$1" a 8M
    new_images b
    text=$(head -c "$2" /dev/zero | tr '\0' x)
    while ss create -q --description "$text" "tag$count" a b 2>err; do
        count=$((count + 1))
        [ "$count" -lt 40 ] || fail 'there is no end'
    done
    grep -q 'refused \[no-room\]: a: ' err || fail "$(cat err)"
    [ "$count" -ge 1 ] || fail 'there is room for none'
    expect_equal "$(tags a)" "$(tags b)"
    expect_rc 0 ss list --output=json a b
    expect_json 'sum(s["complete"] and s["members"] == 2 for s in d["snapshots"])' "$count"
    expect_json 'd["snapshots"][-1]["current"]' true
    expect_clean a b
    remember a b
    expect_refused no-room ss create --description "$text" again a b
    ss delete -q tag=tag0 a b
    expect_rc 0 ss create --description "$text" again a b
}

# ---- reference counts ---------------------------------------------------------------------------

test_one_bit_reference_counts() {
    pair
    real create -q -f qcow2 -o refcount_bits=1 c 8M
    put 1 c
    remember a b c
    expect_refused image-unsupported ss create two a b c
    expect_err 'c: its 1-bit reference counts cannot take a snapshot$'
    expect_rc 1 real snapshot -c two c
}

test_two_bit_reference_counts() {
    pair
    real create -q -f qcow2 -o refcount_bits=2 c 8M
    put 1 c
    real snapshot -c x c
    real snapshot -c y c
    remember a b c
    expect_refused image-unsupported ss create two a b c
    expect_err 'c: its 2-bit reference counts cannot take another snapshot$'
    expect_refused image-unsupported ss create two c
    cp c d
    expect_rc 1 real snapshot -c two d
    expect_rc 0 ss delete tag=y c
    expect_rc 0 ss create two c
    expect_clean c
}

# ---- formats and features -----------------------------------------------------------------------

test_raw_image() {
    pair
    real create -q -f raw c 8M
    refused image-unsupported c a b c
    refused image-unsupported c c
}

test_other_formats() {
    pair
    for format in vmdk vdi qed; do
        rm -f c
        real create -q -f "$format" c 8M
        refused image-unsupported c a b c
        expect_rc 0 ss list a b c
    done
}

test_behind_a_protocol() {
    local json
    pair
    new_images c
    real snapshot -c x c
    json='json:{"driver": "qcow2", "file": {"driver": "file", "filename": "c"}}'
    expect_rc 0 ss list "$json"
    expect_out ' x '
    remember a b c
    expect_refused image-unsupported ss create two a b "$json"
    expect_refused image-unsupported ss delete tag=x "$json"
}

test_external_data_file() {
    pair
    real create -q -f qcow2 -o data_file=c.raw c 8M
    refused image-unsupported c a b c
}

test_dirty_image() {
    requires qemu-system-x86_64
    pair
    real create -q -f qcow2 -o lazy_refcounts=on c 8M
    start_qemu m c
    guest_put m 0 1
    kill -KILL "${QEMU_PID[m]}"
    wait "${QEMU_PID[m]}" || true
    refused image-unsupported c a b c
    expect_err '[Dd]irty|not closed'
    real check -q -r all c
    expect_rc 0 ss create two a b c
}

test_corrupt_image() {
    pair
    new_images c
    printf '\2' | dd of=c bs=1 seek=79 conv=notrunc status=none
    refused image-unsupported c a b c
    expect_err 'corrupt'
}

test_encrypted_without_key() {
    pair
    new_encrypted_image c key
    refused image-unsupported c a b c
    expect_err '^hint: .*--object secret,.*encrypt.key-secret'
    expect_rc 0 ss list a b c
}

test_wrong_key() {
    pair
    printf wrong >wrong
    new_encrypted_image c key
    remember c
    expect_rc 1 ss create two --object secret,id=s,file=wrong --image-opts \
        driver=qcow2,file.filename=a driver=qcow2,encrypt.key-secret=s,file.filename=c
    expect_err '^qemu-img: snapshot-set: .*[Ii]nvalid password.*all images are as they were$'
    expect_unchanged
    expect_equal "$(tags a)" one
}

# ---- permissions --------------------------------------------------------------------------------

test_not_writable() {
    local as=()
    [ "$(id -u)" -ne 0 ] || as=(setpriv --reuid 65534 --regid 65534 --clear-groups)
    "${as[@]}" true || skip 'cannot become another user'
    pair
    new_images c
    chmod 755 "$TEST_DIR" "$TEST_DIR/work"
    chmod 666 a b
    chmod 444 c
    mkdir -m 777 state-of-nobody
    cp "$SNAPSHOT_SET" plugin # it may have been built where others have no access
    remember a b c
    for command in 'create two' 'accept' 'apply --allow set-partial tag=one'; do
        # shellcheck disable=SC2086
        expect_rc 1 "${as[@]}" env SNAPSHOT_SET_STATE_DIR="$PWD/state-of-nobody" \
            ./plugin $command a b c
        expect_equal "$ERR" \
            "qemu-img: snapshot-set: 'c': cannot open for writing: Permission denied" message
        expect_unchanged
    done
    expect_rc 0 "${as[@]}" ./plugin list a b c
}

test_read_only_file_system() {
    small_file_system
    pair
    real create -q -f qcow2 full/c 8M
    mount -o remount,ro "$PWD/full"
    remember a b full/c
    expect_rc 1 ss create two a b full/c
    expect_equal "$ERR" \
        "qemu-img: snapshot-set: 'full/c': cannot open for writing: Read-only file system" message
    expect_unchanged
    expect_rc 0 ss list a b full/c
}

# A base and its overlay in one set: the machine writes to one of them only.
test_overlay_and_its_base() {
    new_images base
    real create -q -f qcow2 -F qcow2 -b base middle
    real create -q -f qcow2 -F qcow2 -b "$PWD/middle" over
    put 1 over
    remember base middle over
    expect_rc 1 ss create one base over
    expect_err "'base' is a backing file of 'over'"
    expect_rc 1 ss create one over middle
    expect_err "'middle' is a backing file of 'over'"
    expect_unchanged
    expect_rc 0 ss list base middle over
    expect_rc 0 ss create one over
    expect_data 1 over
    expect_clean base middle over
}

run_tests "$@"
