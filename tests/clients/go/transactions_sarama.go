package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"
)

const endOfReading = "end of reading"

type saramaLibrary struct{}

type saramaProducer struct {
	bootstrap string
	producer  sarama.SyncProducer
}

func saramaTransactional() *sarama.Config {
	config := saramaConfig()
	config.Producer.Idempotent = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Return.Successes = true
	config.Producer.Partitioner = newOwnOrHash
	config.Producer.Transaction.Retry.Max = 200
	config.Producer.Transaction.Retry.Backoff = 20 * time.Millisecond
	config.Producer.Retry.Max = 100
	config.Producer.Retry.Backoff = 50 * time.Millisecond
	config.Net.MaxOpenRequests = 1
	config.Consumer.IsolationLevel = sarama.ReadCommitted
	return config
}

func (saramaLibrary) producer(bootstrap, id string) (transactionalProducer, error) {
	config := saramaTransactional()
	config.Producer.Transaction.ID = id
	producer, err := sarama.NewSyncProducer([]string{bootstrap}, config)
	if err != nil {
		return nil, err
	}
	return &saramaProducer{bootstrap, producer}, nil
}

func (p *saramaProducer) begin() error { return p.producer.BeginTxn() }

func (p *saramaProducer) send(topic string, partition int32, value string) error {
	message := &sarama.ProducerMessage{
		Topic: topic, Metadata: partition, Value: sarama.StringEncoder(value),
	}
	_, _, err := p.producer.SendMessage(message)
	return err
}

func (p *saramaProducer) end(isCommit bool) error {
	if isCommit {
		return p.producer.CommitTxn()
	}
	return p.producer.AbortTxn()
}

// copier sends on what the member reads, first in a transaction that is aborted.
type copier struct {
	producer  *saramaProducer
	group, to string
	count     int
	done      chan error
}

func (c *copier) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (c *copier) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (c *copier) ConsumeClaim(
	session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim,
) error {
	if claim.Partition() == 0 {
		c.done <- c.copyClaim(claim)
	}
	<-session.Context().Done() // A claim that is left early ends the session of them all.
	return nil
}

func (c *copier) copyClaim(claim sarama.ConsumerGroupClaim) error {
	var taken []*sarama.ConsumerMessage
	for message := range claim.Messages() {
		if taken = append(taken, message); len(taken) == c.count {
			break
		}
	}
	if len(taken) < c.count {
		return fmt.Errorf("only %d of %d records", len(taken), c.count)
	}
	for _, word := range []string{"lost", "copy"} {
		if err := c.producer.begin(); err != nil {
			return err
		}
		for _, message := range taken {
			value := fmt.Sprintf("%s of %s", word, message.Value)
			if err := c.producer.send(c.to, 1, value); err != nil {
				return err
			}
			if err := c.producer.producer.AddMessageToTxn(message, c.group, nil); err != nil {
				return err
			}
		}
		if err := c.producer.end(word == "copy"); err != nil {
			return err
		}
	}
	return nil
}

func (p *saramaProducer) copyFrom(group, from, to string, count int) error {
	config := saramaTransactional()
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	members, err := sarama.NewConsumerGroup([]string{p.bootstrap}, group, config)
	if err != nil {
		return err
	}
	defer members.Close()
	ctx, cancel := longDeadline()
	defer cancel()
	handler := &copier{p, group, to, count, make(chan error, 1)}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		if err := members.Consume(ctx, []string{from}, handler); err != nil {
			handler.done <- err
		}
	}()
	select {
	case err := <-handler.done:
		stop()
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *saramaProducer) isFenced(err error) bool {
	return errors.Is(err, sarama.ErrProducerFenced) || errors.Is(err, sarama.ErrInvalidProducerEpoch)
}

func (p *saramaProducer) close() { p.producer.Close() }

func (saramaLibrary) read(
	bootstrap, topic string, partition int32, isCommitted bool,
) ([]string, error) {
	config := saramaTransactional()
	if !isCommitted {
		config.Consumer.IsolationLevel = sarama.ReadUncommitted
	}
	client, err := sarama.NewClient([]string{bootstrap}, config)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	end, err := saramaEnd(client, topic, partition)
	if err != nil {
		return nil, err
	}
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		return nil, err
	}
	reader, err := consumer.ConsumePartition(topic, partition, sarama.OffsetOldest)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	values := []string{}
	timeout := time.After(2 * patience)
	for {
		select {
		case message := <-reader.Messages():
			if message.Offset == end {
				return values, nil
			}
			if string(message.Value) != endOfReading {
				values = append(values, string(message.Value))
			}
		case err := <-reader.Errors():
			return values, err
		case <-timeout:
			return values, fmt.Errorf("offset %d was not read", end)
		}
	}
}

// saramaEnd puts a record of no transaction at the end and says where it is: the consumer tells
// nobody where it stands among markers.
func saramaEnd(client sarama.Client, topic string, partition int32) (int64, error) {
	producer, err := sarama.NewSyncProducerFromClient(client)
	if err != nil {
		return 0, err
	}
	defer producer.Close()
	message := &sarama.ProducerMessage{
		Topic: topic, Metadata: partition, Value: sarama.StringEncoder(endOfReading),
	}
	_, offset, err := producer.SendMessage(message)
	return offset, err
}
