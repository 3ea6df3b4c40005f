#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# One tag, two moments: disks that were snapshot in different machines are never taken together.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
requires qemu-img qemu-io qemu-system-x86_64

# Machine "one" takes a, b, c of a.qcow2, machine "two" a, b of b.qcow2; then both disks are put
# into one machine. SECONDS lie between, 0 if not given.
two_machines() {
    local tag
    new_images a.qcow2 b.qcow2
    start_qemu one a.qcow2
    start_qemu two b.qcow2
    for tag in a b c; do
        hmp one "savevm $tag"
    done
    sleep "${1:-0}"
    for tag in a b; do
        hmp two "savevm $tag"
    done
    stop_qemu one
    stop_qemu two
    remember a.qcow2 b.qcow2
}

# date_of TAG FILE: as qemu-img prints it
date_of() {
    real snapshot -l "$2" | sed -nE "s/^[0-9]+ +$1 .* ([0-9-]{10} [0-9:]{8}) .*/\\1/p"
}

# What this is all about: QEMU takes them together without a word.
test_qemu_loads_the_mix() {
    two_machines
    start_qemu both a.qcow2 b.qcow2
    expect_equal "$(hmp both 'loadvm b')" ''
}

test_list_shows_nothing_loadable() {
    two_machines
    expect_rc 0 ss list a.qcow2 b.qcow2
    expect_equal "$OUT" ''
    expect_err '^5 more '
    expect_rc 0 ss list --all a.qcow2 b.qcow2
    expect_equal "$(awk 'NR > 1 { print $2, $(NF - 1), $NF }' "$OUT_FILE" | sort)" \
        'a colliding a.qcow2
a colliding b.qcow2
b colliding a.qcow2
b colliding b.qcow2
c partial b.qcow2'
    expect_unchanged
}

test_check_names_both() {
    local one two
    two_machines 1.1 # so that even the dates shown differ
    one=$(identity_of b a.qcow2 | cut -c 1-8)
    two=$(identity_of b b.qcow2 | cut -c 1-8)
    expect_rc 2 ss check a.qcow2 b.qcow2
    expect_out "^\\[identity-collision\\] tag 'b' is two different snapshots: $one on a.qcow2 \
\\($(date_of b a.qcow2)\\), $two on b.qcow2 \\($(date_of b b.qcow2)\\)$"
    expect_out "^\\[identity-collision\\] tag 'a' is two different snapshots: "
    expect_out "^\\[set-partial\\] snapshot 'c' .* is missing on b.qcow2$"
    expect_equal "$(grep -c '^\[' "$OUT_FILE")" 3 'number of violations'
    [ "$one" != "$two" ] || fail 'the identities are the same'
    [ "$(date_of b a.qcow2)" != "$(date_of b b.qcow2)" ] || fail 'the dates are the same'
    expect_rc 2 ss check --output=json a.qcow2 b.qcow2
    expect_json '[[v["tag"], v["images"]] for v in d["violations"]
        if v["rule"] == "identity-collision"]' \
        '[["a", ["a.qcow2", "b.qcow2"]], ["b", ["a.qcow2", "b.qcow2"]]]'
    expect_unchanged
}

test_apply_and_delete_are_refused() {
    local one two
    two_machines
    one=$(identity_of b a.qcow2 | cut -c 1-8)
    two=$(identity_of b b.qcow2 | cut -c 1-8)
    for command in apply delete 'apply --dry-run' 'delete --children' show protect; do
        # shellcheck disable=SC2086
        expect_refused identity-collision ss ${command%% *} tag=b ${command#"${command%% *}"} \
            a.qcow2 b.qcow2
        expect_err "tag 'b' is two different snapshots: $one on a.qcow2 .*, $two on b.qcow2 "
        expect_err '^hint: .*--allow identity-collision'
    done
    expect_rc 1 ss apply --allow identity-collision tag=b a.qcow2 b.qcow2
    expect_rc 1 ss delete --allow identity-collision tag=b a.qcow2 b.qcow2
    expect_unchanged
}

# By identity each can be had where it is, when one says that the other disk is to be left alone.
test_one_of_the_two_by_identity() {
    local id
    two_machines
    id=$(identity_of b a.qcow2)
    expect_refused set-partial ss apply "id=$id" a.qcow2 b.qcow2
    remember b.qcow2
    expect_rc 0 ss apply --allow set-partial "id=$id" a.qcow2 b.qcow2
    expect_out 'b.qcow2: left as it is'
    expect_rc 0 ss delete --allow set-partial "id=$id" a.qcow2 b.qcow2
    expect_unchanged
    expect_equal "$(tags a.qcow2)" 'a c'
}

# Collisions do not keep one from going on together.
test_new_snapshots_of_the_mix() {
    two_machines
    expect_rc 0 ss create together a.qcow2 b.qcow2
    remember a.qcow2 b.qcow2
    expect_refused tag-exists ss create b a.qcow2 b.qcow2
    put 7 a.qcow2 b.qcow2
    expect_rc 0 ss apply tag=together a.qcow2 b.qcow2
    expect_data 0 a.qcow2 b.qcow2
    start_qemu both a.qcow2 b.qcow2
    hmp both 'savevm live'
    stop_qemu both
    expect_equal "$(snapshot_json complete live a.qcow2 b.qcow2)" true
}

# However close in time: two commands over one image each are two moments, and proven so.
test_two_creates_in_the_same_second() {
    new_images a.qcow2 b.qcow2
    ss create -q x a.qcow2
    ss create -q x b.qcow2
    remember a.qcow2 b.qcow2
    expect_refused identity-collision ss apply tag=x a.qcow2 b.qcow2
    expect_refused identity-collision ss adopt tag=x a.qcow2 b.qcow2
}

# The disks that hold no VM state say less, but are not believed either.
test_second_disks_of_two_machines() {
    new_images a.qcow2 a2.qcow2 b.qcow2 b2.qcow2
    start_qemu one a.qcow2 a2.qcow2
    start_qemu two b.qcow2 b2.qcow2
    hmp one 'savevm s'
    hmp two 'savevm s'
    stop_qemu one
    stop_qemu two
    remember a2.qcow2 b2.qcow2
    expect_rc 0 ss list a.qcow2 a2.qcow2
    expect_out ' s '
    expect_rc 0 ss list a2.qcow2 b2.qcow2
    expect_equal "$OUT" ''
    expect_rc 2 ss check a2.qcow2 b2.qcow2
    expect_out '^\[identity-(unproven|collision)\]'
    expect_rc 2 ss apply tag=s a2.qcow2 b2.qcow2
    expect_unchanged
}

run_tests "$@"
