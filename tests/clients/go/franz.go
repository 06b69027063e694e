package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// franz is franz-go with its admin client.
type franz struct {
	bootstrap string
	client    *kgo.Client
	admin     *kadm.Client
	producers map[sending]*kgo.Client
}

func newFranz(bootstrap string) (adapter, error) {
	// A short metadata age, since the cases change topics and look at once.
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		return nil, err
	}
	return &franz{bootstrap, client, kadm.NewClient(client), map[sending]*kgo.Client{}}, nil
}

func deadline() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patience)
}

// franzAnswer finds the broker's code in an error.
func franzAnswer(err error) error {
	var code *kerr.Error
	if errors.As(err, &code) {
		return answer{int(code.Code)}
	}
	return err
}

func (f *franz) createTopic(name string, partitions int32, configs map[string]string, replicas int16) error {
	ctx, cancel := deadline()
	defer cancel()
	values := map[string]*string{}
	for key, value := range configs {
		values[key] = &value
	}
	_, err := f.admin.CreateTopic(ctx, partitions, replicas, values, name)
	return franzAnswer(err)
}

func (f *franz) deleteTopic(name string) error {
	ctx, cancel := deadline()
	defer cancel()
	_, err := f.admin.DeleteTopic(ctx, name)
	return franzAnswer(err)
}

func (f *franz) producer(options sending) (*kgo.Client, error) {
	if known := f.producers[options]; known != nil {
		return known, nil
	}
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	acks := map[string]kgo.Acks{"0": kgo.NoAck(), "1": kgo.LeaderAck(), "all": kgo.AllISRAcks()}
	settings := []kgo.Opt{
		kgo.SeedBrokers(f.bootstrap), kgo.ProducerBatchCompression(codecs[options.codec]),
		kgo.RequiredAcks(acks[options.acks]), kgo.ProducerBatchMaxBytes(int32(options.maxBytes)),
		kgo.ProducerLinger(2 * time.Millisecond), kgo.MetadataMinAge(10 * time.Millisecond),
		kgo.RecordPartitioner(byPartitionOrKey()), kgo.UnknownTopicRetries(3),
	}
	if !options.idempotent {
		settings = append(settings, kgo.DisableIdempotentWrite())
	}
	client, err := kgo.NewClient(settings...)
	f.producers[options] = client
	return client, err
}

// byPartitionOrKey takes a record's own partition, and hashes the key where that is -1.
func byPartitionOrKey() kgo.Partitioner {
	hash := kgo.StickyKeyPartitioner(nil)
	return kgo.BasicConsistentPartitioner(func(topic string) func(*kgo.Record, int) int {
		keyed := hash.ForTopic(topic)
		return func(r *kgo.Record, partitions int) int {
			if r.Partition >= 0 {
				return int(r.Partition)
			}
			return keyed.Partition(r, partitions)
		}
	})
}

func (f *franz) produce(topic string, records []record, options sending) ([]place, error) {
	ctx, cancel := deadline()
	defer cancel()
	client, err := f.producer(options)
	if err != nil {
		return nil, err
	}
	sent := make([]*kgo.Record, len(records))
	for n, r := range records {
		sent[n] = &kgo.Record{Topic: topic, Partition: r.partition, Key: r.key, Value: r.value}
		if r.timestamp != 0 {
			sent[n].Timestamp = time.UnixMilli(r.timestamp)
		}
		for _, h := range r.headers {
			sent[n].Headers = append(sent[n].Headers, kgo.RecordHeader{Key: h.key, Value: h.value})
		}
	}
	if err := client.ProduceSync(ctx, sent...).FirstErr(); err != nil {
		return nil, franzAnswer(err)
	}
	places := make([]place, len(sent))
	for n, r := range sent {
		places[n] = place{r.Partition, r.Offset}
	}
	return places, nil
}

func (f *franz) consume(topic string, partition int32, start int64, count int) ([]record, error) {
	from := kgo.NewOffset().At(start)
	if start == earliest {
		from = kgo.NewOffset().AtStart()
	}
	reader, err := kgo.NewClient(
		kgo.SeedBrokers(f.bootstrap), kgo.FetchMaxWait(50*time.Millisecond),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: from}}))
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	ctx, cancel := deadline()
	defer cancel()
	var got []record
	for len(got) < count {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return got, franzAnswer(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			read := record{
				partition: r.Partition, offset: r.Offset, key: r.Key, value: r.Value,
				timestamp: r.Timestamp.UnixMilli(),
			}
			for _, h := range r.Headers {
				read.headers = append(read.headers, header{h.Key, h.Value})
			}
			got = append(got, read)
		})
	}
	return got[:count], nil
}

func (f *franz) fetchOutOfRange(topic string, partition int32, offset int64) error {
	_, err := f.consume(topic, partition, offset, 1)
	return err
}

func (f *franz) listed(found kadm.ListedOffsets, err error) (int64, error) {
	if err == nil {
		err = found.Error()
	}
	if err != nil {
		return 0, franzAnswer(err)
	}
	offset := noOffset
	found.Each(func(listed kadm.ListedOffset) {
		if listed.Partition == 0 {
			offset = listed.Offset
		}
	})
	return offset, nil
}

func (f *franz) firstOffset(topic string, _ int32) (int64, error) {
	ctx, cancel := deadline()
	defer cancel()
	return f.listed(f.admin.ListStartOffsets(ctx, topic))
}

func (f *franz) endOffset(topic string, _ int32) (int64, error) {
	ctx, cancel := deadline()
	defer cancel()
	return f.listed(f.admin.ListEndOffsets(ctx, topic))
}

// offsetForTime tells "none" by the timestamp, since kadm puts the log end there.
func (f *franz) offsetForTime(topic string, partition int32, timestamp int64) (int64, error) {
	ctx, cancel := deadline()
	defer cancel()
	found, err := f.admin.ListOffsetsAfterMilli(ctx, timestamp, topic)
	if err == nil {
		err = found.Error()
	}
	if err != nil {
		return 0, franzAnswer(err)
	}
	listed, _ := found.Lookup(topic, partition)
	if listed.Timestamp < 0 {
		return noOffset, nil
	}
	return listed.Offset, nil
}

func (f *franz) topics() ([]string, error) {
	ctx, cancel := deadline()
	defer cancel()
	found, err := f.admin.ListTopics(ctx)
	return found.Names(), franzAnswer(err)
}

func (f *franz) partitions(topic string) (map[int32]int32, error) {
	ctx, cancel := deadline()
	defer cancel()
	found, err := f.admin.ListTopics(ctx, topic)
	if err == nil {
		err = found[topic].Err
	}
	leaders := map[int32]int32{}
	for _, p := range found[topic].Partitions {
		leaders[p.Partition] = p.Leader
	}
	return leaders, franzAnswer(err)
}

func (f *franz) unknownTopic(name string) error {
	_, err := f.partitions(name)
	return err
}

func (f *franz) topicConfigs(topic string) (map[string]string, error) {
	ctx, cancel := deadline()
	defer cancel()
	found, err := f.admin.DescribeTopicConfigs(ctx, topic)
	if err == nil {
		err = found[0].Err
	}
	if err != nil {
		return nil, franzAnswer(err)
	}
	values := map[string]string{}
	for _, config := range found[0].Configs {
		values[config.Key] = config.MaybeValue()
	}
	return values, nil
}

func (f *franz) setTopicConfig(topic, key, value string) error {
	ctx, cancel := deadline()
	defer cancel()
	change := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: key, Value: &value}}
	answers, err := f.admin.AlterTopicConfigs(ctx, change, topic)
	if err == nil {
		err = answers[0].Err
	}
	return franzAnswer(err)
}

func (f *franz) grow(topic string, partitions int) error {
	ctx, cancel := deadline()
	defer cancel()
	answers, err := f.admin.UpdatePartitions(ctx, partitions, topic)
	if err == nil {
		err = answers[topic].Err
	}
	return franzAnswer(err)
}

func (f *franz) deleteRecords(topic string, partition int32, offset int64) error {
	ctx, cancel := deadline()
	defer cancel()
	asked := kadm.Offsets{}
	asked.AddOffset(topic, partition, offset, -1)
	answers, err := f.admin.DeleteRecords(ctx, asked)
	if err == nil {
		err = answers.Error()
	}
	return franzAnswer(err)
}

func (f *franz) commit(group, topic string, partition int32, offset int64, text string) error {
	ctx, cancel := deadline()
	defer cancel()
	asked := kadm.Offsets{}
	asked.Add(kadm.Offset{Topic: topic, Partition: partition, At: offset, LeaderEpoch: -1, Metadata: text})
	answers, err := f.admin.CommitOffsets(ctx, group, asked)
	if err == nil {
		err = answers.Error()
	}
	return franzAnswer(err)
}

func (f *franz) committed(group, topic string, partition int32) (int64, string, error) {
	ctx, cancel := deadline()
	defer cancel()
	found, err := f.admin.FetchOffsetsForTopics(ctx, group, topic)
	if err != nil {
		return 0, "", franzAnswer(err)
	}
	one, known := found.Lookup(topic, partition)
	if !known {
		return 0, "", fmt.Errorf("no answer for partition %d", partition)
	}
	return one.At, one.Metadata, franzAnswer(one.Err)
}
