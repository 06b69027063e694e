import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;

/**
 * What tests/streams.rs runs: StreamsApp HOST:PORT COMMAND ...
 *
 * <p>`count STATE-DIRECTORY` counts the words of topic `lines` into `counts`; `number
 * STATE-DIRECTORY` writes each value of `in` to `out`, numbered within its key, exactly once. Both say
 * RUNNING, and close when their input ends. `write TOPIC` produces lines `key value` of its input and
 * says how many were acknowledged; `read TOPIC RECORDS` prints the committed records `key value`,
 * partition by partition, once there are so many.
 */
public final class StreamsApp {
    private static final Duration PATIENCE = Duration.ofSeconds(90);

    public static void main(String[] arguments) throws Exception {
        String bootstrap = arguments[0];
        switch (arguments[1]) {
            case "count" -> runUntilEndOfInput(count(), properties("count", bootstrap, arguments[2]));
            case "number" -> {
                Properties properties = properties("number", bootstrap, arguments[2]);
                properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
                runUntilEndOfInput(number(), properties);
            }
            case "write" -> write(bootstrap, arguments[2]);
            case "read" -> read(bootstrap, arguments[2], Long.parseLong(arguments[3]));
            default -> throw new IllegalArgumentException(arguments[1]);
        }
    }

    private static Properties properties(String application, String bootstrap, String state) {
        Properties properties = new Properties();
        properties.put("application.id", application);
        properties.put("bootstrap.servers", bootstrap);
        properties.put("state.dir", state);
        properties.put("num.stream.threads", "2");
        properties.put("commit.interval.ms", "50");
        properties.put("statestore.cache.max.bytes", "0");
        properties.put("default.key.serde", Serdes.StringSerde.class.getName());
        properties.put("default.value.serde", Serdes.StringSerde.class.getName());
        properties.put("auto.offset.reset", "earliest");
        properties.put("session.timeout.ms", "6000");
        properties.put("heartbeat.interval.ms", "500");
        return properties;
    }

    private static StreamsBuilder count() {
        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, String> lines = builder.stream("lines");
        lines.flatMapValues(line -> Arrays.asList(line.split(" ")))
                .groupBy((key, word) -> word)
                .count(Materialized.as("words"))
                .toStream()
                .mapValues(count -> Long.toString(count))
                .to("counts");
        return builder;
    }

    private static StreamsBuilder number() {
        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, String> values = builder.stream("in");
        // The map makes Streams send everything through a topic of its own first.
        values.map((key, value) -> new KeyValue<>("of-" + key, value))
                .groupByKey(Grouped.as("again"))
                .aggregate(() -> "0", (key, value, last) -> next(last) + ":" + value, Materialized.as("numbered"))
                .toStream()
                .to("out");
        return builder;
    }

    private static long next(String last) {
        return 1 + Long.parseLong(last.split(":")[0]);
    }

    private static void runUntilEndOfInput(StreamsBuilder builder, Properties properties) throws Exception {
        try (KafkaStreams streams = new KafkaStreams(builder.build(), properties)) {
            streams.setStateListener((now, before) -> System.out.println(now));
            streams.start();
            while (System.in.read() >= 0) {
                continue;
            }
            streams.close(Duration.ofSeconds(30));
        }
    }

    private static void write(String bootstrap, String topic) throws Exception {
        Map<String, Object> properties = Map.of("bootstrap.servers", bootstrap, "linger.ms", 5);
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        StringSerializer text = new StringSerializer();
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(properties, text, text)) {
            List<Future<RecordMetadata>> sent = input.lines()
                    .map(line -> line.split(" ", 2))
                    .map(pair -> producer.send(new ProducerRecord<>(topic, pair[0], pair[1])))
                    .toList();
            for (Future<RecordMetadata> one : sent) {
                one.get();
            }
            System.out.println("ACKNOWLEDGED " + sent.size());
        }
    }

    private static void read(String bootstrap, String topic, long records) {
        Map<String, Object> properties = Map.of(
                "bootstrap.servers", bootstrap, "isolation.level", "read_committed", "auto.offset.reset", "earliest");
        StringDeserializer text = new StringDeserializer();
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(properties, text, text)) {
            List<TopicPartition> partitions = consumer.partitionsFor(topic).stream()
                    .map(partition -> new TopicPartition(topic, partition.partition()))
                    .toList();
            consumer.assign(partitions);
            long deadline = System.nanoTime() + PATIENCE.toNanos();
            long read = 0;
            while (!(read >= records && isAtEnd(consumer, partitions)) && System.nanoTime() < deadline) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(100))) {
                    read++;
                    System.out.println(record.key() + " " + record.value());
                }
            }
        }
    }

    private static boolean isAtEnd(KafkaConsumer<String, String> consumer, List<TopicPartition> partitions) {
        Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
        return partitions.stream().allMatch(partition -> consumer.position(partition) >= ends.get(partition));
    }

    private StreamsApp() {}
}
