# SPDX-License-Identifier: GPL-2.0-or-later
"""Kills, ends, lost descriptors, and how the guard stands alone: `faults.py CASE`, as relay.py."""
import random
import threading

from peer import *


def judge_faults():
    """A judge that does not answer as it should: the setting decides, and the guest lives."""
    scripts = ["kill -9 $$", "sleep 60", "exit 3", "echo perhaps", "printf allow", "echo allow; echo allow",
               "yes", "true", "echo 'deny '", "echo allow; exit 1", "exec >&-; sleep 60"]
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


def relay_killed():
    """Killed at any moment, nothing is lost and nothing comes twice."""
    guard = new()
    client, qemu = guard.greeted()
    guard.kill_relay()
    exchange(client, qemu, b'{"execute": "query-status"}\r\n')
    client.send(SAVE[:30])
    time.sleep(0.05)
    guard.kill_relay()
    guard.verdict("sleep 1; echo deny no way")
    client.send(SAVE[30:] + b"\r\n")
    wait_for(lambda: guard.read("asked"), "the judge")
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
    time.sleep(0.05)
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
    time.sleep(0.05)
    guard.kill_relay()
    client.send(command[20:])
    assert b"descriptors" in client.line()
    os.close(write)
    equal(os.read(read, 1), b"", "end of the pipe: no copy of its other end is left")
    open_fds = os.listdir(f"/proc/{guard.relay()}/fd")
    client.send(command, [read])
    passes([read])
    equal(os.listdir(f"/proc/{guard.relay()}/fd"), open_fds)
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
        time.sleep(0.05)
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


def may_lower_oom_score():
    return subprocess.run(["sh", "-c", "echo -1000 >/proc/self/oom_score_adj"], check=False,
                          stderr=subprocess.DEVNULL).returncode == 0


def stands_alone():
    """Nothing inherited is kept; mode, signals, OOM score, status; a long path; a second guard."""
    guard = Guard(os.path.abspath("d" * 120 + "/" + "e" * 80), name="a/b -c")
    equal(os.stat(guard.path).st_mode & 0o777, 0o700)
    for signal_number in (signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        os.kill(guard.keeper, signal_number)
    client, qemu = guard.greeted()
    oom = "-1000" if may_lower_oom_score() else "0"
    os.kill(guard.relay(), signal.SIGTERM)
    exchange(client, qemu, b'{"execute": "x"}\r\n')
    for pid in (guard.keeper, guard.relay()):
        links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in range(3)]
        equal(links, ["/dev/null"] * 3)
        with open(f"/proc/{pid}/oom_score_adj", encoding="ascii") as file:
            equal(file.read().strip(), oom)
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            equal(int([line.split()[1] for line in file if line.startswith("CapEff")][0], 16) & ~0xf, 0)
        equal(os.readlink(f"/proc/{pid}/cwd"), "/")
    second = subprocess.run([GUARD, "run", "--monitor", guard.path, "--domain", "x", "--judge", "/x"],
                            capture_output=True, text=True, check=False)
    equal(second.returncode, 1)
    assert second.stderr.count("\n") == 1 and "guarded already" in second.stderr, second.stderr
    guard.verdict('echo deny "no: \\"x\\""')
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


if __name__ == "__main__":
    globals()[sys.argv[1]]()
