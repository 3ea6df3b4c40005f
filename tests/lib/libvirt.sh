# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# A libvirtd for one test; to be read in after harness.sh. It sees folders of its own in place of
# libvirt's, in a mount namespace, so that whatever runs on the host is left alone.

LIBVIRT_FOLDERS=(/etc/libvirt /var/lib/libvirt /var/log/libvirt /run/libvirt)
LIBVIRT_CACHE=$BUILD_DIR/tests/libvirt-cache # what QEMU can do takes libvirtd a second to find out
declare -A LIBVIRT_HOME=() # by LIBVIRT_PID, the folder with its files: pid, log

# start_libvirt [FOLDER [LINE...]]: start one, with these lines in libvirtd.conf, and wait until it
# answers; it is stopped at the end of the test. FOLDER, for its files, is $TEST_DIR/libvirt unless
# there are several: then LIBVIRT_PID says which one is meant, and is that of the one started last.
# shellcheck disable=SC2120 # mostly without an argument
start_libvirt() {
    local folder=${1:-$TEST_DIR/libvirt}
    requires libvirtd virsh unshare nsenter tini hostname
    unshare --mount --uts true 2>/dev/null || skip 'cannot make a mount namespace'
    mkdir -p "$folder" "$LIBVIRT_CACHE"
    choose_drivers "$folder/drivers"
    cat >"$folder/qemu.conf" <<'EOT'
security_driver = "none"
user = "root"
group = "root"
stdio_handler = "file"
cgroup_controllers = [ ]
remember_owner = 0
EOT
    printf '%s\n' 'auth_unix_rw = "none"' "host_uuid = \"$(cat /proc/sys/kernel/random/uuid)\"" \
        "${@:2}" >"$folder/libvirtd.conf"
    # A test that takes too long is ended with its process group: the daemon is needed to clean up.
    # No domain migrates to a host of the same name; a name with a dot is not looked up.
    LIBVIRT_DRIVER_DIR=$folder/drivers setsid unshare --mount --uts bash -c '
        for folder in "${@:3}"; do
            mkdir -p "$folder" && mount -t tmpfs none "$folder" || exit
        done
        mkdir -p /var/cache/libvirt && mount --bind "$2" /var/cache/libvirt || exit
        cp "$1"/*.conf /etc/libvirt/
        hostname "${1##*/}.example"
        # it is started again as by a service manager: 11.3 may crash when ended right after a start
        exec tini -s -g -- bash -c "while libvirtd --pid-file \"\$1/pid\" || [ \$? -gt 128 ]; do :; done" \
            libvirtd "$1"' \
        start_libvirt "$folder" "$LIBVIRT_CACHE" "${LIBVIRT_FOLDERS[@]}" >"$folder/log" 2>&1 &
    LIBVIRT_PID=$!
    LIBVIRT_HOME[$LIBVIRT_PID]=$folder
    cleanup_fn stop_libvirt "$LIBVIRT_PID"
    await_libvirt
}

# choose_drivers FOLDER: a new folder for LIBVIRT_DRIVER_DIR, without the nodedev driver: libvirtd 11
# often waits half a minute for a thread of it before it ends
choose_drivers() {
    local driver
    mkdir "$1"
    for driver in /usr/lib*/{,*/}libvirt/connection-driver/*.so; do
        [[ ! -f $driver || $driver = *_nodedev.so ]] || ln -s "$driver" "$1"
    done
}

# restart_libvirt: end the daemon; another one takes its place, and the guests run on
restart_libvirt() {
    local pid
    pid=$(cat "${LIBVIRT_HOME[$LIBVIRT_PID]}/pid")
    kill "$pid"
    while kill -0 "$pid" 2>/dev/null; do
        sleep 0.01
    done
    await_libvirt
}

await_libvirt() {
    local index
    for ((index = 0; index < 900; index++)); do
        # before it has written that, a daemon of the host's own might answer
        if [ -s "${LIBVIRT_HOME[$LIBVIRT_PID]}/pid" ] && libvirt version >/dev/null 2>&1; then
            return 0
        fi
        kill -0 "$LIBVIRT_PID" 2>/dev/null || break
        sleep 0.1
    done
    fail "libvirtd does not answer: $(cat "${LIBVIRT_HOME[$LIBVIRT_PID]}/log")"
}

stop_libvirt() {
    local LIBVIRT_PID=$1 name
    for name in $(libvirt list --uuid 2>/dev/null); do
        libvirt destroy "$name" >/dev/null
    done
    { kill "$LIBVIRT_PID" && wait "$LIBVIRT_PID"; } 2>/dev/null
}

# libvirt ARGUMENT...: virsh, connected to it
libvirt() {
    nsenter --target "$LIBVIRT_PID" --mount --root --wd="$PWD" virsh -c qemu:///system "$@"
}

# job_copied DOMAIN, job_ended DOMAIN DISK: wait until its block job has copied everything; until there
# is none any more. virsh's own --wait sometimes crashes when it has ended.
job_copied() {
    until libvirt dumpxml "$1" | grep "<mirror .*ready='yes'" >/dev/null; do sleep 0.05; done
}

job_ended() {
    until libvirt blockjob "$1" "$2" --info 2>&1 | grep 'No current block job' >/dev/null; do
        sleep 0.05
    done
}

# libvirt_since VERSION: whether it is at least that
libvirt_since() {
    [ "$(libvirtd --version | sed "s/.* /$1\n/" | sort -V | head -n 1)" = "$1" ]
}

# reverts_external: whether it can go back to external snapshots
reverts_external() {
    libvirt_since 9.9.0
}
