#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Malformed images: whatever QEMU refuses we refuse, with one clear message, and whatever it accepts
# we accept, unless a row says that we are stricter. The same patches to the bytes of a header are
# judged without QEMU in tests/unit/test-qcow2-parse.c.
#
# Each row is NAME BASE VERDICT PATCH... as tests/lib/patch-qcow2.py reads it. VERDICT is
#     same        as the real qemu-img info of this machine says
#     refused     QEMU accepts it, and we do not (a truncated or overlapping table)
# and a name begins with what the row is about: H header, R L T tables, E extensions, S snapshots,
# Q what QEMU accepts without a word.
# shellcheck source=../lib/harness.sh
. "$(dirname "$0")/../lib/harness.sh"
# shellcheck source=../lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
requires qemu-img python3

ROWS='
H1-magic            plain  same     0:514649fa
H1-empty            plain  same     0:cut
H1-3-bytes          plain  same     3:cut
H1-4-bytes          plain  same     4:cut
H2-version-0        plain  same     4:00000000
H2-version-1        plain  same     4:00000001
H2-version-4        plain  same     4:00000004
H2-version-most     plain  same     4:ffffffff
H3-cluster-0        plain  same     20:00000000
H3-cluster-8        plain  same     20:00000008
H3-cluster-22       plain  same     20:00000016
H3-cluster-64       plain  same     20:00000040
H4-length-most      plain  same     100:ffffffff
H4-length-7fffffff  plain  same     100:7fffffff
H4-length-cluster-1 plain  same     100:00010001
H5-length-0         plain  same     100:00000000
H5-length-103       plain  same     100:00000067
H5-length-104       small  same     100:00000068
H5-cut-71           plain  same     71:cut
H5-cut-103          plain  same     103:cut
H5-cut-71-v2        old    refused   71:cut
H6-order-6          none   same     96:00000006
H6-order-7          plain  same     96:00000007
H6-order-most       plain  same     96:ffffffff
H7-bit-63           plain  same     72:8000000000000000
H7-bit-5            plain  same     72:0000000000000020
H7-bits-61-62       plain  same     72:6000000000000001
H7-compatible       plain  same     80:ffffffffffffffff
H7-auto-clear       plain  same     88:fffffffffffffffc
H7-auto-clear-raw   plain  same     88:0000000000000002
H8-type-0           plain  same     72:0000000000000008
H9-type-1           plain  same     104:01
H9-type-9           plain  same     72:0000000000000008 104:09
H9-type-9-no-bit    plain  same     104:09
H9-zstd             plain  same     72:0000000000000008 104:01
H10-512             small  same     72:0000000000000010
H10-8k              eight  same     72:0000000000000010
H10-64k             plain  same     72:0000000000000010
H11-crypt-1         plain  same     32:00000001
H11-crypt-3         plain  same     32:00000003
H11-crypt-most      plain  same     32:ffffffff
H12-size-0          plain  same     24:0000000000000000
H12-size-2^62       plain  same     24:4000000000000000
H12-size-2^63       plain  same     24:8000000000000000
H12-size-most       plain  same     24:ffffffffffffffff
H12-size-l1         plain  same     24:0000000020000000
H12-size-l1-and-1   plain  same     24:0000000020000200
H12-size-extended   plain  same     24:0000000010000200 72:0000000000000010
H12-no-size-no-l1   plain  same     24:0000000000000000 36:00000000
H13-offset-most     plain  same     8:ffffffffffffffff
H13-offset-cluster  plain  same     8:0000000000010000
H13-offset-past     plain  same     8:0000000000010001
H14-size-most       backed same     16:ffffffff
H14-size-1024       backed same     16:00000400
H14-size-1023       backed same     16:000003ff
H14-past-cluster    backed same     8:000000000000fffa 16:00000014
H14-to-cluster-end  backed same     8:000000000000fffa 16:00000006
H14-no-offset       plain  same     16:ffffffff
H14-empty-name      backed same     16:00000000
H15-dirty           plain  same     72:0000000000000001
H15-corrupt         plain  same     72:0000000000000002
H16-data-file       plain  same     72:0000000000000004
R1-most             plain  same     56:ffffffff
R1-20001            plain  same     56:00004e21
R1-129              plain  same     56:00000081
R1-128              none   same     56:00000080
R2-0                plain  same     56:00000000
R3-odd              plain  same     48:1234567890abcdef
R3-most             plain  same     48:ffffffffffff0000
R3-unaligned        plain  same     48:0000000000010008
L1-most             plain  same     36:ffffffff
L1-7fffffff         plain  same     36:7fffffff
L1-4194305          plain  same     36:00400001
L1-4194304          none   same     36:00400000 67108864:grow
L2-most             plain  same     36:00002000 40:7fffffffffff0000
L2-unaligned        plain  same     40:0000000000030008
L3-0                plain  same     36:00000000
L3-0-none           none   same     36:00000000
T-l1-past-the-end   plain  refused  40:0000010000000000
T-refs-past-the-end plain  refused  48:0000010000000000
T-cut-at-the-l1     none   refused  l1:cut
E1-7fffffff         small  same     end:123456787fffffff
E1-ffffffff         plain  same     end:12345678ffffffff
E1-past-cluster     plain  same     end:123456780000fe01
E1-to-cluster-end   plain  same     end:123456780000fe00
E1-4k-past          four   same     end:1234567800000f89
E1-4k-to-end        four   same     end:1234567800000f88
E1-v2-past          old    same     72:123456780000ffb1
E1-v2-to-end        old    same     72:123456780000ffb0
E2-past-the-name    backed same     end:1234567800000001
E2-up-to-the-name   backed same     end:1234567800000000
E2-cut-by-the-name  plain  same     8:00000000000001fc 16:00000004
E3-end-most         plain  same     end:00000000ffffffff
E3-end-8            plain  same     end:0000000000000008
E4-format-16        four   same     end:e2792aca00000010
E4-format-15        four   same     end:e2792aca0000000f
E4-format-0         four   same     end:e2792aca00000000
E5-no-luks          luks   same     32:00000000
E5-aes              luks   same     32:00000001
E6-15               luks   same     crypto+-4:0000000f
E6-17               luks   same     crypto+-4:00000011
E7-4660             luks   same     crypto:0000000000001234
E8-missing          plain  same     32:00000002
E9-23               marked same     bitmaps+-4:00000017
E9-25               marked same     bitmaps+-4:00000019
E9-23-stale         marked same     bitmaps+-4:00000017 88:0000000000000000
E10-reserved        marked same     bitmaps+4:00000001
E11-0               marked same     bitmaps:00000000
E11-65536           marked same     bitmaps:00010000
E12-unaligned       marked same     bitmaps+16:0000000000010008
E12-2^40            marked same     bitmaps+8:0000010000000000
E12-67107841        marked same     bitmaps+8:0000000003fffc01
E13-data-file-name  four   same     end:4441544100000008
E13-feature-47      four   same     end:6803f8570000002f
E14-two-of-ours     four   same     end:53534554000000005353455400000000
E14-ours-empty      four   same     end:5353455400000000
E14-ours-nonsense   four   same     end:5353455400000010 end+8:ffffffffffffffffffffffffffffffff
E14-ours-foreign    four   same     end:5353455400000010 end+8:0002
E15-empty-ones      four   same     112:1234567800000000*498
S1-most             plain  same     60:ffffffff
S1-7fffffff         plain  same     60:7fffffff
S1-65537            plain  same     60:00010001
S2-most             plain  same     64:ffffffffffff0000
S2-most-none        none   same     64:ffffffffffff0000
S2-unaligned        plain  same     64:0000000000040001
S2-unaligned-none   none   same     64:0000000000040001
S2-aligned-to-8     plain  same     64:0000000000040008
S3-1025             plain  same     table+36:00000401
S3-65536            plain  same     table+36:00010000
S3-most             plain  same     table+36:ffffffff
S3-1025-second      plain  same     table1+36:00000401
S4-0                plain  same     table+36:00000000 eof+4096:grow
S4-8                plain  same     table+36:00000008 eof+4096:grow
S4-12               plain  same     table+36:0000000c eof+4096:grow
S6-l1-offset        plain  same     table:0000000000400200
S7-l1-size          plain  same     table+8:10000000
S8-l1-past-the-end  plain  same     table:0004000000000000
Q1-past-the-end     plain  refused  64:0000010000000000
Q1-cut-at-table     plain  refused  table:cut
Q1-cut-in-first     plain  refused  table+50:cut
Q1-cut-in-second    plain  refused  table1+50:cut
Q1-cut-by-a-byte    plain  refused  eof+-1:cut
Q2-one-more         plain  refused  60:00000003
Q2-one-more-zeros   plain  same     60:00000003 eof+4096:grow
Q2-65536            plain  refused  60:00010000
Q3-on-header        plain  refused  60:00000001 64:0000000000000000
Q3-on-l1            plain  refused  60:00000001 64:0000000000030000
Q3-on-refs          plain  refused  60:00000001 64:0000000000010000
Q4-id-most          plain  refused  table+12:ffff
Q4-name-most        plain  refused  table+14:ffff
Q4-both-most        plain  refused  table+12:ffffffff
Q5-no-extra         old    same     4:00000003 96:0000000400000048 100:00000068 104:00*8
Q7-nul-in-name      plain  same     table+67:00
Q8-escape-in-name   plain  same     table+65:1b5b324a
Q8-latin-in-name    plain  same     table+65:ffff
Q9-same-id          plain  same     table1+64:31
Q10-numbers         plain  same     table+16:ff*16 table+40:ff*16
Q11-length-105      small  same     100:00000069
Q11-length-cluster  plain  same     100:00010000
Q12-no-bitmaps      plain  same     88:0000000000000001
Q16-in-header       plain  refused  8:0000000000000032 16:00000004
Q17-size-1000       plain  same     24:00000000000003e8
Q19-stale           marked same     88:0000000000000000
Q19-stale-broken    marked same     88:0000000000000000 bitmaps:0000000000000001
Q20-no-padding      plain  same
'

# The good images: with two snapshots, unless said.
make_bases() {
    local file
    echo key >key
    real create -q -f qcow2 none.qcow2 1M # no snapshots
    real create -q -f qcow2 plain.qcow2 1M
    real create -q -f qcow2 -o compat=0.10 old.qcow2 1M
    real create -q -f qcow2 -o cluster_size=512 small.qcow2 64k
    real create -q -f qcow2 -o cluster_size=4k four.qcow2 1M
    real create -q -f qcow2 -o cluster_size=8k eight.qcow2 1M
    real create -q -f raw base.img 1M
    real create -q -f qcow2 -b base.img -F raw backed.qcow2 1M
    for file in plain old small four eight backed; do
        real snapshot -c first "$file.qcow2"
        real snapshot -c second "$file.qcow2"
    done
    cp plain.qcow2 marked.qcow2
    real bitmap --add marked.qcow2 mark
    real create -q -f qcow2 --object secret,id=s,file=key \
        -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=2000,encrypt.hash-alg=sha512 \
        luks.qcow2 1M
}

# Our verdict over FILE into OURS, accepted or refused; anything else fails.
ask_ours() {
    local rc=0
    timeout 20 "$SNAPSHOT_SET" list --all -f qcow2 "$1" >"$OUT_FILE" 2>"$ERR_FILE" || rc=$?
    case $rc in
    0) OURS=accepted ;;
    1)
        OURS=refused
        expect_equal "$(grep -c "^qemu-img: snapshot-set: '$1': [a-zA-Z0-9]" "$ERR_FILE" || true)" 1 \
            "clear messages on $1"
        expect_equal "$(wc -l <"$ERR_FILE")" 1 "lines of error on $1"
        ;;
    *) fail "exit code $rc on $1: $(cat "$ERR_FILE")" ;;
    esac
    if LC_ALL=C grep -q $'[\001-\010\013-\037\177]' "$OUT_FILE" "$ERR_FILE"; then
        fail "control characters on $1"
    fi
    rc=0
    timeout 20 "$SNAPSHOT_SET" check -f qcow2 "$1" >check.out 2>&1 || rc=$?
    [[ $OURS-$rc == accepted-[02] || $OURS-$rc == refused-1 ]] ||
        fail "$1 is $OURS, but check ends with $rc: $(cat check.out)"
}

# QEMU's verdict into THEIRS; a child that a signal ended cannot tell.
ask_qemu() {
    local rc=0
    (real info -U -f qcow2 "$1") >qemu.out 2>qemu.err || rc=$?
    case $rc in
    0) THEIRS=accepted ;;
    1) THEIRS=refused ;;
    *) THEIRS=silent ;;
    esac
}

test_verdicts() {
    local name verdict wrong=() count=0 refused=0
    make_bases
    "$PYTHON" "$TOP/tests/lib/patch-qcow2.py" <<<"$ROWS" >rows
    while read -r name verdict; do
        ask_ours "$name.qcow2"
        ask_qemu "$name.qcow2"
        count=$((count + 1))
        [ "$OURS" = accepted ] || refused=$((refused + 1))
        case $verdict-$THEIRS in
        same-silent) ;;
        same-*) [ "$OURS" = "$THEIRS" ] || wrong+=("$name: $OURS, QEMU: $THEIRS: $(cat "$ERR_FILE" qemu.err)") ;;
        refused-*) [ "$OURS" = refused ] || wrong+=("$name: accepted") ;;
        esac
    done <rows
    printf '%s\n' "${wrong[@]}"
    expect_equal "${#wrong[@]}" 0 'number of wrong verdicts'
    note "$count images, $refused of them refused"
    [ "$count" -ge 150 ]
}

# the order in the snapshot table is not the only one that gives 65,536 entries of nothing
test_most_entries() {
    real create -q -f qcow2 -o compat=0.10 zeros.qcow2 1M
    real snapshot -c x zeros.qcow2
    printf '%s\n' 'Q6-zeros zeros same 60:00010000 table:00*2621440' |
        "$PYTHON" "$TOP/tests/lib/patch-qcow2.py"
    ask_ours Q6-zeros.qcow2
    expect_equal "$OURS" accepted
    expect_equal "$(wc -l <"$OUT_FILE")" 65537
}

# tables of more than 64 MiB, which take some time to look through
test_table_too_big() {
    cat >big.py <<'EOT'
import struct
with open("plain.qcow2", "r+b") as f:
    f.seek(64)
    table = struct.unpack(">Q", f.read(8))[0]
    f.seek(60)
    f.write(struct.pack(">I", 512))
    at = table
    for i in range(512):
        f.seek(at + 12)
        f.write(b"\xff" * 4)
        f.seek(at + 36)
        f.write(struct.pack(">I", 1024))
        at += 40 + 1024 + 2 * 65535 + 2
    f.truncate(at)
EOT
    real create -q -f qcow2 plain.qcow2 1M
    real snapshot -c x plain.qcow2
    "$PYTHON" big.py
    ask_ours plain.qcow2
    ask_qemu plain.qcow2
    expect_equal "$OURS" refused
    expect_equal "$THEIRS" refused
    expect_err 'snapshot table is too big'
}

run_tests "$@"
