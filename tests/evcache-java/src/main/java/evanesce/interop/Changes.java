package evanesce.interop;

import static evanesce.interop.Values.TTL;

import com.netflix.evcache.EVCache;
import com.netflix.evcache.EVCacheLatch;
import com.netflix.evcache.EVCacheLatch.Policy;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

/**
 * An application that changes keys as it is told, a line at a time: "set KEY VALUE", "delete KEY", "nodes LIST". Answers
 * "OK" once every group has the change, or "FAILED" and why.
 */
final class Changes {
    /** While the client takes over another node list, it writes for a moment to connections that it has closed. */
    private static final int ATTEMPTS = 50;
    private final Setup setup;
    private final EVCache cache;

    Changes(Setup setup) {
        this.setup = setup;
        this.cache = setup.cache(Setup.APP);
    }

    void run() throws IOException {
        final var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String answer = "OK";
            try {
                obey(line.split(" ", 3));
            } catch (Exception | AssertionError error) {
                answer = "FAILED " + error;
            }
            System.out.println(answer);
        }
    }

    private void obey(String[] words) throws Exception {
        switch (words[0]) {
            case "set" -> again(() -> set(words[1], words[2]));
            case "delete" -> again(() -> delete(words[1]));
            case "nodes" -> follow(words[1]);
            default -> throw new IllegalArgumentException(words[0]);
        }
    }

    /**
     * As an operator does it over JMX. By itself the client looks 30 s after its start and then once a minute, and keeps a
     * node that left the list while that answers, for 20 minutes: longer than two rings are in force.
     */
    private void follow(String nodes) {
        Setup.change(Setup.APP + "-NODES", nodes);
        setup.pool(Setup.APP).refreshPool(false, true);
    }

    private interface Change {
        /** Why not; null when it is made. */
        String make() throws Exception;
    }

    private static void again(Change change) throws Exception {
        String failure = change.make();
        for (int attempt = 1; failure != null && attempt < ATTEMPTS; attempt++) {
            TimeUnit.MILLISECONDS.sleep(20);
            failure = change.make();
        }
        if (failure != null) throw new AssertionError(failure);
    }

    private String set(String key, String value) throws Exception {
        final EVCacheLatch latch = cache.set(key, value, TTL, Policy.ALL);
        final boolean done = latch.await(5, TimeUnit.SECONDS);
        return done && latch.getFailureCount() == 0 && latch.getSuccessCount() > 0 ? null : key + " is not set: " + latch;
    }

    /** False says that nothing was there, which is as good. */
    private String delete(String key) throws Exception {
        final Future<Boolean>[] groups = cache.delete(key);
        for (Future<Boolean> group : groups) group.get(5, TimeUnit.SECONDS);
        return groups.length > 0 ? null : key + " is not deleted";
    }
}
