package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	lifePartitions   = 3
	lifePause        = 10 * time.Millisecond
	lifeReadPatience = 60 * time.Second
)

// life is a producer and a member of a group that outlive brokers, as tests/cluster.rs drives them:
// clients life HOST:PORT,HOST:PORT,... TOPIC. See cluster_life.py for what it prints.
type life struct {
	mutex       sync.Mutex
	acked, read map[int]bool
}

func runLife(bootstrap, topic string) {
	l := &life{acked: map[int]bool{}, read: map[int]bool{}}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	seeds := kgo.SeedBrokers(strings.Split(bootstrap, ",")...)
	go l.consume(seeds, topic)
	l.produce(ctx, seeds, topic)
	for end := time.Now().Add(lifeReadPatience); !l.hasReadAll() && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	l.say("DONE")
	os.Exit(0)
}

func (l *life) say(line string) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	fmt.Println(line)
}

func (l *life) note(what string, numbers map[int]bool, record *kgo.Record) {
	number, err := strconv.Atoi(string(record.Value))
	if err != nil {
		l.say("ERROR " + err.Error())
		return
	}
	l.mutex.Lock()
	numbers[number] = true
	l.mutex.Unlock()
	l.say(fmt.Sprintf("%s %d %d %d", what, number, record.Partition, record.Offset))
}

func (l *life) hasReadAll() bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	for number := range l.acked {
		if !l.read[number] {
			return false
		}
	}
	return true
}

func (l *life) produce(ctx context.Context, seeds kgo.Opt, topic string) {
	client, err := kgo.NewClient(seeds, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		l.say("ERROR produce: " + err.Error())
		return
	}
	for number := 0; ctx.Err() == nil; number++ {
		record := &kgo.Record{
			Topic: topic, Partition: int32(number % lifePartitions), Value: []byte(strconv.Itoa(number)),
		}
		client.Produce(context.Background(), record, func(record *kgo.Record, err error) {
			if err != nil {
				l.say("ERROR produce: " + err.Error())
				return
			}
			l.note("ACKED", l.acked, record)
		})
		time.Sleep(lifePause)
	}
	client.Flush(context.Background())
}

func (l *life) consume(seeds kgo.Opt, topic string) {
	client, err := kgo.NewClient(
		seeds,
		kgo.ConsumerGroup("franz-go"),
		kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SessionTimeout(6*time.Second),
		kgo.HeartbeatInterval(500*time.Millisecond),
	)
	if err != nil {
		l.say("ERROR consume: " + err.Error())
		return
	}
	for {
		fetches := client.PollFetches(context.Background())
		fetches.EachError(func(_ string, _ int32, err error) {
			// Information: it joins again by itself.
			var session *kgo.ErrGroupSession
			if !errors.As(err, &session) {
				l.say("ERROR consume: " + err.Error())
			}
		})
		fetches.EachRecord(func(record *kgo.Record) { l.note("READ", l.read, record) })
	}
}
