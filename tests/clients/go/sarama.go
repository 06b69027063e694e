package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/IBM/sarama"
)

// saramaClient is IBM/sarama at the newest protocol version it knows.
type saramaClient struct {
	bootstrap string
	client    sarama.Client
	admin     sarama.ClusterAdmin
	producers map[sending]sarama.SyncProducer
}

func saramaConfig() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Metadata.AllowAutoTopicCreation = false
	config.Metadata.Retry.Max = 20
	config.Metadata.Retry.Backoff = 20 * time.Millisecond
	config.Consumer.Return.Errors = true
	config.Consumer.MaxWaitTime = 50 * time.Millisecond
	config.Consumer.Offsets.AutoCommit.Enable = false
	return config
}

func newSarama(bootstrap string) (adapter, error) {
	client, err := sarama.NewClient([]string{bootstrap}, saramaConfig())
	if err != nil {
		return nil, err
	}
	admin, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		return nil, err
	}
	return &saramaClient{bootstrap, client, admin, map[sending]sarama.SyncProducer{}}, nil
}

// saramaAnswer finds the broker's code in an error.
func saramaAnswer(err error) error {
	var topic *sarama.TopicError
	if errors.As(err, &topic) {
		return answer{int(topic.Err)}
	}
	var partition *sarama.TopicPartitionError
	if errors.As(err, &partition) {
		return answer{int(partition.Err)}
	}
	var code sarama.KError
	if errors.As(err, &code) {
		return answer{int(code)}
	}
	return err
}

func (s *saramaClient) createTopic(
	name string, partitions int32, configs map[string]string, replicas int16,
) error {
	detail := sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: replicas}
	detail.ConfigEntries = map[string]*string{}
	for key, value := range configs {
		detail.ConfigEntries[key] = &value
	}
	return saramaAnswer(s.admin.CreateTopic(name, &detail, false))
}

func (s *saramaClient) deleteTopic(name string) error {
	return saramaAnswer(s.admin.DeleteTopic(name))
}

func (s *saramaClient) producer(options sending) (sarama.SyncProducer, error) {
	if known := s.producers[options]; known != nil {
		return known, nil
	}
	codecs := map[string]sarama.CompressionCodec{
		"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP,
		"snappy": sarama.CompressionSnappy, "lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
	}
	acks := map[string]sarama.RequiredAcks{
		"0": sarama.NoResponse, "1": sarama.WaitForLocal, "all": sarama.WaitForAll,
	}
	config := saramaConfig()
	config.Producer.Compression = codecs[options.codec]
	config.Producer.RequiredAcks = acks[options.acks]
	config.Producer.MaxMessageBytes = options.maxBytes
	config.Producer.Return.Successes = true
	config.Producer.Flush.Frequency = 2 * time.Millisecond
	config.Producer.Partitioner = newOwnOrHash
	if options.idempotent {
		config.Producer.Idempotent = true
		config.Net.MaxOpenRequests = 1
	}
	producer, err := sarama.NewSyncProducer([]string{s.bootstrap}, config)
	s.producers[options] = producer
	return producer, err
}

// ownOrHash takes a record's own partition, and hashes the key where that is -1.
type ownOrHash struct{ hash sarama.Partitioner }

func newOwnOrHash(topic string) sarama.Partitioner {
	return ownOrHash{sarama.NewHashPartitioner(topic)}
}

func (o ownOrHash) Partition(message *sarama.ProducerMessage, partitions int32) (int32, error) {
	if own, ok := message.Metadata.(int32); ok && own >= 0 {
		return own, nil
	}
	return o.hash.Partition(message, partitions)
}

func (o ownOrHash) RequiresConsistency() bool { return true }

func (s *saramaClient) produce(topic string, records []record, options sending) ([]place, error) {
	producer, err := s.producer(options)
	if err != nil {
		return nil, err
	}
	messages := make([]*sarama.ProducerMessage, len(records))
	for n, r := range records {
		messages[n] = &sarama.ProducerMessage{Topic: topic, Metadata: r.partition}
		if r.key != nil {
			messages[n].Key = sarama.ByteEncoder(r.key)
		}
		if r.value != nil {
			messages[n].Value = sarama.ByteEncoder(r.value)
		}
		if r.timestamp != 0 {
			messages[n].Timestamp = time.UnixMilli(r.timestamp)
		}
		for _, h := range r.headers {
			pair := sarama.RecordHeader{Key: []byte(h.key), Value: h.value}
			messages[n].Headers = append(messages[n].Headers, pair)
		}
	}
	if err := producer.SendMessages(messages); err != nil {
		var failed sarama.ProducerErrors
		if errors.As(err, &failed) {
			err = failed[0].Err
		}
		return nil, saramaAnswer(err)
	}
	places := make([]place, len(messages))
	for n, m := range messages {
		places[n] = place{m.Partition, m.Offset}
	}
	return places, nil
}

func (s *saramaClient) consume(topic string, partition int32, start int64, count int) ([]record, error) {
	consumer, err := sarama.NewConsumerFromClient(s.client)
	if err != nil {
		return nil, err
	}
	if start == earliest {
		start = sarama.OffsetOldest
	}
	reader, err := consumer.ConsumePartition(topic, partition, start)
	if err != nil {
		return nil, saramaAnswer(err)
	}
	defer reader.AsyncClose()
	timeout := time.After(patience)
	var got []record
	for len(got) < count {
		select {
		case message := <-reader.Messages():
			got = append(got, saramaRecord(message))
		case err := <-reader.Errors():
			return got, saramaAnswer(err.Err)
		case <-timeout:
			return got, fmt.Errorf("only %d of %d records", len(got), count)
		}
	}
	return got, nil
}

func saramaRecord(m *sarama.ConsumerMessage) record {
	read := record{
		partition: m.Partition, offset: m.Offset, key: m.Key, value: m.Value,
		timestamp: m.Timestamp.UnixMilli(),
	}
	for _, h := range m.Headers {
		read.headers = append(read.headers, header{string(h.Key), h.Value})
	}
	return read
}

// fetchOutOfRange asks the broker itself: sarama's consumer checks the range before it fetches.
func (s *saramaClient) fetchOutOfRange(topic string, partition int32, offset int64) error {
	leader, err := s.client.Leader(topic, partition)
	if err != nil {
		return saramaAnswer(err)
	}
	request := &sarama.FetchRequest{Version: 11, MaxWaitTime: 10, MinBytes: 1, MaxBytes: 1 << 20}
	request.AddBlock(topic, partition, offset, 1<<20, -1)
	response, err := leader.Fetch(request)
	if err != nil {
		return saramaAnswer(err)
	}
	if code := response.GetBlock(topic, partition).Err; code != sarama.ErrNoError {
		return answer{int(code)}
	}
	return nil
}

func (s *saramaClient) firstOffset(topic string, partition int32) (int64, error) {
	offset, err := s.client.GetOffset(topic, partition, sarama.OffsetOldest)
	return offset, saramaAnswer(err)
}

func (s *saramaClient) endOffset(topic string, partition int32) (int64, error) {
	offset, err := s.client.GetOffset(topic, partition, sarama.OffsetNewest)
	return offset, saramaAnswer(err)
}

func (s *saramaClient) offsetForTime(topic string, partition int32, timestamp int64) (int64, error) {
	offset, err := s.client.GetOffset(topic, partition, timestamp)
	return offset, saramaAnswer(err)
}

func (s *saramaClient) topics() ([]string, error) {
	found, err := s.admin.ListTopics()
	names := []string{}
	for name := range found {
		names = append(names, name)
	}
	return names, saramaAnswer(err)
}

func (s *saramaClient) partitions(topic string) (map[int32]int32, error) {
	found, err := s.admin.DescribeTopics([]string{topic})
	if err == nil && found[0].Err != sarama.ErrNoError {
		err = found[0].Err
	}
	if err != nil {
		return nil, saramaAnswer(err)
	}
	leaders := map[int32]int32{}
	for _, p := range found[0].Partitions {
		leaders[p.ID] = p.Leader
	}
	return leaders, s.client.RefreshMetadata(topic)
}

func (s *saramaClient) unknownTopic(name string) error {
	_, err := s.partitions(name)
	return err
}

func (s *saramaClient) topicConfigs(topic string) (map[string]string, error) {
	found, err := s.admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic})
	values := map[string]string{}
	for _, entry := range found {
		values[entry.Name] = entry.Value
	}
	return values, saramaAnswer(err)
}

func (s *saramaClient) setTopicConfig(topic, key, value string) error {
	change := map[string]sarama.IncrementalAlterConfigsEntry{
		key: {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value},
	}
	return saramaAnswer(s.admin.IncrementalAlterConfig(sarama.TopicResource, topic, change, false))
}

func (s *saramaClient) grow(topic string, partitions int) error {
	return saramaAnswer(s.admin.CreatePartitions(topic, int32(partitions), nil, false))
}

// deleteRecords asks the leader itself: sarama's admin client keeps the code as text only.
func (s *saramaClient) deleteRecords(topic string, partition int32, offset int64) error {
	leader, err := s.client.Leader(topic, partition)
	if err != nil {
		return saramaAnswer(err)
	}
	request := &sarama.DeleteRecordsRequest{
		Timeout: patience,
		Topics: map[string]*sarama.DeleteRecordsRequestTopic{
			topic: {PartitionOffsets: map[int32]int64{partition: offset}},
		},
	}
	response, err := leader.DeleteRecords(request)
	if err != nil {
		return saramaAnswer(err)
	}
	code := response.Topics[topic].Partitions[partition].Err
	if code != sarama.ErrNoError {
		return answer{int(code)}
	}
	return nil
}

func (s *saramaClient) commit(group, topic string, partition int32, offset int64, text string) error {
	coordinator, err := s.client.Coordinator(group)
	if err != nil {
		return saramaAnswer(err)
	}
	request := &sarama.OffsetCommitRequest{
		Version: 7, ConsumerGroup: group, ConsumerGroupGeneration: sarama.GroupGenerationUndefined,
	}
	request.AddBlockWithLeaderEpoch(topic, partition, offset, -1, 0, text)
	response, err := coordinator.CommitOffset(request)
	if err != nil {
		return saramaAnswer(err)
	}
	if code := response.Errors[topic][partition]; code != sarama.ErrNoError {
		return answer{int(code)}
	}
	return nil
}

func (s *saramaClient) committed(group, topic string, partition int32) (int64, string, error) {
	found, err := s.admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: {partition}})
	if err != nil {
		return 0, "", saramaAnswer(err)
	}
	block := found.GetBlock(topic, partition)
	if block == nil {
		return 0, "", errors.New("no answer for partition " + strconv.Itoa(int(partition)))
	}
	if block.Err != sarama.ErrNoError {
		return 0, "", answer{int(block.Err)}
	}
	return block.Offset, block.Metadata, nil
}
