package evanesce.interop;

import static evanesce.interop.Suite.same;
import static evanesce.interop.Values.stored;

import com.netflix.evcache.EVCache;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

/** Keys that are hashed, and values that are stored in chunks. */
final class Keys {
    private final Suite suite;
    private final EVCache plain;
    private final EVCache hashed;
    private final EVCache chunked;

    Keys(Suite suite, EVCache plain, EVCache hashed, EVCache chunked) {
        this.suite = suite;
        this.plain = plain;
        this.hashed = hashed;
        this.chunked = chunked;
    }

    void run() {
        suite.check("hashed keys", this::hashedKeys);
        suite.check("hashed keys in bulk", this::hashedBulk);
        suite.check("chunked values", this::chunkedValues);
        suite.check("chunked values in bulk", this::chunkedBulk);
        suite.check("longest key", () -> {
            final String key = "k".repeat(248);
            stored(plain, key, "value");
            same("value", "value", plain.get(key));
        });
    }

    private void hashedKeys() throws Exception {
        for (String key : new String[] {"k", "h".repeat(1000), "caf\u00e9"}) {
            stored(hashed, key, "value of " + key);
            same("value", "value of " + key, hashed.get(key));
        }
        same("miss", null, hashed.get("h".repeat(1001)));
    }

    private void hashedBulk() throws Exception {
        stored(hashed, "h-1", "one");
        stored(hashed, "h-2", "two");
        final Map<String, String> got = hashed.getBulk(List.of("h-1", "h-2", "h-3"));
        same("values", List.of("one", "two"), List.of(got.get("h-1"), got.get("h-2")));
        same("miss", null, got.get("h-3"));
    }

    private void chunkedValues() throws Exception {
        // One byte, one chunk, many.
        for (int length : new int[] {1, 1000, 1180, 50_000}) {
            final byte[] value = Values.noise(length);
            chunks("chunk-" + length, value);
            same("value", value, chunked.get("chunk-" + length));
        }
    }

    /** A latch here counts chunks, so each zone's own future is asked. */
    private void chunks(String key, Object value) throws Exception {
        for (Future<Boolean> zone : chunked.set(key, value, Values.TTL)) {
            same("stored " + key, true, zone.get(10, TimeUnit.SECONDS));
        }
    }

    private void chunkedBulk() throws Exception {
        final byte[] large = Values.noise(20_000);
        chunks("chunk-a", large);
        chunks("chunk-b", "small");
        final Map<String, Object> got = chunked.getBulk(List.of("chunk-a", "chunk-b", "chunk-c"));
        same("large", large, got.get("chunk-a"));
        same("small", "small", got.get("chunk-b"));
        same("miss", null, got.get("chunk-c"));
    }
}
