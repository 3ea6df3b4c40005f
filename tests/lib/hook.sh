# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Our hook and guard in the libvirtd of libvirt.sh, and domains for them.

# hook_program: what is linked into libvirt's folder: the hook, in $PROGRAMS if that is set. libvirt
# passes no variables on, but in a sanitized build the hook, the guard and the judge need some.
hook_program() {
    local hook=${PROGRAMS:-$BUILD_DIR/libvirt-hooks}/snapshot-set-hook
    if [ -n "$SANITIZE" ]; then
        printf '#!/bin/sh\nexport ASAN_OPTIONS=%q UBSAN_OPTIONS=%q\nexec %q "$@"\n' \
            "$ASAN_OPTIONS" "$UBSAN_OPTIONS" "$hook" >"$TEST_DIR/hook"
        chmod +x "$TEST_DIR/hook"
        hook=$TEST_DIR/hook
    fi
    printf '%s\n' "$hook"
}

# install_hook [LINE...]: into the running libvirtd's own /etc, with a policy file of these lines,
# and have it look again
install_hook() {
    local seen=${LIBVIRT_HOME[$LIBVIRT_PID]}/has-hooks
    nsenter --target "$LIBVIRT_PID" --mount --root bash -c '
        mkdir -p /etc/libvirt/hooks/qemu.d
        for folder in /etc/snapshot-set /var/lib/snapshot-set /run/snapshot-set; do
            mkdir -p "$folder" && mount -t tmpfs none "$folder" || exit
        done
        ln -s "$1" /etc/libvirt/hooks/qemu.d/50-snapshot-set
        printf "#!/bin/sh\n: >\"%s\"\n" "$2" >/etc/libvirt/hooks/daemon
        chmod +x /etc/libvirt/hooks/daemon' \
        install_hook "$(hook_program)" "$seen"
    policy "$@"
    kill -HUP "$(cat "${LIBVIRT_HOME[$LIBVIRT_PID]}/pid")"
    until [ -e "$seen" ]; do sleep 0.01; done # libvirtd has looked for hooks, and runs the first one
    sleep 0.2
}

# policy LINE...: the policy file of this libvirtd
policy() {
    printf '%s\n' "$@" |
        nsenter --target "$LIBVIRT_PID" --mount --root tee /etc/snapshot-set/policy.conf >/dev/null
}

# define NAME FILE...: a domain with these disks; a FILE is raw if its name ends so, otherwise qcow2
define() {
    local name=$1 file format letter=97
    shift
    {
        cat <<EOT
<domain type='qemu'><name>$name</name><memory unit='MiB'>64</memory>
<os><type arch='x86_64' machine='pc'>hvm</type></os><devices>
<emulator>$(command -v qemu-system-x86_64)</emulator><memballoon model='none'/>
EOT
        for file; do
            [[ $file == *.raw ]] && format=raw || format=qcow2
            printf "<disk type='file' device='disk'><driver name='qemu' type='%s'/>" "$format"
            printf "<source file='%s'/><target dev='vd%b' bus='virtio'/></disk>\n" \
                "$file" "\\x$(printf '%x' "$letter")"
            letter=$((letter + 1))
        done
        echo '</devices></domain>'
    } >"$name.xml"
    libvirt define "$name.xml" >/dev/null
}
