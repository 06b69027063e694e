import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.KStream;

/**
 * Reads `trades` (key: symbol, value: price quantity), keeps what has been traded of each symbol,
 * and writes it to `volumes` after each trade, exactly once: trades, quantity, value, average price.
 */
public final class TradingFeed {
    public static void main(String[] arguments) throws Exception {
        String bootstrap = System.getenv().getOrDefault("HIGHWATER_BOOTSTRAP", "127.0.0.1:9092");
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, "trading-feed");
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        properties.put(StreamsConfig.STATE_DIR_CONFIG, "state");
        properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0);
        properties.put("auto.offset.reset", "earliest");
        properties.put("default.key.serde", Serdes.StringSerde.class.getName());
        properties.put("default.value.serde", Serdes.StringSerde.class.getName());

        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, String> trades = builder.stream("trades");
        trades.groupByKey()
                .aggregate(() -> "0 0 0", (symbol, trade, sum) -> add(sum, trade))
                .toStream()
                .mapValues(TradingFeed::withAverage)
                .to("volumes");

        KafkaStreams streams = new KafkaStreams(builder.build(), properties);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(20))));
        streams.setStateListener((now, before) -> System.out.println(now));
        streams.start();
    }

    /** `trades quantity cents` and `price quantity` give the next `trades quantity cents`. */
    private static String add(String sum, String trade) {
        String[] so = sum.split(" ");
        String[] by = trade.split(" ");
        long quantity = Long.parseLong(by[1]);
        long cents = Math.round(Double.parseDouble(by[0]) * 100) * quantity;
        return (Long.parseLong(so[0]) + 1) + " " + (Long.parseLong(so[1]) + quantity) + " "
                + (Long.parseLong(so[2]) + cents);
    }

    private static String withAverage(String sum) {
        String[] so = sum.split(" ");
        double value = Long.parseLong(so[2]) / 100.0;
        return String.format("%s trades, %s pieces, %.2f in all, %.4f a piece", so[0], so[1], value,
                value / Long.parseLong(so[1]));
    }

    private TradingFeed() {}
}
