#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A running QEMU without libvirt: --qmp. Each machine has a second monitor for the command.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
# shellcheck source=../lib/live.sh
. "$(dirname "$0")/../lib/live.sh"
requires qemu-img qemu-io qemu-system-x86_64 python3

# names NAME [OPTION...]: the tags that list prints
names() {
    expect_rc 0 live "$1" list --output=json "${@:2}"
    json '" ".join(s["tag"] for s in d["snapshots"])'
}

# ---- reading ------------------------------------------------------------------------------------

# The records are read under the running QEMU, over every way of naming its monitor and its files.
test_reads_a_running_machine() {
    local port
    new_images a.qcow2 b.qcow2
    ss create -q --description 'before it all' one a.qcow2 b.qcow2
    ss create -q two a.qcow2 b.qcow2
    port=$(free_port)
    machine m a.qcow2 -- -drive file=b.qcow2,format=qcow2,if=virtio \
        -chardev "socket,id=pretty,path=$PWD/pretty.mon,server=on,wait=off" \
        -mon chardev=pretty,mode=control,pretty=on -qmp "tcp:localhost:$port,server=on,wait=off"
    expect_rc 0 live m list --output=json
    cp "$OUT_FILE" by-unix
    expect_json '[[s["tag"], s["identity"], s["complete"], s["current"]] for s in d["snapshots"]]' \
        '[["one", "recorded", true, false], ["two", "recorded", true, true]]'
    expect_json '[i["filename"] for i in d["images"]]' "[\"$PWD/b.qcow2\", \"$PWD/a.qcow2\"]"
    expect_rc 0 ss list --output=json --qmp "tcp:localhost:$port"
    expect_same_file "$OUT_FILE" by-unix
    expect_rc 0 ss list --output=json --qmp "unix:$PWD/pretty.mon"
    expect_same_file "$OUT_FILE" by-unix
    # QEMU's file names are relative to its folder, wherever the command is run
    (cd / && ss list --output=json --qmp "unix:$OLDPWD/m.mon") >elsewhere
    expect_same_file elsewhere by-unix
    expect_rc 0 live m show tag=one
    expect_out 'before it all'
    expect_rc 0 live m tree
    expect_out '─two +[0-9a-f]{8} .* current'
    expect_rc 0 live m check
    expect_rc 0 live m list --device virtio0 --output=json
    expect_json 'len(d["images"])' 1
    expect_rc 1 live m list --device virtio1
    expect_err "writes to no disk 'virtio1'; its disks are virtio0, d0"
}

# A name that leads to another file here than it did where QEMU was started: QEMU's own word counts.
test_files_that_are_elsewhere() {
    new_images a.qcow2
    ss create -q one a.qcow2
    mkdir there
    cp a.qcow2 there/
    (cd there && qemu-system-x86_64 -machine pc,accel=kvm:tcg -m 64 -nodefaults -display none \
        -drive file=a.qcow2,format=qcow2,if=virtio -daemonize -pidfile "$TEST_DIR/pid" \
        -qmp "unix:$OLDPWD/m.mon,server=on,wait=off" 2>"$TEST_DIR/log") || fail "$(cat "$TEST_DIR/log")"
    cleanup_fn eval 'kill "$(cat "$TEST_DIR/pid")"'
    remember a.qcow2
    expect_rc 0 live m list
    expect_err "warning: 'a.qcow2' cannot be read here as QEMU has it open"
    expect_rc 0 live m create two
    expect_rc 0 live m list --output=json
    expect_json '[[s["tag"], s["identity"]] for s in d["snapshots"]]' '[["one", "derived"], ["two", "derived"]]'
    before=$(json '[s["id"] for s in d["snapshots"]]')
    (cd there && ss list --output=json --qmp "unix:$OLDPWD/m.mon") >"$OUT_FILE" 2>"$ERR_FILE"
    expect_json '[[s["tag"], s["identity"]] for s in d["snapshots"]]' '[["one", "recorded"], ["two", "derived"]]'
    expect_equal "$(json 'd["snapshots"][1]["id"]')" "$("$PYTHON" -c 'import json, sys
print(json.loads(sys.argv[1])[1])' "$before")" 'identity by QEMU'
    expect_equal "$(wc -c <"$ERR_FILE")" 0
    expect_unchanged
}

# What is not a disk of the guest's that it writes to has no part in a snapshot; filters above an
# image, and a device's ID in place of the drive's, make no difference.
test_disks_of_every_kind() {
    new_images drive.qcow2 node.qcow2 base.qcow2 ro.qcow2
    real create -q -f qcow2 -b base.qcow2 -F qcow2 over.qcow2
    truncate -s 1M cd.iso flash.raw
    truncate -s 1440k floppy.img
    machine m -- -drive file=drive.qcow2,format=qcow2,if=virtio \
        -blockdev driver=qcow2,node-name=plain,file.driver=file,file.filename=node.qcow2 \
        -device virtio-blk-pci,drive=plain,id=disk1 -object throttle-group,id=group \
        -blockdev driver=throttle,throttle-group=group,node-name=slow,file.driver=copy-on-read,file.file.driver=qcow2,file.file.file.driver=file,file.file.file.filename=over.qcow2 \
        -device virtio-blk-pci,drive=slow -drive file=cd.iso,format=raw,media=cdrom,if=ide \
        -drive if=none,id=empty -device ide-cd,drive=empty \
        -drive file=floppy.img,format=raw,if=floppy -drive file=flash.raw,format=raw,if=pflash \
        -drive file=ro.qcow2,format=qcow2,if=none,id=ro,readonly=on -device virtio-blk-pci,drive=ro
    expect_rc 0 live m create -p one
    expect_out "^created snapshot 'one' \([0-9a-f]{8}\) on 3 images$"
    expect_err '100.00/100%'
    expect_rc 0 live m list --output=json
    expect_json 'sorted(i["filename"].split("/")[-1] for i in d["images"])' \
        '["drive.qcow2", "node.qcow2", "over.qcow2"]'
    expect_json '[i["backing-chain"] for i in d["images"] if i["backing-filename"]]' \
        "[[\"$PWD/base.qcow2\"]]"
    expect_rc 0 live m create two --device virtio0 --device disk1 --device slow
    expect_refused coverage live m create three --device virtio0 --device disk1
    expect_err 'would leave out writable disks: slow'
    expect_rc 0 live m create three --device virtio0 --device plain --allow coverage
    expect_err 'warning \[coverage\]'
    expect_equal "$(names m)" 'one two'
    expect_equal "$(names m --all)" 'one two three'
    expect_refused coverage live m apply tag=three --device virtio0 --device plain
    expect_refused set-partial live m apply tag=three
    expect_rc 0 live m apply tag=three --allow set-partial
    expect_rc 0 live m delete tag=three --allow set-partial
    stop_qemu m
    expect_clean drive.qcow2 node.qcow2 over.qcow2
    expect_equal "$(tags over.qcow2) $(tags ro.qcow2)" 'one two '
}

# ---- internal snapshots ---------------------------------------------------------------------------

# The guest's data of every disk, and its memory, are what they were at each snapshot in turn.
test_each_snapshot_has_its_data() {
    local tag
    new_images a.qcow2 b.qcow2
    machine m a.qcow2 b.qcow2
    qmp m '{"execute": "cont"}' >/dev/null
    for tag in 1 2 3; do
        guest_put m 0 "$tag"
        guest_put m 1 "1$tag"
        expect_rc 0 live m create "s$tag"
    done
    guest_put m 0 99
    guest_put m 1 98
    expect_rc 0 live m apply tag=s2 --save-current s4
    for tag in 2 1 3 2; do
        expect_rc 0 live m apply "tag=s$tag"
        guest_has m 0 "$tag"
        guest_has m 1 "1$tag"
    done
    expect_rc 0 live m apply tag=s4
    guest_has m 0 99
    guest_has m 1 98
    expect_equal "$(qmp m '{"execute": "query-status"}' | grep -o '"running": [a-z]*')" '"running": true'
    expect_rc 0 live m delete tag=s2
    expect_out "^deleted snapshot 's2' \([0-9a-f]{8}\)$"
    expect_equal "$(names m)" 's1 s3 s4'
    stop_qemu m
    expect_clean a.qcow2 b.qcow2
    expect_data 99 a.qcow2
    expect_data 98 b.qcow2
    # offline they are the same snapshots
    expect_rc 0 ss apply -q tag=s3 a.qcow2 b.qcow2
    expect_data 3 a.qcow2
    expect_data 13 b.qcow2
}

# Whatever a rule forbids is refused before QEMU is asked, and changes nothing.
test_refusals() {
    new_images a.qcow2 b.qcow2
    real snapshot -c other a.qcow2
    real snapshot -c twice a.qcow2
    real snapshot -c twice a.qcow2
    real snapshot -c alone b.qcow2
    machine m a.qcow2 b.qcow2
    expect_rc 0 live m create good
    remember a.qcow2 b.qcow2
    expect_refused tag-exists live m create good
    expect_refused tag-exists live m create other # QEMU would give the one disk a second one
    expect_refused tag-exists live m create alone
    expect_refused tag-empty live m create ''
    expect_refused tag-numeric live m create 77
    expect_refused tag-numeric live m create 1
    expect_err 'is the ID of another snapshot'
    expect_refused selector-bare live m apply good
    expect_refused selector-unknown live m delete tag=none
    expect_refused set-partial live m apply tag=other
    expect_refused tag-duplicate live m apply tag=twice
    expect_refused tag-duplicate live m delete tag=twice --allow set-partial
    expect_rc 0 live m create new --dry-run
    expect_rc 0 live m apply tag=good --dry-run
    expect_rc 0 live m delete tag=good --dry-run
    expect_unchanged 'dry runs'
    # of the disks alone: only an image that is closed goes back to that
    stop_qemu m
    ss create -q disks a.qcow2 b.qcow2
    machine m a.qcow2 b.qcow2
    remember a.qcow2 b.qcow2
    expect_refused load-would-fail live m apply tag=disks
    expect_err 'of the disks alone'
    qmp m '{"execute": "block-dirty-bitmap-add", "arguments": {"node": "d1", "name": "backup"}}'
    expect_refused load-would-fail live m apply tag=good
    expect_err 'b.qcow2 has a dirty bitmap'
    guest_put m 0 7
    expect_equal "$(names m)" 'good disks'
}

# Two machines' snapshots under one tag: QEMU would load both and say nothing.
test_collision_is_refused() {
    local name
    new_images a.qcow2 b.qcow2
    for name in a b; do
        machine "$name" "$name.qcow2"
        expect_rc 0 live "$name" create same
        stop_qemu "$name"
    done
    machine m a.qcow2 b.qcow2
    remember a.qcow2 b.qcow2
    expect_refused identity-collision live m apply tag=same
    expect_refused identity-collision live m delete tag=same
    expect_rc 2 live m check
    expect_out '^\[identity-collision\]'
}

# What QEMU says is passed on word for word, and nothing is left of what failed.
test_errors_of_jobs() {
    new_images a.qcow2 b.qcow2
    machine m a.qcow2 -- -drive file=b.qcow2,format=qcow2,if=none,id=fast \
        -device nvme,serial=1,drive=fast
    expect_rc 1 live m create one
    expect_err "snapshot-save: State blocked by non-migratable device '[^']*/nvme'; no disk has the snapshot$"
    expect_equal "$(names m --all)" ''
    expect_equal "$(qmp m '{"execute": "query-jobs"}')" '[]'
    guest_put m 0 5
}

# Nothing can be written to the images; but what came from what is known at once, and stands in
# them as soon as any command changes them after the machine has ended.
test_lineage() {
    local tag ids
    new_images a.qcow2 b.qcow2
    ss create -q before a.qcow2 b.qcow2
    machine m a.qcow2 b.qcow2
    for tag in a b c; do
        expect_rc 0 live m create "$tag"
    done
    expect_rc 0 live m apply tag=b
    expect_rc 0 live m create d --output=json
    expect_json 'd["current"]' true
    expect_equal "$(parents live m list --output=json)" 'before<- a<before? b<a? c<b? d<b?'
    ids=$(json '[s["id"] for s in d["snapshots"]]')
    expect_json '[s["current"] for s in d["snapshots"]]' '[false, false, false, false, true]'
    # the images know nothing yet, and while they are in use they are not written to either
    remember a.qcow2 b.qcow2
    expect_rc 0 ss recover
    expect_unchanged
    expect_equal "$(parents ss list --output=json a.qcow2 b.qcow2)" 'before<- a<- b<- c<- d<-'
    stop_qemu m
    expect_rc 0 ss recover
    expect_equal "$(parents ss list --output=json a.qcow2 b.qcow2)" 'before<- a<before? b<a? c<b? d<b?'
    expect_json '[s["id"] for s in d["snapshots"]]' "$ids"
    expect_json '{s["identity"] for s in d["snapshots"]} == {"recorded"}' true
    expect_json 'd["snapshots"][4]["current"]' true
    # a later run goes on from there; without recover, the next command that writes records it
    machine m a.qcow2 b.qcow2
    expect_rc 0 live m apply tag=a
    expect_rc 0 live m create e
    expect_rc 0 live m delete tag=d
    stop_qemu m
    expect_rc 0 ss create -q f a.qcow2
    expect_equal "$(parents ss list --all --output=json a.qcow2 b.qcow2)" \
        'before<- a<before? b<a? c<b? e<a? f<e?'
    expect_rc 0 ss recover
    expect_out '^nothing to recover$'
    # one that is loaded and left: the machine is at b, not at e
    machine m a.qcow2 b.qcow2
    expect_rc 0 live m apply tag=b
    stop_qemu m
    "$QEMU_IMG" snapshot -c g b.qcow2
    expect_equal "$(parents ss list --all --output=json b.qcow2)" \
        'before<- a<before? b<a? c<b? e<a? g<b?'
    expect_clean a.qcow2 b.qcow2
}

# ---- the monitor ----------------------------------------------------------------------------------

test_addresses() {
    local address
    new_images a.qcow2
    for address in a.mon unix: tcp:localhost tcp:localhost:no tcp: fd:3; do
        expect_rc 1 ss list --qmp "$address"
        expect_err 'unix:PATH or tcp:HOST:PORT'
    done
    expect_rc 1 ss list --qmp "unix:$PWD/none"
    expect_err "cannot connect to 'unix:.*No such file"
    expect_rc 1 ss list --qmp "unix:$PWD/none" a.qcow2
    expect_err 'takes the place of IMAGE'
    expect_rc 1 ss list --qmp "unix:$PWD/none" -f qcow2
    expect_rc 1 ss check --qmp "unix:$PWD/none" --repair
    expect_rc 1 ss list --device x a.qcow2
    expect_err 'goes with --qmp'
    expect_rc 1 ss create one --qmp "unix:$PWD/none" --description text
    expect_rc 1 ss adopt tag=x --qmp "unix:$PWD/none"
    expect_err 'Unknown option --qmp'
}

# peer TEXT...: a monitor at $PWD/peer that says each text to a client, waits for a line in between,
# and then hangs up
peer() {
    "$PYTHON" - "$@" <<'EOT' &
import os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind("peer.new")
server.listen()
os.rename("peer.new", "peer")
client, _ = server.accept()
lines = client.makefile("rw", encoding="utf-8", newline="\n")
for index, text in enumerate(sys.argv[1:]):
    if index > 0:
        lines.readline()
    lines.write(text)
    lines.flush()
EOT
    PEER=$!
    while [ ! -S peer ]; do sleep 0.01; done
}

test_what_is_no_monitor() {
    local hello='{"QMP": {"version": {}, "capabilities": []}}' text
    for text in 'QEMU 7.2 monitor - type help' '"QMP"' '{"return": {}}' '{"QMP": ]}'; do
        peer "$text"$'\r\n'
        expect_rc 1 ss list --qmp unix:peer
        expect_err "'unix:peer': (this is no QMP monitor|QEMU's answer cannot be read)"
        wait "$PEER"
        rm peer
    done
    # gone in the middle of it
    peer "$hello" '{"return": {}}' '{"event": "STOP"}{"return": []}'
    expect_rc 1 ss list --qmp unix:peer
    expect_err 'query-named-block-nodes: QEMU went away'
    wait "$PEER"
    rm peer
    # and in the middle of a word
    peer "$hello" '{"return": {}}' '{"return": [{"device": "a'
    expect_rc 1 ss list --qmp unix:peer
    expect_err 'query-block: QEMU went away'
    wait "$PEER"
    rm peer
    # answers of the wrong shape are none
    peer "$hello" '{"return": {}}' '{"return": [7, {"device": 7, "inserted": {"ro": 1}}, null]}' \
        '{"return": {"a": []}}'
    expect_rc 1 ss list --qmp unix:peer
    expect_err 'no disk'
    wait "$PEER"
}

# QEMU serves one client at a time.
test_monitor_taken_by_another() {
    new_images a.qcow2
    machine m a.qcow2
    "$PYTHON" -c '
import socket, sys
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
client.recv(4096)
print("here", flush=True)
sys.stdin.read()' m.mon < <(sleep 1000) >here &
    cleanup_fn kill $!
    while ! grep -q here here; do sleep 0.01; done
    expect_rc 1 live m list
    expect_err 'does not answer: another client has this monitor'
}

run_tests "$@"
