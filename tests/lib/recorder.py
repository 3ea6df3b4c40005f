#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Record what passes a domain's monitor: `recorder.py FOLDER DOMAIN OPERATION SUBOPERATION EXTRA`.

A libvirt hook for the time before the domain's QEMU is there. It takes the place of the monitor's
socket, as the guard does: a hook that comes later, the guard's, stands between libvirt and it. For
the Nth client of the machine with libvirt's number ID, FOLDER/DOMAIN-ID.N.to-qemu and .from-qemu
hold every byte.
"""
import array
import glob
import os
import select
import socket
import sys
import xml.etree.ElementTree as tree

SOCKET = "monitor.sock"
BEHIND = "recorded.sock"


def reach(name):
    """Connect to a socket in this folder, whose whole path may be too long."""
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(name)
    return peer


def pass_on(source, target, log):
    """Pass one piece on, descriptors included; False at the end."""
    data, fds, _, _ = socket.recv_fds(source, 1 << 20, 16)
    if not data:
        target.shutdown(socket.SHUT_WR)
        return False
    os.write(log, data)
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sent = target.sendmsg([data], control)
    target.sendall(data[sent:])
    for fd in fds:
        os.close(fd)
    return True


def relay(client, qemu, path):
    """Relay one connection until both sides have ended."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    ways = {client: (qemu, os.open(path + ".to-qemu", flags)),
            qemu: (client, os.open(path + ".from-qemu", flags))}
    while ways:
        for source in select.select(list(ways), [], [])[0]:
            target, log = ways[source]
            try:
                if pass_on(source, target, log):
                    continue
            except OSError:
                pass
            os.close(log)
            del ways[source]
    client.close()
    qemu.close()


def is_gone():
    """Whether nobody listens any more where QEMU did."""
    try:
        reach(BEHIND).close()
    except OSError:
        return True
    return False


def serve(listener, path):
    """One client after another, until QEMU is gone."""
    number = 0
    while os.path.exists(SOCKET) and (number == 0 or not is_gone()):
        if not select.select([listener], [], [], 1)[0]:
            continue
        client = listener.accept()[0]
        if select.select([client], [], [], 0.5)[0] and not client.recv(1, socket.MSG_PEEK):
            client.close()  # somebody looked whether there is still a QEMU
            continue
        number += 1
        relay(client, reach(BEHIND), f"{path}.{number}")


def main():
    folder, domain, operation, suboperation = sys.argv[1:5]
    xml = sys.stdin.read()
    if (operation, suboperation) != ("start", "begin"):
        return
    number = tree.fromstring(xml).get("id")
    os.chdir(glob.glob(f"/var/lib/libvirt/qemu/domain-{number}-*")[0])
    os.rename(SOCKET, BEHIND)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(SOCKET)
    listener.listen(16)
    if os.fork():
        return
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)  # libvirt waits for the end of these
    serve(listener, os.path.join(folder, f"{domain}-{number}"))


main()
