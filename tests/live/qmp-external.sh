#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# External snapshots of a running QEMU without libvirt: all overlays in one transaction, or none.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
# shellcheck source=../lib/live.sh
. "$(dirname "$0")/../lib/live.sh"
requires qemu-img qemu-io qemu-system-x86_64 python3

# The guest's data of every disk at each snapshot are what stands in its files, whatever was written
# since: drives with names and without, of every format, through a filter.
test_each_snapshot_has_its_data() {
    local tag disk folder
    truncate -s 8M raw.img bare.img
    new_images base.qcow2 node.qcow2
    real create -q -f qcow2 -b base.qcow2 -F qcow2 over.qcow2
    mkdir overlays
    machine m node.qcow2 -- -drive file=raw.img,format=raw,if=none,id=drive \
        -device virtio-blk-pci,drive=drive -object throttle-group,id=group \
        -blockdev driver=throttle,throttle-group=group,node-name=slow,file.driver=qcow2,file.node-name=under,file.file.driver=file,file.file.filename=over.qcow2 \
        -device virtio-blk-pci,drive=slow,id=last \
        -blockdev driver=file,node-name=bare,filename=bare.img -device virtio-blk-pci,drive=bare
    guest_disk() { hmp m "qemu-io -d /machine/$1/virtio-backend \"$2\""; }
    for tag in 1 2 3; do
        for disk in 'peripheral-anon/device[0]' 'peripheral-anon/device[1]' peripheral/last; do
            expect_equal "$(guest_disk "$disk" "write -q -P $tag 0 64k")" ''
        done
        folder=$([ "$tag" = 2 ] && echo --overlay-dir=overlays || echo --relative-backing)
        expect_rc 0 live m create "s$tag" --external "$folder"
    done
    guest_disk peripheral/last 'write -q -P 99 0 64k' >/dev/null
    expect_equal "$(parents live m list --output=json)" 's1<- s2<s1 s3<s2'
    # internal ones of backing files are out of reach, and external ones of a running machine
    expect_refused image-unsupported live m apply tag=s2
    expect_err 'hint: shut the machine down, then: qemu-img snapshot-set apply'
    expect_refused tag-exists live m create s2 --external
    expect_refused tag-exists live m create s2
    # the throttle is still there, above
    expect_out_of hmp 'slow: .*throttle'
    stop_qemu m
    expect_data 1 over.qcow2 node.qcow2
    qemu-io -r -f raw -c 'read -q -P 1 0 64k' raw.img >said
    expect_equal "$(cat said)" ''
    expect_data 2 over.s1 node.s1 raw.s1
    expect_data 3 overlays/over.s2 overlays/node.s2 overlays/raw.s2
    expect_data 99 overlays/over.s3
    expect_data 3 overlays/node.s3
    for disk in over node raw bare; do
        expect_rc 0 real info --backing-chain "overlays/$disk.s3"
    done
    expect_out '^backing file format: raw$'
    expect_rc 0 ss check overlays/{over,node,raw,bare}.s3
}

expect_out_of() {
    "$1" m 'info block' | grep -qE "$2" || fail "no drive is $2"
}

# A machine a.qcow2 (a drive), b.qcow2 (a node), and what must be so when nothing was done
pair() {
    new_images a.qcow2 b.qcow2
    machine m -- -drive file=a.qcow2,format=qcow2,if=virtio \
        -blockdev driver=qcow2,node-name=b,file.driver=file,file.filename=b.qcow2 \
        -device virtio-blk-pci,drive=b,id=second
    remember_files
    drives >"$TEST_DIR/before"
}

# drives: what each has open; the cache mode is the firmware's affair
drives() { hmp m 'info block' | grep -v 'Cache mode'; }

remember_files() { find . | sort >"$TEST_DIR/files"; }

expect_untouched() {
    find . | sort | diff "$TEST_DIR/files" - || fail 'files were left behind'
    drives >"$TEST_DIR/after"
    expect_same_file "$TEST_DIR/after" "$TEST_DIR/before"
    ! qmp m '{"execute": "query-named-block-nodes"}' | grep -q 'snapshot-set-' ||
        fail 'QEMU has an overlay open'
    expect_rc 0 live m check
    guest_disk_write 5
}

# guest_disk_write BYTE: to the second disk
guest_disk_write() {
    expect_equal "$(hmp m "qemu-io -d /machine/peripheral/second/virtio-backend \
\"write -q -P $1 0 64k\"")" '' 'answer to a write'
}

# One overlay cannot be made, whatever the reason: both disks stay on their images, and the caller
# is told why.
test_all_or_none() {
    local node
    pair
    # a rule, before anything is made
    touch b.taken
    remember_files
    expect_refused tag-exists live m create taken --external
    expect_err 'would be .*b\.taken.*, which exists already'
    expect_untouched
    expect_refused tag-invalid live m create 'a/b' --external
    expect_refused coverage live m create x --external --device b
    expect_rc 1 live m create x --external --overlay-format raw
    expect_err 'overlays are qcow2'
    expect_rc 1 live m create x --external --overlay-dir nowhere
    expect_untouched
    # QEMU, of the second overlay: its image is the source of a running job
    truncate -s 8M target.img
    remember_files
    qmp m '{"execute": "blockdev-add", "arguments": {"driver": "raw", "node-name": "target",
            "file": {"driver": "file", "filename": "target.img"}}}' \
        '{"execute": "blockdev-mirror", "arguments": {"job-id": "mirror", "device": "b",
            "target": "target", "sync": "full"}}' >/dev/null
    drives >"$TEST_DIR/before"
    expect_rc 1 live m create x --external
    expect_err "^qemu-img: snapshot-set: transaction: .*busy: block device is in use by block job: mirror.*; all images are as they were"
    expect_untouched
    qmp m '{"execute": "block-job-cancel", "arguments": {"device": "mirror", "force": true}}' >/dev/null
    wait_for_no_job
    drives >"$TEST_DIR/before"
    expect_rc 0 live m create x --external
    expect_rc 0 live m list --output=json
    expect_json '[s["complete"] for s in d["snapshots"]]' '[true]'
    # a person may want it of one disk alone, and may name that by its node, which is new then
    node=$(qmp m '{"execute": "query-block"}' | grep -o 'snapshot-set-[0-9a-f]*-1' | head -n 1)
    expect_rc 0 live m create part --external --device "$node" --allow coverage
    expect_err 'warning \[coverage\].*: virtio0$'
    expect_out '/b\.x -> .*/b\.part$'
    expect_rc 0 live m list --all --output=json
    expect_json '[[s["tag"], s["complete"]] for s in d["snapshots"]]' '[["x", true], ["part", false]]'
}

wait_for_no_job() {
    until [ "$(qmp m '{"execute": "query-jobs"}')" = '[]' ]; do sleep 0.01; done
}

# The file system has room for one overlay only.
test_full_file_system() {
    mkdir small
    mount -t tmpfs -o size=300k none small 2>/dev/null || skip 'cannot mount'
    cleanup_fn umount "$PWD/small"
    pair
    expect_refused no-space live m create x --external --overlay-dir small
    expect_untouched
    expect_rc 1 live m create x --external --overlay-dir small --allow no-space
    expect_err 'No space left on device.*all images are as they were'
    expect_equal "$(ls -A small)" ''
    expect_untouched
    expect_rc 0 live m create x --external
}

# shim SCRIPT: a qemu-img that runs this as its last deed, with the overlay's path in $made
shim() {
    cat >"$TEST_DIR/qemu-img" <<EOT
#!/bin/bash
(exec -a qemu-img "$REAL_QEMU_IMG" "\$@") || exit
while [ "\${1:---}" != -- ]; do shift; done
made=\${2:-}
$1
EOT
    chmod +x "$TEST_DIR/qemu-img"
    export SNAPSHOT_SET_QEMU_IMG=$TEST_DIR/qemu-img
}

# What was made is no qcow2 image; and the command is killed before QEMU is asked.
test_bad_overlays_and_kills() {
    pair
    # shellcheck disable=SC2016 # for the shim
    shim '! grep -q b.qcow2 "$made" || truncate -s 0 "$made"'
    expect_rc 1 live m create x --external
    expect_err 'all images are as they were'
    expect_untouched
    # shellcheck disable=SC2016
    shim 'kill -KILL $PPID'
    expect_rc 137 live m create x --external
    flock --wait 60 "$SNAPSHOT_SET_STATE_DIR"/operations/*.lock true # its other child may still run
    unset SNAPSHOT_SET_QEMU_IMG
    expect_rc 3 live m check
    expect_out '\[operation-pending\]'
    expect_rc 3 live m create y --external
    expect_rc 3 ss recover # the images are in use
    stop_qemu m
    expect_rc 0 ss recover
    expect_equal "$(find . -name '*.x' -o -name '.snapshot-set*')" ''
    expect_clean a.qcow2 b.qcow2
    expect_rc 0 ss create -q y a.qcow2 b.qcow2
}

# Somebody takes a snapshot through another monitor while the overlays are made: they would stand on
# other images than they name.
test_other_images_by_now() {
    pair
    shim "mkdir '$TEST_DIR/done' 2>/dev/null || exit 0 # both overlays are made at once
        '$PYTHON' '$TOP/tests/lib/qmp.py' --hmp '$TEST_DIR/m.qmp' 'snapshot_blkdev virtio0 $PWD/a.other qcow2' >/dev/null"
    expect_rc 1 live m create x --external
    expect_err 'has another file by now.*all images are as they were'
    unset SNAPSHOT_SET_QEMU_IMG
    expect_equal "$(find . -name '*.x' -o -name '.snapshot-set*')" ''
    expect_rc 0 live m create y --external
    expect_out '^.*a\.other -> .*a\.y$'
}

# Another command of ours is about to put overlays on one of the images (common/io/lock.c).
test_one_command_at_a_time() {
    pair
    "$PYTHON" - b.qcow2 "$TEST_DIR/held" <<'EOT' &
import fcntl, sys, time
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX, 1, 0x53534554)
open(sys.argv[2], "w").close()
time.sleep(1000)
EOT
    cleanup_fn eval "kill $! 2>/dev/null || true"
    until [ -e "$TEST_DIR/held" ]; do sleep 0.01; done
    expect_refused image-locked live m create x --external
    expect_err 'b\.qcow2: another command works on it'
    expect_untouched
    kill $!
    wait $! || true
    expect_rc 0 live m create x --external
}

# Once they are closed the images that became backing files are frozen, and what is written to them
# afterwards is found; but nothing vouches for one that was written to before that.
test_backing_files_are_frozen_later() {
    local when
    for when in after before; do
        rm -rf ./*
        pair
        expect_rc 0 live m create x --external
        expect_rc 0 live m create y --external
        expect_rc 0 ss recover # while they are in use nothing is written
        expect_equal "$(sealed a.x)$(sealed a.qcow2)" FalseFalse
        stop_qemu m
        if [ "$when" = after ]; then
            expect_rc 0 ss recover
            expect_rc 0 ss check a.y b.y
            expect_equal "$(sealed a.x)$(sealed a.qcow2)" TrueTrue
            qemu-io -r -f qcow2 -c 'read -q 0 64k' a.qcow2
            touch a.qcow2
            expect_rc 0 ss check a.y b.y
            put 9 a.qcow2
            expect_rc 2 ss check a.y b.y
            expect_out '^\[chain-broken\].*a\.qcow2 was opened for writing.*a\.x was made$'
        else
            sleep 1.1
            put 9 a.qcow2
            expect_rc 0 ss recover
            expect_equal "$(sealed b.qcow2)$(sealed a.qcow2)" TrueFalse
        fi
    done
}

# sealed FILE: whether an image that may be any link of a chain is sealed
sealed() {
    "$PYTHON" -c '
import struct, sys
with open(sys.argv[1], "rb") as file:
    head = file.read(104)
print(bool(struct.unpack_from(">Q", head, 88)[0] >> 63))' "$1"
}

# proxy WHEN COMMAND: the monitor at $PWD/broken.mon is that of m, but breaks off at this command,
# before or after QEMU has carried it out
proxy() {
    "$PYTHON" - "$@" m.mon broken.mon <<'EOT' &
import os, socket, sys, threading
when, command, there, here = sys.argv[1:]
server = socket.socket(socket.AF_UNIX)
server.bind(here + ".new")
server.listen()
os.rename(here + ".new", here)
client, _ = server.accept()
qemu = socket.socket(socket.AF_UNIX)
qemu.connect(there)
broken = threading.Event()
def back():
    while data := qemu.recv(65536):
        if broken.is_set():
            break
        client.sendall(data)
    client.close()
thread = threading.Thread(target=back)
thread.start()
while data := client.recv(65536):
    if f'"execute":"{command}"'.encode() in data:
        broken.set()
        if when == "before":
            qemu.shutdown(socket.SHUT_RDWR)
            break
    qemu.sendall(data)
    if broken.is_set():
        break
thread.join()
client.close()
EOT
    cleanup_fn eval "kill $! 2>/dev/null || true"
    while [ ! -S broken.mon ]; do sleep 0.01; done
}

# QEMU merges what is deleted while the guest goes on: the first, one in the middle, the last; of
# drives and nodes, under a filter, over raw files, with names relative and absolute.
test_delete() {
    local tag disk node
    truncate -s 8M raw.img
    new_images node.qcow2 over.qcow2
    mkdir overlays
    machine m node.qcow2 -- -drive file=raw.img,format=raw,if=none,id=drive \
        -device virtio-blk-pci,drive=drive,id=second -object throttle-group,id=group \
        -blockdev driver=throttle,throttle-group=group,node-name=slow,file.driver=qcow2,file.node-name=under,file.file.driver=file,file.file.filename=over.qcow2 \
        -device virtio-blk-pci,drive=slow,id=last
    for tag in 1 2 3 4; do
        write_all "$tag"
        expect_rc 0 live m create "s$tag" --external --relative-backing \
            "--overlay-dir=$([ "$tag" = 3 ] && echo overlays || echo .)"
    done
    write_all 5
    expect_rc 0 live m delete tag=s2 --dry-run
    # a backup's bitmap would go with the file
    node=$(qmp m '{"execute": "query-block"}' | grep -o 'snapshot-set-[0-9a-f]*-[0-9]' | head -n 1)
    qmp m "{\"execute\": \"block-dirty-bitmap-add\", \"arguments\": {\"node\": \"$node\", \"name\": \"b\"}}" >/dev/null
    expect_refused image-unsupported live m delete tag=s4
    expect_err 'holds dirty bitmaps, which would be lost'
    qmp m "{\"execute\": \"block-dirty-bitmap-remove\", \"arguments\": {\"node\": \"$node\", \"name\": \"b\"}}" >/dev/null
    expect_equal "$(parents live m list --output=json)" 's1<- s2<s1 s3<s2 s4<s3'
    expect_rc 0 live m delete tag=s2
    expect_out "^deleted snapshot 's2'"
    expect_equal "$(parents live m list --output=json)" 's1<- s3<s1 s4<s3'
    expect_equal "$(find . -name '*.s2')" ''
    expect_rc 0 live m delete tag=s4
    expect_out "node.s4 -> .*/node.s3$"
    expect_equal "$(parents live m list --output=json)" 's1<- s3<s1'
    guest_has_all 5
    write_all 6
    expect_rc 0 live m create s5 --external --overlay-dir overlays
    write_all 7
    expect_rc 0 live m delete tag=s1 --output=json
    expect_json '[s["tag"] for s in d["snapshots"]]' '["s3", "s5"]'
    ! qmp m '{"execute": "query-named-block-nodes"}' | grep -qE '\.s(1|2|4)"' || fail 'QEMU has them open'
    expect_rc 0 live m check
    stop_qemu m
    expect_rc 0 ss recover
    # a relative name stays one, and is relative to the overlay, wherever QEMU runs
    expect_rc 0 real info --output=json overlays/node.s3
    expect_json 'd["backing-filename"]' ../node.qcow2
    expect_data 3 node.qcow2 over.qcow2
    expect_data 6 overlays/node.s3 overlays/over.s3 overlays/raw.s3
    expect_data 7 overlays/node.s5 overlays/over.s5 overlays/raw.s5
    expect_rc 0 ss check overlays/{node,over,raw}.s5
    expect_equal "$(parents ss list --output=json overlays/{node,over,raw}.s5)" 's3<- s5<s3'
    expect_equal "$(find . -type f | sort | xargs)" './node.qcow2 ./over.qcow2 ./overlays/node.s3 ./overlays/node.s5 ./overlays/over.s3 ./overlays/over.s5 ./overlays/raw.s3 ./overlays/raw.s5 ./raw.img'
}

# One disk is busy: the other is merged, nothing is lost, and the rest can be done later.
test_delete_of_a_busy_disk() {
    pair
    expect_rc 0 live m create one --external
    guest_disk_write 6
    truncate -s 8M target.img
    qmp m '{"execute": "blockdev-add", "arguments": {"driver": "raw", "node-name": "target",
            "file": {"driver": "file", "filename": "target.img"}}}' \
        "{\"execute\": \"blockdev-mirror\", \"arguments\": {\"job-id\": \"mirror\",
            \"device\": \"$(qmp m '{"execute": "query-block"}' | grep -o 'snapshot-set-[0-9a-f]*-1' | head -n 1)\",
            \"target\": \"target\", \"sync\": \"full\"}}" >/dev/null
    expect_rc 1 live m delete tag=one
    expect_err '1 of 2 merges are done, and that into .*/b\.qcow2. is not: block-commit: .'
    expect_rc 2 live m delete tag=one
    expect_err 'refused \[set-partial\]'
    qmp m '{"execute": "block-job-cancel", "arguments": {"device": "mirror", "force": true}}' >/dev/null
    wait_for_no_job
    expect_rc 0 live m delete tag=one --allow set-partial
    expect_equal "$(find . -name '*.one')" ''
    stop_qemu m
    expect_data 6 b.qcow2
    expect_rc 0 ss recover
    expect_rc 0 ss check a.qcow2 b.qcow2
    expect_rc 0 ss create one a.qcow2 b.qcow2
}

# A command that ends early leaves its job in QEMU. The next one ends that, and does the rest; or,
# when there is none, what is half merged is no snapshot any more.
test_delete_that_ends_early() {
    local after
    for after in again off; do
        rm -rf ./*
        pair
        expect_rc 0 live m create one --external
        guest_disk_write 6
        expect_rc 0 live m create two --external
        proxy after block-commit
        expect_rc 1 ss delete tag=two --qmp "unix:$PWD/broken.mon"
        expect_err '0 of 2 merges are done, and that into .*/a\.one. is not: .*QEMU went away'
        until qmp m '{"execute": "query-jobs"}' | grep -q '"ready"'; do sleep 0.01; done
        if [ "$after" = again ]; then
            expect_rc 0 live m delete tag=two
            expect_out '/a\.two -> .*/a\.one$'
            expect_equal "$(qmp m '{"execute": "query-jobs"}')" '[]'
            expect_equal "$(parents live m list --output=json)" 'one<-'
            expect_equal "$(find . -name '*.two')" ''
            guest_disk_write 7
            stop_qemu m
            expect_data 7 b.one
            expect_rc 0 ss recover
            expect_equal "$OUT" 'nothing to recover'
            expect_rc 0 ss check a.one b.one
        else
            stop_qemu m
            expect_rc 0 ss recover
            expect_rc 0 ss list --all --output=json a.two b.two
            expect_json '[(s["tag"], s["missing"]) for s in d["snapshots"]]' '[["one", []], ["two", ["a.two"]]]'
            expect_refused set-partial ss apply tag=two a.two b.two
        fi
    done
}

# write_all BYTE, guest_has_all BYTE: the guest's three disks
write_all() { all_disks "write -q -P $1 0 64k"; }
guest_has_all() { all_disks "read -q -P $1 0 64k"; }
all_disks() {
    local disk
    for disk in 'peripheral-anon/device[0]' peripheral/second peripheral/last; do
        expect_equal "$(hmp m "qemu-io -d /machine/$disk/virtio-backend \"$1\"")" ''
    done
}

# When nobody can tell whether it was done nothing is taken back, and the images say it later.
test_monitor_breaks_off() {
    local when
    for when in before after; do
        rm -rf ./*
        pair
        proxy "$when" transaction
        expect_rc 3 ss create x --external --qmp "unix:$PWD/broken.mon"
        expect_err "nobody can tell whether the snapshot was taken.*QEMU went away"
        expect_err "'create' is not finished"
        expect_equal "$(find . -name '*.x' | wc -l)" 2 "$when: overlays"
        guest_disk_write 6
        stop_qemu m
        expect_rc 0 ss recover
        expect_rc 0 ss check a.qcow2
        if [ "$when" = after ]; then
            expect_rc 0 ss list --output=json a.x b.x
            expect_json '[[s["tag"], s["complete"]] for s in d["snapshots"]]' '[["x", true]]'
            expect_data 6 b.x
            expect_data 0 b.qcow2
        else
            [ ! -e a.x ] || fail 'the overlay that QEMU never opened is still there'
            expect_data 6 b.qcow2
        fi
    done
}

run_tests "$@"
