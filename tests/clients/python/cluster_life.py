"""A producer and a member of a group that outlive brokers, as tests/cluster.rs drives them.

cluster_life.py LIBRARY HOST:PORT,HOST:PORT,... TOPIC

The producer is idempotent and writes numbers, one every few milliseconds; the member reads them.
Prints `ACKED number partition offset`, `READ number partition offset`, and `ERROR text` for what the
application is told and cannot leave to the library. When its standard input ends it waits until all
that was acknowledged was read, prints `DONE` and ends.
"""

import os
import sys
import threading
import time

PARTITIONS = 3
PAUSE_S = 0.01
READ_PATIENCE_S = 60

closing = threading.Event()
said = threading.Lock()
acked = set()
read = set()


def say(line):
    with said:
        print(line, flush=True)


def on_acked(number, partition, offset):
    acked.add(number)
    say(f"ACKED {number} {partition} {offset}")


def on_read(value, partition, offset):
    read.add(int(value))
    say(f"READ {int(value)} {partition} {offset}")


def wait_for_end_of_input():
    for _ in sys.stdin:
        pass
    closing.set()


def numbers():
    number = 0
    while not closing.is_set():
        yield number, number % PARTITIONS
        number += 1
        time.sleep(PAUSE_S)


def produce_kafka_python(brokers, topic):
    from kafka import KafkaProducer

    producer = KafkaProducer(
        bootstrap_servers=brokers, acks="all", enable_idempotence=True, request_timeout_ms=10_000
    )
    for number, partition in numbers():
        sent = producer.send(topic, b"%d" % number, partition=partition)
        sent.add_callback(
            lambda metadata, number=number: on_acked(number, metadata.partition, metadata.offset)
        )
        sent.add_errback(lambda error: say(f"ERROR produce: {error!r}"))
    producer.flush(60)


def consume_kafka_python(brokers, topic):
    from kafka import KafkaConsumer

    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=brokers,
        group_id="kafka-python",
        auto_offset_reset="earliest",
        session_timeout_ms=6000,
        heartbeat_interval_ms=500,
        request_timeout_ms=10_000,
    )
    # A poll that ends while the leader's SyncGroup is under way makes 3.0.12 forget the answer.
    while True:
        for records in consumer.poll(timeout_ms=60_000).values():
            for record in records:
                on_read(record.value, record.partition, record.offset)


def produce_confluent(brokers, topic):
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": ",".join(brokers), "enable.idempotence": True})

    def on_delivery(number):
        def told(error, message):
            if error is None:
                on_acked(number, message.partition(), message.offset())
            else:
                say(f"ERROR produce: {error}")

        return told

    for number, partition in numbers():
        value = b"%d" % number
        producer.produce(topic, value, partition=partition, on_delivery=on_delivery(number))
        producer.poll(0)
    producer.flush(60)


def consume_confluent(brokers, topic):
    from confluent_kafka import Consumer

    consumer = Consumer(
        {
            "bootstrap.servers": ",".join(brokers),
            "group.id": "confluent-kafka",
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 500,
        }
    )
    consumer.subscribe([topic])
    while True:
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error() is None:
            on_read(message.value(), message.partition(), message.offset())
        elif not message.error().retriable():
            say(f"ERROR consume: {message.error()}")


def consume_aloud(consume, brokers, topic):
    try:
        consume(brokers, topic)
    except Exception as error:
        say(f"ERROR consume: {error!r}")


def main():
    library, brokers, topic = sys.argv[1], sys.argv[2].split(","), sys.argv[3]
    produce, consume = {
        "kafka-python": (produce_kafka_python, consume_kafka_python),
        "confluent-kafka": (produce_confluent, consume_confluent),
    }[library]
    threading.Thread(target=wait_for_end_of_input, daemon=True).start()
    threading.Thread(target=consume_aloud, args=[consume, brokers, topic], daemon=True).start()
    try:
        produce(brokers, topic)
    except Exception as error:
        say(f"ERROR produce: {error!r}")
    deadline = time.time() + READ_PATIENCE_S
    while not acked <= read and time.time() < deadline:
        time.sleep(0.05)
    say("DONE")
    os._exit(0)


main()
