package evanesce.interop;

import com.netflix.config.ConfigurationManager;
import com.netflix.evcache.EVCache;
import com.netflix.evcache.connection.AsciiConnectionBuilder;
import com.netflix.evcache.connection.ConnectionFactoryBuilder;
import com.netflix.evcache.pool.EVCacheClient;
import com.netflix.evcache.pool.EVCacheClientPool;
import com.netflix.evcache.pool.EVCacheClientPoolManager;
import com.netflix.evcache.pool.SimpleNodeListProvider;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;

/** The client under test, as an application would set it up. */
final class Setup {
    static final String APP = "EVCACHE_TEST";
    /** The same nodes again, for the checks whose properties would be in the way of the others. */
    static final String HASHED = "EVCACHE_HASHED";
    static final String CHUNKED = "EVCACHE_CHUNKED";
    static final String DUMPED = "EVCACHE_DUMPED";

    static final String KEEPS = "over-limit value keeps the connection";

    private final EVCacheClientPoolManager manager;

    /** Reads come from the first zone of {@code nodes}. */
    Setup(boolean ascii, String nodes) {
        System.setProperty("EC2_AVAILABILITY_ZONE", nodes.substring(0, nodes.indexOf('=')));
        // A node list has commas.
        System.setProperty("archaius.configuration.disableDelimiterParsing", "true");
        System.setProperty("evcache.thread.daemon", "true");
        change("default.read.timeout", "1000");
        for (String app : new String[] {APP, HASHED, CHUNKED, DUMPED}) {
            change(app + "-NODES", nodes);
            change(app + ".EVCacheClientPool.readTimeout", "1000");
            change(app + ".EVCacheClientPool.bulkReadTimeout", "2000");
            change(app + ".operation.timeout", "5000");
            change(app + ".max.read.queue.length", "1000");
        }
        // Its dump connects by host name, so these nodes are named by address.
        change(DUMPED + "-NODES", nodes.replaceAll("[^,=;/]+/", ""));
        change(HASHED + ".hash.key", "true");
        change(CHUNKED + ".chunk.data", "true");
        manager = new EVCacheClientPoolManager(
            ascii ? new AsciiConnectionBuilder() : new ConnectionFactoryBuilder(), new SimpleNodeListProvider());
    }

    EVCache cache(String app) {
        return new EVCache.Builder().setAppName(app).setCachePrefix("p").enableRetry().build();
    }

    EVCacheClientPool pool(String app) {
        return manager.getEVCacheClientPool(app);
    }

    /** One client for each server group. */
    List<EVCacheClient> clients(String app) {
        final List<EVCacheClient> clients = new ArrayList<>();
        pool(app).getAllInstancesByZone().values().forEach(clients::addAll);
        return clients;
    }

    EVCacheClient client(String zone) {
        return clients(APP).stream().filter(client -> client.getZone().equals(zone)).findFirst().orElseThrow();
    }

    /** Sets a property of the client, or changes it while the client runs, as an operator would. */
    static void change(String property, String value) {
        final Properties properties = new Properties();
        properties.setProperty(property, value);
        ConfigurationManager.loadProperties(properties);
    }

    /** The sum of a counter over the nodes of one group. */
    static long counted(EVCacheClient client, String counter) {
        return client.getStats("").values().stream().map(stats -> stats.get(counter)).mapToLong(Long::parseLong).sum();
    }

    /** Why checks cannot be made, by name. */
    static Map<String, String> notOffered(boolean ascii, String scene) {
        final Map<String, String> reasons = new HashMap<>();
        if (ascii) {
            reasons.put("incr and decr of an absent key", "the library's ASCII incr sends no default");
            reasons.put("TTL of incr's default runs out", "the library's ASCII incr sends no default");
            reasons.put(KEEPS, "the library closes its connection on any SERVER_ERROR line");
        } else if (scene.equals("control")) {
            reasons.put(KEEPS, "stock memcached answers status 3, at which the library closes its connection");
        }
        return reasons;
    }
}
