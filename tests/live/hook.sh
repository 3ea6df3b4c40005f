#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The libvirt hook: machines are not started on disks of different moments.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
# shellcheck source=../lib/libvirt.sh
. "$(dirname "$0")/../lib/libvirt.sh"
# shellcheck source=../lib/hook.sh
. "$(dirname "$0")/../lib/hook.sh"
requires qemu-img qemu-system-x86_64 libvirtd virsh unshare nsenter tini

test_good_machines_start() {
    start_libvirt
    install_hook '[guard]' mode=off
    new_images a.qcow2 b.qcow2
    ss create -q one a.qcow2 b.qcow2
    define d "$PWD/a.qcow2" "$PWD/b.qcow2"
    expect_rc 0 libvirt start d
    expect_rc 0 libvirt destroy d
}

test_mixed_moments_are_refused() {
    start_libvirt
    install_hook '[guard]' mode=off
    new_images a.qcow2 b.qcow2
    ss create -q one a.qcow2 b.qcow2
    ss create -q two a.qcow2 b.qcow2
    "$QEMU_IMG" snapshot -a one a.qcow2
    define d "$PWD/a.qcow2" "$PWD/b.qcow2"
    expect_rc 1 libvirt start d
    expect_err 'refused \[current-mismatch\]'
    expect_rc 0 ss accept -q a.qcow2 b.qcow2
    expect_rc 0 libvirt start d
}

# Overlays start on what they were made on, all of them or none, and nothing else does.
test_chains_are_judged() {
    start_libvirt
    install_hook '[guard]' mode=off
    new_images a.qcow2 b.qcow2
    ss create -q one a.qcow2 b.qcow2
    ss create -q --external two a.qcow2 b.qcow2
    define d "$PWD/a.two" "$PWD/b.two"
    expect_rc 0 libvirt start d
    expect_rc 0 libvirt destroy d
    # a base that was written to
    cp a.qcow2 saved
    qio a.qcow2 length >/dev/null
    expect_rc 1 libvirt start d
    expect_err 'refused \[chain-broken\]: .*a\.two: .*a\.qcow2 was opened for writing'
    cat saved >a.qcow2
    touch a.qcow2
    expect_rc 0 libvirt start d
    expect_rc 0 libvirt destroy d
    # a base that is missing
    mv b.qcow2 elsewhere
    expect_rc 1 libvirt start d
    mv elsewhere b.qcow2
    # an overlay on one of two disks
    ss create -q --external three a.two
    define e "$PWD/a.three" "$PWD/b.two"
    expect_rc 1 libvirt start e
    expect_err 'refused \[current-mismatch\]'
    # a disk left behind on its frozen image
    define f "$PWD/a.two" "$PWD/b.qcow2"
    expect_rc 1 libvirt start f
    expect_err 'refused \[chain-broken\]: .*a\.two is frozen as snapshot .three.'
    # the records that a machine leaves do not vouch for what it wrote to
    policy '[guard]' mode=required '[rules]' chain-broken=warn current-mismatch=warn
    expect_rc 0 libvirt start f
    expect_rc 0 libvirt destroy f
    expect_rc 2 ss check a.three b.two
    expect_out '^\[chain-broken\] b\.two: .*/b\.qcow2 was opened for writing'
    expect_out '^\[chain-broken\] a\.three: .*/a\.two was opened for writing'
}

run_tests "$@"
