package client_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/hlc/client"
)

// appendText appends payloads to a stream, each by itself.
func appendText(t *testing.T, c *client.Client, stream string, payloads ...string) (receipts []client.Receipt) {
	t.Helper()
	for _, p := range payloads {
		r, err := c.Append(t.Context(), client.Batch{Entries: []client.Entry{{Stream: stream, Payload: []byte(p)}}})
		if err != nil {
			t.Fatal(err)
		}
		receipts = append(receipts, r)
	}
	return receipts
}

// TestAppend: batches, conditions, and keys that make an append safe to repeat.
func TestAppend(t *testing.T) {
	c := clientOf(t, newAppliance(t))
	r, err := c.Append(t.Context(), client.Batch{Entries: []client.Entry{
		{Stream: "a", Payload: []byte("1")}, {Stream: "b", Payload: []byte("2")}, {Stream: "a", Payload: []byte("3")},
	}})
	if err != nil || fmt.Sprint(r.Sequences) != "[1 1 2]" || r.Repeated || c.Seen() < r.Timestamp+2 {
		t.Errorf("%+v, %v", r, err)
	}
	one, five := uint64(1), uint64(5)
	_, err = c.Append(t.Context(), client.Batch{Entries: []client.Entry{{Stream: "b", Expected: &one}}})
	if err != nil {
		t.Error(err)
	}
	_, err = c.Append(t.Context(), client.Batch{Entries: []client.Entry{{Stream: "b", Expected: &five}}})
	var conflict *client.ConflictError
	if !errors.As(err, &conflict) || !errors.Is(err, client.ErrConflict) || *conflict != (client.ConflictError{Stream: "b", Expected: 5, Last: 2}) {
		t.Errorf("%v", err)
	}
	keyed := client.Batch{Key: "k", Entries: []client.Entry{{Stream: "b", Payload: []byte("x")}}}
	first, err := c.Append(t.Context(), keyed)
	if err != nil || first.Repeated {
		t.Errorf("%+v, %v", first, err)
	}
	again, err := c.Append(t.Context(), keyed)
	if err != nil || !again.Repeated || again.Timestamp != first.Timestamp || again.Sequences[0] != 3 {
		t.Errorf("%+v, %v", again, err)
	}
	keyed.Entries[0].Payload = []byte("y")
	if _, err := c.Append(t.Context(), keyed); connect.CodeOf(err) != connect.CodeAlreadyExists {
		t.Errorf("another batch under the key: %v", err)
	}
}

// TestRead: pages follow each other unseen, limits and directions hold, and what is missing is
// said.
func TestRead(t *testing.T) {
	c := clientOf(t, newAppliance(t))
	var entries []client.Entry
	for range 9000 {
		entries = append(entries, client.Entry{Stream: "s"})
	}
	var receipts []client.Receipt
	for range 3 {
		r, err := c.Append(t.Context(), client.Batch{Entries: entries})
		if err != nil {
			t.Fatal(err)
		}
		receipts = append(receipts, r)
	}
	for name, k := range map[string]struct {
		q           client.Query
		first, last uint64
	}{
		"all":        {client.Query{}, 1, 27_000},
		"limit":      {client.Query{Limit: 12_000}, 1, 12_000},
		"page limit": {client.Query{Limit: 10_000}, 1, 10_000},
		"few":        {client.Query{From: 5, Limit: 3}, 5, 7},
		"reverse":    {client.Query{Reverse: true, Limit: 20_000}, 27_000, 7001},
		"range":      {client.Query{From: 100, To: 20_000}, 100, 20_000},
		"since":      {client.Query{Since: receipts[1].Timestamp, Until: receipts[2].Timestamp}, 9001, 18_001},
	} {
		var got []uint64
		for e, err := range c.Read(t.Context(), "s", k.q) {
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			got = append(got, e.Sequence)
		}
		want := int64(k.last) - int64(k.first)
		if len(got) == 0 || got[0] != k.first || got[len(got)-1] != k.last || int64(len(got)) != max(want, -want)+1 {
			t.Errorf("%s: %d events", name, len(got))
		}
	}
	for range c.Read(t.Context(), "s", client.Query{}) {
		break // and nothing is left behind
	}
	for _, err := range c.Read(t.Context(), "none", client.Query{}) {
		if connect.CodeOf(err) != connect.CodeNotFound {
			t.Error(err)
		}
	}
	for _, err := range c.Read(t.Context(), "s", client.Query{Limit: -1}) {
		if err == nil {
			t.Error("a negative limit")
		}
	}
}

// TestCut: the state of streams now and at an instant.
func TestCut(t *testing.T) {
	c := clientOf(t, newAppliance(t))
	for n := range 1200 { // more than one answer holds
		appendText(t, c, fmt.Sprintf("p/%04d", n), "x")
	}
	before := appendText(t, c, "q", "1", "2")
	cut, err := c.Cut(t.Context(), 0, client.Selection{Prefix: "p/"})
	if err != nil || len(cut.Streams) != 1200 || cut.Streams[1199].Name != "p/1199" || cut.Streams[0].Last != 1 {
		t.Errorf("%d, %v", len(cut.Streams), err)
	}
	appendText(t, c, "q", "3")
	cut, err = c.Cut(t.Context(), before[1].Timestamp, client.Selection{Names: []string{"q"}})
	if err != nil || len(cut.Streams) != 1 || cut.Streams[0].Last != 2 || cut.Streams[0].LastTimestamp != before[1].Timestamp || cut.Timestamp != before[1].Timestamp {
		t.Errorf("%+v, %v", cut, err)
	}
}

// TestWatch: what is appended from now on, across stops of the appliance, each once.
func TestWatch(t *testing.T) {
	a := newAppliance(t)
	c := clientOf(t, a)
	appendText(t, c, "s", "before")
	const events, stops = 60, 4
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	began := make(chan struct{})
	got := make(chan []client.Event, 1)
	go func() {
		var all []client.Event
		beginning := true
		for d, err := range c.Watch(ctx, client.Selection{Prefix: "s"}, client.Start{}) {
			if err != nil {
				t.Error(err)
				break
			}
			if beginning {
				beginning = false
				close(began)
			}
			if all = append(all, d.Events...); len(all) >= events {
				break
			}
		}
		got <- all
	}()
	<-began
	writer := newClient(t, client.Options{Addresses: []string{a.address()}, Timeout: patience})
	for n := range events {
		appendText(t, writer, "s", fmt.Sprint(n))
		if n%(events/stops) == events/stops/2 {
			a.stop()
			a.start(t)
		}
	}
	all := <-got
	if len(all) != events {
		t.Fatalf("%d events", len(all))
	}
	for n, e := range all {
		if string(e.Payload) != fmt.Sprint(n) || e.Sequence != uint64(n+2) || e.Stream != "s" {
			t.Errorf("%d: %+v", n, e)
		}
	}
}

// TestWatchBegins: each place to begin, and a cursor that goes on.
func TestWatchBegins(t *testing.T) {
	c := clientOf(t, newAppliance(t))
	r := appendText(t, c, "s", "1", "2", "3", "4", "5")
	s := client.Selection{Names: []string{"s"}}
	first := func(from client.Start) (uint64, string) {
		for d, err := range c.Watch(t.Context(), s, from) {
			if err != nil {
				t.Fatal(err)
			}
			if len(d.Events) > 0 {
				return d.Events[0].Sequence, d.Cursor
			}
		}
		return 0, ""
	}
	for _, k := range []struct {
		from client.Start
		want uint64
	}{{client.Start{Oldest: true}, 1}, {client.Start{Sequence: 3}, 3}, {client.Start{Time: r[3].Timestamp}, 4}} {
		got, cursor := first(k.from)
		if got != k.want {
			t.Errorf("%+v: %d", k.from, got)
		}
		next := appendText(t, c, "s", "more")
		if got, _ := first(client.Start{Cursor: cursor}); got != next[0].Sequences[0] {
			t.Errorf("behind %+v: %d", k.from, got)
		}
	}
	for d, err := range c.Watch(t.Context(), s, client.Start{Sequence: 99}) {
		if connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("%v, %v", d, err)
		}
	}
	for d, err := range c.Watch(t.Context(), s, client.Start{Sequence: 1, Oldest: true}) {
		if err == nil {
			t.Errorf("two places: %v", d)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	last := errors.New("none")
	for _, err := range c.Watch(ctx, s, client.Start{}) {
		last = err
	}
	if !errors.Is(last, context.DeadlineExceeded) {
		t.Errorf("ended with %v", last)
	}
}

// TestFuture: an event from the future, which was appended before a rebase, does not keep a
// client that reads it from the present.
func TestFuture(t *testing.T) {
	a := newAppliance(t)
	real := a.physical
	a.stop()
	a.physical = func() int64 { return real() + int64(time.Hour) }
	a.start(t)
	c := clientOf(t, a)
	r := appendText(t, c, "s", "from the future")
	a.stop()
	a.physical = real
	a.start(t)
	if err := a.rebase(); err != nil {
		t.Fatal(err)
	}
	fresh := clientOf(t, a)
	for range 3 {
		for e, err := range fresh.Read(t.Context(), "s", client.Query{}) {
			if err != nil || e.Timestamp != r[0].Timestamp {
				t.Fatalf("%+v, %v", e, err)
			}
		}
		ts, err := fresh.Now(t.Context())
		if must(t, ts, err) > hlc.FromUnix(real()+int64(time.Minute)) {
			t.Errorf("now is %v", ts)
		}
		for range fresh.Read(t.Context(), "s", client.Query{}) {
		}
		appendText(t, fresh, "t", "from the present")
	}
	// One that was issued such a timestamp is told, and not lied to.
	if _, err := c.Now(t.Context()); !errors.Is(err, hlc.ErrLead) {
		t.Errorf("the old client: %v", err)
	}
}
