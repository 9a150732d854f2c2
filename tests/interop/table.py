"""Starts a node and a cluster with a gateway, runs every client against both, prints the table client x feature.

usage: table.py PROGRAM DIRECTORY [--write]     PROGRAM is evanesce; DIRECTORY holds the installed clients
Exit code: how many checks failed, at most 100. --write puts the table into the README; otherwise it must be there.
"""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
README = HERE.parent.parent / "README.md"
BEGIN, END = "<!-- interop table: begin -->", "<!-- interop table: end -->"
START_LIMIT_SECS, CLIENT_LIMIT_SECS = 60, 120
FEATURES = ["get and set", "add", "replace", "append and prepend", "cas", "incr and decr", "touch", "gat", "multi-get", "lease",
            "large value", "over-limit value", "expiry", "delete", "flush", "memccapable"]
# What does not work, and why: printed each time, shown as "no", never counted as passed. "*" is every one.
NOT_OFFERED = {
    ("node", "meta-memcache", "cas"): "the client reads tokens of 32 bits and sends none where ours is longer",
    ("*", "pylibmc-binary", "over-limit value"): "status 0x82, which EVCache needs, makes libmemcached wait for the server",
    ("gateway", "*", "flush"): "a gateway does not offer flush_all",
    ("gateway", "bmemcached", "cas"): "a gateway does not offer tokens in the binary protocol",
    ("gateway", "meta-memcache", "*"): "a gateway does not offer mg's c, h, l and N",
    ("gateway", "memccapable-a", "memccapable"): "a gateway does not offer every command",
    ("gateway", "memccapable-b", "memccapable"): "a gateway does not offer every command",
}


def excuse(server, name, feature):
    """The reason why a failure is expected; none where it is not."""
    fits = lambda key: all(wanted in ("*", got) for wanted, got in zip(key, (server, name, feature)))
    return next((reason for key, reason in NOT_OFFERED.items() if fits(key)), None)


def clients(directory, host, port):
    """Every client: its name, its version, the command that runs it."""
    python = [f"{directory}/venv/bin/python", str(HERE / "clients/python.py")]
    node = ["node", str(HERE / "clients/node.js")]
    capable = ["memccapable", "-h", host, "-p", port, "-t", "10"]
    return [
        ("pymemcache", "4.0.0", [*python, "pymemcache", host, port]),
        ("pylibmc", "1.6.3", [*python, "pylibmc", host, port]),
        ("pylibmc-binary", "1.6.3", [*python, "pylibmc-binary", host, port]),
        ("bmemcached", "0.33.0", [*python, "bmemcached", host, port]),
        ("emcache", "1.3.3", [*python, "emcache", host, port]),
        ("meta-memcache", "4.3.0", [*python, "meta-memcache", host, port]),
        ("memjs", "1.3.2", [*node, "memjs", host, port]),
        ("memcached", "2.2.2", [*node, "memcached", host, port]),
        ("gomemcache", "4d751bb6e37c", [f"{directory}/gomemcache", f"{host}:{port}"]),
        ("memccapable-a", "1.1.4", [*capable, "-a"]),
        ("memccapable-b", "1.1.4", [*capable, "-b"]),
    ]


def results(name, command, directory):
    """What a client printed, by feature."""
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=CLIENT_LIMIT_SECS, check=False)
    if name.startswith("memccapable"):
        good = done.returncode == 0 and "All tests passed" in done.stdout + done.stderr
        failed = [line for line in (done.stdout + done.stderr).splitlines() if "[FAIL]" in line.upper()]
        return {"memccapable": "ok" if good else "FAILED " + "; ".join(failed)[:300]}
    found = dict(line.split("\t", 1) for line in done.stdout.splitlines() if "\t" in line)
    if done.returncode != 0 or not found:
        found["get and set"] = "FAILED " + (done.stderr.strip().splitlines() or ["it printed nothing"])[-1][:200]
    return found


def judged(server, directory, address):
    """A row for each client; failures."""
    rows, failures = [], []
    for name, version, command in clients(directory, *address.rsplit(":", 1)):
        cells = {}
        for feature, result in results(name, command, directory).items():
            reason = excuse(server, name, feature)
            cells[feature] = "yes" if result == "ok" else "no" if reason else "FAILED"
            if result != "ok":
                print(f"{server} {name} {feature}: {'not offered: ' + reason if reason else result}")
            if cells[feature] == "FAILED":
                failures.append((server, name, feature))
        rows.append((server, f"{name} {version}", cells))
    return rows, failures


def table(rows):
    """The rows in Markdown."""
    lines = ["| server | client | " + " | ".join(FEATURES) + " |", "|---" * (len(FEATURES) + 2) + "|"]
    for server, client, cells in rows:
        lines.append(f"| {server} | {client} | " + " | ".join(cells.get(feature, "") for feature in FEATURES) + " |")
    return "\n".join(lines)


def start(command, directory, name, processes):
    log = open(f"{directory}/{name}.log", "w")
    processes.append(subprocess.Popen(command, stdout=log, stderr=log))


def wait_for(what, ready):
    limit = time.monotonic() + START_LIMIT_SECS
    while time.monotonic() < limit:
        if ready():
            return
        time.sleep(0.05)
    raise SystemExit(f"{what} did not come")


def answers(address):
    try:
        with socket.create_connection(address, timeout=1) as peer:
            peer.sendall(b"version\r\n")
            return peer.recv(100).startswith(b"VERSION")
    except OSError:
        return False


def in_readme(text, write):
    """Whether the README has this table; with `write` it has afterwards."""
    before = README.read_text()
    if BEGIN not in before:
        return False
    head, tail = before.split(BEGIN)[0], before.split(END)[1]
    after = f"{head}{BEGIN}\n{text}\n{END}{tail}"
    if write:
        README.write_text(after)
    return write or before == after


def main():
    program, directory, write = sys.argv[1], sys.argv[2], "--write" in sys.argv
    processes = []
    # Ended from outside, it still ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        start([program, "node", "--standalone", "--listen", f"127.0.0.1:{port}", "--memory", "256MiB"], directory, "node", processes)
        report = f"{directory}/up.json"
        pathlib.Path(report).unlink(missing_ok=True)
        start([program, "up", "--zones", "2", "--nodes", "2", "--json", report], directory, "up", processes)
        wait_for("the node", lambda: answers(("127.0.0.1", port)))
        wait_for("the cluster", lambda: os.path.exists(report))
        gateway = json.loads(pathlib.Path(report).read_text())["gateway"]["memcached"]
        rows, failures = [], []
        for server, address in (("node", f"127.0.0.1:{port}"), ("gateway", gateway)):
            more = judged(server, directory, address)
            rows += more[0]
            failures += more[1]
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(timeout=30)
    text = table(rows)
    print(text)
    passed = sum(cell == "yes" for _, _, cells in rows for cell in cells.values())
    if not failures and not in_readme(text, write):
        print("the README's table is not this one: tests/interop/run --write puts it there")
        failures.append("README")
    print(f"{passed} passed, {len(failures)} failed")
    sys.exit(min(len(failures), 100))


main()
