"""A compacted topic as kafka-python writes and reads it.

compacted.py HOST:PORT create TOPIC             keeps the last record of each key
compacted.py HOST:PORT create-short TOPIC       and of those the newest SHORT_BYTES
compacted.py HOST:PORT write TOPIC FIRST END    records FIRST to END - 1, each at its own offset
compacted.py HOST:PORT check TOPIC END          compares what is left with what was written
compacted.py HOST:PORT check-short TOPIC END    the same where the front may be gone
compacted.py HOST:PORT commit GROUP END         commits offsets 0 to END - 1, one after the other
compacted.py HOST:PORT committed GROUP END      compares with the last; counts records left
compacted.py HOST:PORT delete TOPIC COUNT       writes COUNT keys and deletes them
compacted.py HOST:PORT fill TOPIC COUNT         writes COUNT records of ten other keys
compacted.py HOST:PORT deleted TOPIC COUNT      counts values and tombstones of deleted keys
compacted.py HOST:PORT transact TOPIC END       END transactions, every second one aborted
compacted.py HOST:PORT check-transact TOPIC END compares what readers of committed records see

Record n has key n % KEYS, and is a tombstone where n is a multiple of TOMBSTONES.
"""

import hashlib
import sys

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from kafka.errors import OffsetOutOfRangeError
from kafka.structs import OffsetAndMetadata

KEYS = 199
TOMBSTONES = 7
CODECS = [None, "gzip", "snappy", "lz4", "zstd"]
CHUNK = 500
CONFIGS = {
    "cleanup.policy": "compact",
    "segment.index.bytes": "160",
    "index.interval.bytes": "1024",
    "min.cleanable.dirty.ratio": "0.01",
    "delete.retention.ms": "200",
}


def key_of(n):
    return b"key-%d" % (n % KEYS)


def value_of(n):
    if n % TOMBSTONES == 0:
        return None
    # Compresses to about a half.
    texts = [hashlib.sha256(b"%d %d" % (n, i)).hexdigest() for i in range(3)]
    return "".join(texts).encode()


SHORT_BYTES = 60_000
SHORT = {"cleanup.policy": "compact,delete", "retention.bytes": str(SHORT_BYTES)}
OFFSETS = "__consumer_offsets"
COMMITTED_TOPICS = 5


def create(bootstrap, topic, configs=CONFIGS):
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic(topic, 1, 1, topic_configs=configs)])
    admin.close()


def create_short(bootstrap, topic):
    create(bootstrap, topic, CONFIGS | SHORT)


def places(group):
    return [TopicPartition("%s-%d" % (group, n), 0) for n in range(COMMITTED_TOPICS)]


def commit(bootstrap, group, end):
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    configs = {key: CONFIGS[key] for key in CONFIGS if key != "cleanup.policy"}
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    consumer.assign(places(group))
    for n in range(end):
        consumer.commit({place: OffsetAndMetadata(n, "", -1) for place in places(group)})
        if n == 0:
            # The first commit has made the topic.
            admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, OFFSETS, configs)])
    consumer.close()
    admin.close()


def committed(bootstrap, group, end):
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    for place in places(group):
        assert consumer.committed(place) == end - 1, (place, consumer.committed(place))
    consumer.close()
    reader = KafkaConsumer(bootstrap_servers=bootstrap, group_id=None, auto_offset_reset="earliest")
    home = TopicPartition(OFFSETS, 0)
    reader.assign([home])
    records = read(reader, home, 0, reader.end_offsets([home])[home])
    print(f"LEFT {len(records)} 0")
    reader.close()


def write(bootstrap, topic, first, end):
    for start in range(first, end, CHUNK):
        codec = CODECS[start // CHUNK % len(CODECS)]
        producer = KafkaProducer(
            bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, linger_ms=1,
            compression_type=codec, batch_size=4000)
        numbers = range(start, min(start + CHUNK, end))
        sent = [producer.send(topic, key=key_of(n), value=value_of(n), partition=0,
                              timestamp_ms=1_000_000 + n) for n in numbers]
        producer.flush(timeout=20)
        for n, future in zip(numbers, sent):
            offset = future.get(timeout=20).offset
            assert offset == n, f"record {n} was given offset {offset}"
        producer.close()


def send_all(bootstrap, topic, records):
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=1, batch_size=4000)
    for key, value in records:
        producer.send(topic, key=key, value=value, partition=0)
    producer.flush(timeout=20)
    producer.close()


def delete(bootstrap, topic, count):
    for value in [b"a value", None]:
        send_all(bootstrap, topic, [(b"gone-%d" % n, value) for n in range(count)])


def fill(bootstrap, topic, count):
    records = [(b"fill-%d" % (n % 10), hashlib.sha256(b"%d" % n).digest() * 8)
               for n in range(count)]
    send_all(bootstrap, topic, records)


def deleted(bootstrap, topic, _count):
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=None, fetch_max_wait_ms=50)
    home = TopicPartition(topic, 0)
    consumer.assign([home])
    records = read(consumer, home, 0, consumer.end_offsets([home])[home])
    gone = [record for record in records if record.key.startswith(b"gone-")]
    tombstones = sum(record.value is None for record in gone)
    print(f"LEFT {len(gone) - tombstones} {tombstones}")


def transact(bootstrap, topic, end):
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=1,
                             transactional_id="compacted-%s" % topic)
    producer.init_transactions()
    for n in range(end):
        producer.begin_transaction()
        for m in range(4):
            producer.send(topic, key=b"key-%d" % ((n + m) % KEYS), value=b"%d-" % n + b"x" * 300,
                          partition=0)
        producer.abort_transaction() if n % 2 else producer.commit_transaction()
    producer.close()


def check_transact(bootstrap, topic, end):
    home = TopicPartition(topic, 0)
    expected = {}
    for n in range(0, end, 2):
        expected.update({b"key-%d" % ((n + m) % KEYS): n for m in range(4)})
    counts = []
    for isolation in ["read_committed", "read_uncommitted"]:
        consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=None, fetch_max_wait_ms=50,
                                 auto_offset_reset="none", isolation_level=isolation)
        consumer.assign([home])
        records = read(consumer, home, 0, consumer.end_offsets([home])[home])
        if isolation == "read_committed":
            found = {record.key: int(record.value.split(b"-")[0]) for record in records}
            assert found == expected, (found, expected)
        counts.append(len(records))
        consumer.close()
    print(f"LEFT {counts[0]} {counts[1]}")


def read(consumer, home, start, end):
    consumer.seek(home, start)
    records = []
    while consumer.position(home) < end:
        for batch in consumer.poll(timeout_ms=1000).values():
            records.extend(batch)
    return records


def check_short(bootstrap, topic, end):
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=None, auto_offset_reset="none",
                             fetch_max_wait_ms=50)
    home = TopicPartition(topic, 0)
    consumer.assign([home])
    assert consumer.end_offsets([home])[home] == end
    while True:
        start = consumer.beginning_offsets([home])[home]
        try:
            records = read(consumer, home, start, end)
            break
        except OffsetOutOfRangeError:
            pass  # The front went on meanwhile.
    for record in records:
        assert (record.key, record.value) == (key_of(record.offset), value_of(record.offset))
    left = {record.key: record.offset for record in records}
    for n in range(max(end - KEYS, start), end):
        assert value_of(n) is None or left.get(key_of(n)) == n, f"{key_of(n)} is not that of {n}"
    print(f"LEFT {len(records)} {start}")


def check(bootstrap, topic, end):
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=None, auto_offset_reset="none",
                             fetch_max_wait_ms=50)
    home = TopicPartition(topic, 0)
    consumer.assign([home])
    assert consumer.end_offsets([home])[home] == end
    assert consumer.beginning_offsets([home])[home] == 0
    records = read(consumer, home, 0, end)
    offsets = [record.offset for record in records]
    assert offsets == sorted(set(offsets)), "offsets rise"
    for record in records:
        assert (record.key, record.value) == (key_of(record.offset), value_of(record.offset))
        assert record.timestamp == 1_000_000 + record.offset
    left = {record.key: record for record in records}
    for n in range(end - KEYS, end):
        record = left.get(key_of(n))
        if value_of(n) is None:
            assert record is None or record.offset == n, f"{key_of(n)} was deleted at {n}"
        else:
            assert record is not None and record.offset == n, f"{key_of(n)} is not that of {n}"
    for start in range(0, end, max(end // 13, 1)):
        first = next(record.offset for record in records if record.offset >= start)
        again = read(consumer, home, start, first + 1)
        assert again[0].offset == first, f"from {start} the next is {first}"
        found = consumer.offsets_for_times({home: 1_000_000 + start})[home]
        assert found.offset == first, f"at time {start}: {found} is not {first}"
    tombstones = sum(record.value is None for record in records)
    print(f"LEFT {len(records)} {tombstones}")


if __name__ == "__main__":
    bootstrap, verb, topic = sys.argv[1:4]
    numbers = [int(text) for text in sys.argv[4:]]
    globals()[verb.replace("-", "_")](bootstrap, topic, *numbers)
