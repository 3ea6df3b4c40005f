#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The rules: what is refused, by which name, what --allow and the policy file change, and that
# nothing is written when the answer is no.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
requires qemu-img qemu-io

# An image whose entry with ID 1 has the tag a (data 1), and the one with ID 9 the tag 1 (data 2).
confusing_image() {
    local tag
    new_images "$1"
    put 1 "$1"
    real snapshot -c a "$1"
    for tag in b c d e f g h; do
        real snapshot -c "$tag" "$1"
    done
    put 2 "$1"
    real snapshot -c 1 "$1"
    for tag in b c d e f g h; do
        real snapshot -d "$tag" "$1"
    done
    put 3 "$1"
}

# ---- tags: P3, P4, P5 ---------------------------------------------------------------------------

test_tag_exists() {
    new_images a b
    ss create -q x a b
    put 1 a b
    remember a b
    expect_refused tag-exists ss create x a b
    expect_err "^qemu-img: snapshot-set: refused \[tag-exists\]: tag 'x' exists already: \
[0-9a-f]{8} on a \([0-9: -]{19}\), [0-9a-f]{8} on b \([0-9: -]{19}\)$"
    expect_refused tag-exists "$QEMU_IMG" snapshot -c x a
    expect_refused tag-exists ss create -q x b
    [ -n "$ERR" ] || fail 'with -q nothing is said'
}

test_tag_exists_on_one_image() {
    new_images a b
    real snapshot -c x b
    remember a b
    expect_refused tag-exists ss create x a b
    expect_err '^hint: .*delete'
}

test_tag_empty() {
    new_images a b
    remember a b
    expect_refused tag-empty ss create '' a b
    expect_refused tag-empty "$QEMU_IMG" snapshot -c '' a
}

test_tag_invalid() {
    local tag bad=($'line\nbreak' $'\e[1m' $'\xff' "$(printf 'x%.0s' {1..256})" $'tab\t' $'del\x7f' $'\xc2\x85')
    new_images a b
    remember a b
    for tag in "${bad[@]}"; do
        expect_refused tag-invalid ss create "$tag" a b
        expect_refused tag-invalid "$QEMU_IMG" snapshot -c "$tag" a
    done
    expect_rc 0 ss create "$(printf 'x%.0s' {1..255})" a b
    expect_rc 0 ss delete "tag=$(printf 'x%.0s' {1..255})" a b
}

test_tag_numeric() {
    new_images a b
    remember a b
    for tag in 0 1 42 007 123456789 12345678901; do
        expect_refused tag-numeric ss create "$tag" a b
        expect_refused tag-numeric "$QEMU_IMG" snapshot -c "$tag" a
    done
    for tag in 1.0 -1 0x1 1e3 ' 1' '1 '; do
        expect_rc 0 ss create -q -- "$tag" a b
    done
}

# libvirt names a snapshot by the seconds since 1970, when it is given no name.
test_epoch_tags_pass_unless_they_are_an_id() {
    new_images a b
    expect_rc 0 ss create 1700000000 a b
    expect_rc 0 "$QEMU_IMG" snapshot -c 1700000001 a
    real snapshot -c long-enough b
    rename_entry b 1 1700000009 ng
    remember a b
    expect_refused tag-numeric ss create 1700000009 a b
    expect_err 'is the ID of another snapshot on b$'
    expect_refused tag-numeric "$QEMU_IMG" snapshot -c 1700000009 b
    expect_rc 0 "$QEMU_IMG" snapshot -c 1700000009 a
}

# An ID may be any text.
test_tag_that_is_an_id_of_letters() {
    new_images a b
    real snapshot -c yes a
    rename_entry a 0 yes 1
    expect_equal "$(real snapshot -l a | awk 'NR > 2 { print $1, $2 }')" 'yes 1'
    remember a b
    expect_refused tag-numeric ss create yes a b
    expect_refused tag-numeric "$QEMU_IMG" snapshot -c yes a
}

test_one_argument_two_snapshots() {
    confusing_image a
    expect_equal "$(real snapshot -l a | awk 'NR > 2 { print $1, $2 }' | xargs)" '1 a 9 1'
    remember a
    expect_refused tag-numeric "$QEMU_IMG" snapshot -a 1 a
    expect_err "'1' is the ID of one snapshot and the tag of another"
    expect_refused tag-numeric "$QEMU_IMG" snapshot -d 1 a
    expect_refused selector-bare ss apply 1 a
    expect_refused selector-bare ss delete 1 a
    expect_rc 2 ss check a
    expect_out "^\[tag-numeric\] on a tag '1' is the ID of another snapshot$"
}

# The premise: QEMU takes the one word for two snapshots.
test_one_argument_two_snapshots_in_qemu() {
    confusing_image a
    real snapshot -a 1 a
    expect_data 1 a
    real snapshot -d 1 a
    expect_equal "$(tags a)" a
}

test_one_argument_two_snapshots_by_selector() {
    confusing_image a
    cp a b
    cp a c
    expect_rc 0 ss apply tag=1 a
    expect_data 2 a
    expect_rc 0 ss apply tag=a a
    expect_data 1 a
    expect_rc 0 "$QEMU_IMG" snapshot -a tag=1 b
    expect_data 2 b
    expect_rc 0 "$QEMU_IMG" snapshot -a "id=$(identity_of a b)" b
    expect_data 1 b
    expect_rc 0 ss delete tag=1 a
    expect_equal "$(tags a)" a
    expect_rc 0 "$QEMU_IMG" snapshot -d tag=1 b
    expect_equal "$(tags b)" a
    expect_rc 0 "$QEMU_IMG" snapshot -d "id=$(identity_of a c | cut -c 1-6)" c
    expect_equal "$(tags c)" 1
    expect_clean a b c
}

# ---- P7: one of two -----------------------------------------------------------------------------

test_one_of_two_reverted() {
    new_images a b
    ss create -q one a b
    put 1 a b
    ss create -q two a b
    expect_rc 0 "$QEMU_IMG" snapshot -a one a
    expect_data 0 a
    remember a b
    expect_refused current-mismatch ss create three a b
    expect_err "the images stand at different points: a at 'one' \([0-9a-f]{8}\), b at 'two'"
    expect_rc 2 ss check a b
    expect_out '^\[current-mismatch\]'
    expect_rc 0 ss list a b
    refute_out '^\*'
    # what the hint says
    expect_rc 0 ss apply tag=two a b
    expect_rc 0 ss check a b
}

# The command that an offline "virsh snapshot-revert" runs for each disk.
test_all_reverted_one_by_one() {
    new_images a b
    ss create -q one a b
    ss create -q two a b
    expect_rc 0 "$QEMU_IMG" snapshot -a one a
    expect_rc 0 "$QEMU_IMG" snapshot -a one b
    expect_rc 0 ss create three a b
    expect_equal "$(drawn a b)" 'one
├─two
└─three current'
}

test_apply_to_fewer_images() {
    new_images a b
    ss create -q one a b
    remember a b
    expect_refused set-too-small ss apply tag=one a
    expect_err 'was taken over 2 images, and 1 is given'
    expect_refused set-too-small ss delete tag=one b
}

# Disks that stand apart since "qemu-img snapshot -c" ran for one only.
test_create_on_one_of_two() {
    new_images a b
    ss create -q one a b
    expect_rc 0 "$QEMU_IMG" snapshot -c single a
    remember a b
    expect_refused current-mismatch ss create two a b
    expect_rc 0 ss create --allow current-mismatch two a b
    expect_err '^qemu-img: snapshot-set: warning \[current-mismatch\]: '
}

# ---- selectors ----------------------------------------------------------------------------------

test_bare_selectors() {
    new_images a
    ss create -q one a
    remember a
    for command in apply delete show protect unprotect adopt; do
        for word in 3 1 xxx one '' ' tag=one' Tag=one =one "$(identity_of one a)"; do
            expect_refused selector-bare ss "$command" "$word" a
        done
    done
    expect_refused selector-bare ss describe one text a
    expect_err "^hint: .*'tag=one'.*'id=UUID'"
}

test_unknown_selectors() {
    new_images a
    ss create -q one a
    remember a
    for word in tag=two tag= tag=1 'tag=one ' tag=tag=one id= id=1 id=123 id=xyzt id=00000000-0000 \
        "id=$(identity_of one a)0" "id=g$(identity_of one a)"; do
        expect_refused selector-unknown ss apply "$word" a
        expect_err '^hint: '
        expect_refused selector-unknown ss show "$word" a
        expect_refused selector-unknown ss delete "$word" a
    done
    # the real one has the word where a tag might really be called so
    expect_rc 2 "$QEMU_IMG" snapshot -a id=1 a
    expect_rc 2 "$QEMU_IMG" snapshot -d tag=two a
    expect_unchanged
}

test_identity_selectors() {
    local id length
    new_images a b
    ss create -q one a b
    ss create -q two a b
    id=$(identity_of one a b)
    for length in 4 5 8 9 10 13 18 23 24 35 36; do
        expect_rc 0 ss show --output=json "id=${id:0:length}" a b
        expect_json 'd["snapshots"][0]["tag"]' one
    done
    expect_rc 0 ss show --output=json "id=${id^^}" a b
    expect_json 'd["snapshots"][0]["tag"]' one
    put 1 a b
    expect_rc 0 ss apply "id=${id:0:8}" a b
    expect_data 0 a b
    expect_rc 0 ss delete "id=${id:0:8}" a b
    expect_equal "$(tags a) $(tags b)" 'two two'
}

test_ambiguous_identities() {
    local id
    new_images a
    real snapshot -c one a
    real snapshot -c two-000000 a
    rename_entry a 1 --alike
    id=$(identity_of one a)
    remember a
    expect_refused selector-ambiguous ss apply "id=${id:0:4}" a
    expect_err "'${id:0:4}' fits 2 snapshots: $id 'one' \([0-9: -]+\), ${id:0:4}[0-9a-f-]+ 'two-"
    expect_refused selector-ambiguous ss delete "id=${id:0:4}" a
    expect_refused selector-ambiguous "$QEMU_IMG" snapshot -a "id=${id:0:4}" a
    expect_rc 0 ss show "id=${id:0:8}" a
    expect_out '^tag +one$'
}

# ---- duplicates ---------------------------------------------------------------------------------

test_duplicates() {
    new_images a b
    real snapshot -c x a
    real snapshot -c x a
    remember a b
    expect_rc 2 ss check a
    expect_out "^\[tag-duplicate\] a has tag 'x' more than once$"
    expect_refused tag-duplicate ss apply tag=x a
    expect_err "^hint: .*'id=UUID'"
    expect_refused tag-duplicate ss delete tag=x a
    expect_refused tag-duplicate "$QEMU_IMG" snapshot -a x a
    expect_refused tag-duplicate "$QEMU_IMG" snapshot -d x a
    expect_refused tag-duplicate "$QEMU_IMG" snapshot -d tag=x a
    expect_refused tag-exists ss create x a
}

# ---- protection ---------------------------------------------------------------------------------

test_protected_snapshots() {
    new_images a b
    ss create -q one a b
    ss create -q two a b
    expect_rc 0 ss protect tag=two a b
    expect_equal "$(snapshot_json protected two a b)" true
    expect_rc 0 ss list a b
    remember a b
    expect_refused snapshot-protected ss delete tag=two a b
    expect_err '^hint: .*unprotect '
    expect_refused snapshot-protected ss delete --children tag=one a b
    expect_refused snapshot-protected "$QEMU_IMG" snapshot -d two a
    expect_refused snapshot-protected "$QEMU_IMG" snapshot -d tag=two b
    expect_rc 1 ss delete --allow snapshot-protected tag=two a b
    expect_unchanged
    expect_rc 0 ss apply tag=two a b
    expect_rc 0 ss delete tag=one a b
    expect_equal "$(snapshot_json protected two a b)" true
    expect_rc 0 ss unprotect tag=two a b
    expect_equal "$(snapshot_json protected two a b)" false
    expect_rc 0 ss delete tag=two a b
    expect_equal "$(tags a)$(tags b)" ''
}

# A live snapshot is protected as well as one that snapshot-set took.
test_protect_what_others_took() {
    requires qemu-system-x86_64
    new_images a b
    start_qemu m a b
    hmp m 'savevm live'
    stop_qemu m
    real snapshot -c alone a
    expect_rc 0 ss protect tag=live a b
    expect_rc 0 ss protect tag=alone a b
    remember a b
    expect_refused snapshot-protected ss delete tag=live a b
    expect_refused snapshot-protected "$QEMU_IMG" snapshot -d live a
    expect_refused snapshot-protected "$QEMU_IMG" snapshot -d alone a
    expect_equal "$(snapshot_json complete live a b)" true
}

# ---- load-would-fail ----------------------------------------------------------------------------

test_dirty_bitmaps() {
    new_images a b
    ss create -q one a b
    real bitmap --add b backup
    put 1 a b
    remember a b
    expect_refused load-would-fail ss apply tag=one a b
    expect_err '^hint: .*qemu-img bitmap --remove b '
    # the premise: the real one fails too, and on the second disk
    expect_rc 1 real snapshot -a one b
    real bitmap --remove b backup
    expect_rc 0 ss apply tag=one a b
    expect_data 0 a b
}

# ---- --allow ------------------------------------------------------------------------------------

test_allow_numeric_tags() {
    new_images a b
    put 1 a b
    expect_rc 0 ss create --allow tag-numeric 1 a b
    expect_err '^qemu-img: snapshot-set: warning \[tag-numeric\]: '
    put 2 a b
    expect_rc 0 ss create -q --allow tag-numeric 2 a b
    expect_equal "$ERR" '' 'with -q, standard error'
    put 3 a b
    expect_rc 0 ss apply -q tag=1 a b
    expect_data 1 a b
    expect_rc 0 ss apply -q --save-current 3 --allow tag-numeric tag=2 a b
    expect_data 2 a b
    expect_rc 0 ss apply -q tag=3 a b
    expect_data 1 a b
}

# A tag that is already another's ID, taken on purpose.
test_allow_a_tag_that_is_an_id() {
    new_images a b
    put 1 a b
    ss create -q x a b
    put 2 a b
    expect_refused tag-numeric ss create 1 a b
    expect_rc 0 ss create -q --allow tag-numeric 1 a b
    put 3 a b
    expect_rc 0 ss apply -q tag=1 a b
    expect_data 2 a b
    expect_rc 0 ss apply -q tag=x a b
    expect_data 1 a b
    expect_rc 0 ss delete -q tag=1 a b
    expect_equal "$(tags a) $(tags b)" 'x x'
}

test_allow_unproven() {
    new_images a b
    real snapshot -c x a
    real snapshot -c x b
    put 1 a b
    remember a b
    expect_refused identity-unproven ss apply tag=x a b
    expect_err '^hint: .*adopt '
    expect_refused identity-unproven ss delete tag=x a b
    expect_rc 0 ss apply --allow identity-unproven tag=x a b
    expect_err 'warning \[identity-unproven\]'
    expect_data 0 a b
    expect_rc 0 ss delete --allow identity-unproven tag=x a b
    expect_equal "$(tags a)$(tags b)" ''
}

# Each rule with each command: --allow either works on or is an error that names both.
test_allow_where_it_has_no_meaning() {
    local rules=(tag-empty tag-invalid tag-exists tag-duplicate selector-bare selector-ambiguous
        selector-unknown identity-collision current-mismatch atomic chain-broken snapshot-protected
        load-would-fail no-room image-locked image-unsupported record-damaged
        operation-pending)
    new_images a
    ss create -q one a
    remember a
    for rule in "${rules[@]}"; do
        expect_rc 1 ss delete --allow "$rule" tag=one a
        expect_equal "$ERR" \
            "qemu-img: snapshot-set: 'delete' cannot go on against the rule '$rule'" message
    done
    expect_rc 1 ss create --allow set-partial two a
    expect_rc 1 ss accept --allow no-room a
    expect_rc 1 ss protect --allow set-partial tag=one a
    expect_rc 1 ss create --allow no-such-rule two a
    expect_err "there is no rule 'no-such-rule'"
    expect_rc 1 ss create --allow '' two a
    expect_unchanged
}

test_allow_in_check() {
    new_images a b
    real snapshot -c x a
    real snapshot -c x a
    expect_rc 2 ss check a b
    expect_rc 2 ss check --allow tag-duplicate a b
    expect_out '^warning \[tag-duplicate\]'
    expect_rc 0 ss check --allow tag-duplicate --allow set-partial a b
    expect_out '^3 violations were found$'
}

# ---- --dry-run ----------------------------------------------------------------------------------

test_dry_runs_change_nothing() {
    new_images a b
    ss create -q one a b
    put 1 a b
    ss create -q two a b
    real snapshot -c x a
    real snapshot -c x b
    find . "$SNAPSHOT_SET_STATE_DIR" -type f | sort >"$TEST_DIR/before"
    remember a b
    while read -r -a arguments; do
        expect_rc 0 ss "${arguments[0]}" --dry-run "${arguments[@]:1}" a b
        expect_unchanged "${arguments[*]}"
        [ "${arguments[0]}" = recover ] || expect_out '^dry run: would have '
    done <<'EOT'
create three
create --description text three
apply tag=one
apply --save-current three tag=one
delete tag=one
delete --children tag=one
adopt tag=x
accept
protect tag=one
unprotect tag=one
describe tag=one text
EOT
    expect_rc 0 ss check --repair --dry-run --allow identity-unproven a b
    expect_rc 0 ss recover --dry-run a b
    expect_unchanged
    find . "$SNAPSHOT_SET_STATE_DIR" -type f | sort >"$TEST_DIR/after"
    expect_same_file "$TEST_DIR/after" "$TEST_DIR/before"
}

# It refuses what the real run would refuse.
test_dry_runs_judge() {
    new_images a b
    ss create -q one a
    remember a b
    expect_refused tag-exists ss create --dry-run one a b
    expect_refused set-partial ss apply --dry-run tag=one a b
    expect_refused set-partial ss delete --dry-run tag=one a b
    expect_refused tag-numeric ss apply --dry-run --save-current 7 tag=one a
    expect_refused selector-unknown ss protect --dry-run tag=two a b
}

test_dry_run_of_what_is_in_use() {
    requires qemu-system-x86_64
    new_images a b
    start_qemu m a
    expect_rc 2 ss create --dry-run one a b
    expect_err 'refused \[image-locked\]: a: '
}

# ---- the policy file ----------------------------------------------------------------------------

policy() {
    printf '%s\n' "$@" >"$SNAPSHOT_SET_POLICY"
}

test_policy_warns_and_ignores() {
    new_images a b
    policy '[rules]' 'tag-numeric = warn'
    expect_rc 0 ss create 1 a b
    expect_err '^qemu-img: snapshot-set: warning \[tag-numeric\]: '
    policy '[rules]' 'tag-numeric=ignore'
    expect_rc 0 ss create 2 a b
    expect_equal "$ERR" ''
    policy '[rules]' 'tag-numeric=deny'
    expect_refused tag-numeric ss create 3 a b
    # --allow is for one run, and stronger
    expect_rc 0 ss create --allow tag-numeric 3 a b
}

test_policy_of_check() {
    new_images a b
    real snapshot -c x a
    policy '[rules]' 'set-partial=ignore'
    expect_rc 0 ss check a b
    expect_out '^no violations were found$'
    policy '[rules]' 'set-partial=warn'
    expect_rc 0 ss check a b
    expect_out '^warning \[set-partial\]'
}

# What cannot go on cannot go on, whatever the policy says.
test_policy_where_it_has_no_meaning() {
    new_images a b
    ss create -q one a b
    policy '[rules]' 'tag-exists=ignore' 'tag-empty=ignore' 'selector-bare=ignore' \
        'selector-unknown=ignore' 'tag-invalid=ignore'
    remember a b
    expect_refused tag-exists ss create one a b
    expect_refused tag-empty ss create '' a b
    expect_refused tag-invalid ss create $'\xff' a b
    expect_refused selector-bare ss apply one a b
    expect_refused selector-unknown ss apply tag=two a b
}

test_policy_of_the_dispatcher() {
    new_images a
    real snapshot -c x a
    policy '[rules]' 'tag-exists=warn'
    expect_rc 0 "$QEMU_IMG" snapshot -c x a
    expect_err 'warning \[tag-exists\]'
    expect_equal "$(tags a)" 'x x'
}

test_broken_policies() {
    new_images a
    while IFS='|' read -r text complaint; do
        printf '%b' "$text" >"$SNAPSHOT_SET_POLICY"
        expect_rc 2 ss create 7 a
        expect_err "^qemu-img: snapshot-set: warning: .*$complaint.*; the default policy is used$"
        expect_err '^qemu-img: snapshot-set: refused \[tag-numeric\]'
        expect_rc 2 "$QEMU_IMG" snapshot -c 7 a
        expect_err "^qemu-img: snapshot-set: warning: .*$complaint.*; the default policy is used$"
    done <<'EOT'
[rules]\ntag-numeric=warn\nno-such-rule=warn\n|line 3: unknown key 'no-such-rule'
[rules]\n\n# x\ntag-numeric=perhaps\n|line 4: 'tag-numeric' cannot be 'perhaps'
[rules]\ntag-numeric=warn\n[gard]\nmode=off\n|line 3: unknown group '\[gard\]'
tag-numeric=warn\n|policy.conf: .
[rules\ntag-numeric=warn\n|policy.conf: .
[rules]\ntag-numeric=warn\n[guard]\nmode=sometimes\n|line 4: 'mode' cannot be 'sometimes'
[rules]\ntag-numeric=warn\n[domain x]\nset-partial=no\n|line 4: 'set-partial' cannot be 'no'
EOT
    rm "$SNAPSHOT_SET_POLICY"
    mkdir "$SNAPSHOT_SET_POLICY"
    expect_rc 2 ss create 7 a
    expect_err 'the default policy is used'
    rmdir "$SNAPSHOT_SET_POLICY"
    expect_rc 2 ss create 7 a
    refute_err 'policy'
}

# ---- exit codes ---------------------------------------------------------------------------------

test_exit_codes() {
    new_images a
    expect_rc 0 ss check a
    expect_rc 0 ss create one a
    expect_rc 2 ss create one a
    expect_rc 1 ss create one no-such-image
    expect_rc 1 ss create
    expect_rc 1 ss no-such-command
    real snapshot -c one a
    expect_rc 2 ss check a
}

# Everything that speaks against it is said at once.
test_all_refusals_at_once() {
    new_images a b
    ss create -q one a b
    ss create -q two a b
    "$QEMU_IMG" snapshot -a one a
    real snapshot -c 7 b
    remember a b
    expect_refused tag-numeric ss create 7 a b
    expect_err 'refused \[tag-exists\]'
    expect_err 'refused \[current-mismatch\]'
}

run_tests "$@"
