import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.locks.LockSupport;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs Kafka's command-line tools one after another in one JVM, since each start of a JVM costs a
 * second.
 *
 * <p>A line of standard input is one run: what the tool reads (with \n for a line end), its main
 * class and its arguments, separated by the ASCII unit separator. The answer is what the tool wrote
 * to both its outputs, then a line with the record separator and the exit status; status 124 means
 * that the tool was still running after its time.
 */
public final class ToolDriver {
    private static final long PATIENCE_MS = 60_000;
    private static final long HOOK_PATIENCE_MS = 10_000;

    /** The status of the run that is under way. */
    private static volatile CompletableFuture<Integer> ended = new CompletableFuture<>();

    /** What the tool wants done at its end: the console producer sends its last records there. */
    private static final List<Runnable> HOOKS = new CopyOnWriteArrayList<>();

    /** Exit never returns to a tool, so its thread stays here; the first status is the one meant. */
    private static void exit(int status, String message) {
        ended.complete(status);
        while (true) {
            LockSupport.park();
        }
    }

    public static void main(String[] arguments) throws Exception {
        PrintStream answers = System.out;
        BufferedReader runs =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        // One stream for all runs: Scala's console keeps the first one that it sees.
        ByteArrayOutputStream captured = new ByteArrayOutputStream();
        PrintStream output = new PrintStream(captured, true, StandardCharsets.UTF_8);
        System.setOut(output);
        System.setErr(output);
        Exit.setExitProcedure(ToolDriver::exit);
        Exit.setHaltProcedure(ToolDriver::exit);
        Exit.setShutdownHookAdder((name, hook) -> HOOKS.add(hook));
        String line;
        while ((line = runs.readLine()) != null) {
            String[] parts = line.split("\u001f", -1);
            captured.reset();
            byte[] input = parts[0].replace("\\n", "\n").getBytes(StandardCharsets.UTF_8);
            System.setIn(new ByteArrayInputStream(input));
            int status = run(parts[1], Arrays.copyOfRange(parts, 2, parts.length));
            output.flush();
            answers.write(captured.toByteArray());
            answers.println("\n\u001e" + status);
            answers.flush();
        }
        Runtime.getRuntime().halt(0);
    }

    private static int run(String tool, String[] arguments) throws Exception {
        CompletableFuture<Integer> end = new CompletableFuture<>();
        ended = end;
        Thread thread = new Thread(() -> {
            try {
                Class.forName(tool).getMethod("main", String[].class)
                    .invoke(null, (Object) arguments);
                end.complete(0);
            } catch (Throwable thrown) {
                thrown.printStackTrace();
                end.complete(1);
            }
        }, tool);
        thread.setDaemon(true);
        thread.start();
        try {
            return end.get(PATIENCE_MS, TimeUnit.MILLISECONDS);
        } catch (TimeoutException late) {
            return 124;
        } finally {
            runHooks();
        }
    }

    private static void runHooks() throws InterruptedException {
        for (Runnable hook : HOOKS) {
            Thread thread = new Thread(hook, "hook");
            thread.setDaemon(true);
            thread.start();
            thread.join(HOOK_PATIENCE_MS);
        }
        HOOKS.clear();
    }
}
