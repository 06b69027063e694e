"""A consumer that reads from the replica in its rack (KIP-392), as tests/cluster.rs drives it.

rack_reader.py HOST:PORT,HOST:PORT,...

Brokers 1 to 3 are in rack-1 to rack-3. Makes a topic of one partition with three replicas, produces
to it, and reads it with `client.rack` of a broker that does not lead, going on to produce until
librdkafka says that it fetches from that broker. Prints `FETCHED FROM id OF LEADER id`, and
`READ n OF n` when every record has been read once.
"""

import json
import sys
import time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

TOPIC = "racks"
PATIENCE_S = 60
RECORDS_MIN = 200

sources = set()


def on_stats(text):
    partitions = json.loads(text).get("topics", {}).get(TOPIC, {}).get("partitions", {})
    if "0" in partitions:
        sources.add((partitions["0"]["broker"], partitions["0"]["leader"]))


def until(deadline, act):
    while True:
        try:
            done = act()
            if done:
                return done
        except Exception as error:
            print(f"TRIED {error}", flush=True)
        if time.time() > deadline:
            sys.exit("it takes too long")
        time.sleep(0.2)


def main():
    bootstrap = {"bootstrap.servers": sys.argv[1]}
    deadline = time.time() + PATIENCE_S
    admin = AdminClient(bootstrap)
    until(deadline, lambda: admin.create_topics([NewTopic(TOPIC, 1, 3)])[TOPIC].result() is None)

    def led():
        partition = admin.list_topics(TOPIC, timeout=5).topics[TOPIC].partitions[0]
        return partition.leader if len(partition.isrs) == 3 and partition.leader > 0 else None

    leader = until(deadline, led)
    near = next(broker for broker in (1, 2, 3) if broker != leader)
    producer = Producer({**bootstrap, "acks": "all"})
    consumer = Consumer(
        {
            **bootstrap,
            "group.id": "racks",
            "client.rack": f"rack-{near}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "statistics.interval.ms": 200,
            "stats_cb": on_stats,
        }
    )
    consumer.assign([TopicPartition(TOPIC, 0, 0)])
    sent, read = 0, []
    while time.time() < deadline:
        if (near, leader) not in sources or sent < RECORDS_MIN:
            producer.produce(TOPIC, b"%d" % sent, partition=0)
            producer.poll(0)
            sent += 1
        elif len(read) >= sent:
            break
        else:
            producer.flush(10)
        message = consumer.poll(0.01)
        if message is not None:
            if message.error():
                sys.exit(f"ERROR {message.error()}")
            read.append(int(message.value()))
    for broker, of in sorted(sources):
        print(f"FETCHED FROM {broker} OF LEADER {of}", flush=True)
    print(f"NEAR {near} LEADER {leader}", flush=True)
    print(f"READ {len(read)} OF {sent} IN ORDER {read == list(range(sent))}", flush=True)


main()
