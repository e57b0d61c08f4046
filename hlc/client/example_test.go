package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/hlc/client"
)

// exampleAppliance starts an appliance for an example; a real one is started by "truechimer
// serve" and is at 127.0.0.1:8123.
func exampleAppliance() (address string, stop func()) {
	t := new(exampleTB)
	a := newAppliance(t)
	return a.address(), t.end
}

func Example() {
	address, stop := exampleAppliance()
	defer stop()

	c, err := client.New(client.Options{Addresses: []string{address}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	ctx := context.Background()
	first, err := c.Now(ctx)
	if err != nil {
		log.Fatal(err)
	}
	second, err := c.Now(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(second > first)
	// Output: true
}

// The chat: a reply never sorts before the message that it answers, whatever the clocks of the
// servers say.
func ExampleClient_Append() {
	address, stop := exampleAppliance()
	defer stop()
	alice, _ := client.New(client.Options{Addresses: []string{address}})
	defer alice.Close()
	bob, _ := client.New(client.Options{Addresses: []string{address}})
	defer bob.Close()

	ctx := context.Background()
	say := func(c *client.Client, text string) {
		_, err := c.Append(ctx, client.Batch{Entries: []client.Entry{{Stream: "chat", Payload: []byte(text)}}})
		if err != nil {
			log.Fatal(err)
		}
	}
	say(alice, "deploy now?")
	say(bob, "tests are green")
	for e, err := range alice.Read(ctx, "chat", client.Query{}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(e.Sequence, string(e.Payload))
	}
	// Output:
	// 1 deploy now?
	// 2 tests are green
}

// Optimistic concurrency: an account is debited only if nobody else touched it since it was
// read.
func ExampleClient_Append_conditional() {
	address, stop := exampleAppliance()
	defer stop()
	c, _ := client.New(client.Options{Addresses: []string{address}})
	defer c.Close()

	ctx := context.Background()
	debit := func(expected uint64) error {
		_, err := c.Append(ctx, client.Batch{Entries: []client.Entry{{Stream: "account/7", Payload: []byte("-10"), Expected: &expected}}})
		return err
	}
	fmt.Println(debit(0))
	err := debit(0) // somebody read it before that
	var conflict *client.ConflictError
	if errors.As(err, &conflict) {
		fmt.Println("it is at", conflict.Last, "now")
	}
	// Output:
	// <nil>
	// it is at 1 now
}

// A consumer that keeps its position with its results misses nothing and gets nothing twice.
func ExampleClient_Watch() {
	address, stop := exampleAppliance()
	defer stop()
	c, _ := client.New(client.Options{Addresses: []string{address}})
	defer c.Close()

	ctx := context.Background()
	for _, text := range []string{"a", "b", "c"} {
		if _, err := c.Append(ctx, client.Batch{Entries: []client.Entry{{Stream: "orders/" + text, Payload: []byte(text)}}}); err != nil {
			log.Fatal(err)
		}
	}
	orders := client.Selection{Prefix: "orders/"}
	cursor := "" // as it was stored
	from := client.Start{Oldest: true}
	if cursor != "" {
		from = client.Start{Cursor: cursor}
	}
	seen := 0
	for d, err := range c.Watch(ctx, orders, from) {
		if err != nil {
			log.Fatal(err)
		}
		for _, e := range d.Events {
			fmt.Println(e.Stream, string(e.Payload))
		}
		cursor = d.Cursor // store it together with what was made of the events
		if seen += len(d.Events); seen == 3 {
			break
		}
	}
	// Output:
	// orders/a a
	// orders/b b
	// orders/c c
}

// Two transactions at two appliances that never talk to each other: the one that began after the
// other was answered has the later timestamp.
func ExampleClient_Commit() {
	address, stop := exampleAppliance()
	defer stop()
	c, _ := client.New(client.Options{Addresses: []string{address}})
	defer c.Close()

	ctx := context.Background()
	first, err := c.Commit(ctx) // returns once first is in the past for certain, everywhere
	if err != nil {
		log.Fatal(err)
	}
	second, err := c.Commit(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(second > first)
	// Output: true
}

// What came from elsewhere with a timestamp is put into the past of the request; whatever is
// made of it comes after.
func ExampleWithPast() {
	address, stop := exampleAppliance()
	defer stop()
	c, _ := client.New(client.Options{Addresses: []string{address}})
	defer c.Close()

	now, err := c.Now(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	message := now + 1<<20 // of a server whose clock is a millisecond ahead
	ctx := client.WithPast(context.Background(), message)
	reply, err := c.Now(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(reply > message, client.Past(ctx) == reply)

	// A clock that is wrong by an hour is refused, and moves nobody.
	_, err = c.Now(client.WithPast(context.Background(), now+hlc.Timestamp(3_600_000_000_000)))
	fmt.Println(errors.Is(err, hlc.ErrLead))
	// Output:
	// true true
	// true
}

// Errors that need a decision have types; of the others connect.CodeOf tells the code, and the
// text says what to do.
func ExampleClient_Read() {
	address, stop := exampleAppliance()
	defer stop()
	c, _ := client.New(client.Options{Addresses: []string{address}})
	defer c.Close()

	for _, err := range c.Read(context.Background(), "nowhere", client.Query{}) {
		fmt.Println(connect.CodeOf(err), strings.Contains(err.Error(), "nowhere"))
	}
	// Output: not_found true
}

// A clock in the process itself: timestamps with an interval in tens of nanoseconds, without a
// round trip to the appliance.
func ExampleNewLocal() {
	address, stop := exampleAppliance()
	defer stop()
	c, _ := client.New(client.Options{Addresses: []string{address}})
	defer c.Close()

	ctx := context.Background()
	local, err := client.NewLocal(ctx, c, client.LocalOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer local.Close()

	ts, i, err := local.Now()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(i.Earliest <= ts, ts <= i.Latest)
	// Output: true true
}
