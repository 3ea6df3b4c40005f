#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The hook and the guard in the libvirtd of a user who is not root (qemu:///session).
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
# shellcheck source=../lib/libvirt.sh
. "$(dirname "$0")/../lib/libvirt.sh"
# shellcheck source=../lib/hook.sh
. "$(dirname "$0")/../lib/hook.sh"
requires qemu-img qemu-system-x86_64 libvirtd virsh unshare nsenter setpriv

# new_session: a mount namespace in which /etc/libvirt holds our hook, for all daemons of this test,
# and a home for its user
new_session() {
    [ "$(id -u)" -eq 0 ] || skip 'needs root to become another user'
    unshare --mount true 2>/dev/null || skip 'cannot make a mount namespace'
    mkdir ../programs ../home
    # it may have been built where others have no access
    cp "$SNAPSHOT_SET" "$BUILD_DIR"/libvirt-hooks/snapshot-set-{hook,judge} \
        "$BUILD_DIR/libvirt-hooks/guard/snapshot-set-guard" ../programs
    choose_drivers ../drivers
    chown 65534:65534 . ../home
    chmod 755 .. .
    unshare --mount bash -c '
        mount -t tmpfs -o mode=755 none /etc/libvirt && mkdir -p /etc/libvirt/hooks/qemu.d &&
            ln -s "$1/programs/snapshot-set-hook" /etc/libvirt/hooks/qemu.d/50-snapshot-set &&
            mkdir -p /etc/snapshot-set && mount -t tmpfs none /etc/snapshot-set &&
            touch "$1/session"
        exec sleep infinity' new_session "$TEST_DIR" &
    SESSION_PID=$!
    cleanup_fn kill "$SESSION_PID"
    until [ -e ../session ]; do sleep 0.01; done
}

# as_user COMMAND...: as the session's user, with the variables USER_ENVIRONMENT and no other
as_user() {
    nsenter --target "$SESSION_PID" --mount --wd="$PWD" \
        setpriv --reuid 65534 --regid 65534 --clear-groups \
        env -i PATH="$PATH" HOME="$TEST_DIR/home" LIBVIRT_AUTOSTART=0 \
        LIBVIRT_DRIVER_DIR="$TEST_DIR/drivers" "${USER_ENVIRONMENT[@]}" "$@"
}

# start_daemon: the user's libvirtd, until it answers
start_daemon() {
    local index
    as_user libvirtd --pid-file "$TEST_DIR/home/pid" >>../libvirtd.log 2>&1 &
    DAEMON_JOB=$!
    cleanup_fn stop_daemon
    for ((index = 0; index < 300; index++)); do
        ! libvirt version >/dev/null 2>&1 || return 0
        kill -0 "$DAEMON_JOB" 2>/dev/null || break
        sleep 0.1
    done
    fail "libvirtd does not answer: $(cat ../libvirtd.log)"
}

# stop_daemon: with all its guests
stop_daemon() {
    local name
    [ -n "$DAEMON_JOB" ] || return 0
    for name in $(libvirt list --name 2>/dev/null); do
        libvirt destroy "$name" >/dev/null
    done
    end_daemon
}

end_daemon() {
    { kill "$(cat ../home/pid)" && wait "$DAEMON_JOB"; } 2>/dev/null || true
    DAEMON_JOB=
}

# for define, of hook.sh
libvirt() { as_user virsh -c qemu:///session "$@"; }

# new_user_images NAME...: empty ones of the user's
new_user_images() {
    new_images "$@"
    chown 65534:65534 -- "$@"
}

# expect_guarded: the user's domain d, with an offline snapshot that libvirt's metadata proves, is
# guarded and judged, with libvirt's folders below $CONFIG and ours below $STATE
expect_guarded() {
    local uuid
    new_user_images a b
    define d "$PWD/a" "$PWD/b"
    expect_rc 0 libvirt snapshot-create-as d off
    expect_rc 0 libvirt start d
    uuid=$(libvirt domuuid d)
    [ -S "$(echo "$CONFIG"/libvirt/qemu/lib/domain-*-d)/monitor.qemu" ] ||
        fail 'the monitor socket has not been moved'
    expect_rc 0 libvirt snapshot-create-as d one
    [ -s "$STATE/snapshot-set/domains/$uuid.events" ] || fail "no journal in $STATE"
    expect_rc 0 libvirt snapshot-delete --metadata d one
    expect_rc 1 libvirt snapshot-create-as d one
    expect_err 'snapshot-set: refused \[tag-exists\]'
    expect_rc 0 as_user "$TEST_DIR/programs/snapshot-set-guard" status --output=json
    expect_json '[one["domain"] for one in d]' '["d"]'
    expect_json '"tag-exists" in d[0]["reason"]' true
}

# what libvirt does with a user's folders by itself: nothing but HOME is set
test_default_folders() {
    USER_ENVIRONMENT=() CONFIG=$TEST_DIR/home/.config STATE=$TEST_DIR/home/.local/state
    new_session
    mkdir -p "$CONFIG/libvirt"
    echo 'stdio_handler = "file"' >"$CONFIG/libvirt/qemu.conf"
    chown -R 65534:65534 ../home
    start_daemon
    expect_guarded
    [ -d ../home/.cache/snapshot-set/guards ] || fail 'the guard is not in the run folder'
}

# libvirt passes none of these variables on to hooks
test_named_folders() {
    CONFIG=$TEST_DIR/home/c STATE=$TEST_DIR/home/s
    USER_ENVIRONMENT=(XDG_CONFIG_HOME="$CONFIG" XDG_STATE_HOME="$STATE"
        XDG_CACHE_HOME="$TEST_DIR/home/cache" XDG_RUNTIME_DIR="$TEST_DIR/home/r")
    new_session
    mkdir -p "$CONFIG/libvirt" ../home/r
    echo 'stdio_handler = "file"' >"$CONFIG/libvirt/qemu.conf"
    chown -R 65534:65534 ../home
    start_daemon
    expect_guarded
    [ -d ../home/r/snapshot-set/guards ] || fail 'the guard is not in the run folder'
    survives_restart
    recorded_at_the_end
    collision_is_refused
    expect_rc 0 find ../home -name .local
    expect_equal "$OUT" '' 'folders that nobody named'
}

survives_restart() {
    end_daemon
    start_daemon
    expect_equal "$(libvirt domstate d | head -n 1)" running
    expect_rc 1 libvirt snapshot-create-as d one
    expect_err 'snapshot-set: refused \[tag-exists\]'
    expect_rc 0 libvirt snapshot-create-as d two
}

recorded_at_the_end() {
    expect_rc 0 libvirt destroy d
    expect_rc 0 as_user ../programs/qemu-img-snapshot-set list --output=json a b
    expect_json '[(s["tag"], s["identity"]) for s in d["snapshots"]]' \
        '[["off", "recorded"], ["one", "recorded"], ["two", "recorded"]]'
    expect_json '[s["parent"] for s in d["snapshots"]] == [None] + [s["id"] for s in d["snapshots"][:2]]' true
    expect_rc 0 find "$STATE/snapshot-set/domains" -type f
    expect_equal "$OUT" '' 'journals left'
    # the guard removes its file when the folder with its socket is gone
    for _ in {1..100}; do
        [ "$(as_user ../programs/snapshot-set-guard status | wc -l)" -gt 0 ] || return 0
        sleep 0.1
    done
    fail 'the guard outlives its guest'
}

collision_is_refused() {
    new_user_images c d
    start_qemu one c
    hmp one 'savevm b' >/dev/null
    stop_qemu one
    start_qemu two d
    hmp two 'savevm b' >/dev/null
    stop_qemu two
    define e "$PWD/c" "$PWD/d"
    remember c d
    expect_rc 1 libvirt start e
    expect_err 'refused \[identity-collision\]: tag .b. is two different snapshots'
    expect_unchanged
}

run_tests "$@"
