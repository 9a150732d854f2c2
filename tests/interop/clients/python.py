"""One Python client against one server: a line per feature. usage: python.py CLIENT HOST PORT

Other places of the same server, in the environment: INTEROP_TLS, INTEROP_PASSWORD and INTEROP_BOTH are their ports,
INTEROP_CA the authority's file, INTEROP_USER and INTEROP_SECRET who may come in.
"""

import asyncio
import os
import ssl
import sys
import time

CLIENT, HOST, PORT = sys.argv[1], sys.argv[2], int(sys.argv[3])
LARGE = b"x" * 900_000
OVER = b"y" * 1_200_000
TLS, PASSWORD, BOTH = (int(os.environ["INTEROP_" + name]) for name in ("TLS", "PASSWORD", "BOTH"))
CA, USER, SECRET = (os.environ["INTEROP_" + name] for name in ("CA", "USER", "SECRET"))


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


def refused(call):
    """The call must fail, or say that it did nothing."""
    try:
        done = call()
    except Exception:
        return
    if done:
        raise AssertionError(f"it was let in: {done!r:.80}")


def trusting():
    return ssl.create_default_context(cafile=CA)


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

    def at(port, context=None):
        return Client((HOST, port), default_noreply=False, timeout=10, tls_context=context)

    def tls():
        t = at(TLS, trusting())
        same((t.set("t", b"1"), t.get("t"), t.set("large", LARGE), t.get("large") == LARGE), (True, b"1", True, True))
        refused(lambda: at(TLS, ssl.create_default_context()).get("t"))
        refused(lambda: at(TLS).get("t"))

    def password():
        # The first store command is the password: nothing that a client would have to know of.
        for c in (at(PASSWORD), at(BOTH, trusting())):
            same((c.set("auth", f"{USER} {SECRET}"), c.set("p", b"1"), c.get("p")), (True, True, b"1"))
        refused(lambda: at(PASSWORD).set("auth", f"{USER} wrong"))
        refused(lambda: at(PASSWORD).get("p"))

    check("tls", tls)
    check("password", password)


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

    def password():
        at = lambda **who: pylibmc.Client([f"{HOST}:{PASSWORD}"], binary=True, **who)
        p = at(username=USER, password=SECRET)
        same((p.set("p", b"1"), p.get("p")), (True, b"1"))
        refused(lambda: at(username=USER, password="wrong").set("p", b"2"))
        refused(lambda: at().set("p", b"2"))
        same(p.get("p"), b"1")

    if binary:
        check("password", password)


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

    def at(port, **more):
        return bmemcached.Client((f"{HOST}:{port}",), socket_timeout=10, **more)

    def tls():
        t = at(TLS, tls_context=trusting())
        same((t.set("t", "1"), t.get("t"), t.set("large", LARGE, compress_level=0), t.get("large") == LARGE), (True, "1", True, True))
        refused(lambda: at(TLS, tls_context=ssl.create_default_context()).get("t"))
        refused(lambda: at(TLS).get("t"))

    def password():
        for p in (at(PASSWORD, username=USER, password=SECRET), at(BOTH, username=USER, password=SECRET, tls_context=trusting())):
            same((p.set("p", "1"), p.get("p")), (True, "1"))
        refused(lambda: at(PASSWORD, username=USER, password="wrong").get("p"))
        refused(lambda: at(PASSWORD).get("p"))

    check("tls", tls)
    check("password", password)


def emcache():
    import emcache

    loop = asyncio.new_event_loop()
    run = loop.run_until_complete
    c = run(emcache.create_client([emcache.MemcachedHostAddress(HOST, PORT)], timeout=10))
    value = lambda key: (lambda item: item and item.value)(run(c.get(key)))

    def not_stored(call):
        try:
            run(call)
        except emcache.NotStoredStorageCommandError:
            return
        raise AssertionError("it was stored")

    def add():
        run(c.set(b"fresh", b"0"))
        run(c.delete(b"fresh"))
        run(c.add(b"fresh", b"1"))
        not_stored(c.add(b"fresh", b"2"))
        same(value(b"fresh"), b"1")

    def replace():
        run(c.replace(b"k", b"2"))
        not_stored(c.replace(b"none", b"2"))
        same(value(b"k"), b"2")

    def joined():
        run(c.append(b"k", b"b"))
        run(c.prepend(b"k", b"a"))
        same(value(b"k"), b"a2b")

    def cas():
        token = run(c.gets(b"k")).cas
        run(c.cas(b"k", b"new", token))
        not_stored(c.cas(b"k", b"newer", token))
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

    def at(port, **more):
        return run(emcache.create_client([emcache.MemcachedHostAddress(HOST, port)], timeout=5, **more))

    def works(client):
        run(client.set(b"t", b"1"))
        same(run(client.get(b"t")).value, b"1")
        run(client.set(b"large", LARGE))
        same(run(client.get(b"large")).value == LARGE, True)
        run(client.close())

    def fails(client):
        refused(lambda: run(asyncio.wait_for(client.get(b"t"), 1)))
        run(client.close())

    def tls():
        works(at(TLS, ssl=True, ssl_extra_ca=CA))
        fails(at(TLS, ssl=True))

    def password():
        works(at(PASSWORD, username=USER, password=SECRET))
        works(at(BOTH, username=USER, password=SECRET, ssl=True, ssl_extra_ca=CA))
        fails(at(PASSWORD, username=USER, password="wrong"))
        fails(at(PASSWORD))

    check("tls", tls)
    check("password", password)


def meta_memcache():
    from meta_memcache import CacheClient, LeasePolicy, ServerAddress, connection_pool_factory_builder

    c = CacheClient.cache_client_from_servers([ServerAddress(HOST, PORT)], connection_pool_factory_builder())

    def cas():
        c.set("k", "1", ttl=100)
        token = c.get_cas("k")[1]
        if token is None:
            raise AssertionError("no token")
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
