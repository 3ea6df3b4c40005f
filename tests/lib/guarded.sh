# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# A guarded guest of libvirt's and what must not happen to it; to be read in after hook.sh. The
# guest has no operating system: its disks change only when somebody else changes them.

# guarded FILE...: a running domain d, guarded, on these images; those that are not there are made
guarded() {
    local file
    start_libvirt
    install_hook '[guard]' mode=required
    for file; do
        [ -e "$file" ] || new_images "$file"
    done
    define d "${@/#/$PWD/}"
    expect_rc 0 libvirt start d
    settle
}

# stop_daemon: libvirtd ends and does not come back yet; its guests run on
stop_daemon() {
    local pid
    pid=$(cat "${LIBVIRT_HOME[$LIBVIRT_PID]}/pid")
    LIBVIRT_LOOP=$(sed -E 's/.*\) . ([0-9]+) .*/\1/' "/proc/$pid/stat")
    kill -STOP "$LIBVIRT_LOOP"
    kill "$pid"
    while [[ $(cat "/proc/$pid/stat") != *') Z '* ]]; do
        sleep 0.01
    done
}

# start_daemon: it comes back
start_daemon() {
    kill -CONT "$LIBVIRT_LOOP"
    await_libvirt
}

# in_libvirt COMMAND [ARGUMENT...]: run it where libvirtd is
in_libvirt() {
    nsenter --target "$LIBVIRT_PID" --mount --root --wd="$PWD" "$@"
}

# watch_log: $LOG holds from now on what is sent to the system's log where libvirtd is. A device
# folder of links stands before the real one there.
watch_log() {
    LOG=$TEST_DIR/syslog
    "$PYTHON" "$TOP/tests/lib/syslog.py" "$TEST_DIR/log-socket" "$LOG" &
    cleanup_fn kill $!
    in_libvirt bash -c '
        mkdir "$1/dev" && mount --rbind /dev "$1/dev" && mount -t tmpfs none /dev &&
            ln -s "$1"/dev/* /dev/ && ln -sf "$1/log-socket" /dev/log' watch_log "$TEST_DIR"
    until [ -e "$LOG" ]; do sleep 0.01; done
}

# expect_logged PATTERN: wait for a line of the system's log that matches (grep -E)
expect_logged() {
    local index
    for ((index = 0; index < 3000; index++)); do
        ! grep -qE -- "$1" "$LOG" || return 0
        sleep 0.01
    done
    fail "nothing in the log matches $1: $(cat "$LOG")"
}

# guards [--output=json]: the guards that run, into OUT
guards() {
    expect_rc 0 in_libvirt "$BUILD_DIR/libvirt-hooks/guard/snapshot-set-guard" status "$@"
}

# sends_hmp: whether this libvirt takes snapshots by human monitor commands
sends_hmp() {
    ! libvirt_since 10.9.0
}

# nodes: QEMU's names of the guest's disks, one a line, in the order of the disks
nodes() {
    in_libvirt cat /run/libvirt/qemu/d.xml |
        sed -n "s/.*<nodename type='format' name='\([^']*\)'.*/\1/p"
}

# snapshot_tables: what the images in the working folder hold, as the real qemu-img lists it
snapshot_tables() {
    local file
    for file in *.qcow2; do
        real snapshot -U -l "$file"
    done
}

# tags_in_use FILE: the tags of an image that a guest has open
tags_in_use() {
    real snapshot -U -l "$1" | awk 'NR > 2 { print $2 }' | tr '\n' ' '
}

# standing: everything that a refused command must leave as it is
standing() {
    snapshot_tables
    checksum ./*
    libvirt domstate d
}

# settle: what is there now is what refused commands must leave. A guest that is stopped for a
# snapshot makes QEMU write what it held back, so that is done first.
settle() {
    libvirt suspend d >/dev/null
    libvirt resume d >/dev/null
    STANDING=$(standing)
}

# refused RULE ARGUMENT...: virsh is told no by that rule, and nothing has changed
refused() {
    local rule=$1
    shift
    expect_rc 1 libvirt "$@"
    expect_err "snapshot-set: refused \[$rule\]: ."
    expect_equal "$(standing)" "$STANDING" "after $*, what is there"
}

# refused_hmp RULE LINE: the same for a line of the human monitor
refused_hmp() {
    refused "$1" qemu-monitor-command d --hmp "$2"
}

# refused_qmp RULE COMMAND [ARGUMENTS]: the same for QMP, whose answer virsh shows as it is
refused_qmp() {
    local text="{\"execute\": \"$2\", \"arguments\": {${3:-}}}"
    expect_rc 0 libvirt qemu-monitor-command d "$text"
    expect_out "\"error\":.*\"desc\": ?\"snapshot-set: refused \[$1\]: ."
    expect_equal "$(standing)" "$STANDING" "after $text, what is there"
}

# good_snapshot: one that nothing speaks against is taken, on every image
good_snapshot() {
    local file
    GOOD=$((${GOOD:-0} + 1))
    expect_rc 0 libvirt snapshot-create-as d "good-$GOOD"
    for file in *.qcow2; do
        grep -q " good-$GOOD " <<<"$(real snapshot -U -l "$file")" ||
            fail "no good-$GOOD in '$file'"
    done
    expect_equal "$(libvirt domstate d)" running 'the guest'
    settle
}

# expect_tree_of_virsh FILE...: what these images record is what virsh draws
expect_tree_of_virsh() {
    expect_equal "$(drawn "$@" | sed 's/ current$//' | levels 2)" \
        "$(libvirt snapshot-list d --tree | levels 4)" 'our tree, beside that of virsh'
    expect_equal "$(libvirt snapshot-current d --name)" \
        "$(drawn "$@" | sed -nE 's/.*[^[:alnum:]](\w+) current$/\1/p; s/^(\w+) current$/\1/p')" \
        'the current snapshot of virsh'
}

# levels WIDTH: a drawn tree as "LEVEL NAME" lines; each level is WIDTH columns further in
levels() {
    sed -E 's/[^[:alnum:] ]/ /g; /^ *$/d' |
        awk -v width="$1" '{ print int((match($0, /[^ ]/) - 1) / width), $1 }'
}

# guest_writes BYTE DISK...: the guest fills the first 64 KiB of its disks (0, 1, ...)
guest_writes() {
    local byte=$1 disk
    shift
    for disk; do
        libvirt qemu-monitor-command d --hmp "qemu-io -d /machine/peripheral/virtio-disk$disk/virtio-backend \"write -q -P $byte 0 64k\"" >/dev/null
    done
}

# disks: the files of d's disks now, as libvirt has them
disks() {
    libvirt domblklist d | awk '$1 ~ /^vd/ { print $2 }'
}

# nodes_in_use: QEMU's names of the disks as the guest sees them now; libvirt 11 gives a raw one no
# node of its format
nodes_in_use() {
    in_libvirt cat /run/libvirt/qemu/d.xml | "$PYTHON" -c '
import sys, xml.etree.ElementTree as tree
for disk in tree.parse(sys.stdin).getroot().iter("disk"):
    names = {one.get("type"): one.get("name") for one in disk.find("source/privateData/nodenames")}
    print(names.get("format", names["storage"]))'
}
