# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Our command over a running QEMU (--qmp); to be read in after images.sh.

# machine NAME [FILE...] [-- QEMU-OPTION...]: as start_qemu, with a monitor at $PWD/NAME.mon; its
# processor stands still, so that no firmware takes the time of others
machine() {
    local name=$1 files=()
    shift
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        files+=("$1")
        shift
    done
    [ $# -eq 0 ] || shift
    start_qemu "$name" "${files[@]}" -- -qmp "unix:$PWD/$name.mon,server=on,wait=off" -S "$@"
}

# live NAME COMMAND...: our command over that machine
live() {
    local name=$1 command=$2
    shift 2
    ss "$command" --qmp "unix:$PWD/$name.mon" "$@"
}

# guest_has NAME DISK BYTE: fail unless the guest reads it there
guest_has() {
    local said
    said=$(hmp "$1" "qemu-io -d /machine/peripheral-anon/device[$2]/virtio-backend \
\"read -q -P $3 0 64k\"")
    expect_equal "$said" '' "disk $2 of the guest"
}

# free_port: a TCP port that nobody listens on
free_port() {
    "$PYTHON" -c '
import socket
with socket.socket() as probe:
    probe.bind(("localhost", 0))
    print(probe.getsockname()[1])'
}

# parents COMMAND...: of a list as JSON, TAG<PARENT of every snapshot, those inferred with a question mark
parents() {
    expect_rc 0 "$@"
    json '" ".join("{}<{}{}".format(s["tag"],
        next((p["tag"] for p in d["snapshots"] if p["id"] == s["parent"]), "-"),
        "?" if s["parent-source"] == "inferred" else "") for s in d["snapshots"])'
}
