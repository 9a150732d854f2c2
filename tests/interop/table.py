"""Starts a node and a cluster with a gateway, runs every client against both, prints the table client x feature.

usage: table.py PROGRAM DIRECTORY [--write]     PROGRAM is evanesce; DIRECTORY holds the installed clients
Exit code: how many checks failed, at most 100. --write puts the table into the README; otherwise it must be there.
"""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
README = HERE.parent.parent / "README.md"
BEGIN, END = "<!-- interop table: begin -->", "<!-- interop table: end -->"
START_LIMIT_SECS, CLIENT_LIMIT_SECS = 60, 120
MEMCCAPABLE_TESTS = 27
USER, SECRET = "ann", "an-interop-secret"
FEATURES = ["get and set", "add", "replace", "append and prepend", "cas", "incr and decr", "touch", "gat", "multi-get", "lease",
            "large value", "over-limit value", "expiry", "delete", "flush", "tls", "password", "memccapable"]
# What does not work, how that shows, and why: printed each time, shown as "no", never counted as passed. "*" is every one.
NOT_OFFERED = {
    ("*", "meta-memcache", "cas"): ("no token", "the client keeps tokens in 32 bits: it takes a longer one for none, and a write with that is not compared"),
    ("*", "pylibmc-binary", "over-limit value"): ("ServerDown", "status 0x82, which EVCache needs, makes libmemcached wait for the server"),
}


def excuse(server, name, feature, result):
    """The reason why this failure is expected; none where it is not."""
    fits = lambda key: all(wanted in ("*", got) for wanted, got in zip(key, (server, name, feature)))
    return next((reason for key, (shows, reason) in NOT_OFFERED.items() if fits(key) and shows in result), None)


def clients(directory, host, port):
    """Every client: its name, its version, the command that runs it."""
    python = [f"{directory}/venv/bin/python", str(HERE / "clients/python.py")]
    node = ["node", str(HERE / "clients/node.js")]
    capable = ["memccapable", "-h", host, "-p", port, "-t", "10"]
    classpath = f"{directory}/java/classes:" + pathlib.Path(f"{directory}/java/classpath").read_text()
    spy = ["java", "-cp", classpath, "evanesce.interop.Spymemcached"]
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
        ("spymemcached", "2.12.3", [*spy, "text", host, port]),
        ("spymemcached-binary", "2.12.3", [*spy, "binary", host, port]),
        ("memccapable-a", "1.1.4", [*capable, "-a"]),
        ("memccapable-b", "1.1.4", [*capable, "-b"]),
    ]


def results(name, command, directory, places):
    """What a client printed, by feature; for memccapable, by its tests."""
    # The wheel of pylibmc brings a SASL library that looks for the system's mechanisms where it was built.
    mechanisms = ":".join(str(path.parent) for path in pathlib.Path("/usr/lib").glob("**/sasl2/libplain.so"))
    environment = {**os.environ, **places, "SASL_PATH": mechanisms}
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=CLIENT_LIMIT_SECS, check=False, env=environment)
    if name.startswith("memccapable"):
        # Names go to one stream and failures to the other: a test that did not pass has no mark behind its name.
        tests = re.findall(r"((?:ascii|binary) [a-z ]*?) {2,}(\[pass\])?", done.stdout)
        return {test: "ok" if passed else "FAILED" for test, passed in tests} or {"memccapable": "FAILED it printed nothing"}
    found = dict(line.split("\t", 1) for line in done.stdout.splitlines() if "\t" in line)
    if done.returncode != 0 or not found:
        found["get and set"] = "FAILED " + (done.stderr.strip().splitlines() or ["it printed nothing"])[-1][:200]
    return found


def judged(server, directory, address, places):
    """A row for each client; failures."""
    rows, failures = [], []
    for name, version, command in clients(directory, *address.rsplit(":", 1)):
        cells = {}
        found = results(name, command, directory, places)
        unexpected = lambda: {feature for feature, result in found.items() if result != "ok" and not excuse(server, name, feature, result)}
        if failed := unexpected():
            # A machine too busy for a gateway's deadlines does not happen twice.
            found = results(name, command, directory, places)
            for feature in failed - unexpected():
                print(f"{server} {name} {feature}: passed the second time")
        for feature, result in found.items():
            reason = excuse(server, name, feature, result)
            cells[feature] = "yes" if result == "ok" else "no" if reason else "FAILED"
            if result != "ok":
                print(f"{server} {name} {feature}: {'not offered: ' + reason if reason else result}")
            if cells[feature] == "FAILED":
                failures.append((server, name, feature))
        if name.startswith("memccapable"):
            passed = sum(cell == "yes" for cell in cells.values())
            cells = {"memccapable": f"{passed} of {MEMCCAPABLE_TESTS}"}
            if len(found) != MEMCCAPABLE_TESTS:
                failures.append((server, name, f"{len(found)} of its tests ran"))
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
        host, port = address.rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=1) as peer:
            peer.sendall(b"version\r\n")
            return peer.recv(100).startswith(b"VERSION")
    except OSError:
        return False


def protection(directory):
    """Makes an authority, a certificate for 127.0.0.1 and a password file; the options that name them."""
    keys = lambda *more: ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", *more]
    pathlib.Path(f"{directory}/names").write_text("subjectAltName=IP:127.0.0.1\n")
    pathlib.Path(f"{directory}/users").write_text(f"{USER}:{SECRET}\n")
    sign = ["openssl", "x509", "-req", "-in", "request", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"]
    for command in (
        keys("-x509", "-subj", "/CN=interop authority", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2"),
        keys("-subj", "/CN=interop", "-keyout", "server.key", "-out", "request"),
        [*sign, "-extfile", "names", "-out", "server.pem"],
    ):
        subprocess.run(command, cwd=directory, check=True, capture_output=True)
    files = {"--tls-cert": "server.pem", "--tls-key": "server.key", "--auth-file": "users"}
    return [word for option, file in files.items() for word in (option, f"{directory}/{file}")]


def listeners(directory):
    """Free places for one server, open, by TLS, by password and by both: the option, the address, what clients are told."""
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
    plain, tls, password, both = (place.getsockname()[1] for place in taken)
    for place in taken:
        place.close()
    places = {"TLS": tls, "PASSWORD": password, "BOTH": both, "CA": f"{directory}/ca.pem", "USER": USER, "SECRET": SECRET}
    at = f"127.0.0.1:{plain}?auth=off,tls://127.0.0.1:{tls}?auth=off,127.0.0.1:{password},tls://127.0.0.1:{both}"
    return ["--listen", at], f"127.0.0.1:{plain}", {f"INTEROP_{name}": str(value) for name, value in places.items()}


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
        protect = protection(directory)
        listen, node, node_places = listeners(directory)
        start([program, "node", "--standalone", *listen, *protect, "--memory", "256MiB"], directory, "node", processes)
        report = f"{directory}/up.json"
        pathlib.Path(report).unlink(missing_ok=True)
        start([program, "up", "--zones", "2", "--nodes", "2", "--json", report], directory, "up", processes)
        wait_for("the node", lambda: answers(node))
        wait_for("the cluster", lambda: os.path.exists(report))
        cluster = json.loads(pathlib.Path(report).read_text())
        discoveries = ",".join(discovery["grpc"] for discovery in cluster["discovery"])
        listen, gateway, gateway_places = listeners(directory)
        start([program, "gateway", "--cluster", cluster["cluster"], "--zone", cluster["discovery"][0]["zone"],
               "--discovery", discoveries, *listen, *protect, "--grpc", "off", "--http", "off", "--flush-command"], directory, "gateway", processes)
        wait_for("the gateway", lambda: answers(gateway))
        rows, failures = [], []
        for server, address, places in (("node", node, node_places), ("gateway", gateway, gateway_places)):
            more = judged(server, directory, address, places)
            rows += more[0]
            failures += more[1]
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(timeout=30)
    text = table(rows)
    print(text)
    passed = sum(cell not in ("no", "FAILED") for _, _, cells in rows for cell in cells.values())
    if not failures and not in_readme(text, write):
        print("the README's table is not this one: tests/interop/run --write puts it there")
        failures.append("README")
    print(f"{passed} passed, {len(failures)} failed")
    sys.exit(min(len(failures), 100))


main()
