"""How long a producer goes without an acknowledgement while brokers come and go.

failover.py LIBRARY HOST:PORT,HOST:PORT,...

Makes a topic of one partition with three replicas and produces to it with acks=all, one record
every few milliseconds, with the library's own defaults. From the first acknowledgement on, without
which there is no pause, it prints `LEADER id INSYNC count` whenever that has changed, and `GAP ms`
for each pause between two acknowledgements that is longer than GAP_MS_MIN. Ends when its standard
input does, with `ERRORS n`.
"""

import sys
import threading
import time

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

TOPIC = "failover"
PAUSE_S = 0.005
LOOK_S = 0.1
GAP_MS_MIN = 60
START_PATIENCE_S = 60

closing = threading.Event()
# The line and its end are two writes.
said = threading.Lock()


def say(line):
    with said:
        print(line, flush=True)


def wait_for_end_of_input():
    for _ in sys.stdin:
        pass
    closing.set()


def make_topic(bootstrap):
    admin = AdminClient(bootstrap)
    deadline = time.time() + START_PATIENCE_S
    while True:
        try:
            return admin.create_topics([NewTopic(TOPIC, 1, 3)])[TOPIC].result()
        except Exception as error:
            if time.time() > deadline:
                say(f"ERROR {error}")
                raise
            time.sleep(0.2)


def watch_leader(bootstrap, tally):
    admin = AdminClient(bootstrap)
    before = None
    while tally.last is None and not closing.is_set():
        time.sleep(LOOK_S)
    while not closing.is_set():
        try:
            partition = admin.list_topics(TOPIC, timeout=2).topics[TOPIC].partitions[0]
            now = (partition.leader, len(partition.isrs))
            if now != before:
                say(f"LEADER {now[0]} INSYNC {now[1]}")
            before = now
        except Exception:
            pass
        time.sleep(LOOK_S)


class Tally:
    def __init__(self):
        self.last = None
        self.errors = 0

    def on_acked(self, *_):
        now = time.monotonic()
        if self.last is not None and (now - self.last) * 1000 > GAP_MS_MIN:
            say(f"GAP {(now - self.last) * 1000:.0f}")
        self.last = now

    def on_error(self, error):
        self.errors += 1
        say(f"ERROR {error}")

    def on_delivery(self, error, _message):
        if error is None:
            self.on_acked()
        else:
            self.on_error(error)


def run_confluent(brokers, tally):
    producer = Producer({"bootstrap.servers": brokers, "acks": "all", "linger.ms": 0})
    while not closing.is_set():
        producer.produce(TOPIC, b"x", partition=0, on_delivery=tally.on_delivery)
        producer.poll(PAUSE_S)
        time.sleep(PAUSE_S)
    producer.flush(60)


def run_kafka_python(brokers, tally):
    from kafka import KafkaProducer

    producer = KafkaProducer(bootstrap_servers=brokers.split(","), acks="all")
    while not closing.is_set():
        sent = producer.send(TOPIC, b"x", partition=0)
        sent.add_callback(tally.on_acked)
        sent.add_errback(tally.on_error)
        time.sleep(2 * PAUSE_S)
    producer.flush(60)


def main():
    library, brokers = sys.argv[1], sys.argv[2]
    bootstrap = {"bootstrap.servers": brokers}
    threading.Thread(target=wait_for_end_of_input, daemon=True).start()
    make_topic(bootstrap)
    tally = Tally()
    threading.Thread(target=watch_leader, args=(bootstrap, tally), daemon=True).start()
    {"confluent-kafka": run_confluent, "kafka-python": run_kafka_python}[library](brokers, tally)
    say(f"ERRORS {tally.errors}")


main()
