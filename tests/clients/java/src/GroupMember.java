import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.Collection;
import java.util.List;
import java.util.Properties;
import java.util.TreeSet;
import java.util.regex.Pattern;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * One member of a group, as tests/groups.rs drives it: GroupMember HOST:PORT GROUP TOPIC [key=value].
 *
 * <p>It prints `OWNS 0,2` when its partitions change and `AT partition offset` for each record, and
 * commits after each poll. It closes and ends when its standard input ends.
 */
public final class GroupMember {
    private static volatile boolean isClosing = false;

    public static void main(String[] arguments) throws Exception {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", arguments[0]);
        properties.put("group.id", arguments[1]);
        properties.put("enable.auto.commit", "false");
        properties.put("auto.offset.reset", "earliest");
        properties.put("key.deserializer", ByteArrayDeserializer.class.getName());
        properties.put("value.deserializer", ByteArrayDeserializer.class.getName());
        for (int i = 3; i < arguments.length; i++) {
            String[] pair = arguments[i].split("=", 2);
            properties.put(pair[0], pair[1]);
        }
        Thread reader = new Thread(() -> {
            try (BufferedReader input = new BufferedReader(new InputStreamReader(System.in))) {
                while (input.readLine() != null) {
                    continue;
                }
            } catch (Exception error) {
                error.printStackTrace();
            }
            isClosing = true;
        });
        reader.setDaemon(true);
        reader.start();
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(properties)) {
            run(consumer, arguments[2]);
        }
        System.exit(0);
    }

    private static void run(KafkaConsumer<byte[], byte[]> consumer, String topic) {
        Listener listener = new Listener();
        if (topic.startsWith("^")) {
            consumer.subscribe(
                new org.apache.kafka.clients.consumer.SubscriptionPattern(topic.substring(1)), listener);
        } else {
            consumer.subscribe(List.of(topic), listener);
        }
        while (!isClosing) {
            ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(100));
            for (ConsumerRecord<byte[], byte[]> record : records) {
                say("AT " + record.partition() + " " + record.offset());
            }
            if (!records.isEmpty()) {
                try {
                    consumer.commitSync();
                } catch (org.apache.kafka.clients.consumer.CommitFailedException
                    | org.apache.kafka.common.errors.RebalanceInProgressException moved) {
                    say("MOVED " + moved.getClass().getSimpleName());
                }
            }
        }
    }

    private static final class Listener implements ConsumerRebalanceListener {
        private final TreeSet<Integer> owned = new TreeSet<>();

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            partitions.forEach(partition -> owned.add(partition.partition()));
            owns();
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            partitions.forEach(partition -> owned.remove(partition.partition()));
            owns();
        }

        @Override
        public void onPartitionsLost(Collection<TopicPartition> partitions) {
            onPartitionsRevoked(partitions);
        }

        private void owns() {
            say("OWNS " + String.join(",", owned.stream().map(String::valueOf).toList()));
        }
    }

    private static void say(String line) {
        System.out.println(line);
        System.out.flush();
    }
}
