package evanesce.interop;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/** Runs named checks, prints one line each, counts. Asks the Rust side, over standard input, for what is its part. */
final class Suite {
    /** A check; any exception is its failure. */
    interface Check {
        void run() throws Exception;
    }

    private final BufferedReader answers = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    private final String mode;
    private final Map<String, String> notOffered;
    private int passed;
    private int failed;
    private int absent;

    Suite(String mode, Map<String, String> notOffered) {
        this.mode = mode;
        this.notOffered = notOffered;
    }

    void check(String name, Check check) {
        final String reason = notOffered.get(name);
        if (reason != null) {
            notOffered(name, reason);
            return;
        }
        final long began = System.nanoTime();
        try {
            check.run();
            over(name + ": ok (" + (System.nanoTime() - began) / 1_000_000 + " ms)", true);
        } catch (NotHere missing) {
            notOffered(name, missing.getMessage());
        } catch (Exception | AssertionError error) {
            over(name + ": FAILED: " + error, false);
        }
    }

    /** Runs checks that wait for the clock beside each other. */
    void together(Map<String, Check> checks) {
        final List<Thread> threads = new ArrayList<>();
        checks.forEach((name, check) -> threads.add(new Thread(() -> check(name, check))));
        threads.forEach(Thread::start);
        for (Thread thread : threads) {
            try {
                thread.join();
            } catch (InterruptedException error) {
                throw new IllegalStateException(error);
            }
        }
    }

    /** Says what this client does not have, so that nobody believes it was asked. */
    synchronized void notOffered(String name, String reason) {
        absent++;
        System.out.println(mode + " " + name + ": not offered: " + reason);
    }

    private synchronized void over(String line, boolean good) {
        if (good) passed++;
        else failed++;
        System.out.println(mode + " " + line);
    }

    /** The stage has not what the check needs. */
    private static final class NotHere extends RuntimeException {
        NotHere(String reason) {
            super(reason);
        }
    }

    /** Has the Rust side do something; fails with its reason. */
    synchronized void ask(String what) throws IOException {
        System.out.println("ASK " + what);
        final String answer = answers.readLine();
        if (answer != null && answer.startsWith("NOT HERE ")) throw new NotHere(answer.substring(9));
        if (!"OK".equals(answer)) throw new AssertionError(what + ": " + answer);
    }

    boolean finish() {
        System.out.println(mode + ": " + passed + " passed, " + failed + " failed, " + absent + " not offered");
        return failed == 0 && passed > 0;
    }

    static void same(String what, Object wanted, Object got) {
        if (!Objects.deepEquals(wanted, got)) throw new AssertionError(what + ": wanted " + wanted + ", got " + got);
    }

    static void holds(String what, boolean holds) {
        if (!holds) throw new AssertionError("not so: " + what);
    }
}
