# SPDX-License-Identifier: GPL-2.0-or-later
"""What the relay passes, refuses and records, byte for byte: `relay.py CASE`, in an empty folder."""
import threading

from peer import *


def slow_client():
    guard = denying()
    client, qemu = guard.greeted()
    plain = b'{"execute":\r\n  \'query-status\', "id": [1, {"a": "}"}]}\r\n'
    for i in range(len(plain)):
        client.send(plain[i:i + 1])
        time.sleep(0.001)
    equal(qemu.exactly(len(plain)), plain)
    qemu.send(OK)
    client.line()
    for i in range(len(SAVE)):
        client.send(SAVE[i:i + 1])
        time.sleep(0.001)
    equal(client.line(), ANSWER)
    assert qemu.silent()
    client.send(b"\r\n")  # a line end that came too late is a blank like others
    equal(qemu.exactly(2), b"\r\n")
    exchange(client, qemu, plain)


def line_end_awaited():
    """The refusal waits for the line end that the client still owes, and takes it out."""
    guard = denying()
    while True:
        client, qemu = guard.greeted()
        started = time.monotonic()
        client.send(SAVE)
        time.sleep(0.06)
        client.send(b"\r")
        time.sleep(0.005)
        early = client.buffer or select.select([client.sock], [], [], 0)[0]
        if time.monotonic() - started < 0.09:  # otherwise the wait may have been over
            break
        client.close()
        qemu.close()
    assert not early, "too early"
    client.send(b"\n")
    equal(client.line(), ANSWER)
    exchange(client, qemu, b'{"execute": "query-status"}\r\n')
    assert client.silent() and qemu.silent()


def two_on_one_line():
    guard = denying()
    client, qemu = guard.greeted()
    status = b'{"execute": "query-status"}'
    client.send(SAVE + status + b"\r\n")
    equal(client.line(), ANSWER)
    equal(qemu.exactly(len(status) + 2), status + b"\r\n")
    qemu.send(OK)
    equal(client.line(), OK)
    # the other way round: QEMU's reply to the first comes first
    client.send(status + SAVE + b"\r\n")
    equal(qemu.exactly(len(status)), status)
    assert client.silent(0.2), "refused before the reply to the command before it"
    qemu.send(b'{"event": "STOP"}\r\n' + OK)
    equal(client.line(), b'{"event": "STOP"}\r\n')
    equal(client.line(), OK)
    equal(client.line(), ANSWER)
    assert qemu.silent() and client.silent()


def ids():
    guard = denying()
    client, _ = guard.greeted()
    for sent, echoed in [
            ("7", b"7"), ("-1.5e+3", b"-1.5e+3"), ("null", b"null"), ("true", b"true"),
            ('"a\\"b\\u00e4\\\\"', b'"a\\"b\\u00e4\\\\"'), ("[1, [2,\n {}]]", b"[1,[2,{}]]"),
            ("{'a\"b': 'it\\'s'}", b'{"a\\"b":"it\'s"}'), ('"\u00e4\U0001f600"', b'"\\u00E4\\uD83D\\uDE00"'),
            ('""', b'""'), ('"execute"', b'"execute"'), ('{"execute": "x"}', b'{"execute":"x"}')]:
        client.send('{"id": %s, "execute": "snapshot-save"}\n' % sent)
        line = client.line()
        assert line.startswith(b'{"id": ' + echoed + b', "error": '), line
        json.loads(line)
    client.send('{"execute": "snapshot-save"}')
    assert client.line().startswith(b'{"error": ')
    guard.verdict("printf 'deny a \"quoted\\\\\" \\303\\244 text\\n'")
    client.send('{"execute": "snapshot-save"}')
    equal(json.loads(client.line())["error"]["desc"], 'snapshot-set: a "quoted\\" ?? text')


WATCHED = [
    '{"execute": "snapshot-save"}', "{'execute': 'snapshot-load'}", '{"execute":"snapshot-delete"}',
    '{"execute": "blockdev-snapshot"}', '{"execute": "blockdev-snapshot-sync"}',
    '{"execute": "blockdev-snapshot-internal-sync"}', '{"execute": "transaction"}',
    '{"execute": "blockdev-snapshot-delete-internal-sync"}',
    '{"\\u0065xecute": "\\u0073napshot\\u002Dsave"}',
    '{"id": {"execute": "x"}, "arguments": {"execute": "x"}, "execute": "snapshot-save"}',
    *('{"execute": "human-monitor-command", "arguments": {"cpu-index": 0, "command-line": %s}}' % line
      for line in ('"savevm"', '"  savevm x"', '"savevm/x y"', '"\\tloadvm x"', '"delvm\\tx"',
                   '"snapshot_blkdev a"', '"snapshot_blkdev_internal a"', "'sa\\u0076evm \\'x'",
                   '"snapshot_delete_blkdev_internal a"', '"%ssavevm x"' % (" " * 5000))),
    '{"arguments": {"\\u0063ommand-line": "savevm"}, "execute": "human-monitor-command"}',
    '{"execute": "device_add", "arguments": {"driver": "scsi-hd", "id": "x", "drive": "f"}}',
    '{"arguments": {"\\u0064rive": "f"}, "execute": "device_add"}',
]
PLAIN = [
    '{"a":"savevm"}', '{"execute": "query-status", "id": "snapshot-save"}', '{}',
    '{"execute": "snapshot-save "}', '{"execute": "Snapshot-save"}', '{"execute": ["snapshot-save"]}',
    '{"exec-oob": "snapshot-save"}', '{"execute": "snapshot-save\\u0000"}',
    '{"execute": "qom-set", "arguments": {"execute": "snapshot-save", "x": "savevm"}}',
    '{"execute": "human-monitor-command"}', '{"execute": "human-monitor-command", "arguments": {}}',
    *('{"execute": "human-monitor-command", "arguments": {"command-line": %s}}' % line
      for line in ('"info savevm"', '"savevmx"', '"xsavevm"', '""', '"   "', "7", '"info snapshots"',
                   '"\u00a0savevm"', '"savevm\u00e4 x"', '["savevm"]')),
    '{"execute": "x", "arguments": {"command-line": "savevm"}}',
    '{"execute": "device_add", "arguments": {"driver": "virtio-net-pci", "netdev": "drive"}}',
    '{"execute": "device_add"}', '{"execute": "device_del", "arguments": {"id": "drive"}}',
    *('{"execute": "blockdev-add", "arguments": {"node-name": "f", %s}}' % arguments
      for arguments in ('"driver": "qcow2", "file": "s", "read-only": true', '"driver": "raw", "file": "s"',
                        '"driver": "nbd"', '"file": "s"')),
]
RECORDED = [
    '{"execute": "blockdev-add", "arguments": {"driver": "file", "filename": "/x", "node-name": "s"}}',
    '{"execute": "blockdev-add", "arguments": {"driver": "host_device", "filename": "/x", "node-name": "s"}}',
    '{"execute": "blockdev-add", "arguments": {"node-name": "f", "read-only": false, "driver": "qcow2", "file": "s"}}',
    '{"execute": "blockdev-add", "arguments": {"driver": "throttle", "node-name": "t", "file": "f"}}',
    '{"execute": "blockdev-del", "arguments": {"node-name": "f"}}',
]
BROKEN = [
    '{"execute": "query-status", "execute": "snapshot-save"}',
    '{"execute": "query-status", "exec-oob": "snapshot-save"}',
    '{"execute": "query-status", "\\u0065xecute": "snapshot-save"}',
    '{"execute": "human-monitor-command", "arguments": {}, "arguments": {"command-line": "savevm"}}',
    '{"execute": "human-monitor-command", "arguments": {"command-line": "x", "command-line": "savevm"}}',
]
MALFORMED = [
    '}', '[1]', '7', '"savevm"', 'x', '{,}', '{"a"}', '{"a" 1}', '{"a": 1,}', '{"a": 01}', '{a: 1}',
    '{"a": [}]', '{"a": \x01}', '{"a": "\x01"}', '{"a": %d}', '{"a": "\\x"}', '{"a": "\\u12g4"}',
    '{"a": 1 2}', '{"a": -}', '{"a": 1.}', '{"a": 1e}', '{"a": +1}', '{"a": [1,]}', '{{}}', '{"a":: 1}',
    '{"a": True}', '\u00e4', '{"a": ]', '{"a": "' + "x" * 100 + '\x7f\x1f"}',
]


def words():
    """What is watched is judged, what is not passes unchanged, what is unclear is refused."""
    guard = denying()
    client, qemu = guard.greeted()
    for text in WATCHED:
        client.send(text + "\r\n")
        assert b"snapshot-set: no way" in client.line(), text
        equal(guard.read("asked"), text.encode(), "what the judge was given")
    asked = len(guard.read("count"))
    for text in PLAIN:
        exchange(client, qemu, text.encode() + b"\r\n")
    equal(guard.read("events"), b"", "what was recorded")
    for text in RECORDED:
        exchange(client, qemu, text.encode() + b"\r\n")
    for text in BROKEN + MALFORMED:
        client.send(text + "\r\n")
        assert b"snapshot-set: JSON parse error" in client.line(), text
    for text in ['{"a": "\udcff"}', "\udcff", '{"a": \udcfe}']:
        client.send(text.encode(errors="surrogateescape") + b"\r\n")
        assert b"snapshot-set: JSON parse error" in client.line(), text
    equal(len(guard.read("count")), asked, "times asked")
    exchange(client, qemu, b'{"execute": "query-status"}\r\n')
    assert client.silent() and qemu.silent()


def long_commands():
    """Too long to hold: passed on as it comes if its name came first and is not watched."""
    guard = denying()
    client, qemu = guard.greeted()
    ten = 10 * 1024 * 1024
    command = b'{"execute": "qom-set", "arguments": {"x": "' + b"savevm " * (ten // 7) + b'"}}\r\n'
    sender = threading.Thread(target=client.send, args=(command,))
    sender.start()
    equal(qemu.exactly(len(command)) == command, True, "passed unchanged")
    sender.join()
    qemu.send(OK)
    equal(client.line(), OK)
    for head in (b'{"id": 5, "arguments": {"x": "', b'{"id": 5, "execute": "transaction", "x": {"x": "',
                 b'{"id": 5, "execute": "human-monitor-command", "arguments": {"command-line": "',
                 b'{"id": 5, "execute": "device_add", "arguments": {"x": "',
                 b'{"id": 5, "execute": "blockdev-add", "arguments": {"x": "'):
        client.send(head + b"x" * ten + b'"}')
        assert client.silent(0.15), "answered before the command was whole"
        client.send(b', "execute": "savevm"}\r\n')
        equal(json.loads(client.line())["id"], 5)
    assert qemu.silent()
    # exactly as long as is held
    command = b'{"arguments": "%s", "execute": "x"}'
    command = command % (b"x" * (65536 - len(command) + 2))
    client.send(command + b"\r\n")
    equal(qemu.exactly(65538), command + b"\r\n")
    qemu.send(OK)
    equal(client.line(), OK)
    equal(alive(guard.relay()), True)
    assert private_memory(guard.keeper) + private_memory(guard.relay()) < 1024


def long_replies():
    """Replies of megabytes pass as they come: to a plain command, to one that is recorded, to one
    while a judge is asked; nothing is kept of them but the buffers."""
    guard = new()
    client, qemu = guard.greeted()
    long = reply('"' + "\\\\u00e4 }" * (10 * 1024 * 1024 // 9) + '"')

    def passes(after=b""):
        sender = threading.Thread(target=qemu.send, args=(long + after,))
        sender.start()
        equal(client.exactly(len(long)) == long, True, "passed unchanged")
        sender.join()

    command = b'{"execute": "query-qmp-schema"}\r\n'
    client.send(command)
    equal(qemu.exactly(len(command)), command)
    passes()
    client.send(SAVE)
    qemu.exactly(len(SAVE))
    passes()
    wait_for(lambda: guard.read("events"), "the record")
    equal(guard.read("replies"), b"\n")
    guard.verdict("while [ ! -e %s/go ]; do sleep 0.01; done; echo deny no way" % guard.folder)
    client.send(command + SAVE + b"\r\n")
    passes(b'{"event": "RESUME"}\r\n')
    equal(client.line(), b'{"event": "RESUME"}\r\n')
    with open(guard.folder + "/go", "w", encoding="ascii"):
        pass
    equal(client.line(), ANSWER)
    assert private_memory(guard.keeper) + private_memory(guard.relay()) < 1024
    for pid in (guard.keeper, guard.relay()):
        assert peak_memory(pid) < 8192, peak_memory(pid)  # less than one reply, with a sanitizer too
    exchange(client, qemu, command)


def deep():
    guard = denying()
    client, qemu = guard.greeted()
    fine = b'{"a": ' + b"[" * 1023 + b"]" * 1023 + b"}\r\n"
    exchange(client, qemu, fine)
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        client.send(b'{"a": ' + opening * 100000 + b"1" + closing * 100000 + b"}\r\n")
        assert b"JSON parse error" in client.line()
    exchange(client, qemu, b'{"execute": "query-status"}\r\n')
    assert client.silent() and qemu.silent()


def broken_stream():
    """A long command that turns out malformed half-way is ended so that QEMU refuses it once."""
    guard = denying()
    client, qemu = guard.greeted()
    start = b'{"execute": "qom-set", "arguments": {"x": [' + b"1," * 50000
    for inside in (b"", b'"a', b'"\\', b'"\\u1', b"-", b"1.", b"tru"):
        client.send(start + inside + b"\x01 }]{" + SAVE + b"\r\n")
        got = qemu.exactly(len(start + inside))
        equal(got, start + inside)
        while not qemu.buffer.endswith(b"]}}"):
            qemu.more()
        rest, qemu.buffer = qemu.buffer, b""
        assert b",," in rest, rest
        assert qemu.silent()
        qemu.send(b'{"error": {}}\r\n')
        equal(client.line(), b'{"error": {}}\r\n')
        exchange(client, qemu, b'{"execute": "query-status"}\r\n')
    equal(guard.read("count"), b"")


def events_while_judging():
    guard = new()
    guard.verdict("while [ ! -e %s/go ]; do sleep 0.01; done; echo deny no way" % guard.folder)
    client, qemu = guard.greeted()
    client.send(SAVE + b'\r\n{"execute": "later"}\r\n')
    event = b'{"event": "RTC_CHANGE", "data": {}}\r\n'
    for _ in range(3):
        qemu.send(event)
        equal(client.line(), event)
    assert qemu.silent(), "read on"
    with open(guard.folder + "/go", "w", encoding="ascii"):
        pass
    equal(client.line(), ANSWER)
    equal(qemu.line(), b'{"execute": "later"}\r\n')
    # half a line was passed on before: the answer waits until it is whole
    qemu.send(OK + event[:9])
    equal(client.line(), OK)
    equal(client.exactly(9), event[:9])
    client.send(SAVE + b'\r\n{"execute": "later"}\r\n')
    assert qemu.silent(0.3) and client.silent(), "in the middle of a line"
    qemu.send(event[9:])
    equal(client.line(), event[9:])
    equal(client.line(), ANSWER)
    # half a line that came later waits itself
    qemu.send(OK)
    client.line()
    os.unlink(guard.folder + "/go")
    client.send(SAVE + b"\r\n")
    client.wait_until_read()
    qemu.send(event + event[:9])
    equal(client.line(), event)
    with open(guard.folder + "/go", "w", encoding="ascii"):
        pass
    equal(client.line(), ANSWER)
    qemu.send(event[9:])
    equal(client.line(), event)


def reply(text):
    return b'{"return": %s}\r\n' % text.encode()


def recording():
    guard = new()
    client, qemu = guard.greeted()

    def done(command, answer, records):
        before = guard.read("replies")
        client.send(command + b"\r\n")
        equal(qemu.exactly(len(command) + 2), command + b"\r\n")
        qemu.send(b'{"event": "STOP"}\r\n' + answer)
        equal(client.line(), b'{"event": "STOP"}\r\n')
        equal(client.line(), answer)
        # what the recorder keeps is there when the client sees the answer
        equal(guard.read("replies")[len(before):], answer.strip() if records else b"")

    done(SAVE, reply('""'), True)
    equal(guard.read("recorded"), SAVE)
    done(SAVE, reply('"Error: no such thing\\r\\n"'), False)
    done(SAVE, b'{"error": {"class": "GenericError", "desc": "x"}}\r\n', False)
    sync = b'{"execute": "transaction", "arguments": {"actions": []}, "id": 1}'
    done(sync, b'{"id": 1, "return": {}}\r\n', True)
    for text in RECORDED:
        done(text.encode(), b'{"return": {}}\r\n', True)
        done(text.encode(), b'{"error": {"class": "GenericError", "desc": "x"}}\r\n', False)
    # too long to hold: passed on, recorded with an empty line
    before, events = guard.read("replies"), guard.read("events")
    client.send(sync)
    qemu.exactly(len(sync))
    answer = reply('"' + "x" * 200000 + '"')
    threading.Thread(target=qemu.send, args=(answer,)).start()
    equal(client.exactly(len(answer)) == answer, True)
    wait_for(lambda: guard.read("events") != events, "the record")
    equal(guard.read("replies"), before + b"\n")
    # the reply to a command before it is not taken for its own
    status = b'{"execute": "query-status"}'
    events = guard.read("events")
    client.send(status + sync)
    equal(qemu.exactly(len(status)), status)
    assert qemu.silent(0.1), "a watched command passed while a reply was owed"
    qemu.send(OK)
    equal(client.line(), OK)
    equal((qemu.exactly(len(sync)), guard.read("events")), (sync, events))
    qemu.send(b'{"error": {}}\r\n')
    client.line()
    equal(guard.read("events"), events)
    # a recorder that hangs or fails does not keep the reply for ever
    with open(guard.folder + "/recorder", "w", encoding="ascii") as file:
        file.write("exit 1\n")
    done(sync, reply("{}"), True)
    exchange(client, qemu, b'{"execute": "query-status"}\r\n')


def jobs():
    guard = new()
    client, qemu = guard.greeted()
    query, dismiss = b'{"execute": "query-jobs"}\r\n', b'{"execute": "job-dismiss", "id": 9}\r\n'

    def listed(job_id, status, error=None):
        job = {"id": job_id, "type": "snapshot-save", "status": status}
        return reply(json.dumps([{"id": "other", "status": "running"}, job | ({"error": error} if error else {})]))

    def start(job_id):
        command = b'{"execute": "snapshot-save", "arguments": {"job-id": "%s"}}\r\n' % job_id.encode()
        exchange(client, qemu, command)
        return command.strip()

    def status(job_id, text):
        line = b'{"event": "JOB_STATUS_CHANGE", "data": {"id": "%s", "status": "%s"}}\r\n' % (
            job_id.encode(), text.encode())
        qemu.send(line)
        equal(client.line(), line)

    for job_id in ("x" * 512, "a\\u0000b", "\\u00e4"):
        client.send('{"execute": "snapshot-save", "arguments": {"job-id": "%s"}}\r\n' % job_id)
        assert b"needs a job-id" in client.line()
    command = start("j1")
    status("j1", "running")
    exchange(client, qemu, query, listed("j1", "running"))
    status("j1", "concluded")
    equal(guard.read("recorded"), b"")
    exchange(client, qemu, query, listed("j1", "concluded"))
    equal((guard.read("recorded"), guard.read("replies")), (command, listed("j1", "concluded").strip()))
    exchange(client, qemu, dismiss)
    # failed
    start("j2")
    status("j2", "concluded")
    exchange(client, qemu, query, listed("j2", "concluded", "no space"))
    exchange(client, qemu, dismiss)
    equal(len(guard.read("events").split()), 1, "events")
    # dismissed unasked: the relay asks, and hides it
    start("j3")
    status("j3", "concluded")
    client.send(dismiss)
    equal(qemu.line(), query)
    assert qemu.silent(), "the command came before the answer"
    qemu.send(b'{"event": "RESUME"}\r\n' + listed("j3", "concluded"))
    equal(client.line(), b'{"event": "RESUME"}\r\n')
    equal(qemu.exactly(len(dismiss)), dismiss)
    equal(len(guard.read("events").split()), 2, "events")
    qemu.send(OK)
    equal(client.line(), OK)
    # an answer too long to hold is hidden as well
    start("j4")
    status("j4", "concluded")
    client.send(dismiss)
    equal(qemu.line(), query)
    qemu.send(reply('[{"id": "%s", "status": "x"}]' % ("y" * 300000)))
    equal(qemu.exactly(len(dismiss)), dismiss)
    qemu.send(OK)
    equal(client.line(), OK)
    # ended while nobody was connected
    client.close()
    assert qemu.ended()
    client, qemu = guard.greeted()
    exchange(client, qemu, b'{"execute": "qmp_capabilities"}\r\n')
    client.send(b'{"execute": "query-status"}\r\n')
    equal(qemu.line(), query)
    qemu.send(listed("j4", "concluded"))
    equal(qemu.line(), b'{"execute": "query-status"}\r\n')
    equal(len(guard.read("events").split()), 3, "events")


if __name__ == "__main__":
    globals()[sys.argv[1]]()
