#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What is recorded in an image outlives what QEMU's own tools and machines do to the image.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
requires qemu-img qemu-io

# recorded IMAGE...: what the records say, in one line
recorded() {
    "$SNAPSHOT_SET" list --all --output=json "$@" | "$PYTHON" -c '
import json, sys
d = json.load(sys.stdin)
print([i["current"] for i in d["images"]],
      [[s[key] for key in ("id", "identity", "tag", "description", "parent", "protected", "members")]
       for s in d["snapshots"] if s["identity"] == "recorded"])'
}

# stamped IMAGE...: images with two snapshots, and what is recorded of them
stamped() {
    ss create -q --description 'the first' one "$@"
    ss create -q two "$@"
    ss protect -q tag=one "$@"
    ss apply -q tag=one "$@"
    RECORDED=$(recorded "$@")
    [[ $RECORDED == *recorded*one*first*True*two*False* ]] || fail "$RECORDED"
}

sealed() {
    "$SNAPSHOT_SET" list --output=json "$1" |
        "$PYTHON" -c 'import json, sys; print(json.load(sys.stdin)["images"][0]["sealed"])'
}

# still_recorded COMMAND...: after it has run, of ./a and ./b nothing recorded has changed
still_recorded() {
    expect_rc 0 "$@"
    expect_equal "$(recorded a b)" "$RECORDED" "after '$*', what is recorded"
    expect_clean a b
}

test_snapshot() {
    new_images a b
    stamped a b
    still_recorded real snapshot -c foreign a
    still_recorded real snapshot -a foreign a
    still_recorded real snapshot -d foreign a
    still_recorded real snapshot -l a
}

test_amend() {
    new_images a b
    stamped a b
    still_recorded real amend -o compat=0.10 a
    still_recorded real amend -o compat=1.1 a
    still_recorded real amend -o lazy_refcounts=on a
    still_recorded real amend -o lazy_refcounts=off,refcount_bits=32 a
    expect_rc 0 ss apply tag=two a b
}

# As a version 2 image, too, it takes part.
test_amended_to_version_2() {
    new_images a b
    stamped a b
    real amend -o compat=0.10 a
    expect_rc 0 ss apply tag=two a b
    expect_rc 0 ss create three a b
    expect_rc 0 ss unprotect tag=one a b
    expect_rc 0 ss delete tag=one a b
    expect_equal "$(ss list --output=json a b | grep -cE '"tag" : "(two|three)"')" 2 snapshots
    expect_clean a b
    real amend -o compat=1.1 a
    expect_rc 0 ss apply tag=three a b
    expect_equal "$(sealed a)" True
}

test_rebase_and_resize() {
    new_images base other
    real create -q -f qcow2 -F qcow2 -b base a
    new_images b
    stamped a b
    still_recorded real rebase -u -F qcow2 -b other a
    still_recorded real rebase -u -b '' a
    still_recorded real rebase -u -F qcow2 -b "$PWD/base" a
    still_recorded real rebase -F qcow2 -b other a
    [[ $(real info a) == *'backing file: other'* ]] || fail 'no backing file'
    still_recorded real resize -q a 12M
    still_recorded real resize -q --shrink a 9M
}

test_bitmaps() {
    new_images a b
    stamped a b
    still_recorded real bitmap --add a one
    still_recorded real bitmap --add -g 1M a two
    still_recorded real bitmap --remove a one
    still_recorded real bitmap --disable a two
    still_recorded real bitmap --remove a two
}

test_check() {
    new_images a b
    stamped a b
    still_recorded real check -q a
    still_recorded real check -q -r all a
    # with something to repair: a leaked cluster
    qemu-io -f qcow2 -c 'write -q -P 1 0 64k' a
    truncate -s +64k a
    still_recorded real check -q -r all a
}

test_commit() {
    new_images b
    real create -q -f qcow2 base 8M
    real create -q -f qcow2 -F qcow2 -b base a
    stamped a b
    put 7 a
    still_recorded real commit -q a
    expect_data 7 base
}

test_guest_data() {
    new_images a b
    stamped a b
    still_recorded qemu-io -f qcow2 -c 'write -q -P 1 0 4M' -c 'discard -q 0 1M' a
}

test_running_machine() {
    requires qemu-system-x86_64
    new_images a b
    stamped a b
    start_qemu m a b
    expect_equal "$(recorded a b)" "$RECORDED" 'while it runs, what is recorded'
    guest_put m 0 1
    guest_put m 1 1
    hmp m 'savevm live'
    hmp m 'loadvm live'
    hmp m 'delvm live'
    qmp m '{"execute": "block_resize", "arguments": {"node-name": "d0", "size": 16777216}}'
    stop_qemu m
    still_recorded true
    start_qemu m a b
    kill -KILL "${QEMU_PID[m]}"
    wait "${QEMU_PID[m]}" || true
    expect_equal "$(recorded a b)" "$RECORDED" 'after a crash, what is recorded'
}

test_copies() {
    new_images a b
    stamped a b
    mkdir copies
    cp --sparse=always a copies/x
    dd if=b of=copies/y bs=1M status=none
    expect_equal "$(recorded copies/x copies/y)" "$RECORDED"
    # a converted image is another image
    real convert -O qcow2 a copies/z
    expect_rc 0 ss list --output=json copies/z
    expect_json '[d["images"][0]["current"], d["snapshots"]]' '[null, []]'
}

# ---- the seal -----------------------------------------------------------------------------------

test_seal_is_broken_by_writers_only() {
    new_images a b
    stamped a b
    expect_equal "$(sealed a)" True
    real info a >/dev/null
    real info -U a >/dev/null
    real snapshot -l a
    real check -q a
    qemu-io -r -f qcow2 -c 'read -q 0 64k' a
    expect_equal "$(sealed a)" True 'after reading, sealed'
    qemu-io -f qcow2 -c 'read -q 0 64k' a
    expect_equal "$(sealed a)" False 'after opening for writing, sealed'
    expect_equal "$(recorded a b)" "$RECORDED"
    ss apply -q tag=two a b
    expect_equal "$(sealed a)" True 'after the next command of ours, sealed'
}

# QEMU's rewriting of the first cluster for that must be harmless if it is torn.
test_breaking_the_seal_changes_one_byte() {
    new_images base
    for options in '' compat=1.1,lazy_refcounts=on extended_l2=on cluster_size=4k cluster_size=2M \
        backing; do
        rm -f a
        case $options in
        backing) real create -q -f qcow2 -F qcow2 -b base a 8M ;;
        *) real create -q -f qcow2 ${options:+-o "$options"} a 8M ;;
        esac
        ss create -q one a
        expect_equal "$(sealed a)" True "with '$options', sealed"
        head -c 4096 a >before
        qemu-io -f qcow2 -c 'read -q 0 64k' a
        head -c 4096 a >after
        expect_equal "$(cmp -l before after | awk '{ print $1, $2, $3 }')" '89 200 0' \
            "with '$options', changed bytes"
    done
}

test_parents_after_a_broken_seal() {
    new_images a b
    ss create -q one a b
    ss create -q two a b
    put 1 a b
    ss create -q three a b
    expect_equal "$(snapshot_json parent-source two a b)" recorded
    expect_equal "$(snapshot_json parent-source three a b)" inferred
    expect_equal "$(snapshot_json parent three a b)" "$(identity_of two a b)"
    expect_rc 0 ss check a b
    expect_rc 0 ss create four a b
    expect_equal "$(snapshot_json parent-source four a b)" recorded
}

# One image that was opened is enough to doubt.
test_parents_after_one_broken_seal() {
    new_images a b
    ss create -q one a b
    put 1 b
    ss create -q two a b
    expect_equal "$(snapshot_json parent-source two a b)" inferred
    expect_equal "$(snapshot_json parent-source two b a)" inferred
}

# Version 2 has no such bit: nothing is ever proven.
test_version_2_has_no_seal() {
    real create -q -f qcow2 -o compat=0.10 a 8M
    ss create -q one a
    expect_equal "$(sealed a)" False
    ss create -q two a
    expect_equal "$(snapshot_json parent-source two a)" inferred
}

# ---- entries that others deleted ----------------------------------------------------------------

chain() {
    local tag
    new_images a b
    for tag in one two three four; do
        ss create -q "$tag" a b
    done
}

test_deleted_entries_are_climbed_over() {
    chain
    for image in a b; do
        real snapshot -d two "$image"
        real snapshot -d three "$image"
    done
    expect_equal "$(drawn a b)" 'one
└─four current'
    expect_equal "$(snapshot_json parent four a b)" "$(identity_of one a b)"
    expect_rc 0 ss check a b
    for image in a b; do
        real snapshot -d one "$image"
    done
    expect_equal "$(drawn a b)" 'four current'
    expect_equal "$(snapshot_json parent four a b)" null
}

test_deleted_current() {
    chain
    for image in a b; do
        real snapshot -d four "$image"
    done
    expect_equal "$(drawn a b)" 'one
└─two
  └─three current'
    expect_rc 0 ss create five a b
    expect_equal "$(snapshot_json parent five a b)" "$(identity_of three a b)"
}

test_deleted_from_one_image() {
    chain
    real snapshot -d two a
    expect_equal "$(drawn a b)" 'one
└─three
  └─four current'
    expect_rc 2 ss check a b
    expect_out "^\[set-partial\] snapshot 'two' \([0-9a-f]{8}\) is missing on a$"
    expect_refused set-partial ss apply tag=two a b
    expect_refused set-partial ss delete tag=two a b
    expect_rc 0 ss delete --allow set-partial tag=two a b
    expect_rc 0 ss check a b
    expect_equal "$(drawn a b)" 'one
└─three
  └─four current'
}

# QEMU gives a deleted snapshot's ID to the next: the record is not taken for the newcomer's.
test_reused_ids() {
    chain
    for image in a b; do
        real snapshot -d four "$image"
        real snapshot -c four "$image"
    done
    expect_equal "$(snapshot_json identity four a b)" unproven
    expect_equal "$(snapshot_json parent-source four a b)" none
}

run_tests "$@"
