#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The libvirt hook: machines are not started on disks of different moments.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
# shellcheck source=../lib/libvirt.sh
. "$(dirname "$0")/../lib/libvirt.sh"
requires qemu-img qemu-system-x86_64 libvirtd virsh unshare nsenter tini

# install_hook: into the running libvirtd's own /etc, and have it look again
install_hook() {
    nsenter --target "$LIBVIRT_PID" --mount bash -c '
        mkdir -p /etc/libvirt/hooks/qemu.d /var/lib/snapshot-set /etc/snapshot-set
        mount -t tmpfs none /var/lib/snapshot-set && mount -t tmpfs none /etc/snapshot-set
        printf "[guard]\nmode=off\n" >/etc/snapshot-set/policy.conf
        ln -s "$1" /etc/libvirt/hooks/qemu.d/50-snapshot-set' \
        install_hook "$BUILD_DIR/libvirt-hooks/snapshot-set-hook"
    kill -HUP "$(cat "$TEST_DIR/libvirt/pid")"
    sleep 0.5
}

# policy LINE...: the policy file of this libvirtd
policy() {
    printf '%s\n' '[guard]' 'mode=off' '[rules]' "$@" |
        nsenter --target "$LIBVIRT_PID" --mount tee /etc/snapshot-set/policy.conf >/dev/null
}

# define NAME FILE...: a domain with these disks
define() {
    local name=$1 file letter
    shift
    {
        cat <<EOT
<domain type='qemu'><name>$name</name><memory unit='MiB'>64</memory>
<os><type arch='x86_64' machine='pc'>hvm</type></os><devices>
<emulator>$(command -v qemu-system-x86_64)</emulator><memballoon model='none'/>
EOT
        letter=97
        for file; do
            printf "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
            printf "<source file='%s'/><target dev='vd%b' bus='virtio'/></disk>\n" \
                "$file" "\\x$(printf '%x' $letter)"
            letter=$((letter + 1))
        done
        echo '</devices></domain>'
    } >"$name.xml"
    libvirt define "$name.xml" >/dev/null
}

# P1: a and b come from two machines, and both have a loadable "b"
put_together() {
    new_images a.qcow2 b.qcow2
    start_qemu one a.qcow2
    hmp one 'savevm a' >/dev/null
    hmp one 'savevm b' >/dev/null
    stop_qemu one
    start_qemu two b.qcow2
    hmp two 'savevm b' >/dev/null
    stop_qemu two
}

test_good_machines_start() {
    start_libvirt
    install_hook
    new_images a.qcow2 b.qcow2
    ss create -q one a.qcow2 b.qcow2
    define d "$PWD/a.qcow2" "$PWD/b.qcow2"
    expect_rc 0 libvirt start d
    expect_rc 0 libvirt destroy d
}

test_collision_is_refused() {
    local before
    put_together
    start_libvirt
    install_hook
    define d "$PWD/a.qcow2" "$PWD/b.qcow2"
    before=$(checksum a.qcow2 b.qcow2)
    expect_rc 1 libvirt start d
    expect_err 'refused \[identity-collision\]: tag .b. is two different snapshots: [0-9a-f]{8} on .*a\.qcow2 \(20.*[0-9a-f]{8} on .*b\.qcow2 \(20'
    expect_equal "$(checksum a.qcow2 b.qcow2)" "$before" 'the images'
    policy identity-collision=warn
    expect_rc 0 libvirt start d
}

test_mixed_moments_are_refused() {
    start_libvirt
    install_hook
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
