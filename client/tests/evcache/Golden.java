import com.google.common.hash.HashFunction;
import com.google.common.hash.Hashing;
import com.netflix.evcache.EVCacheTranscoder;
import com.netflix.evcache.pool.EVCacheValue;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.Date;
import java.util.HexFormat;
import java.util.List;
import net.spy.memcached.CachedData;

/**
 * Prints golden.txt: what Netflix's transcoder (evcache-core 5.9.0) and Guava's hashes make of the values and keys below.
 * The class path is that of tests/evcache-java, which its run script builds:
 * {@code java -cp "$(cat target/evcache-java/classpath)" client/tests/evcache/Golden.java > client/tests/evcache/golden.txt}
 */
public class Golden {
    private static final int VALUE_BYTES_MAX = 20 << 20;
    private static final int COMPRESS_ABOVE = 120;

    public static void main(String[] args) {
        Object[] values = {
            "", "café 🦀\0", "x".repeat(121), true, false, 0, 258, -1, Integer.MIN_VALUE, 0L, 1L, -2L, Long.MAX_VALUE,
            new Date(1_700_000_000_000L), new Date(-1L), (byte) 0, (byte) -3, 1.0f, -0.0f, Float.MIN_VALUE, 0.0, -2.0,
            1e300, new byte[] {0, 1}, new byte[500]
        };
        EVCacheTranscoder transcoder = new EVCacheTranscoder(VALUE_BYTES_MAX, COMPRESS_ABOVE);
        for (Object value : values) {
            print("value", transcoder.encode(value));
        }
        EVCacheTranscoder envelopes = new EVCacheTranscoder(Integer.MAX_VALUE, Integer.MAX_VALUE);
        for (String key : List.of("foo", "a\0é€🦀")) {
            byte[] value = "bar".getBytes(StandardCharsets.UTF_8);
            print("envelope", envelopes.encode(new EVCacheValue(key, value, 2, 900, 1_700_000_000_000L)));
        }
        for (String key : List.of("foo", "ünï", "🦀".repeat(101))) {
            for (HashFunction hash : List.of(Hashing.sipHash24(), Hashing.murmur3_128(), Hashing.md5())) {
                byte[] digest = hash.newHasher().putString(key, StandardCharsets.UTF_8).hash().asBytes();
                System.out.println("key " + Base64.getEncoder().withoutPadding().encodeToString(digest));
            }
        }
    }

    private static void print(String kind, CachedData data) {
        String line = kind + " " + data.getFlags() + " " + HexFormat.of().formatHex(data.getData());
        System.out.println(line.strip());
    }
}
