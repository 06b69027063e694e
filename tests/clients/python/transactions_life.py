"""Transactions that outlive brokers, as tests/nemesis.rs drives them.

transactions_life.py HOST:PORT,HOST:PORT,... TOPIC PRODUCERS

Each producer writes transaction after transaction, one record `producer-number` into each partition
of the topic, and commits the number as an offset of its own group within the transaction; one in
four is aborted. Prints `COMMITTED name`, `ABORTED name`, `UNKNOWN name` where the outcome was not
told, `AT name partition offset` for records of transactions whose commit was told, and
`READ name partition offset` for what a reader of committed records is shown meanwhile. When its
standard input ends it prints `OFFSET producer offset`, `FINAL name partition offset` for all that is
there, `DONE`, and ends.
"""

import os
import queue
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

PARTITIONS = 3
ABORT_ONE_IN = 4
TRANSACTION_TIMEOUT_MS = 10_000
CALL_PATIENCE_S = 20
END_PATIENCE_S = 60
# Longer than any call may take by what it was told.
STUCK_S = 2 * CALL_PATIENCE_S

bootstrap, topic, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
closing = threading.Event()
reading = threading.Event()
said = threading.Lock()


def say(line):
    with said:
        print(line, flush=True)


def wait_for_end_of_input():
    for _ in sys.stdin:
        pass
    closing.set()


def source(producer):
    """The partition whose offsets a producer commits; nothing is ever in it."""
    return f"group-{producer}", TopicPartition(topic, 0)


class Stuck(Exception):
    """A call does not return, and never will."""


def unless_stuck(act):
    """Makes a call that may ignore the time it was given, in a thread that is left behind if so.

    librdkafka waits without an end for a group coordinator that has left the metadata, as each
    broker does that was fenced (its issues 5456 and 5511, open as of 2.16).
    """
    returned = queue.SimpleQueue()

    def run():
        try:
            returned.put((act(), None))
        except Exception as error:
            returned.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        result, error = returned.get(timeout=STUCK_S)
    except queue.Empty:
        raise Stuck from None
    if error is not None:
        raise error
    return result


class Writer:
    def __init__(self, number):
        self.number = number
        self.serial = 0
        group, _ = source(number)
        self.member = Consumer({"bootstrap.servers": bootstrap, "group.id": group})
        self.producer = None
        self.is_any_given_up = False

    def run(self):
        while not closing.is_set():
            name = f"{self.number}-{self.serial}"
            outcome, places = self.transact(name)
            say(f"{outcome} {name}")
            if outcome == "COMMITTED":
                for partition, offset in places:
                    say(f"AT {name} {partition} {offset}")
            self.serial += 1
        if self.producer is None:
            # Ends what may be open.
            self.begin_anew()

    def begin_anew(self):
        """A new process would do the same: it ends what the one before left open."""
        self.producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "transactional.id": f"life-{self.number}",
                "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
                "socket.timeout.ms": 5000,
            }
        )
        deadline = time.time() + END_PATIENCE_S
        while True:
            try:
                return self.producer.init_transactions(CALL_PATIENCE_S)
            except KafkaException as error:
                if time.time() > deadline or not error.args[0].retriable():
                    raise

    def transact(self, name):
        places = []

        def told(error, message):
            if error is None:
                places.append((message.partition(), message.offset()))
            else:
                self.is_any_given_up = True

        is_deciding = False
        self.is_any_given_up = False
        try:
            if self.producer is None:
                self.begin_anew()
            self.producer.begin_transaction()
            for partition in range(PARTITIONS):
                self.producer.produce(topic, name.encode(), partition=partition, on_delivery=told)
            _, partition = source(self.number)
            partition.offset = self.serial + 1
            member = self.member.consumer_group_metadata()
            # A thread that is left behind keeps this producer, and never another one.
            producer = self.producer
            self.patiently(
                lambda: unless_stuck(
                    lambda: producer.send_offsets_to_transaction(
                        [partition], member, CALL_PATIENCE_S
                    )
                )
            )
            if self.serial % ABORT_ONE_IN == ABORT_ONE_IN - 1:
                self.abort()
                return "ABORTED", []
            is_deciding = True
            self.patiently(lambda: self.producer.commit_transaction(CALL_PATIENCE_S))
            return "COMMITTED", places
        except Stuck:
            say(f"NOTE {self.number} is stuck")
            self.producer = None
            # Nobody has asked for a commit: whoever begins anew aborts.
            return "ABORTED", []
        except KafkaException as error:
            return self.give_up(error.args[0], is_deciding)

    def abort(self):
        """Aborts, and begins anew where a record was given up by it.

        librdkafka takes what waits to be sent again for never sent, and gives its sequence to the next
        transaction's record (rd_kafka_toppar_purge_queues, as of 2.16). Where the first was written
        and its answer lost, the second passes for its repetition and is dropped, by any broker: that
        transaction would be committed without it. A new producer has a new epoch.
        """
        self.patiently(lambda: self.producer.abort_transaction(CALL_PATIENCE_S))
        if self.is_any_given_up:
            say(f"NOTE {self.number} begins anew after an abort")
            self.producer = None

    def patiently(self, act):
        deadline = time.time() + END_PATIENCE_S
        while True:
            try:
                return act()
            except KafkaException as error:
                if not error.args[0].retriable() or time.time() > deadline:
                    raise

    def give_up(self, error, is_deciding):
        say(f"NOTE {self.number} {error.name()} {error.str()}")
        if error.txn_requires_abort():
            try:
                self.abort()
                return "ABORTED", []
            except KafkaException as second:
                say(f"NOTE {self.number} {second.args[0].name()} in the abort")
        self.producer = None
        # Nobody has asked for a commit yet: whoever begins anew aborts.
        return ("UNKNOWN" if is_deciding else "ABORTED"), []


def reader(isolation="read_committed"):
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reader",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": isolation,
            "auto.offset.reset": "error",
        }
    )
    consumer.assign([TopicPartition(topic, index, 0) for index in range(PARTITIONS)])
    return consumer


def tell(what, message):
    """Says a record, and whether it was the end of a partition instead."""
    if message is None:
        return False
    error = message.error()
    if error is None:
        say(f"{what} {message.value().decode()} {message.partition()} {message.offset()}")
    elif error.code() == KafkaError._PARTITION_EOF:
        return True
    elif not error.retriable():
        say(f"ERROR {error}")
    return False


def read_along():
    consumer = reader()
    while not reading.is_set():
        tell("READ", consumer.poll(0.2))


def wait_until_all_is_decided():
    """Until committed records and records end at the same offsets."""
    readers = [reader("read_committed"), reader("read_uncommitted")]
    deadline = time.time() + END_PATIENCE_S
    while time.time() < deadline:
        try:
            committed, all_of_them = [
                [
                    one.get_watermark_offsets(TopicPartition(topic, index), timeout=5)[1]
                    for index in range(PARTITIONS)
                ]
                for one in readers
            ]
            if committed == all_of_them:
                return
        except KafkaException:
            pass
        time.sleep(0.1)
    say("ERROR a transaction is open that nobody holds")


def read_all():
    consumer = reader()
    deadline = time.time() + END_PATIENCE_S
    ended = set()
    while len(ended) < PARTITIONS:
        message = consumer.poll(1)
        if tell("FINAL", message):
            ended.add(message.partition())
        if time.time() > deadline:
            return say(f"ERROR read to the end of {ended} only")


def tell_offsets():
    for number in range(count):
        group, partition = source(number)
        consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group})
        deadline = time.time() + END_PATIENCE_S
        while True:
            try:
                [committed] = consumer.committed([partition], timeout=5)
                say(f"OFFSET {number} {committed.offset}")
                break
            except KafkaException as error:
                if time.time() > deadline:
                    return say(f"ERROR {error}")


def main():
    threading.Thread(target=wait_for_end_of_input, daemon=True).start()
    threading.Thread(target=read_along, daemon=True).start()
    writers = [threading.Thread(target=Writer(number).run) for number in range(count)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    wait_until_all_is_decided()
    tell_offsets()
    read_all()
    reading.set()
    say("DONE")
    os._exit(0)


main()
