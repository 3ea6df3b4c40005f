#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# External snapshots are deleted: what they hold is merged, and every other state stays what it was.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
# shellcheck source=../lib/external.sh
. "$(dirname "$0")/../lib/external.sh"
requires qemu-img qemu-io

# loop_device FILE: make it a block device, DEVICE
loop_device() {
    DEVICE=$(losetup -f --show "$1" 2>/dev/null) || skip 'cannot make a block device'
    cleanup_fn losetup -d "$DEVICE"
}

# ---- delete -------------------------------------------------------------------------------------

# A snapshot is deleted; all that is left, and the active state, is what it was.
delete_and_compare() {
    local tag=$1 gone=$2 other file
    local -A before=()
    trio
    for other in one two three; do
        expect_rc 0 ss apply -q "tag=$other" "${ACTIVE[@]}"
        for disk in a b; do before[$disk.$other]=$(held "$disk.$other-2"); done
        rm ./*-2
    done
    for disk in a b; do before[$disk.active]=$(held "$disk.three"); done
    expect_rc 0 ss delete "tag=$tag" "${ACTIVE[@]}"
    expect_out "^deleted snapshot '$tag' \([0-9a-f]{8}\)$"
    [ "$tag" != three ] || { expect_out '^a.three -> a.two$' && ACTIVE=(a.two b.two); }
    for file in $gone; do
        [ ! -e "$file" ] || fail "$file is still there"
    done
    expect_rc 0 ss check "${ACTIVE[@]}"
    for other in one two three; do
        [ "$other" != "$tag" ] || continue
        expect_rc 0 ss apply --output=json "tag=$other" "${ACTIVE[@]}"
        for index in 0 1; do
            file=$(json "d['overlays'][$index]['overlay']")
            expect_equal "$(held "$file")" "${before[${file%%.*}.$other]}" "$other on $file"
            rm "$file"
        done
    done
    for file in "${ACTIVE[@]}"; do
        expect_equal "$(held "$file")" "${before[${file%%.*}.active]}" "active $file"
        expect_clean "$file"
    done
    expect_no_leftovers
}

test_delete_the_first() {
    delete_and_compare one 'a.one b.one'
    expect_equal "$(drawn "${ACTIVE[@]}")" $'two external\n└─three current, external'
    expect_equal "$(sealed a.qcow2 a.two)" 'true true'
}

test_delete_the_middle() {
    delete_and_compare two 'a.two b.two'
    expect_equal "$(drawn "${ACTIVE[@]}")" $'one external\n└─three current, external'
    expect_equal "$(sealed a.qcow2 a.one)" 'true true'
}

test_delete_the_last() {
    delete_and_compare three 'a.three b.three'
    expect_equal "$(drawn "${ACTIVE[@]}")" $'one external\n└─two current, external'
}

# What was deleted no longer hides that a base was written to.
test_bases_are_watched_after_a_deletion() {
    local base
    trio
    expect_rc 0 ss delete tag=two "${ACTIVE[@]}"
    for base in a.qcow2 a.one; do
        cp "$base" saved
        thaw "$base"
        expect_rc 2 ss check "${ACTIVE[@]}"
        expect_out "^\[chain-broken\] .*/$base was opened for writing"
        cat saved >"$base"
        expect_rc 0 ss check "${ACTIVE[@]}"
    done
}

test_delete_with_children() {
    trio
    expect_rc 0 ss delete tag=two --children "${ACTIVE[@]}"
    expect_out "^deleted snapshot 'three'"
    expect_out "^deleted snapshot 'two'"
    expect_out '^a.three -> a.one$'
    expect_equal "$(echo *)" 'a.one a.qcow2 b.one b.qcow2'
    expect_data 4 a.one b.one
    expect_rc 0 ss check a.one b.one
    expect_rc 0 ss delete tag=one --children a.one b.one
    expect_data 4 a.qcow2 b.qcow2
    expect_equal "$(echo *)" 'a.qcow2 b.qcow2'
    expect_rc 0 ss create again a.qcow2 b.qcow2
}

test_delete_in_a_dry_run() {
    trio
    remember [ab].*
    expect_rc 0 ss delete tag=three --dry-run "${ACTIVE[@]}"
    expect_out "^dry run: would have deleted snapshot 'three'"
    expect_out '^a.three -> a.two$'
    expect_unchanged
    expect_no_leftovers
}

test_delete_shows_progress() {
    pair
    freeze one
    qio a.one 'write -q -P 2 0 8M'
    expect_rc 0 ss delete -p tag=one "${ACTIVE[@]}"
    tr '\r' '\n' <"$ERR_FILE" | grep -E '^ *\([1-9][0-9]?\.[0-9]{2}/100%\)' >/dev/null ||
        fail "no progress: $ERR"
    expect_err '\(100\.00/100%\)$'
}

# Never is a file changed that other overlays stand on, nor one removed.
test_delete_spares_branches() {
    trio
    expect_rc 0 ss apply tag=two "${ACTIVE[@]}"
    remember [ab].*
    for tag in one two; do
        expect_refused chain-broken ss delete "tag=$tag" "${ACTIVE[@]}"
        expect_err 'would change what other overlays stand on: a\.two-2$'
        expect_err '^hint: remove these files'
        expect_refused chain-broken ss delete "tag=$tag" --children "${ACTIVE[@]}"
    done
    # the branch itself stands on what the others need
    expect_refused chain-broken ss delete tag=two a.two-2 b.two-2
    expect_err 'stand on: a\.two$'
    # what no branch stands on goes
    expect_rc 0 ss delete tag=three "${ACTIVE[@]}"
    expect_rc 2 ss delete tag=two a.two b.two
    rm ./*-2
    expect_rc 0 ss delete tag=two a.two b.two
    expect_data 4 a.one b.one
}

# An overlay is found by where its backing file is, not by what it is called.
test_delete_finds_overlays_by_any_name() {
    pair
    ln a.qcow2 hard
    ln -s a.qcow2 soft
    mkdir folder
    freeze one
    for name in "$PWD/hard" soft "json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"$PWD/a.qcow2\"}}" \
        file:a.qcow2 folder/../a.qcow2; do
        real create -q -f qcow2 -u -b "$name" -F qcow2 other 8M
        expect_refused chain-broken ss delete tag=one "${ACTIVE[@]}"
        expect_err 'stand on: other$'
        rm other
    done
    real create -q -f qcow2 -b "$PWD/b.qcow2" -F qcow2 other
    expect_refused chain-broken ss delete tag=one "${ACTIVE[@]}"
    rm other
    expect_rc 0 ss delete tag=one "${ACTIVE[@]}"
}

# A branch in another folder is found where it is an image of the same set.
test_delete_spares_branches_of_the_set() {
    mkdir here there
    new_images a.qcow2
    ACTIVE=(a.qcow2)
    freeze one --overlay-dir here
    expect_rc 0 ss apply tag=one --overlay-dir there here/a.one
    put 2 here/a.one
    put 3 there/a.one
    remember a.qcow2 here/a.one there/a.one
    expect_refused chain-broken ss delete tag=one here/a.one there/a.one
    expect_err "merging the chain of here/a.one would change .*: $PWD/there/a.one$"
    expect_err "merging the chain of there/a.one would change .*: $PWD/here/a.one$"
    expect_no_leftovers
}

# An image of the set that is on a device is in none of these folders.
test_delete_spares_branches_on_devices() {
    mkdir store
    new_images a.qcow2
    ACTIVE=(a.qcow2)
    frozen one 2
    truncate -s 16M store/file
    loop_device store/file
    dd if=a.one of="$DEVICE" conv=notrunc status=none
    remember a.qcow2 a.one store/file
    expect_refused chain-broken ss delete tag=one a.one "$DEVICE"
    expect_err "merging the chain of a.one would change .*: $DEVICE$"
}

# Only files are looked into: what else is there may do things when it is opened.
test_delete_opens_no_strangers() {
    local writer
    pair
    freeze one
    mkfifo fifo
    bash -c 'exec 3>fifo; touch opened' & # waits until somebody opens it
    writer=$!
    cleanup_fn kill "$writer"
    expect_rc 0 ss delete tag=one "${ACTIVE[@]}"
    real create -q -f qcow2 -u -b fifo -F raw on-fifo 8M
    expect_rc 2 ss check on-fifo
    expect_out 'fifo, the backing file of on-fifo, cannot be read$'
    [ ! -e opened ] || fail 'it was opened'
}

# What stands on no file that is here is not left out in silence.
test_delete_of_what_stands_on_no_file() {
    pair
    frozen one 2
    real rebase -q -u -f qcow2 -F qcow2 -b nbd://localhost/x b.one
    remember a.qcow2 a.one b.one
    expect_refused image-unsupported ss delete tag=one "${ACTIVE[@]}"
    expect_err "b.one: its backing file 'nbd://localhost/x' is not one that can be merged into"
    expect_rc 1 ss apply tag=one "${ACTIVE[@]}"
    expect_err "'b.one': the file that holds the snapshot is out of reach"
}

# Nor may two images of one set stand on the same file.
test_delete_of_a_base_that_two_images_share() {
    new_images base.qcow2
    real create -q -f qcow2 -b base.qcow2 -F qcow2 a.qcow2
    real create -q -f qcow2 -b base.qcow2 -F qcow2 b.qcow2
    ACTIVE=(a.qcow2 b.qcow2)
    put 1 "${ACTIVE[@]}"
    freeze one
    put 2 "${ACTIVE[@]}"
    expect_rc 0 ss protect tag=one "${ACTIVE[@]}"
    expect_rc 0 ss unprotect tag=one "${ACTIVE[@]}"
    expect_rc 0 ss delete tag=one "${ACTIVE[@]}"
    expect_data 2 a.qcow2 b.qcow2
    expect_data 0 base.qcow2
}

test_delete_obeys_protection() {
    trio
    ss protect -q tag=two "${ACTIVE[@]}"
    remember [ab].*
    expect_refused snapshot-protected ss delete tag=two "${ACTIVE[@]}"
    expect_refused snapshot-protected ss delete tag=one --children "${ACTIVE[@]}"
    # the record of a snapshot that stands below moves with its state
    expect_rc 0 ss delete tag=one "${ACTIVE[@]}"
    expect_rc 2 ss delete tag=two "${ACTIVE[@]}"
    expect_err 'refused \[snapshot-protected\]'
}

# Internal snapshots and dirty bitmaps in an overlay would go with it.
test_delete_loses_nothing_else() {
    trio
    ss create -q inside "${ACTIVE[@]}"
    remember [ab].*
    expect_refused image-unsupported ss delete tag=three "${ACTIVE[@]}"
    expect_err 'a.three holds internal snapshots'
    expect_rc 1 ss delete tag=three --children "${ACTIVE[@]}"
    expect_err "delete 'inside' by itself first"
    # below them there is nothing in the way
    expect_rc 0 ss delete tag=two "${ACTIVE[@]}"
    expect_rc 0 ss delete tag=inside "${ACTIVE[@]}"
    real bitmap --add a.three dirt
    expect_rc 2 ss delete tag=three "${ACTIVE[@]}"
    expect_err 'refused \[image-unsupported\]: a.three holds dirty bitmaps'
    real bitmap --remove a.three dirt
    expect_rc 0 ss delete tag=three "${ACTIVE[@]}"
    expect_data 4 a.one b.one
}

test_delete_of_resized_overlays() {
    pair
    freeze one
    put 2 "${ACTIVE[@]}"
    real resize -q -f qcow2 a.one 16M
    qio a.one 'write -q -P 5 15M 64k'
    disk=$(held a.one)
    expect_rc 0 ss delete tag=one "${ACTIVE[@]}"
    expect_equal "$(held a.qcow2)" "$disk"
    ACTIVE=(a.qcow2 b.qcow2)
    freeze two
    real resize -q -f qcow2 --shrink a.two 8M
    remember a.two b.two a.qcow2 b.qcow2
    expect_refused image-unsupported ss delete tag=two "${ACTIVE[@]}"
    expect_err 'a.two is smaller than .*/a.qcow2, which cannot shrink to its size'
    real create -q -f vmdk c.vmdk 8M
    expect_rc 0 ss create one --external -f vmdk c.vmdk
    real resize -q -f qcow2 c.one 16M
    expect_rc 2 ss delete tag=one c.one
    expect_err 'larger than .*c.vmdk, whose format cannot grow'
}

# What QEMU would fail at half-way, every time, is not begun.
test_delete_begins_nothing_that_cannot_end() {
    trio
    printf '\2' | dd of=a.qcow2 bs=1 seek=79 conv=notrunc status=none # the corrupt bit
    remember [ab].*
    expect_refused image-unsupported ss delete tag=one "${ACTIVE[@]}"
    expect_err '/a.qcow2: QEMU has marked it corrupt'
    expect_rc 0 ss delete tag=three "${ACTIVE[@]}"
    new_images c.qcow2
    real bitmap --add c.qcow2 dirt
    qemu-io -f qcow2 -c 'write -q 0 64k' -c abort c.qcow2 2>/dev/null || true # in use for ever
    ACTIVE=(c.qcow2)
    freeze one
    put 2 c.one
    real resize -q -f qcow2 c.one 16M
    remember c.qcow2 c.one
    expect_refused image-unsupported ss delete tag=one c.one
    expect_err 'larger than .*/c.qcow2, which cannot grow to its size while it holds dirty bitmaps'
    real resize -q -f qcow2 --shrink c.one 8M
    expect_rc 0 ss delete tag=one c.one
    expect_data 2 c.qcow2
}

# A name that QEMU may find no room for, when it is too late.
test_delete_begins_nothing_with_a_name_too_long() {
    local folder
    folder=$(printf 'x%.0s' {1..200})/$(printf 'y%.0s' {1..200})
    mkdir -p "$folder"
    new_images "$folder/a.qcow2"
    expect_rc 0 ss create one --external --overlay-dir . "$folder/a.qcow2"
    real create -q -f qcow2 -o cluster_size=512 -F qcow2 -b "$PWD/a.one" tiny.qcow2
    put 2 tiny.qcow2
    remember a.one tiny.qcow2 "$folder/a.qcow2"
    expect_rc 1 ss delete tag=one tiny.qcow2
    expect_err "tiny.qcow2': its header may have no room for the name of its new backing file"
    expect_unchanged
    expect_no_leftovers
}

test_delete_on_devices() {
    mkdir over store
    real create -q -f raw store/file 8M
    loop_device store/file
    expect_rc 0 ss create one --external -f raw --overlay-dir over "$DEVICE"
    ACTIVE=(over/*)
    put 2 "${ACTIVE[@]}"
    real resize -q -f qcow2 "${ACTIVE[@]}" 16M
    expect_refused image-unsupported ss delete tag=one "${ACTIVE[@]}"
    expect_err "larger than $DEVICE, a device, which cannot grow"
    real resize -q -f qcow2 --shrink "${ACTIVE[@]}" 8M
    expect_rc 0 ss delete tag=one "${ACTIVE[@]}"
    expect_out " -> $DEVICE$"
    qemu-io -r -f raw -c 'read -q -P 2 0 64k' "$DEVICE"
}

# A device that an overlay is on is there afterwards.
test_delete_of_an_overlay_on_a_device() {
    mkdir store
    new_images a.qcow2
    ACTIVE=(a.qcow2)
    frozen one 2
    truncate -s 16M store/file
    loop_device store/file
    dd if=a.one of="$DEVICE" conv=notrunc status=none
    rm a.one
    expect_rc 0 ss delete tag=one "$DEVICE"
    expect_out "^$DEVICE is a device: it is not needed any more, and left as it is$"
    expect_out "^$DEVICE -> $PWD/a.qcow2$"
    expect_data 2 a.qcow2
    expect_no_leftovers
}

test_delete_of_files_in_use() {
    requires qemu-system-x86_64
    trio
    # a machine that reads one of the files
    start_qemu m -- -blockdev driver=qcow2,node-name=x,read-only=on,file.driver=file,file.filename=b.one
    remember [ab].*
    expect_refused image-locked ss delete tag=one "${ACTIVE[@]}"
    expect_err '/b.one'
    expect_refused image-locked ss delete tag=two "${ACTIVE[@]}"
    # and that is not in the way of this
    expect_rc 0 ss delete tag=three "${ACTIVE[@]}"
    stop_qemu m
    expect_rc 0 ss delete tag=one a.two b.two
}

# as_another COMMAND...: as a user who is not root, and owns what is here
as_another() {
    local as=()
    [ "$(id -u)" -ne 0 ] || as=(setpriv --reuid 65534 --regid 65534 --clear-groups)
    env SNAPSHOT_SET_STATE_DIR="$PWD/state-of-another" "${as[@]}" "$@"
}

test_delete_from_folders_that_cannot_be_written_to() {
    as_another true || skip 'cannot become another user'
    mkdir -m 777 over state-of-another
    pair
    freeze one --overlay-dir over
    cp "$SNAPSHOT_SET" plugin # it may have been built where others have no access
    chmod 755 "$TEST_DIR" "$TEST_DIR/work"
    chmod 666 ./*.qcow2 over/*
    chmod 555 over
    cleanup_fn chmod 755 "$PWD/over"
    remember a.qcow2 over/a.one
    expect_refused image-unsupported as_another ./plugin delete tag=one "${ACTIVE[@]}"
    expect_err 'over/a.one cannot be removed from its folder'
    expect_rc 2 as_another ./plugin create two --external "${ACTIVE[@]}"
    expect_err 'refused \[image-unsupported\]: over/a.one: its overlay cannot be made in the folder'
}

test_delete_where_space_is_short() {
    mkdir full
    mount -t tmpfs -o size=4M none full 2>/dev/null || skip 'cannot mount a tmpfs'
    cleanup_fn umount "$PWD/full"
    new_images full/a.qcow2 b.qcow2
    ACTIVE=(full/a.qcow2 b.qcow2)
    freeze one --overlay-dir .
    qio a.one 'write -q -P 2 0 8M'
    remember a.one b.one full/a.qcow2 b.qcow2
    expect_refused no-space ss delete tag=one "${ACTIVE[@]}"
    # allowed, it fails half-way, and goes on when there is space
    expect_rc 3 ss delete tag=one --allow no-space "${ACTIVE[@]}"
    expect_rc 0 ss list "${ACTIVE[@]}"
    expect_err '\[operation-pending\]'
    mount -o remount,size=16M full
    expect_rc 0 ss recover
    expect_out " -> $PWD/full/a.qcow2\$"
    qio full/a.qcow2 'read -q -P 2 0 8M'
    expect_equal "$(echo *)" 'b.qcow2 full'
}

# The names that files are found by: links, other folders, options.
test_delete_by_other_names() {
    mkdir store
    new_images store/a.qcow2
    put 1 store/a.qcow2
    ln -s store/a.qcow2 link.qcow2
    expect_rc 0 ss create one --external link.qcow2
    expect_out "^link.qcow2 -> $PWD/store/a.one\$"
    put 2 store/a.one
    ln -sf store/a.one link.qcow2
    expect_rc 0 ss check link.qcow2
    expect_rc 0 ss create two --external --image-opts "$(image_options link.qcow2)"
    ln -sf store/a.two link.qcow2
    put 3 link.qcow2
    expect_rc 0 ss delete tag=one link.qcow2
    expect_data 3 link.qcow2
    expect_rc 0 ss delete tag=two link.qcow2
    expect_out "^link.qcow2 -> $PWD/store/a.qcow2\$"
    expect_data 3 store/a.qcow2
    expect_equal "$(ls store)" a.qcow2
}

# A link to an image whose relative backing name leads elsewhere from there than from its own folder.
test_relative_names_behind_a_link() {
    mkdir store
    new_images store/base.qcow2 base.qcow2
    real create -q -f qcow2 -b base.qcow2 -F qcow2 store/a.qcow2
    ln -s store/a.qcow2 a.qcow2
    expect_rc 2 ss create one --external a.qcow2
    expect_err 'refused \[chain-broken\]: a.qcow2: its relative backing file name leads elsewhere'
    expect_rc 0 ss create one --external store/a.qcow2
}

test_a_backing_name_in_json() {
    pair
    freeze one
    for disk in a b; do
        real rebase -u -f qcow2 -F qcow2 -b \
            "json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"$PWD/$disk.qcow2\"}}" "$disk.one"
    done
    put 2 "${ACTIVE[@]}"
    frozen two 3
    expect_rc 0 ss check "${ACTIVE[@]}"
    expect_rc 0 ss delete tag=one --children "${ACTIVE[@]}"
    expect_data 3 a.qcow2 b.qcow2
    expect_equal "$(echo *)" 'a.qcow2 b.qcow2'
}

# A part of a raw file is not the file.
test_a_backing_file_with_an_offset() {
    real create -q -f raw disk.raw 8M
    qemu-io -f raw -c 'write -q -P 5 0 64k' -c 'write -q -P 6 1M 64k' disk.raw
    expect_rc 0 ss create one --external -f raw disk.raw
    real rebase -u -f qcow2 -F raw -b "json:{\"driver\":\"raw\",\"offset\":1048576,
        \"file\":{\"driver\":\"file\",\"filename\":\"$PWD/disk.raw\"}}" disk.one
    expect_data 6 disk.one
    expect_rc 0 ss create two --external disk.one
    remember disk.*
    expect_rc 1 ss apply tag=one disk.two
    expect_err 'out of reach'
    expect_refused image-unsupported ss delete tag=one disk.two
    expect_err 'is not one that can be merged into'
    expect_equal "$(echo disk.*)" 'disk.one disk.raw disk.two'
}

# What format a backing file has is told, never guessed.
test_a_backing_file_of_a_format_that_is_not_told() {
    local at
    real create -q -f vmdk disk.vmdk 8M
    expect_rc 0 ss create one --external -f vmdk disk.vmdk
    freeze_again disk.one
    at=$(LC_ALL=C grep -obUaP '\xE2\x79\x2A\xCA' disk.one | cut -d: -f1)
    printf 'XXXX' | dd of=disk.one bs=1 seek="$at" conv=notrunc status=none # no known extension
    expect_equal "$(info_of disk.one backing-filename-format)" None
    for ACTIVE in disk.one disk.two; do
        remember disk.*
        expect_rc 1 ss apply tag=one "$ACTIVE"
        expect_err 'disk.one. does not say which format its backing file has'
        expect_rc 2 ss delete tag=one "$ACTIVE"
        expect_err 'disk.one does not say which format its backing file has'
        expect_unchanged
    done
}

freeze_again() { expect_rc 0 ss create two --external "$1"; }

run_tests "$@"
