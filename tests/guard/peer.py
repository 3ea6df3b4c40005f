# SPDX-License-Identifier: GPL-2.0-or-later
"""What the relay's tests stand on: a guard between a client and a real QEMU or a scripted one."""
import array
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import termios
import time

GUARD = os.environ["SNAPSHOT_SET_GUARD"]
TIMEOUT = int(os.environ.get("PEER_TIMEOUT", "20"))
GREETING = b'{"QMP": {"version": {}, "capabilities": ["oob"]}}\r\n'


def wait_for(condition, what):
    """Poll until @condition() is true, and return that."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.005)
    raise AssertionError(f"waited in vain for {what}")


def settled(look):
    """What @look() tells twice in a row: who starts a process has its descriptors for a moment."""
    seen, before = look(), None
    while seen != before:
        time.sleep(0.02)
        seen, before = look(), seen
    return seen


def open_files(pid):
    """Where the process' descriptors lead, by number."""
    links = {}
    for fd in map(int, os.listdir(f"/proc/{pid}/fd")):
        try:
            links[fd] = os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:
            pass  # closed meanwhile
    return links


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def private_memory(pid):
    total = 0
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        for line in file:
            if line.startswith(("Private_Clean", "Private_Dirty")):
                total += int(line.split()[1])
    return total


def status_of(pid, key):
    """A line of /proc/PID/status."""
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        return [line.split(":", 1)[1].strip() for line in file if line.startswith(key + ":")][0]


def peak_memory(pid):
    """The most it ever had resident, shared libraries and buffers included; KiB."""
    return int(status_of(pid, "VmHWM").split()[0])


class Stream:
    """A connected socket, read by line."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.settimeout(TIMEOUT)
        self.buffer = b""
        self.fds = []

    def send(self, data, fds=()):
        if isinstance(data, str):
            data = data.encode()
        if fds:
            control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
            sent = self.sock.sendmsg([data], control)
            data = data[sent:]
        self.sock.sendall(data)

    def wait_until_read(self):
        """Until the other side has taken all that was sent."""
        wait_for(lambda: fcntl.ioctl(self.sock, termios.TIOCOUTQ, bytes(4)) == bytes(4), "a reader")

    def more(self):
        data, fds, _, _ = socket.recv_fds(self.sock, 65536, 16)
        self.fds += fds
        self.buffer += data
        return data

    def line(self):
        while b"\n" not in self.buffer:
            if not self.more():
                raise EOFError(self.buffer)
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line + b"\n"

    def exactly(self, length):
        while len(self.buffer) < length:
            if not self.more():
                raise EOFError(self.buffer)
        data, self.buffer = self.buffer[:length], self.buffer[length:]
        return data

    def silent(self, seconds=0.05):
        """Whether nothing is there and nothing comes for a while."""
        return not self.buffer and not select.select([self.sock], [], [], seconds)[0]

    def ended(self):
        try:
            return self.more() == b""
        except ConnectionResetError:
            return True

    def close(self):
        self.sock.close()


class Client(Stream):
    """A QMP client."""

    def __init__(self, path, negotiate=True):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(TIMEOUT)
        here = os.open(".", os.O_RDONLY)
        os.chdir(os.path.dirname(path))  # however long that is
        sock.connect(os.path.basename(path))
        os.fchdir(here)
        os.close(here)
        super().__init__(sock)
        self.events = []
        if negotiate:
            assert b"QMP" in self.line()
            assert "return" in self.execute("qmp_capabilities")

    def reply(self):
        while True:
            message = json.loads(self.line())
            if "event" not in message:
                return message
            self.events.append(message)

    def execute(self, command, fds=(), **arguments):
        message = {"execute": command}
        if arguments:
            message["arguments"] = {k.replace("_", "-"): v for k, v in arguments.items()}
        self.send(json.dumps(message) + "\r\n", fds)
        return self.reply()

    def hmp(self, line):
        return self.execute("human-monitor-command", command_line=line)


JUDGE = """#!/bin/sh
# A judge whose verdict is in a file: its words are sourced. What it was given is kept.
here=%(folder)s
echo "$1" >>"$here/started"
cat >"$here/command.$$"; [ -s "$here/command.$$" ] || exit 0
if [ "$1" = judge ]; then
    cp "$here/command.$$" "$here/asked"
    echo >>"$here/count"
    . "$here/verdict"
fi
cat <&3 >"$here/reply.$$"; [ -s "$here/reply.$$" ] || exit 0; echo "$SNAPSHOT_SET_EVENT" >>"$here/events"
cat "$here/command.$$" >>"$here/recorded"; cat "$here/reply.$$" >>"$here/replies"
[ ! -e "$here/recorder" ] || . "$here/recorder"
echo recorded
"""


class Guard:
    """A guard, and what it guards: a real QEMU (@qemu: its arguments) or nothing yet."""

    def __init__(self, folder, qemu=None, options=(), name="guest", insert=True):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        self.path = os.path.join(folder, "monitor.sock")
        self.qemu = None
        self.judge = os.path.join(folder, "judge")
        self.verdict("echo allow")
        with open(self.judge, "w", encoding="ascii") as file:
            file.write(JUDGE % {"folder": folder})
        os.chmod(self.judge, 0o755)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.settimeout(TIMEOUT)
        here = os.open(".", os.O_RDONLY)
        os.chdir(folder)
        self.listener.bind("monitor.sock")
        os.fchdir(here)
        os.close(here)
        self.listener.listen(1)
        self.keeper = None
        if insert:
            self.insert(name, options)
        if qemu is not None:
            self.start_qemu(qemu)

    def insert(self, name="guest", options=(), before=(), **spawn):
        """Start the guard; @before: the command that starts it."""
        others = set(guards())
        subprocess.run([*before, GUARD, "run", "--monitor", self.path, "--domain", name,
                        "--judge", self.judge, *options], check=True, timeout=TIMEOUT, **spawn)
        self.keeper = wait_for(lambda: list(set(guards()) - others), "the keeper")[0]

    def start_qemu(self, arguments):
        fd = self.listener.fileno()
        os.set_inheritable(fd, True)
        self.qemu = subprocess.Popen(
            ["qemu-system-x86_64", "-machine", "none" if not arguments else "pc,accel=kvm:tcg",
             "-nodefaults", "-display", "none", "-m", "64", *arguments,
             "-chardev", f"socket,id=mon,fd={fd},server=on,wait=off",
             "-mon", "chardev=mon,id=monitor,mode=control"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[fd])
        self.listener.close()

    def verdict(self, script):
        path = os.path.join(self.folder, "verdict")
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(script + "\n")
        os.rename(path + ".new", path)  # a judge may be reading it

    def read(self, name):
        try:
            with open(os.path.join(self.folder, name), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""

    def relay(self):
        return wait_for(lambda: children(self.keeper), "a relay")[0]

    def waiting_judge(self, *others):
        """The one that is started ahead of the next command, and is none of @others."""
        return wait_for(lambda: set(children(self.relay())) - set(others), "a judge that waits").pop()

    def kill_relay(self):
        pid = self.relay()
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not alive(pid), "the relay's end")

    def connect(self):
        """Client and scripted QEMU, connected through the guard."""
        client = Client(self.path, negotiate=False)
        while True:
            qemu = Stream(self.listener.accept()[0])
            # the keeper looks whether somebody listens by a connection that it closes at once
            if not select.select([qemu.sock], [], [], 0)[0] or qemu.sock.recv(1, socket.MSG_PEEK):
                return client, qemu

    def greeted(self):
        client, qemu = self.connect()
        qemu.send(GREETING)
        assert client.line() == GREETING
        return client, qemu

    def end(self):
        if self.qemu:
            self.qemu.kill()
            self.qemu.wait()
        self.listener.close()
        if os.path.exists(self.path):
            os.unlink(self.path)


def guards():
    folder = os.path.join(os.environ["SNAPSHOT_SET_RUN_DIR"], "guards")
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return [int(name.rsplit("-", 1)[1]) for name in names if not name.startswith(".")]


def equal(got, want, what="value"):
    if got != want:
        raise AssertionError(f"{what} is {got!r:.2000} instead of {want!r:.2000}")


# ---- a scripted QEMU ------------------------------------------------------------------------------

SAVE = (b'{"execute": "human-monitor-command", "arguments": {"command-line": "savevm a"}, '
        b'"id": "libvirt-7"}')
ANSWER = (b'{"id": "libvirt-7", "error": {"class": "GenericError", '
          b'"desc": "snapshot-set: no way"}}\r\n')
OK = b'{"return": {}}\r\n'


def new(**options):
    return Guard(os.path.abspath("guard"), **options)


def denying(**options):
    guard = new(**options)
    guard.verdict("echo deny no way")
    return guard


def exchange(client, qemu, command, reply=OK):
    """A command that passes, and its reply."""
    client.send(command)
    equal(qemu.exactly(len(command)), command, "command")
    qemu.send(reply)
    equal(client.line(), reply, "reply")
