#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Rename what is in a qcow2 snapshot table, which no tool does. ID and name together must take as
much room as before.

    snapshot-table.py FILE INDEX ID NAME     set both of the entry at INDEX, counted from 0
    snapshot-table.py FILE INDEX --alike     change the name's last bytes until the entry's derived
                                             identity begins like that of entry 0
"""
import hashlib
import struct
import sys

HEADER = 40


def entries(data):
    """(offset of the entry, of its ID, its length, of its name, its length) of every entry."""
    count, at = struct.unpack_from(">IQ", data, 60)
    for _ in range(count):
        id_size, name_size, = struct.unpack_from(">HH", data, at + 12)
        id_at = at + HEADER + struct.unpack_from(">I", data, at + 36)[0]
        yield at, id_at, id_size, id_at + id_size, name_size
        at = (id_at + id_size + name_size + 7) // 8 * 8


def derived(data, at, name):
    """The derived identity (without the bits of its version)."""
    seconds, nanoseconds, clock = struct.unpack_from(">IIQ", data, at + 16)
    text = struct.pack(">IIQ", seconds, nanoseconds, clock) + name
    return hashlib.sha256(b"snapshot-set derived identity v1\n" + text).digest()


def find_alike(data, table, index):
    first_at, _, _, name_at, size = table[0]
    wanted = derived(data, first_at, bytes(data[name_at:name_at + size]))[:2]
    at, id_at, id_size, name_at, size = table[index]
    stem = bytes(data[name_at:name_at + size - 6])
    for number in range(1000000):
        name = stem + b"%06d" % number
        if derived(data, at, name)[:2] == wanted:
            return bytes(data[id_at:id_at + id_size]), name
    sys.exit("no such name was found")


def main():
    path, index, *names = sys.argv[1:]
    with open(path, "rb") as file:
        data = bytearray(file.read())
    table = list(entries(data))
    at, id_at, id_size, _, name_size = table[int(index)]
    if names == ["--alike"]:
        new_id, new_name = find_alike(data, table, int(index))
    else:
        new_id, new_name = (name.encode("utf-8", "surrogateescape") for name in names)
    if len(new_id) + len(new_name) != id_size + name_size:
        sys.exit(f"ID and name must have {id_size + name_size} bytes")
    with open(path, "r+b") as file:
        file.seek(at + 12)
        file.write(struct.pack(">HH", len(new_id), len(new_name)))
        file.seek(id_at)
        file.write(new_id + new_name)


main()
