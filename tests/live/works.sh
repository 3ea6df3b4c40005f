#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Through the guard everything works as it does without: two machines, one with a guard and one
# without, are put through the same commands, and virsh says the same of both.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
# shellcheck source=../lib/libvirt.sh
. "$(dirname "$0")/../lib/libvirt.sh"
# shellcheck source=../lib/hook.sh
. "$(dirname "$0")/../lib/hook.sh"
requires qemu-img qemu-io qemu-system-x86_64 libvirtd virsh unshare nsenter tini

GUEST=$BUILD_DIR/tests/tools/guest
POLICY=('[guard]' mode=required '[domain without]' mode=off)

# define_guest NAME FOLDER: a domain with the disks a and b of that folder, and the small guest of
# tests/tools/guest.c, which answers as an agent
define_guest() {
    local name=$1 folder=$2
    cat >"$name.xml" <<EOT
<domain type='qemu'><name>$name</name><memory unit='MiB'>32</memory>
<os><type arch='x86_64' machine='pc'>hvm</type><kernel>$GUEST</kernel></os>
<features><acpi/></features>
<devices><emulator>$(command -v qemu-system-x86_64)</emulator><memballoon model='none'/>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='$folder/a'/>
<target dev='vda' bus='virtio'/></disk>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='$folder/b'/>
<target dev='vdb' bus='virtio'/></disk>
<controller type='scsi' model='virtio-scsi'/>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
</devices></domain>
EOT
    libvirt define "$name.xml" >/dev/null
}

# ---- the same for both: what follows is about the domain DOMAIN, in a folder of its name ----------

# say RC COMMAND [ARGUMENT...]: virsh; what it says must be the same for both, but for numbers that
# differ from run to run
say() {
    local rc=$1
    shift
    expect_rc "$rc" libvirt "$@"
    {
        printf '$ virsh %s\n' "$*"
        cat "$OUT_FILE" "$ERR_FILE"
    } | sed -E "s/$DOMAIN/DOMAIN/g
        s/(\"id\": ?\"libvirt-|\"[a-z-]+-n?sec\": |\"(actual|vm-state)-size\": )[0-9]+/\\1N/
        s/^((Allocation|Physical): +)[0-9]+/\\1N/" >>said
}

# until_it COMMAND [ARGUMENT...]: try until it works
until_it() {
    while ! "$@" >/dev/null 2>&1; do
        sleep 0.1
    done
}

# expect_state WHAT...: `virsh domstate --reason` says so
expect_state() {
    say 0 domstate --reason "$DOMAIN"
    expect_equal "$OUT" "$*" state
}

# guest_io DISK COMMAND: a qemu-io command on a disk (vda: 0) of the running machine, which must
# say nothing
guest_io() {
    expect_rc 0 libvirt qemu-monitor-command --hmp "$DOMAIN" \
        "qemu-io -d /machine/peripheral/virtio-disk$1/virtio-backend \"$2\""
    expect_equal "$(tr -d '[:space:]' <<<"$OUT")" '' "what '$2' said"
}

# expect_disks TARGET...: the disks of the machine, as libvirt and as QEMU know them
expect_disks() {
    say 0 domblklist --details "$DOMAIN"
    expect_equal "$(awk 'NR > 2 && NF { printf "%s ", $3 }' <<<"$OUT")" "$* " disks
    say 0 qemu-monitor-command --pretty "$DOMAIN" '{"execute": "query-block"}'
    expect_equal "$(grep -c '"qdev":' <<<"$OUT")" $# "QEMU's disks"
}

# expect_answer N: the guest's agent is there, and has answered N commands since the guest began
expect_answer() {
    until_it has_agent
    until_it pings # libvirt says that it is connected a moment before it has it open
    expect_equal "$(cat answer)" "{\"return\":{\"answered\":$1}}" "the agent's answer"
}

pings() {
    libvirt qemu-agent-command "$DOMAIN" '{"execute": "guest-ping"}' >answer
}

has_agent() {
    libvirt dumpxml "$DOMAIN" | grep -q "org.qemu.guest_agent.0' state='connected'"
}

starts() {
    say 0 start "$DOMAIN"
    expect_state running '(booted)'
    expect_answer 1
    expect_answer 2
    say 1 start "$DOMAIN"
    expect_disks vda vdb
    say 0 suspend "$DOMAIN"
    expect_state paused '(user)'
    say 0 resume "$DOMAIN"
    say 0 blockresize "$DOMAIN" vdb 9M
    say 0 domblkinfo "$DOMAIN" vdb
    expect_out '^Capacity: +9437184$'
    say 0 vcpucount "$DOMAIN"
}

has_no_disk() {
    ! libvirt domblklist "$DOMAIN" | grep -w "$1"
}

# a disk that the guest must let go of (PCI), and one that QEMU takes away by itself (SCSI)
plugs_and_unplugs() {
    local target
    new_images "$PWD/plugged"
    for target in vdc sdc; do
        say 0 attach-disk "$DOMAIN" "$PWD/plugged" "$target" --subdriver qcow2 --live
        expect_disks vda vdb "$target"
        say 0 detach-disk "$DOMAIN" "$target" --live
        until_it has_no_disk "$target" # libvirt says so, too, when the guest takes its time
        expect_disks vda vdb
    done
    say 1 attach-disk "$DOMAIN" "$PWD/nowhere" vdc --subdriver qcow2 --live
    expect_clean plugged
}

commands_and_dumps() {
    say 0 qemu-monitor-command "$DOMAIN" '{"execute": "query-status"}'
    expect_out '"status":"running"'
    say 0 qemu-monitor-command --hmp "$DOMAIN" info status
    expect_out '^VM status: running'
    say 0 qemu-monitor-command "$DOMAIN" '{"execute": "nonsense"}'
    expect_out '"class":"CommandNotFound"'
    say 0 qemu-monitor-command --hmp "$DOMAIN" nonsense
    say 0 dump --memory-only --format elf "$DOMAIN" "$PWD/core"
    expect_equal "$(head -c 4 core | tail -c 3)" ELF "dump's beginning"
    say 0 dump "$DOMAIN" "$PWD/core.migration"
    expect_equal "$(head -c 4 core.migration)" QEVM "dump's beginning"
    expect_state running '(unpaused)'
}

# commands N: that many monitor commands, of all sorts
commands() {
    local index kinds=(
        '{"execute":"query-status"}' '{"execute":"query-name"}' '{"execute":"query-version"}'
        '{"execute":"qom-list","arguments":{"path":"/machine"}}' '{"execute":"nonsense"}'
        '{"execute":"query-block"}' '{"execute":"query-commands"}' '{"execute":"query-jobs"}')
    for ((index = 0; index < $1; index++)); do
        printf "qemu-monitor-command %s '%s'\n" "$DOMAIN" "${kinds[index % ${#kinds[@]}]}"
    done
}

thousand_commands() {
    say 0 "$(commands 1000)"
    expect_equal "$(grep -c '^{' "$OUT_FILE")" 1000 answers
}

# backup MODE INCREMENTAL CHECKPOINT INSIDE: begin a backup of vda
backup() {
    cat >backup.xml <<EOT
<domainbackup mode='$1'>${2:+<incremental>$2</incremental>}$4
<disk name='vdb' backup='no'/></disks></domainbackup>
EOT
    cat >checkpoint.xml <<EOT
<domaincheckpoint><name>$3</name><disks><disk name='vda' checkpoint='bitmap'/>
<disk name='vdb' checkpoint='no'/></disks></domaincheckpoint>
EOT
    say 0 backup-begin "$DOMAIN" backup.xml checkpoint.xml
}

# push FILE INCREMENTAL CHECKPOINT: back vda up into a file
push() {
    backup push "$2" "$3" "<disks><disk name='vda' backup='yes' type='file'>
<driver type='qcow2'/><target file='$PWD/$1'/></disk>"
    until_it is_idle
    until_it real info "$1" # libvirt has QEMU close it a moment later
}

is_idle() {
    libvirt domjobinfo "$DOMAIN" | grep -q '^Job type: *None'
}

# exported COMMAND: a qemu-io command on the disk that a pull backup exports
exported() {
    expect_rc 0 qemu-io -r -f raw -c "$1" "nbd+unix:///vda?socket=$PWD/nbd"
    refute_out 'Pattern verification failed'
}

backs_up() {
    local name
    guest_io 0 'write -q -P 1 0 64k'
    push full '' one
    expect_data 1 full
    guest_io 0 'write -q -P 2 64k 64k'
    push increment one two
    expect_rc 0 real map -U --output=json increment
    expect_json '[(e["start"], e["length"]) for e in d if e["depth"] == 0]' '[[65536, 65536]]'
    backup pull two three "<server transport='unix' socket='$PWD/nbd'/>
<disks><disk name='vda' backup='yes' type='file' exportname='vda'><scratch file='$PWD/scratch'/></disk>"
    guest_io 0 'write -q -P 3 64k 64k'
    exported 'read -q -P 2 64k 64k'
    say 0 domjobabort "$DOMAIN"
    until_it is_idle
    guest_io 0 'read -q -P 3 64k 64k'
    say 0 checkpoint-list --name --topological "$DOMAIN"
    for name in three two one; do
        say 0 checkpoint-delete "$DOMAIN" "$name"
    done
}

# pivot DISK: once its block job is ready
pivot() {
    job_copied "$DOMAIN"
    say 0 blockjob "$DOMAIN" "$1" --pivot
}

moves_blocks() {
    local disk
    guest_io 1 'write -q -P 4 0 64k'
    say 0 blockcopy "$DOMAIN" vdb "$PWD/copy" --format qcow2 --transient-job
    pivot vdb
    guest_io 1 'read -q -P 4 0 64k'
    say 0 domblklist "$DOMAIN"
    expect_out "^ vdb +$PWD/copy$"
    say 0 snapshot-create-as "$DOMAIN" over --disk-only --no-metadata
    guest_io 0 'write -q -P 5 0 64k'
    guest_io 1 'write -q -P 6 0 64k'
    for disk in vda vdb; do
        say 0 blockcommit "$DOMAIN" "$disk" --active
        pivot "$disk"
    done
    say 0 domblklist "$DOMAIN"
    expect_out "^ vda +$PWD/a$"
    guest_io 0 'read -q -P 5 0 64k'
    guest_io 1 'read -q -P 6 0 64k'
    say 0 snapshot-create-as "$DOMAIN" under --disk-only --no-metadata
    for disk in vda vdb; do
        say 0 blockpull "$DOMAIN" "$disk"
        job_ended "$DOMAIN" "$disk"
    done
    expect_rc 0 real info -U a.under
    refute_out '^backing file'
    expect_disks vda vdb
}

# the guest goes on where it was
saves_and_restores() {
    expect_answer 3
    say 0 save "$DOMAIN" "$PWD/saved"
    expect_state shut off '(saved)'
    say 0 restore "$PWD/saved"
    expect_state running '(restored)'
    expect_answer 4
    say 0 managedsave "$DOMAIN"
    expect_state shut off '(saved)'
    say 0 start "$DOMAIN"
    expect_state running '(restored)'
    expect_answer 5
    say 0 reset "$DOMAIN"
    until_it is_new # it is reset after the reply
}

is_new() {
    pings && grep '"answered":[12]}' answer
}

ends() {
    say 0 destroy "$DOMAIN"
    expect_state shut off '(destroyed)'
    say 0 start "$DOMAIN"
    expect_answer 1
    say 0 send-key "$DOMAIN" KEY_A
    until_it is_off
    expect_state shut off '(shutdown)'
    expect_data 5 a
    expect_data 6 copy
    expect_data 5 a.under
    expect_data 6 copy.under
    expect_clean a b copy a.under copy.under
}

is_off() {
    libvirt domstate "$DOMAIN" | grep -qx 'shut off'
}

before_restart() {
    starts
    plugs_and_unplugs
    commands_and_dumps
    thousand_commands
    backs_up
    moves_blocks
    saves_and_restores
}

after_restart() {
    expect_state running '(restored)'
    expect_answer 2
    plugs_and_unplugs
    ends
}

# ---- migration ------------------------------------------------------------------------------------

# guards PID: the machines guarded in the namespace of that libvirtd
guards() {
    nsenter --target "$1" --mount "$BUILD_DIR/libvirt-hooks/guard/snapshot-set-guard" status |
        awk 'NR > 1 { printf "%s ", $1 }'
}

# expect_guards PID [NAME]: this one alone is, or will soon be: a guard needs a moment to end
expect_guards() {
    until [ "$(guards "$1")" = "${2:+$2 }" ]; do
        sleep 0.1
    done
}

# migration RC PID FOLDER: move the machine to the libvirtd of that process, by a socket in FOLDER
migration() {
    say "$1" migrate --live --p2p --unsafe --persistent --migrateuri "unix://$3/migration" "$DOMAIN" \
        "qemu+unix:///system?socket=/proc/$2/root/run/libvirt/libvirt-sock"
}

# migrate PID: it moves there
migrate() {
    migration 0 "$1" "$PWD"
    expect_state shut off '(migrated)'
    LIBVIRT_PID=$1
    expect_state running '(migrated)'
}

moves() {
    say 0 start "$DOMAIN"
    expect_answer 1
    guest_io 0 'write -q -P 1 0 64k'
    say 0 snapshot-create-as --no-metadata "$DOMAIN" here
    migration 1 "$DESTINATION" "$PWD/nowhere"
    say 0 domstate "$DOMAIN"
    expect_equal "$OUT" running state
    migrate "$DESTINATION"
    expect_answer 2
    guest_io 0 'read -q -P 1 0 64k'
    plugs_and_unplugs
    say 0 snapshot-create-as --no-metadata "$DOMAIN" there
}

moves_back() {
    LIBVIRT_PID=$DESTINATION
    migrate "$SOURCE"
    expect_answer 3
    say 0 snapshot-create-as --no-metadata "$DOMAIN" back
    say 0 destroy "$DOMAIN"
    expect_data 1 a
    expect_clean a b
}

# ---- the tests ------------------------------------------------------------------------------------

# both FUNCTION: run it for the machine with a guard and for the one without, side by side
both() {
    local domain pids=() pid failed=0
    for domain in guarded without; do
        (
            cd "$domain"
            DOMAIN=$domain OUT_FILE=$PWD/out ERR_FILE=$PWD/err
            "$@"
        ) &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do
        wait "$pid" || failed=1
    done
    [ "$failed" = 0 ] || exit
    diff -u without/said guarded/said || fail 'virsh says something else with a guard'
}

define_guests() {
    local domain
    for domain in guarded without; do
        mkdir "$domain"
        new_images "$domain/a" "$domain/b"
        define_guest "$domain" "$PWD/$domain"
    done
}

# record_monitors: from now on what passes between guard and QEMU is kept in the folder records
record_monitors() {
    mkdir records
    printf '#!/bin/sh\nexec %s %s/tests/lib/recorder.py %s "$@"\n' "$PYTHON" "$TOP" "$PWD/records" |
        nsenter --target "$LIBVIRT_PID" --mount --root \
            install -m 755 /dev/stdin /etc/libvirt/hooks/qemu.d/40-record
}

test_all_works_as_without_a_guard() {
    start_libvirt "$TEST_DIR/libvirt" 'log_filters = "1:qemu.qemu_monitor"' \
        "log_outputs = \"1:file:$TEST_DIR/monitor.log\""
    install_hook "${POLICY[@]}"
    record_monitors
    define_guests
    both before_restart
    expect_guards "$LIBVIRT_PID" guarded
    restart_libvirt
    both after_restart
    expect_guards "$LIBVIRT_PID"
    expect_rc 0 "$PYTHON" "$TOP/tests/lib/same-streams.py" "$TEST_DIR/monitor.log" \
        records/guarded-*.to-qemu
    note "$OUT"
}

test_migration() {
    local SOURCE DESTINATION DOMAIN=guarded
    start_libvirt "$TEST_DIR/source"
    SOURCE=$LIBVIRT_PID
    install_hook "${POLICY[@]}"
    define_guests
    start_libvirt "$TEST_DIR/destination"
    DESTINATION=$LIBVIRT_PID
    install_hook "${POLICY[@]}"
    LIBVIRT_PID=$SOURCE
    both moves
    expect_guards "$SOURCE"
    expect_guards "$DESTINATION" guarded
    LIBVIRT_PID=$DESTINATION
    expect_rc 1 libvirt snapshot-create-as guarded here
    expect_err 'snapshot-set: refused \[tag-exists\]'
    both moves_back
    expect_guards "$SOURCE"
    expect_guards "$DESTINATION"
    expect_lineage
    # the other host's journal is replayed when the machine is there again, and moves nothing back
    DOMAIN=guarded LIBVIRT_PID=$DESTINATION
    expect_rc 0 libvirt start guarded
    expect_rc 0 libvirt destroy guarded
    expect_lineage
}

# expect_lineage: what is known of the guarded machine's snapshots. Of "back" no host knows where it
# came from: the one where it was taken did not see "there", which "here" may have been loaded after
expect_lineage() {
    expect_rc 0 ss list --output=json guarded/a guarded/b
    expect_json '[(s["tag"], s["parent-source"], s["parent"]) for s in d["snapshots"]]' \
        '[["here", "recorded", null], ["there", "none", null], ["back", "none", null]]'
    expect_json '[s["tag"] for s in d["snapshots"] if s["current"]]' '["back"]'
    expect_json '[image["sealed"] for image in d["images"]]' '[true, true]'
}

run_tests "$@"
