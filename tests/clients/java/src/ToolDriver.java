import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
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

    /** Stands for the end of the process that a tool asked for. */
    private static final class Exited extends RuntimeException {
        final int status;

        Exited(int status) {
            super("exit " + status, null, false, false);
            this.status = status;
        }
    }

    public static void main(String[] arguments) throws Exception {
        PrintStream answers = System.out;
        BufferedReader runs =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        Exit.setExitProcedure((status, message) -> {
            throw new Exited(status);
        });
        Exit.setHaltProcedure((status, message) -> {
            throw new Exited(status);
        });
        Exit.setShutdownHookAdder((name, hook) -> { });
        String line;
        while ((line = runs.readLine()) != null) {
            String[] parts = line.split("\u001f", -1);
            ByteArrayOutputStream captured = new ByteArrayOutputStream();
            PrintStream output = new PrintStream(captured, true, StandardCharsets.UTF_8);
            System.setOut(output);
            System.setErr(output);
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

    private static int run(String tool, String[] arguments) throws InterruptedException {
        int[] status = {0};
        Thread thread = new Thread(() -> {
            try {
                Class.forName(tool).getMethod("main", String[].class)
                    .invoke(null, (Object) arguments);
            } catch (Throwable thrown) {
                status[0] = statusOf(thrown);
            }
        }, tool);
        thread.setDaemon(true);
        thread.start();
        thread.join(PATIENCE_MS);
        return thread.isAlive() ? 124 : status[0];
    }

    private static int statusOf(Throwable thrown) {
        for (Throwable cause = thrown; cause != null; cause = cause.getCause()) {
            if (cause instanceof Exited exited) {
                return exited.status;
            }
        }
        thrown.printStackTrace();
        return 1;
    }
}
