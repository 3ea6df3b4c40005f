#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The hook and the monitor guard with a real libvirtd and a real guest.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
# shellcheck source=../lib/libvirt.sh
. "$(dirname "$0")/../lib/libvirt.sh"
# shellcheck source=../lib/hook.sh
. "$(dirname "$0")/../lib/hook.sh"
# shellcheck source=../lib/guarded.sh
. "$(dirname "$0")/../lib/guarded.sh"
requires qemu-img qemu-system-x86_64 libvirtd virsh unshare nsenter tini

test_live_snapshots_work() {
    guarded a.qcow2 b.qcow2
    expect_rc 0 libvirt snapshot-create-as d one
    expect_rc 0 libvirt snapshot-create-as d two
    expect_rc 0 libvirt snapshot-delete d two
    expect_equal "$(tags_in_use a.qcow2)$(tags_in_use b.qcow2)" 'one one '
    expect_rc 0 libvirt destroy d
}

# P6 live: a b c d, revert to b, e; the images know that e came from b
test_lineage_of_live_snapshots() {
    guarded a.qcow2 b.qcow2
    for tag in a b c d; do
        expect_rc 0 libvirt snapshot-create-as d "$tag"
    done
    expect_rc 0 libvirt snapshot-revert d b
    expect_rc 0 libvirt snapshot-create-as d e
    expect_rc 0 libvirt destroy d
    expect_rc 0 ss list --output=json a.qcow2 b.qcow2
    expect_equal "$(json '{s["tag"]: next((p["tag"] for p in d["snapshots"] if p["id"] == s["parent"]), None) for s in d["snapshots"]}')" \
        '{"a": null, "b": "a", "c": "b", "d": "c", "e": "b"}'
    expect_equal "$(json '{s["parent-source"] for s in d["snapshots"]} == {"recorded"}')" true
    expect_tree_of_virsh a.qcow2 b.qcow2
    expect_equal "$(json 'd["images"][0]["sealed"] and d["images"][1]["sealed"]')" true
}

test_libvirtd_finds_its_guests_again() {
    local index
    guarded a.qcow2 b.qcow2
    for index in 1 2 3; do
        restart_libvirt
        expect_equal "$(libvirt domstate d)" running "after restart $index"
        expect_rc 0 libvirt snapshot-create-as d "s$index"
        expect_rc 0 libvirt snapshot-delete --metadata d "s$index"
        expect_rc 1 libvirt snapshot-create-as d "s$index"
        expect_err 'refused \[tag-exists\]'
    done
}

run_tests "$@"
