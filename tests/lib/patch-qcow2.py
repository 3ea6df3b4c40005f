#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Make broken images: patch copies of good ones.

Reads rows from standard input and prints "NAME VERDICT" of each after writing NAME.qcow2:

    NAME BASE VERDICT PATCH...

BASE is a file BASE.qcow2. A PATCH is one of
    PLACE:HEX           write these bytes
    PLACE:HEX*COUNT     write them so many times
    PLACE:cut           end the file there
    PLACE:grow          make it so long, with zeros
A PLACE is a sum of numbers and names: end (the end marker of the header extensions), name (the
backing file name), crypto, bitmaps (the data of those extensions), l1, refs, table (the tables
themselves), table1 (its second entry), eof (the end of the file).
"""
import shutil
import struct
import sys


def places(data):
    """The names that a place may use, as offsets."""
    def be32(at):
        return struct.unpack_from('>I', data, at)[0]

    def be64(at):
        return struct.unpack_from('>Q', data, at)[0]

    found = {'name': be64(8), 'l1': be64(40), 'refs': be64(48), 'table': be64(64),
             'eof': len(data)}
    at = be32(100) if be32(4) == 3 else 72
    while be32(at) != 0:
        kind = {0x0537be77: 'crypto', 0x23852875: 'bitmaps'}.get(be32(at))
        if kind:
            found[kind] = at + 8
        at += 8 + (be32(at + 4) + 7) // 8 * 8
    found['end'] = at
    if be32(60) > 0:
        entry = found['table']
        lengths = struct.unpack_from('>HH', data, entry + 12)
        found['table1'] = (entry + 40 + be32(entry + 36) + sum(lengths) + 7) // 8 * 8
    return found


def patch(image, names, text):
    """Do what one PATCH says."""
    place, _, what = text.partition(':')
    at = sum(names[word] if word in names else int(word) for word in place.split('+'))
    if what == 'cut' or what == 'grow':
        image.truncate(at)
        return
    digits, _, count = what.partition('*')
    image.seek(at)
    image.write(bytes.fromhex(digits) * int(count or 1))


for line in sys.stdin:
    words = line.split()
    if not words or words[0].startswith('#'):
        continue
    name, base, verdict = words[:3]
    shutil.copyfile(f'{base}.qcow2', f'{name}.qcow2')
    with open(f'{base}.qcow2', 'rb') as original:
        offsets = places(original.read())
    with open(f'{name}.qcow2', 'r+b') as copy:
        for one in words[3:]:
            patch(copy, offsets, one)
    print(name, verdict)
