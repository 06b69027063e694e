"""confluent-kafka (librdkafka) runs the cases: confluent_cases.py HOST:PORT PREFIX"""

import sys
import time

from confluent_kafka import (
    OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic,
)

from cases import EARLIEST, UNKNOWN_TOPIC_OR_PARTITION, Answer, Got, run

PATIENCE = 20


class Librdkafka:
    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.admin = AdminClient({"bootstrap.servers": bootstrap})
        self.reader = self.consumer("librdkafka-reader")
        self.producers = {}

    def consumer(self, group):
        return Consumer({
            "bootstrap.servers": self.bootstrap, "group.id": group, "enable.auto.commit": False,
            "auto.offset.reset": "error", "fetch.wait.max.ms": 50,
            "allow.auto.create.topics": False,
        })

    def answer(self, future):
        try:
            return future.result(timeout=PATIENCE)
        except KafkaException as error:
            raise code_of(error.args[0]) from error

    def create_topic(self, name, partitions, configs, replicas=1):
        topic = NewTopic(name, partitions, replicas, config=configs)
        self.answer(self.admin.create_topics([topic])[name])

    def delete_topic(self, name):
        self.answer(self.admin.delete_topics([name])[name])

    def producer(self, options):
        known = tuple(sorted(options.items()))
        if known not in self.producers:
            self.producers[known] = Producer(dict(options))
        return self.producers[known]

    def produce(self, topic, records, compression="none", acks="all", idempotent=False,
                max_request=1_000_000, patience=PATIENCE):
        producer = self.producer({
            "bootstrap.servers": self.bootstrap, "compression.type": compression, "acks": acks,
            "enable.idempotence": idempotent, "message.max.bytes": max_request, "linger.ms": 2,
        })
        answers = [None] * len(records)
        failures = []

        def delivered(index, error, message):
            if error is not None:
                failures.append(error)
            else:
                answers[index] = (message.partition(), message.offset())

        for index, record in enumerate(records):
            more = {} if record.partition is None else {"partition": record.partition}
            if record.timestamp is not None:
                more["timestamp"] = record.timestamp
            producer.produce(
                topic, value=record.value, key=record.key, headers=record.headers,
                on_delivery=lambda e, m, i=index: delivered(i, e, m), **more)
        if producer.flush(patience):
            raise TimeoutError("records still queued")
        if failures:
            raise code_of(failures[0])
        return answers

    def consume(self, topic, partition, start, count):
        offset = OFFSET_BEGINNING if start == EARLIEST else start
        self.reader.assign([TopicPartition(topic, partition, offset)])
        got = []
        deadline = time.monotonic() + PATIENCE
        while len(got) < count and time.monotonic() < deadline:
            for message in self.reader.consume(count - len(got), timeout=0.2):
                if message.error():
                    raise code_of(message.error())
                got.append(Got(message.offset(), message.key(), message.value(),
                               message.headers(), message.timestamp()[1]))
        self.reader.unassign()
        return got

    def fetch_out_of_range(self, topic, partition, offset):
        return self.consume(topic, partition, offset, 1)

    def first_offset(self, topic, partition):
        return self.watermarks(topic, partition)[0]

    def end_offset(self, topic, partition):
        return self.watermarks(topic, partition)[1]

    def watermarks(self, topic, partition):
        """Asks again while a new topic's leader settles: librdkafka leaves that to the caller."""
        deadline = time.monotonic() + PATIENCE
        asked = TopicPartition(topic, partition)
        while True:
            try:
                return self.reader.get_watermark_offsets(asked, timeout=PATIENCE)
            except KafkaException as error:
                if not error.args[0].retriable() and error.args[0].code() != 6:
                    raise code_of(error.args[0]) from error
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def offset_for_time(self, topic, partition, timestamp):
        asked = [TopicPartition(topic, partition, timestamp)]
        found = self.reader.offsets_for_times(asked, timeout=PATIENCE)[0]
        if found.error:
            raise code_of(found.error)
        return None if found.offset < 0 else found.offset

    def topics(self):
        return set(self.admin.list_topics(timeout=PATIENCE).topics)

    def partitions(self, topic):
        found = self.admin.list_topics(topic=topic, timeout=PATIENCE).topics[topic].partitions
        return {number: partition.leader for number, partition in found.items()}

    def unknown_topic(self, name):
        consumer = self.consumer("librdkafka-unknown")
        consumer.subscribe([name])
        try:
            consumer.assign([TopicPartition(name, 0, 0)])
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                message = consumer.poll(0.2)
                if message is not None and message.error():
                    raise code_of(message.error())
        finally:
            consumer.close()

    def topic_configs(self, topic):
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        found = self.answer(self.admin.describe_configs([resource])[resource])
        return {key: entry.value for key, entry in found.items()}

    def set_topic_config(self, topic, key, value):
        entry = ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
        self.answer(self.admin.incremental_alter_configs([resource])[resource])

    def grow(self, topic, partitions):
        self.answer(self.admin.create_partitions([NewPartitions(topic, partitions)])[topic])

    def delete_records(self, topic, partition, offset):
        asked = TopicPartition(topic, partition, offset)
        found = self.admin.delete_records([asked])
        self.answer(next(iter(found.values())))

    def commit(self, group, topic, partition, offset, text):
        consumer = self.consumer(group)
        try:
            consumer.assign([TopicPartition(topic, partition)])
            consumer.commit(offsets=[TopicPartition(topic, partition, offset, metadata=text)],
                            asynchronous=False)
        finally:
            consumer.close()

    def committed(self, group, topic, partition):
        consumer = self.consumer(group)
        try:
            found = consumer.committed([TopicPartition(topic, partition)], timeout=PATIENCE)[0]
        finally:
            consumer.close()
        if found.error:
            raise code_of(found.error)
        return None if found.offset < 0 else (found.offset, found.metadata or "")


# librdkafka turns some answers into codes of its own before the application sees them.
LOCAL_CODES = {
    KafkaError._UNKNOWN_TOPIC: UNKNOWN_TOPIC_OR_PARTITION,
    KafkaError._UNKNOWN_PARTITION: UNKNOWN_TOPIC_OR_PARTITION,
    KafkaError._AUTO_OFFSET_RESET: 1,
}


def code_of(error):
    return Answer(LOCAL_CODES.get(error.code(), error.code()), error.str())


if __name__ == "__main__":
    run(Librdkafka(sys.argv[1]), sys.argv[2])
