#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Entries that qemu-img cannot tell apart: by identity exactly the right one is applied or deleted.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
requires qemu-img qemu-io qemu-storage-daemon

# nth_identity N IMAGE...: the identity of the Nth snapshot by date, counted from 1
nth_identity() {
    local number=$1
    shift
    "$SNAPSHOT_SET" list --all --output=json "$@" | "$PYTHON" -c '
import json, sys
print(json.load(sys.stdin)["snapshots"][int(sys.argv[1]) - 1]["id"])' "$number"
}

# ids FILE: the IDs of its entries
ids() {
    real snapshot -l "$1" | awk 'NR > 2 { printf "%s%s", space, $1; space = " " }'
}

# three_times TAG: of ./a, each with other data: 1, 2, 3; 4 since
three_times() {
    local byte
    new_images a
    for byte in 1 2 3; do
        put "$byte" a
        real snapshot -c "$1" a
    done
    put 4 a
}

test_apply_each_of_three() {
    three_times x
    for number in 2 1 3; do
        expect_rc 0 ss apply "id=$(nth_identity "$number" a)" a
        expect_data "$number" a
        expect_equal "$(ids a)" '1 2 3' IDs
        expect_rc 0 ss list a
        expect_equal "$(grep -n '^\*' "$OUT_FILE" | cut -d : -f 1)" $((number + 1)) 'current one'
    done
    expect_clean a
}

test_delete_each_of_three() {
    local keep=('2 3' '1 3' '1 2')
    three_times x
    mv a three
    for number in 1 2 3; do
        cp three a
        expect_rc 0 ss delete "id=$(nth_identity "$number" a)" a
        expect_equal "$(ids a)" "${keep[number - 1]}" "after deleting number $number, IDs"
        expect_data 4 a
        expect_clean a
    done
}

test_the_dispatcher_too() {
    three_times x
    expect_rc 0 "$QEMU_IMG" snapshot -a "id=$(nth_identity 2 a)" a
    expect_data 2 a
    expect_rc 0 "$QEMU_IMG" snapshot -d "id=$(nth_identity 2 a)" a
    expect_equal "$(ids a)" '1 3'
    expect_rc 0 "$QEMU_IMG" snapshot -d "id=$(nth_identity 1 a)" a
    expect_rc 0 "$QEMU_IMG" snapshot -d tag=x a
    expect_equal "$(ids a)" ''
    expect_clean a
}

test_delete_until_none_is_left() {
    three_times ''
    expect_refused tag-duplicate ss delete tag= a
    expect_rc 0 ss delete "id=$(nth_identity 3 a)" a
    expect_rc 0 ss delete "id=$(nth_identity 1 a)" a
    expect_equal "$(ids a)" 2
    expect_rc 0 ss apply tag= a
    expect_data 2 a
    expect_rc 0 ss delete tag= a
    expect_equal "$(ids a)" ''
    expect_clean a
}

# Twice on one of two images, and one of the two is the same moment as the other image's.
test_one_of_two_is_the_others() {
    requires qemu-system-x86_64
    new_images a b
    put 1 a
    real snapshot -c x a
    put 2 a
    put 2 b
    start_qemu m a b
    qmp m '{"execute": "blockdev-snapshot-internal-sync", "arguments": {"device": "d1", "name": "y"}}' \
        >/dev/null
    save m x d0 d1
    guest_put m 0 3
    stop_qemu m
    expect_equal "$(tags a)" 'x x'
    expect_equal "$(tags b)" 'y x'
    remember a b
    expect_rc 2 ss apply tag=x a b
    expect_unchanged
    expect_rc 0 ss list --output=json a b
    expect_json '[[i["qcow2-id"] for i in s["images"]] for s in d["snapshots"]]' '[["2", "2"]]'
    expect_rc 0 ss apply "id=$(json 'd["snapshots"][0]["id"]')" a b
    expect_data 2 a b
    expect_rc 0 ss delete "id=$(nth_identity 3 a b)" a b
    expect_equal "$(ids a)/$(ids b)" '1/1'
    expect_rc 0 ss delete --allow set-partial "id=$(nth_identity 1 a b)" a b
    expect_equal "$(tags a)/$(tags b)" '/y'
    expect_clean a b
}

# The tag is another entry's ID, and that one's tag the first one's ID.
test_crossed_ids_and_tags() {
    new_images a
    put 1 a
    real snapshot -c 2 a
    put 2 a
    real snapshot -c 1 a
    put 3 a
    cp a b
    # the premise: -a takes the ID, -d the tag
    real snapshot -a 2 b
    expect_data 2 b
    cp a b
    expect_rc 0 ss apply tag=2 a b
    expect_data 1 a b
    expect_rc 0 ss apply "id=$(nth_identity 2 a b)" a b
    expect_data 2 a b
    expect_rc 0 ss delete tag=1 a b
    expect_equal "$(tags a) $(tags b)" '2 2'
    expect_data 2 a b
    expect_clean a b
}

test_ids_that_are_no_numbers() {
    new_images a
    put 1 a
    real snapshot -c abc1 a
    put 2 a
    real snapshot -c defg a
    rename_entry a 0 defg 1 # ID defg, tag 1
    rename_entry a 1 1 defg
    expect_equal "$(real snapshot -l a | awk 'NR > 2 { print $1 "=" $2 }' | xargs)" 'defg=1 1=defg'
    expect_rc 0 ss apply tag=defg a
    expect_data 2 a
    expect_rc 0 ss apply tag=1 a
    expect_data 1 a
    expect_rc 0 ss delete tag=1 a
    expect_equal "$(tags a)" defg
    expect_clean a
}

# The same ID twice, or none: then the tag must do.
test_ids_that_are_alike() {
    new_images a
    put 1 a
    real snapshot -c x a
    put 2 a
    real snapshot -c y a
    rename_entry a 1 1 y
    expect_equal "$(ids a)" '1 1'
    expect_rc 0 ss apply tag=y a
    expect_data 2 a
    expect_rc 0 ss apply tag=x a
    expect_data 1 a
    expect_rc 0 ss delete tag=y a
    expect_equal "$(tags a)" x
    rename_entry a 0 '' x1
    expect_rc 0 ss apply tag=x1 a
    expect_data 1 a
    expect_rc 0 ss delete tag=x1 a
    expect_clean a
}

# Nothing tells these apart: an error, and no guess.
test_what_cannot_be_told_apart() {
    new_images a
    put 1 a
    real snapshot -c x a
    put 2 a
    real snapshot -c x a
    rename_entry a 1 1 x
    remember a
    expect_rc 1 ss apply "id=$(nth_identity 2 a)" a
    expect_err "^qemu-img: snapshot-set: 'a': neither ID nor tag "
    expect_rc 1 ss delete "id=$(nth_identity 1 a)" a
    expect_err "^qemu-img: snapshot-set: 'a': ID and tag "
    expect_unchanged
}

test_without_the_storage_daemon() {
    local id
    three_times x
    id=$(nth_identity 2 a)
    mkdir bin
    cp "$REAL_QEMU_IMG" bin/qemu-img
    remember a
    expect_rc 1 env SNAPSHOT_SET_QEMU_IMG="$PWD/bin/qemu-img" PATH=/no/where "$SNAPSHOT_SET" \
        delete "id=$id" a
    expect_err "^qemu-img: snapshot-set: 'a': .*qemu-storage-daemon"
    expect_unchanged
    # applying needs none
    expect_rc 0 env SNAPSHOT_SET_QEMU_IMG="$PWD/bin/qemu-img" PATH=/no/where "$SNAPSHOT_SET" \
        apply "id=$id" a
    expect_data 2 a
}

test_with_records() {
    local id
    new_images a b
    ss create -q x a b
    put 1 a b
    real snapshot -c x a
    put 2 a b
    id=$(snapshot_json id x b)
    expect_rc 0 ss apply "id=$id" a b
    expect_data 0 a b
    expect_rc 0 ss delete "id=$id" a b
    expect_equal "$(tags a)$(tags b)" x
    expect_rc 0 ss apply --allow set-partial tag=x a b
    expect_data 1 a
    expect_clean a b
}

run_tests "$@"
