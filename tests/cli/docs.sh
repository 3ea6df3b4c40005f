#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What is written is so: the manual against --help and the sources, the examples against the program.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
requires qemu-img

PAGE=$TOP/qemu-img-plugin/qemu-img-snapshot-set.1
FORMAT=$TOP/common/FORMAT.md
README=$TOP/README.md

manual() { "$PYTHON" "$TOP/tests/lib/manual.py" "$PAGE" "$@"; }
example() { "$PYTHON" "$TOP/tests/lib/format-example.py" "$FORMAT" "$@"; }

# entry SECTION TAG: the text of a tagged paragraph
entry() {
    manual entries "$1" | awk -F '\t' -v tag="$2" '$1 == tag { print $2 }'
}

commands() {
    ss --help | sed -nE '/^Commands:/,/^$/s/^  ([a-z]+) .*/\1/p'
}

# expect_lines WHAT GOT WANT: compare as sets of lines, and show in which one a line is missing
expect_lines() {
    diff <(sort -u <<<"$2") <(sort -u <<<"$3") >difference ||
        fail "$1: < is only there, > is missing there: $(grep '^[<>]' difference)"
}

# ---- the manual ---------------------------------------------------------------------------------

test_manual_renders_without_warnings() {
    requires man
    expect_rc 0 man --warnings -E UTF-8 -l -Tutf8 -Z "$PAGE"
    expect_equal "$ERR" ''
    expect_rc 0 man -l "$PAGE"
    expect_out '^SEE ALSO'
    command -v mandoc >/dev/null || return 0
    expect_rc 0 mandoc -Tlint -Wwarning "$PAGE"
}

test_manual_has_every_command() {
    local all
    all=$(commands)
    [ "$(wc -l <<<"$all")" -gt 5 ] || fail "no commands in --help: $all"
    expect_lines 'SYNOPSIS' "$(manual synopsis | awk '{ print $3 }')" "$all"
    expect_lines 'COMMANDS' "$(manual entries COMMANDS | cut -f 1 | tr -d , | xargs -n 1)" "$all"
}

# The options as --help prints them: "-f, --format=FMT"
options_of() {
    ss "$1" --help | sed -nE 's/^  ((-[^ ],? ?)?(--[^ ]+)?)( .*|$)/\1/p'
}

# "-f, --format=FMT" as a synopsis has it, "[-f FMT]", or as a head, "-f FMT, --format=FMT"
in_synopsis() { sed -E 's/^(-.), --[^=]*=?(.*)/[\1 \2]/; s/ \]$/]/; s/^(--.*)/[\1]/'; }
as_head() { sed -E 's/^(-.), (--[^=]*=)(.*)/\1 \3, \2\3/'; }

test_synopsis_has_every_option() {
    local command line
    for command in $(commands); do
        line=$(manual synopsis | awk -v command="$command" '$3 == command')
        expect_lines "synopsis of $command" "$(grep -oE '\[-[^]]*\]' <<<"$line")" \
            "$(options_of "$command" | grep -v -- --help | in_synopsis)"
        # what is left of it are the operands
        expect_equal "$(sed -E 's/\[-[^]]*\] ?//g; s/ $//' <<<"$line")" \
            "$(ss "$command" --help | sed -nE 's/^  (qemu-img .*) \[OPTION[^]]*\]/\1/p')"
    done
}

# Each head of OPTIONS ends with "Commands: " and "all", "all but A" or "A, B".
test_options_name_their_commands() {
    local command head text named
    for command in $(commands); do
        options_of "$command" | as_head | sed "s/\$/\t$command/"
    done >there
    [ -s there ] || fail 'no options in --help'
    while IFS=$'\t' read -r head text; do
        named=${text##*Commands: }
        case $named in
        all.) commands ;;
        'all but '*) commands | grep -vx "$(tr -d ' .' <<<"${named#all but }")" ;;
        *) tr -d ' .' <<<"$named" | tr , '\n' ;;
        esac | sed "s/^/$head\t/"
    done < <(manual entries OPTIONS) >written
    expect_lines OPTIONS "$(cat written)" "$(cat there)"
}

test_manual_has_every_rule() {
    local all
    all=$(sed -nE 's/^ *\[SNAPSET_RULE_[A-Z_]+\] = "([a-z-]+)",$/\1/p' "$TOP/common/core/report.c")
    [ "$(wc -l <<<"$all")" -gt 20 ] || fail "no rules in report.c: $all"
    expect_lines RULES "$(manual entries RULES | cut -f 1)" "$all"
}

# A command asked without images says first whether the rule may be allowed at all.
test_rules_name_who_may_go_on() {
    local rule command text
    for rule in $(manual entries RULES | cut -f 1); do
        text=$(entry RULES "$rule")
        text=$(sed -E 's/.*Goes on with --allow: (.*)\.$/\1/' <<<"$text" | tr -d ' ')
        for command in $(commands); do
            expect_rc 1 ss "$command" --allow "$rule"
            if [ "$command" = check ] || [[ ,$text, == *,$command,* ]]; then
                expect_err 'expecting .*IMAGE'
            else
                expect_err "'$command' cannot go on against the rule '$rule'|Unknown option --allow"
            fi
        done
    done
}

two_moments() {
    "$REAL_QEMU_IMG" create -q -f qcow2 a.qcow2 8M
    "$REAL_QEMU_IMG" create -q -f qcow2 b.qcow2 8M
    "$REAL_QEMU_IMG" snapshot -c x a.qcow2
    "$REAL_QEMU_IMG" snapshot -c y b.qcow2
    expect_rc 0 ss create both a.qcow2 b.qcow2
}

test_manual_has_every_json_key() {
    local values=$'recorded\nderived\nunproven\nlibvirt\ninferred\nnone\ninternal\nexternal' of
    two_moments
    "$REAL_QEMU_IMG" create -q -f qcow2 -b b.qcow2 -F qcow2 c.qcow2
    expect_rc 2 ss check --output=json a.qcow2 c.qcow2
    expect_equal "$(manual entries JSON | cut -f 1)" "$(json '"\n".join(d)')"
    for of in images snapshots violations; do
        expect_lines "JSON, $of" "$(manual bold JSON "$of" | grep -vxF "$values")" "$(json "'\n'.join(
            [k for x in d['$of'] for k in x] + [k for x in d['$of'] if '$of' == 'snapshots'
                                                for y in x['images'] for k in y])")"
    done
}

test_manual_has_every_column() {
    local heads
    two_moments
    heads=$(manual entries 'Columns of list' | cut -f 1 | sed 1d)
    expect_rc 0 ss list --all a.qcow2 b.qcow2
    expect_equal "$(head -n 1 <<<"$OUT" | xargs)" \
        "$(sed '/with external/d; /of backing/d; s/ (with --all)//' <<<"$heads" | xargs)"
    expect_rc 0 ss tree --all a.qcow2 b.qcow2
    expect_equal "$(head -n 1 <<<"$OUT" | xargs)" 'TAG UUID DATE REMARKS'
    expect_rc 0 ss create over --external a.qcow2 b.qcow2
    expect_rc 0 ss list --all a.over b.over
    expect_equal "$(head -n 1 <<<"$OUT" | xargs)" "$(cut -d '(' -f 1 <<<"$heads" | xargs)"
}

# The limits that the headers name, as numbers; those that a manual writes otherwise with a reason.
test_manual_has_every_limit() {
    requires gcc pkg-config
    local headers=(identity qcow2-format record rules stamp-plan uuid) header name number text
    {
        for header in "${headers[@]}"; do echo "#include \"common/core/$header.h\""; done
        printf '#include <stdio.h>\nint main(void) {\n'
        for header in "${headers[@]}"; do
            sed -nE 's/^#define (SNAPSET|QCOW2)_([A-Z0-9_]*_(MAX|MIN|SECONDS))\b.*/\1_\2/p' \
                "$TOP/common/core/$header.h"
        done | sed -E 's/.*/printf("& %llu\\n", (unsigned long long)&);/'
        printf 'return 0; }\n'
    } >limits.c
    # shellcheck disable=SC2046
    gcc -I"$TOP" $(pkg-config --cflags glib-2.0) limits.c -o limits
    text=$(manual entries LIMITS)
    ./limits >all
    [ "$(wc -l <all)" -gt 15 ] || fail "no limits in the headers: $(cat all)"
    while read -r name number; do
        case $name in
        # the shape of the format
        *_REFCOUNT_ORDER_MAX | *_COMPRESSION_TYPE_MAX | *_HEADER_SIZE_MIN) continue ;;
        *_BITS_MIN | *_BITS_MAX) number=$((1 << number)) ;;
        esac
        if ((number >= 1048576 && number % 1048576 == 0)); then
            number="$((number / 1048576)) MiB"
        else
            number=$(LC_ALL=C sed -E ':a; s/([0-9])([0-9]{3})($|,)/\1,\2\3/; ta' <<<"$number")
        fi
        grep -qwF -- "$number" <<<"$text" || fail "LIMITS lacks $name, $number"
    done <all
}

# ---- the format ---------------------------------------------------------------------------------

test_example_of_derived_identity() {
    local tag
    tag=$(example value tag)
    "$REAL_QEMU_IMG" create -q -f qcow2 x.qcow2 8M
    "$REAL_QEMU_IMG" snapshot -c "$tag" x.qcow2
    example date x.qcow2
    expect_rc 0 ss show "tag=$tag" --output=json x.qcow2
    expect_json 'd["snapshots"][0]["id"]' "$(example value 'derived identity')"
    expect_equal "$(example derive)" "$(example value 'derived identity')" 'by its own code, the identity'
    expect_json 'd["snapshots"][0]["identity"]' derived
    expect_equal "$(example value binding)" \
        "$(example value 'derived identity' | tr -d - | cut -c 1-16)"
}

test_example_of_a_slot() {
    local tag
    tag=$(example value tag)
    "$REAL_QEMU_IMG" create -q -f qcow2 x.qcow2 8M
    "$REAL_QEMU_IMG" snapshot -c "$tag" x.qcow2
    example date x.qcow2
    expect_rc 0 ss describe "tag=$tag" other x.qcow2
    example slot x.qcow2
    expect_rc 0 ss check x.qcow2
    expect_rc 0 ss show "tag=$tag" --output=json x.qcow2
    expect_json '[d["snapshots"][0][k] for k in ("id", "identity", "description", "members",
        "protected", "current", "parent", "parent-source")]' \
        '["0c6f2a9e-5b1d-4e77-9a43-7d20f1c8b6e5", "recorded", "clean", 2, true, true, null, "recorded"]'
}

test_room_for_records() {
    local cluster slot records
    example room >rooms
    [ "$(wc -l <rooms)" -eq 4 ] || fail "rooms: $(cat rooms)"
    while read -r cluster slot records; do
        "$REAL_QEMU_IMG" create -q -f qcow2 -o "cluster_size=$cluster" x.qcow2 8M
        expect_rc 0 ss create one x.qcow2
        expect_equal "$(example size x.qcow2)" "$slot" "slot size with clusters of $cluster"
        expect_equal $(((slot - 48) / 56)) "$records" "records with clusters of $cluster"
        [[ $(entry LIMITS Records) =~ [\ ]"$records"[.,\ ] ]] || fail "LIMITS lacks $records"
    done <rooms
}

test_a_full_record_takes_no_more() {
    local records index
    records=$(example room | sed -n 's/^4096 .* //p')
    "$REAL_QEMU_IMG" create -q -f qcow2 -o cluster_size=4096 x.qcow2 8M
    for ((index = 1; index <= records; index++)); do
        expect_rc 0 ss create "number $index" x.qcow2
    done
    expect_rc 2 ss create 'one too many' x.qcow2
    expect_err 'refused \[no-room\]'
    expect_rc 0 ss delete 'tag=number 1' x.qcow2
    expect_rc 0 ss create 'one too many' x.qcow2
}

# ---- the README and the quickstart --------------------------------------------------------------

# block N: the Nth block between ``` of the README
block() {
    awk -v n="$1" '/^```/ { inside = !inside; count += inside; next } inside && count == n' "$README"
}

# What differs from run to run: identities, dates, clocks and sizes, and with them the blanks.
masked() {
    sed -E 's/\b[0-9a-f]{8}\b/UUID/g; s/[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}/DATE/g
        s/[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}/CLOCK/g; s/[0-9.]+ [KM]iB/SIZE/g; s/ +/ /g; s/ $//'
}

# replay N: run the commands of a block, and fail unless they print what stands there
replay() {
    local line
    qemu-img() { "$QEMU_IMG" "$@"; }
    (
        trap - ERR
        set +e
        block "$1" | sed -n 's/^\$ //p' | while read -r line; do
            printf '$ %s\n' "$line"
            (exit "${rc:-0}")
            eval "$line" 2>&1
            rc=$?
        done
    ) >replayed
    diff <(masked <replayed) <(block "$1" | masked) >difference ||
        fail "the README's block $1, < now, > there: $(cat difference)"
}

test_readme_session() {
    requires qemu-system-x86_64
    local tag
    "$REAL_QEMU_IMG" create -q -f qcow2 a.qcow2 1G
    "$REAL_QEMU_IMG" create -q -f qcow2 b.qcow2 1G
    start_qemu one a.qcow2
    for tag in a b c; do hmp one "savevm $tag"; done
    stop_qemu one
    start_qemu two b.qcow2
    for tag in a b; do hmp two "savevm $tag"; done
    stop_qemu two
    replay 2
}

test_readme_tour() {
    "$REAL_QEMU_IMG" create -q -f qcow2 root.qcow2 20G
    "$REAL_QEMU_IMG" create -q -f qcow2 data.qcow2 100G
    replay 3
    replay 4
}

test_readme_overlays() {
    "$REAL_QEMU_IMG" create -q -f qcow2 root.qcow2 20G
    "$REAL_QEMU_IMG" create -q -f qcow2 data.qcow2 100G
    replay 5
}

test_readme_names_what_exists() {
    local path command
    sed -nE 's/^    bash ([^ ]+).*/\1/p; s/^\| `([a-zA-Z./-]+)` \|.*/\1/p' "$README" >paths
    [ "$(wc -l <paths)" -gt 10 ] || fail "the README names nothing: $(cat paths)"
    while read -r path; do
        [ -e "$TOP/$path" ] || commands | grep -qx "$path" || fail "no $path"
    done <paths
    grep -q '^    bash packaging/quickstart' "$README" || fail 'no quickstart'
    grep -q '^    bash tests/run' "$README" || fail 'no tests/run'
    sed -nE 's/.*qemu-img snapshot-set ([a-z]+).*/\1/p' "$README" "$FORMAT" >named
    while read -r command; do
        commands | grep -qx "$command" || fail "there is no command $command"
    done <named
}

test_quickstart_installs_what_the_build_needs() {
    expect_lines 'packaging/quickstart' \
        "$(sed -nE 's/^modules=\((.*)\)/\1/p' "$TOP/packaging/quickstart" | xargs -n 1)" \
        "$(sed -nE "s/.*dependency\('([^']+)'.*/\1/p" "$TOP/meson.build")"
}

test_quickstart_shows_the_collision_refused() {
    requires qemu-system-x86_64 meson ninja pkg-config
    expect_rc 0 bash "$TOP/packaging/quickstart"
    expect_out '^List of snapshots present on all disks:$'
    expect_out "^\[identity-collision\] tag 'b' is two different snapshots: "
    expect_out "refused \[identity-collision\]: tag 'b' is two different snapshots: "
    expect_out '^Caught: '
    expect_equal "$(ls -A)" ''
}

test_quickstart_with_images() {
    requires meson ninja pkg-config
    two_moments
    expect_rc 2 bash "$TOP/packaging/quickstart" a.qcow2 b.qcow2
    expect_out '^\$ qemu-img snapshot-set list --all -- a.qcow2 b.qcow2$'
    expect_out ' both .* complete'
    expect_out '^\[set-partial\] '
    "$REAL_QEMU_IMG" create -q -f qcow2 c.qcow2 8M
    expect_rc 0 bash "$TOP/packaging/quickstart" c.qcow2
    expect_rc 1 bash "$TOP/packaging/quickstart" no-such-image
}

run_tests "$@"
