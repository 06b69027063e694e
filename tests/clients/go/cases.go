// Command clients runs the cases of tests/clients with franz-go or sarama:
//
//	clients franz|sarama HOST:PORT PREFIX
//
// The cases are written once over the adapter below; each library has its own file. What is expected
// is what Apache Kafka 4.1 answers. One line is printed per case: `PASS name` or `FAIL name: why`.
package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"
)

const (
	earliest = int64(-2)
	noOffset = int64(-1)
	patience = 20 * time.Second

	offsetOutOfRange         = 1
	unknownTopicOrPartition  = 3
	messageTooLarge          = 10
	invalidTopic             = 17
	topicAlreadyExists       = 36
	invalidPartitions        = 37
	invalidReplicationFactor = 38
	invalidConfig            = 40
)

// answer is the Kafka error code that the broker answered.
type answer struct{ code int }

func (a answer) Error() string { return fmt.Sprintf("error %d", a.code) }

type header struct {
	key   string
	value []byte
}

// record is what is sent (partition -1: by key) and what is read back.
type record struct {
	partition  int32
	offset     int64
	key, value []byte
	headers    []header
	timestamp  int64
}

type sending struct {
	codec      string
	acks       string
	idempotent bool
	maxBytes   int
}

type place struct {
	Partition int32
	Offset    int64
}

// adapter is one client library. Errors of the broker are answers.
type adapter interface {
	createTopic(name string, partitions int32, configs map[string]string, replicas int16) error
	deleteTopic(name string) error
	produce(topic string, records []record, options sending) ([]place, error)
	// consume reads by assignment, from an offset or earliest.
	consume(topic string, partition int32, start int64, count int) ([]record, error)
	fetchOutOfRange(topic string, partition int32, offset int64) error
	firstOffset(topic string, partition int32) (int64, error)
	endOffset(topic string, partition int32) (int64, error)
	offsetForTime(topic string, partition int32, timestamp int64) (int64, error)
	topics() ([]string, error)
	partitions(topic string) (map[int32]int32, error)
	unknownTopic(name string) error
	topicConfigs(topic string) (map[string]string, error)
	setTopicConfig(topic, key, value string) error
	grow(topic string, partitions int) error
	deleteRecords(topic string, partition int32, offset int64) error
	commit(group, topic string, partition int32, offset int64, text string) error
	committed(group, topic string, partition int32) (int64, string, error)
}

type cases struct {
	client adapter
	prefix string
}

// failure carries a broken expectation from deep inside a case to run.
type failure struct{ why string }

func expect(actual, wanted any, what string) {
	if !reflect.DeepEqual(actual, wanted) {
		panic(failure{fmt.Sprintf("%s: wanted %v, got %v", what, wanted, actual)})
	}
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		panic(failure{err.Error()})
	}
}

func expectError(code int, what string, err error) {
	var got answer
	if !errors.As(err, &got) {
		panic(failure{fmt.Sprintf("%s: wanted error %d, got %v", what, code, err)})
	}
	expect(got.code, code, what)
}

func eventually(what string, condition func() bool) {
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			panic(failure{"not in time: " + what})
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func random(size int) []byte {
	value := make([]byte, size)
	_, _ = rand.Read(value)
	return value
}

func numbered(count int, partition int32) []record {
	records := make([]record, count)
	for n := range records {
		records[n] = record{partition: partition, value: fmt.Appendf(nil, "%d", n)}
	}
	return records
}

func offsets(records []record) []int64 {
	found := make([]int64, len(records))
	for n, r := range records {
		found[n] = r.offset
	}
	return found
}

func sequence(from, to int64) []int64 {
	found := []int64{}
	for n := from; n < to; n++ {
		found = append(found, n)
	}
	return found
}

func sameValues(got, sent []record) {
	expect(len(got), len(sent), "records read")
	for n := range sent {
		if !bytes.Equal(got[n].value, sent[n].value) {
			panic(failure{fmt.Sprintf("value %d differs", n)})
		}
	}
}

var all = sending{codec: "none", acks: "all", maxBytes: 1_000_000}

func (c *cases) topic(name string) string { return c.prefix + "-" + name }

func (c *cases) fresh(name string, partitions int32, configs map[string]string) string {
	topic := c.topic(name)
	check(c.client.createTopic(topic, partitions, configs, 1))
	eventually(topic+" in metadata", func() bool {
		found, err := c.client.partitions(topic)
		return err == nil && len(found) == int(partitions)
	})
	return topic
}

func (c *cases) createTopic() {
	c.fresh("main", 3, nil)
	expect(len(must(c.client.partitions(c.topic("main")))), 3, "partitions")
}

func (c *cases) produceWith(codec, acks string) {
	main := c.topic("main")
	start := must(c.client.endOffset(main, 0))
	records := make([]record, 20)
	for n := range records {
		records[n].value = bytes.Repeat(fmt.Appendf(nil, "%s %s %d ", codec, acks, n), 20)
	}
	places := must(c.client.produce(main, records, sending{codec: codec, acks: acks, maxBytes: 1_000_000}))
	if acks != "0" {
		for n, p := range places {
			expect(p, place{0, start + int64(n)}, "place")
		}
	}
	got := must(c.client.consume(main, 0, start, 20))
	sameValues(got, records)
	expect(offsets(got), sequence(start, start+20), "offsets read")
}

func (c *cases) idempotentProducer() {
	topic := c.fresh("idempotent", 1, nil)
	records := numbered(300, 0)
	options := all
	options.idempotent = true
	for n, p := range must(c.client.produce(topic, records, options)) {
		expect(p, place{0, int64(n)}, "place")
	}
	sameValues(must(c.client.consume(topic, 0, earliest, 300)), records)
}

func (c *cases) consumeFromStart() {
	expect(offsets(must(c.client.consume(c.topic("main"), 0, earliest, 40))), sequence(0, 40), "offsets")
}

func (c *cases) consumeFromOffset() {
	expect(offsets(must(c.client.consume(c.topic("main"), 0, 17, 5))), sequence(17, 22), "offsets")
}

func (c *cases) consumeFromTimestamp() {
	topic := c.fresh("times", 1, nil)
	base := time.Now().UnixMilli() - 100_000
	records := numbered(10, 0)
	for n := range records {
		records[n].timestamp = base + int64(n)*1000
	}
	must(c.client.produce(topic, records, all))
	expect(must(c.client.offsetForTime(topic, 0, base+3000)), int64(3), "an exact timestamp")
	expect(must(c.client.offsetForTime(topic, 0, base+3001)), int64(4), "between two timestamps")
	expect(must(c.client.offsetForTime(topic, 0, base-5)), int64(0), "before the first")
	expect(must(c.client.offsetForTime(topic, 0, base+60_000)), noOffset, "after the last")
	expect(must(c.client.consume(topic, 0, 4, 1))[0].timestamp, base+4000, "timestamp")
}

func (c *cases) keyedRecords() {
	topic := c.fresh("keyed", 3, nil)
	records := numbered(70, -1)
	for n := range records {
		records[n].key = fmt.Appendf(nil, "key-%d", n%7)
	}
	places := must(c.client.produce(topic, records, all))
	homes := map[string]int32{}
	mine := map[int32][]record{}
	for n, r := range records {
		key := string(r.key)
		if _, known := homes[key]; !known {
			homes[key] = places[n].Partition
		}
		expect(places[n].Partition, homes[key], "partition of one key")
		mine[places[n].Partition] = append(mine[places[n].Partition], r)
	}
	for partition, sent := range mine {
		sameValues(must(c.client.consume(topic, partition, earliest, len(sent))), sent)
	}
}

func (c *cases) explicitPartitions() {
	topic := c.fresh("explicit", 3, nil)
	records := numbered(30, 0)
	mine := map[int32][]record{}
	for n := range records {
		records[n].partition = int32(n % 3)
		mine[int32(n%3)] = append(mine[int32(n%3)], records[n])
	}
	for n, p := range must(c.client.produce(topic, records, all)) {
		expect(p, place{int32(n % 3), int64(n / 3)}, "place")
	}
	for partition, sent := range mine {
		sameValues(must(c.client.consume(topic, partition, earliest, 10)), sent)
	}
}

func (c *cases) tinyRecords() {
	topic := c.fresh("tiny", 1, nil)
	sent := []record{
		{value: []byte{}}, {key: []byte{}, value: []byte{}}, {value: []byte("x")}, {key: []byte("k")},
	}
	must(c.client.produce(topic, sent, all))
	for n, got := range must(c.client.consume(topic, 0, earliest, 4)) {
		expect(string(got.key), string(sent[n].key), "key")
		expect(string(got.value), string(sent[n].value), "value")
		expect(got.value == nil, n == 3, "null value")
		expect(got.key == nil, n == 0 || n == 2, "null key")
	}
}

func (c *cases) largeRecords() {
	topic := c.fresh("large", 1, nil)
	sent := []record{{value: random(900_000)}, {value: random(900_000)}, {value: random(900_000)}}
	must(c.client.produce(topic, sent, all))
	sameValues(must(c.client.consume(topic, 0, earliest, 3)), sent)
}

func (c *cases) headers() {
	topic := c.fresh("headers", 1, nil)
	sent := []header{{"a", []byte("1")}, {"a", []byte("2")}, {"empty", []byte{}}, {"ünï", []byte{0, 255}}}
	must(c.client.produce(topic, []record{{value: []byte("v"), headers: sent}}, all))
	expect(must(c.client.consume(topic, 0, earliest, 1))[0].headers, sent, "headers")
}

func (c *cases) errorRecordTooLarge() {
	topic := c.fresh("too-large", 1, map[string]string{"max.message.bytes": "2000"})
	_, err := c.client.produce(topic, []record{{value: random(3000)}}, all)
	expectError(messageTooLarge, "3000 B to a topic that takes 2000", err)
	expect(must(c.client.endOffset(topic, 0)), int64(0), "log end after the refusal")
	large := all
	large.maxBytes = 4_000_000
	_, err = c.client.produce(c.topic("main"), []record{{partition: 1, value: random(1_500_000)}}, large)
	expectError(messageTooLarge, "1.5 MB to the default limit", err)
}

func (c *cases) errorUnknownTopic() {
	name := c.topic("never-made")
	expectError(unknownTopicOrPartition, "metadata", c.client.unknownTopic(name))
	if slices.Contains(must(c.client.topics()), name) {
		panic(failure{"asking without auto-create made the topic"})
	}
	expectError(unknownTopicOrPartition, "delete", c.client.deleteTopic(name))
}

func (c *cases) errorBadPartition() {
	_, err := c.client.produce(c.topic("main"), []record{{partition: 99, value: []byte("x")}}, all)
	if err == nil {
		panic(failure{"a record was accepted by partition 99 of 3"})
	}
	expectError(invalidPartitions, "shrinking", c.client.grow(c.topic("main"), 2))
}

func (c *cases) errorOffsetOutOfRange() {
	end := must(c.client.endOffset(c.topic("main"), 0))
	err := c.client.fetchOutOfRange(c.topic("main"), 0, end+1000)
	expectError(offsetOutOfRange, "beyond the end", err)
}

func (c *cases) errorCreateTopic() {
	create := c.client.createTopic
	expectError(topicAlreadyExists, "twice", create(c.topic("main"), 1, nil, 1))
	expectError(invalidTopic, "bad name", create("no spaces", 1, nil, 1))
	expectError(invalidPartitions, "no partitions", create(c.topic("p"), 0, nil, 1))
	expectError(invalidReplicationFactor, "3 replicas", create(c.topic("r"), 1, nil, 3))
	bad := map[string]string{"retention.ms": "soon"}
	expectError(invalidConfig, "bad value", create(c.topic("c"), 1, bad, 1))
	unknown := map[string]string{"no.such.key": "1"}
	expectError(invalidConfig, "unknown key", create(c.topic("c"), 1, unknown, 1))
}

func (c *cases) listTopics() {
	names := must(c.client.topics())
	for _, wanted := range []string{"main", "tiny", "keyed"} {
		expect(slices.Contains(names, c.topic(wanted)), true, wanted+" among the topics")
	}
}

func (c *cases) describeTopic() {
	found := must(c.client.partitions(c.topic("main")))
	expect(len(found), 3, "partitions")
	for _, leader := range found {
		expect(leader, found[0], "one broker leads everything")
	}
}

func (c *cases) describeConfigs() {
	configs := map[string]string{"retention.ms": "12345", "cleanup.policy": "compact"}
	topic := c.fresh("configs", 1, configs)
	found := must(c.client.topicConfigs(topic))
	expect(found["retention.ms"], "12345", "retention.ms")
	expect(found["cleanup.policy"], "compact", "cleanup.policy")
	expect(found["max.message.bytes"], "1048588", "max.message.bytes")
	expect(found["segment.bytes"], "1073741824", "segment.bytes")
}

func (c *cases) alterConfigs() {
	topic := c.fresh("alter", 1, map[string]string{"max.message.bytes": "2000"})
	check(c.client.setTopicConfig(topic, "max.message.bytes", "500000"))
	eventually("the new value", func() bool {
		return must(c.client.topicConfigs(topic))["max.message.bytes"] == "500000"
	})
	must(c.client.produce(topic, []record{{value: random(3000)}}, all))
	expectError(invalidConfig, "bad value", c.client.setTopicConfig(topic, "max.message.bytes", "many"))
}

func (c *cases) createPartitions() {
	topic := c.fresh("grow", 1, nil)
	check(c.client.grow(topic, 4))
	eventually("four partitions", func() bool { return len(must(c.client.partitions(topic))) == 4 })
	places := must(c.client.produce(topic, []record{{partition: 3, value: []byte("x")}}, all))
	expect(places, []place{{3, 0}}, "place")
}

func (c *cases) deleteRecords() {
	topic := c.fresh("trim", 1, nil)
	records := numbered(10, 0)
	must(c.client.produce(topic, records, all))
	check(c.client.deleteRecords(topic, 0, 4))
	expect(must(c.client.firstOffset(topic, 0)), int64(4), "log start")
	sameValues(must(c.client.consume(topic, 0, earliest, 6)), records[4:])
	expectError(offsetOutOfRange, "fetch below", c.client.fetchOutOfRange(topic, 0, 1))
	expectError(offsetOutOfRange, "delete beyond the end", c.client.deleteRecords(topic, 0, 100))
}

func (c *cases) committedOffsets() {
	group, main := c.topic("group"), c.topic("main")
	type commit struct {
		offset int64
		text   string
	}
	committed := func(partition int32) commit {
		offset, text, err := c.client.committed(group, main, partition)
		check(err)
		return commit{offset, text}
	}
	expect(committed(1), commit{noOffset, ""}, "before the first commit")
	check(c.client.commit(group, main, 0, 12, "a note"))
	check(c.client.commit(group, main, 2, 0, ""))
	expect(committed(0), commit{12, "a note"}, "after a commit")
	expect(committed(2), commit{0, ""}, "offset zero")
	expect(committed(1), commit{noOffset, ""}, "the other partition")
}

func (c *cases) deleteTopic() {
	topic := c.fresh("gone", 1, nil)
	must(c.client.produce(topic, []record{{value: []byte("old")}}, all))
	check(c.client.deleteTopic(topic))
	eventually("the topic is gone", func() bool { return !slices.Contains(must(c.client.topics()), topic) })
	c.fresh("gone", 1, nil)
	expect(must(c.client.endOffset(topic, 0)), int64(0), "log end of the topic made anew")
}

type namedCase struct {
	name string
	run  func()
}

func (c *cases) list() []namedCase {
	list := []namedCase{{"create_topic", c.createTopic}}
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		for _, acks := range []string{"0", "1", "all"} {
			name := fmt.Sprintf("produce_%s_acks_%s", codec, acks)
			list = append(list, namedCase{name, func() { c.produceWith(codec, acks) }})
		}
	}
	return append(list, []namedCase{
		{"idempotent_producer", c.idempotentProducer},
		{"consume_from_start", c.consumeFromStart},
		{"consume_from_offset", c.consumeFromOffset},
		{"consume_from_timestamp", c.consumeFromTimestamp},
		{"keyed_records", c.keyedRecords},
		{"explicit_partitions", c.explicitPartitions},
		{"tiny_records", c.tinyRecords},
		{"large_records", c.largeRecords},
		{"headers", c.headers},
		{"error_record_too_large", c.errorRecordTooLarge},
		{"error_unknown_topic", c.errorUnknownTopic},
		{"error_bad_partition", c.errorBadPartition},
		{"error_offset_out_of_range", c.errorOffsetOutOfRange},
		{"error_create_topic", c.errorCreateTopic},
		{"list_topics", c.listTopics},
		{"describe_topic", c.describeTopic},
		{"describe_configs", c.describeConfigs},
		{"alter_configs", c.alterConfigs},
		{"create_partitions", c.createPartitions},
		{"delete_records", c.deleteRecords},
		{"committed_offsets", c.committedOffsets},
		{"delete_topic", c.deleteTopic},
	}...)
}

func run(c namedCase) {
	started := time.Now()
	defer func() {
		switch cause := recover().(type) {
		case nil:
			fmt.Printf("PASS %s\t%d ms\n", c.name, time.Since(started).Milliseconds())
		case failure:
			fmt.Printf("FAIL %s: %s\n", c.name, strings.ReplaceAll(cause.why, "\n", " "))
		default:
			panic(cause)
		}
	}()
	c.run()
}

func main() {
	if len(os.Args) > 5 && os.Args[1] == "member" {
		runMember(os.Args[2:])
		return
	}
	if len(os.Args) == 4 && os.Args[1] == "life" {
		runLife(os.Args[2], os.Args[3])
		return
	}
	if len(os.Args) == 5 && os.Args[1] == "transactions" {
		runTransactions(os.Args[2], os.Args[3], os.Args[4])
		return
	}
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: clients franz|sarama HOST:PORT PREFIX")
		os.Exit(2)
	}
	connect := map[string]func(string) (adapter, error){"franz": newFranz, "sarama": newSarama}
	client, err := connect[os.Args[1]](os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	wanted := strings.FieldsFunc(os.Getenv("CASES"), func(r rune) bool { return r == ',' })
	for _, c := range (&cases{client, os.Args[3]}).list() {
		if len(wanted) == 0 || c.name == "create_topic" || slices.Contains(wanted, c.name) {
			run(c)
		}
	}
}
