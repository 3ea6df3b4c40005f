# SPDX-License-Identifier: GPL-2.0-or-later
"""The relay's tests with a real QEMU: `real.py CASE`, in an empty folder."""
import random
import re
import statistics

from peer import *


def new(arguments=(), **options):
    return Guard(os.path.abspath(options.pop("folder", "guard")), qemu=list(arguments), **options)


def image(name):
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", name, "8M"], check=True)
    return ["-blockdev", f"driver=qcow2,node-name=d0,file.driver=file,file.filename={os.path.abspath(name)}",
            "-device", "virtio-blk-pci,drive=d0"]


def transparent():
    """1,000 commands of all sorts, with a guard and without: the same bytes come back."""
    commands = [b'{"execute": "qmp_capabilities"}\r\n']
    kinds = [b'{"execute": "query-%s", "id": "libvirt-%d"}\r\n', b'{\'execute\':"query-%s","id":[%d]}',
             b'{"execute":\n"query-%s",\n"id": {"a": %d}}\n\n', b'{"execute": "nonsense-%s", "id": %d}\r\n',
             b'{"execute": "qom-list", "arguments": {"path": "/%s"}, "id": %d}\r\n']
    names = [b"status", b"version", b"name", b"kvm", b"commands", b"block", b"iothreads", b"jobs"]
    for i in range(990):
        commands.append(kinds[i % len(kinds)] % (names[i % len(names)], i))
    commands += [b'{"execute": "query-qmp-schema"}\r\n'] * 4
    streams = []
    for insert in (True, False):
        guard = new(folder=f"guard-{insert}", insert=insert)
        client = Client(guard.path, negotiate=False)
        got = client.line()
        for command in commands:
            client.send(command)
            got += client.line()
        client.send(b"".join(commands[1:200]))  # many at once
        for _ in commands[1:200]:
            got += client.line()
        streams.append(got)
        guard.end()
    assert len(streams[0]) > 800000, len(streams[0])
    equal(streams[0] == streams[1], True, "same streams")


def monitor_words():
    """What this QEMU takes for savevm and its like is judged: never does QEMU see one unasked."""
    guard = new()
    guard.verdict("echo deny seen")
    client = Client(guard.path)
    names = ["savevm", "loadvm", "delvm", "snapshot_blkdev", "snapshot_blkdev_internal",
             "snapshot_delete_blkdev_internal"]
    for name in names:
        for before in ("", " ", "\t", "\v\f\r\n ", "/", "x"):
            for after in ("", " ", "/", "\t", "\v", "x", ".", "\u00a0", "\0", '"', "-", "\n", "|"):
                line = before + name + after
                answer = client.hmp(line)
                denied = "error" in answer and answer["error"]["desc"] == "snapshot-set: seen"
                unknown = "unknown command" in answer.get("return", "")
                assert denied != unknown, (line, answer)


def numbers(client, text):
    """How QEMU answers to @text: a list of what kind each reply is, until one with our id."""
    client.send(text + b'\r\n{"execute": "query-name", "id": "the end"}\r\n')
    kinds = []
    while True:
        message = client.reply()
        if message.get("id") == "the end":
            return kinds
        kinds.append("return" if "return" in message else "error")


def random_text(source):
    parts = ["{", "}", "[", "]", ",", ":", '"execute"', '"query-name"', '"id"', "1", "-1.5e2", "null", " ",
             "'a'", '"\\u0041"', "\n", '"{"', "'}'", "true", '"arguments"', "{}", '"a\\"b"', "0", "abc"]
    good = ['{"execute": "query-name"}', "{'execute': 'query-name', 'id': [1,{}]}", '{"execute": "x"}',
            '{"id": "a\\\\", "execute": "query-name"}', '{"execute": "query-name", "arguments": {}}']
    if source.random() < 0.4:
        return "".join(source.choice(parts) for _ in range(source.randrange(1, 12)))
    text = "".join(source.choice(good) for _ in range(source.randrange(1, 4)))
    for _ in range(source.randrange(0, 3)):
        at = source.randrange(len(text))
        text = text[:at] + source.choice(parts + [""]) + text[at + source.randrange(0, 2):]
    return text


def run_probe(program, texts):
    joined = b"".join(b"%d\n%s" % (len(text), text) for text in texts)
    return subprocess.run([os.environ[program]], input=joined, capture_output=True,
                          check=True).stdout.decode().splitlines()


def probe(texts):
    return [line.split() for line in run_probe("FRAME_PROBE", texts)]


def monitor_lines(source):
    """Lines for the human monitor whose first word is often loadvm, whatever comes after it."""
    parts = ["x", " ", "\t", "\n", "\v", "\f", "\r", "/", '"', "\\", "'", "\\n", "\\r", '\\"', "\\\\",
             "\\t", "0", "\x01", "\x7f", "\u00e9", "-", "|", "loadvm", "y" * 200]
    lines = ["".join(["loadvm", between, quote, word, quote, after])
             for between in ("", " ", "\t", "\n", "\v", "\f", "\r", "/", "/ ", "\u00a0")
             for quote in ("", '"') for after in ("", " ", "\v")
             for word in parts + ["", "a b", "x" * 1022, "x" * 1023, "x" * 1024, "x" * 5000]]
    for _ in range(2000):
        words = [source.choice(parts) for _ in range(source.randrange(0, 8))]
        lines.append(source.choice(["", " ", "\v"]) + source.choice(["loadvm", "loadvm "]) + "".join(words))
    return lines


def arguments():
    """The judge finds the name and the argument that this QEMU finds, by what loadvm answers."""
    client = Client(new(image("a.qcow2"), insert=False).path)
    seen = {"named": 0, "rejected": 0, "bare": 0, "more": 0, "other": 0}
    lines = monitor_lines(random.Random(5))
    texts = run_probe("HMP_PROBE", [line.encode() for line in lines])
    for line, text in zip(lines, texts):
        name, *words = (bytes.fromhex(word).decode() for word in text[:-1].split(" "))
        answer = client.hmp(line)["return"]
        if "unknown command" in answer or answer == "":
            kind = "other"
            assert name != "loadvm", (line, answer)
        elif "string expected" in answer:
            kind = "bare" if text.endswith(";") else "rejected"
            equal(words, [], f"words of {line!r}")
        elif "extraneous characters" in answer:
            kind = "more"
            assert name == "loadvm" and (text.endswith("!") or len(words) > 1), (line, text)
        else:
            kind = "named"
            tag = re.fullmatch("Error: Snapshot '(.*)' does not exist in one or more devices\r\n",
                               answer, re.DOTALL)
            equal(words, [tag[1].replace("\r\n", "\n")], f"words of {line!r}")
        seen[kind] += 1
    assert min(seen.values()) > 20, seen


def same_division():
    """What the framer takes for N messages is N messages to QEMU, with random texts."""
    guard = new(insert=False)
    client = Client(guard.path)
    source = random.Random(20261121)
    texts = [random_text(source).encode() for _ in range(6000)]
    whole = 0
    for text, (count, kind, _) in zip(texts, probe(texts)):
        if kind == "whole":
            whole += 1
            equal(len(numbers(client, text)), int(count), f"replies to {text!r}")
    assert whole > 1500, whole


def like_python():
    """The framer accepts what Python's parser does, and refuses what that refuses."""
    source = random.Random(7)
    decoder = json.JSONDecoder()
    texts = [random_text(source) for _ in range(100000)]
    texts = [text for text in texts if "'" not in text and "\\" not in text]

    def accepts(text):
        count, at = 0, 0
        try:
            while at < len(text):
                if text[at] in " \n":
                    at += 1
                    continue
                if text[at] != "{":
                    return None
                _, at = decoder.raw_decode(text, at)
                count += 1
        except ValueError:
            return None
        return count

    accepted = 0
    for text, (count, kind, _) in zip(texts, probe([text.encode() for text in texts])):
        if "abc" in text:  # a word that the framer leaves to QEMU
            continue
        want = accepts(text)
        equal(int(count) if kind == "whole" else None, want, f"messages in {text!r}")
        accepted += want is not None
    assert accepted > 1000, accepted


def random_through_guard():
    """Random texts through the guard, relays killed meanwhile: all is answered, nothing hangs."""
    guard = new()
    guard.verdict("echo deny no")
    client = Client(guard.path)
    source = random.Random(3)
    for i in range(700):
        text = random_text(source).encode()
        if i % 50 == 0:
            guard.kill_relay()
        if probe([text])[0][1] != "whole":
            text += b"\x01"  # so that the line after it is a new one
        numbers(client, text)
    assert client.silent()


def descriptors():
    guard = new()
    client = Client(guard.path)
    with open("/dev/null", "rb") as file:
        for _ in range(20):
            equal(client.execute("getfd", [file.fileno()], fdname="one"), {"return": {}})
            assert "fd" in client.execute("add-fd", [file.fileno()], fdset_id=1)["return"]
        assert "error" in client.execute("getfd", fdname="two")
        equal(client.execute("closefd", fdname="one"), {"return": {}})


def snapshots():
    """Real jobs and savevm: recorded before the client is told."""
    guard = new(image("a.qcow2"))
    client = Client(guard.path)
    for number, tag in enumerate(("one", "two")):
        equal(client.execute("snapshot-save", job_id=tag, tag=tag, vmstate="d0", devices=["d0"]),
              {"return": {}})
        wait_for(lambda: [job for job in client.execute("query-jobs")["return"]
                          if job["status"] == "concluded"], "the job")
        equal(len(guard.read("events").split()), number + 1, "events")
        equal(client.execute("job-dismiss", id=tag), {"return": {}})
    # a job that fails is not recorded; one dismissed unasked is
    client.execute("snapshot-save", job_id="one", tag="one", vmstate="d0", devices=["d0"])
    client.execute("snapshot-delete", job_id="three", tag="two", devices=["d0"])

    def concluded():
        client.events += [json.loads(client.line())] if not client.silent(0) else []
        return sum(event.get("data", {}).get("status") == "concluded" for event in client.events) >= 4

    wait_for(concluded, "the events")
    equal(client.execute("job-dismiss", id="three"), {"return": {}})
    equal(len(guard.read("events").split()), 3, "events")
    equal(client.hmp("savevm four"), {"return": ""})
    equal(len(guard.read("events").split()), 4, "events")
    assert "Error" in client.hmp("loadvm nothing")["return"]
    equal(len(guard.read("events").split()), 4, "events")
    guard.verdict("echo deny not this one")
    equal(client.hmp("delvm four")["error"]["desc"], "snapshot-set: not this one")
    assert "four" in client.hmp("info snapshots")["return"]


def reconnects():
    guard = new()
    for i in range(50):
        client = Client(guard.path)
        equal(client.execute("query-status")["return"]["running"], True)
        if i % 10 == 0:
            guard.kill_relay()
            client.execute("query-status")
        client.close()
    equal(guard.qemu.poll(), None)
    client = Client(guard.path)
    client.send(b'{"execute": "quit"}\r\n')
    while not client.ended():
        pass
    assert b'"return"' in client.buffer and b"SHUTDOWN" in client.buffer, client.buffer
    guard.qemu.wait()
    wait_for(lambda: not alive(guard.keeper), "the keeper's end")
    assert not os.path.exists(guard.path)


def inserted_late():
    """Before a QEMU that runs already."""
    guard = new(insert=False)
    subprocess.run([GUARD, "run", "--monitor", guard.path, "--domain", "x", "--judge", guard.judge],
                   check=True)
    guard.verdict("echo deny no")
    client = Client(guard.path)
    equal(client.hmp("savevm")["error"]["desc"], "snapshot-set: no")


def malformed():
    """A long command broken half-way through: QEMU answers once, and understands the next."""
    guard = new()
    client = Client(guard.path)
    start = b'{"execute": "qom-set", "arguments": {"x": [' + b"1," * 40000
    for inside in (b"", b'"a', b'"\\', b'"\\u1', b"-", b"1.", b"tru", b"{", b'{"a"', b"[{'b':1,"):
        client.send(start + inside + b"\x01 }]\r\n")
        assert "error" in client.reply()
        equal(client.execute("query-name"), {"return": {}})


def speed(rounds=4, count=4000):
    """A round trip with a guard and without, side by side."""
    guards = {insert: new(folder=f"guard-{insert}", insert=insert) for insert in (True, False)}
    clients = {insert: Client(guard.path) for insert, guard in guards.items()}
    command = b'{"execute": "query-status"}\r\n'
    times = {True: [], False: []}
    for _ in range(rounds * count // 100):
        for insert, client in clients.items():
            for _ in range(100):
                start = time.perf_counter_ns()
                client.sock.sendall(command)
                while not client.sock.recv(4096).endswith(b"\n"):
                    pass
                times[insert].append((time.perf_counter_ns() - start) / 1000)
    for insert, label in ((False, "direct"), (True, "guarded")):
        values = sorted(times[insert])
        print("%s: median %.1f us, p99 %.1f us" % (label, statistics.median(values),
                                                   values[len(values) * 99 // 100]))
    keeper = guards[True]
    print("more at the median: %.1f us" % (statistics.median(times[True]) - statistics.median(times[False])))
    print("private memory: %d KiB" % (private_memory(keeper.keeper) + private_memory(keeper.relay())))


if __name__ == "__main__":
    globals()[sys.argv[1]]()
