package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"slices"
	"time"
)

// Transactions of a library, as tests/transactions.rs runs them:
//
//	clients transactions franz|sarama HOST:PORT PREFIX
//
// What is expected is what Apache Kafka 4.1 does. At a line `KILL` the broker is killed and started
// again by whoever runs this, who then writes a line.

const transactionPartitions = 2

// transactionalProducer is a producer with a transactional id.
type transactionalProducer interface {
	begin() error
	send(topic string, partition int32, value string) error
	end(isCommit bool) error
	// copyFrom is one consume-transform-produce: count records of a topic, read as a member of the
	// group, are sent on with the member's offsets, twice: aborted, then committed.
	copyFrom(group, from, to string, count int) error
	isFenced(err error) bool
	close()
}

// transactionalLibrary is one client library.
type transactionalLibrary interface {
	producer(bootstrap, id string) (transactionalProducer, error)
	read(bootstrap, topic string, partition int32, isCommitted bool) ([]string, error)
}

type transactionCases struct {
	library   transactionalLibrary
	admin     adapter
	bootstrap string
	prefix    string
	input     *bufio.Reader
	first     transactionalProducer
}

func (c *transactionCases) topic(name string) string {
	topic := c.prefix + "-" + name
	check(c.admin.createTopic(topic, transactionPartitions, nil, 1))
	eventually(topic+" in metadata", func() bool {
		found, err := c.admin.partitions(topic)
		return err == nil && len(found) == transactionPartitions
	})
	return topic
}

func (c *transactionCases) producer(name string) transactionalProducer {
	return must(c.library.producer(c.bootstrap, c.prefix+"-"+name))
}

func (c *transactionCases) committed(topic string, wanted []string) {
	for partition := range int32(transactionPartitions) {
		what := fmt.Sprintf("committed in partition %d", partition)
		got := must(c.library.read(c.bootstrap, topic, partition, true))
		// A commit may be answered before its markers are written, after a restart too.
		eventually(what, func() bool {
			if len(got) < len(wanted) {
				got = must(c.library.read(c.bootstrap, topic, partition, true))
			}
			return len(got) >= len(wanted)
		})
		expect(got, wanted, what)
	}
}

func (c *transactionCases) abortedRecordsAreNotShown() {
	topic := c.topic("aborted")
	producer := c.producer("aborted")
	defer producer.close()
	for number := range 6 {
		check(producer.begin())
		for partition := range int32(transactionPartitions) {
			check(producer.send(topic, partition, fmt.Sprintf("r%d", number)))
		}
		check(producer.end(number%2 == 0))
	}
	c.committed(topic, []string{"r0", "r2", "r4"})
	expect(len(must(c.library.read(c.bootstrap, topic, 0, false))), 6, "all records")
}

func (c *transactionCases) aSecondProducerFencesTheFirst() {
	topic := c.topic("fenced")
	first := c.producer("fenced")
	defer first.close()
	check(first.begin())
	check(first.send(topic, 0, "of-the-first"))
	second := c.producer("fenced")
	defer second.close()
	check(second.begin())
	for partition := range int32(transactionPartitions) {
		check(second.send(topic, partition, "of-the-second"))
	}
	err := first.send(topic, 0, "late")
	if err == nil {
		err = first.end(true)
	}
	if !first.isFenced(err) {
		panic(failure{fmt.Sprintf("the first producer was not fenced: %v", err)})
	}
	check(second.end(true))
	c.committed(topic, []string{"of-the-second"})
}

func (c *transactionCases) offsetsCommitWithTheTransaction() {
	from, to := c.topic("source"), c.topic("target")
	producer := c.producer("offsets")
	defer producer.close()
	group := c.prefix + "-group"
	check(producer.begin())
	wanted := []string{}
	for number := range 5 {
		check(producer.send(from, 0, fmt.Sprintf("r%d", number)))
		wanted = append(wanted, fmt.Sprintf("copy of r%d", number))
	}
	check(producer.end(true))
	check(producer.copyFrom(group, from, to, 5))
	// The answer to the commit is the decision; the group hears of it a moment later.
	eventually("the committed offset", func() bool {
		offset, _, err := c.admin.committed(group, from, 0)
		return err == nil && offset == 5
	})
	got := must(c.library.read(c.bootstrap, to, 1, true))
	expect(got, wanted, "copies")
}

func (c *transactionCases) transactionsOutliveAKilledBroker() {
	topic := c.topic("killed")
	c.first = c.producer("killed")
	c.writeOnce(topic, "before", func() {})
	c.killBroker()
	c.committed(topic, []string{"before"})
	c.writeOnce(topic, "across", c.killBroker)
	c.committed(topic, []string{"before", "across"})
	c.writeOnce(topic, "after", func() {})
	c.committed(topic, []string{"before", "across", "after"})
	c.first.close()
}

// writeOnce is one transaction over both partitions, repeated with a new producer where it failed.
func (c *transactionCases) writeOnce(topic, value string, inTheMiddle func()) {
	for attempt := range 3 {
		err := c.first.begin()
		if err == nil {
			err = c.first.send(topic, 0, value)
		}
		if err == nil && attempt == 0 {
			inTheMiddle()
		}
		if err == nil {
			err = c.first.send(topic, 1, value)
		}
		if err == nil {
			err = c.first.end(true)
		}
		if err == nil {
			return
		}
		fmt.Fprintf(os.Stderr, "%s, attempt %d: %v\n", value, attempt, err)
		c.first.close()
		c.first = c.producer("killed") // Ends what the last one left open.
		if slices.Contains(must(c.library.read(c.bootstrap, topic, 0, true)), value) {
			return
		}
	}
	panic(failure{value + " was not committed"})
}

func (c *transactionCases) killBroker() {
	fmt.Println("KILL")
	must(c.input.ReadString('\n'))
}

func runTransactions(library, bootstrap, prefix string) {
	libraries := map[string]transactionalLibrary{"franz": franzLibrary{}, "sarama": saramaLibrary{}}
	connect := map[string]func(string) (adapter, error){"franz": newFranz, "sarama": newSarama}
	admin, err := connect[library](bootstrap)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	c := &transactionCases{
		library: libraries[library], admin: admin, bootstrap: bootstrap, prefix: prefix,
		input: bufio.NewReader(os.Stdin),
	}
	for _, one := range []namedCase{
		{"aborted_records_are_not_shown", c.abortedRecordsAreNotShown},
		{"a_second_producer_fences_the_first", c.aSecondProducerFencesTheFirst},
		{"offsets_commit_with_the_transaction", c.offsetsCommitWithTheTransaction},
		{"transactions_outlive_a_killed_broker", c.transactionsOutliveAKilledBroker},
	} {
		run(one)
	}
}

func longDeadline() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 2*patience)
}

func pause() { time.Sleep(20 * time.Millisecond) }
