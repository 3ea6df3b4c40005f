# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# A libvirtd for one test; to be read in after harness.sh. It sees folders of its own in place of
# libvirt's, in a mount namespace, so that whatever runs on the host is left alone.

LIBVIRT_FOLDERS=(/etc/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt /run/libvirt)

# start_libvirt: start it and wait until it answers; it is stopped at the end of the test
start_libvirt() {
    local index
    requires libvirtd virsh unshare nsenter tini
    unshare --mount true 2>/dev/null || skip 'cannot make a mount namespace'
    mkdir "$TEST_DIR/libvirt"
    cat >"$TEST_DIR/libvirt/qemu.conf" <<'EOT'
security_driver = "none"
user = "root"
group = "root"
stdio_handler = "file"
cgroup_controllers = [ ]
remember_owner = 0
EOT
    printf '%s\n' 'auth_unix_rw = "none"' >"$TEST_DIR/libvirt/libvirtd.conf"
    unshare --mount bash -c '
        for folder in "${@:2}"; do
            mkdir -p "$folder" && mount -t tmpfs none "$folder" || exit
        done
        cp "$1"/*.conf /etc/libvirt/
        exec tini -s -- libvirtd --pid-file "$1/pid"' \
        start_libvirt "$TEST_DIR/libvirt" "${LIBVIRT_FOLDERS[@]}" >"$TEST_DIR/libvirt/log" 2>&1 &
    LIBVIRT_PID=$!
    cleanup_fn stop_libvirt
    for ((index = 0; index < 300; index++)); do
        ! libvirt version >/dev/null 2>&1 || return 0
        kill -0 "$LIBVIRT_PID" 2>/dev/null || break
        sleep 0.1
    done
    fail "libvirtd does not answer: $(cat "$TEST_DIR/libvirt/log")"
}

stop_libvirt() {
    local name
    for name in $(libvirt list --name 2>/dev/null); do
        libvirt destroy "$name" >/dev/null
    done
    { kill "$LIBVIRT_PID" && wait "$LIBVIRT_PID"; } 2>/dev/null
}

# libvirt ARGUMENT...: virsh, connected to it
libvirt() {
    nsenter --target "$LIBVIRT_PID" --mount --root --wd="$PWD" virsh -c qemu:///system "$@"
}
