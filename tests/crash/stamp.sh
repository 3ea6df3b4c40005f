#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Writing the record into an image: whatever a crash leaves behind, the real QEMU sees no
# difference; and breaking the seal changes one byte. Every state, and not a sample, is judged
# without QEMU in tests/unit/test-stamp-plan.c.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
requires qemu-img qemu-io python3

STAMP_WRITES=$BUILD_DIR/tests/tools/stamp-writes

# stamp_states IMAGE N: stamp it, and let QEMU judge N states or more on the way
stamp_states() {
    "$STAMP_WRITES" "$1" >writes
    "$PYTHON" "$TOP/tests/crash/stamp.py" states "$1" writes "$2" >count
    STATES=$((${STATES:-0} + $(cat count)))
}

# stamp IMAGE [--no-seal]: stamp it at once
stamp() {
    local offset digits
    "$STAMP_WRITES" "$@" >writes
    while read -r offset digits; do
        printf '%s' "$digits" | "$PYTHON" -c 'import sys
sys.stdout.buffer.write(bytes.fromhex(sys.stdin.read()))' |
            dd of="$1" bs=64k seek="$offset" oflag=seek_bytes conv=notrunc status=none
    done <writes
}

# broken_by_open IMAGE [OPTION...]: which bytes of the first cluster one read-write open changes
broken_by_open() {
    "$PYTHON" "$TOP/tests/crash/stamp.py" seal "$1" qemu-io "${@:2}" "$(image_options "$1")"
}

sealed() {
    local byte
    byte=$(dd if="$1" bs=1 skip=88 count=1 status=none | od -An -tu1)
    [ "$byte" -ge 128 ]
}

patch_qcow2() {
    "$PYTHON" "$TOP/tests/lib/patch-qcow2.py" >/dev/null
}

# image NAME OPTION...: an image of every kind, with data, a snapshot and, if NAME says so, more
image() {
    local name=$1.qcow2
    shift
    real create -q -f qcow2 "$@" "$name" 4M
    case $name in
    luks*) ;;
    *)
        put 7 "$name"
        real snapshot -c one "$name"
        ;;
    esac
    case $name in *bitmap*) real bitmap --add "$name" mark ;; esac
}

# deriving the key takes two seconds
make_luks_image() {
    echo key >key
    image luks --object secret,id=s,file=key \
        -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=2000,encrypt.hash-alg=sha512
}

make_images() {
    real create -q -f qcow2 base.qcow2 4M
    image v3
    image v3-backed -b base.qcow2 -F qcow2
    image v2 -o compat=0.10
    image v2-backed -o compat=0.10 -b base.qcow2 -F qcow2
    image 4k -o cluster_size=4k
    image 4k-backed -o cluster_size=4k -b base.qcow2 -F qcow2
    image 2m -o cluster_size=2M
    image 2m-backed -o cluster_size=2M -b base.qcow2 -F qcow2
    image bitmap
    image bitmap-backed -b base.qcow2 -F qcow2
    image extended -o extended_l2=on,cluster_size=128k
    image lazy -o lazy_refcounts=on
    image zstd -o compression_type=zstd
    # what another program's extension, and QEMU before 5.1, left in the header
    patch_qcow2 <<'EOT'
foreign v3 same end:464f52450000000dffffffffffffffffffffffffff000000
old-table v3 same 116:00000090 264:00*248
EOT
    cp v3-backed.qcow2 again.qcow2
    stamp again.qcow2
}

CANONICAL='v3 v3-backed 4k 4k-backed 2m 2m-backed bitmap bitmap-backed extended lazy zstd again'
OTHERS='v2 v2-backed foreign old-table'

# expect_record FILE [WANT]: the image records where it stands
expect_record() {
    expect_rc 0 ss list --output=json "$1"
    expect_json 'd["images"][0]["current"] is not None' "${2:-true}"
}

test_no_state_makes_a_difference() {
    local name
    make_images
    make_luks_image
    expect_record base.qcow2 false
    for name in $CANONICAL $OTHERS luks; do
        stamp_states "$name.qcow2" 30
        expect_record "$name.qcow2"
    done
    note "$STATES states"
    [ "$STATES" -ge 500 ]
}

test_seal_breaks_by_one_byte() {
    local name
    make_images
    for name in $CANONICAL; do
        stamp "$name.qcow2"
        sealed "$name.qcow2" || fail "$name is not sealed"
        # reading leaves it alone
        real info "$name.qcow2" >/dev/null
        real check -q "$name.qcow2"
        qemu-io -r -f qcow2 -c 'read -q 0 4k' "$name.qcow2"
        sealed "$name.qcow2" || fail "$name was unsealed by reading"
        expect_equal "$(broken_by_open "$name.qcow2" --image-opts)" 88 "bytes of $name"
        expect_equal "$(broken_by_open "$name.qcow2" --image-opts)" '' "later bytes of $name"
    done
    make_luks_image
    stamp luks.qcow2
    sealed luks.qcow2 || fail 'luks is not sealed'
    expect_equal "$("$PYTHON" "$TOP/tests/crash/stamp.py" seal luks.qcow2 qemu-io \
        --object secret,id=s,file=key --image-opts \
        driver=qcow2,encrypt.key-secret=s,file.filename=luks.qcow2)" 88 'bytes of luks'
}

# the whole life of a seal: QEMU opens, writes, closes, and the record is there all the time
test_record_outlives_the_seal() {
    local name
    make_images
    for name in $CANONICAL; do
        stamp "$name.qcow2"
        put 9 "$name.qcow2"
        ! sealed "$name.qcow2" || fail "$name is still sealed"
        expect_clean "$name.qcow2"
        expect_record "$name.qcow2"
        stamp "$name.qcow2"
        sealed "$name.qcow2" || fail "$name is not sealed again"
    done
}

test_other_headers_are_stamped_unsealed() {
    local name
    make_images
    for name in $OTHERS; do
        stamp "$name.qcow2"
        ! sealed "$name.qcow2" || fail "$name is sealed"
        expect_record "$name.qcow2"
        put 9 "$name.qcow2"
        expect_clean "$name.qcow2"
    done
    stamp v3.qcow2 --no-seal
    ! sealed v3.qcow2 || fail 'sealed against its will'
}

run_tests "$@"
