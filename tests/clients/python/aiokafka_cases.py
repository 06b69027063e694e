"""aiokafka runs the cases: aiokafka_cases.py HOST:PORT PREFIX"""

import asyncio
import sys
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import BrokerResponseError, OffsetOutOfRangeError
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import OffsetAndMetadata

from cases import EARLIEST, Answer, Got, run

PATIENCE = 20


class Aiokafka:
    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.loop = asyncio.new_event_loop()
        self.producers = {}
        self.wait(self.connect())

    async def connect(self):
        self.admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await self.admin.start()
        self.reader = await self.consumer(None)

    def wait(self, coroutine):
        try:
            return self.loop.run_until_complete(asyncio.wait_for(coroutine, PATIENCE))
        except BrokerResponseError as error:
            raise Answer(error.errno, str(error)) from error

    async def consumer(self, group):
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, group_id=group, enable_auto_commit=False,
            auto_offset_reset="none", fetch_max_wait_ms=50)
        await consumer.start()
        return consumer

    def create_topic(self, name, partitions, configs, replicas=1):
        topic = NewTopic(name, partitions, replicas, topic_configs=configs)
        response = self.wait(self.admin.create_topics([topic]))
        raise_code(response.topic_errors[0][1])

    def delete_topic(self, name):
        response = self.wait(self.admin.delete_topics([name]))
        raise_code(response.topic_error_codes[0][1])

    async def producer(self, **options):
        known = tuple(sorted(options.items()))
        if known not in self.producers:
            self.producers[known] = AIOKafkaProducer(
                bootstrap_servers=self.bootstrap, linger_ms=2, **options)
            await self.producers[known].start()
        return self.producers[known]

    def produce(self, topic, records, **options):
        return self.wait(self.send(topic, records, **options))

    async def send(self, topic, records, compression="none", acks="all", idempotent=False,
                   max_request=1_000_000, patience=PATIENCE):
        producer = await self.producer(
            compression_type=None if compression == "none" else compression,
            acks="all" if acks == "all" else int(acks), enable_idempotence=idempotent,
            max_request_size=max_request)
        futures = [
            await asyncio.wait_for(
                producer.send(topic, value=r.value, key=r.key, partition=r.partition,
                              headers=r.headers, timestamp_ms=r.timestamp), patience)
            for r in records
        ]
        results = [await asyncio.wait_for(future, patience) for future in futures]
        if acks == "0":
            return [(r.partition, None) for r in records]
        return [(result.partition, result.offset) for result in results]

    def consume(self, topic, partition, start, count):
        return self.wait(self.read(topic, partition, start, count))

    async def read(self, topic, partition, start, count):
        home = TopicPartition(topic, partition)
        self.reader.assign([home])
        if start == EARLIEST:
            await self.reader.seek_to_beginning(home)
        else:
            self.reader.seek(home, start)
        got = []
        deadline = time.monotonic() + PATIENCE / 2
        while len(got) < count and time.monotonic() < deadline:
            for records in (await self.reader.getmany(home, timeout_ms=200)).values():
                got += [Got(r.offset, r.key, r.value, r.headers, r.timestamp) for r in records]
        return got[:count]

    def fetch_out_of_range(self, topic, partition, offset):
        try:
            return self.consume(topic, partition, offset, 1)
        except OffsetOutOfRangeError as error:
            raise Answer(1) from error

    def first_offset(self, topic, partition):
        home = TopicPartition(topic, partition)
        return self.wait(self.reader.beginning_offsets([home]))[home]

    def end_offset(self, topic, partition):
        home = TopicPartition(topic, partition)
        return self.wait(self.reader.end_offsets([home]))[home]

    def offset_for_time(self, topic, partition, timestamp):
        home = TopicPartition(topic, partition)
        found = self.wait(self.reader.offsets_for_times({home: timestamp}))[home]
        return None if found is None or found.offset < 0 else found.offset

    def topics(self):
        return set(self.wait(self.admin.list_topics()))

    def describe(self, topic):
        """The admin client's own describe_topics asks for auto-creation, so the request is made here."""
        request = MetadataRequest([topic], allow_auto_topic_creation=False)
        return self.wait(self.admin._send_request(request)).to_object()["topics"][0]

    def partitions(self, topic):
        return {p["partition"]: p["leader"] for p in self.describe(topic)["partitions"]}

    def unknown_topic(self, name):
        raise_code(self.describe(name)["error_code"])

    def topic_configs(self, topic):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        found = self.wait(self.admin.describe_configs([resource]))[0].resources[0]
        raise_code(found[0])
        return {entry[0]: entry[1] for entry in found[4]}

    def set_topic_config(self, topic, key, value):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs={key: value})
        raise_code(self.wait(self.admin.alter_configs([resource]))[0].resources[0][0])

    def grow(self, topic, partitions):
        self.wait(self.admin.create_partitions({topic: NewPartitions(partitions)}))

    def delete_records(self, topic, partition, offset):
        home = TopicPartition(topic, partition)
        self.wait(self.admin.delete_records({home: RecordsToDelete(offset)}))

    def commit(self, group, topic, partition, offset, text):
        self.wait(self.commit_alone(group, TopicPartition(topic, partition), offset, text))

    async def commit_alone(self, group, home, offset, text):
        consumer = await self.consumer(group)
        try:
            consumer.assign([home])
            await consumer.commit({home: OffsetAndMetadata(offset, text)})
        finally:
            await consumer.stop()

    def committed(self, group, topic, partition):
        home = TopicPartition(topic, partition)
        found = self.wait(self.admin.list_consumer_group_offsets(group, partitions=[home]))[home]
        return None if found.offset < 0 else (found.offset, found.metadata)


def raise_code(code):
    if code:
        raise Answer(code)


if __name__ == "__main__":
    run(Aiokafka(sys.argv[1]), sys.argv[2])
