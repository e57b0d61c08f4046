package api

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/store"
)

// fakeStreams answer every call with the same, or with an error, and keep in words what they
// were asked. No two figures of an answer are the same.
type fakeStreams struct {
	err    error
	append func(store.Batch) (store.Receipt, error)
	page   store.Page
	cut    store.Cut
	list   []store.Stream
	watch  func(context.Context, store.Selection, store.Start) (Watcher, error)

	mu    sync.Mutex
	asked string
}

var fakeStream = store.Stream{
	Name: "chat", Created: noon + 1, Deleted: noon + 2, First: 3, Last: 4, LastTimestamp: noon + 5, Bytes: 6,
	Retention: store.Retention{Age: 7, Count: 8, Bytes: 9},
}

func newFakeStreams() *fakeStreams {
	return &fakeStreams{
		append: func(b store.Batch) (store.Receipt, error) {
			return store.Receipt{Timestamp: noon + 10, Sequences: []uint64{11, 12}, Repeated: true}, nil
		},
		page: store.Page{
			Events: []store.Event{
				{Stream: "chat", Sequence: 13, Timestamp: noon + 14, Payload: []byte("hello"), Epoch: 15, Node: 16},
				{Stream: "chat", Sequence: 17, Timestamp: noon + 18},
			},
			Cursor: "further", Stream: fakeStream,
		},
		cut: store.Cut{
			Timestamp: noon + 19, After: "chat",
			Streams: []store.StreamCut{{Name: "chat", First: 20, Last: 21, LastTimestamp: noon + 22}, {Name: "news"}},
		},
		list: []store.Stream{fakeStream, {Name: "news"}},
	}
}

// ask keeps what was asked.
func (f *fakeStreams) ask(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = fmt.Sprintf(format, args...)
}

// was returns what was asked last.
func (f *fakeStreams) was() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

func (f *fakeStreams) Append(_ context.Context, b store.Batch) (store.Receipt, error) {
	var words strings.Builder
	for _, e := range b.Entries {
		fmt.Fprintf(&words, " %s %.20q", e.Stream, e.Payload)
		if e.Expected != nil {
			fmt.Fprintf(&words, " expecting %d", *e.Expected)
		}
	}
	f.ask("append%s, observe %d, key %q of %q", words.String(), uint64(b.Observe), b.Key, b.Principal)
	if f.err != nil {
		return store.Receipt{}, f.err
	}
	return f.append(b)
}

func (f *fakeStreams) Read(_ context.Context, stream string, q store.Query) (store.Page, error) {
	f.ask("read %s %d-%d, %d-%d, reverse %v, limit %d, cursor %q", stream, q.From, q.To, uint64(q.Since), uint64(q.Until), q.Reverse, q.Limit, q.Cursor)
	return f.page, f.err
}

func (f *fakeStreams) Watch(ctx context.Context, s store.Selection, from store.Start) (Watcher, error) {
	f.ask("watch %v prefix %q from sequence %d, oldest %v, time %d, cursor %q", s.Names, s.Prefix, from.Sequence, from.Oldest, uint64(from.Time), from.Cursor)
	if f.err != nil {
		return nil, f.err
	}
	return f.watch(ctx, s, from)
}

func (f *fakeStreams) Cut(_ context.Context, ts hlc.Timestamp, s store.Selection, after string) (store.Cut, error) {
	f.ask("cut at %d, %v prefix %q after %q", uint64(ts), s.Names, s.Prefix, after)
	return f.cut, f.err
}

func (f *fakeStreams) Create(_ context.Context, stream string, r store.Retention) (store.Stream, error) {
	f.ask("create %s keeping %d %d %d", stream, r.Age, r.Count, r.Bytes)
	return fakeStream, f.err
}

func (f *fakeStreams) Describe(stream string) (store.Stream, error) {
	f.ask("describe %s", stream)
	return fakeStream, f.err
}

func (f *fakeStreams) List(prefix, after string, limit int) ([]store.Stream, error) {
	f.ask("list prefix %q after %q, limit %d", prefix, after, limit)
	return f.list, f.err
}

func (f *fakeStreams) Delete(_ context.Context, stream string) (store.Stream, error) {
	f.ask("delete %s", stream)
	return fakeStream, f.err
}

func (f *fakeStreams) SetRetention(_ context.Context, stream string, r store.Retention) (store.Stream, error) {
	f.ask("set retention of %s to %d %d %d", stream, r.Age, r.Count, r.Bytes)
	return fakeStream, f.err
}

func (f *fakeStreams) Trim(_ context.Context, stream string, first uint64) (store.Stream, error) {
	f.ask("trim %s to %d", stream, first)
	return fakeStream, f.err
}

// fakeWatcher has next what a test puts into its channel, and fails when that is closed.
type fakeWatcher struct {
	next   chan store.Delivery
	err    error // once next is closed
	cursor string
	closed chan struct{}
}

func newFakeWatcher() *fakeWatcher {
	return &fakeWatcher{next: make(chan store.Delivery), closed: make(chan struct{})}
}

func (w *fakeWatcher) Next(ctx context.Context) (store.Delivery, error) {
	select {
	case d, ok := <-w.next:
		if !ok {
			return store.Delivery{}, w.err
		}
		return d, nil
	case <-ctx.Done():
		return store.Delivery{}, fmt.Errorf("watch: %w", ctx.Err())
	}
}

func (w *fakeWatcher) Cursor() string { return w.cursor }

func (w *fakeWatcher) Close() { close(w.closed) }

// watched returns streams of which every watch gets its own watcher, which it also sends.
func watched() (*fakeStreams, <-chan *fakeWatcher) {
	f, began := newFakeStreams(), make(chan *fakeWatcher, 10)
	f.watch = func(context.Context, store.Selection, store.Start) (Watcher, error) {
		w := newFakeWatcher()
		began <- w
		return w, nil
	}
	return f, began
}
