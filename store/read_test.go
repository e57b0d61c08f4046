package store

import (
	"context"
	"errors"
	"testing"
)

// TestScanTrimmed removes what a scan has not reached yet: it says so, and does not go on
// behind the gap.
func TestScanTrimmed(t *testing.T) {
	leakFree(t)
	st, _ := memStreams(t, StreamsOptions{})
	appendMany(t, st, "s", 3*scanEvents)
	const first = 2*scanEvents + 1
	last := uint64(0)
	err := st.Scan(context.Background(), "s", Query{}, func(e Event) error {
		if e.Sequence != last+1 {
			t.Fatalf("sequence %d after %d", e.Sequence, last)
		}
		if last = e.Sequence; last == 1 {
			_, err := st.Trim(context.Background(), "s", first)
			return err
		}
		return nil
	})
	var trimmed *TrimmedError
	if !errors.As(err, &trimmed) || trimmed.First != first || last != scanEvents {
		t.Fatalf("%v after %d events", err, last)
	}
}
