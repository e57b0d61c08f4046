package store_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/store"
)

// A program that issues timestamps which never go back, not even across a kill -9.
func Example() {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	var last hlc.Timestamp
	for range 2 { // two lives of the program
		s, err := store.Open(dir, store.Options{Node: 1})
		if err != nil {
			log.Fatal(err) // says what to do
		}
		issuer, err := store.NewIssuer(s, store.IssuerOptions{
			Physical: func() int64 { return time.Now().UnixNano() },
			Bound: func() (utc int64, bound time.Duration, err error) {
				return time.Now().UnixNano(), 5 * time.Millisecond, nil // what the clock can prove
			},
		})
		if err != nil {
			log.Fatal(err)
		}
		if err := issuer.Start(); err != nil { // the clock is known to be right
			log.Fatal(err)
		}
		ts, err := issuer.Now(context.Background())
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("epoch", issuer.Status().Epoch, "later than before:", ts > last)
		last = ts

		if err := issuer.Close(); err != nil {
			log.Fatal(err)
		}
		if err := s.Close(); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// epoch 1 later than before: true
	// epoch 2 later than before: true
}

// A chat: what is appended has a sequence that every reader agrees on, and a timestamp that
// is greater than that of what it answers.
func ExampleStreams() {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	issuer, err := store.NewIssuer(s, store.IssuerOptions{
		Physical: func() int64 { return time.Now().UnixNano() },
		Bound:    func() (int64, time.Duration, error) { return time.Now().UnixNano(), 5 * time.Millisecond, nil },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer issuer.Close()
	if err := issuer.Start(); err != nil {
		log.Fatal(err)
	}
	streams, err := store.NewStreams(s, issuer, store.StreamsOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer streams.Close()
	ctx := context.Background()

	say := func(text, key string, seen hlc.Timestamp) store.Receipt {
		receipt, err := streams.Append(ctx, store.Batch{
			Entries: []store.Entry{{Stream: "chat/42", Payload: []byte(text)}},
			Observe: seen, // what it answers
			Key:     key,  // to try again without saying it twice
		})
		if err != nil {
			log.Fatal(err) // says what to do
		}
		return receipt
	}
	question := say("lunch?", "alice 1", 0)
	answer := say("at noon", "bob 1", question.Timestamp)
	again := say("at noon", "bob 1", question.Timestamp)
	fmt.Println(answer.Sequences, answer.Timestamp > question.Timestamp, again.Repeated)

	page, err := streams.Read(ctx, "chat/42", store.Query{Reverse: true, Limit: 1})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d %s\n", page.Events[0].Sequence, page.Events[0].Payload)

	watcher, err := streams.Watch(ctx, store.Selection{Prefix: "chat/"}, store.Start{Oldest: true})
	if err != nil {
		log.Fatal(err)
	}
	defer watcher.Close()
	delivery, err := watcher.Next(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, e := range delivery.Events {
		fmt.Printf("%s %d %s\n", e.Stream, e.Sequence, e.Payload)
	}
	// Output:
	// [2] true true
	// 2 at noon
	// chat/42 1 lunch?
	// chat/42 2 at noon
}

// A journal whose keeper proves to somebody else, who has kept one line, that nothing was changed.
func ExampleJournal() {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		log.Fatal(err)
	}
	journal, err := store.OpenJournal(s, store.JournalOptions{})
	if err != nil {
		log.Fatal(err) // says what to do
	}
	const started, measured = 1, 2 // kinds, which are ours to choose
	unix := time.Date(2026, 11, 30, 9, 30, 0, 0, time.UTC).UnixNano()
	err = journal.Append(
		store.JournalEntry{Track: store.Evidence, Kind: started, Unix: unix, Payload: []byte("version 1.0")},
		store.JournalEntry{Track: store.Raw, Kind: measured, Unix: unix + 1, Payload: []byte("offset 12 µs")},
	)
	if err != nil {
		log.Fatal(err)
	}
	head, err := journal.Sign(unix + 2)
	if err != nil {
		log.Fatal(err)
	}
	handedOut := head.String() // to a log, a mail, another machine
	if err := s.Close(); err != nil {
		log.Fatal(err)
	}

	kept, err := store.ParseJournalHead(handedOut)
	if err != nil {
		log.Fatal(err)
	}
	report, err := store.VerifyJournal(context.Background(), dir, store.VerifyJournalOptions{Heads: []store.JournalHead{kept}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Evidence.Records, report.Raw.Records, report.Err())
	// Output:
	// 1 1 <nil>
}
