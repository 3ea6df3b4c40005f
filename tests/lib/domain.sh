# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Our command with --domain d, beside virsh; to be read in after libvirt.sh.

# In a sanitized build, what dss has in its environment. The sanitizer stands before libtirpc's
# functions, which libvirt calls, but finds them only if they are there from the start; the module
# that is loaded later would bring them too late. What that keeps in thread-local storage it looks
# for in the wrong place. And the real qemu-img is none of its business.
SANITIZED=()
if [ -n "$SANITIZE" ]; then
    SANITIZED=("LD_PRELOAD=$(gcc -print-file-name=libasan.so):$(
        ldconfig -p | sed -nE 's/.*libtirpc\.so.* => //p' | head -n 1)"
        "SNAPSHOT_SET_QEMU_IMG=$TOP/tests/lib/unsanitized")
fi

# dss COMMAND ARGUMENT...: our command with --domain d, where libvirt is, and with the state that the
# hook there has
dss() {
    local state=()
    ! nsenter --target "$LIBVIRT_PID" --mount --root test -e /etc/libvirt/hooks/qemu.d/50-snapshot-set ||
        state=(-u SNAPSHOT_SET_STATE_DIR -u SNAPSHOT_SET_POLICY)
    nsenter --target "$LIBVIRT_PID" --mount --root --wd="$PWD" env "${state[@]}" \
        "${SANITIZED[@]}" ASAN_OPTIONS="${ASAN_OPTIONS-}:intercept_tls_get_addr=0" \
        "$SNAPSHOT_SET" "$1" --domain d -c qemu:///system "${@:2}"
}

# what virsh and we say of the lineage, as "child parent" lines
virsh_lineage() {
    libvirt snapshot-list d --parent | awk 'NR > 2 && NF { print $1, (NF > 5 ? $NF : "-") }' | sort
}
our_lineage() {
    dss list --all --output=json >"$OUT_FILE"
    json '"\n".join(sorted(s["tag"] + " " + next((p["tag"] for p in d["snapshots"] if p["id"] == s["parent"]), "-") for s in d["snapshots"]))'
}

expect_agreement() {
    expect_equal "$(our_lineage)" "$(virsh_lineage)" 'our lineage'
    expect_equal "$(json 'next(s["tag"] for s in d["snapshots"] if s["current"])')" \
        "$(libvirt snapshot-current d --name)" 'our current snapshot'
}
