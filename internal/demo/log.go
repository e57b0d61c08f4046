package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/truechimer/truechimer/store"
)

// stream is the stream of the conversation.
const stream = "chat"

// Chat is Converse with a stream of the appliance as the log, in a directory for
// temporary files. It is closed, opened again and read back: what is returned is what was
// on disk. It fails like Converse, where there is no room on the disk, and when ctx ends.
func Chat(ctx context.Context, o Options) (messages []Message, err error) {
	whole, err := os.MkdirTemp("", "truechimer-demo-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(whole)) }()
	dir := filepath.Join(whole, "data")
	err = withStreams(dir, func(s *store.Streams) error {
		messages, err = Converse(o, func(text string) (uint64, error) {
			r, err := s.Append(ctx, store.Batch{Entries: []store.Entry{{Stream: stream, Payload: []byte(text)}}})
			if err != nil {
				return 0, err
			}
			return r.Sequences[0], nil
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return messages, withStreams(dir, func(s *store.Streams) error { return verify(ctx, s, messages) })
}

// verify fails unless the stream holds the messages.
func verify(ctx context.Context, s *store.Streams, messages []Message) error {
	page, err := s.Read(ctx, stream, store.Query{Limit: MessagesMax})
	if err != nil {
		return err
	}
	if len(page.Events) != len(messages) {
		return fmt.Errorf("read back %d events of %d", len(page.Events), len(messages))
	}
	for i, e := range page.Events {
		if m := &messages[i]; e.Sequence != m.Sequence || string(e.Payload) != m.line() {
			return fmt.Errorf("read back %q as event %d, where %q was appended as %d", e.Payload, e.Sequence, m.line(), m.Sequence)
		}
	}
	return nil
}

// withStreams opens the streams in a directory for the time of use.
func withStreams(dir string, use func(*store.Streams) error) (err error) {
	data, err := store.Open(dir, store.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, data.Close()) }()
	issuer, err := store.NewIssuer(data, store.IssuerOptions{
		Physical: func() int64 { return time.Now().UnixNano() },
		Bound: func() (int64, time.Duration, error) {
			return 0, 0, errors.New("demo: nothing is claimed about the clock")
		},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, issuer.Close()) }()
	if err := issuer.Start(); err != nil {
		return err
	}
	streams, err := store.NewStreams(data, issuer, store.StreamsOptions{Reserve: 1, RetentionEvery: -1})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, streams.Close()) }()
	return use(streams)
}
