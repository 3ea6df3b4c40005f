#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A system log: `syslog.py SOCKET FILE` writes what is sent to SOCKET to FILE, a line a message."""
import os
import socket
import sys

LOUDEST = 1 << 16


def main():
    path, file = sys.argv[1:]
    log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    log.bind(path)
    lines = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    while True:
        os.write(lines, log.recv(LOUDEST).replace(b"\n", b" ") + b"\n")


if __name__ == "__main__":
    main()
