#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# External snapshots and block jobs of running machines: the records follow the backing chains.
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

# lineage FILE...: "tag<parent tag", by tag
lineage() {
    ss list --all --output=json "$@" >"$OUT_FILE"
    json '" ".join(sorted(s["tag"] + "<" + next((p["tag"] for p in d["snapshots"] if p["id"] == s["parent"]), "") for s in d["snapshots"]))'
}

test_external_snapshots_are_recorded() {
    guarded a.qcow2 b.qcow2
    expect_rc 0 libvirt snapshot-create-as d one
    expect_rc 0 libvirt snapshot-create-as d two --disk-only --atomic
    expect_rc 0 libvirt snapshot-create-as d three --disk-only --atomic
    expect_rc 0 libvirt destroy d
    expect_equal "$(disks | xargs -n 1 basename | xargs)" 'a.three b.three'
    expect_rc 0 ss check --output=json a.three b.three
    expect_json '{s["tag"]: s["kind"] for s in d["snapshots"]}' \
        '{"one": "internal", "two": "external", "three": "external"}'
    expect_json '{s["parent-source"] for s in d["snapshots"]} == {"recorded"}' true
    expect_json '[s["members"] for s in d["snapshots"]]' '[2, 2, 2]'
    expect_json 'next(s["tag"] for s in d["snapshots"] if s["current"])' three
    expect_equal "$(lineage a.three b.three)" 'one< three<two two<one'
    # and once more, over a run without any snapshot
    expect_rc 0 libvirt start d
    expect_rc 0 libvirt destroy d
    expect_rc 0 ss check a.three b.three

    # the backing files of one disk, the overlays of the other: two moments
    define bases "$PWD/a.qcow2" "$PWD/b.three"
    expect_rc 1 libvirt start bases
    expect_err 'refused \[current-mismatch\]'

    # touching a backing file, or reading it, does no harm; writing to it does
    touch a.qcow2
    real check -q a.qcow2
    expect_rc 0 libvirt start d
    expect_rc 0 libvirt destroy d
    put 7 a.qcow2
    expect_rc 1 libvirt start d
    expect_err 'refused \[chain-broken\]: .*a\.qcow2 was opened for writing, or replaced, since its overlay .*a\.two was made'
    expect_rc 2 ss check a.three b.three
    expect_out 'chain-broken'
}

# two_overlays [sealed]: the external snapshots one and two; with an argument, of a machine that has
# been started anew since, so that QEMU opens the backing files to read, and they are sealed
two_overlays() {
    guarded a.qcow2 b.qcow2
    expect_rc 0 libvirt snapshot-create-as d one --disk-only --atomic
    expect_rc 0 libvirt snapshot-create-as d two --disk-only --atomic
    [ $# -eq 0 ] || { libvirt destroy d && libvirt start d; } >/dev/null
}

# pivot DISK: the guest goes on with what its block job has made
pivot() {
    job_copied d
    expect_rc 0 libvirt blockjob d "$1" --pivot
}

test_active_commit() {
    two_overlays "$@"
    for disk in vda vdb; do
        expect_rc 0 libvirt blockcommit d "$disk" --active
        pivot "$disk"
    done
    expect_equal "$(disks | xargs -n 1 basename | xargs)" 'a.qcow2 b.qcow2'
    expect_rc 0 libvirt destroy d
    expect_rc 0 ss check a.qcow2 b.qcow2
    expect_equal "$(lineage a.qcow2 b.qcow2)" ''
    expect_rc 0 libvirt start d
    expect_rc 0 libvirt snapshot-create-as d three
    expect_rc 0 libvirt destroy d
    expect_equal "$(lineage a.qcow2 b.qcow2)" 'three<'
}

test_commit_into_the_base() {
    two_overlays "$@"
    for disk in vda vdb; do
        expect_rc 0 libvirt blockcommit d "$disk" --top "$PWD/${disk/vd/}.one" \
            --base "$PWD/${disk/vd/}.qcow2"
        job_ended d "$disk"
    done
    expect_equal "$(disks | xargs -n 1 basename | xargs)" 'a.two b.two'
    expect_rc 0 libvirt destroy d
    expect_rc 0 ss check a.two b.two
    expect_equal "$(lineage a.two b.two)" 'two<'
    expect_rc 0 libvirt start d
    expect_rc 0 libvirt destroy d
    put 7 b.qcow2
    expect_rc 2 ss check a.two b.two
    expect_out 'chain-broken'
}

# What QEMU opens to read and then writes to keeps its seal.
test_commit_into_a_sealed_base() { test_commit_into_the_base sealed; }
test_active_commit_into_a_sealed_base() { test_active_commit sealed; }

# From its first byte on the base is none of the snapshots any more that were above it; and what is
# above the commit is as it was.
test_aborted_commit() {
    guarded a.qcow2 b.qcow2
    expect_rc 0 libvirt snapshot-create-as d one --disk-only --atomic
    expect_rc 0 libvirt snapshot-create-as d two --disk-only --atomic
    libvirt destroy d >/dev/null
    libvirt start d >/dev/null
    guest_writes 5 0 1
    expect_rc 0 libvirt blockcommit d vda --active
    job_copied d
    expect_rc 0 libvirt blockjob d vda --abort
    expect_equal "$(disks | xargs -n 1 basename | xargs)" 'a.two b.two'
    expect_rc 0 libvirt destroy d
    expect_data 5 a.qcow2
    expect_rc 2 ss check a.two b.two
    expect_out '\[set-partial\].*one.* is missing on a.two'
    expect_out '\[set-partial\].*two.* is missing on a.two'
    expect_equal "$(lineage a.two)" ''
    expect_equal "$(lineage b.two)" 'one< two<one'
    expect_rc 0 libvirt start d
    expect_rc 0 libvirt snapshot-create-as d three --disk-only --atomic
    guest_writes 6 0 1
    expect_rc 0 libvirt blockcommit d vda --top "$PWD/a.two" --base "$PWD/a.qcow2"
    job_ended d vda
    expect_rc 0 libvirt destroy d
    expect_equal "$(lineage a.three)" 'three<'
    expect_data 5 a.qcow2
    expect_data 6 a.three
}

test_pull() {
    guarded a.qcow2 b.qcow2
    expect_rc 0 libvirt snapshot-create-as d one --disk-only --atomic
    expect_rc 0 libvirt snapshot-create-as d two --disk-only --atomic
    for disk in vda vdb; do
        expect_rc 0 libvirt blockpull d "$disk" --base "$PWD/${disk/vd/}.qcow2"
        job_ended d "$disk"
    done
    expect_rc 0 libvirt destroy d
    expect_rc 0 ss check a.two b.two
    expect_equal "$(lineage a.two b.two)" 'one<'
    expect_rc 0 libvirt start d
    for disk in vda vdb; do
        expect_rc 0 libvirt blockpull d "$disk"
        job_ended d "$disk"
    done
    expect_rc 0 libvirt destroy d
    expect_rc 0 ss check a.two b.two
    expect_equal "$(lineage a.two b.two)" ''
    expect_rc 0 libvirt start d
}

test_copy() {
    guarded a.qcow2 b.qcow2
    expect_rc 0 libvirt snapshot-create-as d one --disk-only --atomic
    expect_rc 0 libvirt blockcopy d vda --dest "$PWD/flat.qcow2" --transient-job
    pivot vda
    expect_rc 0 libvirt blockcopy d vdb --dest "$PWD/shallow.qcow2" --shallow --transient-job
    pivot vdb
    expect_rc 0 libvirt destroy d
    expect_rc 0 ss list --output=json flat.qcow2 shallow.qcow2
    expect_json 'd["images"][0]["current"] == d["images"][1]["current"] != None' true
    expect_rc 0 ss list --all --output=json shallow.qcow2
    expect_json '[s["tag"] for s in d["snapshots"]]' '["one"]'
    define copied "$PWD/flat.qcow2" "$PWD/shallow.qcow2"
    expect_rc 0 libvirt start copied
}

run_tests "$@"
