#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Many snapshots, many guests, many restarts, and what a snapshot costs with a guard. With the
# sanitizers in, fewer of each.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
# shellcheck source=../lib/libvirt.sh
. "$(dirname "$0")/../lib/libvirt.sh"
# shellcheck source=../lib/hook.sh
. "$(dirname "$0")/../lib/hook.sh"
requires qemu-img qemu-system-x86_64 libvirtd virsh unshare nsenter tini

if [ -n "$SANITIZE" ]; then
    SNAPSHOTS=25 GUESTS=5 RESTARTS=5
else
    SNAPSHOTS=250 GUESTS=30 RESTARTS=50
fi

test_many_snapshots_in_a_row() {
    local index wanted
    start_libvirt
    install_hook '[guard]' mode=required
    new_images a.qcow2 b.qcow2
    define d "$PWD/a.qcow2" "$PWD/b.qcow2"
    expect_rc 0 libvirt start d
    for ((index = 1; index <= SNAPSHOTS; index++)); do
        printf 'snapshot-create-as d s%s\n' "$index"
    done >commands
    expect_rc 0 libvirt <commands
    refute_err 'error'
    expect_rc 0 libvirt destroy d
    expect_rc 0 ss list --output=json a.qcow2 b.qcow2
    # each but the first came from the one before, as recorded
    wanted="[True] * $SNAPSHOTS"
    expect_equal "$(json "[s['complete'] for s in d['snapshots']] == $wanted")" true
    expect_equal "$(json '[s["parent"] for s in d["snapshots"]][1:] == [s["id"] for s in d["snapshots"]][:-1]')" true
    expect_equal "$(json 'd["snapshots"][-1]["current"]')" true
}

test_many_guests_at_once() {
    local index pids=() pid
    start_libvirt
    install_hook '[guard]' mode=required
    for ((index = 1; index <= GUESTS; index++)); do
        new_images "$index.qcow2"
        define "d$index" "$PWD/$index.qcow2"
    done
    for ((index = 1; index <= GUESTS; index++)); do
        libvirt start "d$index" >"start-$index" 2>&1 &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do
        wait "$pid" || fail "a guest did not start: $(cat start-*)"
    done
    expect_equal "$(libvirt list --name | grep -c '^d')" "$GUESTS" 'guests that run'
    for ((index = 1; index <= GUESTS; index++)); do
        printf 'snapshot-create-as d%s one\nsnapshot-delete --metadata d%s one\n' "$index" "$index"
    done >commands
    expect_rc 0 libvirt <commands
    # each of them is guarded
    for ((index = 1; index <= GUESTS; index++)); do
        expect_rc 1 libvirt snapshot-create-as "d$index" one
        expect_err 'refused \[tag-exists\]'
    done
}

test_many_restarts() {
    local index name
    start_libvirt
    install_hook '[guard]' mode=required
    new_images a.qcow2 b.qcow2
    define d "$PWD/a.qcow2"
    define e "$PWD/b.qcow2"
    expect_rc 0 libvirt start d
    expect_rc 0 libvirt start e
    expect_rc 0 libvirt snapshot-create-as d one
    expect_rc 0 libvirt snapshot-delete --metadata d one
    for ((index = 1; index <= RESTARTS; index++)); do
        restart_libvirt
        expect_equal "$(libvirt list --name | xargs)" 'd e' "guests after restart $index"
        for name in d e; do # it answers before it has connected to them again
            expect_rc 0 libvirt qemu-monitor-command "$name" '{"execute": "query-status"}'
        done
    done
    expect_rc 1 libvirt snapshot-create-as d one
    expect_err 'refused \[tag-exists\]'
    expect_rc 0 libvirt snapshot-create-as e one
}

# timed DOMAIN TAG: the microseconds that one snapshot of it takes
timed() {
    local started=${EPOCHREALTIME/[^0-9]/}
    libvirt snapshot-create-as "$1" "$2" >/dev/null
    echo $((${EPOCHREALTIME/[^0-9]/} - started))
}

# median FILE: of the numbers in it
median() {
    sort -n "$1" | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'
}

# private_memory GUEST: KiB that no other process shares of its guard's: keeper, relay and judge
private_memory() {
    local keeper relay
    keeper=$(nsenter --target "$LIBVIRT_PID" --mount --root \
        "$BUILD_DIR/libvirt-hooks/guard/snapshot-set-guard" status | awk -v name="$1" '$1 == name { print $2 }')
    relay=$(<"/proc/$keeper/task/$keeper/children")
    for pid in "$keeper" $relay $(<"/proc/${relay% }/task/${relay% }/children"); do
        cat "/proc/$pid/smaps_rollup"
    done | awk '/^Private_(Clean|Dirty)/ { sum += $2 } END { print sum }'
}

test_cost_of_a_snapshot() {
    local index name
    [ -z "$SANITIZE" ] || skip 'measures time'
    start_libvirt
    install_hook '[guard]' mode=required '[domain plain]' mode=off
    for name in guarded plain; do
        new_images "$name.qcow2"
        define "$name" "$PWD/$name.qcow2"
        expect_rc 0 libvirt start "$name"
    done
    for ((index = 1; index <= 40; index++)); do
        for name in guarded plain; do
            sleep 0.1 # as soon as this, nobody takes the next one
            timed "$name" "s$index" >>"times-$name"
        done
    done
    note "private memory of a guard: $(private_memory guarded) KiB"
    note "virsh snapshot-create-as: $(median times-guarded) us guarded, $(median times-plain) us without"
}

run_tests "$@"
