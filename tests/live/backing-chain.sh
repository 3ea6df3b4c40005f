#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# libvirt looks at the first 33,280 bytes of an image only: it must find there the backing file's
# name, however large the record before it.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
# shellcheck source=../lib/libvirt.sh
. "$(dirname "$0")/../lib/libvirt.sh"
requires qemu-img qemu-io qemu-system-x86_64 libvirtd virsh unshare nsenter tini

# overlay NAME BASE [OPTIONS]: and its twin NAME.plain, which is never stamped
overlay() {
    real create -q -f qcow2 -F qcow2 -b "$PWD/$2" ${3:+-o "$3"} "$1"
    cp "$1" "$1.plain"
}

# backing_of FILE: what libvirt's storage driver takes for the backing file: path and format
backing_of() {
    libvirt pool-refresh images >/dev/null
    libvirt vol-dumpxml --pool images "$1" | "$PYTHON" -c '
import sys, xml.etree.ElementTree as tree
store = tree.parse(sys.stdin).getroot().find("backingStore")
print("none" if store is None else
      store.findtext("path") + " " + store.find("format").get("type"))'
}

# chain_of FILE: the files of a disk, as libvirt gives them to a machine it starts; and the guest
# must read 9, which only the base holds
chain_of() {
    local said
    cat >domain.xml <<EOT
<domain type='qemu'><name>d</name><memory unit='MiB'>64</memory>
<os><type arch='x86_64' machine='pc'>hvm</type></os>
<devices><emulator>$(command -v qemu-system-x86_64)</emulator>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='$PWD/$1'/>
<target dev='vda' bus='virtio'/></disk><memballoon model='none'/></devices></domain>
EOT
    libvirt create domain.xml >/dev/null
    said=$(libvirt qemu-monitor-command --hmp d \
        'qemu-io -d /machine/peripheral/virtio-disk0/virtio-backend "read -q -P 9 0 64k"')
    libvirt dumpxml d | "$PYTHON" -c '
import sys, xml.etree.ElementTree as tree
at = tree.parse(sys.stdin).getroot().find("devices/disk")
while at is not None and at.find("source") is not None:
    print(at.find("source").get("file"))
    at = at.find("backingStore")'
    libvirt destroy d >/dev/null
    [ "$(tr -d '[:space:]' <<<"$said")" = '' ] || fail "the guest reads: $said"
}

test_storage_driver_finds_the_backing_file() {
    start_libvirt
    libvirt pool-create-as images dir --target "$PWD" >/dev/null
    new_images base
    for options in '' cluster_size=4k cluster_size=2M extended_l2=on lazy_refcounts=on compat=0.10; do
        rm -f over over.plain
        overlay over base "$options"
        ss create -q one over
        [ "$(backing_of over)" = "$PWD/base qcow2" ] || {
            # without a format extension libvirt probes, or does not: alike for both
            expect_equal "$(backing_of over)" "$(backing_of over.plain)" "with '$options', backing"
            [[ $(backing_of over) == "$PWD/base "* ]] || fail "with '$options': $(backing_of over)"
        }
        expect_equal "$(libvirt vol-info --pool images over | grep Capacity)" \
            "$(libvirt vol-info --pool images over.plain | grep Capacity)" 'capacity'
    done
}

test_longest_backing_names() {
    local folder
    start_libvirt
    libvirt pool-create-as images dir --target "$PWD" >/dev/null
    folder=$(printf 'd%.0s' {1..200})
    folder=$folder/$folder/$folder/$folder
    mkdir -p "$folder"
    new_images "$folder/base"
    overlay over "$folder/base"
    ss create -q one over
    expect_equal "$(backing_of over)" "$PWD/$folder/base qcow2"
    expect_equal "$(backing_of over.plain)" "$PWD/$folder/base qcow2"
}

# full FILE: as much in the record as there may be in a few snapshots
full() {
    local index
    for index in {1..6}; do
        ss create -q --description "$(printf 'x%.0s' {1..1000})" "$1-$index" "$1"
    done
}

test_machine_gets_the_whole_chain() {
    start_libvirt
    new_images base
    put 9 base
    overlay middle base
    full middle
    overlay top middle
    full top
    expect_equal "$(chain_of top)" "$PWD/top
$PWD/middle
$PWD/base"
    expect_equal "$(chain_of top.plain)" "$PWD/top.plain
$PWD/middle
$PWD/base"
    # and the machine leaves the record as it was
    expect_equal "$(snapshot_json identity top-3 top)" recorded
    expect_clean top middle
}

# The premise: an extension of 40,000 bytes in front of the name hides it from libvirt.
test_libvirt_does_not_look_further() {
    start_libvirt
    libvirt pool-create-as images dir --target "$PWD" >/dev/null
    new_images base
    overlay over base
    "$PYTHON" - over <<'EOT'
import struct, sys
with open(sys.argv[1], "r+b") as file:
    head = bytearray(file.read(65536))
    name_at, name_size = struct.unpack_from(">QI", head, 8)
    name = head[name_at:name_at + name_size]
    at = struct.unpack_from(">I", head, 100)[0]
    while struct.unpack_from(">I", head, at)[0] != 0:
        at += 8 + (struct.unpack_from(">I", head, at + 4)[0] + 7) // 8 * 8
    struct.pack_into(">II", head, at, 0x12345678, 40000)
    end = at + 8 + 40000
    head[at + 8:end + 8] = bytes(40008)
    head[end + 8:end + 8 + name_size] = name
    struct.pack_into(">Q", head, 8, end + 8)
    file.seek(0)
    file.write(head)
EOT
    [[ $(real info over) == *"backing file: $PWD/base"* ]] || fail 'QEMU finds no backing file'
    expect_equal "$(backing_of over.plain)" "$PWD/base qcow2"
    expect_equal "$(backing_of over)" none
}

run_tests "$@"
