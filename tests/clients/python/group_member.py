"""One member of a group, as tests/groups.rs drives it.

group_member.py LIBRARY HOST:PORT GROUP TOPIC [key=value ...]

Prints `OWNS 0,2` when its partitions change and `AT partition offset` for each record, commits
after each poll, closes and ends when its standard input ends.
"""

import asyncio
import os
import signal
import sys
import threading

# Longer than a test takes as a rule, shorter than its patience.
POLL_MS = 25_000

closing = threading.Event()
# The main thread has noticed.
leaving = threading.Event()


def say(line):
    print(line, flush=True)


def owns(partitions):
    say("OWNS " + ",".join(str(index) for index in sorted(partitions)))


def wait_for_end_of_input(is_interrupted):
    for _ in sys.stdin:
        pass
    closing.set()
    # A signal, because a flag does not end a wait for sockets; again, because a library may
    # swallow it.
    while is_interrupted and not leaving.is_set():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        leaving.wait(timeout=2)


def options(arguments):
    return dict(argument.split("=", 1) for argument in arguments)


def run_confluent(bootstrap, group, topic, given):
    from confluent_kafka import Consumer, KafkaException

    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "topic.metadata.refresh.interval.ms": 1000,
            **given,
        }
    )
    owned = set()
    is_incremental = given.get("group.protocol") == "consumer" or "cooperative" in given.get(
        "partition.assignment.strategy", ""
    )

    def assigned(consumer, partitions):
        if is_incremental:
            consumer.incremental_assign(partitions)
        else:
            consumer.assign(partitions)
        owned.update(partition.partition for partition in partitions)
        owns(owned)

    def revoked(consumer, partitions):
        if is_incremental:
            consumer.incremental_unassign(partitions)
        else:
            consumer.unassign()
        owned.difference_update([partition.partition for partition in partitions])
        owns(owned)

    consumer.subscribe([topic], on_assign=assigned, on_revoke=revoked, on_lost=revoked)
    while not closing.is_set():
        message = consumer.poll(0.1)
        if message is None:
            continue
        if message.error():
            say(f"ERROR {message.error()}")
            continue
        say(f"AT {message.partition()} {message.offset()}")
        try:
            consumer.commit(message, asynchronous=False)
        except KafkaException as error:
            say(f"MOVED {error}")
    consumer.close()


def run_kafka_python(bootstrap, group, topic, given):
    from kafka import ConsumerRebalanceListener, KafkaConsumer
    from kafka.errors import KafkaError

    owned = set()

    class Listener(ConsumerRebalanceListener):
        def on_partitions_assigned(self, assigned):
            owned.update(partition.partition for partition in assigned)
            owns(owned)

        def on_partitions_revoked(self, revoked):
            owned.difference_update([partition.partition for partition in revoked])
            owns(owned)

        def on_partitions_lost(self, lost):
            self.on_partitions_revoked(lost)

    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=6000,
        heartbeat_interval_ms=500,
        **given,
    )
    consumer.subscribe([topic], listener=Listener())
    # A poll that ends while the leader's SyncGroup is under way makes 3.0.12 forget the answer: it
    # owns nothing from then on. So polls are long, and the end of input interrupts them; one that
    # swallows every interrupt ends by itself.
    try:
        while not closing.is_set():
            batches = consumer.poll(timeout_ms=POLL_MS)
            for partition, records in batches.items():
                for record in records:
                    say(f"AT {partition.partition} {record.offset}")
            if batches:
                try:
                    consumer.commit()
                except KafkaError as error:
                    say(f"MOVED {error}")
    except KeyboardInterrupt:
        pass
    leaving.set()
    # An interrupt may have left a lock held that closing waits for: then the session runs out.
    closer = threading.Thread(target=consumer.close, daemon=True)
    closer.start()
    closer.join(timeout=10)
    sys.stdout.flush()
    os._exit(0)


async def run_aiokafka(bootstrap, group, topic, given):
    from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
    from aiokafka.errors import KafkaError

    class Listener(ConsumerRebalanceListener):
        async def on_partitions_revoked(self, revoked):
            owns([])

        async def on_partitions_assigned(self, assigned):
            owns([partition.partition for partition in assigned])

    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=6000,
        heartbeat_interval_ms=500,
        **given,
    )
    await consumer.start()
    consumer.subscribe([topic], listener=Listener())
    while not closing.is_set():
        batches = await consumer.getmany(timeout_ms=100)
        for partition, records in batches.items():
            for record in records:
                say(f"AT {partition.partition} {record.offset}")
        if batches:
            try:
                await consumer.commit()
            except KafkaError as error:
                say(f"MOVED {error}")
    await consumer.stop()


def main():
    library, bootstrap, group, topic = sys.argv[1:5]
    is_interrupted = library == "kafka-python"
    threading.Thread(target=wait_for_end_of_input, args=[is_interrupted], daemon=True).start()
    given = options(sys.argv[5:])
    if library == "confluent-kafka":
        run_confluent(bootstrap, group, topic, given)
    elif library == "kafka-python":
        run_kafka_python(bootstrap, group, topic, given)
    else:
        asyncio.run(run_aiokafka(bootstrap, group, topic, given))


main()
