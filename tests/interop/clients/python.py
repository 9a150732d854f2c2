"""One Python client against one server: a line per feature. usage: python.py CLIENT HOST PORT"""

import asyncio
import sys
import time

CLIENT, HOST, PORT = sys.argv[1], sys.argv[2], int(sys.argv[3])
LARGE = b"x" * 900_000
OVER = b"y" * 1_200_000


def same(got, wanted):
    if got != wanted:
        raise AssertionError(f"wanted {wanted!r:.80}, got {got!r:.80}")


def check(feature, call):
    """Runs one feature; any exception is its failure."""
    try:
        call()
        print(f"{feature}\tok", flush=True)
    except Exception as error:
        print(f"{feature}\tFAILED {type(error).__name__} {str(error)!r:.150}", flush=True)


def pymemcache():
    from pymemcache.client.base import Client

    c = Client((HOST, PORT), default_noreply=False, timeout=10, no_delay=True)

    def over():
        try:
            c.set("big", OVER)
        except Exception:
            pass
        c.set("after", b"1")
        same(c.get("after"), b"1")

    def cas():
        c.set("k", b"1")
        token = c.gets("k")[1]
        same((c.cas("k", b"2", token), c.cas("k", b"3", token), c.get("k")), (True, False, b"2"))

    def expiry():
        c.set("short", b"1", expire=1)
        time.sleep(2.1)
        same(c.get("short"), None)

    def add():
        c.delete("fresh")
        same((c.add("fresh", b"1"), c.add("fresh", b"2"), c.get("fresh")), (True, False, b"1"))

    check("get and set", lambda: same((c.set("k", b"1"), c.get("k"), c.get("none")), (True, b"1", None)))
    check("add", add)
    check("replace", lambda: same((c.replace("k", b"2"), c.replace("none", b"2"), c.get("k")), (True, False, b"2")))
    check("append and prepend", lambda: same((c.append("k", b"b"), c.prepend("k", b"a"), c.get("k")), (True, True, b"a2b")))
    check("cas", cas)
    check("incr and decr", lambda: same((c.set("n", b"5"), c.incr("n", 4), c.decr("n", 20)), (True, 9, 0)))
    check("touch", lambda: same((c.touch("k", 100), c.touch("none", 100)), (True, False)))
    check("multi-get", lambda: same((c.set_many({"m1": b"1", "m2": b"2"}), c.get_many(["m1", "m2", "none"])), ([], {"m1": b"1", "m2": b"2"})))
    check("large value", lambda: same((c.set("large", LARGE), c.get("large") == LARGE), (True, True)))
    check("over-limit value", over)
    check("expiry", expiry)
    check("delete", lambda: same((c.delete("k"), c.delete("k"), c.get("k")), (True, False, None)))
    check("flush", lambda: same((c.flush_all(), c.get("m1")), (True, None)))


def pylibmc(binary):
    import pylibmc

    c = pylibmc.Client([f"{HOST}:{PORT}"], binary=binary, behaviors={"ketama": True, "cas": True})

    def over():
        # A client of its own: one that a server has refused something may wait before it asks again.
        fresh = c.clone()
        try:
            fresh.set("big", OVER)
        except pylibmc.Error:
            pass
        fresh.set("after", b"1")
        same(fresh.get("after"), b"1")

    def cas():
        c.set("k", b"1")
        token = c.gets("k")[1]
        same((c.cas("k", b"2", token), c.get("k")), (True, b"2"))

    def replace():
        same((c.replace("k", b"2"), c.get("k")), (True, b"2"))
        try:
            same(c.replace("none", b"2"), False)
        except pylibmc.NotFound:
            pass

    def expiry():
        c.set("short", b"1", time=1)
        time.sleep(2.1)
        same(c.get("short"), None)

    def add():
        c.delete("fresh")
        same((c.add("fresh", b"1"), c.add("fresh", b"2"), c.get("fresh")), (True, False, b"1"))

    check("get and set", lambda: same((c.set("k", b"1"), c.get("k"), c.get("none")), (True, b"1", None)))
    check("add", add)
    check("replace", replace)
    check("append and prepend", lambda: same((c.set("s", "2"), c.append("s", "b"), c.prepend("s", "a"), c.get("s")), (True, True, True, "a2b")))
    if not binary:
        check("cas", cas)
    check("incr and decr", lambda: same((c.set("n", 5), c.incr("n", 4), c.decr("n", 20)), (True, 9, 0)))
    check("touch", lambda: same((c.touch("k", 100), c.touch("none", 100)), (True, False)))
    check("multi-get", lambda: same((c.set_multi({"m1": b"1", "m2": b"2"}), c.get_multi(["m1", "m2", "none"])), ([], {"m1": b"1", "m2": b"2"})))
    check("large value", lambda: same((c.set("large", LARGE), c.get("large") == LARGE), (True, True)))
    check("expiry", expiry)
    check("delete", lambda: same((c.delete("k"), c.delete("k"), c.get("k")), (True, False, None)))
    check("flush", lambda: same((c.flush_all(), c.get("m1")), (True, None)))
    check("over-limit value", over)


def bmemcached():
    import bmemcached

    c = bmemcached.Client((f"{HOST}:{PORT}",), socket_timeout=10)

    def over():
        try:
            c.set("big", OVER, compress_level=0)
        except Exception:
            pass
        c.set("after", "1")
        same(c.get("after"), "1")

    def cas():
        c.set("k", "1")
        token = c.gets("k")[1]
        same((c.cas("k", "2", token), c.cas("k", "3", token), c.get("k")), (True, False, "2"))

    def expiry():
        c.set("short", "1", time=1)
        time.sleep(2.1)
        same(c.get("short"), None)

    def add():
        c.delete("fresh")
        same((c.add("fresh", "1"), c.add("fresh", "2"), c.get("fresh")), (True, False, "1"))

    check("get and set", lambda: same((c.set("k", "1"), c.get("k"), c.get("none")), (True, "1", None)))
    check("add", add)
    check("replace", lambda: same((c.replace("k", "2"), c.replace("none", "2"), c.get("k")), (True, False, "2")))
    check("cas", cas)
    check("incr and decr", lambda: same((c.delete("n"), c.incr("n", 4, default=5), c.incr("n", 4), c.decr("n", 20)), (True, 5, 9, 0)))
    check("multi-get", lambda: same((c.set("m1", "1"), c.set("m2", "2"), c.get_multi(["m1", "m2", "none"])), (True, True, {"m1": "1", "m2": "2"})))
    check("large value", lambda: same((c.set("large", LARGE, compress_level=0), c.get("large") == LARGE), (True, True)))
    check("over-limit value", over)
    check("expiry", expiry)
    check("delete", lambda: same((c.delete("k"), c.get("k")), (True, None)))
    check("flush", lambda: same((c.flush_all(), c.get("m1")), (True, None)))


def emcache():
    import emcache

    loop = asyncio.new_event_loop()
    run = loop.run_until_complete
    c = run(emcache.create_client([emcache.MemcachedHostAddress(HOST, PORT)], timeout=10))
    value = lambda key: (lambda item: item and item.value)(run(c.get(key)))

    def refused(call):
        try:
            run(call)
        except emcache.NotStoredStorageCommandError:
            return
        raise AssertionError("it was stored")

    def add():
        run(c.set(b"fresh", b"0"))
        run(c.delete(b"fresh"))
        run(c.add(b"fresh", b"1"))
        refused(c.add(b"fresh", b"2"))
        same(value(b"fresh"), b"1")

    def replace():
        run(c.replace(b"k", b"2"))
        refused(c.replace(b"none", b"2"))
        same(value(b"k"), b"2")

    def joined():
        run(c.append(b"k", b"b"))
        run(c.prepend(b"k", b"a"))
        same(value(b"k"), b"a2b")

    def cas():
        token = run(c.gets(b"k")).cas
        run(c.cas(b"k", b"new", token))
        refused(c.cas(b"k", b"newer", token))
        same(value(b"k"), b"new")

    def expiry():
        run(c.set(b"short", b"1", exptime=1))
        time.sleep(2.1)
        same(value(b"short"), None)

    def over():
        try:
            run(c.set(b"big", OVER))
        except Exception:
            pass
        run(c.set(b"after", b"1"))
        same(value(b"after"), b"1")

    def many():
        run(c.set(b"m1", b"1"))
        run(c.set(b"m2", b"2"))
        same({key: item.value for key, item in run(c.get_many([b"m1", b"m2", b"none"])).items()}, {b"m1": b"1", b"m2": b"2"})

    check("get and set", lambda: same((run(c.set(b"k", b"1")), value(b"k"), value(b"none")), (None, b"1", None)))
    check("add", add)
    check("replace", replace)
    check("append and prepend", joined)
    check("cas", cas)
    check("incr and decr", lambda: same((run(c.set(b"n", b"5")), run(c.increment(b"n", 4)), run(c.decrement(b"n", 20))), (None, 9, 0)))
    check("touch", lambda: run(c.touch(b"k", 100)))
    check("gat", lambda: same(run(c.gat(100, b"k")).value, b"new"))
    check("multi-get", many)
    check("large value", lambda: same((run(c.set(b"large", LARGE)), value(b"large") == LARGE), (None, True)))
    check("over-limit value", over)
    check("expiry", expiry)
    check("delete", lambda: same((run(c.delete(b"k")), value(b"k")), (None, None)))
    check("flush", lambda: same((run(c.flush_all(emcache.MemcachedHostAddress(HOST, PORT))), value(b"m1")), (None, None)))
    run(c.close())


def meta_memcache():
    from meta_memcache import CacheClient, LeasePolicy, ServerAddress, connection_pool_factory_builder

    c = CacheClient.cache_client_from_servers([ServerAddress(HOST, PORT)], connection_pool_factory_builder())

    def cas():
        c.set("k", "1", ttl=100)
        token = c.get_cas("k")[1]
        same((c.set("k", "2", ttl=100, cas_token=token), c.get("k")), (True, "2"))
        same((c.set("k", "3", ttl=100, cas_token=token), c.get("k")), (False, "2"))

    def expiry():
        c.set("short", "1", ttl=1)
        time.sleep(2.1)
        same(c.get("short"), None)

    def lease():
        c.delete("leased")
        same(c.get_or_lease("leased", LeasePolicy()), None)
        c.set("leased", "1", ttl=100)
        same(c.get_or_lease("leased", LeasePolicy()), "1")

    check("get and set", lambda: same((c.set("k", "1", ttl=100), c.get("k"), c.get("none")), (True, "1", None)))
    check("cas", cas)
    check("incr and decr", lambda: same((c.set("n", "0", ttl=9), c.delete("n"), c.delta_initialize_and_get("n", 4, 5, 100), c.delta_and_get("n", 4), c.delta_and_get("n", -20)), (True, True, 5, 9, 0)))
    check("touch", lambda: same(c.touch("k", 100), True))
    check("multi-get", lambda: same((c.set("m1", "1", ttl=9), sorted((k.key, v) for k, v in c.multi_get(["m1", "none"]).items())), (True, [("m1", "1"), ("none", None)])))
    check("lease", lease)
    check("large value", lambda: same((c.set("large", LARGE, ttl=100), c.get("large") == LARGE), (True, True)))
    check("expiry", expiry)
    check("delete", lambda: same((c.delete("k"), c.get("k")), (True, None)))


{
    "pymemcache": pymemcache,
    "pylibmc": lambda: pylibmc(False),
    "pylibmc-binary": lambda: pylibmc(True),
    "bmemcached": bmemcached,
    "emcache": emcache,
    "meta-memcache": meta_memcache,
}[CLIENT]()
