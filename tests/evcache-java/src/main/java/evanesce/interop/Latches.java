package evanesce.interop;

import static evanesce.interop.Suite.holds;
import static evanesce.interop.Suite.same;
import static evanesce.interop.Values.TTL;
import static evanesce.interop.Values.stored;

import com.netflix.evcache.EVCache;
import com.netflix.evcache.EVCacheLatch;
import com.netflix.evcache.EVCacheLatch.Policy;
import com.netflix.evcache.pool.EVCacheClient;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import net.spy.memcached.MemcachedNode;

/** What each latch policy waits for over three zones: with all up, with one down, with it back. */
final class Latches {
    /** How long a latch that cannot be reached is awaited. */
    private static final int UNREACHED_MS = 1500;
    /** A client comes again after 2, 4, 8 seconds. */
    private static final int BACK_LIMIT_S = 40;
    private final Suite suite;
    private final Setup setup;
    private final EVCache cache;
    /** The last zone: not the local one. */
    private final String lost;

    Latches(Suite suite, Setup setup) {
        this.suite = suite;
        this.setup = setup;
        this.cache = setup.cache(Setup.APP);
        this.lost = setup.clients(Setup.APP).stream().map(EVCacheClient::getZone).max(String::compareTo).orElseThrow();
    }

    /** What a latch waits for over three groups. Here QUORUM is one: it counts the futures before there are any. */
    private static Map<Policy, Integer> awaited() {
        final Map<Policy, Integer> awaited = new EnumMap<>(Policy.class);
        awaited.put(Policy.NONE, 0);
        awaited.put(Policy.ONE, 1);
        awaited.put(Policy.QUORUM, 1);
        awaited.put(Policy.ALL_MINUS_1, 2);
        awaited.put(Policy.ALL, 3);
        return awaited;
    }

    /** One write under a policy. */
    private interface Write {
        EVCacheLatch start(String key, Policy policy) throws Exception;
    }

    private Map<String, Write> writes() {
        return Map.of(
            "set", (key, policy) -> cache.set(key, "new", TTL, policy),
            "replace", (key, policy) -> cache.replace(key, "new", null, TTL, policy),
            "touch", (key, policy) -> cache.touch(key, TTL, policy),
            "delete", (key, policy) -> cache.delete(key, policy));
    }

    void run() {
        awaited().forEach((policy, count) -> {
            suite.check("three zones up: latch " + policy + " awaits " + count, () -> up(policy, count));
        });
        suite.check("three zones up: latch of add and appendOrAdd", this::upAdd);
        suite.check("a zone is lost and noticed", this::lose);
        awaited().forEach((policy, count) -> {
            final String outcome = count < 3 ? " is reached" : " is not reached";
            suite.check("one of three zones down: latch " + policy + outcome, () -> down(policy, count));
        });
        suite.check("one of three zones down: every key is read", this::read);
        suite.check("the zone is back: latch ALL is reached", this::back);
        suite.check("the zone is back: it is written and read", this::used);
    }

    private void up(Policy policy, int count) throws Exception {
        for (Map.Entry<String, Write> write : writes().entrySet()) {
            final String key = "l-" + write.getKey() + "-" + policy;
            stored(cache, key, "value");
            final EVCacheLatch latch = write.getValue().start(key, policy);
            same(key + " expects", count, latch.getExpectedSuccessCount());
            holds(key + " is over in time", latch.await(5, TimeUnit.SECONDS));
            holds(key + " reached " + latch.getSuccessCount(), latch.getSuccessCount() >= count);
            same(key + " failures", 0, latch.getFailureCount());
            // Whatever is awaited, the write goes to all.
            for (Future<Boolean> zone : latch.getAllFutures()) same(key, true, zone.get(5, TimeUnit.SECONDS));
            same(key + " zones", 3, latch.getSuccessCount());
        }
    }

    private void upAdd() throws Exception {
        final EVCacheLatch added = cache.add("l-add", "a", null, TTL, Policy.ALL);
        holds("add is over in time", added.await(5, TimeUnit.SECONDS));
        same("zones that added", 3, added.getSuccessCount());
        holds("appendOrAdd in time", cache.appendOrAdd("l-add", "b", null, TTL, Policy.ALL).await(5, TimeUnit.SECONDS));
        same("value", "ab", cache.get("l-add"));
        for (EVCacheClient client : setup.clients(Setup.APP)) {
            same("value in " + client.getZone(), "ab", client.get("p:l-add", null, true, false));
        }
    }

    private void lose() throws Exception {
        for (int number = 0; number < 100; number++) stored(cache, "l-" + number, "value " + number);
        for (Policy policy : Policy.values()) {
            for (String write : writes().keySet()) stored(cache, "d-" + write + "-" + policy, "value");
        }
        suite.ask("kill " + lost);
        final var nodes = setup.client(lost).getNodeLocator().getAll();
        // An idle connection is not looked at: this client notices when it writes.
        for (int wait = 0; nodes.stream().anyMatch(MemcachedNode::isActive); wait++) {
            holds("noticed in time", wait < 1000);
            cache.set("l-probe-" + wait, "value", TTL, Policy.ONE);
            TimeUnit.MILLISECONDS.sleep(10);
        }
    }

    /** Writes for a zone that is gone wait for its return; a latch counts those that were answered. */
    private void down(Policy policy, int count) throws Exception {
        final List<EVCacheLatch> latches = new ArrayList<>();
        for (Map.Entry<String, Write> write : writes().entrySet()) {
            latches.add(write.getValue().start("d-" + write.getKey() + "-" + policy, policy));
        }
        for (EVCacheLatch latch : latches) {
            same("expects", count, latch.getExpectedSuccessCount());
            same("over in time", count < 3, latch.await(count < 3 ? 5000 : UNREACHED_MS, TimeUnit.MILLISECONDS));
        }
        TimeUnit.MILLISECONDS.sleep(100);
        for (EVCacheLatch latch : latches) {
            same("zones that did it", 2, latch.getSuccessCount());
            same("zones that refused it", 0, latch.getFailureCount());
            same("zones not heard of", 1, latch.getPendingFutureCount());
        }
    }

    private void read() throws Exception {
        final List<String> keys = new ArrayList<>();
        for (int number = 0; number < 100; number++) {
            keys.add("l-" + number);
            same("l-" + number, "value " + number, cache.get("l-" + number));
        }
        final Map<String, Object> got = cache.getBulk(keys);
        for (int number = 0; number < 100; number++) same("l-" + number, "value " + number, got.get("l-" + number));
    }

    private void back() throws Exception {
        suite.ask("start " + lost);
        for (int wait = 0; wait < BACK_LIMIT_S; wait++) {
            final EVCacheLatch latch = cache.set("l-back", "back", TTL, Policy.ALL);
            if (latch.await(1, TimeUnit.SECONDS) && latch.getSuccessCount() == 3) return;
        }
        throw new AssertionError("not in time");
    }

    private void used() throws Exception {
        for (int number = 0; number < 100; number++) stored(cache, "l-" + number, "again " + number);
        for (int number = 0; number < 100; number++) {
            same("l-" + number, "again " + number, setup.client(lost).get("p:l-" + number, null, true, false));
        }
    }
}
