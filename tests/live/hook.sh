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

run_tests "$@"
