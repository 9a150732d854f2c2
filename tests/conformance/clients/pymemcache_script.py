"""pymemcache against one server: prints one line per result, for comparison between servers.

usage: pymemcache_script.py IP:PORT node|gateway
"""

import sys

from pymemcache.client.base import Client
from pymemcache.client.hash import HashClient
from pymemcache.serde import pickle_serde

HOST, PORT = sys.argv[1].rsplit(":", 1)
NODE = sys.argv[2] == "node"
# A second past 30 days: by the protocol's rule an instant, in 1970.
PAST = 60 * 60 * 24 * 30 + 1


def show(what, call):
    """Prints a call's result, or the kind and text of its error."""
    try:
        result = call()
    except Exception as error:  # the error is the result
        result = f"{type(error).__name__} {error}"
    if isinstance(result, dict):
        result = sorted(result.items(), key=str)
    print(f"{what}: {result!r}")


def plain(client):
    """What a node and a gateway both do."""
    show("version", client.version)
    show("get absent", lambda: client.get("pm:absent"))
    show("get default", lambda: client.get("pm:absent", "default"))
    for number, value in enumerate([b"one", b"", b"\r\nEND\r\n\x00\xff", b"x" * 900000]):
        key = f"pm:{number}"
        show("set", lambda: client.set(key, value, expire=100, noreply=False))
        show("get same", lambda: client.get(key) == value)
    show("set quiet", lambda: client.set("pm:quiet", b"q", noreply=True))
    show("get quiet", lambda: client.get("pm:quiet"))
    show("set flags", lambda: client.set("pm:flags", b"f", flags=123456, noreply=False))
    show("get flags", lambda: client.get("pm:flags"))
    many = {f"pm:many:{number}": str(number).encode() for number in range(50)}
    show("set_many", lambda: client.set_many(many, noreply=False))
    show("get_many", lambda: client.get_many(list(many) + ["pm:absent"]))
    show("add there", lambda: client.add("pm:0", b"no", noreply=False))
    show("add absent", lambda: client.add("pm:added", b"yes", noreply=False))
    show("replace there", lambda: client.replace("pm:0", b"two", noreply=False))
    show("replace absent", lambda: client.replace("pm:absent", b"no", noreply=False))
    show("get", lambda: client.get_many(["pm:0", "pm:added", "pm:absent"]))
    show("touch there", lambda: client.touch("pm:0", 100, noreply=False))
    show("touch absent", lambda: client.touch("pm:absent", 100, noreply=False))
    show("gets has a token", lambda: client.gets("pm:0")[1] is not None)
    show("gets absent", lambda: client.gets("pm:absent"))
    show("gets_many", lambda: {key: value[0] for key, value in client.gets_many(["pm:0", "pm:added"]).items()})
    show("set past", lambda: client.set("pm:past", b"x", expire=PAST, noreply=False))
    show("get past", lambda: client.get("pm:past"))
    show("set negative", lambda: client.set("pm:past", b"x", expire=-1, noreply=False))
    show("get negative", lambda: client.get("pm:past"))
    show("delete there", lambda: client.delete("pm:0", noreply=False))
    show("delete absent", lambda: client.delete("pm:0", noreply=False))
    show("delete_many", lambda: client.delete_many(["pm:1", "pm:2"], noreply=False))
    show("get deleted", lambda: client.get_many(["pm:0", "pm:1", "pm:2"]))
    show("key too long", lambda: client.get("k" * 251))
    show("key with blank", lambda: client.set("a b", b"x", noreply=False))
    show("too large", lambda: client.set("pm:big", b"x" * 1100000, noreply=False))
    show("get too large", lambda: client.get("pm:big"))


def in_place(client):
    """What only a node does so far."""
    show("set", lambda: client.set("pm:list", b"b", noreply=False))
    show("append", lambda: client.append("pm:list", b"c", noreply=False))
    show("prepend", lambda: client.prepend("pm:list", b"a", noreply=False))
    show("append absent", lambda: client.append("pm:absent", b"c", noreply=False))
    show("get", lambda: client.get("pm:list"))
    show("set number", lambda: client.set("pm:n", b"10", noreply=False))
    show("incr", lambda: client.incr("pm:n", 5))
    show("decr", lambda: client.decr("pm:n", 9))
    show("decr below 0", lambda: client.decr("pm:n", 100))
    show("incr to wrap", lambda: client.incr("pm:n", 2**64 - 1))
    show("incr wraps", lambda: client.incr("pm:n", 2))
    show("incr absent", lambda: client.incr("pm:absent", 1))
    show("incr text", lambda: client.incr("pm:list", 1))
    value, token = client.gets("pm:list")
    show("cas fresh", lambda: client.cas("pm:list", b"new", token, noreply=False))
    show("cas spent", lambda: client.cas("pm:list", b"newer", token, noreply=False))
    show("cas absent", lambda: client.cas("pm:absent", b"x", token, noreply=False))
    show("get", lambda: client.get("pm:list"))
    show("stats has what exporters read", lambda: {b"pid", b"curr_items", b"get_hits"} <= set(client.stats()))
    show("verbosity", lambda: client.raw_command("verbosity 1"))
    show("flush_all", lambda: client.flush_all(noreply=False))
    show("get flushed", lambda: client.get("pm:list"))


def main():
    address = (HOST, int(PORT))
    client = Client(address, default_noreply=False, timeout=10, no_delay=True)
    plain(client)
    if NODE:
        in_place(client)
    client.quit()
    hashed = HashClient([address], serde=pickle_serde, timeout=10, use_pooling=True)
    show("object", lambda: hashed.set("pm:object", {"a": [1, 2.5, None]}, noreply=False))
    show("object back", lambda: hashed.get("pm:object"))
    hashed.close()


main()
