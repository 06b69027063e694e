"""kafka-python runs the cases: kafka_python_cases.py HOST:PORT PREFIX"""

import re
import sys
import time

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewPartitions, NewTopic
from kafka.errors import BrokerResponseError
from kafka.structs import OffsetAndMetadata

from cases import EARLIEST, Answer, Got, run

PATIENCE = 20


def asked(action):
    """Runs `action`; an error that the broker answered becomes an Answer."""
    try:
        return action()
    except BrokerResponseError as error:
        raise Answer(error.errno, str(error)) from error


class KafkaPython:
    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.admin = KafkaAdminClient(bootstrap_servers=bootstrap)
        self.reader = self.consumer(None)
        self.producers = {}

    def consumer(self, group):
        return KafkaConsumer(
            bootstrap_servers=self.bootstrap, group_id=group, enable_auto_commit=False,
            auto_offset_reset="none", fetch_max_wait_ms=50, allow_auto_create_topics=False,
            metadata_max_age_ms=2000, metrics_enabled=False)

    def create_topic(self, name, partitions, configs, replicas=1):
        topic = NewTopic(name, partitions, replicas, topic_configs=configs)
        asked(lambda: self.admin.create_topics([topic]))

    def delete_topic(self, name):
        asked(lambda: self.admin.delete_topics([name]))

    def producer(self, **options):
        known = tuple(sorted(options.items()))
        if known not in self.producers:
            self.producers[known] = KafkaProducer(
                bootstrap_servers=self.bootstrap, linger_ms=2, metrics_enabled=False, **options)
        return self.producers[known]

    def produce(self, topic, records, compression="none", acks="all", idempotent=False,
                max_request=1_000_000, patience=PATIENCE):
        producer = self.producer(
            compression_type=None if compression == "none" else compression,
            acks="all" if acks == "all" else int(acks), enable_idempotence=idempotent,
            max_request_size=max_request, max_block_ms=patience * 1000)
        futures = [
            producer.send(topic, value=r.value, key=r.key, partition=r.partition,
                          headers=r.headers, timestamp_ms=r.timestamp) for r in records
        ]
        producer.flush(timeout=patience)
        if acks == "0":
            return [(r.partition, None) for r in records]
        results = [asked(lambda f=future: f.get(timeout=patience)) for future in futures]
        return [(result.partition, result.offset) for result in results]

    def consume(self, topic, partition, start, count):
        home = TopicPartition(topic, partition)
        self.reader.assign([home])
        if start == EARLIEST:
            self.reader.seek_to_beginning(home)
        else:
            self.reader.seek(home, start)
        got = []
        deadline = time.monotonic() + PATIENCE
        while len(got) < count and time.monotonic() < deadline:
            for records in asked(lambda: self.reader.poll(timeout_ms=200)).values():
                got += [Got(r.offset, r.key, r.value, r.headers, r.timestamp) for r in records]
        return got[:count]

    def fetch_out_of_range(self, topic, partition, offset):
        try:
            return self.consume(topic, partition, offset, 1)
        except Exception as error:
            if "OffsetOutOfRange" in type(error).__name__:
                raise Answer(1) from error
            raise

    def first_offset(self, topic, partition):
        home = TopicPartition(topic, partition)
        return asked(lambda: self.reader.beginning_offsets([home]))[home]

    def end_offset(self, topic, partition):
        home = TopicPartition(topic, partition)
        return asked(lambda: self.reader.end_offsets([home]))[home]

    def offset_for_time(self, topic, partition, timestamp):
        home = TopicPartition(topic, partition)
        found = asked(lambda: self.reader.offsets_for_times({home: timestamp}))[home]
        return None if found is None or found.offset < 0 else found.offset

    def topics(self):
        return set(self.admin.list_topics())

    def describe(self, topic):
        return asked(lambda: self.admin.describe_topics([topic]))[0]

    def partitions(self, topic):
        found = self.describe(topic)["partitions"]
        return {p["partition_index"]: p["leader_id"] for p in found}

    def unknown_topic(self, name):
        raise Answer(self.describe(name)["error_code"])

    def topic_configs(self, topic):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        found = asked(lambda: self.admin.describe_configs([resource], config_filter="all"))
        return {key: entry["value"] for key, entry in found["topic"][topic].items()}

    def set_topic_config(self, topic, key, value):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs={key: value})
        result = asked(lambda: self.admin.alter_configs([resource]))["topic"][topic]
        if result != "OK":
            raise Answer(int(re.search(r"\d+", result).group()), result)

    def grow(self, topic, partitions):
        asked(lambda: self.admin.create_partitions({topic: NewPartitions(partitions)}))

    def delete_records(self, topic, partition, offset):
        asked(lambda: self.admin.delete_records({TopicPartition(topic, partition): offset}))

    def commit(self, group, topic, partition, offset, text):
        consumer = self.consumer(group)
        home = TopicPartition(topic, partition)
        consumer.assign([home])
        try:
            asked(lambda: consumer.commit({home: OffsetAndMetadata(offset, text, -1)}))
        finally:
            consumer.close(autocommit=False)

    def committed(self, group, topic, partition):
        consumer = self.consumer(group)
        home = TopicPartition(topic, partition)
        try:
            found = asked(lambda: consumer.committed(home, metadata=True))
        finally:
            consumer.close(autocommit=False)
        return None if found is None else (found.offset, found.metadata)


if __name__ == "__main__":
    run(KafkaPython(sys.argv[1]), sys.argv[2])
