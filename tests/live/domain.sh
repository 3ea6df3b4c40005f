#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# --domain: the images of a libvirt domain, and libvirt as the one that takes its snapshots.
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
requires qemu-img qemu-system-x86_64 libvirtd virsh unshare nsenter tini

test_shut_off() {
    start_libvirt
    new_images a.qcow2 b.qcow2
    define d "$PWD/a.qcow2" "$PWD/b.qcow2"
    put 1 a.qcow2 b.qcow2
    expect_rc 0 dss create one --description 'the first'
    expect_out "^created snapshot 'one' \([0-9a-f]{8}\) on 2 images"
    put 2 a.qcow2 b.qcow2
    expect_rc 0 dss create two
    expect_rc 2 dss create two
    expect_err 'refused \[tag-exists\]'
    expect_agreement
    expect_equal "$(json '{s["identity"] for s in d["snapshots"]} == {"recorded"}')" true
    expect_equal "$(json '[s["description"] for s in d["snapshots"]]')" '["the first", null]'
    expect_rc 0 dss apply tag=one
    expect_data 1 a.qcow2 b.qcow2
    expect_rc 0 dss create three
    expect_agreement
    expect_rc 0 dss delete tag=two
    expect_agreement
    expect_rc 0 dss check
}

# take_and_load: a running domain's snapshots, by our command alone
take_and_load() {
    expect_rc 0 libvirt start d
    expect_rc 0 dss create one
    expect_rc 0 dss create two
    expect_rc 2 dss create two
    expect_err 'refused \[tag-exists\]'
    expect_agreement
    expect_rc 0 dss apply tag=one
    expect_agreement
    expect_rc 0 dss create three
    expect_equal "$(libvirt domstate d | head -n 1)" running
    expect_rc 0 dss delete tag=two
    expect_agreement
    expect_rc 2 dss accept
    expect_err 'refused \[image-locked\]'
    expect_rc 0 libvirt destroy d
    expect_agreement
    expect_equal "$(our_lineage | xargs)" 'one - three one'
}

test_running() {
    start_libvirt
    install_hook '[guard]' mode=required
    new_images a.qcow2 b.qcow2
    define d "$PWD/a.qcow2" "$PWD/b.qcow2"
    take_and_load
}

# What was noted of a machine that nobody guards is in the images after the next command.
test_running_unguarded() {
    start_libvirt
    new_images a.qcow2 b.qcow2
    define d "$PWD/a.qcow2" "$PWD/b.qcow2"
    take_and_load
    expect_rc 0 ss recover
    expect_rc 0 ss tree a.qcow2 b.qcow2
    expect_out '^└─three'
}

# P8: libvirt on another host knows none of the snapshots that came with the images
test_sync() {
    start_libvirt
    new_images a.qcow2 b.qcow2
    ss create -q one a.qcow2 b.qcow2
    ss create -q two a.qcow2 b.qcow2
    ss apply -q tag=one a.qcow2 b.qcow2
    ss create -q --description 'with <&> in it' three a.qcow2 b.qcow2
    define d "$PWD/a.qcow2" "$PWD/b.qcow2"
    expect_rc 1 dss apply tag=one
    expect_err 'libvirt knows no snapshot .one.*sync'
    expect_rc 0 dss sync --dry-run
    expect_equal "$(libvirt snapshot-list d --name | xargs)" ''
    expect_rc 0 dss sync
    expect_agreement
    expect_equal "$(our_lineage | xargs)" 'one - three one two one'
    expect_rc 0 dss sync
    expect_equal "$OUT" ''
    # the images have lost one, and libvirt an other
    ss delete -q tag=two a.qcow2 b.qcow2
    libvirt snapshot-delete --metadata d three >/dev/null
    expect_rc 0 dss sync
    expect_agreement
    expect_rc 0 libvirt snapshot-revert d one
}

test_usage() {
    start_libvirt
    new_images a.qcow2
    define d "$PWD/a.qcow2"
    expect_rc 1 dss list a.qcow2
    expect_err 'takes the place of IMAGE'
    expect_rc 1 ss list -c qemu:///system a.qcow2
    expect_err 'goes with --domain'
    expect_rc 1 ss sync
    expect_err 'expecting --domain'
    expect_rc 1 nsenter --target "$LIBVIRT_PID" --mount --root env "${SANITIZED[@]}" \
        "$SNAPSHOT_SET" list --domain none
    expect_err "libvirt: Domain not found: .*none"
    expect_rc 1 env "${SANITIZED[@]}" "$SNAPSHOT_SET" list --domain d -c test:///nowhere
    expect_err 'libvirt: '
}

run_tests "$@"
