package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

type franzLibrary struct{}

type franzProducer struct {
	bootstrap, id string
	client        *kgo.Client
}

func franzTransactional(bootstrap, id string) []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(bootstrap), kgo.TransactionalID(id), kgo.ProducerLinger(0),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
	}
}

func (franzLibrary) producer(bootstrap, id string) (transactionalProducer, error) {
	client, err := kgo.NewClient(franzTransactional(bootstrap, id)...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := longDeadline()
	defer cancel()
	// The client takes its identity with its first record; here it fences at once.
	if _, _, err := client.ProducerID(ctx); err != nil {
		return nil, err
	}
	return &franzProducer{bootstrap, id, client}, nil
}

func (p *franzProducer) begin() error { return p.client.BeginTransaction() }

func (p *franzProducer) send(topic string, partition int32, value string) error {
	ctx, cancel := longDeadline()
	defer cancel()
	record := &kgo.Record{Topic: topic, Partition: partition, Value: []byte(value)}
	return p.client.ProduceSync(ctx, record).FirstErr()
}

func (p *franzProducer) end(isCommit bool) error {
	ctx, cancel := longDeadline()
	defer cancel()
	return p.client.EndTransaction(ctx, kgo.TransactionEndTry(isCommit))
}

func (p *franzProducer) copyFrom(group, from, to string, count int) error {
	options := append(franzTransactional(p.bootstrap, p.id+"-copy"),
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(from), kgo.RequireStableFetchOffsets(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	session, err := kgo.NewGroupTransactSession(options...)
	if err != nil {
		return err
	}
	defer session.Close()
	ctx, cancel := longDeadline()
	defer cancel()
	// An abort puts the session back to where it began, so each round reads the same records.
	for _, word := range []string{"lost", "copy"} {
		if err := session.Begin(); err != nil {
			return err
		}
		for taken := 0; taken < count; {
			fetches := session.PollFetches(ctx)
			if err := fetches.Err(); err != nil {
				return err
			}
			for _, r := range fetches.Records() {
				value := fmt.Appendf(nil, "%s of %s", word, r.Value)
				copied := &kgo.Record{Topic: to, Partition: 1, Value: value}
				if err := session.ProduceSync(ctx, copied).FirstErr(); err != nil {
					return err
				}
				taken++
			}
		}
		isCommitted, err := session.End(ctx, word == "copy")
		if err != nil {
			return err
		}
		if isCommitted != (word == "copy") {
			return fmt.Errorf("committed: %v", isCommitted)
		}
	}
	return nil
}

func (p *franzProducer) isFenced(err error) bool {
	return errors.Is(err, kerr.ProducerFenced) || errors.Is(err, kerr.InvalidProducerEpoch)
}

func (p *franzProducer) close() { p.client.Close() }

func (franzLibrary) read(
	bootstrap, topic string, partition int32, isCommitted bool,
) ([]string, error) {
	isolation := kgo.ReadUncommitted()
	if isCommitted {
		isolation = kgo.ReadCommitted()
	}
	start := map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().AtStart()}}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(bootstrap), kgo.FetchMaxWait(50*time.Millisecond), kgo.ConsumePartitions(start),
		kgo.FetchIsolationLevel(isolation), kgo.KeepControlRecords())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := longDeadline()
	defer cancel()
	admin := kadm.NewClient(client)
	list := admin.ListEndOffsets
	if isCommitted {
		list = admin.ListCommittedOffsets
	}
	ends, err := list(ctx, topic)
	if err != nil {
		return nil, err
	}
	last, _ := ends.Lookup(topic, partition)
	end := last.Offset
	values := []string{}
	for next := int64(0); next < end; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return values, err
		}
		for _, r := range fetches.Records() {
			next = r.Offset + 1
			if !r.Attrs.IsControl() {
				values = append(values, string(r.Value))
			}
		}
	}
	return values, nil
}
