import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Properties;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * kafka-clients runs the cases of tests/clients: ClientCases HOST:PORT PREFIX.
 *
 * <p>What is expected is what Apache Kafka 4.1 answers. One line is printed per case:
 * `PASS name` or `FAIL name: why`.
 */
public final class ClientCases {
    private static final Duration PATIENCE = Duration.ofSeconds(20);

    private interface Step {
        void run() throws Exception;
    }

    private final String bootstrap;
    private final String prefix;
    private final Admin admin;
    private final KafkaConsumer<byte[], byte[]> reader;
    private final Map<Properties, KafkaProducer<byte[], byte[]>> producers = new HashMap<>();
    private final Random random = new Random();
    private final String main;

    private ClientCases(String bootstrap, String prefix) {
        this.bootstrap = bootstrap;
        this.prefix = prefix;
        this.main = topic("main");
        this.admin = Admin.create(with("bootstrap.servers", bootstrap));
        this.reader = consumer(null);
    }

    public static void main(String[] arguments) {
        new ClientCases(arguments[0], arguments[1]).runAll();
        System.exit(0);
    }

    private void runAll() {
        String only = System.getenv().getOrDefault("CASES", "");
        Set<String> wanted = only.isEmpty() ? Set.of() : Set.of(only.split(","));
        cases().forEach((name, step) -> {
            if (!wanted.isEmpty() && !wanted.contains(name) && !name.equals("create_topic")) {
                return;
            }
            long started = System.nanoTime();
            try {
                step.run();
                long spent = TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - started);
                System.out.println("PASS " + name + "\t" + spent + " ms");
            } catch (Exception | AssertionError error) {
                error.printStackTrace();
                System.out.println("FAIL " + name + ": " + error.toString().replace('\n', ' '));
            }
        });
    }

    private Map<String, Step> cases() {
        Map<String, Step> cases = new LinkedHashMap<>();
        cases.put("create_topic", this::createTopic);
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            for (String acks : List.of("0", "1", "all")) {
                cases.put("produce_" + codec + "_acks_" + acks, () -> produce(codec, acks));
            }
        }
        cases.put("idempotent_producer", this::idempotentProducer);
        cases.put("consume_from_start", this::consumeFromStart);
        cases.put("consume_from_offset", this::consumeFromOffset);
        cases.put("consume_from_timestamp", this::consumeFromTimestamp);
        cases.put("keyed_records", this::keyedRecords);
        cases.put("explicit_partitions", this::explicitPartitions);
        cases.put("tiny_records", this::tinyRecords);
        cases.put("large_records", this::largeRecords);
        cases.put("headers", this::headers);
        cases.put("error_record_too_large", this::errorRecordTooLarge);
        cases.put("error_unknown_topic", this::errorUnknownTopic);
        cases.put("error_bad_partition", this::errorBadPartition);
        cases.put("error_offset_out_of_range", this::errorOffsetOutOfRange);
        cases.put("error_create_topic", this::errorCreateTopic);
        cases.put("list_topics", this::listTopics);
        cases.put("describe_topic", this::describeTopic);
        cases.put("describe_configs", this::describeConfigs);
        cases.put("alter_configs", this::alterConfigs);
        cases.put("create_partitions", this::createPartitions);
        cases.put("delete_records", this::deleteRecords);
        cases.put("committed_offsets", this::committedOffsets);
        cases.put("delete_topic", this::deleteTopic);
        return cases;
    }

    // What the cases are made of.

    private static void expect(Object actual, Object wanted, String what) {
        if (!Objects.deepEquals(actual, wanted)) {
            throw new AssertionError(what + ": wanted " + wanted + ", got " + actual);
        }
    }

    private static void expectError(Class<?> kind, String what, Step step) {
        try {
            step.run();
        } catch (Exception error) {
            Throwable cause = error instanceof ExecutionException ? error.getCause() : error;
            expect(cause.getClass().getSimpleName(), kind.getSimpleName(), what);
            return;
        }
        throw new AssertionError(what + ": wanted " + kind.getSimpleName() + ", got no error");
    }

    private static void eventually(String what, BooleanSupplier condition) throws Exception {
        long deadline = System.nanoTime() + PATIENCE.toNanos();
        while (!condition.getAsBoolean()) {
            if (System.nanoTime() > deadline) {
                throw new AssertionError("not in time: " + what);
            }
            Thread.sleep(20);
        }
    }

    private static <T> T get(Future<T> future) throws Exception {
        return future.get(PATIENCE.toSeconds(), TimeUnit.SECONDS);
    }

    private static Properties with(Object... pairs) {
        Properties properties = new Properties();
        for (int n = 0; n < pairs.length; n += 2) {
            properties.put(pairs[n], pairs[n + 1]);
        }
        return properties;
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static String text(byte[] bytes) {
        return bytes == null ? null : new String(bytes, StandardCharsets.UTF_8);
    }

    private byte[] noise(int size) {
        byte[] value = new byte[size];
        random.nextBytes(value);
        return value;
    }

    private String topic(String name) {
        return prefix + "-" + name;
    }

    private void create(String name, int partitions, Map<String, String> configs, int replicas)
            throws Exception {
        NewTopic topic = new NewTopic(name, partitions, (short) replicas).configs(configs);
        get(admin.createTopics(List.of(topic)).all());
    }

    private String fresh(String name, int partitions, Map<String, String> configs) throws Exception {
        String topic = topic(name);
        create(topic, partitions, configs, 1);
        eventually(topic + " in metadata", () -> {
            try {
                return describe(topic).partitions().size() == partitions;
            } catch (Exception error) {
                return false;
            }
        });
        return topic;
    }

    private String fresh(String name) throws Exception {
        return fresh(name, 1, Map.of());
    }

    private TopicDescription describe(String topic) throws Exception {
        return get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic);
    }

    private KafkaProducer<byte[], byte[]> producer(Object... pairs) {
        Properties properties = with(pairs);
        properties.put("bootstrap.servers", bootstrap);
        properties.putIfAbsent("enable.idempotence", "false");
        properties.put("key.serializer", ByteArraySerializer.class.getName());
        properties.put("value.serializer", ByteArraySerializer.class.getName());
        properties.put("linger.ms", "2");
        return producers.computeIfAbsent(properties, p -> new KafkaProducer<>(p));
    }

    private KafkaConsumer<byte[], byte[]> consumer(String group) {
        Properties properties = with(
            "bootstrap.servers", bootstrap, "enable.auto.commit", "false",
            "auto.offset.reset", "none", "fetch.max.wait.ms", "50",
            "allow.auto.create.topics", "false",
            "key.deserializer", ByteArrayDeserializer.class.getName(),
            "value.deserializer", ByteArrayDeserializer.class.getName());
        if (group != null) {
            properties.put("group.id", group);
        }
        return new KafkaConsumer<>(properties);
    }

    private List<RecordMetadata> send(
            KafkaProducer<byte[], byte[]> producer, List<ProducerRecord<byte[], byte[]>> records)
            throws Exception {
        List<Future<RecordMetadata>> futures = new ArrayList<>();
        for (ProducerRecord<byte[], byte[]> record : records) {
            futures.add(producer.send(record));
        }
        List<RecordMetadata> answers = new ArrayList<>();
        for (Future<RecordMetadata> future : futures) {
            answers.add(get(future));
        }
        return answers;
    }

    private List<RecordMetadata> send(List<ProducerRecord<byte[], byte[]>> records) throws Exception {
        return send(producer("acks", "all"), records);
    }

    private static ProducerRecord<byte[], byte[]> record(String topic, int partition, byte[] value) {
        return new ProducerRecord<>(topic, partition, null, value);
    }

    private static List<ProducerRecord<byte[], byte[]>> numbered(String topic, int count) {
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int n = 0; n < count; n++) {
            records.add(record(topic, 0, bytes("" + n)));
        }
        return records;
    }

    /** Reads `count` records by assignment from `start`, or from the beginning when it is -1. */
    private List<ConsumerRecord<byte[], byte[]>> consume(
            String topic, int partition, long start, int count) {
        TopicPartition home = new TopicPartition(topic, partition);
        reader.assign(List.of(home));
        if (start < 0) {
            reader.seekToBeginning(List.of(home));
        } else {
            reader.seek(home, start);
        }
        List<ConsumerRecord<byte[], byte[]>> got = new ArrayList<>();
        long deadline = System.nanoTime() + PATIENCE.toNanos();
        while (got.size() < count && System.nanoTime() < deadline) {
            reader.poll(Duration.ofMillis(200)).forEach(got::add);
        }
        if (got.size() < count) {
            throw new AssertionError("only " + got.size() + " of " + count + " records");
        }
        return got.subList(0, count);
    }

    private static List<Long> offsets(List<ConsumerRecord<byte[], byte[]>> records) {
        return records.stream().map(ConsumerRecord::offset).toList();
    }

    private static List<String> values(List<ConsumerRecord<byte[], byte[]>> records) {
        return records.stream().map(record -> text(record.value())).toList();
    }

    private static List<Long> sequence(long from, long to) {
        return java.util.stream.LongStream.range(from, to).boxed().toList();
    }

    private static List<String> numbers(int from, int to) {
        return sequence(from, to).stream().map(String::valueOf).toList();
    }

    private long endOffset(String topic, int partition) {
        TopicPartition home = new TopicPartition(topic, partition);
        return reader.endOffsets(List.of(home)).get(home);
    }

    private Config configs(String topic) throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        return get(admin.describeConfigs(List.of(resource)).all()).get(resource);
    }

    private void setConfig(String topic, String key, String value) throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        AlterConfigOp set = new AlterConfigOp(new ConfigEntry(key, value), AlterConfigOp.OpType.SET);
        get(admin.incrementalAlterConfigs(Map.of(resource, List.of(set))).all());
    }

    // The cases.

    private void createTopic() throws Exception {
        fresh("main", 3, Map.of());
        expect(describe(main).partitions().size(), 3, "partitions");
    }

    private void produce(String codec, String acks) throws Exception {
        long start = endOffset(main, 0);
        List<String> sent = new ArrayList<>();
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int n = 0; n < 20; n++) {
            sent.add((codec + " " + acks + " " + n + " ").repeat(20));
            records.add(record(main, 0, bytes(sent.get(n))));
        }
        var answers = send(producer("acks", acks, "compression.type", codec), records);
        if (!acks.equals("0")) {
            expect(answers.stream().map(RecordMetadata::offset).toList(), sequence(start, start + 20),
                "offsets");
        }
        var got = consume(main, 0, start, 20);
        expect(values(got), sent, "values");
        expect(offsets(got), sequence(start, start + 20), "offsets read");
    }

    private void idempotentProducer() throws Exception {
        String topic = fresh("idempotent");
        var answers = send(producer("enable.idempotence", "true"), numbered(topic, 300));
        expect(answers.stream().map(RecordMetadata::offset).toList(), sequence(0, 300), "offsets");
        expect(values(consume(topic, 0, -1, 300)), numbers(0, 300), "values");
    }

    private void consumeFromStart() {
        expect(offsets(consume(main, 0, -1, 40)), sequence(0, 40), "offsets");
    }

    private void consumeFromOffset() {
        expect(offsets(consume(main, 0, 17, 5)), sequence(17, 22), "offsets");
    }

    private void consumeFromTimestamp() throws Exception {
        String topic = fresh("times");
        long base = System.currentTimeMillis() - 100_000;
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int n = 0; n < 10; n++) {
            records.add(new ProducerRecord<>(topic, 0, base + n * 1000L, null, bytes("" + n)));
        }
        send(records);
        expect(offsetForTime(topic, base + 3000), 3L, "an exact timestamp");
        expect(offsetForTime(topic, base + 3001), 4L, "between two timestamps");
        expect(offsetForTime(topic, base - 5), 0L, "before the first");
        expect(offsetForTime(topic, base + 60_000), null, "after the last");
        expect(consume(topic, 0, 4, 1).get(0).timestamp(), base + 4000, "timestamp");
        TopicPartition home = new TopicPartition(topic, 0);
        var latest = admin.listOffsets(Map.of(home, OffsetSpec.maxTimestamp()));
        expect(get(latest.partitionResult(home)).offset(), 9L, "offset of the largest timestamp");
    }

    private Long offsetForTime(String topic, long timestamp) {
        TopicPartition home = new TopicPartition(topic, 0);
        OffsetAndTimestamp found = reader.offsetsForTimes(Map.of(home, timestamp)).get(home);
        return found == null ? null : found.offset();
    }

    private void keyedRecords() throws Exception {
        String topic = fresh("keyed", 3, Map.of());
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int n = 0; n < 70; n++) {
            records.add(new ProducerRecord<>(topic, bytes("key-" + n % 7), bytes("" + n)));
        }
        List<RecordMetadata> answers = send(records);
        Map<String, Integer> homes = new HashMap<>();
        Map<Integer, List<String>> mine = new TreeMap<>();
        for (int n = 0; n < 70; n++) {
            int partition = answers.get(n).partition();
            int home = homes.computeIfAbsent(text(records.get(n).key()), key -> partition);
            expect(partition, home, "partition of one key");
            mine.computeIfAbsent(partition, p -> new ArrayList<>()).add("" + n);
        }
        mine.forEach((partition, sent) ->
            expect(values(consume(topic, partition, -1, sent.size())), sent, "order"));
    }

    private void explicitPartitions() throws Exception {
        String topic = fresh("explicit", 3, Map.of());
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int n = 0; n < 30; n++) {
            records.add(record(topic, n % 3, bytes("" + n)));
        }
        List<RecordMetadata> answers = send(records);
        for (int n = 0; n < 30; n++) {
            expect(answers.get(n).partition(), n % 3, "partition");
            expect(answers.get(n).offset(), n / 3L, "offset");
        }
        for (int partition = 0; partition < 3; partition++) {
            List<String> got = values(consume(topic, partition, -1, 10));
            for (int n = 0; n < 10; n++) {
                expect(got.get(n), "" + (n * 3 + partition), "value");
            }
        }
    }

    private void tinyRecords() throws Exception {
        String topic = fresh("tiny");
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        List<String> wanted = Arrays.asList("null=", "=", "null=x", "k=null");
        records.add(new ProducerRecord<>(topic, 0, null, bytes("")));
        records.add(new ProducerRecord<>(topic, 0, bytes(""), bytes("")));
        records.add(new ProducerRecord<>(topic, 0, null, bytes("x")));
        records.add(new ProducerRecord<>(topic, 0, bytes("k"), null));
        send(records);
        var got = consume(topic, 0, -1, 4).stream();
        expect(got.map(r -> text(r.key()) + "=" + text(r.value())).toList(), wanted, "records");
    }

    private void largeRecords() throws Exception {
        String topic = fresh("large");
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int n = 0; n < 3; n++) {
            records.add(record(topic, 0, noise(900_000)));
        }
        send(records);
        var got = consume(topic, 0, -1, 3);
        for (int n = 0; n < 3; n++) {
            expect(Arrays.equals(got.get(n).value(), records.get(n).value()), true, "900 kB value");
        }
    }

    private void headers() throws Exception {
        String topic = fresh("headers");
        ProducerRecord<byte[], byte[]> record = record(topic, 0, bytes("v"));
        record.headers().add("a", bytes("1")).add("a", bytes("2")).add("empty", bytes(""));
        record.headers().add("ünï", new byte[] {0, (byte) 0xff}).add("null", null);
        send(List.of(record));
        expect(consume(topic, 0, -1, 1).get(0).headers(), record.headers(), "headers");
    }

    private void errorRecordTooLarge() throws Exception {
        String topic = fresh("too-large", 1, Map.of("max.message.bytes", "2000"));
        expectError(RecordTooLargeException.class, "3000 B to a topic that takes 2000", () ->
            send(List.of(record(topic, 0, noise(3000)))));
        expect(endOffset(topic, 0), 0L, "log end after the refusal");
        var large = producer("acks", "all", "max.request.size", "4000000");
        expectError(RecordTooLargeException.class, "1.5 MB to the default limit", () ->
            send(large, List.of(record(main, 1, noise(1_500_000)))));
    }

    private void errorUnknownTopic() throws Exception {
        String name = topic("never-made");
        expectError(UnknownTopicOrPartitionException.class, "describe", () -> describe(name));
        if (get(admin.listTopics().names()).contains(name)) {
            throw new AssertionError("asking without auto-create made the topic");
        }
        expectError(UnknownTopicOrPartitionException.class, "delete", () ->
            get(admin.deleteTopics(List.of(name)).all()));
    }

    private void errorBadPartition() {
        var hasty = producer("acks", "all", "max.block.ms", "500");
        expectError(org.apache.kafka.common.errors.TimeoutException.class, "partition 99 of 3", () ->
            send(hasty, List.of(record(main, 99, bytes("x")))));
        expectError(InvalidPartitionsException.class, "shrinking", () ->
            get(admin.createPartitions(Map.of(main, NewPartitions.increaseTo(2))).all()));
    }

    private void errorOffsetOutOfRange() {
        long end = endOffset(main, 0);
        expectError(OffsetOutOfRangeException.class, "beyond the end", () ->
            consume(main, 0, end + 1000, 1));
    }

    private void errorCreateTopic() {
        expectError(TopicExistsException.class, "twice", () -> create(main, 1, Map.of(), 1));
        expectError(InvalidTopicException.class, "bad name", () ->
            create("no spaces", 1, Map.of(), 1));
        expectError(InvalidPartitionsException.class, "no partitions", () ->
            create(topic("p"), 0, Map.of(), 1));
        expectError(InvalidReplicationFactorException.class, "3 replicas", () ->
            create(topic("r"), 1, Map.of(), 3));
        expectError(InvalidConfigurationException.class, "bad value", () ->
            create(topic("c"), 1, Map.of("retention.ms", "soon"), 1));
        expectError(InvalidConfigurationException.class, "unknown key", () ->
            create(topic("c"), 1, Map.of("no.such.key", "1"), 1));
    }

    private void listTopics() throws Exception {
        Set<String> names = get(admin.listTopics().names());
        for (String wanted : List.of("main", "tiny", "keyed")) {
            expect(names.contains(topic(wanted)), true, wanted + " among the topics");
        }
    }

    private void describeTopic() throws Exception {
        TopicDescription found = describe(main);
        expect(found.partitions().size(), 3, "partitions");
        int broker = get(admin.describeCluster().nodes()).iterator().next().id();
        found.partitions().forEach(p -> {
            expect(p.leader().id(), broker, "leader");
            expect(p.isr().size(), 1, "in-sync replicas");
        });
        expect(found.topicId().equals(describe(main).topicId()), true, "one topic id");
        expect(found.topicId().equals(org.apache.kafka.common.Uuid.ZERO_UUID), false, "zero id");
    }

    private void describeConfigs() throws Exception {
        String topic = fresh("configs", 1, Map.of("retention.ms", "12345", "cleanup.policy", "compact"));
        Config found = configs(topic);
        expect(found.get("retention.ms").value(), "12345", "retention.ms");
        expect(found.get("retention.ms").source(), ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG,
            "source of a set key");
        expect(found.get("cleanup.policy").value(), "compact", "cleanup.policy");
        expect(found.get("max.message.bytes").value(), "1048588", "max.message.bytes");
        expect(found.get("max.message.bytes").source(), ConfigEntry.ConfigSource.DEFAULT_CONFIG,
            "source of a default");
        expect(found.get("segment.bytes").value(), "1073741824", "segment.bytes");
    }

    private void alterConfigs() throws Exception {
        String topic = fresh("alter", 1, Map.of("max.message.bytes", "2000"));
        setConfig(topic, "max.message.bytes", "500000");
        eventually("the new value", () -> {
            try {
                return configs(topic).get("max.message.bytes").value().equals("500000");
            } catch (Exception error) {
                return false;
            }
        });
        send(List.of(record(topic, 0, noise(3000))));
        expectError(InvalidConfigurationException.class, "bad value", () ->
            setConfig(topic, "max.message.bytes", "many"));
    }

    private void createPartitions() throws Exception {
        String topic = fresh("grow");
        get(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(4))).all());
        eventually("four partitions", () -> {
            try {
                return describe(topic).partitions().size() == 4;
            } catch (Exception error) {
                return false;
            }
        });
        RecordMetadata answer = send(List.of(record(topic, 3, bytes("x")))).get(0);
        expect(answer.partition(), 3, "partition");
        expect(answer.offset(), 0L, "offset");
    }

    private void deleteRecords() throws Exception {
        String topic = fresh("trim");
        TopicPartition home = new TopicPartition(topic, 0);
        send(numbered(topic, 10));
        var deleted = admin.deleteRecords(Map.of(home, RecordsToDelete.beforeOffset(4)));
        expect(get(deleted.lowWatermarks().get(home)).lowWatermark(), 4L, "low watermark");
        expect(reader.beginningOffsets(List.of(home)).get(home), 4L, "log start");
        expect(values(consume(topic, 0, -1, 6)), numbers(4, 10), "rest");
        expectError(OffsetOutOfRangeException.class, "fetch below", () -> consume(topic, 0, 1, 1));
        // The admin API has another class of the same name.
        expectError(org.apache.kafka.common.errors.OffsetOutOfRangeException.class,
            "delete beyond the end", () ->
            get(admin.deleteRecords(Map.of(home, RecordsToDelete.beforeOffset(100))).all()));
    }

    private void committedOffsets() {
        String group = topic("group");
        TopicPartition first = new TopicPartition(main, 0);
        TopicPartition other = new TopicPartition(main, 1);
        expect(committed(group, first), null, "before the first commit");
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(group)) {
            consumer.assign(List.of(first));
            consumer.commitSync(Map.of(first, new OffsetAndMetadata(12, "a note")), PATIENCE);
        }
        expect(committed(group, first), new OffsetAndMetadata(12, "a note"), "after a commit");
        expect(committed(group, other), null, "the other partition");
    }

    private OffsetAndMetadata committed(String group, TopicPartition home) {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(group)) {
            return consumer.committed(Set.of(home), PATIENCE).get(home);
        }
    }

    private void deleteTopic() throws Exception {
        String topic = fresh("gone");
        send(List.of(record(topic, 0, bytes("old"))));
        get(admin.deleteTopics(List.of(topic)).all());
        eventually("the topic is gone", () -> {
            try {
                return !get(admin.listTopics().names()).contains(topic);
            } catch (Exception error) {
                return false;
            }
        });
        fresh("gone");
        expect(endOffset(topic, 0), 0L, "log end of the topic made anew");
    }
}
