package history

import (
	"fmt"
	"testing"

	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/store"
)

// strict is memory that refuses what a store refuses.
type strict struct{ memory }

func (m *strict) Put(resolution uint8, unix int64, row []byte, keepFrom int64) error {
	if unix < 0 || keepFrom < 0 || unix < keepFrom || len(row) > store.HistoryRowLenMax {
		return store.ErrRange
	}
	return m.memory.Put(resolution, unix, row, keepFrom)
}

// A hardware clock without a battery shows 1970 after the start.
func TestHistoryIn1970(t *testing.T) {
	r := New(&strict{})
	for at := range int64(100) {
		r.Observe(at, []Value{{"x", 1}})
	}
	if err := r.Flush(); err != nil {
		t.Fatal(err)
	}
	for at := range int64(100) {
		r.Observe(1_790_000_000+at, []Value{{"x", 2}})
	}
	if err := r.Flush(); err != nil {
		t.Fatal(err)
	}
	if m, err := r.Read(rpc.HistorySpan_HISTORY_SPAN_HOUR, 1_790_000_099, nil); err != nil || len(m.At) < 9 {
		t.Errorf("%v, %v", m, err)
	}
}

// A pool whose members change all the time leaves many series of a few points. A page must not
// take gigabytes for it; the series of now are drawn.
func TestReadIsBoundedWhateverAPoolDid(t *testing.T) {
	m := &memory{}
	r := New(m)
	const rows, each = 360, 128
	start := int64(1_790_000_000)
	for i := range int64(rows) {
		c := cell{}
		c.add("clock", 1, 1, 1, 1)
		for k := range each {
			c.add(fmt.Sprintf("source.%d.%d", i, k), 1, 1, 0, 2)
		}
		b, err := c.encode()
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Put(1, start+i*10, b, 0); err != nil {
			t.Fatal(err)
		}
	}
	h, err := r.Read(rpc.HistorySpan_HISTORY_SPAN_HOUR, start+rows*10-1, nil)
	if err != nil {
		t.Fatal(err)
	}
	points, clock, newest := 0, 0, 0
	for _, s := range h.Series {
		if len(s.Mean) != len(h.At) {
			t.Fatalf("%d points of %s at %d instants", len(s.Mean), s.Name, len(h.At))
		}
		points += len(s.Mean) + len(s.Min) + len(s.Max)
		if s.Name == "clock" {
			clock++
		}
		if s.Name == fmt.Sprintf("source.%d.0", rows-1) {
			newest++
		}
	}
	if points > 3*chartMax*rows {
		t.Errorf("%d series, %d numbers for %d that are kept", len(h.Series), points, rows*each)
	}
	if clock != 1 || newest != 1 {
		t.Errorf("%d series of the clock, %d of a source of now", clock, newest)
	}
}

// A row of very many series with long names is kept as far as it fits, and those behind it too.
func TestHistoryOfTooManySeries(t *testing.T) {
	r := New(&strict{})
	for at := range int64(30) {
		var values []Value
		for i := range seriesMax {
			values = append(values, Value{fmt.Sprintf("source.%063d.[2001:db8:1111:2222:3333:4444:5555:%04x]:123.offset_seconds", i, i), 1 / float64(at+3)})
		}
		r.Observe(1_790_000_000+at, values)
	}
	if err := r.Flush(); err != nil {
		t.Fatal(err)
	}
}
