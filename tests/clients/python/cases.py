"""The list of cases every Python client runs, written once over a small adapter.

Each client library has its own file with an adapter; the expectations here are what Apache Kafka 4.1
answers. One line is printed per case: `PASS name` or `FAIL name: why`.

An adapter offers:
  create_topic(name, partitions, configs)          delete_topic(name)
  produce(topic, records, **options) -> [(partition, offset or None)]
  consume(topic, partition, start, count) -> [Got]  (by assignment; start is an offset or EARLIEST)
  first_offset / end_offset (topic, partition)     offset_for_time(topic, partition, ms)
  topics() -> set of names                         partitions(topic) -> {partition: leader}
  topic_configs(topic) -> {key: value}             set_topic_config(topic, key, value)
  grow(topic, partitions)                          delete_records(topic, partition, offset)
  commit(group, topic, partition, offset, text)    committed(group, topic, partition)
  fetch_out_of_range(topic, partition, offset)     unknown_topic(name)
and raises `Answer(code)` where Kafka answers an error.
"""

import os
import sys
import time
import traceback
from collections import namedtuple

EARLIEST = "earliest"
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
ACKS = ["0", "1", "all"]

Record = namedtuple("Record", "value key partition headers timestamp", defaults=(None, None, None, None))
Got = namedtuple("Got", "offset key value headers timestamp")

OFFSET_OUT_OF_RANGE = 1
UNKNOWN_TOPIC_OR_PARTITION = 3
MESSAGE_TOO_LARGE = 10
INVALID_TOPIC = 17
TOPIC_ALREADY_EXISTS = 36
INVALID_PARTITIONS = 37
INVALID_REPLICATION_FACTOR = 38
INVALID_CONFIG = 40


class Answer(Exception):
    """The Kafka error code that the broker answered."""

    def __init__(self, code, text=""):
        super().__init__(f"error {code} {text}")
        self.code = code


def expect(actual, wanted, what):
    if actual != wanted:
        raise AssertionError(f"{what}: wanted {wanted!r}, got {actual!r}")


def expect_error(code, what, action):
    try:
        result = action()
    except Answer as answer:
        expect(answer.code, code, what)
        return
    raise AssertionError(f"{what}: wanted error {code}, got {result!r}")


def eventually(condition, what, seconds=15):
    """Polls until `condition` holds: metadata spreads asynchronously in Kafka too."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


class Cases:
    def __init__(self, client, prefix):
        self.client = client
        self.prefix = prefix
        self.main = self.topic("main")

    def topic(self, name):
        return f"{self.prefix}-{name}"

    def fresh(self, name, partitions=1, configs=None):
        topic = self.topic(name)
        self.client.create_topic(topic, partitions, configs or {})
        eventually(lambda: len(self.client.partitions(topic)) == partitions, f"{topic} in metadata")
        return topic

    def all(self):
        """(name, function) in the order they run; the first one makes the shared topic."""
        yield "create_topic", self.create_topic
        for codec in CODECS:
            for acks in ACKS:
                yield f"produce_{codec}_acks_{acks}", lambda c=codec, a=acks: self.produce(c, a)
        for name in [
            "idempotent_producer", "consume_from_start", "consume_from_offset",
            "consume_from_timestamp", "keyed_records", "explicit_partitions", "tiny_records",
            "large_records", "headers", "error_record_too_large", "error_unknown_topic",
            "error_bad_partition", "error_offset_out_of_range", "error_create_topic",
            "list_topics", "describe_topic", "describe_configs", "alter_configs",
            "create_partitions", "delete_records", "committed_offsets", "delete_topic",
        ]:
            yield name, getattr(self, name)

    def create_topic(self):
        self.fresh("main", 3)
        expect(sorted(self.client.partitions(self.main)), [0, 1, 2], "partitions")

    def produce(self, codec, acks):
        """Twenty records of compressible text go out and come back byte for byte."""
        start = self.client.end_offset(self.main, 0)
        values = [f"{codec} {acks} {n} ".encode() * 20 for n in range(20)]
        records = [Record(value, partition=0) for value in values]
        answers = self.client.produce(self.main, records, compression=codec, acks=acks)
        if acks != "0":
            expect([offset for _, offset in answers], list(range(start, start + 20)), "offsets")
        got = self.client.consume(self.main, 0, start, 20)
        expect([record.value for record in got], values, "values")
        expect([record.offset for record in got], list(range(start, start + 20)), "read offsets")

    def idempotent_producer(self):
        topic = self.fresh("idempotent")
        records = [Record(b"%d" % n, partition=0) for n in range(300)]
        answers = self.client.produce(topic, records, idempotent=True, acks="all")
        expect([offset for _, offset in answers], list(range(300)), "offsets")
        got = self.client.consume(topic, 0, EARLIEST, 300)
        expect([record.value for record in got], [r.value for r in records], "values")

    def consume_from_start(self):
        got = self.client.consume(self.main, 0, EARLIEST, 40)
        expect([record.offset for record in got[:40]], list(range(40)), "offsets")

    def consume_from_offset(self):
        got = self.client.consume(self.main, 0, 17, 5)
        expect([record.offset for record in got[:5]], [17, 18, 19, 20, 21], "offsets")

    def consume_from_timestamp(self):
        topic = self.fresh("times")
        base = int(time.time() * 1000) - 100_000
        records = [Record(b"%d" % n, partition=0, timestamp=base + n * 1000) for n in range(10)]
        self.client.produce(topic, records, acks="all")
        expect(self.client.offset_for_time(topic, 0, base + 3000), 3, "an exact timestamp")
        expect(self.client.offset_for_time(topic, 0, base + 3001), 4, "between two timestamps")
        expect(self.client.offset_for_time(topic, 0, base - 5), 0, "before the first")
        expect(self.client.offset_for_time(topic, 0, base + 60_000), None, "after the last")
        got = self.client.consume(topic, 0, 4, 1)
        expect(got[0].timestamp, base + 4000, "timestamp")

    def keyed_records(self):
        topic = self.fresh("keyed", 3)
        records = [Record(b"%d" % n, key=b"key-%d" % (n % 7)) for n in range(70)]
        answers = self.client.produce(topic, records, acks="all")
        homes = {}
        for record, (partition, _) in zip(records, answers):
            expect(homes.setdefault(record.key, partition), partition, "partition of one key")
        for partition in {partition for partition, _ in answers}:
            mine = [r for r, (p, _) in zip(records, answers) if p == partition]
            got = self.client.consume(topic, partition, EARLIEST, len(mine))
            expect([(r.key, r.value) for r in got], [(r.key, r.value) for r in mine], "order")

    def explicit_partitions(self):
        topic = self.fresh("explicit", 3)
        records = [Record(b"%d" % n, partition=n % 3) for n in range(30)]
        answers = self.client.produce(topic, records, acks="all")
        expect(answers, [(n % 3, n // 3) for n in range(30)], "partition and offset")
        for partition in range(3):
            got = self.client.consume(topic, partition, EARLIEST, 10)
            expect([r.value for r in got], [b"%d" % n for n in range(partition, 30, 3)], "values")

    def tiny_records(self):
        topic = self.fresh("tiny")
        records = [
            Record(b"", partition=0), Record(b"", key=b"", partition=0),
            Record(b"x", key=None, partition=0), Record(None, key=b"k", partition=0),
        ]
        self.client.produce(topic, records, acks="all")
        got = self.client.consume(topic, 0, EARLIEST, 4)
        wanted = [(None, b""), (b"", b""), (None, b"x"), (b"k", None)]
        expect([(r.key, r.value) for r in got], wanted, "keys and values")

    def large_records(self):
        topic = self.fresh("large")
        values = [os.urandom(900_000) for _ in range(3)]
        self.client.produce(
            topic, [Record(v, partition=0) for v in values], acks="all", max_request=1_000_000)
        got = self.client.consume(topic, 0, EARLIEST, 3)
        expect([r.value == v for r, v in zip(got, values)], [True] * 3, "900 kB values equal")

    def headers(self):
        topic = self.fresh("headers")
        sent = [("a", b"1"), ("a", b"2"), ("empty", b""), ("ünï", b"\x00\xff")]
        self.client.produce(topic, [Record(b"v", partition=0, headers=sent)], acks="all")
        got = self.client.consume(topic, 0, EARLIEST, 1)
        expect([(k, v) for k, v in got[0].headers], sent, "headers")

    def error_record_too_large(self):
        topic = self.fresh("too-large", 1, {"max.message.bytes": "2000"})
        expect_error(MESSAGE_TOO_LARGE, "3000 B to a topic that takes 2000", lambda: (
            self.client.produce(topic, [Record(os.urandom(3000), partition=0)], acks="all")))
        expect(self.client.end_offset(topic, 0), 0, "log end after the refusal")
        expect_error(MESSAGE_TOO_LARGE, "1.5 MB to the default limit", lambda: (
            self.client.produce(self.main, [Record(os.urandom(1_500_000), partition=1)],
                                acks="all", max_request=4_000_000)))

    def error_unknown_topic(self):
        name = self.topic("never-made")
        expect_error(UNKNOWN_TOPIC_OR_PARTITION, "metadata", lambda: self.client.unknown_topic(name))
        if name in self.client.topics():
            raise AssertionError("asking without auto-create made the topic")
        expect_error(UNKNOWN_TOPIC_OR_PARTITION, "delete", lambda: self.client.delete_topic(name))

    def error_bad_partition(self):
        try:
            self.client.produce(self.main, [Record(b"x", partition=99)], acks="all", patience=2)
        except Exception:
            pass
        else:
            raise AssertionError("a record was accepted by partition 99 of 3")
        expect_error(INVALID_PARTITIONS, "shrinking", lambda: self.client.grow(self.main, 2))

    def error_offset_out_of_range(self):
        end = self.client.end_offset(self.main, 0)
        expect_error(OFFSET_OUT_OF_RANGE, "beyond the end", lambda: (
            self.client.fetch_out_of_range(self.main, 0, end + 1000)))

    def error_create_topic(self):
        create = self.client.create_topic
        expect_error(TOPIC_ALREADY_EXISTS, "twice", lambda: create(self.main, 1, {}))
        expect_error(INVALID_TOPIC, "bad name", lambda: create("no spaces", 1, {}))
        expect_error(INVALID_PARTITIONS, "no partitions", lambda: create(self.topic("p"), 0, {}))
        expect_error(INVALID_REPLICATION_FACTOR, "3 replicas", lambda: (
            self.client.create_topic(self.topic("r"), 1, {}, replicas=3)))
        expect_error(INVALID_CONFIG, "bad value", lambda: (
            create(self.topic("c"), 1, {"retention.ms": "soon"})))
        expect_error(INVALID_CONFIG, "unknown key", lambda: (
            create(self.topic("c"), 1, {"no.such.key": "1"})))

    def list_topics(self):
        names = self.client.topics()
        for wanted in (self.main, self.topic("tiny"), self.topic("keyed")):
            if wanted not in names:
                raise AssertionError(f"{wanted} not among {sorted(names)}")

    def describe_topic(self):
        found = self.client.partitions(self.main)
        expect(sorted(found), [0, 1, 2], "partitions")
        if len(set(found.values())) != 1 or min(found.values()) < 0:
            raise AssertionError(f"leaders {found}: one broker leads everything")

    def describe_configs(self):
        topic = self.fresh("configs", 1, {"retention.ms": "12345", "cleanup.policy": "compact"})
        found = self.client.topic_configs(topic)
        expect(found.get("retention.ms"), "12345", "retention.ms")
        expect(found.get("cleanup.policy"), "compact", "cleanup.policy")
        expect(found.get("max.message.bytes"), "1048588", "max.message.bytes")
        expect(found.get("segment.bytes"), "1073741824", "segment.bytes")

    def alter_configs(self):
        topic = self.fresh("alter", 1, {"max.message.bytes": "2000"})
        self.client.set_topic_config(topic, "max.message.bytes", "500000")
        eventually(lambda: self.client.topic_configs(topic)["max.message.bytes"] == "500000",
                   "the new value")
        self.client.produce(topic, [Record(os.urandom(3000), partition=0)], acks="all")
        expect_error(INVALID_CONFIG, "bad value", lambda: (
            self.client.set_topic_config(topic, "max.message.bytes", "many")))

    def create_partitions(self):
        topic = self.fresh("grow", 1)
        self.client.grow(topic, 4)
        eventually(lambda: len(self.client.partitions(topic)) == 4, "four partitions")
        answers = self.client.produce(topic, [Record(b"x", partition=3)], acks="all")
        expect(answers, [(3, 0)], "partition and offset")

    def delete_records(self):
        topic = self.fresh("trim")
        self.client.produce(topic, [Record(b"%d" % n, partition=0) for n in range(10)], acks="all")
        self.client.delete_records(topic, 0, 4)
        expect(self.client.first_offset(topic, 0), 4, "log start")
        got = self.client.consume(topic, 0, EARLIEST, 6)
        expect([(r.offset, r.value) for r in got], [(n, b"%d" % n) for n in range(4, 10)], "rest")
        expect_error(OFFSET_OUT_OF_RANGE, "fetch below", lambda: (
            self.client.fetch_out_of_range(topic, 0, 1)))
        expect_error(OFFSET_OUT_OF_RANGE, "delete beyond the end", lambda: (
            self.client.delete_records(topic, 0, 100)))

    def committed_offsets(self):
        group = self.topic("group")
        expect(self.client.committed(group, self.main, 1), None, "before the first commit")
        self.client.commit(group, self.main, 0, 12, "a note")
        self.client.commit(group, self.main, 2, 0, "")
        expect(self.client.committed(group, self.main, 0), (12, "a note"), "after a commit")
        expect(self.client.committed(group, self.main, 2), (0, ""), "offset zero")
        expect(self.client.committed(group, self.main, 1), None, "the other partition")

    def delete_topic(self):
        topic = self.fresh("gone")
        self.client.produce(topic, [Record(b"old", partition=0)], acks="all")
        self.client.delete_topic(topic)
        eventually(lambda: topic not in self.client.topics(), "the topic is gone")
        self.fresh("gone")
        expect(self.client.end_offset(topic, 0), 0, "log end of the topic made anew")


def run(client, prefix):
    """Runs the cases (all, or those named in CASES) and prints a line for each."""
    wanted = [name for name in os.environ.get("CASES", "").split(",") if name]
    for name, case in Cases(client, prefix).all():
        if wanted and name not in wanted and name != "create_topic":
            continue
        started = time.monotonic()
        try:
            case()
            line = f"PASS {name}"
        except Exception as error:
            line = f"FAIL {name}: {type(error).__name__} {error}".replace("\n", " ")
            traceback.print_exc(file=sys.stderr)
        spent = int((time.monotonic() - started) * 1000)
        print(f"{line}\t{spent} ms" if line.startswith("PASS") else line, flush=True)
