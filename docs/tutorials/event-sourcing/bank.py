"""Accounts whose truth is a list of events; the balances are a compacted topic made of them.

bank.py open            makes both topics
bank.py run COUNT       COUNT events, and after each the new balances of its accounts
bank.py replay          the balances, from all events
bank.py restore         the balances, from the compacted topic alone
bank.py compacted       waits until the broker has dropped old balances
"""

import json
import os
import random
import sys
import time

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

BOOTSTRAP = os.environ.get("HIGHWATER_BOOTSTRAP", "127.0.0.1:9092")
EVENTS, BALANCES = "bank-events", "bank-balances"
OWNERS = ["ann", "ben", "cleo", "dan", "eve"]
PATIENCE_S = 60


def open_topics():
    admin = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    # Events are kept for ever. Of balances the last one of each account is enough; short segments
    # let a small example see the compaction that a busy topic sees every few minutes.
    forever = {"retention.ms": "-1"}
    latest = {"cleanup.policy": "compact", "segment.ms": "500", "min.cleanable.dirty.ratio": "0.01"}
    admin.create_topics([
        NewTopic(EVENTS, 1, 1, topic_configs=forever),
        NewTopic(BALANCES, 1, 1, topic_configs=latest),
    ])
    admin.close()


def apply(balances, event):
    """The one place that says what an event means; returns the accounts that it changed."""
    changed = {}
    if event["kind"] == "deposited":
        changed[event["to"]] = event["cents"]
    else:
        changed[event["from"]] = -event["cents"]
        changed[event["to"]] = event["cents"]
    for owner, cents in changed.items():
        balances[owner] = balances.get(owner, 0) + cents
    return changed


def run(count):
    chance = random.Random(7)
    producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, acks="all", linger_ms=5)
    balances = {}
    for number in range(count):
        sender, receiver = chance.sample(OWNERS, 2)
        cents = chance.randrange(1, 100) * 100
        if balances.get(sender, 0) >= cents:
            event = {"kind": "transferred", "from": sender, "to": receiver, "cents": cents}
        else:
            event = {"kind": "deposited", "to": sender, "cents": cents}
        producer.send(EVENTS, value=json.dumps(event).encode())
        for owner in apply(balances, event):
            producer.send(BALANCES, key=owner.encode(), value=str(balances[owner]).encode())
    producer.flush()
    producer.close()
    print(f"{count} events")


def read(topic):
    """All records that the topic has at this moment."""
    reader = KafkaConsumer(bootstrap_servers=BOOTSTRAP, group_id=None, auto_offset_reset="earliest")
    home = TopicPartition(topic, 0)
    reader.assign([home])
    end = reader.end_offsets([home])[home]
    records = []
    while reader.position(home) < end:
        for batch in reader.poll(timeout_ms=500).values():
            records.extend(batch)
    reader.close()
    return records


def show(balances):
    for owner in sorted(balances):
        print(f"{owner:5} {balances[owner] / 100:9.2f}")


def replay():
    balances = {}
    events = read(EVENTS)
    for record in events:
        apply(balances, json.loads(record.value))
    print(f"from {len(events)} events")
    show(balances)


def restore():
    balances = {}
    for record in read(BALANCES):
        balances[record.key.decode()] = int(record.value)
    print("from the last balance of each account")
    show(balances)


def compacted():
    written = read(BALANCES)[-1].offset + 1
    producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, acks="all")
    deadline = time.monotonic() + PATIENCE_S
    while len(read(BALANCES)) > written // 2:
        assert time.monotonic() < deadline, "not compacted"
        # The newest segment is never compacted, so something has to be written behind it.
        last = read(BALANCES)[-1]
        producer.send(BALANCES, key=last.key, value=last.value)
        producer.flush()
        time.sleep(0.2)
    producer.close()
    print("fewer than half of the balances are left")


COMMANDS = {"open": open_topics, "replay": replay, "restore": restore, "compacted": compacted}

if sys.argv[1] == "run":
    run(int(sys.argv[2]))
else:
    COMMANDS[sys.argv[1]]()
