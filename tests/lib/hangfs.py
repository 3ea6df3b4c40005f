#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A file system that hangs for some: `hangfs.py MOUNTPOINT FILE HUNG`.

MOUNTPOINT/disk is FILE, through FUSE. When a file HUNG exists, the next process whose name begins
with a line of it gets no answer, and does not even die when it is killed, until this program ends.
HUNG is removed then.
"""
import ctypes
import os
import stat
import struct
import sys

GETATTR, SETATTR, LOOKUP, OPEN, READ, WRITE, STATFS, INIT = 3, 4, 1, 14, 15, 16, 17, 26
FORGET, INTERRUPT, BATCH_FORGET = 2, 36, 42
DONE = {18: "release", 20: "fsync", 25: "flush", 34: "access"}
ROOT, DISK = 1, 2
SIZE_GIVEN, DIRECT_IO = 1 << 3, 1
ENOENT, ENOSYS = 2, 38


class FileSystem:
    """Answers requests about one file in one folder."""

    def __init__(self, path, hung):
        self.file = os.open(path, os.O_RDWR)
        self.hung = hung

    def hangs(self, pid):
        try:
            with open(f"/proc/{pid}/comm", encoding="utf-8") as comm, open(self.hung, encoding="utf-8") as hung:
                name = comm.read()
                found = any(name.startswith(line.strip()) for line in hung)
        except OSError:
            return False
        if found:
            os.unlink(self.hung)
        return found

    def attributes(self, node):
        status = os.fstat(self.file)
        mode = stat.S_IFDIR | 0o755 if node == ROOT else status.st_mode
        times = [int(status.st_atime), int(status.st_mtime), int(status.st_ctime), 0, 0, 0]
        return struct.pack("<6Q10I", node, status.st_size, status.st_blocks, *times, mode, 1, 0, 0, 0, 4096, 0)

    def answer(self, code, node, body):
        """The body of the answer, or the number of an error."""
        if code == INIT:
            return struct.pack("<4I2H2I2H8I", 7, 31, 65536, 0, 16, 12, 65536, 1, 0, 0, *[0] * 8)
        if code == LOOKUP:
            if body.rstrip(b"\0") != b"disk":
                return ENOENT
            return struct.pack("<4Q2I", DISK, 0, 0, 0, 0, 0) + self.attributes(DISK)
        if code == SETATTR:
            valid, size = struct.unpack_from("<I12xQ", body)
            if valid & SIZE_GIVEN:
                os.ftruncate(self.file, size)
        if code in (GETATTR, SETATTR):
            return struct.pack("<Q2I", 0, 0, 0) + self.attributes(node)
        if code == OPEN:
            return struct.pack("<Q2I", 0, DIRECT_IO, 0)
        if code == READ:
            offset, size = struct.unpack_from("<8xQI", body)
            return os.pread(self.file, size, offset)
        if code == WRITE:
            offset, size = struct.unpack_from("<8xQI", body)
            return struct.pack("<2I", os.pwrite(self.file, body[40:40 + size], offset), 0)
        if code == STATFS:
            return struct.pack("<5Q4I24x", 1 << 20, 1 << 20, 1 << 20, 9, 9, 4096, 255, 4096, 0)
        return b"" if code in DONE else ENOSYS

    def serve(self, device):
        while True:
            request = os.read(device, 1 << 17)
            _, code, unique, node, _, _, pid, _ = struct.unpack_from("<2I2Q4I", request)
            if code in (FORGET, INTERRUPT, BATCH_FORGET) or self.hangs(pid):
                continue
            answer = self.answer(code, node, request[40:])
            error, body = (-answer, b"") if isinstance(answer, int) else (0, answer)
            os.write(device, struct.pack("<IiQ", 16 + len(body), error, unique) + body)


def main():
    mountpoint, path, hung = sys.argv[1:]
    files = FileSystem(path, hung)
    device = os.open("/dev/fuse", os.O_RDWR)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
    if libc.mount(b"hangfs", mountpoint.encode(), b"fuse", 0, options.encode()) != 0:
        sys.exit(f"hangfs: {os.strerror(ctypes.get_errno())}")
    files.serve(device)


if __name__ == "__main__":
    main()
