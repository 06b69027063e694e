"""One member of a share group, as tests/share_groups.rs drives it: confluent-kafka's ShareConsumer.

share_member.py HOST:PORT GROUP TOPIC

Prints `AT value deliveryCount` for each record, accepts it with the next poll, closes and ends when
its standard input ends. The client does not tell the count of deliveries where it is older: then 0.
"""

import sys
import threading

from confluent_kafka import ShareConsumer

closing = threading.Event()


def say(line):
    print(line, flush=True)


def wait_for_end_of_input():
    for _ in sys.stdin:
        pass
    closing.set()


def main():
    bootstrap, group, topic = sys.argv[1:4]
    threading.Thread(target=wait_for_end_of_input, daemon=True).start()
    with ShareConsumer({"bootstrap.servers": bootstrap, "group.id": group}) as consumer:
        consumer.subscribe([topic])
        say("READY")
        while not closing.is_set():
            for message in consumer.poll(0.1):
                if message.error() is not None:
                    say(f"ERROR {message.error()}")
                    continue
                say(f"AT {message.value().decode()} {delivery_count(message)}")


def delivery_count(message):
    count = getattr(message, "delivery_count", None)
    return (count() or 0) if count is not None else 0


main()
