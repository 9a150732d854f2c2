package evanesce.interop;

import static evanesce.interop.Suite.holds;
import static evanesce.interop.Suite.same;
import static evanesce.interop.Values.TTL;
import static evanesce.interop.Values.stored;

import com.netflix.evcache.EVCache;
import com.netflix.evcache.EVCacheLatch.Policy;
import com.netflix.evcache.pool.EVCacheClient;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import rx.schedulers.Schedulers;

/** Every call of the API. */
final class Commands {
    private static final String[] NOT_IN_RELEASE = {"meta get", "meta debug"};
    private final Suite suite;
    private final Setup setup;
    private final EVCache cache;

    Commands(Suite suite, Setup setup, EVCache cache) {
        this.suite = suite;
        this.setup = setup;
        this.cache = cache;
    }

    void run() {
        suite.check("version", this::version);
        suite.check("miss", () -> same("value", null, cache.get("c-absent")));
        suite.check("asynchronous get", this::asynchronous);
        suite.check("get as a Single", this::single);
        suite.check("consistent get", this::consistent);
        suite.check("add", this::add);
        suite.check("replace", this::replace);
        suite.check("append", this::append);
        suite.check("appendOrAdd", this::appendOrAdd);
        suite.check("incr and decr", this::count);
        suite.check("incr and decr of an absent key", this::countAbsent);
        suite.check("delete", this::delete);
        suite.check("bulk with misses", this::bulk);
        suite.check("bulk with partial fallback", this::bulkFallback);
        suite.check("get falls back to the other zone", this::fallback);
        suite.check("delete falls back to nothing", this::deletedEverywhere);
        suite.check("stats", this::stats);
        suite.check("key dump", this::keyDump);
        for (String name : NOT_IN_RELEASE) suite.notOffered(name, "evcache-core 5.9.0 has no such call");
        suite.check("meta get and debug in a later release's bytes", this::meta);
    }

    private List<EVCacheClient> clients() {
        return setup.clients(Setup.APP);
    }

    private EVCacheClient local() {
        return setup.client(setup.pool(Setup.APP).getZone());
    }

    private static boolean all(Future<Boolean>[] futures) throws Exception {
        boolean all = futures.length == 2;
        for (Future<Boolean> future : futures) all &= future.get(10, TimeUnit.SECONDS);
        return all;
    }

    private void version() {
        for (EVCacheClient client : clients()) {
            same("nodes that answered", 3, client.getVersions().size());
            client.getVersions().values().forEach(version -> holds(version, version.matches("\\d+\\.\\d+\\.\\d+")));
        }
    }

    private void asynchronous() throws Exception {
        stored(cache, "c-async", "value");
        same("value", "value", cache.getAsynchronous("c-async").get(5, TimeUnit.SECONDS));
        same("miss", null, cache.getAsynchronous("c-absent").get(5, TimeUnit.SECONDS));
    }

    /** A Single of this release takes its whole read timeout, whichever the server. */
    private void single() throws Exception {
        stored(cache, "c-single", "value");
        final var now = Schedulers.immediate();
        same("value", "value", cache.get("c-single", now).toBlocking().value());
        same("touched value", "value", cache.getAndTouch("c-single", TTL, now).toBlocking().value());
        same("miss", null, cache.get("c-absent", now).toBlocking().value());
    }

    private void meta() throws Exception {
        stored(cache, "c-meta", "value");
        suite.ask("meta p:c-meta value");
    }

    private void consistent() throws Exception {
        stored(cache, "c-agreed", "value");
        same("value", "value", cache.get("c-agreed", null, Policy.ALL));
    }

    private void add() throws Exception {
        cache.delete("c-add", Policy.ALL).await(5, TimeUnit.SECONDS);
        final var absent = cache.add("c-add", "first", null, TTL, Policy.ALL);
        holds("in time", absent.await(5, TimeUnit.SECONDS));
        same("zones that added", 2, absent.getSuccessCount());
        final var present = cache.add("c-add", "second", null, TTL, Policy.ALL);
        present.await(5, TimeUnit.SECONDS);
        same("zones that added again", 0, present.getSuccessCount());
        same("value", "first", cache.get("c-add"));
    }

    private void replace() throws Exception {
        stored(cache, "c-replace", "old");
        final var present = cache.replace("c-replace", "new", null, TTL, Policy.ALL);
        present.await(5, TimeUnit.SECONDS);
        same("zones that replaced", 2, present.getSuccessCount());
        same("value", "new", cache.get("c-replace"));
        final var absent = cache.replace("c-absent", "new", null, TTL, Policy.ALL);
        absent.await(5, TimeUnit.SECONDS);
        same("zones that replaced nothing", 0, absent.getSuccessCount());
        same("miss", null, cache.get("c-absent"));
    }

    private void append() throws Exception {
        stored(cache, "c-append", "a");
        holds("appended", all(cache.append("c-append", "b", TTL)));
        same("value", "ab", cache.get("c-append"));
        holds("absent is not appended to", !all(cache.append("c-absent", "b", TTL)));
    }

    private void appendOrAdd() throws Exception {
        cache.delete("c-either", Policy.ALL).await(5, TimeUnit.SECONDS);
        for (String value : new String[] {"a", "ab"}) {
            final String piece = value.substring(value.length() - 1);
            holds("in time", cache.appendOrAdd("c-either", piece, null, TTL, Policy.ALL).await(5, TimeUnit.SECONDS));
            same("value", value, cache.get("c-either"));
        }
    }

    /** What this release returns is the default given, whatever the server said: the item tells. */
    private void count() throws Exception {
        stored(cache, "c-count", "10");
        cache.incr("c-count", 5, 0, TTL);
        same("value", "15", cache.get("c-count"));
        cache.decr("c-count", 6, 0, TTL);
        same("value", "9", ((String) cache.get("c-count")).trim());
    }

    private void countAbsent() throws Exception {
        for (String key : new String[] {"c-up", "c-down"}) cache.delete(key, Policy.ALL).await(5, TimeUnit.SECONDS);
        cache.incr("c-up", 1, 41, TTL);
        cache.incr("c-up", 1, 41, TTL);
        same("value", "42", cache.get("c-up"));
        cache.decr("c-down", 3, 2, TTL);
        cache.decr("c-down", 3, 2, TTL);
        same("value", "0", cache.get("c-down"));
    }

    private void delete() throws Exception {
        stored(cache, "c-delete", "value");
        holds("deleted", all(cache.delete("c-delete")));
        same("miss", null, cache.get("c-delete"));
        // This client takes an absent key as deleted.
        holds("absent is answered", all(cache.delete("c-delete")));
    }

    private List<String> many(String prefix) throws Exception {
        final List<String> keys = new ArrayList<>();
        for (int number = 0; number < 100; number++) {
            keys.add(prefix + number);
            if (number % 10 != 0) stored(cache, prefix + number, "value " + number);
        }
        return keys;
    }

    private void found(String prefix, Map<String, String> got) {
        for (int number = 0; number < 100; number++) {
            final String wanted = number % 10 == 0 ? null : "value " + number;
            same(prefix + number, wanted, got.get(prefix + number));
        }
    }

    private void bulk() throws Exception {
        found("c-bulk-", cache.getBulk(many("c-bulk-")));
    }

    private void bulkFallback() throws Exception {
        final List<String> keys = many("c-partial-");
        for (int number = 0; number < 100; number += 3) {
            local().delete("p:c-partial-" + number).get(5, TimeUnit.SECONDS);
        }
        found("c-partial-", cache.getBulk(keys));
    }

    private void fallback() throws Exception {
        stored(cache, "c-fallback", "value");
        holds("deleted in the local zone", local().delete("p:c-fallback").get(5, TimeUnit.SECONDS));
        same("value", "value", cache.get("c-fallback"));
    }

    private void deletedEverywhere() throws Exception {
        stored(cache, "c-gone", "value");
        final var latch = cache.delete("c-gone", Policy.ALL);
        holds("in time", latch.await(5, TimeUnit.SECONDS));
        same("zones that deleted", 2, latch.getSuccessCount());
        for (EVCacheClient client : clients()) same("miss", null, client.get("p:c-gone", null, true, false));
        same("miss", null, cache.get("c-gone"));
    }

    private void stats() {
        for (EVCacheClient client : clients()) {
            same("nodes that answered", 3, client.getStats("").size());
            client.getStats("").values().forEach(stats -> holds("curr_items", stats.containsKey("curr_items")));
        }
    }

    private void keyDump() throws Exception {
        final EVCache dumped = setup.cache(Setup.DUMPED);
        for (int number = 0; number < 100; number++) stored(dumped, "c-dump" + number, "value");
        for (EVCacheClient client : setup.clients(Setup.DUMPED)) {
            final HashSet<String> keys = new HashSet<>(client.getAllKeys(100_000));
            for (int number = 0; number < 100; number++) holds("dumped " + number, keys.contains("p:c-dump" + number));
        }
    }
}
