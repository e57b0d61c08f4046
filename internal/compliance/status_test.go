package compliance

import (
	"github.com/truechimer/truechimer/internal/rpc"
	"google.golang.org/protobuf/proto"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestStatus(t *testing.T) {
	p := finra()
	b := newBench(t, p)
	wantEqual(t, "rows before the first look", len(b.e.Status(b.now, 7).Verdicts), 1)
	v := b.e.Status(b.now, 7).Verdicts[0]
	if v.Verdict != unknown || v.Reason != "the clocks have not been looked at yet" || v.BoundNs != -1 || len(v.Days) != 1 || v.PreOpen != nil {
		t.Errorf("before the first look: %v", v)
	}
	since := b.now
	b.s.System.Offset = -7
	b.run(30)
	v = b.e.Status(b.now-1, 7).Verdicts[0]
	want := &rpc.ProfileVerdict{
		Profile: "finra", Clock: systemClock, Verdict: ok, Reason: "the error bound 1ms is within 25ms", SinceUnixNs: since,
		BoundNs: 1e6, OffsetNs: -7, ToleranceNs: 5e7, WarnNs: 25e6,
		Days: []*rpc.DayVerdicts{{Start: at.Unix() / day * day, Ok: 30, Gap: 12*3600 + 20}},
	}
	if !proto.Equal(v, want) {
		t.Errorf("%v\nwant %v", v, want)
	}
	b.bound(30 * ms).run(1)
	since = b.now - second
	b.run(5)
	wantEqual(t, "since", b.e.Status(b.now, 0).Verdicts[0].SinceUnixNs, since)
	wantEqual(t, "days", len(b.e.Status(b.now, 0).Verdicts[0].Days), 0)
	wantEqual(t, "verdict after 10 s", b.e.Status(b.now-second+1e10, 0).Verdicts[0].Verdict, warn)
	v = b.e.Status(b.now-second+1e10+1, 0).Verdicts[0]
	if v.Verdict != unknown || v.Reason != "nobody has looked at the clocks for 10s: see the log of the node" || v.BoundNs != -1 || v.SinceUnixNs != b.now-second {
		t.Errorf("after more: %v", v)
	}
	b.bound(-1).run(1)
	v = b.e.Status(b.now, 0).Verdicts[0]
	wantEqual(t, "bound where none can be claimed", v.BoundNs, -1)
}

// Breaches that go on come first, then the latest; those that were acknowledged and are over are not listed.
func TestStatusBreaches(t *testing.T) {
	wide := NewProfile("wide", 70*ms)
	b := newBench(t, finra(), wide)
	b.bound(80 * ms).run(1)  // 1, 2
	b.bound(60 * ms).run(10) // 2 is over
	b.bound(80 * ms).run(1)  // 3
	b.bound(60 * ms).run(10) // is over
	if _, _, err := b.e.Acknowledge(2, "w", "", 1); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.e.Acknowledge(1, "w", "", 1); err != nil {
		t.Fatal(err)
	}
	var ids []uint64
	for _, m := range b.e.Status(b.now, 0).Breaches {
		ids = append(ids, m.Id)
	}
	if !slices.Equal(ids, []uint64{1, 3}) {
		t.Errorf("listed: %v", ids)
	}
}

// The clock loop steps while others ask: for the race detector.
func TestConcurrent(t *testing.T) {
	b := newBench(t, finra())
	b.s.Sources = agreeing(3, 1, 1)
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			for range 200 {
				b.e.Status(at.UnixNano(), 30)
				b.e.Acknowledge(1, "w", "", 1)
				b.e.Told(map[string]string{"profile": "finra", "clock": "system"}, at.UnixNano(), "ops")
				b.e.SourceNumber(SourceReading{Name: "a"})
				b.e.Measured(at.UnixNano(), &rpc.Measured{Source: 1})
				b.e.Set([]Profile{finra()}, 0)
			}
		})
	}
	for i := range 400 {
		b.bound(time.Duration(i%100) * ms).run(1)
	}
	group.Wait()
	b.e.Stop()
}
