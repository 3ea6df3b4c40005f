#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The hook killed, or failing, at each of its system calls while it writes a live journal into the
# images' records: the next event brings them to where they would have been.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
requires qemu-img strace

IMAGES=(a b c)
UUID=c0ffee00-0123-4567-89ab-cdef01234567
POINTS=0

# domain_xml: the domain, with these images as its disks
domain_xml() {
    local image
    printf "<domain id='1'><name>d</name><uuid>%s</uuid><devices>" "$UUID"
    for image in "${IMAGES[@]}"; do
        printf "<disk type='file'><driver name='qemu' type='qcow2'/><source file='%s'/>" "$PWD/$image"
        printf "<target dev='%s'/></disk>" "$image"
    done
    printf '</devices></domain>\n'
}

# start_event: the guard was there before QEMU, on images that were new
start_event() {
    local image separator=
    printf "\n('start', b'', int64 %s, @a(aytayb) [" "$(date +%s)"
    for image in "${IMAGES[@]}"; do
        printf "%s(b'%s', %s, [byte 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], true)" \
            "$separator" "$PWD/$image" "$(stat -c %i "$image")"
        separator=', '
    done
    printf '])'
}

# happens OPTION COMMAND TAG: qemu-img does in each image what QEMU would, and the judge records it
happens() {
    local image
    for image in "${IMAGES[@]}"; do
        real snapshot "$1" "$3" "$image"
    done
    printf '{"execute": "snapshot-%s", "arguments": {"tag": "%s", "devices": []}}' "$2" "$3" |
        SNAPSHOT_SET_STATUS_DIR=$PWD SNAPSHOT_SET_EVENT=1-1 \
            "$BUILD_DIR/libvirt-hooks/snapshot-set-judge" record --domain d 3<<<'{"return": {}}'
}

# scene: a machine took x and y, went back to x and took z; its journal waits. What the records say
# once it has been replayed.
scene() {
    export SNAPSHOT_SET_STATE_DIR=$PWD/state SNAPSHOT_SET_POLICY=$PWD/policy.conf
    new_images "${IMAGES[@]}"
    mkdir -p state/domains saved
    domain_xml >d.xml
    start_event >"state/domains/$UUID.events"
    happens -c save x
    happens -c save y
    happens -a load x
    happens -c save z
    cp --sparse=always "${IMAGES[@]}" saved/
    cp -r state saved/
    hook release end <d.xml
    replayed
    AFTER=$(what_is_recorded)
    expect_equal "$(drawn "${IMAGES[@]}")" "$(printf '%s\n' x '├─y' '└─z current')" 'the tree'
}

reset_scene() {
    local image
    for image in "${IMAGES[@]}"; do
        cp --sparse=always "saved/$image" "$image"
    done
    rm -rf state
    cp -r saved/state state
}

# hook OPERATION SUBOPERATION [TRACER...]
hook() {
    "${@:3}" "$BUILD_DIR/libvirt-hooks/snapshot-set-hook" d "$1" "$2" -
}

# what_is_recorded: of the images together, but not whether they are sealed
what_is_recorded() {
    "$SNAPSHOT_SET" list --all --output=json "${IMAGES[@]}" | "$PYTHON" -c '
import json, sys
d = json.load(sys.stdin)
keys = "id", "identity", "tag", "parent", "parent-source", "members", "complete", "current"
print([image["current"] for image in d["images"]], d["violations"],
      *([s[key] for key in keys] for s in d["snapshots"]), sep="\n")'
}

# replayed: the journal is gone. The hook gives a slow disk two seconds, and the rest can wait until
# the next start.
replayed() {
    local try
    for try in 1 2 3; do
        [ -e "state/domains/$UUID.events" ] || return 0
        hook prepare begin <d.xml
    done
    [ ! -e "state/domains/$UUID.events" ] || fail "${AT-}: the journal is left after $try starts"
}

# settled: what the first event left is brought to its end by the next start, and only once
settled() {
    hook prepare begin <d.xml
    replayed
    expect_equal "$(what_is_recorded)" "$AFTER" "$AT: the records"
    expect_clean "${IMAGES[@]}"
    remember "${IMAGES[@]}"
    hook prepare begin <d.xml
    expect_unchanged "$AT: another start"
    POINTS=$((POINTS + 1))
}

# at_every SYSCALL WHAT OPERATION SUBOPERATION: at the first such call of the hook, at the second, ...
at_every() {
    local number
    for ((number = 1; number < 1000; number++)); do
        AT="$3: $2 in $1 $number"
        reset_scene
        { # in braces, that bash says "Killed" to no one
            hook "$3" "$4" strace -f -qq -o trace -e "trace=$1" -e "inject=$1:$2:when=$number" \
                <d.xml >out.txt 2>err.txt || true
        } 2>/dev/null
        if ! grep -q '(INJECTED)\|killed by SIGKILL' trace; then
            [ "$number" -gt 1 ] || fail "$3: the hook makes no call $1"
            return 0
        fi
        settled
    done
    fail "$1: no end"
}

# everywhere WHAT CALL...
everywhere() {
    local what=$1 call
    shift
    [ -z "$SANITIZE" ] || skip 'a traced process cannot be searched for leaks'
    strace -o trace true 2>/dev/null || skip 'cannot trace'
    scene
    for call; do
        at_every "$call" "$what" release end
        at_every "$call" "$what" prepare begin
    done
    note "$POINTS points"
}

test_killed() { everywhere signal=KILL pwrite64 fdatasync /^unlink; }
test_failing_writes() { everywhere error=EIO pwrite64 fdatasync /^unlink; }

run_tests "$@"
