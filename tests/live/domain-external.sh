#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# External snapshots of a libvirt domain: overlays that know what they are, and virsh knows them too.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
# shellcheck source=../lib/libvirt.sh
. "$(dirname "$0")/../lib/libvirt.sh"
# shellcheck source=../lib/hook.sh
. "$(dirname "$0")/../lib/hook.sh"
# shellcheck source=../lib/domain.sh
. "$(dirname "$0")/../lib/domain.sh"
requires qemu-img qemu-io qemu-system-x86_64 libvirtd virsh unshare nsenter tini

# disks_of [OPTION...]: the file of each disk, as virsh shows them
disks_of() { libvirt domblklist d "$@" | awk 'NR > 2 && NF { print $2 }' | xargs -n 1 basename | xargs; }

# A shut-off domain of a qcow2 and a raw disk, one that it only reads, and a floppy: of this, which
# is no part of the set, libvirt would make an overlay unless it is told
shut_off() {
    start_libvirt
    new_images a.qcow2 seed.qcow2
    truncate -s 8M b.raw
    truncate -s 1440K floppy.img
    define d "$PWD/a.qcow2" "$PWD/b.raw" "$PWD/seed.qcow2"
    libvirt dumpxml d | sed "s|<target dev='vdc'.*/>|&<readonly/>|; s|</devices>|<disk type='file' \
device='floppy'><source file='$PWD/floppy.img'/><target dev='fda'/></disk>&|" >with-seed.xml
    libvirt define with-seed.xml >/dev/null
}

# write PATTERN FILE...: into the images, whatever their format
write() {
    local file
    for file in "${@:2}"; do
        qemu-io -f "$([[ $file = *.raw ]] && echo raw || echo qcow2)" \
            -c "write -q -P $1 0 64k" "$file" >/dev/null || fail "cannot write to $file"
    done
}

test_shut_off() {
    shut_off
    write 1 a.qcow2 b.raw
    expect_rc 0 dss create one --external --dry-run
    expect_out "a.qcow2 -> .*/a.one"
    expect_equal "$(disks_of)" 'a.qcow2 b.raw seed.qcow2 floppy.img'
    expect_rc 0 dss create one --external --description 'a & b'
    expect_out "^created snapshot 'one' \([0-9a-f]{8}\) on 2 images"
    expect_out "^.*/a.qcow2 -> .*/a.one$"
    expect_equal "$(disks_of --inactive)" 'a.one b.one seed.qcow2 floppy.img'
    expect_equal "$(libvirt snapshot-dumpxml d one | sed -nE 's/.*<description>(.*)<.*/\1/p')" 'a &amp; b'
    expect_rc 0 dss check
    write 2 a.one b.one
    expect_rc 0 dss create two --external --overlay-dir "$PWD"
    expect_agreement
    expect_equal "$(our_lineage | xargs)" 'one - two one'
    expect_equal "$(json '{(s["kind"], s["identity"]) for s in d["snapshots"]} == {("external", "recorded")}')" true
    expect_data 1 a.qcow2
    expect_data 2 a.one b.one
    expect_rc 0 libvirt start d
    expect_rc 0 libvirt destroy d
    expect_rc 0 dss delete tag=two
    expect_equal "$(disks_of)" 'a.one b.one seed.qcow2 floppy.img'
    expect_agreement
    expect_rc 0 dss check
}

# Images that came from another host: libvirt learns what they hold, of either kind, in files that
# are backing files now, and can work with it.
test_sync() {
    start_libvirt
    new_images a.qcow2 b.qcow2
    ss create -q inside a.qcow2 b.qcow2
    write 1 a.qcow2 b.qcow2
    ss create -q one --external a.qcow2 b.qcow2
    write 2 a.one b.one
    ss create -q two --external --description 'a & b' a.one b.one
    write 3 a.two b.two
    ss create -q within a.two b.two
    define d "$PWD/a.two" "$PWD/b.two"
    expect_rc 0 dss sync
    # what is inside a backing file it could only destroy
    expect_equal "$(our_lineage | xargs)" 'inside - one inside two one within two'
    expect_equal "$(virsh_lineage | xargs)" 'one - two one within two'
    expect_equal "$(libvirt snapshot-dumpxml d two | grep -cE "source file='$PWD/[ab].two'")" 2
    expect_equal "$(libvirt snapshot-dumpxml d two | grep -cE "source file='$PWD/[ab].one'")" 2
    expect_rc 0 dss sync
    expect_equal "$OUT" ''
    expect_rc 0 libvirt snapshot-revert d within
    expect_rc 0 libvirt snapshot-delete d within
    expect_rc 0 dss delete tag=two
    expect_equal "$(disks_of)" 'a.one b.one'
    expect_data 3 a.one b.one
    expect_rc 0 dss check
    expect_equal "$(virsh_lineage | xargs)" 'one -'
}

# An overlay would not be encrypted, and could not even name what it stands on.
test_encrypted_disk() {
    start_libvirt
    new_images a.qcow2
    truncate -s 8M b.raw # it is libvirt's word that counts
    printf '<secret private="no"><usage type="volume"><volume>%s</volume></usage></secret>' \
        "$PWD/b.raw" >secret.xml
    libvirt secret-define secret.xml >/dev/null
    define d "$PWD/a.qcow2" "$PWD/b.raw"
    libvirt dumpxml d | sed "s|<source file='.*/b.raw'/>|&<encryption format='luks'>\
<secret type='passphrase' usage='$PWD/b.raw'/></encryption>|" >encrypted.xml
    libvirt define encrypted.xml >/dev/null
    expect_rc 0 dss list
    expect_rc 2 dss create one --external
    expect_err 'refused \[image-unsupported\]: .*b\.raw: it is encrypted'
    expect_equal "$(disks_of)" 'a.qcow2 b.raw'
}

# Whatever libvirt says no to: the images, their records and the definition are as they were.
test_all_or_none() {
    shut_off
    libvirt snapshot-create-as d two --disk-only --diskspec vda,file="$PWD/v.a" \
        --diskspec vdb,file="$PWD/v.b" --diskspec fda,snapshot=no >/dev/null
    libvirt define with-seed.xml >/dev/null
    rm v.a v.b
    dss list --all --output=json >before
    expect_rc 1 dss create two --external
    expect_err 'libvirt: .*already exists.*all images are as they were'
    expect_rc 2 dss create a/b --external
    expect_rc 1 dss create three --external --quiesce
    expect_err 'domain that runs'
    expect_rc 1 ss create three --external --quiesce a.qcow2
    expect_err 'goes with --external and --domain'
    expect_equal "$(dss list --all --output=json)" "$(cat before)" 'the images'
    expect_rc 0 dss check
    expect_equal "$(disks_of)" 'a.qcow2 b.raw seed.qcow2 floppy.img'
    expect_equal "$(find . -name '*.two' -o -name '*.three' -o -name '.snapshot-set*')" ''
    # a running one; there is no agent that could freeze anything
    expect_rc 0 libvirt start d
    expect_rc 1 dss create three --external --quiesce
    expect_err 'libvirt: .*agent.*all images are as they were'
    expect_rc 1 dss create two --external
    expect_equal "$(find . -name '*.two' -o -name '*.three' -o -name '.snapshot-set*')" ''
    expect_equal "$(disks_of)" 'a.qcow2 b.raw seed.qcow2 floppy.img'
    # a key that is pressed meanwhile does not cut it short
    # shellcheck disable=SC2016 # for the shim
    shim 'kill -TERM $PPID'
    expect_rc 0 dss create three --external
    expect_equal "$(disks_of)" 'a.three b.three seed.qcow2 floppy.img'
    expect_rc 1 dss apply tag=three --overlay-dir .
    expect_err 'not for --domain: libvirt makes the overlays'
}

# What an overlay says of its backing file must be so when it gets its place: between two that are
# taken at once, or after virsh, nothing may be left out of the chain.
test_two_at_once() {
    shut_off
    libvirt start d >/dev/null
    shim 'virsh -c qemu:///system snapshot-create-as d other --disk-only --diskspec fda,snapshot=no >/dev/null'
    expect_rc 1 dss create one --external
    expect_err 'the domain has other disks by now.*all images are as they were'
    expect_equal "$(disks_of)" 'a.other b.other seed.qcow2 floppy.img'
    expect_equal "$(find . -name '*.one')" ''
    shim "touch \"$TEST_DIR/begun\"; until [ -e \"$TEST_DIR/end\" ]; do sleep 0.01; done"
    dss create one --external >said 2>&1 &
    until [ -e "$TEST_DIR/begun" ]; do sleep 0.01; done
    expect_rc 3 dss create two --external
    expect_err 'refused \[operation-pending\]'
    touch "$TEST_DIR/end"
    wait $!
    expect_equal "$(disks_of)" 'a.one b.one seed.qcow2 floppy.img'
    expect_equal "$(find . -name '*.two')" ''
}

# cut SYSCALL N: create one, killed at that; the second name given to an overlay comes before libvirt
# is asked, the first file removed, the journal, after that
cut() {
    printf '#!/bin/bash\nexec strace -qq -o %q -e trace=%s -e inject=%s:signal=KILL:when=%s %q "$@"\n' \
        "$TEST_DIR/trace" "$1" "$1" "$2" "$SNAPSHOT_SET" >"$TEST_DIR/cut"
    chmod +x "$TEST_DIR/cut"
    SNAPSHOT_SET=$TEST_DIR/cut expect_rc 137 dss create one --external
}

# Of a domain that is shut off only libvirt can tell whether it has the overlays.
test_interrupted() {
    [ -z "$SANITIZE" ] || skip 'a traced process cannot be searched for leaks'
    requires strace
    shut_off
    cut renameat2 2
    expect_rc 3 ss recover
    expect_err 'only libvirt knows .*--domain'
    expect_rc 0 dss recover
    expect_out "^'create' of 2 images: undone"
    expect_equal "$(find . -name '*.one' -o -name '.snapshot-set*')" ''
    expect_rc 0 dss check
    install_hook
    cut renameat2 2
    expect_rc 0 libvirt start d
    expect_rc 0 libvirt destroy d
    expect_equal "$(find . -name '*.one' -o -name '.snapshot-set*')" ''
    cut unlink 1
    expect_rc 3 dss check
    expect_rc 0 dss recover
    expect_out "^'create' of 2 images: finished"
    expect_equal "$(disks_of)" 'a.one b.one seed.qcow2 floppy.img'
    expect_rc 0 dss check
    expect_agreement
}

# shim SCRIPT: from now on dss has a qemu-img that runs this once, and first
shim() {
    rm -rf "$TEST_DIR/once"
    printf '#!/bin/bash\nunset LD_PRELOAD\nif mkdir %q 2>/dev/null; then %s; fi\nexec -a qemu-img %q "$@"\n' \
        "$TEST_DIR/once" "$1" "$REAL_QEMU_IMG" >"$TEST_DIR/qemu-img"
    chmod +x "$TEST_DIR/qemu-img"
    SANITIZED+=("SNAPSHOT_SET_QEMU_IMG=$TEST_DIR/qemu-img")
}

# A running one: what libvirt has QEMU do is one transaction, which the guard lets pass and notes.
running() {
    expect_rc 0 libvirt start d
    write_live 1
    expect_rc 0 dss create zero
    write_live 2
    expect_rc 0 dss create one --external --description 'while it runs'
    expect_out "^.*/a.qcow2 -> .*/a.one$"
    expect_equal "$(disks_of)" 'a.one b.one'
    write_live 3
    expect_rc 0 dss create two --external --relative-backing
    write_live 4
    expect_agreement
    expect_rc 2 dss create two --external
    expect_err 'refused \[tag-exists\]'
    # a middle one and the last one go: their data stay
    expect_rc 0 dss create three --external
    write_live 5
    expect_rc 0 dss delete tag=two
    expect_out "^deleted snapshot 'two'"
    expect_agreement
    expect_equal "$(our_lineage | xargs)" 'one zero three one zero -'
    expect_rc 0 dss create four --external
    write_live 6
    expect_rc 0 dss delete tag=four
    expect_equal "$(disks_of)" 'a.three b.three'
    expect_rc 0 libvirt destroy d
    expect_data 2 a.qcow2 b.qcow2
    expect_data 4 a.one b.one
    expect_data 6 a.three b.three
    expect_equal "$(disks_of --inactive)" 'a.three b.three'
    expect_equal "$(find . -name '?.two' -o -name '?.four')" ''
    expect_rc 0 dss check
    expect_agreement
    expect_equal "$(our_lineage | xargs)" 'one zero three one zero -'
    expect_equal "$(json '[s["description"] for s in d["snapshots"] if s["tag"] == "one"]')" '["while it runs"]'
}

# write_live PATTERN: the guest writes it to both disks
write_live() {
    local disk
    for disk in a b; do
        libvirt qemu-monitor-command d --hmp \
            "qemu-io -d $(disk_device "$disk") \"write -q -P $1 0 64k\"" >/dev/null
    done
}
disk_device() { printf '/machine/peripheral/virtio-disk%d/virtio-backend' "$([ "$1" = a ] && echo 0 || echo 1)"; }

# expect_reverts: to an external snapshot, and on from there, as far as this libvirt knows how to; if
# it does not, nothing has changed
expect_reverts() {
    local before
    before=$(disks_of)
    if ! reverts_external; then
        expect_rc 1 dss apply tag=one
        expect_err 'libvirt: .*external.*not supported'
        expect_equal "$(disks_of)" "$before"
        return
    fi
    sleep 1 # libvirt names its overlays by the second
    expect_rc 0 dss apply tag=one
    expect_equal "$(our_lineage | xargs)" 'one zero zero -'
    expect_equal "$(json 'next(s["tag"] for s in d["snapshots"] if s["current"])')" one
    # a running one that goes back to the disks of a running one goes on, or is off
    [ "$(libvirt domstate d)" != running ] || write_live 8
    expect_rc 0 dss create "branch-$1" --external
    expect_equal "$(our_lineage | xargs)" "branch-$1 one one zero zero -"
    # virsh knows of the other branches, too, which no disk stands on now
    expect_equal "$(virsh_lineage | grep -E '^(branch-'"$1"'|one|zero) ' | xargs)" "$(our_lineage | xargs)"
    expect_equal "$(libvirt snapshot-current d --name)" "branch-$1"
    [ "$(libvirt domstate d)" != running ] || expect_rc 0 libvirt destroy d
    expect_rc 0 dss check
}

test_running_guarded() {
    start_libvirt
    install_hook '[guard]' mode=required
    new_images a.qcow2 b.qcow2
    define d "$PWD/a.qcow2" "$PWD/b.qcow2"
    running
    # the guard saw it all: nothing of it is a guess
    expect_equal "$(json '[s["parent-source"] for s in d["snapshots"]]')" '["recorded", "recorded", "recorded"]'
    expect_reverts off
    expect_rc 0 libvirt start d
    expect_reverts on
}

test_running_unguarded() {
    start_libvirt
    new_images a.qcow2 b.qcow2
    define d "$PWD/a.qcow2" "$PWD/b.qcow2"
    running
    expect_reverts off
    expect_rc 0 libvirt start d
    expect_reverts on
}

run_tests "$@"
