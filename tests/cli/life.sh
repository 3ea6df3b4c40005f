#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Machines change: disks come, go, and come back from a backup. Nothing of that is guessed about,
# and every refusal says what to do; done to the letter, it works.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
requires qemu-img qemu-io

# refused_unless_allowed RULE COMMAND...: refused with the hint to add --allow RULE; that works
refused_unless_allowed() {
    local rule=$1
    shift
    expect_refused "$rule" ss "$@"
    expect_err "^hint: .*add --allow $rule"
    expect_rc 0 ss "$@" --allow "$rule"
    expect_err "^qemu-img: snapshot-set: warning \[$rule\]: "
}

# follow_hint IMAGE...: run the command that the last hint names, with the images put in
follow_hint() {
    local command
    command=$(sed -nE 's/^hint: (.*: )?(qemu-img snapshot-set .*) IMAGE\.\.\.$/\2/p' "$ERR_FILE")
    [ -n "$command" ] || fail "no command is named: $ERR"
    expect_rc 0 env PATH="$(dirname "$QEMU_IMG"):$PATH" bash -c "$command \"\$@\"" hint "$@"
}

# ---- a disk added -------------------------------------------------------------------------------

test_disk_added() {
    new_images a b
    ss create -q one a b
    put 1 a b
    new_images c
    put 5 c
    remember a b c
    expect_rc 0 ss list a b c
    expect_equal "$OUT" ''
    refused_unless_allowed set-partial apply tag=one a b c
    expect_out '^c: left as it is$'
    expect_data 0 a b
    remember c
    expect_data 5 c
    refused_unless_allowed set-partial delete tag=one a b c
    expect_unchanged
    expect_equal "$(tags a)$(tags b)" ''
}

test_blank_disk_is_no_obstacle() {
    new_images a b
    ss create -q one a b
    new_images c
    expect_rc 0 ss create two a b c
    expect_equal "$ERR" ''
    expect_equal "$(drawn a b c)" 'two current'
    expect_equal "$(snapshot_json parent two a b c)" "$(identity_of one a b)"
    expect_rc 0 ss apply --save-current three tag=two a b c
    expect_rc 2 ss check a b c
    expect_equal "$(grep '^\[' "$OUT_FILE")" \
        "[set-partial] snapshot 'one' ($(identity_of one a b | cut -c 1-8)) is missing on c"
    expect_rc 0 ss create four c b a
}

test_blank_disk_first() {
    new_images a b
    ss create -q one a b
    new_images c
    expect_rc 0 ss create two c a b
    expect_equal "$(snapshot_json parent two c a b)" "$(identity_of one a b)"
    expect_equal "$(snapshot_json parent two c)" null
}

# ---- a disk removed -----------------------------------------------------------------------------

test_disk_removed() {
    new_images a b c
    put 1 a b c
    ss create -q one a b c
    put 2 a b c
    remember a b c
    refused_unless_allowed set-too-small apply tag=one a b
    expect_data 1 a b
    expect_data 2 c
    expect_rc 0 ss create two a b
    expect_equal "$(drawn a b)" 'one
└─two current'
    remember a b c
    refused_unless_allowed set-too-small delete tag=one a b
    expect_equal "$(tags a) $(tags b) $(tags c)" 'two two one'
}

test_disk_removed_and_brought_back() {
    new_images a b c
    ss create -q one a b c
    ss create -q two a b
    remember a b c
    expect_refused current-mismatch ss create three a b c
    follow_hint a b c
    expect_rc 0 ss create three a b c
    expect_rc 0 ss check --allow set-partial a b c
}

# ---- a disk from a backup -----------------------------------------------------------------------

restored() {
    new_images a b
    put 1 a b
    ss create -q one a b
    cp b backup
    put 2 a b
    ss create -q two a b
    cp backup b
}

test_disk_restored() {
    restored
    remember a b
    expect_rc 2 ss check a b
    expect_out "^\[set-partial\] snapshot 'two' .* is missing on b$"
    expect_out '^\[current-mismatch\] the images stand at different points: a at .two. .*b at .one.'
    expect_refused set-partial ss apply tag=two a b
    expect_refused current-mismatch ss create three a b
    follow_hint a b
    expect_rc 0 ss create three a b
    expect_rc 0 ss list a b
    expect_out '^  [0-9a-f]{8} one .* -$'
    expect_out '^\* [0-9a-f]{8} three .* -$'
    refute_out ' two '
}

test_disk_restored_and_all_brought_back() {
    restored
    expect_rc 0 ss apply tag=one a b
    expect_data 1 a b
    expect_rc 0 ss create three a b
    expect_equal "$(drawn a b)" 'one
└─three current'
}

test_restored_disk_left_alone() {
    restored
    put 3 b
    remember a b
    refused_unless_allowed set-partial apply tag=two a b
    expect_data 2 a
    expect_data 3 b
}

# ---- adopt --------------------------------------------------------------------------------------

# What a loop over qemu-img leaves behind, and an offline "virsh snapshot-create".
looped() {
    local image
    new_images a b
    for image in a b; do
        real snapshot -c x "$image"
    done
    put 1 a b
}

test_adopt() {
    local id
    looped
    remember a b
    expect_refused identity-unproven ss apply tag=x a b
    follow_hint a b
    id=$(identity_of x a b)
    expect_equal "$(snapshot_json identity x a b)" recorded
    expect_equal "$(snapshot_json members x a b)" 2
    expect_equal "$id" "$(identity_of x a)"
    expect_equal "$id" "$(identity_of x b)"
    expect_rc 0 ss check a b
    expect_rc 0 ss apply tag=x a b
    expect_data 0 a b
    remember a b
    expect_rc 0 ss adopt tag=x a b
    expect_out 'already'
    expect_unchanged
}

# Nothing but adopt ever takes them for one, whatever happens around them.
test_adopt_only_when_asked() {
    looped
    ss list --all a b >/dev/null
    expect_rc 2 ss check a b
    expect_out '^\[identity-unproven\]'
    expect_rc 0 ss create y a b
    expect_rc 0 ss describe tag=x text a b
    expect_rc 0 ss protect tag=x a b
    expect_rc 0 ss unprotect tag=x a b
    expect_rc 0 ss apply --allow identity-unproven tag=x a b
    expect_rc 0 ss accept a b
    ss recover -q
    expect_equal "$(snapshot_json identity x a b)" unproven
    expect_equal "$(snapshot_json description x a b)" text
    remember a b
    expect_refused identity-unproven ss apply tag=x a b
    expect_refused identity-unproven ss delete tag=x a b
}

test_adopt_by_the_dispatcher() {
    local image
    new_images a b
    for image in a b; do
        expect_rc 0 "$QEMU_IMG" snapshot -c x "$image"
    done
    expect_equal "$(snapshot_json identity x a b)" unproven
    expect_rc 0 ss create y a b
    expect_rc 0 ss adopt tag=x a b
    expect_equal "$(snapshot_json identity x a b)" recorded
    expect_equal "$(snapshot_json members x a b)" 2
    expect_rc 0 ss apply tag=x a b
    expect_equal "$(drawn a b)" 'x current
└─y'
}

# What named one of the old identities names the new one.
test_adopt_repoints() {
    local image
    new_images a b
    ss create -q zero a b
    for image in a b; do
        "$QEMU_IMG" snapshot -c x "$image"
    done
    expect_rc 0 ss adopt tag=x a b
    expect_equal "$(drawn a b)" 'zero
└─x current'
    for image in a b; do
        "$QEMU_IMG" snapshot -c y "$image"
    done
    ss create -q z a b
    ss apply -q --allow identity-unproven tag=y a b
    expect_rc 0 ss adopt tag=y a b
    expect_equal "$(drawn a b)" 'zero
└─x
  └─y current
    └─z'
    expect_equal "$(snapshot_json parent z a)" "$(identity_of y a b)"
    expect_equal "$(snapshot_json parent z b)" "$(identity_of y a b)"
    expect_rc 0 ss check a b
}

test_adopt_against_a_collision() {
    new_images a b
    put 1 a b
    ss create -q x a
    ss create -q x b
    put 2 a b
    remember a b
    expect_refused identity-collision ss apply tag=x a b
    expect_err "^hint: .*qemu-img snapshot-set adopt 'tag=x' --allow identity-collision IMAGE...$"
    expect_refused identity-collision ss adopt tag=x a b
    expect_rc 2 ss apply tag=x a b
    follow_hint a b
    expect_rc 0 ss apply tag=x a b
    expect_data 1 a b
    expect_rc 0 ss check a b
}

test_adopt_live_snapshots_of_two_machines() {
    requires qemu-system-x86_64
    new_images a b
    start_qemu one a
    start_qemu two b
    hmp one 'savevm x'
    hmp two 'savevm x'
    stop_qemu one
    stop_qemu two
    remember a b
    expect_refused identity-collision ss adopt tag=x a b
    expect_rc 0 ss adopt --allow identity-collision tag=x a b
    expect_equal "$(snapshot_json complete x a b)" true
}

test_adopt_where_it_is() {
    new_images a b c
    real snapshot -c x a
    real snapshot -c x b
    remember a b c
    expect_refused set-partial ss adopt tag=x a b c
    expect_err '^hint: .*--allow set-partial'
    cp c before
    expect_rc 0 ss adopt --allow set-partial tag=x a b c
    expect_same_file c before
    expect_equal "$(snapshot_json identity x a b)" recorded
    expect_equal "$(snapshot_json members x a b c)" 2
    remember a b c
    expect_refused set-partial ss apply tag=x a b c
}

test_adopt_refuses_duplicates() {
    looped
    real snapshot -c x b
    remember a b
    expect_refused tag-duplicate ss adopt tag=x a b
    expect_refused selector-unknown ss adopt tag=y a b
}

# A tag in a hint is a word of the shell, whatever is in it.
test_hints_quote_tags() {
    local tag image
    new_images a b
    for tag in "it's" '$(touch oops)' 'two  words' '"' 'back\slash' '`touch oops`' '*'; do
        for image in a b; do
            real snapshot -c "$tag" "$image"
        done
        remember a b
        expect_refused identity-unproven ss apply "tag=$tag" a b
        follow_hint a b
        expect_equal "$(snapshot_json identity "$tag" a b)" recorded
        ss protect -q "tag=$tag" a b
        remember a b
        expect_refused snapshot-protected ss delete "tag=$tag" a b
        follow_hint a b
        remember a b
        expect_refused tag-exists ss create "$tag" a b
        follow_hint a b
        expect_equal "$(tags a)$(tags b)" ''
        [ ! -e oops ] || fail 'the hint ran something'
    done
}

# ---- accept -------------------------------------------------------------------------------------

test_accept() {
    new_images a b
    ss create -q one a b
    expect_rc 0 ss accept a b
    expect_rc 0 ss list --output=json a b
    expect_json 'd["images"][0]["current"] == d["images"][1]["current"]' true
    expect_json '[s["current"] for s in d["snapshots"]]' '[false]'
    expect_rc 0 ss create two a b
    expect_equal "$(drawn a b)" 'one
two current'
    expect_equal "$(snapshot_json parent two a b)" null
    expect_rc 0 ss apply tag=one a b
    expect_rc 0 ss check a b
}

# ---- describe -----------------------------------------------------------------------------------

test_describe() {
    local text
    new_images a b
    ss create -q one a b
    expect_equal "$(snapshot_json description one a b)" null
    for text in 'a text' 'ünï "quoted" \ = ,' $'two\nlines' "$(printf 'x%.0s' {1..1024})"; do
        expect_rc 0 ss describe tag=one "$text" a b
        expect_equal "$(snapshot_json description one a b)" "$text"
        expect_equal "$(snapshot_json description one b)" "$text"
    done
    remember a b
    expect_rc 1 ss describe tag=one "$(printf 'x%.0s' {1..1025})" a b
    expect_err 'at most 1024 bytes of UTF-8'
    expect_rc 1 ss describe tag=one $'\xff' a b
    expect_rc 1 ss create --description "$(printf 'x%.0s' {1..1025})" two a b
    expect_unchanged
    expect_rc 0 ss describe tag=one '' a b
    expect_equal "$(snapshot_json description one a b)" null
    expect_equal "$(snapshot_json identity one a b)" recorded
}

# A description is text for a person: what is no text never gets into an image.
test_descriptions_are_text() {
    new_images a
    remember a
    expect_rc 1 ss create --description $'\xff' one a
    expect_unchanged
}

test_describe_what_others_took() {
    looped
    expect_rc 0 ss describe tag=x 'of a loop' a b
    expect_equal "$(snapshot_json description x a b)" 'of a loop'
    expect_equal "$(snapshot_json identity x a b)" unproven
}

# ---- delete -------------------------------------------------------------------------------------

family() {
    new_images a b
    ss create -q one a b
    ss create -q two a b
    ss create -q three a b
    ss apply -q tag=two a b
    ss create -q four a b
    ss apply -q tag=one a b
    ss create -q five a b
}

test_delete_moves_children_to_the_parent() {
    family
    expect_rc 0 ss delete tag=two a b
    expect_out "^deleted snapshot 'two' \([0-9a-f]{8}\)$"
    expect_equal "$(drawn a b)" 'one
├─three
├─four
└─five current'
    expect_equal "$(snapshot_json parent-source three a b)" recorded
    expect_rc 0 ss delete tag=one a b
    expect_equal "$(drawn a b)" 'three
four
five current'
}

test_delete_with_children() {
    family
    expect_rc 0 ss delete --children tag=two a b
    expect_equal "$(grep -cE "^deleted snapshot '(two|three|four)' " "$OUT_FILE")" 3 'deleted'
    expect_equal "$(drawn a b)" 'one
└─five current'
    expect_rc 0 ss delete --children tag=one a b
    expect_equal "$(tags a)$(tags b)" ''
    expect_clean a b
}

test_delete_the_current_one() {
    family
    expect_rc 0 ss delete tag=five a b
    expect_equal "$(drawn a b)" 'one current
└─two
  ├─three
  └─four'
    expect_rc 0 ss create six a b
    expect_equal "$(snapshot_json parent six a b)" "$(identity_of one a b)"
}

# One of the children lacks on one image: nothing is deleted, not even what could be.
test_delete_children_all_or_none() {
    family
    real snapshot -d four b
    remember a b
    expect_refused set-partial ss delete --children tag=two a b
    expect_rc 0 ss delete --children --allow set-partial tag=two a b
    expect_equal "$(tags a) $(tags b)" 'one five one five'
}

# ---- apply --save-current -----------------------------------------------------------------------

test_save_current() {
    new_images a b
    put 1 a b
    ss create -q one a b
    put 2 a b
    expect_rc 0 ss apply --save-current two tag=one a b
    expect_data 1 a b
    expect_equal "$(drawn a b)" 'one current
└─two parent inferred'
    put 3 a b
    expect_rc 0 ss apply --save-current=three tag=two a b
    expect_data 2 a b
    expect_rc 0 ss apply tag=three a b
    expect_data 3 a b
    expect_clean a b
    remember a b
    expect_refused tag-exists ss apply --save-current two tag=one a b
    expect_refused tag-empty ss apply --save-current '' tag=one a b
    expect_refused selector-unknown ss apply --save-current four tag=five a b
}

# With --allow set-partial it is taken of all images, also of those that are left alone.
test_save_current_of_all() {
    new_images a b
    ss create -q one a b
    put 1 a b
    new_images c
    put 1 c
    expect_rc 0 ss apply --save-current two --allow set-partial tag=one a b c
    expect_equal "$(snapshot_json complete two a b c)" true
    expect_data 0 a b
    expect_data 1 c
    put 2 a b c
    expect_rc 0 ss apply tag=two a b c
    expect_data 1 a b c
}

# No trace of how it was done.
test_apply_leaves_nothing_behind() {
    new_images a b
    ss create -q one a b
    put 1 a b
    ss apply -q tag=one a b
    expect_equal "$(tags a) $(tags b)" 'one one'
    expect_equal "$(find "$SNAPSHOT_SET_STATE_DIR" -type f | wc -l)" 0 'files in the state folder'
    expect_clean a b
}

run_tests "$@"
