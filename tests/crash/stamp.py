#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a crash while stamping leaves behind, judged by the real qemu-img; and the seal.

    stamp.py states IMAGE WRITES N   make N states or more out of the writes (as stamp-writes
                                     prints them), each a prefix of them with the last one torn,
                                     ask qemu-img info and check about each, and leave the image
                                     stamped; prints the number of states
    stamp.py seal IMAGE OPEN...      open the image read-write with the command OPEN, and print
                                     which bytes of its first cluster are changed by then
"""
import os
import signal
import struct
import subprocess
import sys

QEMU_IMG = os.environ['REAL_QEMU_IMG']


def load_writes(path):
    with open(path, encoding='ascii') as lines:
        for line in lines:
            offset, digits = line.split()
            yield int(offset), bytes.fromhex(digits)


def cuts(offset, data, wanted):
    """Lengths to cut a write at: around every sector's edge, and at multiples of 8 in between."""
    edges = {0, 8, len(data) // 2 // 8 * 8, max(len(data) - 8, 0)}
    first = 512 - offset % 512
    for edge in range(first, len(data), 512):
        edges.update((edge - 8, edge, edge + 8))
    inside = sorted(edge for edge in edges if 0 <= edge < len(data))
    step = max(1, len(inside) // wanted)
    return inside[::step]


def ask(*arguments):
    done = subprocess.run(arguments, executable=QEMU_IMG, capture_output=True, text=True,
                          check=False)
    # how many blocks of the file are in use is no concern of its content
    lines = [line for line in done.stdout.splitlines() if '"actual-size"' not in line]
    return done.returncode, lines, done.stderr


def answers(image):
    return (ask('qemu-img', 'info', '-U', '--output=json', '-f', 'qcow2', image),
            ask('qemu-img', 'check', '-U', '-f', 'qcow2', '--output=json', image))


def put(image, offset, data):
    with open(image, 'r+b', buffering=0) as file:
        file.seek(offset)
        file.write(data)


def states(image, writes, wanted):
    writes = list(load_writes(writes))
    before = answers(image)
    count = 0

    def judge(where):
        nonlocal count
        count += 1
        after = answers(image)
        if after != before:
            sys.exit(f'{image}: {where}: {after} instead of {before}')

    for number, (offset, data) in enumerate(writes):
        with open(image, 'rb') as file:
            file.seek(offset)
            old = file.read(len(data))
        for cut in cuts(offset, data, wanted):
            put(image, offset, data[:cut] + old[cut:])
            judge(f'write {number} cut at {cut}')
        put(image, offset, data)
        judge(f'write {number}')
    print(count)


def first_cluster(image):
    with open(image, 'rb') as file:
        head = file.read(24)
        file.seek(0)
        return file.read(1 << struct.unpack('>I', head[20:24])[0])


def seal(image, command):
    """Stop at the first prompt: what the open itself wrote, and no closing, is then in the file."""
    before = first_cluster(image)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          start_new_session=True) as child:
        child.stdin.write(b'length\n')
        child.stdin.flush()
        answer = b''
        while b'iB' not in answer and b'bytes' not in answer:
            one = os.read(child.stdout.fileno(), 4096)
            if not one:
                sys.exit(f'{image}: cannot be opened: {answer.decode()}')
            answer += one
        os.kill(child.pid, signal.SIGKILL)
    after = first_cluster(image)
    print(*(at for at in range(len(before)) if before[at] != after[at]))


if sys.argv[1] == 'states':
    states(sys.argv[2], sys.argv[3], int(sys.argv[4]))
else:
    seal(sys.argv[2], sys.argv[3:])
