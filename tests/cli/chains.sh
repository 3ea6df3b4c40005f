#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Backing chains of every shape: read as QEMU finds them, whatever their names, and judged where they
# are broken.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
# shellcheck source=../lib/external.sh
. "$(dirname "$0")/../lib/external.sh"
requires qemu-img qemu-io

# overlay NAME BACKING [FORMAT]: an overlay whose backing file name is just that, found or not
overlay() {
    real create -q -f qcow2 -u -b "$2" -F "${3:-qcow2}" "$1" 8M
}

# inodes [FILE...]: their inodes, in one line
inodes() {
    local file
    for file; do stat -Lc ' %i' -- "$file" | tr -d '\n'; done
}

# expect_chain IMAGE FILE...: the backing files that are found; QEMU, if it opens the image, finds
# the same
expect_chain() {
    local image=$1 found
    shift
    expect_rc 0 ss list --output=json "$image"
    mapfile -t found < <(json '"\n".join(d["images"][0]["backing-chain"])' | grep .)
    expect_equal "$(inodes "${found[@]}")" "$(inodes "$@")" "chain of $image"
    real info -U --backing-chain --output=json "$image" >"$OUT_FILE" 2>/dev/null || return 0
    mapfile -t found < <(json '"\n".join(i["filename"] for i in d[1:])' | grep .)
    expect_equal "$(inodes "${found[@]#file:}")" "$(inodes "$@")" "chain of $image, to QEMU"
}

# broken IMAGE TEXT: the chain ends too early, which is found, and nothing is made on top of it
broken() {
    expect_rc 0 ss list "$1"
    expect_rc 2 ss check "$1"
    expect_out "^\[chain-broken\] $1: .*$2"
    expect_rc 2 ss create new --external "$1"
    expect_err 'refused \[chain-broken\]'
    [ ! -e "${1%.*}.new" ] || fail 'an overlay was made'
}

# ---- names --------------------------------------------------------------------------------------

test_relative_names_are_relative_to_the_overlay() {
    mkdir -p a/b c
    new_images c/base
    overlay a/mid ../c/base
    overlay a/b/top ../mid
    expect_chain a/b/top a/mid c/base
    cd a
    expect_chain b/top mid ../c/base
    cd b
    expect_chain top ../mid ../../c/base
    expect_rc 0 ss check top
}

test_links() {
    mkdir store here
    new_images store/base
    overlay store/mid base
    ln -s ../store/mid here/link
    overlay here/top link
    # QEMU takes "base" for one beside the link, and finds none
    expect_chain here/top store/mid
    broken here/top 'here/base, the backing file of .*link, is missing'
    ln -s ../store/base here/base
    expect_chain here/top store/mid store/base
    expect_rc 0 ss check here/top
    ln store/base hard
    overlay x hard
    expect_chain x store/base
}

test_names_with_a_protocol() {
    new_images base colon
    mv colon colon:d
    overlay one "file:base"
    overlay two "file:$PWD/base"
    overlay three './colon:d'
    expect_chain one base
    expect_chain two base
    expect_chain three colon:d
    for name in nbd://localhost/x ssh://localhost/x http://localhost/x 'fat:folder'; do
        overlay four "$name" raw
        expect_chain four
        expect_rc 0 ss check four
    done
}

test_json_names() {
    new_images base
    ss create -q inner base
    local name nested="\"file\":{\"driver\":\"file\",\"filename\":\"$PWD/base\"}"
    for name in "{\"driver\":\"qcow2\",$nested}" "{$nested}" \
        "{\"driver\":\"qcow2\",\"file.driver\":\"file\",\"file.filename\":\"$PWD/base\"}" \
        "{\"file.filename\":\"$PWD/base\"}" "{\"driver\":\"file\",\"filename\":\"$PWD/base\"}" \
        "{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"base\"}}"; do
        overlay top "json:$name"
        expect_chain top base
        expect_rc 0 ss list --all top
        expect_out ' inner .*/base$|^.* inner .* base$'
    done
    # what such a name calls raw is not, if the overlay says otherwise
    put 7 base
    overlay top "json:{\"driver\":\"raw\",$nested}"
    expect_chain top base
    expect_data 7 top
    expect_rc 0 ss list --all top
    expect_out ' inner '
    overlay top "json:{\"driver\":\"qcow2\",$nested}" raw
    expect_rc 0 ss list --all top
    refute_out inner
    # it may say more than which file it is
    overlay top "json:{\"driver\":\"raw\",\"offset\":65536,$nested}" raw
    expect_rc 0 ss list --output=json top
    expect_json 'd["images"][0]["backing-chain"]' '[]'
    for name in '{"driver":"nbd","host":"x"}' '{' '[]' '{}' '{"file":7}' \
        '{"driver":"qcow2","file":{"driver":"nbd","host":"x"}}' "{\"file\":\"$PWD/base\"}"; do
        overlay top "json:$name"
        expect_chain top
        expect_rc 0 ss check top
    done
}

test_odd_names() {
    local name
    for name in 'with space' '-dash' 'a,b=c' "quo'te\"s" 'snow❄' $'new\nline' "$(printf '\xff')"; do
        new_images "$name"
        overlay top "./$name"
        expect_rc 0 ss list --output=json top
        expect_json 'len(d["images"][0]["backing-chain"])' 1
        expect_rc 0 ss check top
        expect_rc 0 ss create one --external top
        expect_rc 0 ss delete tag=one top.one
        rm -- top "$name"
    done
}

# With a protocol, relative names lead on from where a program runs.
test_relative_names_with_a_protocol() {
    local name
    mkdir folder
    new_images folder/base
    for name in file:base '{"driver":"qcow2","file":{"driver":"file","filename":"base"}}'; do
        [[ $name != '{'* ]] || name=json:$name
        overlay folder/top.qcow2 "$name"
        broken folder/top.qcow2 'base, the backing file of folder/top.qcow2, is missing'
        real info -U --backing-chain folder/top.qcow2 2>/dev/null && fail 'QEMU opens it'
        cd folder
        expect_chain top.qcow2 base
        cd ..
    done
}

# ---- ends ---------------------------------------------------------------------------------------

test_missing_links() {
    new_images base
    overlay mid base
    overlay top.qcow2 mid
    rm base
    broken top.qcow2 'base, the backing file of .*mid, is missing'
    overlay top.qcow2 nowhere/base
    broken top.qcow2 'nowhere/base, the backing file of top.qcow2, is missing'
    ln -s gone dangling
    overlay top.qcow2 dangling
    broken top.qcow2 'dangling, .* is missing'
}

test_loops() {
    overlay self.qcow2 other
    real rebase -u -q -f qcow2 -F qcow2 -b self.qcow2 self.qcow2
    broken self.qcow2 'self.qcow2, the backing file of self.qcow2, stands in the chain twice'
    overlay a.qcow2 b
    overlay b c
    overlay c a.qcow2
    broken a.qcow2 'stands in the chain twice'
    ln c linked
    overlay d.qcow2 c
    overlay a.qcow2 linked
    broken d.qcow2 'stands in the chain twice'
}

test_links_that_cannot_be_read() {
    mkdir folder
    mkfifo fifo
    echo 'not an image' >text
    head -c 100 /dev/urandom >short
    new_images cut
    truncate -s 60 cut
    for bad in folder fifo text short cut; do
        overlay top.qcow2 "$bad"
        broken top.qcow2 "$bad, the backing file of top.qcow2, cannot be read"
    done
    for bad in folder fifo; do
        overlay top.qcow2 "$bad" raw
        broken top.qcow2 "$bad, the backing file of top.qcow2, cannot be read"
    done
    overlay top.qcow2 text raw
    expect_rc 0 ss check top.qcow2
}

# As many as libvirt takes; QEMU itself opens no more than this either without great effort.
test_long_chains() {
    local index
    new_images f0
    real create -q -f qcow2 -u -b f0 -F qcow2 f1 8M
    for ((index = 2; index <= 201; index++)); do
        # the same file with another backing file name of the same length or more
        cp f1 "f$index"
        real rebase -u -q -f qcow2 -F qcow2 -b "f$((index - 1))" "f$index"
    done
    expect_rc 0 ss list --output=json f200
    expect_json 'len(d["images"][0]["backing-chain"])' 200
    expect_rc 0 ss check f200
    mv f201 f201.qcow2
    cp f200 f200.qcow2
    expect_rc 2 ss create one --external f200.qcow2 # it could be deleted no more
    expect_err 'refused \[image-unsupported\]: f200.qcow2: with another overlay .* more than 200 files'
    [ ! -e f200.one ] || fail 'an overlay was made'
    rm f200.qcow2
    broken f201.qcow2 'f0, the backing file of .*f1, comes after too many others'
    put 1 f20
    expect_rc 0 ss create one --external f20
    put 2 f20.one
    expect_rc 0 ss apply tag=one f20.one
    expect_data 1 f20.one-2
    rm f20.one-2
    expect_rc 2 ss delete tag=one f20.one # f21 stands on f20
    expect_err 'refused \[chain-broken\]: .*: f21$'
    rm f21
    expect_rc 0 ss delete tag=one f20.one
    expect_data 2 f20
}

# ---- what is read -------------------------------------------------------------------------------

# Raw is raw where the overlay says so, whatever a guest wrote to it.
test_a_raw_base_that_looks_like_qcow2() {
    new_images inner
    ss create -q trap inner
    overlay top inner raw
    expect_rc 0 ss list --all --output=json top
    expect_json 'd["snapshots"]' '[]'
    expect_chain top inner
    # where it does not, QEMU would take it for qcow2, and so do we
    overlay top inner qcow2
    expect_rc 0 ss list --all --output=json top
    expect_json '[s["tag"] for s in d["snapshots"]]' '["trap"]'
}

test_bases_of_other_formats() {
    local format
    for format in raw qed vmdk; do
        real create -q -f "$format" "base.$format" 8M
        real create -q -f qcow2 -F "$format" -b "base.$format" top
        expect_chain top "base.$format"
        expect_rc 0 ss check top
        expect_rc 0 ss create "on-$format" top
        rm top
    done
}

# What such a base stands on itself is asked of QEMU.
test_bases_of_other_formats_with_bases() {
    local format under
    mkdir store
    for format in qed vmdk; do
        under=$format
        [ "$format" = vmdk ] || under=qcow2
        real create -q -f "$under" store/root 8M
        real create -q -f "$format" -F "$under" -b root store/low
        real create -q -f "$format" -F "$format" -b low store/mid
        real create -q -f qcow2 -F "$format" -b store/mid top.qcow2
        expect_chain top.qcow2 store/mid store/low store/root
        expect_rc 0 ss check top.qcow2
        # and where it is named itself
        expect_rc 0 ss list -f "$format" --output=json store/mid
        expect_json 'd["images"][0]["backing-chain"]' '["store/low", "store/root"]'
        mv store/root store/away
        broken top.qcow2 'store/root, the backing file of store/low, is missing'
        rm top.qcow2 store/*
    done
    real create -q -f qcow2 store/root 8M
    real create -q -f qed -F qcow2 -b root store/low
    real create -q -f qcow2 -F qed -b store/low top.qcow2
    real rebase -u -q -f qed -F qcow2 -b ../top.qcow2 store/low
    broken top.qcow2 'top.qcow2, the backing file of store/low, stands in the chain twice'
}

# A golden image's own snapshots are nobody's business but its own.
test_snapshots_of_a_golden_image() {
    new_images golden other
    ss create -q release golden
    real snapshot -c twin golden
    real snapshot -c twin other
    real create -q -f qcow2 -F qcow2 -b golden a
    real create -q -f qcow2 -F qcow2 -b other b
    expect_rc 0 ss check a b
    expect_rc 0 ss list a b
    expect_equal "$OUT" ''
    expect_err '^[0-9]+ more that cannot be applied'
    expect_rc 0 ss list --all a b
    expect_out ' release .*golden'
    expect_rc 0 ss create one a b
    expect_rc 0 ss create two --external a b
    expect_rc 0 ss check a.two b.two
}

# ---- as it was when the overlay was made ----------------------------------------------------------

test_a_replaced_base() {
    new_images a.qcow2 other
    put 1 a.qcow2
    ss create -q --external one a.qcow2
    mv a.qcow2 saved
    cp other a.qcow2
    expect_rc 2 ss check a.one
    expect_out '^\[chain-broken\] a.one: .*/a.qcow2 was opened for writing, or replaced'
    # one that was frozen as another snapshot
    cp other b.qcow2
    ss create -q --external two b.qcow2
    cp b.qcow2 a.qcow2
    expect_rc 2 ss check a.one
    # a copy is as good as what it is a copy of
    cp saved a.qcow2
    expect_rc 0 ss check a.one
    # one that holds no record at all
    real convert -f qcow2 -O qcow2 saved a.qcow2
    expect_rc 2 ss check a.one
    real convert -f qcow2 -O raw saved a.qcow2
    expect_rc 2 ss check a.one
    expect_out 'cannot be read'
}

test_a_base_opened_by_a_machine() {
    requires qemu-system-x86_64
    new_images a.qcow2
    ss create -q --external one a.qcow2
    start_qemu reader -- -blockdev driver=qcow2,node-name=x,read-only=on,file.driver=file,file.filename=a.qcow2
    expect_rc 0 ss check a.one
    stop_qemu reader
    start_qemu user a.one
    stop_qemu user
    expect_rc 0 ss check a.one
    start_qemu writer a.qcow2
    stop_qemu writer
    expect_rc 2 ss check a.one
    expect_out '^\[chain-broken\]'
}

test_one_link_of_several() {
    new_images a.qcow2
    ss create -q --external one a.qcow2
    ss create -q --external two a.one
    ss create -q --external three a.two
    thaw a.one
    expect_rc 2 ss check --output=json a.three
    expect_json '[v["rule"] for v in d["violations"]]' '["chain-broken"]'
    expect_json 'd["violations"][0]["images"]' '["a.three"]'
    expect_json '"/a.one was opened" in d["violations"][0]["message"]' true
    expect_rc 0 ss check --allow chain-broken a.three
    printf '[rules]\nchain-broken=ignore\n' >"$SNAPSHOT_SET_POLICY"
    expect_rc 0 ss list a.three
}

# Images without a backing file cost what they cost before: four calls and a close.
test_cost_without_a_chain() {
    local count
    requires strace
    [ -z "$SANITIZE" ] || skip 'counts system calls'
    new_images a.qcow2 b.qcow2
    ss create -q one a.qcow2 b.qcow2
    strace -o trace true 2>/dev/null || skip 'cannot trace'
    touch -d '1 hour ago' a.qcow2 b.qcow2
    strace -f -o trace -e trace=openat,pread64,fstat,newfstatat,close,lseek "$SNAPSHOT_SET" list a.qcow2 b.qcow2 >out.txt
    count=$(sed -n '/a\.qcow2/,/b\.qcow2/p' trace | grep -c '(')
    [ "$count" -le 6 ] || fail "$count calls: $(sed -n '/a\.qcow2/,/b\.qcow2/p' trace)"
}

run_tests "$@"
