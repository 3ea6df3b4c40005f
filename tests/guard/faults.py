# SPDX-License-Identifier: GPL-2.0-or-later
"""Kills, ends, lost descriptors, and how the guard stands alone: `faults.py CASE`, as relay.py."""
import glob
import random
import threading

from peer import *


def judge_faults():
    """A judge that does not answer as it should: the setting decides, and the guest lives."""
    scripts = ["kill -9 $$", "sleep 60", "exit 3", "echo perhaps", "printf allow", "printf 'allow\\nallow\\n'",
               "yes", "true", "echo 'deny '", "exec >&-; sleep 60"]
    for mode in ("deny", "allow"):
        guard = Guard(os.path.abspath(mode), options=["--on-judge-failure", mode, "--deadline", "200"])
        client, qemu = guard.greeted()
        for script in scripts + ["missing", "empty"]:
            guard.verdict(script)
            if script == "missing":
                os.unlink(guard.judge)
            if script == "empty":
                with open(guard.judge, "w", encoding="ascii"):
                    pass
            started = time.monotonic()
            client.send(SAVE + b"\r\n")
            if mode == "deny":
                assert b"on-judge-failure" in client.line(), script
            else:
                equal(qemu.exactly(len(SAVE) + 2), SAVE + b"\r\n")
                qemu.send(b'{"return": "Error: x"}\r\n')
                client.line()
            assert time.monotonic() - started < 2, script
        exchange(client, qemu, b'{"execute": "query-status"}\r\n')
        guard.end()


def judge_ahead():
    """A judge waits before there is a command, and is its recorder afterwards. One that has died, or
    whose program has been replaced, is not used."""
    guard = new()
    client, qemu = guard.greeted()

    def save():
        client.send(SAVE + b"\r\n")
        qemu.exactly(len(SAVE) + 2)
        qemu.send(b'{"return": ""}\r\n')
        client.line()

    def started():
        return guard.read("started").split()

    judges = [guard.waiting_judge()]
    for _ in range(3):
        save()
        judges.append(guard.waiting_judge(*judges))
    wait_for(lambda: started() == [b"judge"] * 4, "one for each command, and one that waits")
    equal(len(guard.read("events").split()), 3, "events")
    # it dies while it waits: the command is judged all the same, by another one
    os.kill(judges[-1], signal.SIGKILL)
    wait_for(lambda: not alive(judges[-1]), "its end")
    save()
    wait_for(lambda: started() == [b"judge"] * 6, "the sixth judge")
    # it dies between its word and the reply: its word holds, and another one records
    guard.verdict("echo allow; echo $$ >%s/pid; exit 1" % guard.folder)
    client.send(SAVE + b"\r\n")
    qemu.exactly(len(SAVE) + 2)
    wait_for(lambda: guard.read("pid") and not alive(int(guard.read("pid"))), "its end")
    qemu.send(b'{"return": ""}\r\n')
    client.line()
    wait_for(lambda: started() == [b"judge"] * 6 + [b"record", b"judge"], "a judge after a recorder")
    equal(guard.read("events").split(), sorted(set(guard.read("events").split())), "events")
    equal(len(guard.read("events").split()), 5, "events")
    # an upgrade
    with open(guard.judge + ".new", "w", encoding="ascii") as file:
        file.write("#!/bin/sh\ncat >/dev/null\necho deny no way\n")
    os.chmod(guard.judge + ".new", 0o755)
    os.rename(guard.judge + ".new", guard.judge)
    client.send(SAVE + b"\r\n")
    equal(client.line(), ANSWER)
    # it does not outlive the relay
    judge = wait_for(lambda: [pid for pid in children(guard.relay()) if alive(pid)], "a judge that waits")[0]
    guard.kill_relay()
    wait_for(lambda: not alive(judge), "the judge's end")


def relay_killed():
    """Killed at any moment, nothing is lost and nothing comes twice."""
    guard = new()
    client, qemu = guard.greeted()
    guard.kill_relay()
    exchange(client, qemu, b'{"execute": "query-status"}\r\n')
    client.send(SAVE[:30])
    client.wait_until_read()
    guard.kill_relay()
    guard.verdict("sleep 1; echo deny no way")
    client.send(SAVE[30:] + b"\r\n")
    wait_for(lambda: len(guard.read("count")) == 1, "the judge")
    guard.kill_relay()
    guard.verdict("echo deny no way")
    equal(client.line(), ANSWER)
    guard.verdict("sleep 1; echo allow")
    client.send(SAVE + b"\r\n")
    wait_for(lambda: len(guard.read("count")) == 3, "the judge")
    guard.kill_relay()
    equal(qemu.exactly(len(SAVE) + 2), SAVE + b"\r\n")
    guard.kill_relay()
    with open(guard.folder + "/recorder", "w", encoding="ascii") as file:
        file.write("[ -e %s/twice ] || { touch %s/twice; sleep 1; }\n" % (guard.folder, guard.folder))
    qemu.send(b'{"return": ""}\r\n')
    wait_for(lambda: guard.read("replies"), "the recorder")
    assert client.silent(), "told before it was recorded"
    guard.kill_relay()
    equal(client.line(), b'{"return": ""}\r\n')
    first, second = guard.read("events").split()
    equal(first, second, "name of the event")
    exchange(client, qemu, b'{"execute": "query-status"}\r\n')
    assert client.silent() and qemu.silent()


def killed_at_random():
    """Thousands of bytes both ways, while relays are killed one after another."""
    guard = denying()
    client, qemu = guard.greeted()
    commands = b"".join(b'{"execute": "x", "arguments": {"n": "%s"}, "id": %d}\r\n' %
                        (b"y" * (i * 37 % 900), i) for i in range(15000))
    replies = b"".join(b'{"return": "%s", "id": %d}\r\n' % (b"z" * (i * 53 % 1300), i)
                       for i in range(15000))
    got = {}
    threads = [threading.Thread(target=job, args=arguments) for job, arguments in (
        (client.send, (commands,)), (qemu.send, (replies,)),
        (lambda: got.update(q=qemu.exactly(len(commands))), ()),
        (lambda: got.update(c=client.exactly(len(replies))), ()))]
    for thread in threads[:2]:
        thread.start()
    kills = 0
    throttle = random.Random(1)
    readers_started = False
    deadline = time.monotonic() + 8
    while any(thread.is_alive() for thread in threads) or not readers_started:
        for pid in children(guard.keeper):
            time.sleep(throttle.random() * 0.004)
            try:
                os.kill(pid, signal.SIGKILL)
                kills += 1
            except ProcessLookupError:
                pass
        if not readers_started:
            for thread in threads[2:]:
                thread.start()
            readers_started = True
        if time.monotonic() > deadline:
            break
    for thread in threads:
        thread.join()
    equal(got["q"] == commands and got["c"] == replies, True, "both streams unchanged")
    print("kills:", kills)
    assert client.silent() and qemu.silent()


def keeper_killed():
    guard = denying()
    client, qemu = guard.greeted()
    old, relay = guard.keeper, guard.relay()
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: relay in guards(), "a new keeper")
    guard.keeper = relay
    client.send(SAVE + b"\r\n")
    equal(client.line(), ANSWER)
    guard.kill_relay()
    exchange(client, qemu, b'{"execute": "query-status"}\r\n')
    client.close()
    assert qemu.ended()
    qemu.close()
    client, qemu = guard.greeted()
    exchange(client, qemu, b'{"execute": "query-status"}\r\n')


def descriptors():
    guard = denying()
    client, qemu = guard.greeted()
    read, write = os.pipe()
    command = b'{"execute": "getfd", "arguments": {"fdname": "a"}}\r\n'

    def passes(fds):
        equal(qemu.exactly(len(command)), command)
        equal(len(qemu.fds), len(fds), "descriptors")
        for got, sent in zip(qemu.fds, fds):
            equal(os.fstat(got).st_ino, os.fstat(sent).st_ino)
            os.close(got)
        qemu.fds = []
        qemu.send(OK)
        client.line()

    client.send(command, [read])
    passes([read])
    client.send(command, [read, write] * 8)
    passes([read, write] * 8)
    client.send(command)
    passes([])
    # in two parts, with the descriptor sent again, as libvirt does
    client.send(command[:20], [read])
    client.wait_until_read()
    client.send(command[20:], [read])
    passes([read])
    # too many: refused
    client.send(command, [read] * 17)
    assert b"descriptors" in client.line()
    # of a refused command: closed
    client.send(SAVE + b"\r\n", [write])
    equal(client.line(), ANSWER)
    client.send(command)
    passes([])
    # lost with a relay: refused
    client.send(command[:20], [read])
    client.wait_until_read()
    guard.kill_relay()
    client.send(command[20:])
    assert b"descriptors" in client.line()
    os.close(write)
    equal(os.read(read, 1), b"", "end of the pipe: no copy of its other end is left")
    guard.waiting_judge()
    open_fds = settled(lambda: open_files(guard.relay())).keys()
    client.send(command, [read])
    passes([read])
    equal(settled(lambda: open_files(guard.relay())).keys(), open_fds)
    # from QEMU's side
    qemu.send(b'{"event": "x"}\r\n', [read])
    client.line()
    equal(len(client.fds), 1)


def ends():
    """Half-closes, last words, resets."""
    guard = new()
    client, qemu = guard.greeted()
    client.send(b'{"execute": "quit"}')
    client.sock.shutdown(socket.SHUT_WR)
    equal(qemu.exactly(19), b'{"execute": "quit"}')
    assert qemu.ended()
    qemu.send(OK + b'{"event": "SHUTDOWN"}\r\n{"half')
    qemu.close()
    equal(client.line() + client.line(), OK + b'{"event": "SHUTDOWN"}\r\n')
    assert client.ended() and client.buffer == b'{"half'
    # closed with bytes unread on both sides
    for first, second in ((0, 1), (1, 0)):
        sides = guard.greeted()
        sides[0].send(b'{"execute": "x"}\r\n')
        sides[1].send(b'{"event": "x"}\r\n')
        sides[0].wait_until_read()
        sides[1].wait_until_read()
        sides[first].close()
        sides[second].more()
        assert sides[second].ended()
        sides[second].close()
    # last words before a reset
    client, qemu = guard.greeted()
    client.send(b'{"execute": "x"}\r\n')
    time.sleep(0.05)
    relay = guard.relay()
    os.kill(relay, signal.SIGSTOP)
    qemu.send(b'{"event": "x"}\r\n')
    qemu.close()
    os.kill(relay, signal.SIGCONT)
    equal(client.line(), b'{"event": "x"}\r\n')
    assert client.ended()
    client.close()
    # the guest is gone: so are socket, keeper and its file
    client, qemu = guard.greeted()
    guard.listener.close()
    qemu.close()
    assert client.ended()
    wait_for(lambda: not alive(guard.keeper), "the keeper's end")
    assert not os.path.exists(guard.path) and guards() == []


def folder_removed():
    guard = new()
    os.unlink(guard.path)
    wait_for(lambda: not alive(guard.keeper), "the keeper's end")


def reconnects():
    guard = denying()
    for i in range(50):
        client, qemu = guard.greeted()
        client.send(SAVE + b"\r\n" if i % 2 else b'{"execute": "x"}\r\n')
        client.line() if i % 2 else qemu.line()
        client.close()
        assert qemu.ended()
        qemu.close()
    equal(len(children(guard.keeper)) <= 1, True)


def back_pressure():
    """A client that does not read, a QEMU that does not read: nothing is kept but the buffers."""
    guard = new()
    client, qemu = guard.greeted()
    for side in (qemu, client):
        line = b'{"return": "%s"}\r\n' % (b"x" * 1000) if side is qemu else b'{"execute": "x"}\r\n'
        side.sock.setblocking(False)
        total = 0
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            try:
                total += side.sock.send(line * 50)
            except BlockingIOError:
                time.sleep(0.01)
        assert 100000 < total < 5000000, total
    assert private_memory(guard.keeper) + private_memory(guard.relay()) < 1024
    before = cpu(guard.relay())
    time.sleep(0.3)
    assert cpu(guard.relay()) - before < 5, "spins"


def cpu(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


IGNORED = (signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1,
           signal.SIGUSR2)


def stands_alone():
    """Nothing inherited is kept, and no signal ends it: neither the keeper nor the relay."""
    guard = Guard(os.path.abspath("d" * 120 + "/" + "e" * 80), insert=False)
    read, write = os.pipe()
    for fd in (0, 1, 2):  # the caller waits until the last copy of its pipes is closed
        os.dup2(write, 100 + fd)
    guard.insert(pass_fds=(100, 101, 102), stdin=read, stdout=write, stderr=write, start_new_session=False)
    for fd in (write, 100, 101, 102):
        os.close(fd)
    equal(os.read(read, 1), b"", "what the guard writes until its caller's pipes end")
    client, qemu = guard.greeted()
    for pid in (guard.keeper, guard.relay()):
        for signal_number in IGNORED:
            os.kill(pid, signal_number)
        found = settled(lambda: open_files(pid))
        links = [found[fd] for fd in sorted(found)]
        equal(links[:3], ["/dev/null"] * 3)
        equal([link for link in links[3:] if not link.startswith(("socket:", "pipe:", "anon_inode:[pidfd]", guard.folder,
                                                                  os.environ["SNAPSHOT_SET_RUN_DIR"]))], [])
        assert len(links) <= 16, links
        equal(os.readlink(f"/proc/{pid}/cwd"), "/")
        assert os.getsid(pid) not in (os.getsid(0), pid), "leads a session: could get a terminal"
        equal(os.getppid() == int(status_of(pid, "PPid")), False, "child of the caller")
    exchange(client, qemu, b'{"execute": "x"}\r\n')


def place():
    """The socket is its owner's alone, and all that was put beside it is gone at the end."""
    guard = new()
    equal(os.stat(guard.path).st_mode & 0o777, 0o700)
    equal(sorted(name for name in os.listdir(guard.folder) if "monitor" in name or name[0] == "."),
          ["monitor.qemu", "monitor.sock"])
    second = subprocess.run([GUARD, "run", "--monitor", guard.path, "--domain", "x", "--judge", "/x"],
                            capture_output=True, text=True, check=False)
    equal(second.returncode, 1)
    assert second.stderr.count("\n") == 1 and "guarded already" in second.stderr, second.stderr
    client, qemu = guard.greeted()
    exchange(client, qemu, b'{"execute": "x"}\r\n')
    guard.listener.close()
    qemu.close()
    assert client.ended()
    wait_for(lambda: not alive(guard.keeper), "the keeper's end")
    equal([name for name in os.listdir(guard.folder) if "monitor" in name or name[0] == "."], [])
    equal(guards(), [])


def status():
    """What `status` tells, whatever the domain is called."""
    guard = new(name="a/b -c")
    guard.verdict('echo deny "no: \\"x\\""')
    client, _ = guard.greeted()
    client.send(SAVE)
    client.line()
    listed = json.loads(subprocess.run([GUARD, "status", "--output=json"], capture_output=True,
                                       check=True).stdout)
    equal([(one["domain"], one["pid"], one["reason"]) for one in listed],
          [("a/b -c", guard.keeper, 'no: "x"')])
    table = subprocess.run([GUARD, "status"], capture_output=True, check=True, text=True).stdout
    assert table.splitlines()[1].startswith("a/b -c") and table.count("\n") == 2, table
    pids = [guard.keeper, guard.relay()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive(guard.keeper), "the end")
    equal(subprocess.run([GUARD, "status"], capture_output=True, check=True).stdout, b"")
    equal(guards(), [])


DAC_OVERRIDE = 1 << 1


def privileges():
    """Of root's privileges one is kept, the relay does not use even that one, and it is enough."""
    if os.geteuid() != 0:
        return
    guard = new(insert=False)
    guard.verdict("grep ^Cap /proc/self/status >%s/capabilities; echo allow" % guard.folder)
    os.chmod(guard.path, 0o700)
    os.chmod(guard.folder, 0o711)  # the judge in it is executed with the privileges of the relay
    for path in (guard.path, guard.folder):
        os.chown(path, 65534, 65534)
    guard.insert()
    client, qemu = guard.greeted()
    client.send(SAVE)
    qemu.exactly(len(SAVE))
    judge = dict(line.split(":\t") for line in guard.read("capabilities").decode().splitlines())
    for pid, effective in ((guard.keeper, DAC_OVERRIDE), (guard.relay(), 0), (None, DAC_OVERRIDE)):
        got = {name: int(status_of(pid, name) if pid else judge[name], 16)
               for name in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb")}
        equal(got, {"CapEff": effective, "CapPrm": DAC_OVERRIDE, "CapBnd": DAC_OVERRIDE, "CapInh": 0, "CapAmb": 0},
              f"privileges of {pid or 'the judge'}")
    # the socket's folder, which is not root's, is cleaned up all the same
    guard.listener.close()
    qemu.close()
    wait_for(lambda: not alive(guard.keeper), "the keeper's end")
    assert not os.path.exists(guard.path)


def not_traceable():
    """Nobody without CAP_SYS_PTRACE looks into them, not even as the same user: passwords pass here."""
    if os.geteuid() != 0:
        return
    guard = new()
    client, qemu = guard.greeted()
    without = ["setpriv", "--bounding-set=-sys_ptrace"]
    with subprocess.Popen([*without, "sleep", "60"]) as other:
        wait_for(lambda: status_of(other.pid, "Name") == "sleep", "a process to compare with")
        pids = {"other": other.pid, "keeper": guard.keeper, "relay": guard.relay()}
        readable = {name: subprocess.run([*without, "sh", "-c", f": </proc/{pid}/mem"], check=False,
                                         capture_output=True).returncode == 0 for name, pid in pids.items()}
        other.kill()
    equal(readable, {"other": True, "keeper": False, "relay": False})
    exchange(client, qemu, b'{"execute": "x"}\r\n')


def may_lower_oom_score():
    """Takes CAP_SYS_RESOURCE, which a container may lack."""
    return subprocess.run(["sh", "-c", "echo -1000 >/proc/self/oom_score_adj"], check=False,
                          stderr=subprocess.DEVNULL).returncode == 0


def oom_score():
    """Out of the OOM killer's reach; the judge is not. Where that is forbidden, it was tried."""
    guard = new(insert=False)
    guard.verdict("cp /proc/self/oom_score_adj %s/score; echo allow" % guard.folder)
    may = may_lower_oom_score()
    # a file for each process: in one for all, a call can be told in two parts
    trace = ["strace", "-D", "-ff", "-o", "trace", "-e", "trace=openat,write"]
    # where a leak would be looked for, that fails under a tracer
    guard.insert(before=[] if may else trace,
                 env=os.environ | {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"})
    client, qemu = guard.greeted()
    client.send(SAVE)
    qemu.exactly(len(SAVE))
    equal(guard.read("score"), b"0\n", "the judge's score")
    if may:
        for pid in (guard.keeper, guard.relay()):
            with open(f"/proc/{pid}/oom_score_adj", encoding="ascii") as file:
                equal(file.read().strip(), "-1000")
        return
    writes = {}
    for name in glob.glob("trace.*"):
        with open(name, encoding="utf-8") as file:
            calls = file.readlines()
        opened = next((i for i, call in enumerate(calls) if 'oom_score_adj", O_WRONLY' in call), len(calls))
        if written := [call for call in calls[opened:] if call.startswith("write(")]:
            writes[int(name.removeprefix("trace."))] = written[0]
    keeper = writes.pop(guard.keeper)
    assert '"-1000", 5)' in keeper and "EACCES" in keeper, keeper
    # the judge and, where it has been started ahead already, the recorder
    assert len(writes) in (1, 2) and all('"0", 1)' in write for write in writes.values()), writes


def no_allocation():
    """Once it serves, neither keeper nor relay allocates, whatever happens to them."""
    guard = new(insert=False)
    with open("allocations", "w", encoding="ascii"):
        pass
    guard.insert(env=os.environ | {"LD_PRELOAD": os.environ["MALLOC_LOG_SO"],
                                   "MALLOC_LOG": os.path.abspath("allocations")})

    def allocations():
        with open("allocations", encoding="ascii") as file:
            return [line.split()[0] for line in file]

    at_start = len(allocations())
    client, qemu = guard.greeted()
    status = b'{"execute": "query-status"}\r\n'
    exchange(client, qemu, status)
    for command in (SAVE, b'{"execute": "transaction", "arguments": {}}'):
        client.send(command)
        equal(qemu.exactly(len(command)), command)
        qemu.send(b'{"event": "STOP"}\r\n{"return": ""}\r\n')
        client.line()
        client.line()
    exchange(client, qemu, b'{"execute": "snapshot-save", "arguments": {"job-id": "j"}}\r\n')
    exchange(client, qemu, b'{"execute": "query-jobs"}\r\n',
             b'{"return": [{"id": "j", "status": "concluded"}]}\r\n')
    guard.verdict("echo deny no way")
    client.send(SAVE + b"\r\n")
    equal(client.line(), ANSWER)
    guard.verdict("exit 1")
    client.send(SAVE + b"\r\n" + b'{"execute": }\r\n{"arguments": "' + b"x" * 100000 + b'"}\r\n')
    for _ in range(3):
        assert b'"error"' in client.line()
    read, write = os.pipe()
    client.send(status, [read, write])
    qemu.exactly(len(status))
    qemu.send(OK)
    client.line()
    guard.kill_relay()
    exchange(client, qemu, status)
    os.kill(guard.keeper, signal.SIGKILL)
    wait_for(lambda: set(guards()) - {guard.keeper}, "a new keeper")
    guard.keeper = max(guards(), key=lambda pid: pid != guard.keeper)
    exchange(client, qemu, status)
    client.close()
    assert qemu.ended()
    qemu.close()
    client, qemu = guard.greeted()
    exchange(client, qemu, status)
    guard.listener.close()
    qemu.close()
    wait_for(lambda: not alive(guard.keeper), "the keeper's end")
    assert at_start > 0 and len(allocations()) > at_start, "the counting does not work"  # the judge's
    equal([name for name in allocations()[at_start:] if name.startswith("snap")], [])


if __name__ == "__main__":
    globals()[sys.argv[1]]()
