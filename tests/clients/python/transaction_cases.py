"""confluent-kafka (librdkafka) runs transactions: transaction_cases.py HOST:PORT PREFIX

What is expected is what Apache Kafka 4.1 does. One line is printed per case: `PASS name` or
`FAIL name: why`.
"""

import sys
import time
import traceback

from confluent_kafka import (
    OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic

PATIENCE = 30


class Cases:
    def __init__(self, bootstrap, prefix):
        self.bootstrap = bootstrap
        self.prefix = prefix
        self.admin = AdminClient({"bootstrap.servers": bootstrap})

    def topic(self, name):
        topic = f"{self.prefix}-{name}"
        self.admin.create_topics([NewTopic(topic, 2, 1)])[topic].result(timeout=PATIENCE)
        return topic

    def producer(self, name):
        producer = Producer({
            "bootstrap.servers": self.bootstrap, "transactional.id": f"{self.prefix}-{name}",
            "linger.ms": 0,
        })
        producer.init_transactions(PATIENCE)
        return producer

    def consumer(self, isolation, group):
        return Consumer({
            "bootstrap.servers": self.bootstrap, "group.id": group, "isolation.level": isolation,
            "enable.auto.commit": False, "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
        })

    def read(self, topic, partition, isolation):
        """Everything that a reader of this isolation is shown, up to its end of the partition."""
        consumer = self.consumer(isolation, "reader")
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
        values = []
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            message = consumer.poll(0.1)
            if message is None:
                continue
            if message.error() is None:
                values.append(message.value().decode())
            elif message.error().code() == KafkaError._PARTITION_EOF:
                break
            else:
                raise KafkaException(message.error())
        consumer.close()
        return values

    def aborted_records_are_not_shown(self):
        topic = self.topic("aborted")
        producer = self.producer("aborted")
        for number in range(6):
            producer.begin_transaction()
            for partition in range(2):
                producer.produce(topic, f"r{number}", partition=partition)
            if number % 2 == 0:
                producer.commit_transaction(PATIENCE)
            else:
                producer.flush(PATIENCE)
                producer.abort_transaction(PATIENCE)
        for partition in range(2):
            expect(self.read(topic, partition, "read_committed"), ["r0", "r2", "r4"], "committed")
            expect(len(self.read(topic, partition, "read_uncommitted")), 6, "all records")

    def a_second_producer_fences_the_first(self):
        topic = self.topic("fenced")
        first = self.producer("fenced")
        first.begin_transaction()
        first.produce(topic, "of-the-first", partition=0)
        first.flush(PATIENCE)
        second = self.producer("fenced")
        try:
            first.produce(topic, "late", partition=0)
            first.commit_transaction(PATIENCE)
            raise AssertionError("the first producer was not fenced")
        except KafkaException as error:
            fenced = [KafkaError._FENCED, KafkaError.PRODUCER_FENCED,
                      KafkaError.INVALID_PRODUCER_EPOCH]
            expect(error.args[0].code() in fenced, True, f"fenced by {error}")
        second.begin_transaction()
        second.produce(topic, "of-the-second", partition=0)
        second.commit_transaction(PATIENCE)
        expect(self.read(topic, 0, "read_committed"), ["of-the-second"], "committed")

    def offsets_commit_with_the_transaction(self):
        source = self.topic("source")
        producer = self.producer("offsets")
        producer.begin_transaction()
        for number in range(5):
            producer.produce(source, f"r{number}", partition=0)
        producer.commit_transaction(PATIENCE)
        consumer = self.consumer("read_committed", f"{self.prefix}-group")
        consumer.subscribe([source])
        taken = []
        deadline = time.monotonic() + PATIENCE
        while len(taken) < 5 and time.monotonic() < deadline:
            message = consumer.poll(0.1)
            if message is not None and message.error() is None:
                taken.append(message.value().decode())
        expect(taken, [f"r{number}" for number in range(5)], "taken")
        member = consumer.consumer_group_metadata()
        place = TopicPartition(source, 0, 3)
        producer.begin_transaction()
        producer.send_offsets_to_transaction([place], member, PATIENCE)
        producer.abort_transaction(PATIENCE)
        committed = consumer.committed([TopicPartition(source, 0)], PATIENCE)[0].offset
        expect(committed < 0, True, f"nothing was committed, not {committed}")
        producer.begin_transaction()
        producer.send_offsets_to_transaction([place], member, PATIENCE)
        producer.commit_transaction(PATIENCE)
        committed = consumer.committed([TopicPartition(source, 0)], PATIENCE)[0].offset
        expect(committed, 3, "committed offset")
        consumer.close()

    def many_small_transactions(self):
        topic = self.topic("many")
        producer = self.producer("many")
        for number in range(100):
            producer.begin_transaction()
            producer.produce(topic, f"n{number}", partition=0)
            producer.commit_transaction(PATIENCE)
        wanted = [f"n{number}" for number in range(100)]
        expect(self.read(topic, 0, "read_committed"), wanted, "committed")


def expect(actual, wanted, what):
    if actual != wanted:
        raise AssertionError(f"{what}: wanted {wanted!r}, got {actual!r}")


def main():
    cases = Cases(sys.argv[1], sys.argv[2])
    for case in [
        cases.aborted_records_are_not_shown,
        cases.a_second_producer_fences_the_first,
        cases.offsets_commit_with_the_transaction,
        cases.many_small_transactions,
    ]:
        try:
            case()
            print(f"PASS {case.__name__}", flush=True)
        except Exception as error:  # Whatever it was, the next case is worth running.
            traceback.print_exc()
            print(f"FAIL {case.__name__}: {error}", flush=True)


main()
