# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# What tests over sets of images have in common; to be read in after harness.sh.

# real ARGUMENT...: the real qemu-img under its usual name
real() {
    (exec -a qemu-img "$REAL_QEMU_IMG" "$@")
}

# new_images NAME...: empty images of 8 MiB
new_images() {
    local name
    for name; do
        real create -q -f qcow2 -- "$name" 8M
    done
}

# image_options FILE: the image for --image-opts, whatever its name
image_options() {
    printf 'driver=qcow2,file.driver=file,file.filename=%s' "${1//,/,,}"
}

# qio FILE COMMAND...: qemu-io commands on one image, quietly
qio() {
    local file=$1 command options=()
    shift
    for command; do
        options+=(-c "$command")
    done
    qemu-io --image-opts "${options[@]}" "$(image_options "$file")"
}

# put BYTE FILE...: fill the first 64 KiB of the guest's disk
put() {
    local byte=$1 file
    shift
    for file; do
        qio "$file" "write -q -P $byte 0 64k"
    done
}

# expect_data BYTE FILE...: fail unless the guest's first 64 KiB are filled so; breaks no seal
expect_data() {
    local byte=$1 file
    shift
    for file; do
        qemu-io -r --image-opts -c "read -q -P $byte 0 64k" "$(image_options "$file")" >/dev/null ||
            fail "the guest's data in '$file' are not $byte"
    done
}

# expect_clean FILE...: fail unless qemu-img check finds nothing at all
expect_clean() {
    local file text
    for file; do
        text=$(real check --image-opts "$(image_options "$file")" 2>&1) ||
            fail "qemu-img check of '$file': $text"
    done
}

# remember FILE...: expect_unchanged fails when any of them is another than now
remember() {
    REMEMBERED=("$@")
    REMEMBERED_SUMS=$(checksum "$@")
}

# expect_unchanged [WHAT]
expect_unchanged() {
    expect_equal "$(checksum "${REMEMBERED[@]}")" "$REMEMBERED_SUMS" "after ${1:-the command}, data"
}

# expect_refused RULE COMMAND [ARGUMENT...]: it is refused by that rule, and what was remembered
# did not change
expect_refused() {
    local rule=$1
    shift
    expect_rc 2 "$@"
    expect_err "^qemu-img: snapshot-set: refused \[$rule\]: ."
    [ -z "${REMEMBERED_SUMS:-}" ] || expect_unchanged "$*"
}

# tags FILE: the tags of one image, as qemu-img lists them, in one line
tags() {
    real snapshot -l --image-opts "$(image_options "$1")" |
        awk 'NR > 2 { printf "%s%s", space, $2; space = " " }'
}

# snapshot_json FIELD TAG IMAGE...: a field of the snapshot of that tag
snapshot_json() {
    local field=$1 tag=$2
    shift 2
    "$SNAPSHOT_SET" list --all --output=json -- "$@" | "$PYTHON" -c '
import json, sys
found = [s for s in json.load(sys.stdin)["snapshots"] if s["tag"] == sys.argv[2]]
assert len(found) == 1, f"{len(found)} snapshots with that tag"
value = found[0][sys.argv[1]]
print(value if isinstance(value, str) else json.dumps(value))' "$field" "$tag"
}

# identity_of TAG IMAGE...: the UUID of the snapshot of that tag
identity_of() {
    snapshot_json id "$@"
}

# drawn IMAGE...: the tree without what differs from run to run: tags and remarks
drawn() {
    "$SNAPSHOT_SET" tree -- "$@" | sed -E '1d; s/ +[0-9a-f]{8} [-0-9]{10} [0-9:]{8} */ /; s/ +$//'
}

# save NAME TAG DEVICE...: QMP snapshot-save, the VM state into the first of the devices
save() {
    local name=$1 tag=$2 devices
    shift 2
    devices=$(printf ', "%s"' "$@")
    qmp_job "$name" "{\"execute\": \"snapshot-save\", \"arguments\": {\"job-id\": \"save\",
        \"tag\": \"$tag\", \"vmstate\": \"$1\", \"devices\": [${devices#, }]}}"
}

# rename_entry FILE INDEX ID NAME, rename_entry FILE INDEX --alike: see snapshot-table.py
rename_entry() {
    "$PYTHON" "$TOP/tests/lib/snapshot-table.py" "$@"
}

# guest_put NAME DISK BYTE: the guest of that machine fills the first 64 KiB of a disk (0, 1, ...)
guest_put() {
    local said
    said=$(hmp "$1" "qemu-io -d /machine/peripheral-anon/device[$2]/virtio-backend \
\"write -q -P $3 0 64k\"")
    expect_equal "$said" '' 'answer to a write'
}

# new_encrypted_image NAME KEY-FILE: the key is put into a new file. A fast hash would make QEMU
# fail at measuring the processor, and many iterations every later opening slow.
new_encrypted_image() {
    printf secret >"$2"
    real create -q -f qcow2 --object "secret,id=s,file=$2" -o encrypt.format=luks \
        -o encrypt.key-secret=s,encrypt.iter-time=10,encrypt.hash-alg=sha512 "$1" 8M
}
