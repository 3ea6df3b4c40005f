# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# What tests of external snapshots have in common; to be read in after harness.sh and images.sh.
# ACTIVE are the images that the machine writes to.

# pair: two images that hold 1
pair() {
    ACTIVE=(a.qcow2 b.qcow2)
    new_images "${ACTIVE[@]}"
    put 1 "${ACTIVE[@]}"
}

# frozen TAG BYTE: an external snapshot of ACTIVE; then its overlays are written to
frozen() {
    freeze "$1"
    put "$2" "${ACTIVE[@]}"
}

# trio: states 1 (one), 2 (two), 3 (three) under the active 4
trio() {
    pair
    frozen one 2
    frozen two 3
    frozen three 4
}

# info_of FILE KEY: what qemu-img info says of it
info_of() {
    real info -U --output=json "$1" | "$PYTHON" -c '
import json, sys
print(json.load(sys.stdin).get(sys.argv[1]))' "$2"
}

# sealed FILE...: true and false of each, in one line
sealed() {
    local file text=''
    for file; do
        expect_rc 0 ss list --output=json "$file"
        text+=" $(json 'd["images"][0]["sealed"]')"
    done
    printf '%s' "${text# }"
}

# Nothing that commands make on the way is left behind.
expect_no_leftovers() {
    expect_equal "$(find . "$SNAPSHOT_SET_STATE_DIR" -name '.snapshot-set-*' -o -name '*.journal' -o \
        -name '*.lock')" '' 'left behind'
}

# held FILE [FORMAT]: a checksum of the whole disk that a guest would see; breaks no seal
held() {
    real convert -f "${2:-qcow2}" -O raw "$1" "$TEST_DIR/held"
    sha256sum <"$TEST_DIR/held"
}

# freeze TAG [OPTION...]: an external snapshot of the images ACTIVE, whose overlays are ACTIVE then
freeze() {
    local tag=$1
    shift
    expect_rc 0 ss create "$tag" --external --output=json "$@" "${ACTIVE[@]}"
    mapfile -t ACTIVE < <(json '"\n".join(o["overlay"] for o in d["overlays"])')
}

# thaw FILE: open it for writing, and write nothing; its seal is gone then
thaw() {
    qio "$1" 'length' >/dev/null
}
