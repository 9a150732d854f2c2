package evanesce.interop;

import static evanesce.interop.Suite.holds;
import static evanesce.interop.Suite.same;
import static evanesce.interop.Values.TTL;
import static evanesce.interop.Values.stored;

import com.netflix.evcache.EVCache;
import com.netflix.evcache.EVCacheLatch;
import com.netflix.evcache.EVCacheLatch.Policy;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** What expires, and what lives on. The checks wait for the clock, so they do it together. */
final class Expiry {
    /** A server's clock ticks once a second: a TTL of N may end up to a second late, and N = 1 at once. */
    private static final int TICK_MS = 1100;
    private final Suite suite;
    private final EVCache cache;

    Expiry(Suite suite, EVCache cache) {
        this.suite = suite;
        this.cache = cache;
    }

    void run() {
        final Map<String, Suite.Check> checks = new LinkedHashMap<>();
        checks.put("TTL of 1 s runs out", () -> runsOut("e-1", 1));
        checks.put("TTL of 2 s runs out", () -> runsOut("e-2", 2));
        checks.put("absolute TTL runs out", this::absolute);
        checks.put("TTL of add runs out", this::add);
        checks.put("TTL of replace runs out", this::replace);
        checks.put("TTL of append runs out", this::append);
        checks.put("TTL of incr's default runs out", this::incr);
        checks.put("TTL of 0 stays", this::forever);
        checks.put("touch lengthens and shortens", this::touch);
        checks.put("getAndTouch lengthens", this::getAndTouch);
        checks.put("getBulkAndTouch lengthens", this::getBulkAndTouch);
        checks.put("sliding TTL lives while it is read", this::sliding);
        suite.together(checks);
    }

    private static void reached(EVCacheLatch latch, int zones) throws Exception {
        holds("over in time", latch.await(5, TimeUnit.SECONDS));
        same("zones", zones, latch.getSuccessCount());
    }

    private void set(String key, int ttl) throws Exception {
        reached(cache.set(key, "value", ttl, Policy.ALL), 2);
    }

    private static void pass(int seconds) throws InterruptedException {
        TimeUnit.MILLISECONDS.sleep(seconds * 1000L + TICK_MS);
    }

    private void gone(String key, int seconds) throws Exception {
        pass(seconds);
        same(key + " after its TTL", null, cache.get(key));
    }

    private void there(String key, int seconds) throws Exception {
        pass(seconds);
        same(key + " after its first TTL", "value", cache.get(key));
    }

    /** It is there at first, unless this machine took so long that it need not be. */
    private void runsOut(String key, int ttl) throws Exception {
        final long before = System.nanoTime();
        set(key, ttl);
        final String value = cache.get(key);
        if (System.nanoTime() - before < (ttl - 1) * 1_000_000_000L) same("value", "value", value);
        gone(key, ttl);
    }

    private void absolute() throws Exception {
        final int now = (int) (System.currentTimeMillis() / 1000);
        set("e-date", now + 4);
        same("value", "value", cache.get("e-date"));
        gone("e-date", 4);
    }

    private void add() throws Exception {
        reached(cache.add("e-add", "value", null, 3, Policy.ALL), 2);
        same("value", "value", cache.get("e-add"));
        gone("e-add", 3);
        // What has expired is not there: it can be added again.
        reached(cache.add("e-add", "again", null, TTL, Policy.ALL), 2);
        same("value", "again", cache.get("e-add"));
    }

    private void replace() throws Exception {
        set("e-replace", TTL);
        reached(cache.replace("e-replace", "value", null, 3, Policy.ALL), 2);
        same("value", "value", cache.get("e-replace"));
        gone("e-replace", 3);
        reached(cache.replace("e-replace", "value", null, TTL, Policy.ALL), 0);
    }

    /** This client's append takes a TTL, sent as a touch behind it. */
    private void append() throws Exception {
        set("e-append", TTL);
        for (var zone : cache.append("e-append", "s", 3)) same("appended", true, zone.get(5, TimeUnit.SECONDS));
        same("value", "values", cache.get("e-append"));
        gone("e-append", 3);
    }

    private void incr() throws Exception {
        cache.incr("e-incr", 1, 5, 3);
        same("value", "5", cache.get("e-incr"));
        gone("e-incr", 3);
    }

    private void forever() throws Exception {
        set("e-0", 0);
        there("e-0", 3);
    }

    private void touch() throws Exception {
        set("e-touch", 3);
        reached(cache.touch("e-touch", TTL, Policy.ALL), 2);
        there("e-touch", 3);
        reached(cache.touch("e-touch", 1, Policy.ALL), 2);
        gone("e-touch", 1);
        reached(cache.touch("e-touch", TTL, Policy.ALL), 0);
    }

    private void getAndTouch() throws Exception {
        set("e-gat", 3);
        same("value", "value", cache.getAndTouch("e-gat", TTL));
        there("e-gat", 3);
        same("miss", null, cache.getAndTouch("c-absent", TTL));
    }

    private void getBulkAndTouch() throws Exception {
        set("e-bulk-1", 3);
        set("e-bulk-2", 3);
        set("e-bulk-3", 3);
        final Map<String, String> got = cache.getBulkAndTouch(List.of("e-bulk-1", "e-bulk-2", "c-absent"), null, TTL);
        same("values", List.of("value", "value"), List.of(got.get("e-bulk-1"), got.get("e-bulk-2")));
        same("miss", null, got.get("c-absent"));
        there("e-bulk-1", 3);
        same("value", "value", cache.get("e-bulk-2"));
        same("what was not touched", null, cache.get("e-bulk-3"));
    }

    private void sliding() throws Exception {
        stored(cache, "e-slide", "value");
        for (int second = 0; second < 6; second++) {
            same("value in second " + second, "value", cache.getAndTouch("e-slide", 3));
            TimeUnit.SECONDS.sleep(1);
        }
        gone("e-slide", 3);
    }
}
