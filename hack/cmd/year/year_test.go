package main

import (
	"flag"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/compliance"
)

// seedOfAll is one with which all that can go wrong does within two days.
const seedOfAll = 2

var seed = flag.Uint64("seed", seedOfAll, "of what goes wrong")

// Two days with all that goes wrong, raw records kept for one: the disk is within the plan, a report
// equals what was counted apart from it, and the journal is whole.
func TestDays(t *testing.T) {
	t.Logf("-seed %d", *seed)
	to := time.Date(2026, time.March, 4, 6, 0, 0, 0, time.UTC).Unix()
	s := settings{
		dir: t.TempDir(), from: to - 2*86400, to: to, sources: 16, poll: 16, write: 600, seed: *seed,
		raw: 24 * time.Hour, charts: time.Hour, channels: []string{"pager"}, told: func(float64) {},
	}
	for _, name := range []string{"finra-50ms", "pci-10.6"} {
		p, _ := compliance.Builtin(name)
		s.profiles = append(s.profiles, p)
	}
	n := newNode(s)
	if err := n.run(); err != nil {
		t.Fatal(err)
	}
	f, err := measure(n, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range f.rows {
		t.Logf("%s: %s %s", r[0], r[1], r[2])
	}
	if err := f.judge(); err != nil {
		t.Error(err)
	}
	for i := range n.truth.durable {
		if c := n.truth.durable[i]; *seed == seedOfAll && (c.ok == 0 || c.warn == 0 || c.breach == 0 || c.unknown < 3600 || n.truth.lost == 0) {
			t.Errorf("of something that goes wrong there is nothing: %+v, %d seconds lost", c, n.truth.lost)
		}
	}
	for k := compliance.KindStarted; k <= compliance.KindPreOpen; k++ {
		if n.sizes[k] == nil {
			t.Errorf("no entry of kind %v was written", k)
		}
	}
	if n.journal.Status().Raw.First == 1 {
		t.Error("no raw record was removed")
	}
}
