package evanesce.interop;

import static evanesce.interop.Suite.holds;
import static evanesce.interop.Suite.same;
import static evanesce.interop.Values.TTL;
import static evanesce.interop.Values.stored;

import com.netflix.evcache.EVCache;
import com.netflix.evcache.EVCacheLatch;
import com.netflix.evcache.EVCacheLatch.Policy;
import com.netflix.evcache.pool.EVCacheClient;
import com.netflix.evcache.pool.EVCacheClientPool;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;

/** Where keys go, as against our own ring, and what a reader sees while a zone dies. */
final class Zones {
    /** Reads that must succeed after the zone is gone. */
    private static final int READS_AFTER = 300;
    /** Writes at once: below the queue's length. */
    private static final int BATCH = 500;
    private final Suite suite;
    private final EVCache cache;
    private final EVCacheClientPool pool;
    private final List<EVCacheClient> clients;
    private final int keys;

    Zones(Suite suite, Setup setup, EVCache cache, int keys) {
        this.suite = suite;
        this.cache = cache;
        this.pool = setup.pool(Setup.APP);
        this.clients = setup.clients(Setup.APP);
        this.keys = keys;
    }

    void run() {
        suite.check("placement of " + keys + " keys is ours", this::owners);
        suite.check(keys + " keys it wrote are at our owners, and nowhere else", this::written);
        suite.check(keys + " keys it wrote, our client reads", () -> suite.ask("read-gateway p:place- 0 " + keys));
        suite.check(keys + " keys our client wrote, it reads", this::read);
        suite.check("reads go on while the local zone is killed", this::killed);
    }

    /** The owner of every key in every zone, for the Rust side to compare. */
    private void owners() throws Exception {
        final List<String> lines = new ArrayList<>();
        for (int number = 0; number < keys; number++) {
            final String key = "p:place-" + number;
            for (EVCacheClient client : clients) {
                final InetSocketAddress owner =
                    (InetSocketAddress) client.getNodeLocator().getPrimary(key).getSocketAddress();
                final String address = owner.getAddress().getHostAddress() + ":" + owner.getPort();
                lines.add(key + " " + client.getZone() + " " + address);
            }
        }
        final Path file = Files.createTempFile("owners", ".txt");
        Files.write(file, lines);
        try {
            suite.ask("owners " + file);
        } finally {
            Files.delete(file);
        }
    }

    private void written() throws Exception {
        for (int from = 0; from < keys; from += BATCH) {
            final List<EVCacheLatch> latches = new ArrayList<>();
            for (int number = from; number < Math.min(keys, from + BATCH); number++) {
                latches.add(cache.set("place-" + number, "java " + number, TTL, Policy.ALL));
            }
            for (var latch : latches) {
                holds("in time", latch.await(10, TimeUnit.SECONDS));
                same("zones that stored", 2, latch.getSuccessCount());
            }
        }
        final String zones = String.join(",", clients.stream().map(EVCacheClient::getZone).toList());
        suite.ask("read-owners " + zones + " p:place- 0 " + keys);
    }

    private void read() throws Exception {
        suite.ask("write-gateway p:ours- 0 " + keys);
        for (EVCacheClient client : clients) {
            for (int from = 0; from < keys; from += BATCH) {
                final List<String> batch = new ArrayList<>();
                for (int number = from; number < Math.min(keys, from + BATCH); number++) batch.add("p:ours-" + number);
                final var got = client.<Object>getBulk(batch, null, true, false);
                for (String key : batch) same(key, "rust " + key.substring("p:ours-".length()), got.get(key));
            }
        }
    }

    private void killed() throws Exception {
        for (int number = 0; number < 50; number++) stored(cache, "z-" + number, "value " + number);
        final AtomicBoolean over = new AtomicBoolean();
        final AtomicInteger reads = new AtomicInteger();
        final AtomicInteger wrong = new AtomicInteger();
        final Thread gets = new Thread(() -> readUntil(over, reads, wrong, number -> {
            return "value ".concat(Integer.toString(number)).equals(cache.get("z-" + number));
        }));
        final Thread bulks = new Thread(() -> readUntil(over, reads, wrong, number -> {
            final Map<String, String> got = cache.getBulk("z-" + number, "z-" + (number + 7) % 50, "z-absent");
            return ("value " + number).equals(got.get("z-" + number)) && got.get("z-absent") == null;
        }));
        gets.start();
        bulks.start();
        while (reads.get() < READS_AFTER) TimeUnit.MILLISECONDS.sleep(1);
        suite.ask("kill " + pool.getZone());
        final int before = reads.get();
        while (reads.get() < before + READS_AFTER) TimeUnit.MILLISECONDS.sleep(1);
        over.set(true);
        gets.join();
        bulks.join();
        same("reads that found nothing, of " + reads, 0, wrong.get());
    }

    /** One read of a numbered item; whether it is right. */
    private interface Read {
        boolean good(int number) throws Exception;
    }

    private static void readUntil(AtomicBoolean over, AtomicInteger reads, AtomicInteger wrong, Read read) {
        for (int number = 0; !over.get(); number = (number + 1) % 50) {
            try {
                if (!read.good(number)) wrong.incrementAndGet();
            } catch (Exception error) {
                wrong.incrementAndGet();
            }
            reads.incrementAndGet();
        }
    }
}
