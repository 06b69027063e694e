import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.MapFunction;
import org.apache.flink.api.common.serialization.SimpleStringSchema;
import org.apache.flink.api.common.state.CheckpointListener;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.RestartStrategyOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * What tests/ecosystem/flink.rs runs: FlinkJob HOST:PORT RECORDS writes the numbers below RECORDS into
 * `in`, copies them to `out` with a job that delivers exactly once and fails twice, says FAILED and how
 * often, and prints the records of `out`: once as a reader of committed records sees them, `COMMITTED
 * VALUE`, and how many there are with those of aborted transactions, `WRITTEN COUNT`.
 */
public final class FlinkJob {
    private static final Duration PATIENCE = Duration.ofSeconds(30);
    private static final int SUBTASKS = 2;

    public static void main(String[] arguments) throws Exception {
        String bootstrap = arguments[0];
        int records = Integer.parseInt(arguments[1]);
        write(bootstrap, records);
        copy(bootstrap);
        System.out.println("FAILED " + FailingTwice.failures);
        for (String value : read(bootstrap, "read_committed")) {
            System.out.println("COMMITTED " + value);
        }
        System.out.println("WRITTEN " + read(bootstrap, "read_uncommitted").size());
        // Netty's threads of the cluster may linger.
        System.exit(0);
    }

    private static void copy(String bootstrap) throws Exception {
        Configuration settings = new Configuration();
        settings.set(CheckpointingOptions.CHECKPOINTING_INTERVAL, Duration.ofMillis(200));
        settings.set(RestartStrategyOptions.RESTART_STRATEGY, "fixed-delay");
        settings.set(RestartStrategyOptions.RESTART_STRATEGY_FIXED_DELAY_ATTEMPTS, 2);
        settings.set(RestartStrategyOptions.RESTART_STRATEGY_FIXED_DELAY_DELAY, Duration.ofMillis(50));
        StreamExecutionEnvironment environment =
                StreamExecutionEnvironment.createLocalEnvironment(SUBTASKS, settings);
        KafkaSource<String> source = KafkaSource.<String>builder()
                .setBootstrapServers(bootstrap)
                .setTopics("in")
                .setGroupId("flink")
                .setStartingOffsets(OffsetsInitializer.earliest())
                .setBounded(OffsetsInitializer.latest())
                .setValueOnlyDeserializer(new SimpleStringSchema())
                .build();
        KafkaSink<String> sink = KafkaSink.<String>builder()
                .setBootstrapServers(bootstrap)
                .setRecordSerializer(KafkaRecordSerializationSchema.<String>builder()
                        .setTopic("out")
                        .setValueSerializationSchema(new SimpleStringSchema())
                        .build())
                .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
                .setTransactionalIdPrefix("copy")
                .setProperty("transaction.timeout.ms", "60000")
                .build();
        environment
                .fromSource(source, WatermarkStrategy.noWatermarks(), "in")
                .map(new FailingTwice())
                .sinkTo(sink);
        environment.execute("copy");
    }

    /**
     * Fails when a checkpoint is complete, which is before the sink has committed what the checkpoint
     * holds; and, started again, with records in a transaction that no checkpoint holds.
     */
    private static final class FailingTwice implements MapFunction<String, String>, CheckpointListener {
        static final AtomicInteger failures = new AtomicInteger();

        private int sinceCheckpoint;
        private int checkpoints;

        @Override
        public String map(String value) throws Exception {
            int soFar = failures.get();
            if (soFar < 2) {
                // Slow enough that checkpoints come before the end of the input.
                Thread.sleep(5);
            }
            sinceCheckpoint++;
            if (soFar == 1 && checkpoints >= 1 && sinceCheckpoint >= 20) {
                failOnce(1);
            }
            return value;
        }

        @Override
        public void notifyCheckpointComplete(long checkpoint) {
            boolean holdsRecords = sinceCheckpoint > 0;
            checkpoints++;
            sinceCheckpoint = 0;
            if (checkpoints >= 2 && holdsRecords) {
                failOnce(0);
            }
        }

        private static void failOnce(int before) {
            if (failures.compareAndSet(before, before + 1)) {
                throw new IllegalStateException("as planned");
            }
        }
    }

    private static void write(String bootstrap, int records) throws Exception {
        StringSerializer text = new StringSerializer();
        Map<String, Object> properties = Map.of("bootstrap.servers", bootstrap, "linger.ms", 5);
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(properties, text, text)) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int i = 0; i < records; i++) {
                String number = Integer.toString(i);
                sent.add(producer.send(new ProducerRecord<>("in", number, number)));
            }
            for (Future<RecordMetadata> one : sent) {
                one.get();
            }
        }
    }

    private static List<String> read(String bootstrap, String isolation) {
        Map<String, Object> properties = new HashMap<>();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("isolation.level", isolation);
        properties.put("auto.offset.reset", "earliest");
        StringDeserializer text = new StringDeserializer();
        List<String> values = new ArrayList<>();
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(properties, text, text)) {
            List<TopicPartition> partitions = consumer.partitionsFor("out").stream()
                    .map(partition -> new TopicPartition("out", partition.partition()))
                    .toList();
            consumer.assign(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            long deadline = System.nanoTime() + PATIENCE.toNanos();
            while (!partitions.stream().allMatch(one -> consumer.position(one) >= ends.get(one))) {
                if (System.nanoTime() > deadline) {
                    throw new IllegalStateException("the end of `out` is not reached");
                }
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(100))) {
                    values.add(record.value());
                }
            }
        }
        return values;
    }

    private FlinkJob() {}
}
