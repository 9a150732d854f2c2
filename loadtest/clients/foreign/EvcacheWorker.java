import com.netflix.config.ConfigurationManager;
import com.netflix.evcache.EVCache;
import com.netflix.evcache.connection.ConnectionFactoryBuilder;
import com.netflix.evcache.pool.EVCacheClientPoolManager;
import com.netflix.evcache.pool.SimpleNodeListProvider;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.util.Properties;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.ArrayList;
import java.util.List;

/**
 * Netflix's EVCache client as a worker of evanesce-clients: what its lines mean is in src/main.rs.
 *
 * <p>CALLERS threads share the client, which has one connection to the node for reads, in binary, and merges gets that wait
 * into one request. Processor time is the whole process's: collector and compiler included.
 *
 * <p>EvcacheWorker IP:PORT CALLERS VALUE_BYTES KEYS
 */
public final class EvcacheWorker {
    private static final String APP = "EVCACHE_CLIENTS";
    private static final int STRIDE = 7919;
    private static volatile boolean over;

    private EvcacheWorker() {}

    public static void main(String[] words) throws Exception {
        final PrintStream out = System.out;
        // Its libraries print to where our lines go.
        System.setOut(System.err);
        final int callers = Integer.parseInt(words[1]);
        final int valueBytes = Integer.parseInt(words[2]);
        final int keys = Integer.parseInt(words[3]);
        final EVCache cache = connect(words[0]);
        final ExecutorService threads = Executors.newFixedThreadPool(callers);
        final int[] numbers = new int[callers];
        for (int caller = 0; caller < callers; caller++) {
            numbers[caller] = (int) (caller * 104_729L % keys);
        }
        // Connects.
        check(cache.get(key(0)), key(0), valueBytes);
        out.println("ready");
        final BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            final long before = processorTime();
            over = false;
            final List<Future<Long>> calls = new ArrayList<>();
            for (int caller = 0; caller < callers; caller++) {
                final int me = caller;
                calls.add(threads.submit(() -> work(cache, numbers, me, keys, valueBytes)));
            }
            Thread.sleep(Long.parseLong(line.trim()));
            over = true;
            long read = 0;
            for (Future<Long> call : calls) {
                read += call.get();
            }
            out.println(read + " " + (processorTime() - before));
        }
        System.exit(0);
    }

    private static EVCache connect(String address) {
        System.setProperty("EC2_AVAILABILITY_ZONE", "a");
        // A node list has commas.
        System.setProperty("archaius.configuration.disableDelimiterParsing", "true");
        final Properties properties = new Properties();
        properties.setProperty(APP + "-NODES", "a=n1/" + address);
        properties.setProperty("default.read.timeout", "2000");
        properties.setProperty(APP + ".EVCacheClientPool.readTimeout", "2000");
        properties.setProperty(APP + ".operation.timeout", "5000");
        properties.setProperty(APP + ".max.read.queue.length", "10000");
        ConfigurationManager.loadProperties(properties);
        new EVCacheClientPoolManager(new ConnectionFactoryBuilder(), new SimpleNodeListProvider());
        return new EVCache.Builder().setAppName(APP).build();
    }

    private static long work(EVCache cache, int[] numbers, int me, int keys, int valueBytes) throws Exception {
        long read = 0;
        while (!over) {
            numbers[me] = (numbers[me] + STRIDE) % keys;
            final String key = key(numbers[me]);
            check(cache.get(key), key, valueBytes);
            read++;
        }
        return read;
    }

    /** Values have flags 0, which its transcoder takes for text. */
    private static void check(Object value, String key, int valueBytes) {
        if (!(value instanceof String) || ((String) value).length() != valueBytes || !((String) value).startsWith(key)) {
            System.err.println("EVCache: a value was not its key's: " + value);
            Runtime.getRuntime().halt(1);
        }
    }

    private static String key(int number) {
        final char[] key = "key-0000000000000000000000000000".toCharArray();
        for (int at = key.length - 1, rest = number; rest > 0; rest /= 10) {
            key[at--] = (char) ('0' + rest % 10);
        }
        return new String(key);
    }

    private static long processorTime() {
        return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean())
            .getProcessCpuTime();
    }
}
