"""pylibmc (libmemcached) against one server: prints one line per result, for comparison between servers.

usage: pylibmc_script.py IP:PORT node|gateway
"""

import sys

import pylibmc

ADDRESS, NODE = sys.argv[1], sys.argv[2] == "node"
# A second past 30 days: by the protocol's rule an instant, in 1970.
PAST = 60 * 60 * 24 * 30 + 1


def show(what, call):
    """Prints a call's result, or the kind of its error."""
    try:
        result = call()
    except Exception as error:  # the error is the result
        # The text names the address, which differs between servers.
        result = type(error).__name__
    if isinstance(result, dict):
        result = sorted(result.items(), key=str)
    print(f"{what}: {result!r}")


def plain(client):
    """What a node and a gateway both do."""
    show("get absent", lambda: client.get("pl:absent"))
    for number, value in enumerate(["one", "", b"\r\nEND\r\n\x00\xff", b"x" * 900000, 7, 2.5, True, {"a": [1]}]):
        key = f"pl:{number}"
        show("set", lambda: client.set(key, value, time=100))
        show("get same", lambda: client.get(key) == value)
    compressible = b"abc" * 10000
    show("set packed", lambda: client.set("pl:packed", compressible, min_compress_len=100))
    show("get packed", lambda: client.get("pl:packed") == compressible)
    many = {f"pl:many:{number}": number for number in range(50)}
    show("set_multi", lambda: client.set_multi(many))
    show("get_multi", lambda: client.get_multi(list(many) + ["pl:absent"]))
    show("set_multi prefix", lambda: client.set_multi({"a": 1, "b": 2}, key_prefix="pl:p:"))
    show("get_multi prefix", lambda: client.get_multi(["a", "b", "c"], key_prefix="pl:p:"))
    show("add there", lambda: client.add("pl:0", "no"))
    show("add absent", lambda: client.add("pl:added", "yes"))
    show("replace there", lambda: client.replace("pl:0", "two"))
    show("replace absent", lambda: client.replace("pl:absent", "no"))
    show("get", lambda: client.get_multi(["pl:0", "pl:added", "pl:absent"]))
    show("touch there", lambda: client.touch("pl:0", 100))
    show("touch absent", lambda: client.touch("pl:absent", 100))
    show("gets absent", lambda: client.gets("pl:absent")[0])
    show("gets", lambda: client.gets("pl:0")[0])
    show("set past", lambda: client.set("pl:past", "x", time=PAST))
    show("get past", lambda: client.get("pl:past"))
    show("delete there", lambda: client.delete("pl:0"))
    show("delete absent", lambda: client.delete("pl:0"))
    show("delete_multi", lambda: client.delete_multi(["pl:1", "pl:2", "pl:absent"]))
    show("get deleted", lambda: client.get_multi(["pl:0", "pl:1", "pl:2"]))
    show("key too long", lambda: client.get("k" * 251))
    show("too large", lambda: client.set("pl:big", b"x" * 1100000))


def in_place(client):
    """What only a node does so far."""
    show("set", lambda: client.set("pl:list", "b"))
    show("append", lambda: client.append("pl:list", "c"))
    show("prepend", lambda: client.prepend("pl:list", "a"))
    show("append absent", lambda: client.append("pl:absent", "c"))
    show("get", lambda: client.get("pl:list"))
    show("set number", lambda: client.set("pl:n", "10"))
    show("incr", lambda: client.incr("pl:n", 5))
    show("decr", lambda: client.decr("pl:n", 9))
    show("decr below 0", lambda: client.decr("pl:n", 100))
    show("incr absent", lambda: client.incr("pl:absent", 1))
    show("incr text", lambda: client.incr("pl:list", 1))
    value, token = client.gets("pl:list")
    show("cas fresh", lambda: client.cas("pl:list", "new", token))
    show("cas spent", lambda: client.cas("pl:list", "newer", token))
    show("get", lambda: client.get("pl:list"))
    show("stats has what exporters read", lambda: {"pid", "curr_items"} <= {
        name.decode() if isinstance(name, bytes) else name for name in client.get_stats()[0][1]})
    show("flush_all", client.flush_all)
    show("get flushed", lambda: client.get("pl:list"))


def main():
    client = pylibmc.Client([ADDRESS], binary=False, behaviors={"cas": True, "tcp_nodelay": True})
    plain(client)
    if NODE:
        in_place(client)
    client.disconnect_all()


main()
