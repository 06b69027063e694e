// Logs of several hosts in one topic: shippers write, anybody counts and searches.
//
//	logs sample               writes three logs of 200 lines to look at
//	logs ship HOST FILE       sends each line, with the host as key
//	logs count                lines by host and level
//	logs grep TEXT            lines of all hosts with this text, by time
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	topic    = "logs"
	lines    = 200
	patience = 60 * time.Second
)

func bootstrap() string {
	if address := os.Getenv("HIGHWATER_BOOTSTRAP"); address != "" {
		return address
	}
	return "127.0.0.1:9092"
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var err error
	switch os.Args[1] {
	case "sample":
		err = sample()
	case "ship":
		err = ship(ctx, os.Args[2], os.Args[3])
	case "count":
		err = count(ctx)
	case "grep":
		err = grep(ctx, os.Args[2])
	}
	if err != nil {
		log.Fatal(err)
	}
}

// sample writes web-1.log, web-2.log and db-1.log: a line a second, each with a time and a level.
func sample() error {
	start := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	for number, host := range []string{"web-1", "web-2", "db-1"} {
		var text strings.Builder
		for line := 0; line < lines; line++ {
			at := start.Add(time.Duration(line)*time.Second + time.Duration(number)*time.Millisecond)
			level, what := "INFO", fmt.Sprintf("request %d answered", line)
			if line%10 == number {
				level, what = "WARN", fmt.Sprintf("request %d was slow", line)
			}
			if line%100 == 50+number {
				level, what = "ERROR", fmt.Sprintf("request %d: no connection", line)
			}
			fmt.Fprintf(&text, "%s %s %s\n", at.Format("15:04:05.000"), level, what)
		}
		if err := os.WriteFile(host+".log", []byte(text.String()), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// ship sends a file's lines. Lines of one host have one key, so they stay in their order.
func ship(ctx context.Context, host, path string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap()), kgo.DefaultProduceTopic(topic),
		kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	if err != nil {
		return err
	}
	defer client.Close()
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	var records []*kgo.Record
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		records = append(records, &kgo.Record{Key: []byte(host), Value: []byte(scanner.Text())})
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return err
	}
	fmt.Printf("%s: %d lines\n", host, len(records))
	return nil
}

// read gives every line that the topic has at this moment to a function, with its host.
func read(ctx context.Context, take func(host, line string)) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap()), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(200*time.Millisecond))
	if err != nil {
		return err
	}
	defer client.Close()
	for seen := 0; seen < 3*lines; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachRecord(func(record *kgo.Record) {
			take(string(record.Key), string(record.Value))
			seen++
		})
	}
	return nil
}

func count(ctx context.Context) error {
	counts := map[string]int{}
	err := read(ctx, func(host, line string) {
		counts[fmt.Sprintf("%-5s %-5s", host, strings.Fields(line)[1])]++
	})
	var names []string
	for name := range counts {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Printf("%s %4d\n", name, counts[name])
	}
	return err
}

func grep(ctx context.Context, text string) error {
	var found []string
	err := read(ctx, func(host, line string) {
		if strings.Contains(line, text) {
			at, rest, _ := strings.Cut(line, " ")
			found = append(found, fmt.Sprintf("%s %s %s", at, host, rest))
		}
	})
	sort.Strings(found)
	for _, line := range found {
		fmt.Println(line)
	}
	return err
}
