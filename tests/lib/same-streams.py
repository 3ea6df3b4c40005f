#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Show that a guard changes nothing: `same-streams.py LIBVIRT-LOG FILE.to-qemu...`.

A FILE, and the one with .from-qemu, is what recorder.py wrote of a connection between the guard and
QEMU. libvirt's log tells each message as libvirt sent and got it, the greeting excepted: there must
be a connection in it of the very same bytes, each way. Prints how much that was.
"""
import re
import sys

NEW = re.compile(rb": QEMU_MONITOR_NEW: mon=(\S+)")
SENT = re.compile(rb": QEMU_MONITOR_SEND_MSG: mon=(\S+) msg=(.*?) fd=-?\d+$", re.S | re.M)
GOT = re.compile(rb": QEMU_MONITOR_RECV_(?:REPLY|EVENT): mon=(\S+) (?:reply|event)=(.*)$", re.M)


def logged(text):
    """The connections in a log, as pairs of bytes: sent, got."""
    marks = [(match.start(), kind, match) for kind, pattern in enumerate((NEW, SENT, GOT))
             for match in pattern.finditer(text)]
    connections, open_ones = [], {}
    for _, kind, match in sorted(marks, key=lambda mark: mark[0]):
        if kind == 0:  # the address of a monitor may be that of an earlier one
            open_ones[match[1]] = [b"", b""]
            connections.append(open_ones[match[1]])
        elif kind == 1:
            open_ones[match[1]][0] += match[2]
        else:
            open_ones[match[1]][1] += match[2] + b"\r\n"
    return connections


def recorded(path):
    with open(path, "rb") as sent, open(path.replace(".to-", ".from-"), "rb") as got:
        return [sent.read(), got.read().split(b"\n", 1)[1]]


def without_last_word(said):
    """A machine that libvirt kills may still say so, which nobody hears."""
    lines = said.splitlines(keepends=True)
    return said[:-len(lines[-1])] if b'"host-signal"' in lines[-1] else said


def differ(got, want):
    """Where two streams part."""
    at = next((i for i, pair in enumerate(zip(got, want)) if pair[0] != pair[1]),
              min(len(got), len(want)))
    return f"from byte {at} of {len(want)} on {got[at:at + 200]!r} instead of {want[at:at + 200]!r}"


def main():
    with open(sys.argv[1], "rb") as file:
        connections = logged(file.read())
    total = [0, 0]
    for path in sys.argv[2:]:
        record = recorded(path)
        alike = [one for one in connections if one[0] == record[0]]
        if not alike:
            nearest = min(connections, key=lambda one: abs(len(one[0]) - len(record[0])))
            sys.exit(f"{path}: QEMU was not sent what libvirt sent: {differ(record[0], nearest[0])}")
        said = (record[1], without_last_word(record[1]))
        if not any(one[1] in said for one in alike):
            sys.exit(f"{path}: libvirt did not get what QEMU said: {differ(alike[0][1], record[1])}")
        total = [total[0] + len(record[0]), total[1] + len(record[1])]
    print(f"{len(sys.argv) - 2} connections, {total[0]} bytes to QEMU, {total[1]} from QEMU")


main()
