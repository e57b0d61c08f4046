package demo

import (
	"context"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/truechimer/truechimer/store"
)

// TestChat: with a stream on disk as the log a conversation is what it is with one in
// memory, and nothing of it is left behind.
func TestChat(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	o := Options{Seed: 3, Messages: 30, Reply: time.Millisecond, Skews: [2]time.Duration{3 * time.Millisecond, -2 * time.Millisecond}}
	got, err := Chat(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if want := converse(t, o); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestChatEnds: it ends with its context, and leaves nothing behind then either.
func TestChatEnds(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Chat(ctx, Options{Messages: 2}); err == nil {
		t.Error("no error")
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestVerify: what is on disk is compared with what was answered.
func TestVerify(t *testing.T) {
	dir := t.TempDir()
	good := []Message{{Sequence: 1, Author: "amy", Text: "ping"}, {Sequence: 2, Author: "ben", Text: "pong"}}
	err := withStreams(dir, func(s *store.Streams) error {
		for _, m := range good {
			if _, err := s.Append(t.Context(), store.Batch{Entries: []store.Entry{{Stream: stream, Payload: []byte(m.line())}}}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = withStreams(dir, func(s *store.Streams) error {
		for name, c := range map[string]struct {
			messages []Message
			want     string
		}{
			"the same":        {good, ""},
			"one more":        {append(good[:2:2], Message{Sequence: 3}), "read back 2 events of 3"},
			"another text":    {[]Message{good[0], {Sequence: 2, Author: "ben", Text: "ping"}}, `read back "ben: pong" as event 2`},
			"another place":   {[]Message{{Sequence: 7, Author: "amy", Text: "ping"}, good[1]}, "as 7"},
			"the other order": {[]Message{good[1], good[0]}, `read back "amy: ping" as event 1`},
		} {
			err := verify(t.Context(), s, c.messages)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s: %v, want %s", name, err, c.want)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
