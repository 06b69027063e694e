"""A library runs transactions: transaction_cases.py LIBRARY HOST:PORT PREFIX

The cases are written once over an adapter for each library. What is expected is what Apache Kafka
4.1 does. One line is printed per case: `PASS name` or `FAIL name: why`. At a line `KILL` the broker
is killed and started again by whoever runs this, who then writes a line.
"""

import asyncio
import sys
import time
import traceback

PATIENCE = 30
# Longer than a group of one takes to share its partitions, also on a busy machine.
MEMBER_POLL_MS = 25_000
PARTITIONS = 2


class Confluent:
    """confluent-kafka (librdkafka)."""

    def __init__(self, bootstrap):
        from confluent_kafka.admin import AdminClient

        self.bootstrap = bootstrap
        self.admin = AdminClient({"bootstrap.servers": bootstrap})

    def create_topic(self, topic, partitions):
        from confluent_kafka.admin import NewTopic

        self.admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(timeout=PATIENCE)

    def producer(self, name):
        return ConfluentProducer(self.bootstrap, name)

    def consumer(self, group, isolation):
        from confluent_kafka import Consumer

        return Consumer({
            "bootstrap.servers": self.bootstrap, "group.id": group, "isolation.level": isolation,
            "enable.auto.commit": False, "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
        })

    def read(self, topic, partition, isolation):
        from confluent_kafka import OFFSET_BEGINNING, KafkaError, TopicPartition

        consumer = self.consumer("reader", isolation)
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
        values = []
        for _ in until_late("the end of the partition"):
            message = consumer.poll(0.1)
            if message is None:
                continue
            if message.error() is None:
                values.append(message.value().decode())
            elif message.error().code() == KafkaError._PARTITION_EOF:
                break
        consumer.close()
        return values

    def member(self, group, topic, count):
        consumer = self.consumer(group, "read_committed")
        consumer.subscribe([topic])
        values = []
        for _ in until_late(f"{count} records"):
            message = consumer.poll(0.1)
            if message is not None and message.error() is None:
                values.append(message.value().decode())
            if len(values) == count:
                return consumer, values

    def committed(self, group, topic, partition):
        from confluent_kafka import TopicPartition

        consumer = self.consumer(group, "read_committed")
        offset = consumer.committed([TopicPartition(topic, partition)], PATIENCE)[0].offset
        consumer.close()
        return offset if offset >= 0 else None

    def is_fenced(self, error):
        from confluent_kafka import KafkaError

        fenced = [KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH]
        return error.args[0].code() in fenced


class ConfluentProducer:
    def __init__(self, bootstrap, name):
        from confluent_kafka import Producer

        self.producer = Producer(
            {"bootstrap.servers": bootstrap, "transactional.id": name, "linger.ms": 0})
        self.producer.init_transactions(PATIENCE)

    def begin(self):
        self.producer.begin_transaction()

    def send(self, topic, partition, value):
        self.producer.produce(topic, value, partition=partition)

    def flush(self):
        self.producer.flush(PATIENCE)

    def send_offsets(self, topic, partition, offset, member, _):
        from confluent_kafka import TopicPartition

        place = TopicPartition(topic, partition, offset)
        metadata = member.consumer_group_metadata()
        self.producer.send_offsets_to_transaction([place], metadata, PATIENCE)

    def commit(self):
        self.producer.commit_transaction(PATIENCE)

    def abort(self):
        self.producer.abort_transaction(PATIENCE)

    def close(self):
        self.producer.purge()


class KafkaPython:
    """kafka-python."""

    def __init__(self, bootstrap):
        from kafka import KafkaAdminClient

        self.bootstrap = bootstrap
        self.admin = KafkaAdminClient(bootstrap_servers=bootstrap)

    def create_topic(self, topic, partitions):
        from kafka.admin import NewTopic

        self.admin.create_topics([NewTopic(topic, partitions, 1)])

    def producer(self, name):
        return KafkaPythonProducer(self.bootstrap, name)

    def consumer(self, group, isolation):
        from kafka import KafkaConsumer

        return KafkaConsumer(
            bootstrap_servers=self.bootstrap, group_id=group, isolation_level=isolation,
            enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=50)

    def read(self, topic, partition, isolation):
        from kafka import TopicPartition

        consumer = self.consumer(None, isolation)
        place = TopicPartition(topic, partition)
        consumer.assign([place])
        consumer.seek_to_beginning(place)
        end = consumer.end_offsets([place])[place]
        values = []
        for _ in until_late("the end of the partition"):
            if consumer.position(place) >= end:
                break
            for records in consumer.poll(timeout_ms=100).values():
                values += [record.value.decode() for record in records]
        consumer.close()
        return values

    def member(self, group, topic, count):
        consumer = self.consumer(group, "read_committed")
        consumer.subscribe([topic])
        values = []
        for _ in until_late(f"{count} records"):
            # A poll that ends while the leader's SyncGroup is under way makes 3.0.12 forget the
            # answer: it has no partitions then, and never asks again.
            for records in consumer.poll(timeout_ms=MEMBER_POLL_MS).values():
                values += [record.value.decode() for record in records]
            if len(values) >= count:
                return consumer, values

    def committed(self, group, topic, partition):
        from kafka import TopicPartition

        consumer = self.consumer(group, "read_committed")
        offset = consumer.committed(TopicPartition(topic, partition))
        consumer.close()
        return offset

    def is_fenced(self, error):
        from kafka import errors

        return isinstance(error, (errors.ProducerFencedError, errors.InvalidProducerEpochError))


class KafkaPythonProducer:
    def __init__(self, bootstrap, name):
        from kafka import KafkaProducer

        self.producer = KafkaProducer(
            bootstrap_servers=bootstrap, transactional_id=name, linger_ms=0)
        self.producer.init_transactions()

    def begin(self):
        self.producer.begin_transaction()

    def send(self, topic, partition, value):
        self.producer.send(topic, value=value.encode(), partition=partition)

    def flush(self):
        self.producer.flush(timeout=PATIENCE)

    def send_offsets(self, topic, partition, offset, member, _):
        from kafka import TopicPartition
        from kafka.structs import OffsetAndMetadata

        offsets = {TopicPartition(topic, partition): OffsetAndMetadata(offset, "", -1)}
        self.producer.send_offsets_to_transaction(offsets, member.group_metadata())

    def commit(self):
        self.producer.commit_transaction()

    def abort(self):
        self.producer.abort_transaction()

    def close(self):
        self.producer.close(timeout=1)


class Aiokafka:
    """aiokafka, each call driven to its end."""

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.loop = asyncio.new_event_loop()

    def wait(self, coroutine):
        return self.loop.run_until_complete(asyncio.wait_for(coroutine, PATIENCE))

    def create_topic(self, topic, partitions):
        from aiokafka.admin import AIOKafkaAdminClient, NewTopic

        async def create():
            admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
            await admin.start()
            await admin.create_topics([NewTopic(topic, partitions, 1)])
            await admin.close()

        self.wait(create())

    def producer(self, name):
        return AiokafkaProducer(self, name)

    async def consumer(self, group, isolation):
        from aiokafka import AIOKafkaConsumer

        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, group_id=group, isolation_level=isolation,
            enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=50)
        await consumer.start()
        return consumer

    def read(self, topic, partition, isolation):
        return self.wait(self.read_all(topic, partition, isolation))

    async def read_all(self, topic, partition, isolation):
        from aiokafka import TopicPartition

        consumer = await self.consumer(None, isolation)
        place = TopicPartition(topic, partition)
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        end = (await consumer.end_offsets([place]))[place]
        values = []
        for _ in until_late("the end of the partition"):
            if await consumer.position(place) >= end:
                break
            for records in (await consumer.getmany(place, timeout_ms=100)).values():
                values += [record.value.decode() for record in records]
        await consumer.stop()
        return values

    def member(self, group, topic, count):
        async def join():
            consumer = await self.consumer(group, "read_committed")
            consumer.subscribe([topic])
            values = []
            for _ in until_late(f"{count} records"):
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    values += [record.value.decode() for record in records]
                if len(values) >= count:
                    return consumer, values

        return self.wait(join())

    def committed(self, group, topic, partition):
        from aiokafka import TopicPartition

        async def ask():
            consumer = await self.consumer(group, "read_committed")
            offset = await consumer.committed(TopicPartition(topic, partition))
            await consumer.stop()
            return offset

        return self.wait(ask())

    def is_fenced(self, error):
        from aiokafka import errors

        return isinstance(error, (errors.ProducerFenced, errors.InvalidProducerEpoch))


class AiokafkaProducer:
    def __init__(self, library, name):
        self.wait = library.wait
        self.wait(self.start(library.bootstrap, name))

    async def start(self, bootstrap, name):
        from aiokafka import AIOKafkaProducer

        self.producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap, transactional_id=name, linger_ms=0)
        await self.producer.start()

    def begin(self):
        self.wait(self.producer.begin_transaction())

    def send(self, topic, partition, value):
        self.wait(self.producer.send(topic, value=value.encode(), partition=partition))

    def flush(self):
        self.wait(self.producer.flush())

    def send_offsets(self, topic, partition, offset, _, group):
        from aiokafka import TopicPartition

        offsets = {TopicPartition(topic, partition): offset}
        self.wait(self.producer.send_offsets_to_transaction(offsets, group))

    def commit(self):
        self.wait(self.producer.commit_transaction())

    def abort(self):
        self.wait(self.producer.abort_transaction())

    def close(self):
        try:
            self.wait(self.producer.stop())
        except Exception as error:
            print(f"closing: {error!r}", file=sys.stderr)


class Cases:
    def __init__(self, library, prefix):
        self.library = library
        self.prefix = prefix

    def topic(self, name):
        topic = f"{self.prefix}-{name}"
        self.library.create_topic(topic, PARTITIONS)
        return topic

    def producer(self, name):
        return self.library.producer(f"{self.prefix}-{name}")

    def aborted_records_are_not_shown(self):
        topic = self.topic("aborted")
        producer = self.producer("aborted")
        for number in range(6):
            producer.begin()
            for partition in range(PARTITIONS):
                producer.send(topic, partition, f"r{number}")
            if number % 2 == 0:
                producer.commit()
            else:
                producer.flush()
                producer.abort()
        producer.close()
        for partition in range(PARTITIONS):
            read = self.library.read
            expect(read(topic, partition, "read_committed"), ["r0", "r2", "r4"], "committed")
            expect(len(read(topic, partition, "read_uncommitted")), 6, "all records")

    def a_second_producer_fences_the_first(self):
        topic = self.topic("fenced")
        first = self.producer("fenced")
        first.begin()
        first.send(topic, 0, "of-the-first")
        first.flush()
        second = self.producer("fenced")
        try:
            first.send(topic, 0, "late")
            first.commit()
        except Exception as error:
            expect(self.library.is_fenced(error), True, f"fenced by {error!r}")
        else:
            raise AssertionError("the first producer was not fenced")
        second.begin()
        second.send(topic, 0, "of-the-second")
        second.commit()
        second.close()
        first.close()
        got = self.library.read(topic, 0, "read_committed")
        expect(got, ["of-the-second"], "committed")

    def offsets_commit_with_the_transaction(self):
        source, target = self.topic("source"), self.topic("target")
        group = f"{self.prefix}-group"
        producer = self.producer("offsets")
        producer.begin()
        for number in range(5):
            producer.send(source, 0, f"r{number}")
        producer.commit()
        member, taken = self.library.member(group, source, 5)
        expect(taken, [f"r{number}" for number in range(5)], "taken")
        for word, finish in [("lost", producer.abort), ("copy", producer.commit)]:
            expect(self.library.committed(group, source, 0), None, "offset before the commit")
            producer.begin()
            for value in taken:
                producer.send(target, 1, f"{word} of {value}")
            producer.send_offsets(source, 0, 5, member, group)
            finish()
        # The answer to the commit is the decision; the group hears of it a moment later.
        for _ in until_late("the committed offset"):
            if self.library.committed(group, source, 0) == 5:
                break
        wanted = [f"copy of {value}" for value in taken]
        expect(self.library.read(target, 1, "read_committed"), wanted, "copies")
        producer.close()

    def transactions_outlive_a_killed_broker(self):
        topic = self.topic("killed")
        self.first = self.producer("killed")
        self.write_once(topic, "before", lambda: None)
        kill_broker()
        self.expect_committed(topic, ["before"])
        self.write_once(topic, "across", kill_broker)
        self.expect_committed(topic, ["before", "across"])
        self.write_once(topic, "after", lambda: None)
        self.expect_committed(topic, ["before", "across", "after"])
        self.first.close()

    def expect_committed(self, topic, wanted):
        """The answer to a commit is the decision; a broker that is killed right after it writes the
        markers once it runs again, and until then readers see what lies before the transaction."""
        for partition in range(PARTITIONS):
            for _ in until_late(f"committed: {wanted!r}"):
                got = self.library.read(topic, partition, "read_committed")
                if got == wanted:
                    break
                expect(got, wanted[:len(got)], "committed")

    def write_once(self, topic, value, in_the_middle):
        """One transaction over both partitions, repeated with a new producer where it failed."""
        for attempt in range(3):
            try:
                self.first.begin()
                self.first.send(topic, 0, value)
                self.first.flush()
                if attempt == 0:
                    in_the_middle()
                self.first.send(topic, 1, value)
                self.first.commit()
                return
            except Exception as error:
                print(f"{value}, attempt {attempt}: {error!r}", file=sys.stderr)
                self.first.close()
                self.first = self.producer("killed")  # Ends what the last one left open.
                if value in self.library.read(topic, 0, "read_committed"):
                    return
        raise AssertionError(f"{value} was not committed")


def kill_broker():
    print("KILL", flush=True)
    sys.stdin.readline()


def until_late(what):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        yield
    raise AssertionError(f"not in time: {what}")


def expect(actual, wanted, what):
    if actual != wanted:
        raise AssertionError(f"{what}: wanted {wanted!r}, got {actual!r}")


def main():
    libraries = {"confluent": Confluent, "kafka-python": KafkaPython, "aiokafka": Aiokafka}
    library = libraries[sys.argv[1]](sys.argv[2])
    cases = Cases(library, sys.argv[3])
    for case in [
        cases.aborted_records_are_not_shown,
        cases.a_second_producer_fences_the_first,
        cases.offsets_commit_with_the_transaction,
        cases.transactions_outlive_a_killed_broker,
    ]:
        started = time.monotonic()
        try:
            case()
            spent = int((time.monotonic() - started) * 1000)
            print(f"PASS {case.__name__}\t{spent} ms", flush=True)
        except Exception as error:  # Whatever it was, the next case is worth running.
            traceback.print_exc()
            print(f"FAIL {case.__name__}: {error!r}".replace("\n", " "), flush=True)


main()
