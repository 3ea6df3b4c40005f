#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Talk to a QEMU monitor: send commands, print replies, fail at the first error reply."""
import argparse
import json
import socket
import sys
import time

TIMEOUT = 60


def connect(path, pid):
    """Wait for the socket, a path or tcp:HOST:PORT; give up when the process @pid is gone."""
    deadline = time.monotonic() + TIMEOUT
    address = path
    if path.startswith("tcp:"):
        host, port = path[4:].rsplit(":", 1)
        address = (host, int(port))
    while True:
        peer = socket.socket(socket.AF_UNIX if address is path else socket.AF_INET)
        try:
            peer.connect(address)
            peer.settimeout(TIMEOUT)
            return peer.makefile("rw", encoding="utf-8", newline="\n")
        except OSError:
            peer.close()
            if time.monotonic() > deadline or (pid and not alive(pid)):
                raise
            time.sleep(0.01)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def execute(stream, command):
    """Send one command (a JSON text) and return its reply; events are passed over."""
    stream.write(command + "\r\n")
    stream.flush()
    for line in stream:
        reply = json.loads(line)
        if "error" in reply:
            sys.exit(f"qmp: {command}: {reply['error']['desc']}")
        if "return" in reply:
            return reply["return"]
    sys.exit(f"qmp: {command}: the monitor closed")


def run_job(stream, command):
    """Run a command that starts a job, wait for the job's end, dismiss it, fail if it failed."""
    execute(stream, command)
    job_id = json.loads(command)["arguments"]["job-id"]
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        for job in execute(stream, '{"execute": "query-jobs"}'):
            if job["id"] == job_id and job["status"] == "concluded":
                dismiss = {"execute": "job-dismiss", "arguments": {"id": job_id}}
                execute(stream, json.dumps(dismiss))
                if "error" in job:
                    sys.exit(f"qmp: job {job_id}: {job['error']}")
                return
        time.sleep(0.01)
    sys.exit(f"qmp: job {job_id} does not end")


def run_hmp(stream, line):
    """Run a human monitor command, print its text, fail if it reports an error."""
    command = {"execute": "human-monitor-command", "arguments": {"command-line": line}}
    text = execute(stream, json.dumps(command)).replace("\r\n", "\n")
    sys.stdout.write(text)
    if "Error:" in text:
        sys.exit(f"qmp: {line}: {text.strip()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pid", type=int, help="the process that will listen")
    parser.add_argument("--hmp", action="store_true", help="commands are human monitor lines")
    parser.add_argument("--job", action="store_true", help="commands start jobs")
    parser.add_argument("socket")
    parser.add_argument("commands", nargs="+")
    args = parser.parse_args()
    try:
        talk(args)
    except OSError as error:
        sys.exit(f"qmp: {args.socket}: {error}")


def talk(args):
    stream = connect(args.socket, args.pid)
    stream.readline()
    execute(stream, '{"execute": "qmp_capabilities"}')
    for command in args.commands:
        if args.hmp:
            run_hmp(stream, command)
        elif args.job:
            run_job(stream, command)
        else:
            print(json.dumps(execute(stream, command)), flush=True)


if __name__ == "__main__":
    main()
