import java.time.Duration;
import java.util.List;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * A producer and a member of a group that outlive brokers, as tests/cluster.rs drives them:
 * ClusterLife HOST:PORT,HOST:PORT,... TOPIC. See cluster_life.py for what it prints. The member
 * speaks the consumer protocol (KIP-848).
 */
public final class ClusterLife {
    private static final int PARTITIONS = 3;
    private static final long PAUSE_MS = 10;
    private static final long READ_PATIENCE_MS = 60_000;

    private static final Set<Integer> acked = ConcurrentHashMap.newKeySet();
    private static final Set<Integer> read = ConcurrentHashMap.newKeySet();
    private static volatile boolean isClosing = false;

    public static void main(String[] arguments) throws Exception {
        inBackground(ClusterLife::waitForEndOfInput);
        inBackground(() -> consume(arguments[0], arguments[1]));
        produce(arguments[0], arguments[1]);
        long deadline = System.currentTimeMillis() + READ_PATIENCE_MS;
        while (!read.containsAll(acked) && System.currentTimeMillis() < deadline) {
            Thread.sleep(50);
        }
        say("DONE");
        Runtime.getRuntime().halt(0);
    }

    private static void inBackground(Runnable work) {
        Thread thread = new Thread(work);
        thread.setDaemon(true);
        thread.start();
    }

    private static void waitForEndOfInput() {
        try {
            while (System.in.read() >= 0) {
                continue;
            }
        } catch (java.io.IOException error) {
            say("ERROR " + error);
        }
        isClosing = true;
    }

    private static void produce(String bootstrap, String topic) throws Exception {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("request.timeout.ms", "10000");
        StringSerializer text = new StringSerializer();
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(properties, text, text)) {
            for (int number = 0; !isClosing; number++) {
                int sent = number;
                ProducerRecord<String, String> record =
                        new ProducerRecord<>(topic, number % PARTITIONS, null, Integer.toString(number));
                producer.send(record, (metadata, error) -> {
                    if (error != null) {
                        say("ERROR produce: " + error);
                        return;
                    }
                    acked.add(sent);
                    say("ACKED " + sent + " " + metadata.partition() + " " + metadata.offset());
                });
                Thread.sleep(PAUSE_MS);
            }
        }
    }

    private static void consume(String bootstrap, String topic) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("group.id", "kafka-clients");
        properties.put("group.protocol", "consumer");
        properties.put("auto.offset.reset", "earliest");
        properties.put("request.timeout.ms", "10000");
        StringDeserializer text = new StringDeserializer();
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(properties, text, text)) {
            consumer.subscribe(List.of(topic));
            while (true) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(100))) {
                    read.add(Integer.valueOf(record.value()));
                    say("READ " + record.value() + " " + record.partition() + " " + record.offset());
                }
            }
        } catch (RuntimeException error) {
            say("ERROR consume: " + error);
        }
    }

    private static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    private ClusterLife() {}
}
