#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The examples of common/FORMAT.md, taken from its text.

    format-example.py DOCUMENT value NAME    a value of its table of derived identity
    format-example.py DOCUMENT derive        the derived identity of these values, by its own code
    format-example.py DOCUMENT date IMAGE    give the first entry of a qcow2 image date and VM clock
    format-example.py DOCUMENT slot IMAGE    put the example slot into the image's record, alone
    format-example.py DOCUMENT room          CLUSTER-SIZE SLOT-SIZE RECORDS, one line each
    format-example.py DOCUMENT size IMAGE    the slot size of the image's record
"""
import re
import struct
import sys

SSET = 0x53534554


def value(document, name):
    return re.search(rf"^\| {name} \| (.+) \|$", document, re.M).group(1)


def derive(document):
    namespace = {}
    exec(re.search(r"```python\n(.*?)```", document, re.S).group(1), namespace)
    numbers = [int(value(document, name)) for name in ("date-sec", "date-nsec", "vm-clock-nsec")]
    return namespace["derived_identity"](*numbers, value(document, "tag").encode())


def slot(document):
    lines = re.findall(r"^[0-9a-f]{2}  ((?:[0-9a-f]{8} ?){4})$", document, re.M)
    return bytes.fromhex("".join(lines))


def extension(data):
    """Offset and length of the payload."""
    version, = struct.unpack_from(">I", data, 4)
    at = struct.unpack_from(">I", data, 100)[0] if version == 3 else 72
    while True:
        kind, length = struct.unpack_from(">II", data, at)
        if kind == SSET:
            return at + 8, length
        if kind == 0:
            sys.exit("the image has no record")
        at += 8 + (length + 7) // 8 * 8


def main():
    path, what, *rest = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        document = file.read()
    if what == "value":
        print(value(document, rest[0]))
        return
    if what == "derive":
        print(derive(document))
        return
    if what == "room":
        for row in re.findall(r"^\| ([0-9,]+)[a-z ]* \| ([0-9,]+) \| ([0-9]+) \|$", document, re.M):
            print(*(number.replace(",", "") for number in row))
        return
    with open(rest[0], "r+b") as image:
        data = image.read(1 << 20)
        if what == "date":
            table, = struct.unpack_from(">Q", data, 64)
            numbers = [int(value(document, n)) for n in ("date-sec", "date-nsec", "vm-clock-nsec")]
            image.seek(table + 16)
            image.write(struct.pack(">IIQ", *numbers))
            return
        at, _ = extension(data)
        size, = struct.unpack_from(">I", data, at + 4)
        if what == "size":
            print(size)
            return
        image.seek(at + 16)
        image.write(slot(document).ljust(2 * size, b"\0"))


main()
