package evanesce.interop;

import static evanesce.interop.Suite.holds;
import static evanesce.interop.Suite.same;

import com.netflix.evcache.EVCache;
import com.netflix.evcache.EVCacheLatch;
import com.netflix.evcache.EVCacheLatch.Policy;
import java.io.Serializable;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.TimeUnit;

/** Every type and size of value there and back. */
final class Values {
    static final int TTL = 900;
    private final Suite suite;
    private final EVCache cache;

    /** A class of the application's own. */
    record Thing(String name, List<Integer> numbers) implements Serializable {}

    Values(Suite suite, EVCache cache) {
        this.suite = suite;
        this.cache = cache;
    }

    void run() {
        samples().forEach((name, value) -> suite.check("value: " + name, () -> thereAndBack("v-" + name, value)));
        suite.check("value of 1 MB", () -> thereAndBack("v-large", noise(1_000_000)));
        suite.check("over-limit value is refused", this::overLimit);
        suite.check(Setup.KEEPS, this::overLimitKeepsConnection);
    }

    private static Map<String, Object> samples() {
        final Map<String, Object> samples = new LinkedHashMap<>();
        samples.put("string", "a string");
        samples.put("empty-string", "");
        samples.put("unicode", "caf\u00e9 \u2603");
        samples.put("boolean", Boolean.TRUE);
        samples.put("int-0", 0);
        samples.put("int", -1234567);
        samples.put("long", Long.MIN_VALUE);
        samples.put("long-0", 0L);
        samples.put("short", (short) -12345);
        samples.put("char", '\u2603');
        samples.put("date", new Date(1_700_000_000_123L));
        samples.put("byte", (byte) -7);
        samples.put("float", 1.5f);
        samples.put("double", Math.PI);
        samples.put("bytes", noise(333));
        samples.put("no-bytes", new byte[0]);
        samples.put("line-ends", "a\r\nEND\r\nb\r\n");
        samples.put("map", Map.of("k", List.of(1L, 2L)));
        samples.put("object", new Thing("t", List.of(1, 2, 3)));
        samples.put("compressed", "long text ".repeat(5000));
        return samples;
    }

    static byte[] noise(int length) {
        final byte[] bytes = new byte[length];
        new Random(length).nextBytes(bytes);
        return bytes;
    }

    private void thereAndBack(String key, Object value) throws Exception {
        stored(cache, key, value);
        same("value", value, cache.get(key));
    }

    /** Stores in every zone. */
    static void stored(EVCache cache, String key, Object value) throws Exception {
        final EVCacheLatch latch = cache.set(key, value, TTL, Policy.ALL);
        holds("latch of " + key + " is over in time", latch.await(10, TimeUnit.SECONDS));
        same("zones that stored " + key, latch.getExpectedSuccessCount(), latch.getSuccessCount());
    }

    private void overLimit() throws Exception {
        stored(cache, "v-over", "small");
        final EVCacheLatch latch = cache.set("v-over", noise(1_200_000), TTL, Policy.ALL);
        latch.await(10, TimeUnit.SECONDS);
        same("zones that stored it", 0, latch.getSuccessCount());
        // A client that closed its connection takes two seconds before it comes again.
        for (int attempt = 0; attempt < 20; attempt++) {
            final var stored = cache.set("v-after", "after", TTL, Policy.ALL);
            final boolean two = stored.await(1, TimeUnit.SECONDS) && stored.getSuccessCount() == 2;
            if (two && "after".equals(cache.get("v-after"))) return;
            TimeUnit.MILLISECONDS.sleep(500);
        }
        throw new AssertionError("nothing was stored after it");
    }

    private void overLimitKeepsConnection() throws Exception {
        suite.ask("connections-before");
        final EVCacheLatch latch = cache.set("v-over", noise(1_200_000), TTL, Policy.ALL);
        latch.await(10, TimeUnit.SECONDS);
        same("zones that stored it", 0, latch.getSuccessCount());
        stored(cache, "v-over", "after");
        same("value after it", "after", cache.get("v-over"));
        suite.ask("connections-same");
    }
}
