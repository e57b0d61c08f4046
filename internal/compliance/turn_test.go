package compliance

import (
	"github.com/truechimer/truechimer/internal/rpc"
	"google.golang.org/protobuf/proto"
	"testing"
	"time"
)

// A minute, and what is in it.
func TestMinute(t *testing.T) {
	b := newBench(t, finra())
	b.s.FrequencyPPM, b.s.RawSequence, b.s.TAIKnown, b.s.TAIOffset = -1.25, 7, true, 37
	b.s.System.Source = "a"
	b.s.Sources = agreeing(3, 2, 0)
	b.run(20)
	b.s.Sources = agreeing(2, 1, 0)
	b.s.Smeared = true
	b.run(10)
	b.s.Smeared = false
	b.s.Sources = agreeing(3, 2, 0)
	b.s.RawSequence = 9
	b.bound(-1).run(10)
	wantEqual(t, "minutes before it is over", len(b.j.all(KindMinute)), 0)
	b.run(1)
	m := b.j.all(KindMinute)[0].GetMinute()
	wantEqual(t, "start", m.Start, at.Unix()-20)
	wantEqual(t, "observed", m.Observed, 40)
	wantEqual(t, "smeared", m.Smeared, 10)
	wantEqual(t, "agreeing", m.AgreeingMin*10+m.AgreeingNistMin, 21)
	wantEqual(t, "raw sequence", m.RawSequence, 9)
	wantEqual(t, "tai", m.GetTaiOffset(), 37)
	wantEqual(t, "state", m.State+m.Source, "synchroniseda")
	if m.Served != nil || len(m.Verdicts) != 1 || m.Sources != nil {
		t.Errorf("too much: %v", m)
	}
	if want := (&rpc.VerdictCount{Profile: "finra", Clock: systemClock, Ok: 20, Warn: 10, Unknown: 10}); !proto.Equal(m.Verdicts[0], want) {
		t.Errorf("%v, want %v", m.Verdicts[0], want)
	}
	wantEqual(t, "unclaimed", m.System.Unclaimed, 10)
	wantEqual(t, "bounds", m.System.Bound.Count, 30)
	raw := b.j.all(KindSeconds)[0].GetSeconds()
	if raw.Start != m.Start || len(raw.At) != 40 || raw.At[0] != 20 || raw.At[39] != 59 || raw.SystemBoundNs[0] != 1e6 || raw.SystemBoundNs[39] != -1 ||
		raw.FrequencyPpt[0] != -1250000 || raw.SlewPpt != nil || raw.ServedBoundNs != nil {
		t.Errorf("raw: %v", raw)
	}
	b.s.SlewPPM = 500
	b.s.TAIKnown = false
	b.run(1)
	b.s.SlewPPM = 0
	b.run(1)
	b.j.write(b.now, b.e.Stop())
	raw = b.j.all(KindSeconds)[1].GetSeconds()
	if len(raw.SlewPpt) != 3 || raw.SlewPpt[0] != 0 || raw.SlewPpt[1] != 5e8 {
		t.Errorf("raw: %v", raw)
	}
	if m := b.j.all(KindMinute)[1].GetMinute(); m.TaiOffset != nil {
		t.Errorf("TAI, which nobody knows: %v", m)
	}
	wantEqual(t, "entries of a second stop", len(b.e.Stop()), 0)
	b.run(2) // and it goes on
	b.j.write(b.now, b.e.Stop())
	wantEqual(t, "observed after a stop", b.j.all(KindMinute)[2].GetMinute().Observed, 2)
}

// A part of an hour in which nobody looked says nothing of the sources that agreed, nor of the state.
func TestMergeEmpty(t *testing.T) {
	whole, part := newTally(0), newTally(0)
	q := quorumOf(agreeing(3, 1, 0))
	whole.look(&Second{Served: Reading{State: "synchronised"}}, &q)
	part.measure(measurement{source: 1, stratum: 3, refID: 7})
	part.measure(measurement{source: 1, stratum: 2, refID: 9})
	whole.merge(part)
	whole.merge(newTally(0))
	wantEqual(t, "agreeing", whole.agreeingMin, 3)
	wantEqual(t, "state", whole.state, "synchronised")
	wantEqual(t, "measured", whole.sources[1].measured, 2)
	hour := whole.proto(0)
	wantEqual(t, "stratum", hour.Sources[0].Stratum, 2)
	wantEqual(t, "refid", hour.Sources[0].Refid, 9)
	whole.merge(&tally{sources: map[uint32]*sourceTally{1: {agreed: 1}}})
	wantEqual(t, "stratum where nothing was measured", whole.proto(0).Sources[0].Stratum, 2)
}

// An hour has its sources, and the part that a crash took from the engine it has from the minutes.
func TestHour(t *testing.T) {
	b := newBench(t, finra())
	b.s.Sources = append(agreeing(2, 1, 0), SourceReading{Name: "without a number", Agrees: true})
	b.run(161)
	b.restart(finra()) // a crash, and the second of the minute in progress is lost
	b.e.Measured(b.now, &rpc.Measured{Source: 2, OffsetNs: -5, DelayNs: 9})
	b.run(3600 - 181 - 1)
	last := b.now + second
	b.e.Measured(last, &rpc.Measured{Source: 2, OffsetNs: 6, DelayNs: 9}) // of the next hour already
	b.run(1)
	wantEqual(t, "hours", len(b.j.all(KindHour)), 0)
	b.run(1)
	h := b.j.all(KindHour)[0].GetHour()
	wantEqual(t, "start", h.Start, at.Unix()-20)
	wantEqual(t, "observed", h.Observed, 3579)
	wantEqual(t, "ok", h.Verdicts[0].Ok, 3579)
	wantEqual(t, "sources", len(h.Sources), 2)
	wantEqual(t, "agreed since the crash", h.Sources[1].Agreed, 3419)
	wantEqual(t, "measured", h.Sources[1].Measured, 1)
	wantEqual(t, "offset", h.Sources[1].Offset.SumNs, -5)
	b.j.write(b.now, b.e.Stop())
	part := b.j.all(KindHour)[1].GetHour()
	wantEqual(t, "start", part.Start, h.Start+3600)
	wantEqual(t, "measured", part.Sources[1].Measured, 1)
	wantEqual(t, "offset", part.Sources[1].Offset.SumNs, 6)

	b.run(100) // another part of the same hour, that a crash leaves as a minute
	b.now += 7200 * second
	b.restart(finra())
	b.run(1)
	wantEqual(t, "hours", len(b.j.all(KindHour)), 3)
	rest := b.j.all(KindHour)[2].GetHour()
	wantEqual(t, "start", rest.Start, h.Start+3600)
	wantEqual(t, "observed", rest.Observed, 59)
}

func TestWaitingMax(t *testing.T) {
	b := newBench(t)
	for range waitingMax + 10 {
		b.e.Measured(b.now, &rpc.Measured{Source: 1})
	}
	b.run(60)
	b.j.write(b.now, b.e.Stop())
	wantEqual(t, "measured", b.j.all(KindHour)[0].GetHour().Sources[0].Measured, waitingMax)
}

// A day on which nobody looked is one, between others.
func TestDayBetween(t *testing.T) {
	b := newBench(t, finra())
	b.run(1)
	b.now += 2 * int64(24*time.Hour)
	b.run(1)
	list := b.e.Status(b.now, 30).Verdicts[0].Days
	if len(list) != 3 || list[1].Gap != day || list[1].Ok != 0 || list[2].Ok != 1 {
		t.Errorf("%v", list)
	}
}

func TestDaysForgotten(t *testing.T) {
	b := newBench(t, finra())
	for range 405 {
		b.run(61)
		b.now += int64(24 * time.Hour)
	}
	b.now -= int64(24 * time.Hour)
	list := b.e.Status(b.now, 1000).Verdicts[0].Days
	wantEqual(t, "days", len(list), DaysMax)
	for _, d := range list {
		if d.Ok != 61 {
			t.Fatalf("%v", d)
		}
	}
	if n := len(b.e.days); n > 2*(DaysMax+1) {
		t.Errorf("%d days are remembered", n)
	}
}

func TestFloorDiv(t *testing.T) {
	for _, c := range [][3]int64{{0, 60, 0}, {59, 60, 0}, {60, 60, 1}, {-1, 60, -1}, {-60, 60, -1}, {-61, 60, -2}} {
		wantEqual(t, "floorDiv", floorDiv(c[0], c[1]), c[2])
	}
}
