"""Orders as a message queue and as an event stream, out of one topic.

orders.py COUNT

Three packers share the orders (a queue), two departments see all of them (a stream).
"""

import os
import sys
from collections import Counter, defaultdict

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

BOOTSTRAP = os.environ.get("HIGHWATER_BOOTSTRAP", "127.0.0.1:9092")
TOPIC = "orders"
PARTITIONS = 4
CUSTOMERS = 8


def consumer(group):
    """A member of a group that says itself what it has done with."""
    member = Consumer({
        "bootstrap.servers": BOOTSTRAP,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    })
    # With a callback, partitions leave a member only while it polls: what an earlier poll handed out
    # is packed and committed by then. Without one they may leave between the two, and the next owner
    # gets the order a second time.
    member.subscribe([TOPIC], on_revoke=lambda *_: None)
    return member


def place(count):
    producer = Producer({"bootstrap.servers": BOOTSTRAP, "acks": "all"})
    for number in range(count):
        # Orders of one customer have one key, so they lie in one partition in their order.
        producer.produce(TOPIC, key=f"customer-{number % CUSTOMERS}", value=f"order-{number}")
    assert producer.flush(30) == 0, "every order is on stable storage"


def all_have_work(packers):
    """Waits until the broker has given each member of the group partitions of its own."""
    while not all(packer.assignment() for packer in packers.values()):
        for packer in packers.values():
            assert packer.poll(0.05) is None, "nothing is ordered yet"


def queue(count):
    """Three packers of one group: each order goes to one of them."""
    packers = {f"packer-{number}": consumer("packers") for number in (1, 2, 3)}
    all_have_work(packers)
    place(count)
    print(f"placed {count} orders of {CUSTOMERS} customers")
    packed = defaultdict(list)
    while sum(map(len, packed.values())) < count:
        for name, packer in list(packers.items()):
            order = packer.poll(0.05)
            if order is None or order.error():
                continue
            if name == "packer-2" and len(packed[name]) == 2:
                # It has the order in its hands and leaves without having said that it is done.
                packer.close()
                del packers[name]
                print(f"{name} went home with an order in its hands")
                continue
            packed[name].append(order.value().decode())
            packer.commit(order, asynchronous=False)
    for packer in packers.values():
        packer.close()
    times = Counter(order for orders in packed.values() for order in orders)
    busy = sum(1 for orders in packed.values() if orders)
    once = sum(1 for number in times.values() if number == 1)
    print(f"queue: {busy} packers packed {len(times)} orders, {once} of them once")


def read_all(group, count):
    """The orders as a group of one member sees them."""
    reader = consumer(group)
    orders = []
    while len(orders) < count:
        order = reader.poll(1)
        if order is not None and not order.error():
            orders.append(order)
    reader.close()
    return orders


def stream(count):
    """Groups of their own: each sees every order, whoever read it before."""
    for group in ("audit", "billing"):
        orders = read_all(group, count)
        last, in_order = {}, True
        for order in orders:
            number = int(order.value().decode().split("-")[1])
            in_order = in_order and last.get(order.key(), -1) < number
            last[order.key()] = number
        said = "in their order" if in_order else "in disorder"
        print(f"stream: {group} saw {len(orders)} orders, those of each customer {said}")


def main():
    count = int(sys.argv[1])
    admin = AdminClient({"bootstrap.servers": BOOTSTRAP})
    admin.create_topics([NewTopic(TOPIC, num_partitions=PARTITIONS)])[TOPIC].result()
    queue(count)
    stream(count)


main()
