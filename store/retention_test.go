package store

import (
	"context"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/truechimer/truechimer/hlc"
)

// TestRetention goes to the limit of each kind of retention, and one beyond it.
func TestRetention(t *testing.T) {
	leakFree(t)
	const size = 4 // bytes of each of five events, a second apart
	for name, c := range map[string]struct {
		r     Retention
		first uint64
	}{
		"none":                {Retention{}, 1},
		"count not reached":   {Retention{Count: 5}, 1},
		"count":               {Retention{Count: 4}, 2},
		"one":                 {Retention{Count: 1}, 5},
		"bytes not reached":   {Retention{Bytes: 5 * size}, 1},
		"bytes":               {Retention{Bytes: 5*size - 1}, 2},
		"bytes of one":        {Retention{Bytes: size}, 5},
		"fewer bytes":         {Retention{Bytes: size - 1}, 6},
		"age not reached":     {Retention{Age: 4 * time.Second}, 1},
		"age":                 {Retention{Age: 4*time.Second - hlc.Tick}, 2},
		"age of all":          {Retention{Age: time.Nanosecond}, 5},
		"age before the time": {Retention{Age: 100 * 365 * 24 * time.Hour}, 1},
		"the tightest":        {Retention{Age: time.Hour, Count: 3, Bytes: 2 * size}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			st, h := memStreams(t, StreamsOptions{})
			if _, err := st.Create(context.Background(), "s", c.r); err != nil {
				t.Fatal(err)
			}
			appendMany(t, st, "other", 3)
			h.move(hlc.Tick * 1000)
			for n := range 5 {
				if n > 0 {
					h.move(time.Second / hlc.Tick * hlc.Tick)
				}
				appendOne(t, st, "s", "four")
			}
			// The first event is four times that old now, and on a tick.
			if c.r.Age > time.Second && c.r.Age < time.Hour {
				h.move(4*time.Second - 4*(time.Second/hlc.Tick*hlc.Tick))
			}
			if err := st.sweep(context.Background()); err != nil {
				t.Fatal(err)
			}
			s := st.mustDescribe(t, "s")
			if s.First != c.first || s.Last != 5 || s.Bytes != (6-c.first)*size {
				t.Errorf("%+v", s)
			}
			if n := len(everything(t, st, "s")); uint64(n) != 6-c.first {
				t.Errorf("%d events are left", n)
			}
			if s := st.mustDescribe(t, "other"); s.First != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestRetentionByItself has retention run beside appends.
func TestRetentionByItself(t *testing.T) {
	leakFree(t)
	st := openStreams(t, vfs.NewMem(), newHand(epoch0), StreamsOptions{RetentionEvery: time.Millisecond})
	defer closeStreams(t, st)
	if _, err := st.Create(context.Background(), "s", Retention{Count: 10}); err != nil {
		t.Fatal(err)
	}
	for range 500 {
		appendOne(t, st, "s", "x")
	}
	waitFor(t, func() bool { return st.mustDescribe(t, "s").First == 491 })
	gapless(t, everything(t, st, "s"), 491)
	if s := st.Status(); s.Trimmed != 490 {
		t.Errorf("%d were trimmed", s.Trimmed)
	}
}

// TestRetentionDuringTrim: a sweep that is overtaken by a trim removes nothing more.
func TestRetentionDuringTrim(t *testing.T) {
	leakFree(t)
	st, _ := memStreams(t, StreamsOptions{})
	ctx := context.Background()
	if _, err := st.Create(ctx, "s", Retention{Bytes: 100}); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		appendOne(t, st, "s", "0123456789")
	}
	_, old, err := st.existing("s")
	if err != nil {
		t.Fatal(err)
	}
	if first, err := st.keeps(old); err != nil || first != 11 {
		t.Fatalf("keeps %d of 20, %v", first, err)
	}
	if _, err := st.Trim(ctx, "s", 15); err != nil {
		t.Fatal(err)
	}
	if first, err := st.keeps(old); err != nil || first > 15 {
		t.Fatalf("keeps %d, although 15 to 20 have 60 bytes, %v", first, err)
	}
}
