#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The hook program itself, run as libvirt runs it: which events it passes, what it reads, and which
# disks it can judge. What it does within a real libvirtd is in hook.sh, guard.sh and others.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
requires qemu-img qemu-system-x86_64 unshare nsenter logger

UUID=0b7f2c4e-5d1a-4c51-9f8e-3a9d6c0e7b21

# new_host: a mount namespace with a log of its own, for `hook`; what is said there is in ../syslog
new_host() {
    unshare --mount true 2>/dev/null || skip 'cannot make a mount namespace'
    "$PYTHON" "$TOP/tests/lib/syslog.py" "$TEST_DIR/log-socket" "$TEST_DIR/syslog" &
    cleanup_fn kill $!
    until [ -S ../log-socket ]; do sleep 0.01; done
    chmod 666 ../log-socket
    mkdir ../dev ../home
    unshare --mount bash -c '
        mount -t tmpfs none "$1/dev" && cp -a /dev/{null,zero,full,urandom} "$1/dev" &&
            { cp -a /dev/loop* "$1/dev" || true; } && touch "$1/dev/log" &&
            mount --bind "$1/log-socket" "$1/dev/log" && mount --rbind "$1/dev" /dev &&
            touch "$1/host"
        exec sleep infinity' new_host "$TEST_DIR" 2>/dev/null &
    HOST_PID=$!
    cleanup_fn kill "$HOST_PID"
    until [ -e ../host ]; do sleep 0.01; done
}

# on_host COMMAND...: with the environment that libvirt gives to hooks, and no other but ours
on_host() {
    nsenter --target "$HOST_PID" --mount --wd="$PWD" env -i LC_ALL=C PATH="$PATH" \
        HOME="$TEST_DIR/home" USER=root LOGNAME=root ASAN_OPTIONS="$ASAN_OPTIONS" \
        UBSAN_OPTIONS="$UBSAN_OPTIONS" SNAPSHOT_SET_STATE_DIR="$SNAPSHOT_SET_STATE_DIR" \
        SNAPSHOT_SET_POLICY="$SNAPSHOT_SET_POLICY" SNAPSHOT_SET_STATUS_DIR="$PWD" "$@"
}

# hook ARGUMENT...: the hook; its standard input is libvirt's
hook() { on_host "$BUILD_DIR/libvirt-hooks/snapshot-set-hook" "$@"; }

# prepare: the event, of the domain in d.xml
prepare() { hook d prepare begin - <d.xml; }

# domain [DISK...]: d.xml, a domain with these disks. A DISK is a path, or "KIND :PATH", where KIND says
# what is special about it.
domain() {
    local disk number=97 nvram='' disks=''
    for disk; do
        disk_xml "${disk% :*}" "$(xml_text "${disk##* :}")"
        number=$((number + 1))
    done
    printf "<domain type='qemu' id='1'><name>d</name><uuid>%s</uuid><os><type>hvm</type>%s</os>\n" \
        "$UUID" "$nvram" >d.xml
    printf '<devices>\n%s</devices></domain>\n' "$disks" >>d.xml
}

disk_xml() {
    local type=file attribute=file device=disk format=qcow2 more=''
    case $1 in
    nvram) nvram="<nvram format='qcow2'>$2</nvram>" && return ;;
    nvram-source) nvram="<nvram type='file' format='qcow2'><source file='$2'/></nvram>" && return ;;
    nvram-raw) nvram="<nvram>$2</nvram>" && return ;;
    block) type=block attribute=dev ;;
    lun) type=block attribute=dev device=lun ;;
    volume) type=volume attribute=volume ;;
    network) type=network attribute=name ;;
    vhostuser) type=vhostuser attribute=path ;;
    cdrom | floppy) device=$1 ;;
    raw) format=raw ;;
    readonly | shareable | transient) more="<$1/>" ;;
    esac
    disks+="<disk type='$type' device='$device'><driver name='qemu' type='$format'/>"
    [ "$1" = sourceless ] || disks+="<source $attribute='$2'/>"
    disks+="<target dev='vd$(printf %b "\\x$(printf %x "$number")")' bus='virtio'/>$more</disk>"$'\n'
}

xml_text() {
    sed -z "s/&/\\&amp;/g; s/</\\&lt;/g; s/'/\\&apos;/g; s/\n/\\&#10;/g; s/\t/\\&#9;/g" <<<"$1" | sed -z 's/&#10;$//'
}

# expect_log PATTERN, refute_log PATTERN: a line in the log since clear_log
expect_log() {
    settle_log
    grep -qE -- "$1" ../syslog || fail "not in the log: $1: $(cat ../syslog)"
}

refute_log() {
    settle_log
    ! grep -E -- "$1" ../syslog || fail "in the log: $1"
}

clear_log() {
    settle_log
    : >../syslog
}

# until what was written to the log before is in the file
settle_log() {
    local mark="mark $EPOCHREALTIME"
    logger --socket ../log-socket "$mark"
    until grep -qF "$mark" ../syslog; do sleep 0.001; done
}

# expect_silent COMMAND...: it succeeds and prints nothing
expect_silent() {
    expect_rc 0 "$@"
    expect_equal "$OUT$ERR" '' "output of $*"
}

# expect_prepare_refused RULE: with nothing on standard output, the reason first, and in the log
expect_prepare_refused() {
    expect_rc 1 prepare
    expect_equal "$OUT" '' 'standard output'
    [[ $ERR == "snapshot-set: refused [$1]: "* ]] || fail "the reason does not come first: $ERR"
    expect_log "domain d: snapshot-set: refused \[$1\]"
}

# stand_apart FILE1 FILE2: two images that stand at different recorded snapshots
stand_apart() {
    new_images "$@"
    ss create -q one "$@"
    ss create -q two "$@"
    "$QEMU_IMG" snapshot -a one -- "$1"
}

# ---- events -------------------------------------------------------------------------------------

# Whatever happens, these pass: a failing hook would kill the guest, or mean nothing. And migrate's
# and restore's standard output would replace the domain.
test_only_prepare_and_start_refuse() {
    local event
    new_host
    stand_apart a b
    domain "$PWD/a" "$PWD/b"
    expect_prepare_refused current-mismatch
    for event in 'started begin' 'stopped end' 'release end' 'reconnect begin' 'attach begin' \
        'migrate begin' 'restore begin' 'prepare end' 'start end' 'prepare' '' 'future begin' \
        'prepare future' 'Prepare begin' 'prepare begin-'; do
        # shellcheck disable=SC2086 # words
        expect_silent hook d $event - <d.xml
    done
    expect_silent hook <d.xml
    expect_silent hook d <d.xml
    expect_silent hook d prepare <d.xml
    expect_silent hook d '' '' '' <d.xml
}

# The same with everything broken that can be.
test_broken_host() {
    local event
    new_host
    stand_apart a b
    domain "$PWD/a" "$PWD/b"
    echo '[rules' >"$SNAPSHOT_SET_POLICY"
    rm -rf "$SNAPSHOT_SET_STATE_DIR"
    echo 'no folder' >"$SNAPSHOT_SET_STATE_DIR"
    for event in started:begin stopped:end release:end reconnect:begin; do
        expect_silent hook d "${event%:*}" "${event#*:}" - <d.xml
        expect_silent hook d "${event%:*}" "${event#*:}" - <b
    done
    # and a bad machine is still refused
    expect_prepare_refused current-mismatch
    expect_log 'the default policy is used'
}

test_names_of_domains() {
    local name
    new_host
    stand_apart a b
    domain "$PWD/a" "$PWD/b"
    for name in -x --help '' 'a b' $'a\nb' "a'b\"c" 'ä ☃' 'a/../b' '%s%n' "$(printf 'x%.0s' {1..255})"; do
        clear_log
        expect_rc 1 hook "$name" prepare begin - <d.xml
        expect_equal "$OUT" '' 'standard output'
        settle_log
        grep -qF "domain ${name//$'\n'/?}: snapshot-set: refused [current-mismatch]" ../syslog ||
            fail "not in the log: $(cat ../syslog)"
        expect_silent hook "$name" reconnect begin - <d.xml
        expect_silent hook "$name" started begin - <d.xml
    done
}

# ---- input --------------------------------------------------------------------------------------

# libvirt waits until all that it writes is read.
test_input_is_read_to_its_end() {
    local event
    new_host
    for event in prepare:begin start:begin reconnect:begin migrate:begin future:begin; do
        head -c 20971520 /dev/zero | expect_silent hook d "${event%:*}" "${event#*:}" -
    done
    expect_log 'this is not a domain.s XML; nothing was judged'
    # as much as is ever parsed is judged
    stand_apart a b
    domain "$PWD/a" "$PWD/b"
    { head -c 15728640 /dev/zero | tr '\0' ' ' && cat d.xml; } | sed '1s/^/<!-- x -->/' >long.xml
    expect_rc 1 hook d prepare begin - <long.xml
    { cat d.xml && head -c 10485760 /dev/zero | tr '\0' ' '; } >long.xml
    expect_rc 1 hook d prepare begin - <long.xml
}

test_malformed_xml() {
    local xml
    new_host
    for xml in '' ' ' x '<' '<domain' '<domain>' '<a/>' '<domain></a>' '<domain/><domain/>' \
        $'<domain>\1</domain>' $'<domain>\xff</domain>' '<?xml version="1.0" encoding="none"?><domain/>' \
        '<domstatus/>' '<domain>&none;</domain>' '{"domain": 1}' '<domain xmlns:a="b"><a:x></domain>'; do
        clear_log
        printf %s "$xml" >d.xml
        expect_silent prepare
        expect_log 'this is not a domain.s XML; nothing was judged'
    done
    printf '<domain>\0</domain>' >d.xml
    expect_silent prepare
    "$PYTHON" -c 'print("<domain>" + "<a>" * 100000 + "</a>" * 100000 + "</domain>")' >d.xml
    expect_silent prepare
    # a domain without disks, or without names
    for xml in '' '<devices/>' '<devices><disk/></devices>' \
        '<devices><disk type="file"><source/></disk></devices>' \
        '<devices><disk type="file"><driver type="qcow2"/><source file=""/></disk></devices>' \
        '<os><nvram format="qcow2"/></os>' '<os><nvram format="qcow2"><source/></nvram></os>'; do
        printf '<domain>%s</domain>' "$xml" >d.xml
        expect_silent prepare
        printf '<domain><uuid>%s</uuid>%s</domain>' "$UUID" "$xml" >d.xml
        record 'savevm x'
        expect_silent prepare
        expect_silent hook d release end - <d.xml
    done
}

# libvirt writes no document type; nothing outside the XML is read, and it does not grow.
test_entities() {
    local pair
    new_host
    stand_apart a b
    domain "$PWD/a" "$PWD/b"
    mv d.xml plain.xml
    {
        printf "<!DOCTYPE domain [<!ENTITY file SYSTEM '%s'><!ENTITY a 'x'>\n" "$PWD/secret"
        for pair in ab bc cd de ef fg gh hi; do
            printf "<!ENTITY %s '%s'>\n" "${pair:1}" "$(printf "&${pair:0:1};%.0s" {1..10})"
        done
        printf ']>\n'
        sed 's|<name>d</name>|<name>\&i;\&file;</name>|' plain.xml
    } >d.xml
    echo oops >secret
    # where a leak would be looked for, that fails under a tracer
    ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0 \
        expect_silent on_host strace -f -e trace=openat,open -o trace \
        "$BUILD_DIR/libvirt-hooks/snapshot-set-hook" d prepare begin - <d.xml
    expect_log 'this is not a domain.s XML; nothing was judged'
    grep -q libxml2 trace
    expect_rc 1 grep secret trace
}

# ---- disks --------------------------------------------------------------------------------------

# Which disks count: a stands apart from the other, if that is one the guest writes to.
test_which_disks_count() {
    local kind
    new_host
    stand_apart a b
    for kind in readonly transient cdrom floppy raw volume network vhostuser nvram-raw; do
        domain "$PWD/a" "$kind :$PWD/b"
        expect_silent prepare
    done
    for kind in shareable block lun nvram nvram-source; do
        domain "$PWD/a" "$kind :$PWD/b"
        expect_prepare_refused current-mismatch
    done
    domain "$PWD/a" 'sourceless :' "$PWD/b"
    expect_prepare_refused current-mismatch
}

# What cannot be read counts as a disk without snapshots, and the log says so; the rest is judged.
test_unreadable_disks() {
    local bad
    new_host
    stand_apart a b
    new_images good cut damaged
    mkdir folder
    mkfifo fifo
    ln -s loop loop
    ln -s nowhere dangling
    : >empty
    echo 'no image' >text
    truncate -s 100 cut
    "$PYTHON" -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
    printf 'QFI\xfb\xff\xff\xff\xff' | dd of=damaged conv=notrunc status=none
    for bad in missing folder folder/x fifo socket loop dangling empty text cut damaged /dev/null \
        /dev/zero /dev/full /dev/urandom; do
        [[ $bad == /* ]] || bad=$PWD/$bad
        clear_log
        domain "$PWD/good" "$bad"
        expect_silent prepare
        expect_log "domain d: '$bad': .*; it is judged as if it had no snapshots"
        clear_log
        domain "$PWD/a" "$bad" "$PWD/b"
        expect_prepare_refused current-mismatch
        expect_log "domain d: '$bad': .*; it is judged as if it had no snapshots"
    done
}

# A user's hook is not stopped by permissions either.
test_disks_without_permission() {
    new_host
    new_images a b
    domain "$PWD/a" "$PWD/b"
    chmod 755 .. .
    chmod 644 a d.xml
    chmod 000 b
    mkdir -m 777 state
    cp "$BUILD_DIR/libvirt-hooks/snapshot-set-hook" hook-program
    SNAPSHOT_SET_STATE_DIR=$PWD/state expect_silent on_host setpriv --reuid 65534 --regid 65534 --clear-groups \
        ./hook-program d prepare begin - <d.xml
    expect_log "'$PWD/b': cannot open: Permission denied; it is judged as if it had no snapshots"
}

# A raw disk's content is the guest's: whatever it holds, it is no image.
test_raw_disks() {
    new_host
    stand_apart a b
    domain "$PWD/a" "raw :$PWD/b"
    expect_silent prepare
    refute_log 'domain d'
}

test_block_devices() {
    local device
    new_host
    requires losetup
    stand_apart a b
    truncate -s 2M b # of whole sectors
    device=$(losetup --find --show b) || skip 'no loop devices'
    cleanup_fn losetup --detach "$device"
    domain "$PWD/a" "block :$device"
    expect_prepare_refused current-mismatch
    expect_rc 1 prepare
    expect_err "$device"
    refute_log 'cannot'
}

# The images of a domain that comes in by migration are in use on the other side: they are read, not
# written, and the start is not held up.
test_images_in_use() {
    new_host
    new_images a b
    ss create -q one a b
    domain "$PWD/a" "$PWD/b"
    record 'savevm one'
    start_qemu there a b
    remember a b
    expect_silent prepare
    expect_log "domain d: the records are not up to date yet: '.*/a': another process has it open"
    expect_unchanged
    expect_silent hook d release end - <d.xml
    expect_unchanged
    stop_qemu there
    # and judged all the same
    stand_apart a b
    start_qemu there a b
    remember a b
    expect_prepare_refused current-mismatch
    expect_unchanged
    stop_qemu there
}

# record COMMAND-LINE: as the relay has it noted what a guest has done with its snapshots
record() {
    printf '{"execute": "human-monitor-command", "arguments": {"command-line": "%s"}}' "$1" |
        on_host SNAPSHOT_SET_EVENT=1-1 "$BUILD_DIR/libvirt-hooks/snapshot-set-judge" record --domain d \
            3<<<'{"return": ""}'
}

# What cannot be written is judged as well, and stays as it is.
test_disks_on_a_read_only_file_system() {
    local ro=$PWD/ro
    new_host
    mkdir ro
    on_host mount -t tmpfs none "$ro"
    new_images a b
    domain "$ro/a" "$ro/b"
    real snapshot -c one a
    real snapshot -c one b
    on_host cp a b "$ro"
    on_host mount -o remount,ro "$ro"
    record 'savevm one'
    expect_silent prepare
    expect_log "domain d: '$ro/a': .*: Read-only file system; what the guest did .* is not recorded there"
    clear_log
    record 'savevm one'
    expect_silent hook d release end - <d.xml
    expect_log "domain d: '$ro/b': .*: Read-only file system; what the guest did .* is not recorded there"
    expect_rc 0 on_host cat "$ro/a" "$ro/b"
    cat a b >both
    expect_same_file "$OUT_FILE" both
    stand_apart a b
    on_host mount -o remount,rw "$ro"
    on_host cp a b "$ro"
    on_host mount -o remount,ro "$ro"
    expect_prepare_refused current-mismatch
}

# While apply is at work some disks stand at the snapshot already and others do not yet.
test_command_at_work() {
    new_host
    new_images a b
    domain "$PWD/a" "$PWD/b"
    ss create -q one a b
    cat >"$TEST_DIR/qemu-img" <<EOT
#!/bin/bash
[[ " \$* " != *' -a '* ]] || { touch begun; until [ -e end ]; do sleep 0.01; done; }
exec -a qemu-img "$REAL_QEMU_IMG" "\$@"
EOT
    chmod +x "$TEST_DIR/qemu-img"
    SNAPSHOT_SET_QEMU_IMG=$TEST_DIR/qemu-img ss apply -q tag=one a b &
    until [ -e begun ]; do sleep 0.01; done
    expect_prepare_refused operation-pending
    expect_err 'a command of snapshot-set is at work on these disks$'
    expect_err 'hint: start the machine once that has ended$'
    touch end
    wait $!
    expect_silent prepare
}

# half_applied: the domain's disks are b and an overlay on a, as libvirt makes them of a machine that
# is off; and apply was killed before it came to b
half_applied() {
    new_host
    new_images a b
    ss create -q one a b
    put 2 a b
    cat >"$TEST_DIR/qemu-img" <<EOT
#!/bin/bash
[[ " \$* " != *' -a '* ]] || ! mkdir once 2>/dev/null || kill -KILL \$PPID
exec -a qemu-img "$REAL_QEMU_IMG" "\$@"
EOT
    chmod +x "$TEST_DIR/qemu-img"
    SNAPSHOT_SET_QEMU_IMG=$TEST_DIR/qemu-img expect_rc 137 ss apply tag=one a b
    flock --wait 60 "$SNAPSHOT_SET_STATE_DIR"/operations/*.lock true # its children may still run
    real create -q -f qcow2 -F qcow2 -b a over
    domain "$PWD/over" "$PWD/b"
}

test_operation_on_a_backing_file() {
    half_applied
    remember a b over
    expect_prepare_refused operation-pending
    expect_err "'apply' cannot be recovered now: .*/over' was put on top of it since"
    expect_unchanged
    rm over
    domain "$PWD/a" "$PWD/b"
    expect_rc 0 prepare
    expect_data 2 a b
}

# What a recovery has found out counts when reading the disks takes all the time that is left.
test_slow_after_a_failed_recovery() {
    [ -z "$SANITIZE" ] || skip 'a traced process cannot be searched for leaks'
    requires strace
    strace -o trace true 2>/dev/null || skip 'cannot trace'
    half_applied
    on_host mount -t tmpfs none /var/lib
    on_host mkdir -p /var/lib/libvirt/qemu/snapshot/d
    expect_rc 1 on_host strace -f -qq -o "$PWD/trace" -P /var/lib/libvirt/qemu/snapshot/d \
        -e trace=openat -e inject=openat:delay_enter=4s \
        "$BUILD_DIR/libvirt-hooks/snapshot-set-hook" d prepare begin - <d.xml
    grep -q 'snapshot/d".* = ?$' trace || fail 'it was not slow'
    expect_err '^snapshot-set: refused \[operation-pending\]: .* has not come to its end$'
    expect_log 'the hook took too long, and was given up; the event is refused'
}

test_many_snapshots() {
    local number files=()
    new_host
    new_images 1
    for number in {1..100}; do
        real snapshot -c "s$number" 1
    done
    for number in {2..8}; do
        cp 1 "$number"
    done
    for number in {1..8}; do
        files+=("$PWD/$number")
    done
    domain "${files[@]}"
    expect_silent prepare
    refute_log 'domain d'
    # one of the 800 is another one
    real snapshot -d s50 7
    sleep 1 # so that it is dated later
    real snapshot -c s50 7
    expect_silent prepare
    settle_log
    expect_equal "$(grep -c 'domain d: warning \[identity-.*s50' ../syslog)" 1 'warnings of s50'
    expect_equal "$(grep -c 'domain d' ../syslog)" 1 warnings
}

# ---- names --------------------------------------------------------------------------------------

# Any file name is judged, written about on one line, and has its journal replayed.
test_names_of_files() {
    local name index long paths=()
    new_host
    printf -v long '%0250d' 0
    local names=(-b --help 'a b' "it's" '"quoted"' 'a&b<c>' $'new\nline' $'tab\there' 'ä ☃' $'\x7f' "$long"
        'json:{"driver":"raw"}' nbd:localhost:1 file:b 'a,b=c' '$(touch oops)' '`touch oops`' 'back\slash'
        '%s%n' '*?[')
    names=("${names[@]/#/./}")
    for index in "${!names[@]}"; do
        new_images "$index"
    done
    ss create -q one [0-9]*
    ss create -q two [0-9]*
    "$QEMU_IMG" snapshot -a one 6
    for index in "${!names[@]}"; do
        mv "$index" "${names[index]}"
        paths+=("$PWD/${names[index]#./}")
    done
    domain "${paths[@]}"
    expect_prepare_refused current-mismatch
    expect_equal "$(wc -l <<<"$ERR")" 3 'lines that the person reads: reason, hint, what is changed'
    expect_err "at different points: .*/new\\\\nline at 'one'"
    refute_log 'judged as if'
    ss accept -q "${names[@]}"
    expect_silent prepare
    # as if a guest took a snapshot, and ended
    for name in "${paths[@]}"; do
        real snapshot -c three "$name"
    done
    clear_log
    record 'savevm three'
    expect_silent hook d release end - <d.xml
    refute_log 'domain d'
    expect_equal "$(identity_of three "${names[@]}" | wc -l)" 1 'snapshots called three'
    [ ! -e oops ] || fail 'a name was executed'
}

# ---- the journal --------------------------------------------------------------------------------

# A recorder that dies with its relay is run again for the same event: the records are the same as
# after one run.
test_recorder_that_runs_twice() {
    local times command
    local commands=('savevm one' 'savevm two' 'savevm three' 'loadvm one' 'savevm four' 'delvm two')
    new_host
    new_images a b
    start_qemu d a b
    for command in "${commands[@]}"; do
        hmp d "$command" >/dev/null
    done
    stop_qemu d
    mkdir once twice
    for times in once twice; do
        rm -rf "$SNAPSHOT_SET_STATE_DIR"
        cp a b "$times"
        domain "$PWD/$times/a" "$PWD/$times/b"
        for command in "${commands[@]}"; do
            record "$command"
            [ "$times" = once ] || record "$command"
        done
        expect_silent hook d release end - <d.xml
        refute_log 'domain d'
        expect_silent hook d release end - <d.xml
        expect_rc 0 ss tree "$times/a" "$times/b"
        cp "$OUT_FILE" "$times/tree"
    done
    expect_same_file twice/tree once/tree
    expect_same_file twice/a once/a
    expect_same_file twice/b once/b
}

run_tests "$@"
