package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"
)

// One member of a group, as tests/groups.rs drives it: clients member LIBRARY HOST:PORT GROUP TOPIC
// [key=value ...].
//
// It prints `OWNS 0,2` when its partitions change and `AT partition offset` for each record,
// commits what it read, closes and ends when its standard input ends.
func runMember(arguments []string) {
	library, bootstrap, group, topic := arguments[0], arguments[1], arguments[2], arguments[3]
	given := map[string]string{}
	for _, pair := range arguments[4:] {
		key, value, _ := strings.Cut(pair, "=")
		given[key] = value
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	switch library {
	case "franz-go":
		franzMember(ctx, bootstrap, group, topic, given)
	case "franz-go-share":
		franzShareMember(ctx, bootstrap, group, topic)
	default:
		saramaMember(ctx, bootstrap, group, topic)
	}
}

func say(line string) {
	fmt.Println(line)
}

type owned struct {
	mutex      sync.Mutex
	partitions map[int32]bool
}

func (o *owned) change(partitions []int32, isOwned bool) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	for _, partition := range partitions {
		if isOwned {
			o.partitions[partition] = true
		} else {
			delete(o.partitions, partition)
		}
	}
	var indexes []int
	for partition := range o.partitions {
		indexes = append(indexes, int(partition))
	}
	sort.Ints(indexes)
	var texts []string
	for _, index := range indexes {
		texts = append(texts, strconv.Itoa(index))
	}
	say("OWNS " + strings.Join(texts, ","))
}

func franzMember(ctx context.Context, bootstrap, group, topic string, given map[string]string) {
	own := &owned{partitions: map[int32]bool{}}
	change := func(isOwned bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, topics map[string][]int32) {
			own.change(topics[topic], isOwned)
		}
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(bootstrap),
		kgo.ConsumerGroup(group),
		kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		kgo.SessionTimeout(6 * time.Second),
		kgo.HeartbeatInterval(500 * time.Millisecond),
		kgo.MetadataMinAge(250 * time.Millisecond),
		kgo.OnPartitionsAssigned(change(true)),
		kgo.OnPartitionsRevoked(change(false)),
		kgo.OnPartitionsLost(change(false)),
	}
	if given["protocol"] == "consumer" {
		options = append(options, kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer()))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		say("ERROR " + err.Error())
		os.Exit(1)
	}
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		fetches.EachError(func(_ string, _ int32, err error) {
			if !errors.Is(err, context.Canceled) {
				say("ERROR " + err.Error())
			}
		})
		fetches.EachRecord(func(record *kgo.Record) {
			say(fmt.Sprintf("AT %d %d", record.Partition, record.Offset))
		})
		if !fetches.Empty() && ctx.Err() == nil {
			if err := client.CommitUncommittedOffsets(ctx); err != nil {
				say("MOVED " + err.Error())
			}
		}
	}
	client.LeaveGroupContext(context.Background())
	client.Close()
}

// One member of a share group, as tests/share_groups.rs drives it: it prints `AT value deliveryCount`
// for each record and accepts it. What it logs beside that tells why it is not given any.
func franzShareMember(ctx context.Context, bootstrap, group, topic string) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(bootstrap),
		kgo.ShareGroup(group),
		kgo.ConsumeTopics(topic),
		kgo.MetadataMinAge(250*time.Millisecond),
		kgo.WithLogger(kgo.BasicLogger(os.Stdout, kgo.LogLevelInfo, nil)),
		kgo.ShareAckCallback(func(_ *kgo.Client, results kgo.ShareAckResults) {
			if err := results.Error(); err != nil {
				say("LOST " + err.Error())
			}
		}),
	)
	if err != nil {
		say("ERROR " + err.Error())
		os.Exit(1)
	}
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		fetches.EachError(func(_ string, _ int32, err error) {
			if !errors.Is(err, context.Canceled) {
				say("ERROR " + err.Error())
			}
		})
		fetches.EachRecord(func(record *kgo.Record) {
			say(fmt.Sprintf("AT %s %d", record.Value, record.DeliveryCount()))
			record.Ack(kgo.AckAccept)
		})
		if err := client.FlushAcks(context.Background()); err != nil {
			say("LOST " + err.Error())
		}
	}
	client.LeaveGroupContext(context.Background())
	client.Close()
}

type saramaHandler struct{ own *owned }

func (h saramaHandler) Setup(session sarama.ConsumerGroupSession) error {
	for _, partitions := range session.Claims() {
		h.own.change(partitions, true)
	}
	if len(session.Claims()) == 0 {
		h.own.change(nil, true)
	}
	return nil
}

func (h saramaHandler) Cleanup(session sarama.ConsumerGroupSession) error {
	for _, partitions := range session.Claims() {
		h.own.change(partitions, false)
	}
	return nil
}

func (h saramaHandler) ConsumeClaim(
	session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim,
) error {
	for {
		select {
		case message, isOpen := <-claim.Messages():
			if !isOpen {
				return nil
			}
			say(fmt.Sprintf("AT %d %d", message.Partition, message.Offset))
			session.MarkMessage(message, "")
			session.Commit()
		case <-session.Context().Done():
			return nil
		}
	}
}

func saramaMember(ctx context.Context, bootstrap, group, topic string) {
	config := sarama.NewConfig()
	config.Version = sarama.V3_6_0_0
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Group.Session.Timeout = 6 * time.Second
	config.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
	config.Consumer.Group.Rebalance.Timeout = 10 * time.Second
	config.Metadata.RefreshFrequency = time.Second
	members, err := sarama.NewConsumerGroup([]string{bootstrap}, group, config)
	if err != nil {
		say("ERROR " + err.Error())
		os.Exit(1)
	}
	handler := saramaHandler{&owned{partitions: map[int32]bool{}}}
	for ctx.Err() == nil {
		if err := members.Consume(ctx, []string{topic}, handler); err != nil {
			say("MOVED " + err.Error())
		}
	}
	members.Close()
}
