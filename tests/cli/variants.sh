#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Every kind of qcow2 image, and every kind of name: create, apply, protect and delete leave behind
# what they must, and QEMU goes on working with it.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
requires qemu-img qemu-io qemu-system-x86_64

# guest_sums FILE...: what the guest would read, all of it
guest_sums() {
    local file
    for file; do
        rm -f "$TEST_DIR/raw"
        real convert -O raw --image-opts "$(image_options "$file")" "$TEST_DIR/raw"
        checksum "$TEST_DIR/raw"
    done
}

# write_some BYTE FILE...: here and there, whole clusters and parts of them
write_some() {
    local byte=$1 file
    shift
    for file; do
        qio "$file" "write -q -P $byte 0 64k" "write -q -P $byte 200k 3k" "write -q -P $byte 3M 2M" \
            "write -q -z 4M 512k" "discard -q 7M 64k"
    done
}

# info_of FILE...: what qemu-img info says of the image itself
info_of() {
    local file
    for file; do
        real info --output=json --image-opts "$(image_options "$file")" | "$PYTHON" -c '
import json, sys
d = json.load(sys.stdin)
for key in "snapshots", "actual-size", "dirty-flag", "children": d.pop(key, None)
print(json.dumps(d, sort_keys=True))'
    done
}

# cycle FILE...: the life of snapshots of these images
cycle() {
    local before first second third
    write_some 1 "$@"
    before=$(info_of "$@")
    first=$(guest_sums "$@")
    expect_rc 0 ss create one "$@"
    write_some 2 "$@"
    second=$(guest_sums "$@")
    expect_rc 0 ss create --description 'the second' two "$@"
    write_some 3 "$@"
    third=$(guest_sums "$@")
    [[ $first != "$second" && $second != "$third" ]] || fail 'the guest wrote nothing'
    expect_clean "$@"

    expect_rc 0 ss apply tag=one "$@"
    expect_equal "$(guest_sums "$@")" "$first" 'after the apply, data'
    expect_rc 0 ss apply --save-current three tag=two "$@"
    expect_equal "$(guest_sums "$@")" "$second" 'after the second apply, data'
    expect_rc 0 ss apply tag=three "$@"
    expect_equal "$(guest_sums "$@")" "$first" 'after the third apply, data'
    expect_clean "$@"

    expect_rc 0 ss protect tag=two "$@"
    remember "$@"
    expect_refused snapshot-protected ss delete tag=two "$@"
    expect_rc 0 ss delete tag=one "$@"
    expect_rc 0 ss unprotect tag=two "$@"
    expect_rc 0 ss delete tag=three "$@"
    expect_equal "$(guest_sums "$@")" "$first" 'after the deletion, data'
    expect_equal "$(info_of "$@")" "$before" 'description by qemu-img info'
    expect_rc 0 ss check "$@"
    expect_rc 0 ss list --output=json "$@"
    expect_json '[s["tag"] + ": " + s["description"] for s in d["snapshots"]]' \
        '["two: the second"]'
    expect_clean "$@"
}

# goes_on FILE...: QEMU saves and loads a snapshot in these images, which then are a set as before
goes_on() {
    start_qemu m "$@"
    guest_put m 0 5
    hmp m 'savevm live'
    guest_put m 0 6
    [[ $(hmp m 'info snapshots') == *live* ]] || fail 'QEMU does not list its snapshot'
    hmp m 'loadvm live'
    stop_qemu m
    expect_data 5 "$1"
    expect_rc 0 ss apply tag=two "$@"
    expect_data 2 "$1"
    expect_rc 0 ss list "$@"
    expect_out ' live '
    start_qemu n "$@"
    hmp n 'loadvm live'
    stop_qemu n
    expect_data 5 "$1"
    expect_clean "$@"
}

# variant OPTIONS [SIZE]
variant() {
    real create -q -f qcow2 -o "$1" a "${2:-8M}"
    real create -q -f qcow2 -o "$1" b "${2:-8M}"
    cycle a b
    goes_on a b
}

test_v2_clusters_4k() { variant compat=0.10,cluster_size=4k; }
test_v2_clusters_64k() { variant compat=0.10; }
test_v2_clusters_2m() { variant compat=0.10,cluster_size=2M; }
test_v3_clusters_4k() { variant cluster_size=4k; }
test_v3_clusters_64k() { variant compat=1.1; }
test_v3_clusters_2m() { variant cluster_size=2M; }
test_extended_l2() { variant extended_l2=on; }
test_extended_l2_with_clusters_2m() { variant extended_l2=on,cluster_size=2M; }
test_lazy_refcounts() { variant lazy_refcounts=on; }
test_zstd() { variant compression_type=zstd; }
test_wide_refcounts() { variant refcount_bits=64; }
test_narrow_refcounts() { variant refcount_bits=4; }
test_preallocated() { variant preallocation=metadata; }

test_odd_and_large_sizes() {
    real create -q -f qcow2 a 8388609
    real create -q -f qcow2 b 20M
    cycle a b
    rm a b
    real create -q -f qcow2 a 2T
    real create -q -f qcow2 b 8M
    ss create -q one a b
    put 1 a b
    ss apply -q tag=one a b
    expect_data 0 a b
    expect_clean a b
}

test_mixed_versions() {
    real create -q -f qcow2 -o compat=0.10,cluster_size=4k a 8M
    real create -q -f qcow2 -o extended_l2=on b 16M
    real create -q -f qcow2 -o cluster_size=2M,lazy_refcounts=on c 9M
    cycle a b c
    goes_on a b c
}

test_backing_files() {
    new_images base
    put 9 base
    for image in a b; do
        real create -q -f qcow2 -F qcow2 -b base "$image"
    done
    remember base
    cycle a b
    goes_on a b
    REMEMBERED=(base) REMEMBERED_SUMS=$(checksum base)
    for image in a b; do
        [[ $(real info -U "$image") == *$'\nbacking file: base\n'* ]] || fail 'no backing file'
    done
    expect_rc 0 ss list --output=json a b
    expect_json '[i["backing-filename"] for i in d["images"]]' '["base", "base"]'
}

# A name as long as QEMU takes it, which has to make room for the record.
test_long_backing_names() {
    local name
    name=$(printf 'd%.0s' {1..200})
    mkdir -p "$name/$name/$name/$name"
    name=$PWD/$name/$name/$name/$name/$(printf 'n%.0s' {1..140})
    real create -q -f qcow2 -- "$name" 8M
    put 9 "$name"
    for size in 4k 64k; do
        rm -f a
        real create -q -f qcow2 -o "cluster_size=$size" -F qcow2 -b "$name" a
        expect_rc 0 ss create one a
        expect_data 9 a
        expect_equal "$(real info --output=json a |
            "$PYTHON" -c 'import json, sys; print(json.load(sys.stdin)["backing-filename"])')" "$name"
        put 1 a
        expect_rc 0 ss apply tag=one a
        expect_data 9 a
        expect_clean a
    done
}

test_bitmaps() {
    new_images a b
    real bitmap --add b backup
    real bitmap --add b other
    real bitmap --disable b other
    put 1 a b
    expect_rc 0 ss create one a b
    put 2 a b
    expect_rc 0 ss create two a b
    remember a b
    expect_refused load-would-fail ss apply tag=one a b
    expect_err ' b has one$'
    expect_rc 0 ss protect tag=one a b
    expect_rc 0 ss unprotect tag=one a b
    expect_rc 0 ss delete tag=one a b
    expect_equal "$(real info b | grep -cE '^ +name: (backup|other)$')" 2 'number of bitmaps'
    expect_data 2 a b
    expect_clean a b
    real bitmap --remove b backup
    real bitmap --remove b other
    put 3 a b
    expect_rc 0 ss apply tag=two a b
    expect_data 2 a b
    goes_on a b
}

# After the record has come, there is still room for a bitmap and what goes with it.
test_bitmaps_of_stamped_images() {
    local index
    new_images a
    ss create -q one a
    for index in {1..20}; do
        real bitmap --add a "bitmap-$index"
    done
    expect_equal "$(real info a | grep -c '^ \+name: bitmap-')" 20 'number of bitmaps'
    expect_rc 0 ss create two a
    expect_equal "$(real info a | grep -c '^ \+name: bitmap-')" 20 'number of bitmaps'
    expect_clean a
}

test_resized_images() {
    new_images a b
    put 1 a b
    ss create -q one a b
    real resize -q a 16M
    put 2 a b
    ss create -q two a b
    expect_rc 0 ss apply tag=one a b
    expect_out '^a: virtual size goes from 16 MiB back to 8 MiB$'
    refute_out '^b:'
    expect_data 1 a b
    expect_rc 0 real info --output=json a
    expect_json 'd["virtual-size"]' $((8 << 20))
    expect_rc 0 ss apply tag=two a b
    expect_out '^a: virtual size goes from 8 MiB back to 16 MiB$'
    expect_clean a b
    expect_rc 0 ss show tag=one a b
    expect_out '^a .* 8 MiB$'
}

# ---- encryption ---------------------------------------------------------------------------------

test_luks() {
    local keyed=(--object 'secret,id=s,file=key' --image-opts) names=() file
    new_encrypted_image a key
    cp a b
    for file in a b; do
        names+=("driver=qcow2,encrypt.key-secret=s,file.filename=$file")
    done
    luks_io() { # BYTE COMMAND
        local name
        for name in "${names[@]}"; do
            qemu-io "${keyed[@]}" -c "$2 -q -P $1 0 64k" "$name"
            real check -q "${keyed[@]}" "$name"
        done
    }
    luks_io 1 write
    expect_rc 0 ss create "${keyed[@]}" one "${names[@]}"
    luks_io 2 write
    expect_rc 0 ss create "${keyed[@]}" two "${names[@]}"
    luks_io 3 write
    expect_rc 0 ss apply "${keyed[@]}" tag=one "${names[@]}"
    luks_io 1 read
    expect_rc 0 ss apply "${keyed[@]}" --save-current three tag=two "${names[@]}"
    luks_io 2 read
    expect_rc 0 ss protect "${keyed[@]}" tag=two "${names[@]}"
    expect_rc 0 ss delete "${keyed[@]}" tag=three "${names[@]}"
    luks_io 2 read
    # reading needs no key
    expect_equal "$(drawn a b)" 'one
└─two current, protected, parent inferred'
    start_qemu m -- -object secret,id=s,file=key \
        -blockdev "encrypt.format=luks,node-name=d0,file.driver=file,${names[0]}" \
        -device virtio-blk-pci,drive=d0
    guest_put m 0 5
    # QEMU 7.2 itself aborts at "savevm" into a LUKS image, so without VM state
    qmp m '{"execute": "blockdev-snapshot-internal-sync",
        "arguments": {"device": "d0", "name": "live"}}' >/dev/null
    guest_put m 0 6
    stop_qemu m
    real snapshot "${keyed[@]}" -a live "${names[0]}"
    qemu-io "${keyed[@]}" -c 'read -q -P 5 0 64k' "${names[0]}"
    expect_rc 0 ss list a b
    expect_out ' two '
}

# ---- names --------------------------------------------------------------------------------------

# names NAME...: the images of these names
names() {
    local name
    for name; do
        real create -q -f qcow2 x 8M
        mv -- x "$name"
    done
    put 1 "$@"
    expect_rc 0 ss create one -- "$@"
    put 2 "$@"
    expect_rc 0 ss apply tag=one -- "$@"
    expect_data 1 "$@"
    expect_rc 0 ss protect tag=one -- "$@"
    expect_rc 0 ss check -- "$@"
    expect_rc 2 ss delete tag=one -- "$@"
    expect_rc 0 ss unprotect tag=one -- "$@"
    expect_rc 0 ss delete tag=one -- "$@"
    expect_clean "$@"
}

test_names_with_blanks_and_quotes() {
    names 'two words' ' x ' "it's" '"q"' 'back\slash' '$(x)' '*' '[a]' '%s%n' '#' '=' 'a=b'
}

test_names_with_commas() {
    names 'a,b' ',' 'a,,b' ',x=y,driver=raw' 'a,'
}

test_names_with_colons() {
    names ./a:b ./nbd:localhost:1 './json:{}' "$PWD/x:y" ./file:z ./:
}

test_names_with_leading_dashes() {
    names -q --help - --image-opts
}

test_names_with_other_bytes() {
    names $'new\nline' $'latin\xe4' $'esc\e[1m' $'tab\t' 'ünïcödé' $'\x01'
}

test_json_of_names_with_other_bytes() {
    names $'latin\xe4' $'new\nline'
    expect_rc 0 ss list --output=json $'latin\xe4' $'new\nline'
    expect_json '[i["filename"] for i in d["images"]]' '["latin\ufffd", "new\nline"]'
}

test_file_prefix() {
    new_images a
    expect_rc 0 ss create one file:a
    expect_rc 0 ss list "file:$PWD/a"
    expect_out ' one '
    expect_equal "$(tags a)" one
}

test_options_as_names() {
    new_images a 'b,c'
    expect_rc 0 ss create one --image-opts driver=qcow2,file.filename=a \
        driver=qcow2,file.driver=file,file.filename=b,,c
    put 1 a 'b,c'
    expect_rc 0 ss apply --image-opts tag=one driver=qcow2,file.filename=a \
        driver=qcow2,file.driver=file,file.filename=b,,c
    expect_data 0 a 'b,c'
    expect_rc 0 ss list a 'b,c'
    expect_out ' one '
}

test_named_format() {
    new_images a b
    expect_rc 0 ss create -f qcow2 one a b
    expect_rc 0 ss list -f qcow2 a b
    expect_out ' one '
    expect_rc 0 ss list -f raw a b
    expect_equal "$OUT" ''
    remember a b
    expect_refused image-unsupported ss create -f raw two a b
}

test_symbolic_links() {
    mkdir d
    new_images d/a b
    ln -s d/a link
    ln -s "$PWD/link" link2
    ln -s d e
    put 1 link2
    expect_rc 0 ss create one link2 b
    put 2 d/a b
    expect_rc 0 ss apply tag=one e/a b
    expect_data 1 d/a
    expect_data 0 b
    [[ -L link && -L link2 ]] || fail 'a link was replaced'
    expect_rc 0 ss delete tag=one link "$PWD/e/../b"
    expect_clean d/a b
}

test_images_in_other_folders() {
    mkdir x y
    new_images x/i y/i
    cd x
    expect_rc 0 ss create one i ../y/i
    expect_rc 0 ss apply tag=one ../x/i ../y/i
    expect_rc 0 ss list "$PWD/i" ../y/i
    expect_out '^\* .* one '
}

# ---- block devices ------------------------------------------------------------------------------

test_block_devices() {
    local device devices=() file
    requires losetup
    for file in a b; do
        truncate -s 32M "$file"
        device=$(losetup --show -f "$file" 2>/dev/null) || skip 'no loop devices'
        cleanup_fn losetup -d "$device"
        real create -q -f qcow2 "$device" 8M
        devices+=("$device")
    done
    block_io() { # BYTE COMMAND
        for device in "${devices[@]}"; do
            qemu-io -f qcow2 -c "$2 -q -P $1 0 64k" "$device"
        done
    }
    block_io 1 write
    expect_rc 0 ss create one "${devices[@]}"
    block_io 2 write
    ln -s "${devices[0]}" link
    expect_rc 0 ss create two link "${devices[1]}"
    expect_rc 0 ss apply tag=one "${devices[@]}"
    block_io 1 read
    expect_rc 0 ss protect tag=two "${devices[@]}"
    expect_rc 0 ss delete tag=one "${devices[@]}"
    expect_rc 0 ss list "${devices[@]}"
    expect_out ' two '
    for device in "${devices[@]}"; do
        real check -q -f qcow2 "$device"
    done
    expect_rc 1 ss list link "${devices[0]}"
    expect_err 'are the same image$'
}

run_tests "$@"
