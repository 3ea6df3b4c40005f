#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# list, tree and show: what the images hold, in every form of output.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
requires qemu-img qemu-io qemu-system-x86_64

# Snapshots whose tags are hard to print.
ODD_TAGS=('two words' ' blanks around ' 'tag=x' 'a=b=c' 'id=1234' "it's" '"quoted"' "'\"" 'back\slash'
    'back\x41' $'\\' 'x;$(y)`z`' '100%s%n' '-dash' '--help' 'ünïcödé' '日本語' 'e😀' '<&amp;>' '{}' '[x]'
    'a,b' 'a/b' ' ' '#')

# refute_raw FILE: nothing that is not UTF-8, no control characters but line ends; in JSON, which is
# for programs, those above U+0080 may stand
refute_raw() {
    "$PYTHON" - "$1" <<'EOT' || fail "in what was printed by: $RAN"
import sys
text = open(sys.argv[1], "rb").read().decode("utf-8")
end = 127 if text.startswith("{") else 160
bad = [line for line in text.split("\n") if any(ord(c) < 32 or 127 <= ord(c) < end for c in line)]
assert not bad, f"control characters: {bad[0]!r}"
EOT
}

# printable RC COMMAND...: run our command and judge what it prints
printable() {
    RAN=${*:2}
    expect_rc "$@"
    refute_raw "$OUT_FILE"
    refute_raw "$ERR_FILE"
}

# ---- the two examples of the wiki ---------------------------------------------------------------

# snapshot-save refuses a tag only when every device has it, so that a new blank disk each time
# lets any number of nameless snapshots pass.
nameless_snapshots() {
    local index options=()
    new_images a b x0 x1 x2 x3
    for index in 0 1 2 3; do
        options+=(-blockdev "driver=qcow2,node-name=x$index,file.driver=file,file.filename=x$index")
    done
    start_qemu m a b -- "${options[@]}"
    save m '' d0 d1 x0
    save m '' d0 x1
    save m '' d0 d1 x2
    save m '' d0 x3
    stop_qemu m
}

test_wiki_nameless_snapshots() {
    nameless_snapshots
    expect_equal "$(real snapshot -l a | grep -cE '^[1-4] ')" 4 'snapshots of a'
    expect_equal "$(real snapshot -l b | grep -cE '^[12] ')" 2 'snapshots of b'
    expect_rc 0 ss list a b
    expect_equal "$(wc -l <"$OUT_FILE")" 3 lines
    expect_err '^2 more '
    expect_rc 0 ss list --output=json a b
    expect_json '[[s["tag"], s["complete"], s["identity"], s["missing"],
        [i["qcow2-id"] for i in s["images"]]] for s in d["snapshots"]]' \
        '[["", true, "derived", [], ["1", "1"]], ["", true, "derived", [], ["3", "2"]]]'
}

test_wiki_nameless_snapshots_all() {
    nameless_snapshots
    expect_rc 0 ss list --all a b
    expect_equal "$(wc -l <"$OUT_FILE")" 5 lines
    expect_equal "$(grep -cE 'partial +b$' "$OUT_FILE")" 2 'snapshots that b lacks'
    expect_equal "$(grep -cE 'complete *$' "$OUT_FILE")" 2 'complete snapshots'
    expect_equal "$ERR" ''
    expect_rc 0 ss list --all --output=json a b
    expect_json '[[i["qcow2-id"] for s in d["snapshots"] if s["missing"] == ["b"]
        for i in s["images"]], len(d["snapshots"])]' '[["2", "4"], 4]'
    # of these each can still be named
    expect_rc 0 ss show "id=$(json 'd["snapshots"][3]["id"]')" a b
    expect_out '^state +partial$'
    expect_out '^missing on +b$'
}

INHERITED='a
└─b
  ├─c
  │ └─d
  └─e current'

inherit() {
    new_images one two
    ss create -q a one two
    ss create -q b one two
    ss create -q c one two
    ss create -q d one two
    ss apply -q tag=b one two
    ss create -q e one two
}

test_wiki_inheritance() {
    inherit
    expect_equal "$(drawn one two)" "$INHERITED" tree
    expect_equal "$(drawn one)" "$INHERITED" 'tree of one image'
}

test_wiki_inheritance_after_the_images_moved() {
    inherit
    mkdir elsewhere
    cp one elsewhere/uno.img
    cp two elsewhere/due.img
    rm -r one two "$SNAPSHOT_SET_STATE_DIR"
    expect_equal "$(drawn elsewhere/uno.img elsewhere/due.img)" "$INHERITED" tree
    cd elsewhere
    expect_equal "$(drawn due.img uno.img)" "$INHERITED" 'tree of images in another order'
}

# ---- tables -------------------------------------------------------------------------------------

# As qemu-img prints them: the same words for sizes, dates and clocks. (QEMU 10 fills the hours
# up to four digits, and shows an instruction count that is not there as "--".)
test_columns_agree_with_qemu_img() {
    new_images a b
    start_qemu m a b
    hmp m 'savevm first'
    stop_qemu m
    real snapshot -c second a
    expect_rc 0 ss list --all a b
    expect_equal "$(head -n 1 "$OUT_FILE" | xargs)" \
        'UUID TAG VM SIZE DATE VM CLOCK PARENT STATE MISSING ON'
    tail -n +2 "$OUT_FILE" | sed -E 's/^[ *] [0-9a-f]{8} //; s/ +/ /g; s/ $//' >ours
    real snapshot -l a | tail -n +3 |
        sed -E 's/^[0-9]+ +//; s/ +(--|[0-9]*) *$//; s/ +/ /g; s/ 00([0-9]{2}:.{9})$/ \1/' |
        sed '1s/$/ - complete/; 2s/$/ - partial b/' >theirs
    expect_same_file ours theirs
    expect_rc 0 ss list a b
    expect_equal "$(head -n 1 "$OUT_FILE" | xargs)" 'UUID TAG VM SIZE DATE VM CLOCK PARENT'
    expect_err "^1 more that cannot be applied to all images: see 'list --all'$"
    expect_rc 0 ss list -q a b
    expect_equal "$ERR" '' 'with -q, standard error'
}

test_marks_and_parents() {
    new_images a b
    ss create -q one a b
    ss create -q two a b
    expect_rc 0 ss list a b
    expect_out '^  [0-9a-f]{8} one .* -$'
    expect_out "^\\* [0-9a-f]{8} two .* $(identity_of one a b | cut -c 1-8)$"
    ss apply -q tag=one a b
    expect_rc 0 ss list a b
    expect_out '^\* [0-9a-f]{8} one '
    expect_out '^  [0-9a-f]{8} two '
}

test_nothing_to_list() {
    new_images a b
    expect_rc 0 ss list a b
    expect_equal "$OUT$ERR" ''
    expect_rc 0 ss tree a b
    expect_equal "$OUT$ERR" ''
    expect_rc 0 ss list --output=json a b
    expect_json '[len(d["images"]), d["snapshots"], d["violations"]]' '[2, [], []]'
    expect_rc 0 ss check a b
}

test_show() {
    new_images a b
    ss create -q one a b
    ss create -q --description 'before the "upgrade"' two a b
    expect_rc 0 ss show tag=two a b
    expect_out "^identity +$(identity_of two a b)$"
    expect_out '^description +before the "upgrade"$'
    expect_out "^parent +$(identity_of one a b) 'one' \\(recorded\\)$"
    expect_out '^taken over +2 images$'
    expect_out '^remarks +current$'
    expect_out '^a +[0-9a-f]{8} '
    expect_out '^b +[0-9a-f]{8} .*8 MiB$'
    expect_rc 0 ss show --output=json tag=two a b
    expect_json '[s["tag"] for s in d["snapshots"]]' '["two"]'
}

test_a_raw_image_has_no_snapshots() {
    new_images a
    real create -q -f raw b 8M
    ss create -q one a
    expect_rc 0 ss list --all --output=json a b
    expect_json '[[i["format"] for i in d["images"]], d["snapshots"][0]["missing"]]' \
        '[["qcow2", "raw"], ["b"]]'
}

# Reading takes no lock, so a running machine is no obstacle.
test_images_in_use() {
    new_images a b
    start_qemu m a b
    hmp m 'savevm live'
    expect_rc 0 ss list a b
    expect_out ' live '
    expect_rc 0 ss list -U a b
    expect_rc 0 ss check a b
    expect_rc 0 ss tree a b
    expect_rc 0 ss show tag=live a b
    # not even for as long as reading lasts
    if [ -z "$SANITIZE" ]; then
        requires strace
        strace -o trace true 2>/dev/null || skip 'cannot trace'
        strace -f -qq -e trace=fcntl,flock -o trace "$SNAPSHOT_SET" check a b
        expect_equal "$(grep -cE 'LCK|LOCK_' trace || true)" 0 'number of locks taken'
    fi
    hmp m 'loadvm live'
}

# ---- JSON ---------------------------------------------------------------------------------------

SNAPSHOT_KEYS='["id", "identity", "tag", "description", "date-sec", "date-nsec", "vm-clock-sec",
    "vm-clock-nsec", "vm-state-size", "parent", "parent-source", "parent-candidates", "complete",
    "current", "protected", "kind", "members", "images", "missing"]'

test_json_keys() {
    new_images a b
    ss create -q one a b
    real snapshot -c alone a
    for command in list 'list --all' tree 'show tag=one'; do
        # shellcheck disable=SC2086
        expect_rc 0 ss ${command%% *} --output=json ${command#"${command%% *}"} a b
        expect_equal "$ERR" '' 'standard error'
        expect_json 'list(d)' '["images", "snapshots", "violations"]'
        expect_json '[i for i in d["images"] if not {"filename", "format", "current"} <= set(i)]' []
        expect_json "[list(s) for s in d['snapshots'] if list(s) != $SNAPSHOT_KEYS]" []
        expect_json 'sorted(d["snapshots"][0]["images"][0])' '["filename", "qcow2-id"]'
        expect_json 'sorted(d["violations"][0])' '["hint", "images", "message", "rule", "tag"]'
    done
    expect_rc 2 ss check --output=json a b
    expect_json '[v["rule"] for v in d["violations"]]' '["set-partial"]'
    expect_rc 0 ss create --output=json two b
    expect_json "list(d) == $SNAPSHOT_KEYS" true
    expect_json 'd["tag"]' two
}

test_json_of_a_live_snapshot() {
    new_images a b
    start_qemu m a b
    hmp m 'savevm s'
    stop_qemu m
    real info --output=json a >theirs
    expect_rc 0 ss list --output=json a b
    "$PYTHON" - theirs "$OUT_FILE" <<'EOT'
import json, sys
theirs, ours = (json.load(open(name)) for name in sys.argv[1:])
theirs, = theirs["snapshots"]
snapshot, = ours["snapshots"]
for key in "date-sec", "date-nsec", "vm-clock-sec", "vm-clock-nsec", "vm-state-size":
    assert snapshot[key] == theirs[key], (key, snapshot, theirs)
assert snapshot["vm-state-size"] > 0 and snapshot["identity"] == "derived"
assert snapshot["parent"] is None and snapshot["parent-source"] == "none"
assert snapshot["members"] == 0 and snapshot["kind"] == "internal" and not snapshot["protected"]
EOT
}

# ---- odd tags -----------------------------------------------------------------------------------

test_odd_tags_in_and_out() {
    new_images a b
    for tag in "${ODD_TAGS[@]}"; do
        expect_rc 0 ss create -q -- "$tag" a b
    done
    printf '%s\0' "${ODD_TAGS[@]}" >want
    expect_rc 0 ss list --output=json a b
    "$PYTHON" -c 'import json, sys
for s in json.load(open(sys.argv[1]))["snapshots"]: print(s["tag"], end="\0")' "$OUT_FILE" >got
    cmp got want
    for tag in "${ODD_TAGS[@]}"; do
        expect_rc 0 ss show --output=json "tag=$tag" a b
        expect_rc 0 ss apply -q "tag=$tag" a b
    done
    for tag in "${ODD_TAGS[@]}"; do
        expect_rc 0 ss delete -q "tag=$tag" a b
    done
    expect_equal "$(tags a)$(tags b)" ''
    expect_clean a b
}

# Tags are shown as they are, but for backslashes, by every kind of human output alike.
test_odd_tags_on_paper() {
    local shown
    new_images a
    for tag in "${ODD_TAGS[@]}"; do
        ss create -q -- "$tag" a
    done
    "$SNAPSHOT_SET" list a >list.out
    "$SNAPSHOT_SET" tree a >tree.out
    for tag in "${ODD_TAGS[@]}"; do
        shown=${tag//\\/\\\\}
        grep -qF -- " $shown " list.out || fail "'$shown' is not in the list: $(cat list.out)"
        grep -qF -- "$shown " tree.out || fail "'$shown' is not in the tree: $(cat tree.out)"
        expect_rc 0 ss show "tag=$tag" a
        expect_equal "$(head -n 1 "$OUT_FILE")" "tag          $shown"
    done
}

test_drawings_of_odd_tags() {
    new_images a
    for tag in "${ODD_TAGS[@]}"; do
        ss create -q -- "$tag" a
    done
    printf '%s\n' "${ODD_TAGS[@]//\\/\\\\}" >want
    ss tree --output=svg a >tree.svg
    "$PYTHON" - tree.svg want <<'EOT'
import sys, xml.etree.ElementTree as tree
name = "{http://www.w3.org/2000/svg}text"
texts = [t.text for t in tree.parse(sys.argv[1]).getroot().iter(name)]
tags = open(sys.argv[2], encoding="utf-8").read().splitlines()
assert [t + "  " for t in tags] == texts, texts
EOT
    ss tree --output=dot a >tree.dot
    "$PYTHON" - tree.dot want <<'EOT'
import re, sys
text = open(sys.argv[1], encoding="utf-8").read()
labels = re.findall(r'^    n\d+ \[label="((?:[^"\\]|\\.)*)"(?:, penwidth=2)?\];$', text, re.M)
tags = open(sys.argv[2], encoding="utf-8").read().splitlines()
want = [t.replace('"', '\\"') for t in tags]
assert [label[:-10] for label in labels] == want, labels
assert len(re.findall(r"^    n\d+ -> n\d+;$", text, re.M)) == len(tags) - 1, text
EOT
}

# What is inferred is drawn dashed, in both drawings.
test_drawings_of_inferred_parents() {
    new_images a
    ss create -q one a
    put 1 a
    ss create -q two a
    expect_rc 0 ss tree --output=dot a
    expect_out '^    n0 -> n1 \[style=dashed\];$'
    expect_rc 0 ss tree --output=svg a
    expect_out '<path .*stroke-dasharray='
    expect_rc 0 ss tree a
    expect_out '^└─two .*current, parent inferred *$'
    expect_rc 0 ss list a
    expect_out ' two .* [0-9a-f]{8} \(inferred\)$'
    expect_rc 0 ss tree --output=json a
    expect_json '[s["parent-source"] for s in d["snapshots"]]' '["recorded", "inferred"]'
}

# Nothing from an image may reach a terminal raw, whichever command prints it and on which stream.
test_no_control_character_is_printed() {
    local esc=$'e\e[31m\a\x01\x7f' line=$'l1\nl2' latin=$'l\xe4tin' c1=$'c1\xc2\x9b1m' bidi=$'\u202ebidi'
    new_images a b
    for tag in "$esc" "$line" "$latin" "$c1" "$bidi"; do
        real snapshot -c "$tag" a
        real snapshot -c "$tag" b
    done
    real snapshot -c "$esc" a
    real snapshot -c "$latin-only-here" a
    cp a $'f\e[1m'
    for images in 'a b' $'a f\e[1m' a; do
        IFS=' ' read -r -a images <<<"$images"
        printable 0 ss list "${images[@]}"
        printable 0 ss list --all "${images[@]}"
        printable 0 ss list --all --output=json "${images[@]}"
        printable 0 ss tree --all "${images[@]}"
        printable 0 ss tree --all --output=dot "${images[@]}"
        printable 0 ss tree --all --output=svg "${images[@]}"
        printable 2 ss check "${images[@]}"
        for tag in "$esc" "$line" "$latin" "$c1" "$bidi"; do
            printable 2 ss create "$tag" "${images[@]}"
        done
        printable 2 ss delete "tag=$esc" "${images[@]}"
        printable 2 ss apply "tag=$esc" "${images[@]}"
        printable 2 ss adopt "tag=$esc" "${images[@]}"
        printable 2 ss show "$esc" "${images[@]}"
        printable 2 ss show "id=$esc" "${images[@]}"
        printable 2 ss show "tag=x$esc" "${images[@]}"
    done
    printable 0 ss show "tag=$line" a b
    printable 2 ss apply "tag=$line" a b
    printable 2 ss delete "tag=$line" a b
    printable 2 ss delete "tag=$latin-only-here" a b
    printable 0 ss adopt "tag=$line" a b
    printable 0 ss protect "tag=$line" a b
    printable 2 ss delete "tag=$line" a b
    printable 0 ss unprotect "tag=$line" a b
    printable 0 ss describe "tag=$line" "$esc" a b
    printable 0 ss show "tag=$line" a b
    printable 0 ss apply "tag=$line" a b
    printable 0 ss delete "tag=$line" a b
    printable 2 "$QEMU_IMG" snapshot -c "$esc" a
    printable 2 "$QEMU_IMG" snapshot -d "$esc" a
    printable 2 "$QEMU_IMG" snapshot -a "$esc" a
}

# Nor may what a person typed: it often comes from a script that took it from elsewhere.
test_no_control_character_is_echoed() {
    local esc=$'e\e[31m'
    new_images a
    cp a "f$esc"
    printable 1 ss "$esc" a
    printable 1 ss list "--$esc" a
    printable 1 ss list "--output=$esc" a
    printable 1 ss create --allow "$esc" x a
    printable 1 ss list "$esc"
    printable 1 ss list "f$esc" "f$esc"
    printable 1 ss list --image-opts "$esc"
    printf '[rules]\n%s=deny\n' "$esc" >"$SNAPSHOT_SET_POLICY"
    printable 0 ss create x a
    SNAPSHOT_SET_STATE_DIR=/proc/$esc printable 1 ss create y a
}

# ---- terminals and locales ----------------------------------------------------------------------

test_plain_when_piped() {
    inherit
    for arguments in 'list' 'list --all' 'tree' 'show tag=e'; do
        # shellcheck disable=SC2086
        printable 0 ss $arguments one two
    done
}

# A narrow terminal must not cost anything: what is cut off cannot be told apart.
test_terminal_shows_everything() {
    requires script
    local long
    long=$(printf 'long-%.0s' {1..40})
    new_images a
    ss create -q "${long}1" a
    ss create -q "${long}2" a
    for arguments in list tree; do
        script -qec "stty cols 80; '$SNAPSHOT_SET' $arguments a" /dev/null >typed
        tr -d '\r\n' <typed >joined
        grep -qF "${long}1" joined || fail "cut off: $(cat typed)"
        grep -qF "${long}2" joined || fail "cut off: $(cat typed)"
    done
}

test_other_locales() {
    new_images a
    ss create -q one a
    ss create -q 'zwö' a
    # a table of libsmartcols may never end here
    expect_rc 0 timeout 20 env LC_ALL=C "$SNAPSHOT_SET" list a
    expect_rc 0 timeout 20 env LC_ALL=no-such-locale "$SNAPSHOT_SET" list a
    expect_rc 0 timeout 20 env LC_ALL=C "$SNAPSHOT_SET" tree a
    LC_ALL=C grep -q '[^ -~]' "$OUT_FILE" && fail "not ASCII: $OUT"
    expect_out '^`-zw'
    expect_rc 0 env LC_ALL=C "$SNAPSHOT_SET" list --output=json a
    expect_json 'd["snapshots"][1]["tag"]' 'zwö'
    expect_rc 0 env LC_ALL=C "$SNAPSHOT_SET" apply 'tag=zwö' a
    expect_rc 0 env LC_ALL=no-such-locale "$SNAPSHOT_SET" create 'drü' a
    expect_rc 0 ss show 'tag=drü' a
}

test_time_zone() {
    new_images a
    ss create -q one a
    TZ=Asia/Tokyo real snapshot -l a | tail -n 1 | grep -oE '[0-9-]{10} [0-9:]{8}' >want
    expect_rc 0 env TZ=Asia/Tokyo "$SNAPSHOT_SET" list a
    expect_out " $(cat want) "
}

run_tests "$@"
