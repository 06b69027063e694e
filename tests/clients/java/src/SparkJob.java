import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import java.util.stream.IntStream;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Encoders;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.streaming.StreamingQuery;
import org.apache.spark.sql.streaming.StreamingQueryProgress;
import org.apache.spark.sql.streaming.Trigger;

/**
 * What tests/ecosystem/spark.rs runs: SparkJob HOST:PORT RECORDS DIRECTORY writes the numbers below
 * RECORDS into both partitions of `in`, has a query with its checkpoints in DIRECTORY copy what there is
 * to `out`, and does both again with the next numbers; each time it says how many records the query took,
 * `TOOK COUNT`. At the end it reads `out` in one go and says each `COPIED VALUE`, and of `in` the records
 * of partition 0 from offset 10 on and of partition 1 below offset 20: `RANGE PARTITION:OFFSET`.
 */
public final class SparkJob {
    private static final Duration PATIENCE = Duration.ofSeconds(60);
    private static final String RANGES = "{\"in\":{\"0\":%d,\"1\":%d}}";
    private static final int EARLIEST = -2;
    private static final int LATEST = -1;

    public static void main(String[] arguments) throws Exception {
        String bootstrap = arguments[0];
        int records = Integer.parseInt(arguments[1]);
        Path checkpoints = Path.of(arguments[2], "checkpoints");
        SparkSession session = SparkSession.builder()
                .master("local[2]")
                .config("spark.ui.enabled", false)
                .config("spark.sql.shuffle.partitions", 2)
                .config("spark.driver.host", "127.0.0.1")
                .config("spark.driver.bindAddress", "127.0.0.1")
                .config("spark.sql.warehouse.dir", Path.of(arguments[2], "warehouse").toString())
                .config("spark.local.dir", arguments[2])
                .getOrCreate();
        for (int run = 0; run < 2; run++) {
            write(bootstrap, run * records, records);
            System.out.println("TOOK " + copy(session, bootstrap, checkpoints));
        }
        print(session, bootstrap, "out", Map.of(), "concat('COPIED ', cast(value as string))");
        Map<String, String> ranges = Map.of(
                "startingOffsets", RANGES.formatted(10, EARLIEST), "endingOffsets", RANGES.formatted(LATEST, 20));
        print(session, bootstrap, "in", ranges, "concat('RANGE ', partition, ':', offset)");
        session.stop();
    }

    private static void write(String bootstrap, int first, int records) throws Exception {
        StringSerializer text = new StringSerializer();
        Map<String, Object> properties = Map.of("bootstrap.servers", bootstrap, "linger.ms", 5);
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(properties, text, text)) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            IntStream.range(first, first + records)
                    .mapToObj(number -> new ProducerRecord<>("in", number % 2, "key", Integer.toString(number)))
                    .forEach(record -> sent.add(producer.send(record)));
            for (Future<RecordMetadata> one : sent) {
                one.get();
            }
        }
    }

    /** Copies what the checkpoints do not know, and ends. */
    private static long copy(SparkSession session, String bootstrap, Path checkpoints) throws Exception {
        Dataset<Row> input = session.readStream()
                .format("kafka")
                .option("kafka.bootstrap.servers", bootstrap)
                .option("subscribe", "in")
                .option("startingOffsets", "earliest")
                .option("maxOffsetsPerTrigger", 400)
                .load();
        StreamingQuery query = input.selectExpr("key", "value")
                .writeStream()
                .format("kafka")
                .option("kafka.bootstrap.servers", bootstrap)
                .option("topic", "out")
                .option("checkpointLocation", checkpoints.toString())
                .trigger(Trigger.AvailableNow())
                .start();
        if (!query.awaitTermination(PATIENCE.toMillis())) {
            throw new IllegalStateException("the query has not ended");
        }
        long took = 0;
        for (StreamingQueryProgress progress : query.recentProgress()) {
            took += progress.numInputRows();
        }
        return took;
    }

    private static void print(
            SparkSession session, String bootstrap, String topic, Map<String, String> options, String line) {
        session.read()
                .format("kafka")
                .option("kafka.bootstrap.servers", bootstrap)
                .option("subscribe", topic)
                .options(options)
                .load()
                .selectExpr(line)
                .as(Encoders.STRING())
                .collectAsList()
                .forEach(System.out::println);
    }

    private SparkJob() {}
}
