package evanesce.interop;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import net.spy.memcached.CASResponse;
import net.spy.memcached.CASValue;
import net.spy.memcached.ConnectionFactoryBuilder;
import net.spy.memcached.ConnectionFactoryBuilder.Protocol;
import net.spy.memcached.FailureMode;
import net.spy.memcached.MemcachedClient;
import net.spy.memcached.auth.AuthDescriptor;
import net.spy.memcached.auth.PlainCallbackHandler;

/**
 * spymemcached against one server: a line per feature. Arguments: text or binary, host, port. INTEROP_PASSWORD is the port of
 * the same server that asks for a password.
 */
public final class Spymemcached {
    private static final int TTL_SECS = 100;
    private static final long TIMEOUT_SECS = 10;
    private static final byte[] LARGE = new byte[900_000];
    private static final byte[] OVER = new byte[1_200_000];

    private final Protocol protocol;
    private final String host;
    private final MemcachedClient client;

    private Spymemcached(Protocol protocol, String host, String port) throws IOException {
        this.protocol = protocol;
        this.host = host;
        this.client = client(port, null);
    }

    public static void main(String[] arguments) throws Exception {
        java.util.logging.Logger.getLogger("net.spy.memcached").setLevel(java.util.logging.Level.OFF);
        System.setProperty("net.spy.log.LoggerImpl", "net.spy.memcached.compat.log.SunLogger");
        Protocol protocol = arguments[0].equals("binary") ? Protocol.BINARY : Protocol.TEXT;
        new Spymemcached(protocol, arguments[1], arguments[2]).run();
        System.exit(0);
    }

    private MemcachedClient client(String port, AuthDescriptor who) throws IOException {
        ConnectionFactoryBuilder factory = new ConnectionFactoryBuilder().setProtocol(protocol)
            .setOpTimeout(TimeUnit.SECONDS.toMillis(TIMEOUT_SECS)).setFailureMode(FailureMode.Retry);
        // Its default compresses, and what is to be too large would not be.
        net.spy.memcached.transcoders.SerializingTranscoder plain =
            new net.spy.memcached.transcoders.SerializingTranscoder(2 * OVER.length);
        plain.setCompressionThreshold(2 * OVER.length);
        factory.setTranscoder(plain);
        if (who != null) {
            factory.setAuthDescriptor(who);
        }
        return new MemcachedClient(factory.build(), List.of(new InetSocketAddress(host, Integer.parseInt(port))));
    }

    private void run() {
        check("get and set", () -> {
            same(true, client.set("k", TTL_SECS, "1").get());
            same("1", client.get("k"));
            same(null, client.get("none"));
        });
        check("add", () -> {
            client.delete("fresh").get();
            same(true, client.add("fresh", TTL_SECS, "1").get());
            same(false, client.add("fresh", TTL_SECS, "2").get());
        });
        check("replace", () -> {
            same(true, client.replace("k", TTL_SECS, "2").get());
            same(false, client.replace("none", TTL_SECS, "2").get());
        });
        check("append and prepend", () -> {
            same(true, client.append("k", "b").get());
            same(true, client.prepend("k", "a").get());
            same("a2b", client.get("k"));
        });
        check("cas", () -> {
            CASValue<Object> held = client.gets("k");
            same(CASResponse.OK, client.cas("k", held.getCas(), TTL_SECS, "new", client.getTranscoder()));
            same(CASResponse.EXISTS, client.cas("k", held.getCas(), TTL_SECS, "newer", client.getTranscoder()));
            same("new", client.get("k"));
        });
        check("incr and decr", () -> {
            client.delete("n").get();
            same(5L, client.incr("n", 4, 5, TTL_SECS));
            same(9L, client.incr("n", 4));
            same(0L, client.decr("n", 20));
        });
        check("touch", () -> same(true, client.touch("k", TTL_SECS).get()));
        if (protocol == Protocol.BINARY) {
            // In text it would have to ask the server for its version before.
            check("gat", () -> same("new", client.getAndTouch("k", TTL_SECS).getValue()));
        }
        check("multi-get", () -> {
            client.set("m1", TTL_SECS, "1").get();
            client.set("m2", TTL_SECS, "2").get();
            same(Map.of("m1", "1", "m2", "2"), client.getBulk("m1", "m2", "none"));
        });
        check("large value", () -> {
            same(true, client.set("large", TTL_SECS, LARGE).get());
            same(LARGE.length, ((byte[]) client.get("large")).length);
        });
        check("over-limit value", () -> {
            refused(() -> client.set("big", TTL_SECS, OVER).get());
            same(true, client.set("after", TTL_SECS, "1").get());
            same("1", client.get("after"));
        });
        check("expiry", () -> {
            client.set("short", 1, "1").get();
            Thread.sleep(2100);
            same(null, client.get("short"));
        });
        check("delete", () -> {
            same(true, client.delete("k").get());
            same(false, client.delete("k").get());
        });
        check("flush", () -> {
            same(true, client.flush().get());
            same(null, client.get("m1"));
        });
        if (protocol == Protocol.BINARY) {
            check("password", this::password);
        }
    }

    private void password() throws Exception {
        String port = System.getenv("INTEROP_PASSWORD");
        MemcachedClient in = client(port, who(System.getenv("INTEROP_SECRET")));
        same(true, in.set("p", TTL_SECS, "1").get());
        same("1", in.get("p"));
        refused(() -> client(port, who("wrong")).asyncGet("p").get(1, TimeUnit.SECONDS) != null);
        refused(() -> client(port, null).asyncGet("p").get(1, TimeUnit.SECONDS) != null);
    }

    private static AuthDescriptor who(String secret) {
        return new AuthDescriptor(new String[] {"PLAIN"}, new PlainCallbackHandler(System.getenv("INTEROP_USER"), secret));
    }

    /** The call must fail, or say that it did nothing. */
    private static void refused(Callable<Boolean> call) {
        boolean done;
        try {
            done = call.call();
        } catch (Exception expected) {
            return;
        }
        same(false, done);
    }

    private static void same(Object wanted, Object got) {
        if (!Objects.equals(wanted, got)) {
            throw new IllegalStateException("wanted " + wanted + ", got " + got);
        }
    }

    private interface Feature {
        void run() throws Exception;
    }

    private static void check(String feature, Feature call) {
        String result = "ok";
        try {
            call.run();
        } catch (Exception | AssertionError error) {
            result = ("FAILED " + error).replaceAll("\\s+", " ");
        }
        System.out.println(feature + "\t" + result.substring(0, Math.min(result.length(), 150)));
    }
}
