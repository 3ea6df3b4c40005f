#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# External snapshots beside internal ones, what is kept with them, bases that are written to, and
# everything that a guest ever wrote.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
# shellcheck source=../lib/external.sh
. "$(dirname "$0")/../lib/external.sh"
requires qemu-img qemu-io

# ---- two kinds in one set ------------------------------------------------------------------------

test_kinds_are_told_apart() {
    pair
    ss create -q inner a.qcow2 b.qcow2
    expect_rc 0 ss create outer --external a.qcow2 b.qcow2
    expect_out '^a.qcow2 has internal snapshots: they can be applied no more while it is a backing file$'
    expect_rc 0 ss create deep a.outer b.outer
    expect_out "^the set has external snapshots too: 'outer'"
    expect_rc 0 ss list a.outer b.outer
    expect_out '^ *UUID +TAG +KIND +VM SIZE'
    expect_out ' outer +external '
    expect_out ' deep +internal '
    refute_out inner
    expect_err '^1 more that cannot be applied to all images'
    expect_rc 0 ss list --all a.outer b.outer
    expect_out " inner +internal .*complete .*$PWD/a.qcow2, $PWD/b.qcow2$"
    expect_rc 0 ss show tag=inner a.outer b.outer
    expect_out "^a.outer .* $PWD/a.qcow2$"
    expect_out '^remarks +in a backing file$'
    expect_equal "$(drawn a.outer b.outer)" $'outer external\n└─deep current'
    expect_rc 0 ss check a.outer b.outer
}

# Inside a backing file a snapshot can be seen, and nothing else; it is back when the file is.
test_snapshots_inside_backing_files() {
    pair
    ss create -q inner a.qcow2 b.qcow2
    put 2 a.qcow2 b.qcow2
    freeze outer
    put 3 "${ACTIVE[@]}"
    remember a.qcow2 b.qcow2 "${ACTIVE[@]}"
    expect_refused load-would-fail ss apply tag=inner "${ACTIVE[@]}"
    expect_err "snapshot 'inner' is inside .*/a.qcow2, a backing file of a.outer"
    expect_refused image-unsupported ss delete tag=inner "${ACTIVE[@]}"
    expect_refused tag-exists ss create inner "${ACTIVE[@]}"
    expect_rc 0 ss delete tag=outer "${ACTIVE[@]}"
    expect_data 3 a.qcow2 b.qcow2
    expect_rc 0 ss apply tag=inner a.qcow2 b.qcow2
    expect_data 1 a.qcow2 b.qcow2
}

# Internal snapshots of overlays are applied as ever, and lead the lineage on.
test_internal_snapshots_of_overlays() {
    pair
    frozen outer 2
    ss create -q inner "${ACTIVE[@]}"
    put 3 "${ACTIVE[@]}"
    expect_rc 0 ss apply tag=inner "${ACTIVE[@]}"
    expect_data 2 "${ACTIVE[@]}"
    expect_equal "$(drawn "${ACTIVE[@]}")" $'outer external\n└─inner current'
    expect_rc 0 ss check "${ACTIVE[@]}"
    expect_rc 0 ss delete tag=inner "${ACTIVE[@]}"
    expect_equal "$(drawn "${ACTIVE[@]}")" 'outer current, external'
}

# ---- what is kept with a snapshot ----------------------------------------------------------------

test_annotate_below_the_active_images() {
    trio
    seals=$(sealed a.qcow2 a.one a.two)
    expect_rc 0 ss protect tag=one "${ACTIVE[@]}"
    expect_rc 0 ss describe tag=two 'the second' "${ACTIVE[@]}"
    expect_equal "$(snapshot_json protected one "${ACTIVE[@]}")" true
    expect_equal "$(snapshot_json description two "${ACTIVE[@]}")" 'the second'
    expect_equal "$(snapshot_json description one "${ACTIVE[@]}")" null
    expect_equal "$(sealed a.qcow2 a.one a.two)" "$seals"
    expect_rc 0 ss check "${ACTIVE[@]}"
    expect_rc 0 ss unprotect tag=one "${ACTIVE[@]}"
    expect_rc 0 ss describe tag=two '' "${ACTIVE[@]}"
    expect_rc 0 ss check "${ACTIVE[@]}"
}

test_annotate_inside_backing_files() {
    pair
    ss create -q inner a.qcow2 b.qcow2
    freeze outer
    expect_rc 0 ss describe tag=inner text "${ACTIVE[@]}"
    expect_equal "$(snapshot_json description inner "${ACTIVE[@]}")" text
    expect_rc 0 ss check "${ACTIVE[@]}"
    expect_rc 0 ss describe --dry-run tag=inner other "${ACTIVE[@]}"
    expect_equal "$(snapshot_json description inner "${ACTIVE[@]}")" text
    expect_no_leftovers
}

test_annotate_what_others_use() {
    requires qemu-system-x86_64
    trio
    start_qemu m -- -blockdev driver=qcow2,node-name=x,read-only=on,file.driver=file,file.filename=b.one
    remember [ab].*
    expect_refused image-locked ss protect tag=one "${ACTIVE[@]}"
    expect_err '/b.one'
    expect_rc 0 ss protect tag=three "${ACTIVE[@]}"
}

test_adopt_external() {
    pair
    freeze one
    identity=$(identity_of one "${ACTIVE[@]}")
    expect_rc 0 ss adopt tag=one "${ACTIVE[@]}"
    expect_out '^it had one recorded identity already$'
    expect_equal "$(identity_of one "${ACTIVE[@]}")" "$identity"
    ss create -q two --external a.one
    ss create -q two --external b.one
    expect_rc 2 ss adopt tag=two --allow identity-collision a.two b.two
    expect_err "refused \[image-unsupported\]: tag 'two' is an external snapshot"
}

# A deletion, a description or a protection prove nothing about where an unsealed image stands.
test_only_what_knows_it_seals() {
    new_images x
    ss create -q one x
    ss create -q two x
    thaw x
    ss describe -q tag=one text x
    ss protect -q tag=one x
    ss delete -q tag=two x
    expect_equal "$(sealed x)" false
    ss create -q three x
    expect_equal "$(snapshot_json parent-source three x)" inferred
    expect_equal "$(sealed x)" true
}

# An overlay without entries of its own has come from its backing file, whoever wrote to it.
test_parent_of_an_overlay() {
    pair
    frozen one 2
    expect_equal "$(sealed a.one)" false
    freeze two
    expect_equal "$(snapshot_json parent-source two "${ACTIVE[@]}")" recorded
    real snapshot -c other a.two
    thaw a.two
    freeze three
    expect_equal "$(snapshot_json parent-source three "${ACTIVE[@]}")" inferred
}

# ---- bases that are written to -------------------------------------------------------------------

test_touched_bases_are_whole() {
    requires qemu-system-x86_64
    trio
    touch [ab].*
    for file in [ab].*; do
        real info "$file" >/dev/null
        real check -q "$file"
        real snapshot -l "$file" >/dev/null
        ss list "$file" >/dev/null
        held "$file" >/dev/null
    done
    start_qemu m -- -blockdev driver=qcow2,node-name=x,read-only=on,file.driver=file,file.filename=a.one
    stop_qemu m
    cp --preserve=all a.one copy && mv copy a.one
    expect_rc 0 ss check "${ACTIVE[@]}"
}

test_a_base_written_to() {
    trio
    for base in a.qcow2 a.one b.two; do
        cp "$base" saved
        put 9 "$base"
        expect_rc 2 ss check "${ACTIVE[@]}"
        expect_equal "$(grep -c chain-broken <<<"$OUT")" 1 'violations'
        expect_out "^\[chain-broken\] [ab].three: $PWD/$base was opened for writing, or replaced, since its overlay .*[ab]\.(one|two|three) was made$"
        expect_rc 2 ss create four --external "${ACTIVE[@]}"
        expect_err 'refused \[chain-broken\]'
        expect_rc 2 ss delete tag=three "${ACTIVE[@]}"
        expect_err 'refused \[chain-broken\]'
        cat saved >"$base"
        expect_rc 0 ss check "${ACTIVE[@]}"
    done
}

# What is below the damage can be returned to; what is above cannot, but on a person's word.
test_apply_below_the_damage() {
    trio
    put 9 a.one
    expect_rc 0 ss apply tag=one "${ACTIVE[@]}"
    expect_data 1 a.one-2 b.one-2
    remember [ab].*
    expect_refused chain-broken ss apply tag=two "${ACTIVE[@]}"
    expect_rc 0 ss apply tag=two --allow chain-broken "${ACTIVE[@]}"
    expect_rc 0 ss check a.two-2 b.two-2
}

test_accept_a_base_as_it_is() {
    trio
    put 9 a.one
    put 8 b.two
    expect_rc 2 ss check "${ACTIVE[@]}"
    expect_rc 0 ss accept --dry-run "${ACTIVE[@]}"
    expect_rc 2 ss check "${ACTIVE[@]}"
    expect_rc 0 ss accept "${ACTIVE[@]}"
    expect_out "/a.one: the backing file as it is now$"
    expect_rc 0 ss check "${ACTIVE[@]}"
    expect_equal "$(sealed a.one b.two)" 'true true'
    expect_rc 0 ss apply tag=two "${ACTIVE[@]}"
    expect_data 9 a.two-2
    thaw a.one
    expect_rc 2 ss check "${ACTIVE[@]}"
    expect_no_leftovers
}

# A frozen image that somebody names: what does not change its content may be done.
test_a_frozen_image_by_its_own_name() {
    pair
    ss create -q inner a.qcow2 b.qcow2
    put 2 a.qcow2 b.qcow2
    freeze one
    expect_rc 2 ss check a.qcow2 b.qcow2
    expect_out "^\[chain-broken\] a.qcow2 is frozen as snapshot 'one'"
    expect_rc 0 ss describe tag=inner text a.qcow2 b.qcow2
    expect_rc 0 ss create another a.qcow2 b.qcow2
    expect_rc 0 ss delete tag=another a.qcow2 b.qcow2
    expect_rc 0 ss check "${ACTIVE[@]}"
    remember a.qcow2 b.qcow2
    expect_refused chain-broken ss apply tag=inner a.qcow2 b.qcow2
    expect_err '^hint: name the overlay in its place'
    expect_rc 0 ss apply tag=inner --allow chain-broken a.qcow2 b.qcow2
    expect_equal "$(sealed a.qcow2)" true
    expect_rc 2 ss check "${ACTIVE[@]}"
    expect_out '^\[chain-broken\] a.one: .*/a.qcow2 was opened for writing'
    expect_rc 0 ss check a.qcow2 b.qcow2
}

# Opened for writing and then stamped by us: the new seal does not vouch for the old content.
test_a_new_seal_does_not_hide_a_write() {
    pair
    freeze one
    put 9 a.qcow2
    for command in 'create x' 'create y' 'protect tag=x' 'delete tag=y'; do
        # shellcheck disable=SC2086
        expect_rc 0 ss $command a.qcow2
        expect_rc 2 ss check "${ACTIVE[@]}"
        expect_out '^\[chain-broken\] a.one: '
    done
    "$QEMU_IMG" snapshot -c z b.qcow2
    "$QEMU_IMG" snapshot -a z b.qcow2
    expect_rc 2 ss check "${ACTIVE[@]}"
    expect_out '^\[chain-broken\] b.one: '
}

# One that nothing stands on any more is an image like any other.
test_accept_a_frozen_image_as_active() {
    pair
    freeze one
    rm "${ACTIVE[@]}"
    expect_rc 2 ss check a.qcow2 b.qcow2
    expect_rc 0 ss accept a.qcow2 b.qcow2
    expect_rc 0 ss check a.qcow2 b.qcow2
    expect_rc 0 ss create one --external a.qcow2 b.qcow2
}

# ---- only one of two disks -----------------------------------------------------------------------

test_an_overlay_on_one_of_two_disks() {
    pair
    ss create -q both a.qcow2 b.qcow2
    expect_rc 0 ss create one --external a.qcow2
    expect_rc 2 ss check a.one b.qcow2
    expect_out "^\[set-partial\] snapshot 'one' .* is missing on b.qcow2"
    expect_out "^\[current-mismatch\] .*: a.one at 'one' .*, b.qcow2 at 'both'"
    expect_refused current-mismatch ss create two a.one b.qcow2
    expect_refused current-mismatch ss create two --external a.one b.qcow2
}

# One disk left behind on its frozen image.
test_an_overlay_left_out() {
    pair
    frozen one 2
    expect_rc 2 ss check a.qcow2 b.one
    expect_out "^\[set-partial\] snapshot 'one' .* is missing on a.qcow2"
    expect_out '^\[chain-broken\] a.qcow2 is frozen'
}

# ---- guest data ----------------------------------------------------------------------------------

# scribble FILE...: a few writes anywhere, of data, of zeros, and discards
scribble() {
    local file commands
    for file; do
        commands=()
        for ((i = 0; i < 6; i++)); do
            commands+=("write -q -P $((RANDOM % 255 + 1)) $((RANDOM % 120 * 65536 + RANDOM % 8 * 512)) $((RANDOM % 200 * 512 + 512))")
        done
        commands+=("write -q -z $((RANDOM % 120 * 65536)) $((RANDOM % 4 * 65536 + 65536))"
            "discard -q $((RANDOM % 120 * 65536)) 65536")
        qio "$file" "${commands[@]}"
    done
}

# sums FILE...: the checksum of each
sums() {
    local file
    for file; do held "$file"; done
}

# Internal and external snapshots in any order, with guests that write in between: each holds what it
# held, and so does what is left after deletions. Another EXTERNAL_SEED is another story.
test_every_snapshot_holds_what_it_held() {
    local -A want=()
    local seed=${EXTERNAL_SEED:-1} round tag
    RANDOM=$seed
    new_images a.qcow2
    real create -q -f raw b.raw 8M
    real create -q -f qcow2 -o cluster_size=4096 c.qcow2 8M
    qemu-io -f raw -c 'write -q -P 7 1M 3M' b.raw
    expect_rc 0 ss create first --external --output=json a.qcow2 b.raw c.qcow2
    mapfile -t ACTIVE < <(json '"\n".join(o["overlay"] for o in d["overlays"])')
    want[first]=$(sums "${ACTIVE[@]}")
    for round in 1 2 3 4 5; do
        scribble "${ACTIVE[@]}"
        want[outer$round]=$(sums "${ACTIVE[@]}")
        freeze "outer$round"
    done
    scribble "${ACTIVE[@]}"
    want[active]=$(sums "${ACTIVE[@]}")
    every_snapshot_holds
    for tag in outer3 first outer5; do
        expect_rc 0 ss delete --output=json "tag=$tag" "${ACTIVE[@]}"
        mapfile -t ACTIVE < <(json '"\n".join(i["filename"] for i in d["images"])')
        unset "want[$tag]"
        every_snapshot_holds
    done
    # a branch, and internal snapshots in it
    expect_rc 0 ss apply tag=outer2 --output=json "${ACTIVE[@]}"
    mapfile -t ACTIVE < <(json '"\n".join(o["overlay"] for o in d["overlays"])')
    for round in 1 2 3; do
        scribble "${ACTIVE[@]}"
        want[inner$round]=$(sums "${ACTIVE[@]}")
        ss create -q "inner$round" "${ACTIVE[@]}"
    done
    for round in 2 1 3; do
        expect_rc 0 ss apply "tag=inner$round" "${ACTIVE[@]}"
        expect_equal "$(sums "${ACTIVE[@]}")" "${want[inner$round]}" "inner$round"
    done
    expect_rc 0 ss check "${ACTIVE[@]}"
}

# Every external snapshot of ACTIVE, and ACTIVE itself, against the sums in want.
every_snapshot_holds() {
    local tag made
    for tag in "${!want[@]}"; do
        if [ "$tag" = active ]; then
            made=("${ACTIVE[@]}")
        else
            expect_rc 0 ss apply "tag=$tag" --output=json "${ACTIVE[@]}"
            mapfile -t made < <(json '"\n".join(o["overlay"] for o in d["overlays"])')
        fi
        expect_equal "$(sums "${made[@]}")" "${want[$tag]}" "$tag"
        [ "$tag" = active ] || rm "${made[@]}"
    done
    expect_rc 0 ss check "${ACTIVE[@]}"
    expect_clean "${ACTIVE[@]}"
}

run_tests "$@"
