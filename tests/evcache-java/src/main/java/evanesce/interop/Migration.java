package evanesce.interop;

import static evanesce.interop.Suite.holds;
import static evanesce.interop.Suite.same;
import static evanesce.interop.Values.TTL;

import com.netflix.evcache.EVCache;
import com.netflix.evcache.EVCacheLatch;
import com.netflix.evcache.EVCacheLatch.Policy;
import com.netflix.evcache.pool.EVCacheClient;
import com.netflix.evcache.pool.EVCacheClientPool;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * A team tries us: two groups of stock memcached serve; a group of ours joins them, first written only, then read, then
 * written only again, then gone. An application reads and writes all the while and must not notice.
 */
final class Migration {
    /** The first group of the list. */
    private static final String OURS = "ours";
    private static final String[] STOCK = {"stock-1", "stock-2"};
    /** Writes at once: below the queue's length. */
    private static final int BATCH = 500;
    /** How long the client may take to let go of a group whose nodes are gone. */
    private static final int GONE_LIMIT_S = 60;
    private final Suite suite;
    private final Setup setup;
    private final EVCache cache;
    private final EVCacheClientPool pool;
    /** The node list with ours, and without. */
    private final String with;
    private final String without;
    /** How many keys each step writes. */
    private final int keys;
    private final List<String> steps = new ArrayList<>();
    private volatile boolean leaving;

    Migration(Suite suite, Setup setup, String nodes, int keys) {
        this.suite = suite;
        this.setup = setup;
        this.with = nodes;
        this.without = nodes.substring(nodes.indexOf(';') + 1);
        this.keys = keys;
        Setup.change(Setup.APP + "-NODES", without);
        this.cache = setup.cache(Setup.APP);
        this.pool = setup.pool(Setup.APP);
    }

    void run() {
        final Application application = new Application();
        suite.check("stock alone: two groups", () -> same("groups", 2, setup.clients(Setup.APP).size()));
        step("stock alone", 2, STOCK);
        application.start();
        suite.check("ours written only: joins", this::join);
        step("ours written only", 2, OURS, STOCK[0], STOCK[1]);
        suite.check("ours written only: not read", () -> same("reads", 0L, reads(this::readAll)));
        suite.check("ours read: switched", () -> switched(false));
        suite.check("ours read: it has what was written since it joined", () -> hits("ours-written-only"));
        suite.check("ours read: what it never saw is found in stock", () -> readOf("stock-alone"));
        suite.check("ours read: bulk finds some here, some in stock", this::bulk);
        step("ours read", 3, OURS, STOCK[0], STOCK[1]);
        suite.check("ours written only again: switched", () -> switched(true));
        step("ours written only again", 2, OURS, STOCK[0], STOCK[1]);
        suite.check("ours written only again: not read", () -> same("reads", 0L, reads(this::readAll)));
        suite.check("ours gone: let go of", this::leave);
        step("ours gone", 2, STOCK);
        suite.check("ours gone: bulk", this::bulk);
        suite.check("the application noticed nothing", application::finish);
    }

    /** What holds in every step: writes reach these zones at our ring's owners, deletes too, and all keys are read. */
    private void step(String step, int counted, String... zones) {
        final String prefix = step.replace(' ', '-');
        suite.check(step + ": writes", () -> write(prefix, counted));
        suite.check(step + ": latch ALL counts the groups that are read", () -> latch(counted));
        suite.check(step + ": all is in every group, at our ring's owners", () -> {
            suite.ask("read-owners " + String.join(",", zones) + " p:" + prefix + "- 0 " + keys);
        });
        suite.check(step + ": deletes reach every group", () -> delete(zones));
        steps.add(prefix);
        suite.check(step + ": every key ever written is read", this::readAll);
    }

    private void refresh() {
        pool.refreshPool(false, false);
    }

    private static void writeOnly(boolean only) {
        Setup.change(Setup.APP + "." + OURS + ".EVCacheClientPool.writeOnly", Boolean.toString(only));
    }

    private void join() throws Exception {
        writeOnly(true);
        Setup.change(Setup.APP + "-NODES", with);
        refresh();
        same("groups", 3, setup.clients(Setup.APP).size());
        holds("written only", setup.client(OURS).isInWriteOnly());
        connected();
    }

    private void connected() throws Exception {
        for (int wait = 0; setup.client(OURS).getConnectionObserver().getActiveServerCount() < 3; wait++) {
            holds("connected in time", wait < 1000);
            TimeUnit.MILLISECONDS.sleep(10);
        }
    }

    private void switched(boolean only) {
        writeOnly(only);
        refresh();
        same("written only", only, setup.client(OURS).isInWriteOnly());
    }

    /** This release lets go of a group only when its nodes are gone, whatever the list says. */
    private void leave() throws Exception {
        leaving = true;
        Setup.change(Setup.APP + "-NODES", without);
        suite.ask("kill " + OURS);
        for (int wait = 0; setup.clients(Setup.APP).size() > 2; wait++) {
            holds("in time", wait < GONE_LIMIT_S * 10);
            TimeUnit.MILLISECONDS.sleep(100);
            refresh();
        }
        leaving = false;
    }

    private void write(String prefix, int counted) throws Exception {
        for (int from = 0; from < keys; from += BATCH) {
            final List<Future<Boolean>[]> batch = new ArrayList<>();
            for (int number = from; number < Math.min(keys, from + BATCH); number++) {
                batch.add(cache.set(prefix + "-" + number, "java " + number, TTL));
            }
            for (Future<Boolean>[] groups : batch) {
                for (Future<Boolean> group : groups) same("stored", true, group.get(10, TimeUnit.SECONDS));
            }
        }
    }

    private void latch(int counted) throws Exception {
        final EVCacheLatch latch = cache.set("m-latch", "value", TTL, Policy.ALL);
        same("expects", counted, latch.getExpectedSuccessCount());
        holds("in time", latch.await(5, TimeUnit.SECONDS));
        same("reached", counted, latch.getSuccessCount());
    }

    private void delete(String... zones) throws Exception {
        for (Future<Boolean> group : cache.set("m-deleted", "value", TTL)) group.get(5, TimeUnit.SECONDS);
        for (Future<Boolean> group : cache.delete("m-deleted")) same("deleted", true, group.get(5, TimeUnit.SECONDS));
        for (String zone : zones) same("in " + zone, null, setup.client(zone).get("p:m-deleted", null, true, false));
        same("miss", null, cache.get("m-deleted"));
    }

    private void readAll() throws Exception {
        for (String step : steps) readOf(step);
    }

    private void readOf(String prefix) throws Exception {
        for (int number = 0; number < keys; number++) {
            same(prefix + "-" + number, "java " + number, cache.get(prefix + "-" + number));
        }
        same("miss", null, cache.get("m-absent"));
    }

    /** Keys of the first step and of the second, and one of none. */
    private void bulk() throws Exception {
        for (int from = 0; from < keys; from += 50) {
            final List<String> batch = new ArrayList<>(List.of("m-absent"));
            for (int number = from; number < Math.min(keys, from + 50); number++) {
                batch.add("stock-alone-" + number);
                batch.add("ours-written-only-" + number);
            }
            final Map<String, String> got = cache.getBulk(batch);
            same("miss", null, got.get("m-absent"));
            for (String key : batch.subList(1, batch.size())) {
                same(key, "java " + key.substring(key.lastIndexOf('-') + 1), got.get(key));
            }
        }
    }

    private interface Reads {
        void run() throws Exception;
    }

    /** How many reads came to our group meanwhile. */
    private long reads(Reads reads) throws Exception {
        final EVCacheClient ours = setup.client(OURS);
        final long before = Setup.counted(ours, "cmd_get");
        reads.run();
        return Setup.counted(ours, "cmd_get") - before;
    }

    private void hits(String prefix) throws Exception {
        final EVCacheClient ours = setup.client(OURS);
        final long before = Setup.counted(ours, "get_hits");
        readOf(prefix);
        final long hits = Setup.counted(ours, "get_hits") - before;
        holds(hits + " hits of our group for " + keys + " reads", hits >= keys);
    }

    /** Reads and writes all the while. */
    private final class Application extends Thread {
        private static final int KEYS = 50;
        /** The group leaves once, and one write at a time is under way: one may be counted wrongly, one refused. */
        private static final int CLUMSY_MAX = 2;
        private final AtomicBoolean over = new AtomicBoolean();
        private final AtomicInteger done = new AtomicInteger();
        private final List<String> wrong = new ArrayList<>();
        /** Writes that the client itself refused or counted wrongly. */
        private int clumsy;

        @Override
        public void run() {
            for (int round = 0; !over.get(); round++) {
                final String key = "a-" + round % KEYS;
                final String value = "round " + round;
                try {
                    final boolean leaving = Migration.this.leaving;
                    final EVCacheLatch latch = set(key, value);
                    final boolean inTime = latch.await(5, TimeUnit.SECONDS);
                    final boolean awaitsTheGone = leaving && !inTime && awaitsTheGone(latch);
                    if (awaitsTheGone) clumsy++;
                    expect(inTime || awaitsTheGone, key + " is set in time: " + latch);
                    expect(latch.getFailureCount() == 0, key + " is set without a failure");
                    expect(value.equals(cache.get(key)), key + " is read");
                    expect(value.equals(cache.<String>getBulk(key, "a-absent").get(key)), key + " is read in bulk");
                } catch (Exception error) {
                    expect(false, key + ": " + error);
                }
                done.incrementAndGet();
            }
        }

        /**
         * Again when the client says at once that it did not write. While this release lets go of a group, it has shut
         * that group's client down and still writes to it, and the refusal ends the write for all groups.
         */
        private EVCacheLatch set(String key, String value) throws Exception {
            EVCacheLatch latch = cache.set(key, value, TTL, Policy.ALL);
            if (latch.isFastFailure()) clumsy++;
            for (int attempt = 0; latch.isFastFailure() && attempt < 100; attempt++) {
                TimeUnit.MILLISECONDS.sleep(10);
                latch = cache.set(key, value, TTL, Policy.ALL);
            }
            return latch;
        }

        /**
         * The stock groups have answered. While this release lets go of a group, it still writes to it and already
         * counts it among those that are read.
         */
        private static boolean awaitsTheGone(EVCacheLatch latch) {
            return latch.getExpectedSuccessCount() == 3 && latch.getSuccessCount() == 2;
        }

        private void expect(boolean holds, String what) {
            if (!holds) wrong.add(what);
        }

        void finish() throws Exception {
            over.set(true);
            join();
            System.out.println("  the application did " + done + " rounds; its client mishandled " + clumsy + " writes");
            same("what went wrong in " + done + " rounds", List.of(), wrong.subList(0, Math.min(5, wrong.size())));
            holds("mishandled " + clumsy, clumsy <= CLUMSY_MAX);
            holds("it did something", done.get() > KEYS);
        }
    }
}
