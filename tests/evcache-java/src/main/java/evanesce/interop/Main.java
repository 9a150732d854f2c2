package evanesce.interop;

import com.netflix.evcache.EVCache;
import com.netflix.evcache.connection.AsciiConnectionBuilder;
import com.netflix.evcache.connection.ConnectionFactoryBuilder;
import com.netflix.evcache.pool.EVCacheClientPoolManager;
import com.netflix.evcache.pool.SimpleNodeListProvider;
import java.util.Map;

/**
 * Usage: Main MODE KEYS NODES, with MODE ascii or binary, KEYS how many keys the placement is compared for, and NODES
 * a list in EVCache's syntax whose first zone is the local one.
 */
public final class Main {
    static final String APP = "EVCACHE_TEST";
    /** The same nodes again, for the checks whose properties would be in the way of the others. */
    static final String HASHED = "EVCACHE_HASHED";
    static final String CHUNKED = "EVCACHE_CHUNKED";
    static final String DUMPED = "EVCACHE_DUMPED";

    /** What the ASCII operations of this release's library do not have, by check. */
    private static final Map<String, String> NOT_IN_ASCII = Map.of(
        "incr and decr of an absent key",
        "the library's ASCII incr sends no default",
        "over-limit value keeps the connection",
        "the library closes its connection on any SERVER_ERROR line");
    private static final Map<String, String> NOT_IN_BINARY = Map.of();
    /** What no mode of this release has. */
    static final String[] NOT_IN_RELEASE = {"meta get", "meta debug"};

    public static void main(String[] arguments) throws Exception {
        final String mode = arguments[0];
        final int keys = Integer.parseInt(arguments[1]);
        final String nodes = arguments[2];
        properties(nodes);
        final boolean ascii = mode.equals("ascii");
        final EVCacheClientPoolManager manager = new EVCacheClientPoolManager(
            ascii ? new AsciiConnectionBuilder() : new ConnectionFactoryBuilder(), new SimpleNodeListProvider());
        final Suite suite = new Suite(mode, ascii ? NOT_IN_ASCII : NOT_IN_BINARY);
        final EVCache cache = cache(APP);
        new Values(suite, cache).run();
        new Commands(suite, cache, cache(DUMPED), manager).run();
        new Keys(suite, cache, cache(HASHED), cache(CHUNKED)).run();
        new Zones(suite, cache, manager.getEVCacheClientPool(APP), keys).run();
        for (String name : NOT_IN_RELEASE) System.out.println(mode + " " + name + ": not offered: not in this release");
        final boolean good = suite.finish();
        System.out.flush();
        // Its threads are no daemons, and some nodes are gone on purpose.
        Runtime.getRuntime().halt(good ? 0 : 1);
    }

    private static EVCache cache(String app) {
        return new EVCache.Builder().setAppName(app).setCachePrefix("p").enableRetry().build();
    }

    private static void properties(String nodes) {
        for (String app : new String[] {APP, HASHED, CHUNKED, DUMPED}) {
            System.setProperty(app + "-NODES", nodes);
            System.setProperty(app + ".EVCacheClientPool.readTimeout", "1000");
            System.setProperty(app + ".EVCacheClientPool.bulkReadTimeout", "2000");
            System.setProperty(app + ".operation.timeout", "10000");
            System.setProperty(app + ".max.read.queue.length", "1000");
        }
        System.setProperty(DUMPED + "-NODES", nodes.replaceAll("[^,=;/]+/", ""));
        System.setProperty(HASHED + ".hash.key", "true");
        System.setProperty(CHUNKED + ".chunk.data", "true");
        System.setProperty("EC2_AVAILABILITY_ZONE", nodes.substring(0, nodes.indexOf('=')));
        System.setProperty("evcache.thread.daemon", "true");
        System.setProperty("default.read.timeout", "1000");
    }
}
