import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InvalidProducerEpochException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * kafka-clients runs transactions: TransactionCases HOST:PORT PREFIX.
 *
 * <p>What is expected is what Apache Kafka 4.1 does. One line is printed per case: `PASS name` or
 * `FAIL name: why`. With a third argument `crash` one long case runs that outlives a broker which
 * is killed and started again.
 */
public final class TransactionCases {
    private static final Duration PATIENCE = Duration.ofSeconds(30);
    private static final int PARTITIONS = 3;

    private interface Step {
        void run() throws Exception;
    }

    private final String bootstrap;
    private final String prefix;
    private final Admin admin;

    private TransactionCases(String bootstrap, String prefix) {
        this.bootstrap = bootstrap;
        this.prefix = prefix;
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        this.admin = Admin.create(properties);
    }

    public static void main(String[] arguments) {
        TransactionCases all = new TransactionCases(arguments[0], arguments[1]);
        all.runAll(arguments.length > 2 ? all.crashCases() : all.cases());
        System.exit(0);
    }

    private void runAll(Map<String, Step> cases) {
        cases.forEach((name, step) -> {
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
        cases.put("aborted_records_are_not_shown", this::abortedRecordsAreNotShown);
        cases.put("an_open_transaction_holds_readers_up", this::anOpenTransactionHoldsReadersUp);
        cases.put("a_second_producer_fences_the_first", this::aSecondProducerFencesTheFirst);
        cases.put("offsets_commit_with_the_transaction", this::offsetsCommitWithTheTransaction);
        cases.put("a_slow_transaction_is_aborted", this::aSlowTransactionIsAborted);
        cases.put("many_small_transactions", this::manySmallTransactions);
        cases.put("an_empty_transaction_ends", this::anEmptyTransactionEnds);
        return cases;
    }

    private Map<String, Step> crashCases() {
        return Map.of("whole_transactions_or_nothing_after_crashes", this::crashes);
    }

    private void abortedRecordsAreNotShown() throws Exception {
        String topic = topic("aborted");
        try (KafkaProducer<byte[], byte[]> producer = producer("aborted", 60_000)) {
            producer.initTransactions();
            for (int round = 0; round < 6; round++) {
                producer.beginTransaction();
                for (int partition = 0; partition < PARTITIONS; partition++) {
                    send(producer, topic, partition, (round % 2 == 0 ? "kept-" : "gone-") + round);
                }
                if (round % 2 == 0) {
                    commit(producer);
                } else {
                    producer.flush();
                    producer.abortTransaction();
                }
            }
        }
        for (int partition = 0; partition < PARTITIONS; partition++) {
            expect(read(topic, partition, "read_committed"), List.of("kept-0", "kept-2", "kept-4"),
                "committed");
            expect(read(topic, partition, "read_uncommitted").size(), 6, "all records");
        }
    }

    private void anOpenTransactionHoldsReadersUp() throws Exception {
        String topic = topic("open");
        try (KafkaProducer<byte[], byte[]> producer = producer("open", 60_000);
                KafkaProducer<byte[], byte[]> other = producer(null, 0);
                KafkaConsumer<byte[], byte[]> consumer = consumer("read_committed", null)) {
            producer.initTransactions();
            producer.beginTransaction();
            send(producer, topic, 0, "first");
            producer.flush();
            send(other, topic, 0, "behind");
            other.flush();
            expect(end(topic, 0, IsolationLevel.READ_COMMITTED), 0L, "last stable offset");
            expect(end(topic, 0, IsolationLevel.READ_UNCOMMITTED), 2L, "high watermark");
            TopicPartition place = new TopicPartition(topic, 0);
            consumer.assign(List.of(place));
            consumer.seekToBeginning(List.of(place));
            expect(consumer.poll(Duration.ofMillis(300)).count(), 0, "records before the commit");
            producer.commitTransaction();
            expect(values(consumer, 2), List.of("first", "behind"), "records after the commit");
        }
    }

    private void aSecondProducerFencesTheFirst() throws Exception {
        String topic = topic("fenced");
        try (KafkaProducer<byte[], byte[]> first = producer("fenced", 60_000);
                KafkaProducer<byte[], byte[]> second = producer("fenced", 60_000)) {
            first.initTransactions();
            first.beginTransaction();
            send(first, topic, 0, "of-the-first");
            first.flush();
            second.initTransactions();
            try {
                send(first, topic, 0, "late");
                first.commitTransaction();
                throw new AssertionError("the first producer was not fenced");
            } catch (ProducerFencedException | InvalidProducerEpochException fenced) {
                System.err.println("fenced: " + fenced);
            } catch (KafkaException error) {
                boolean isFenced = error.getCause() instanceof ProducerFencedException
                    || error.getCause() instanceof InvalidProducerEpochException;
                expect(isFenced, true, "fenced by " + error);
            }
            second.beginTransaction();
            send(second, topic, 0, "of-the-second");
            commit(second);
        }
        expect(read(topic, 0, "read_committed"), List.of("of-the-second"), "committed");
    }

    private void offsetsCommitWithTheTransaction() throws Exception {
        String input = topic("input");
        String output = topic("output");
        String group = prefix + "-copy";
        try (KafkaProducer<byte[], byte[]> filler = producer(null, 0)) {
            for (int number = 0; number < 10; number++) {
                send(filler, input, 0, "r" + number);
            }
        }
        TopicPartition place = new TopicPartition(input, 0);
        try (KafkaProducer<byte[], byte[]> producer = producer("copy", 60_000);
                KafkaConsumer<byte[], byte[]> consumer = consumer("read_committed", group)) {
            producer.initTransactions();
            consumer.subscribe(List.of(input));
            List<String> taken = values(consumer, 10);
            expect(taken.size(), 10, "records taken");
            ConsumerGroupMetadata member = consumer.groupMetadata();
            producer.beginTransaction();
            send(producer, output, 0, "lost");
            producer.sendOffsetsToTransaction(Map.of(place, new OffsetAndMetadata(4)), member);
            producer.abortTransaction();
            expect(committed(consumer, place), null, "committed by an aborted transaction");
            producer.beginTransaction();
            for (String value : taken) {
                send(producer, output, 0, value);
            }
            producer.sendOffsetsToTransaction(Map.of(place, new OffsetAndMetadata(10)), member);
            commit(producer);
            expect(committed(consumer, place).offset(), 10L, "committed offset");
            expect(read(output, 0, "read_committed"), taken, "copied records");
        }
    }

    private void aSlowTransactionIsAborted() throws Exception {
        String topic = topic("slow");
        try (KafkaProducer<byte[], byte[]> producer = producer("slow", 1_000)) {
            producer.initTransactions();
            producer.beginTransaction();
            send(producer, topic, 0, "slow");
            producer.flush();
            long deadline = System.nanoTime() + PATIENCE.toNanos();
            while (end(topic, 0, IsolationLevel.READ_COMMITTED) < 2) {
                expect(System.nanoTime() < deadline, true, "aborted in time");
                Thread.sleep(50);
            }
            try {
                producer.commitTransaction();
                throw new AssertionError("an aborted transaction was committed");
            } catch (ProducerFencedException fenced) {
                System.err.println("refused: " + fenced);
            }
        }
        expect(read(topic, 0, "read_committed"), List.of(), "committed");
    }

    private void manySmallTransactions() throws Exception {
        String topic = topic("many");
        List<String> wanted = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = producer("many", 60_000)) {
            producer.initTransactions();
            for (int number = 0; number < 200; number++) {
                producer.beginTransaction();
                send(producer, topic, 0, "n" + number);
                commit(producer);
                wanted.add("n" + number);
            }
        }
        expect(read(topic, 0, "read_committed"), wanted, "committed");
    }

    private void anEmptyTransactionEnds() throws Exception {
        String topic = topic("empty");
        try (KafkaProducer<byte[], byte[]> producer = producer("empty", 60_000)) {
            producer.initTransactions();
            producer.beginTransaction();
            producer.commitTransaction();
            producer.beginTransaction();
            producer.abortTransaction();
            producer.beginTransaction();
            send(producer, topic, 0, "full");
            commit(producer);
        }
        expect(read(topic, 0, "read_committed"), List.of("full"), "committed");
    }

    /** Each transaction writes its number to every partition; each third one is aborted. */
    private void crashes() throws Exception {
        String topic = topic("crash");
        Set<Integer> committed = new TreeSet<>();
        Set<Integer> unknown = new TreeSet<>();
        KafkaProducer<byte[], byte[]> producer = producer("crash", 60_000);
        retried(producer::initTransactions);
        Thread stopper = new Thread(() -> {
            try {
                System.in.read();
            } catch (java.io.IOException closed) {
                System.err.println("whoever started this is gone: " + closed);
            }
        });
        stopper.setDaemon(true);
        stopper.start();
        System.out.println("READY");
        int number = 0;
        while (stopper.isAlive()) {
            number++;
            boolean isEnding = false;
            try {
                producer.beginTransaction();
                for (int partition = 0; partition < PARTITIONS; partition++) {
                    send(producer, topic, partition, Integer.toString(number));
                }
                producer.flush();
                if (number % 3 == 0) {
                    retried(producer::abortTransaction);
                } else {
                    isEnding = true;
                    retried(producer::commitTransaction);
                    committed.add(number);
                }
            } catch (KafkaException error) {
                System.err.println("transaction " + number + ": " + error);
                if (isEnding) {
                    unknown.add(number);
                }
                producer.close(Duration.ZERO);
                producer = producer("crash", 60_000);
                retried(producer::initTransactions);
            }
        }
        producer.close();
        System.err.println(committed.size() + " of " + number + ", " + unknown.size() + " unknown");
        expect(committed.size() > 20, true, "enough transactions");
        Set<Integer> first = null;
        for (int partition = 0; partition < PARTITIONS; partition++) {
            List<Integer> got = new ArrayList<>();
            for (String value : read(topic, partition, "read_committed")) {
                got.add(Integer.valueOf(value));
            }
            expect(got, new ArrayList<>(new TreeSet<>(got)), "each once, in order");
            first = first == null ? new TreeSet<>(got) : first;
            expect(new TreeSet<>(got), first, "the same transactions in every partition");
            Set<Integer> certain = new TreeSet<>(got);
            certain.removeAll(unknown);
            expect(certain, committed, "committed in partition " + partition);
        }
    }

    /**
     * Commits what was sent. Flushes first: in kafka-clients 4.1 the thread that sends looks
     * whether batches are incomplete before it locks what it sends next, so a send and a commit
     * that fall in between have EndTxn sent before the batch, which the broker refuses with
     * INVALID_TXN_STATE (a commit of nothing). Apache Kafka answers the same.
     */
    private static void commit(KafkaProducer<byte[], byte[]> producer) {
        producer.flush();
        producer.commitTransaction();
    }

    private interface Call {
        void run();
    }

    /** A call that timed out while the broker was away is made again. */
    private static void retried(Call call) {
        long deadline = System.nanoTime() + 3 * PATIENCE.toNanos();
        while (true) {
            try {
                call.run();
                return;
            } catch (TimeoutException error) {
                if (System.nanoTime() > deadline) {
                    throw error;
                }
            }
        }
    }

    private String topic(String name) throws Exception {
        String topic = prefix + "-" + name;
        admin.createTopics(List.of(new NewTopic(topic, PARTITIONS, (short) 1))).all().get();
        return topic;
    }

    /** A transactional producer, or a plain one without a name. */
    private KafkaProducer<byte[], byte[]> producer(String name, int timeoutMs) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("linger.ms", 0);
        if (name != null) {
            properties.put("transactional.id", prefix + "-" + name);
            properties.put("transaction.timeout.ms", timeoutMs);
        }
        ByteArraySerializer bytes = new ByteArraySerializer();
        return new KafkaProducer<>(properties, bytes, bytes);
    }

    private KafkaConsumer<byte[], byte[]> consumer(String isolation, String group) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("isolation.level", isolation);
        properties.put("enable.auto.commit", false);
        properties.put("auto.offset.reset", "earliest");
        if (group != null) {
            properties.put("group.id", group);
        }
        ByteArrayDeserializer bytes = new ByteArrayDeserializer();
        return new KafkaConsumer<>(properties, bytes, bytes);
    }

    private static void send(
            KafkaProducer<byte[], byte[]> producer, String topic, int partition, String value) {
        byte[] bytes = value.getBytes(StandardCharsets.UTF_8);
        producer.send(new ProducerRecord<>(topic, partition, null, bytes));
    }

    /** Everything that a reader of this isolation is shown, up to its end of the partition. */
    private List<String> read(String topic, int partition, String isolation) throws Exception {
        TopicPartition place = new TopicPartition(topic, partition);
        List<String> values = new ArrayList<>();
        untilDecided(topic, partition);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(isolation, null)) {
            consumer.assign(List.of(place));
            consumer.seekToBeginning(List.of(place));
            long end = consumer.endOffsets(List.of(place)).get(place);
            long deadline = System.nanoTime() + PATIENCE.toNanos();
            while (consumer.position(place) < end) {
                expect(System.nanoTime() < deadline, true, "the end of the partition in time");
                consumer.poll(Duration.ofMillis(100)).forEach(
                    record -> values.add(new String(record.value(), StandardCharsets.UTF_8)));
            }
        }
        return values;
    }

    /** An end of a transaction is answered before its markers are written, by Kafka too. */
    private void untilDecided(String topic, int partition) throws Exception {
        long deadline = System.nanoTime() + PATIENCE.toNanos();
        while (end(topic, partition, IsolationLevel.READ_COMMITTED)
                < end(topic, partition, IsolationLevel.READ_UNCOMMITTED)) {
            expect(System.nanoTime() < deadline, true, "the markers of " + topic + " in time");
            Thread.sleep(20);
        }
    }

    private static List<String> values(KafkaConsumer<byte[], byte[]> consumer, int count) {
        List<String> values = new ArrayList<>();
        long deadline = System.nanoTime() + PATIENCE.toNanos();
        while (values.size() < count && System.nanoTime() < deadline) {
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                values.add(new String(record.value(), StandardCharsets.UTF_8));
            }
        }
        return values;
    }

    private long end(String topic, int partition, IsolationLevel isolation) throws Exception {
        TopicPartition place = new TopicPartition(topic, partition);
        ListOffsetsOptions options = new ListOffsetsOptions(isolation);
        return admin.listOffsets(Map.of(place, OffsetSpec.latest()), options)
            .partitionResult(place).get().offset();
    }

    private static OffsetAndMetadata committed(
            KafkaConsumer<byte[], byte[]> consumer, TopicPartition place) {
        return consumer.committed(Set.of(place)).get(place);
    }

    private static void expect(Object actual, Object wanted, String what) {
        if (!Objects.equals(actual, wanted)) {
            throw new AssertionError(what + ": wanted " + wanted + ", got " + actual);
        }
    }
}
