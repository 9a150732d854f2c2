package evanesce.interop;

import com.netflix.evcache.EVCache;

/**
 * Usage: Main MODE SCENE KEYS NODES, with MODE ascii or binary, SCENE calls, control (the same), latches,
 * migration, or changes (not a scene, but a writer for tests/warmth/run), KEYS how many keys
 * the placement is compared for, and NODES a list in EVCache's syntax whose first zone is the local one.
 */
public final class Main {
    public static void main(String[] arguments) throws Exception {
        final String mode = arguments[0];
        final boolean ascii = mode.equals("ascii");
        final int keys = Integer.parseInt(arguments[2]);
        final String nodes = arguments[3];
        if (arguments[1].equals("changes")) {
            new Changes(new Setup(ascii, nodes)).run();
            Runtime.getRuntime().halt(0);
        }
        final Suite suite = new Suite(mode, Setup.notOffered(ascii, arguments[1]));
        final Setup setup = new Setup(ascii, nodes);
        switch (arguments[1]) {
            case "calls", "control" -> calls(suite, setup, keys);
            case "latches" -> new Latches(suite, setup).run();
            case "migration" -> new Migration(suite, setup, nodes, keys / 5).run();
            default -> throw new IllegalArgumentException(arguments[1]);
        }
        final boolean good = suite.finish();
        System.out.flush();
        // Its threads are no daemons, and some nodes are gone on purpose.
        Runtime.getRuntime().halt(good ? 0 : 1);
    }

    private static void calls(Suite suite, Setup setup, int keys) {
        final EVCache cache = setup.cache(Setup.APP);
        new Values(suite, cache).run();
        new Commands(suite, setup, cache).run();
        new Expiry(suite, cache).run();
        new Keys(suite, cache, setup.cache(Setup.HASHED), setup.cache(Setup.CHUNKED)).run();
        new Zones(suite, setup, cache, keys).run();
    }
}
