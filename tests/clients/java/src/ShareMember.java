import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.AcknowledgeType;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * One member of a share group, as tests/share_groups.rs drives it:
 * ShareMember HOST:PORT GROUP TOPIC MODE [key=value].
 *
 * <p>It prints `AT value deliveryCount` for each record. MODE says what becomes of a record:
 * `implicit` accepts with the next poll; `accept`, `release` and `reject` say so of each record and
 * commit; `first` releases a record when it comes the first time and accepts it after that; `half`
 * accepts the even values only and polls no more; `hold` says nothing and polls no more. After each commit it prints `DONE` or `LOST exception`. It closes
 * and ends when its standard input ends.
 *
 * <p>MODE `from=OFFSET` is no member: it has the group read partition 0 of the topic from there on.
 */
public final class ShareMember {
    private static volatile boolean isClosing = false;

    public static void main(String[] arguments) throws Exception {
        String mode = arguments[3];
        Properties properties = new Properties();
        properties.put("bootstrap.servers", arguments[0]);
        properties.put("group.id", arguments[1]);
        properties.put("key.deserializer", StringDeserializer.class.getName());
        properties.put("value.deserializer", StringDeserializer.class.getName());
        if (mode.startsWith("from=")) {
            setOffset(arguments, Long.parseLong(mode.substring(5)));
            say("DONE");
            return;
        }
        if (!mode.equals("implicit")) {
            properties.put("share.acknowledgement.mode", "explicit");
        }
        for (int i = 4; i < arguments.length; i++) {
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
        try (KafkaShareConsumer<String, String> consumer = new KafkaShareConsumer<>(properties)) {
            consumer.subscribe(List.of(arguments[2]));
            say("READY");
            run(consumer, mode);
        }
        System.exit(0);
    }

    private static void setOffset(String[] arguments, long offset) throws Exception {
        TopicPartition partition = new TopicPartition(arguments[2], 0);
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", arguments[0]))) {
            admin.alterShareGroupOffsets(arguments[1], Map.of(partition, offset)).all().get();
        }
    }

    private static void run(KafkaShareConsumer<String, String> consumer, String mode) throws Exception {
        while (!isClosing) {
            ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(100));
            for (ConsumerRecord<String, String> record : records) {
                short count = record.deliveryCount().orElse((short) 0);
                say("AT " + record.value() + " " + count);
                switch (mode) {
                    case "accept" -> consumer.acknowledge(record, AcknowledgeType.ACCEPT);
                    case "release" -> consumer.acknowledge(record, AcknowledgeType.RELEASE);
                    case "reject" -> consumer.acknowledge(record, AcknowledgeType.REJECT);
                    case "first" -> consumer.acknowledge(
                        record, count == 1 ? AcknowledgeType.RELEASE : AcknowledgeType.ACCEPT);
                    case "half" -> {
                        if (Integer.parseInt(record.value()) % 2 == 0) {
                            consumer.acknowledge(record, AcknowledgeType.ACCEPT);
                        }
                    }
                    default -> { }
                }
            }
            if (records.isEmpty()) {
                continue;
            }
            if (!mode.equals("hold")) {
                consumer.commitSync().forEach((partition, error) -> say(
                    error.map(lost -> "LOST " + lost.getClass().getSimpleName()).orElse("DONE")));
            }
            if (mode.equals("hold") || mode.equals("half")) {
                say("HELD");
                while (!isClosing) {
                    Thread.sleep(100);
                }
                return;
            }
        }
    }

    private static void say(String line) {
        System.out.println(line);
        System.out.flush();
    }
}
