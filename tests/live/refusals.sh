#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Bad snapshots are refused at virsh, with the reason, and nothing has changed: the images are the
# same, the guest runs on, and the next good snapshot works.
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

# save_arguments TAG [NODE...]: of a snapshot-save; the tag as JSON has it between the quotes
save_arguments() {
    local tag=$1 list
    shift
    list=$(printf ', "%s"' "$@")
    printf '"job-id": "j", "tag": "%s", "vmstate": "%s", "devices": [%s]' "$tag" "$1" "${list#, }"
}

# P2: without its metadata libvirt would overwrite the snapshot in the images. P11: a tag that one
# of two disks has.
test_existing_tags() {
    local one two
    new_images a.qcow2 b.qcow2
    real snapshot -c half a.qcow2
    guarded a.qcow2 b.qcow2
    { read -r one && read -r two; } <<<"$(nodes)"
    expect_rc 0 libvirt snapshot-create-as d b
    expect_rc 0 libvirt snapshot-delete --metadata d b
    settle
    refused tag-exists snapshot-create-as d b
    refused_hmp tag-exists 'savevm b'
    refused_hmp tag-exists '  savevm "b" '
    refused_hmp tag-exists $'savevm\vb'
    refused_qmp tag-exists snapshot-save "$(save_arguments b "$one" "$two")"
    expect_rc 1 libvirt qemu-monitor-command d --return-value \
        "{\"execute\": \"snapshot-save\", \"arguments\": {$(save_arguments b "$one" "$two")}}"
    refused_qmp tag-exists 'snapshot-s\u0061ve' "$(save_arguments '\u0062' "$two" "$one")"
    refused_qmp tag-exists human-monitor-command '"command-line": "savevm \"\u0062\""'
    good_snapshot
    refused tag-exists snapshot-create-as d half
    refused_hmp tag-exists 'savevm half'
    refused_qmp tag-exists snapshot-save "$(save_arguments half "$one" "$two")"
    good_snapshot
}

test_bad_tags() {
    local one two name
    guarded a.qcow2 b.qcow2
    { read -r one && read -r two; } <<<"$(nodes)"
    good_snapshot
    refused_hmp tag-empty 'savevm ""'
    refused_qmp tag-empty snapshot-save "$(save_arguments '' "$one" "$two")"
    refused tag-numeric snapshot-create-as d 1
    refused_hmp tag-numeric 'savevm 1'
    refused_qmp tag-numeric snapshot-save "$(save_arguments 1 "$one" "$two")"
    refused tag-invalid snapshot-create-as d $'a\tb'
    refused tag-invalid snapshot-create-as d "$(printf 'x%.0s' {1..300})"
    good_snapshot
    # libvirt up to 10.8 puts a name into a line of the human monitor as it is
    for name in 'a"b' 'a\b' 'a\nb' '"' \\; do
        ! sends_hmp || refused tag-invalid snapshot-create-as d "$name"
        sends_hmp || no_job "$name"
        expect_rc 1 libvirt snapshot-info d "$name"
    done
    for name in $'\303\251\342\202\254' 'a b' "'"; do # the first: two letters, five bytes
        ! sends_hmp || twice "$name"
        sends_hmp || no_job "$name"
    done
    twice A-z_0.9
    twice "$(printf 'x%.0s' {1..240})"
    good_snapshot
}

# no_job NAME: later libvirts make the ID of a job of it, for which QEMU takes hardly any character
no_job() {
    expect_rc 1 libvirt snapshot-create-as d "$1"
    expect_err 'Invalid job ID|needs a job-id'
    expect_equal "$(standing)" "$STANDING" "after that, what is there"
}

# twice NAME: a good name the first time, not the second
twice() {
    expect_rc 0 libvirt snapshot-create-as d "$1"
    expect_rc 0 libvirt snapshot-delete --metadata d "$1"
    settle
    refused tag-exists snapshot-create-as d "$1"
}

test_disks_left_out() {
    local one two file
    guarded a.qcow2 b.qcow2
    { read -r one && read -r two; } <<<"$(nodes)"
    refused_qmp coverage snapshot-save "$(save_arguments x "$one")"
    refused_qmp coverage snapshot-save "$(save_arguments x "$two")"
    refused_qmp coverage blockdev-snapshot-internal-sync "\"device\": \"$one\", \"name\": \"x\""
    refused_hmp coverage "snapshot_blkdev_internal $one x"
    refused coverage snapshot-create-as d x --disk-only --diskspec vdb,snapshot=no
    good_snapshot
    # two disks, but not at one moment
    for file in "$one" "$two"; do
        refused_qmp atomic blockdev-snapshot-sync \
            "\"node-name\": \"$file\", \"snapshot-file\": \"$PWD/x-$file\""
        refused_qmp atomic blockdev-snapshot "\"node\": \"$file\", \"overlay\": \"x\""
        refused_hmp atomic "snapshot_blkdev $file $PWD/x-$file"
        refused_hmp atomic "snapshot_blkdev -n $file $PWD/x-$file"
    done
    good_snapshot
    # overlays of both are good, and then it is they that count
    expect_rc 0 libvirt snapshot-create-as d y --disk-only
    expect_equal "$(printf '%s ' ./*.y)" './a.y ./b.y '
    { read -r one && read -r two; } <<<"$(nodes_in_use)"
    settle
    refused_qmp coverage snapshot-save "$(save_arguments x "$two")"
    refused_qmp atomic blockdev-snapshot "\"node\": \"$one\", \"overlay\": \"x\""
}

test_protected_snapshots() {
    local one
    new_images a.qcow2 b.qcow2
    ss create -q keep a.qcow2 b.qcow2
    ss protect -q tag=keep a.qcow2 b.qcow2
    guarded a.qcow2 b.qcow2
    read -r one <<<"$(nodes)"
    good_snapshot
    refused_hmp snapshot-protected 'delvm keep'
    refused_hmp snapshot-protected "snapshot_delete_blkdev_internal $one keep"
    refused_hmp snapshot-protected "snapshot_delete_blkdev_internal $one keep 1"
    refused_qmp snapshot-protected snapshot-delete \
        "\"job-id\": \"j\", \"tag\": \"keep\", \"devices\": [\"$one\"]"
    refused_qmp snapshot-protected blockdev-snapshot-delete-internal-sync \
        "\"device\": \"$one\", \"id\": \"1\""
    expect_rc 0 libvirt snapshot-delete d good-1
    good_snapshot
}

# QEMU's JSON is laxer than libvirt's. While there is no libvirtd, its monitor is ours to use.
test_monitor_without_libvirt() {
    local one two text
    guarded a.qcow2 b.qcow2
    { read -r one && read -r two; } <<<"$(nodes)"
    expect_rc 0 libvirt snapshot-create-as d b
    expect_rc 0 libvirt snapshot-delete --metadata d b
    settle
    stop_daemon
    MONITOR=$(in_libvirt sh -c 'echo /var/lib/libvirt/qemu/domain-*/monitor.sock')
    STANDING=$(snapshot_tables && checksum ./*)
    for text in "{'execute': 'human-monitor-command', 'arguments': {'command-line': 'savevm b'}}" \
        "{'\u0065xecute': 'snapshot-sav\u0065', 'arguments': {'job-id': 'j', 'tag': '\u0062',
            'vmstate': '$one', 'devices': ['$one', '$two']}}" \
        $'{"execute":\n"human-monitor-command","arguments":{"command-line":"savevm\\tb"}}' \
        "{\"execute\": \"human-monitor-command\", \"id\": {\"savevm\": 1}, \
            'arguments': {'command-line': \" \\f\\u000b\\nsavevm\\tb\"}}"; do
        expect_rc 1 monitor "$text"
        expect_err 'snapshot-set: refused \[tag-exists\]: .'
        expect_equal "$(snapshot_tables && checksum ./*)" "$STANDING" "after $text, what is there"
    done
    expect_rc 0 monitor "{'execute': 'human-monitor-command',
        'arguments': {'command-line': 'savevm \"\\'c\\'\"'}}"
    expect_equal "$(tags_in_use a.qcow2)$(tags_in_use b.qcow2)" "b 'c' b 'c' "
    start_daemon
    good_snapshot
}

# monitor COMMAND: straight to the monitor, through the guard
monitor() {
    in_libvirt "$PYTHON" "$TOP/tests/lib/qmp.py" "$MONITOR" "$1"
}

# put_together: P1, a and b come from two machines, and both have a loadable "b"
put_together() {
    new_images a.qcow2 b.qcow2
    start_qemu one a.qcow2
    hmp one 'savevm a' >/dev/null
    hmp one 'savevm b' >/dev/null
    stop_qemu one
    start_qemu two b.qcow2
    hmp two 'savevm b' >/dev/null
    stop_qemu two
}

# tell_libvirt_of_b: there is a snapshot b of the running domain, as far as libvirt knows
tell_libvirt_of_b() {
    expect_rc 0 libvirt snapshot-create-as d c
    libvirt snapshot-dumpxml d c | sed 's|<name>c</name>|<name>b</name>|' >b.xml
    expect_rc 0 libvirt snapshot-create d --redefine b.xml
}

# refused_revert STATE: to b, of a guest in that state, which is then off; no disk has changed
refused_revert() {
    local file tables
    expect_equal "$(libvirt domstate d)" "$1" 'the guest before'
    for file in a b; do
        cp "$file.qcow2" "$file.before"
    done
    tables=$(snapshot_tables)
    expect_rc 1 libvirt snapshot-revert d b
    expect_err "refused \[identity-collision\]: tag .b. is two different snapshots"
    expect_err 'no disk was changed; .*snapshot-revert, the machine is now shut off'
    expect_equal "$(libvirt domstate d)" 'shut off' 'the guest afterwards'
    expect_equal "$(snapshot_tables)" "$tables" 'the snapshots'
    for file in a b; do
        expect_rc 0 real compare -q "$file.qcow2" "$file.before"
    done
}

test_colliding_disks() {
    local identities='[0-9a-f]{8} on .*a\.qcow2 \(20[-0-9 :]{17}\), [0-9a-f]{8} on .*b\.qcow2 \(20'
    put_together
    start_libvirt
    install_hook
    watch_log
    define d "$PWD/a.qcow2" "$PWD/b.qcow2"
    remember a.qcow2 b.qcow2
    expect_rc 1 libvirt start d
    expect_err "refused \[identity-collision\]: tag 'b' is two different snapshots: $identities"
    expect_unchanged 'the refused start'
    expect_logged "domain d: .*refused \[identity-collision\]: .*$identities"
    policy '[rules]' identity-collision=warn
    expect_rc 0 libvirt start d
    expect_logged "domain d: warning \[identity-collision\]: .*$identities"
    tell_libvirt_of_b
    policy '[rules]'
    settle
    refused_hmp identity-collision 'loadvm b'
    refused_revert running
    remember a.qcow2 b.qcow2
    refused_revert 'shut off'
    expect_unchanged 'the refused revert'
    policy '[rules]' identity-collision=warn
    expect_rc 0 libvirt start d
}

test_status() {
    local before TABLE
    before=$(date -u +%FT%TZ)
    guarded a.qcow2 b.qcow2
    new_images c.qcow2
    define 'second one' "$PWD/c.qcow2"
    expect_rc 0 libvirt start 'second one'
    settle
    guards
    TABLE=$OUT
    guards --output=json
    expect_json '[g["domain"] for g in d]' '["d", "second one"]'
    expect_json "all('$before' <= g['since'] for g in d)" true
    expect_json '[g["refused"] for g in d]' '[null, null]'
    expect_equal "$(cat "/proc/$(json 'd[1]["pid"]')/comm")" snapset-guard
    expect_equal "$(wc -l <<<"$TABLE")" 3 'lines of the table'
    refused_hmp tag-empty 'savevm ""'
    refused_hmp tag-invalid 'savevm a b'
    guards
    TABLE=$OUT
    guards --output=json
    expect_json 'd[0]["reason"].startswith("refused [tag-invalid]: ")' true
    expect_json "'$before' <= d[0]['refused']" true
    expect_json '[d[1]["refused"], d[1]["reason"]]' '[null, null]'
    grep -qE '^d +[0-9]+ +20[-0-9T:]+Z +20[-0-9T:]+Z +refused \[tag-invalid\]: ' <<<"$TABLE" ||
        fail "$TABLE"
    expect_rc 0 libvirt destroy 'second one'
    # a guard needs a moment to end
    until guards --output=json && [ "$(json '[g["domain"] for g in d]')" = '["d"]' ]; do sleep 0.1; done
}

run_tests "$@"
