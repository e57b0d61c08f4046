package report

import (
	"bytes"
	"context"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/truechimer/truechimer/internal/compliance"
	"github.com/truechimer/truechimer/internal/rpc"
)

// encoded is a journal whose entries are decoded as they are read, as the real one's are. Its
// records of hours and minutes are one each, for all times.
type encoded struct {
	start, end   int64
	hour, minute []byte
	crashes      int // the hour of every so many days is not on record
	visited      map[compliance.Kind]int
}

func (y *encoded) Find(ctx context.Context, since, until int64, kinds []compliance.Kind, visit func(compliance.Record) error) error {
	for _, k := range kinds {
		unit, b := int64(hour), y.hour
		switch k {
		case compliance.KindMinute:
			unit, b = minute, y.minute
		case compliance.KindHour:
		default:
			continue
		}
		for at := floor(max(since/1e9, y.start), unit) + unit; at <= y.end && at*1e9 < until; at += unit {
			if k == compliance.KindHour && (at-y.start)/hour%(24*int64(y.crashes)) == 5 {
				continue
			}
			e := &rpc.JournalEntry{}
			if err := proto.Unmarshal(b, e); err != nil {
				return err
			}
			if s := e.GetHour(); s != nil {
				s.Start = at - hour
			} else {
				e.GetMinute().Start = at - minute
			}
			y.visited[k]++
			if err := visit(compliance.Record{Sequence: uint64(at), Unix: at * 1e9, Entry: e}); err != nil {
				return err
			}
		}
	}
	return nil
}

// aYear is a year with 16 sources; once a week the node crashes.
func aYear(tb testing.TB) *encoded {
	r := rand.New(rand.NewPCG(1, 1))
	spread := func(n int, scale int64) *rpc.Distribution {
		var d compliance.Distribution
		for range n {
			d.Add(scale+r.Int64N(scale), 1)
		}
		return d.Proto()
	}
	summary := func(seconds uint32) *rpc.Summary {
		s := &rpc.Summary{
			Observed: seconds, AgreeingMin: 4, AgreeingNistMin: 2, State: "synchronised",
			System: &rpc.ClockSummary{Bound: spread(int(seconds), 2e6), Offset: spread(int(seconds), 1e4)},
		}
		for _, p := range []string{testProfile, "cat-participant-100us", "pci-10.6"} {
			for c := range 2 {
				s.Verdicts = append(s.Verdicts, &rpc.VerdictCount{Profile: p, Clock: rpc.JudgedClock(c + 1), Ok: seconds})
			}
		}
		return s
	}
	ofHour := summary(hour)
	for i := range uint32(16) {
		ofHour.Sources = append(ofHour.Sources, &rpc.SourceSummaryHour{Source: i, Offset: spread(225, 1e5), Delay: spread(225, 1e7), Agreed: hour, Measured: 225})
	}
	encode := func(e *rpc.JournalEntry) []byte {
		b, err := proto.Marshal(e)
		if err != nil {
			tb.Fatal(err)
		}
		return b
	}
	start := floor(begin, day)
	return &encoded{
		start: start, end: start + 365*day, crashes: 7, visited: map[compliance.Kind]int{},
		hour:   encode(&rpc.JournalEntry{What: &rpc.JournalEntry_Hour{Hour: ofHour}}),
		minute: encode(&rpc.JournalEntry{What: &rpc.JournalEntry_Minute{Minute: summary(minute)}}),
	}
}

func (y *encoded) report(tb testing.TB) *Report {
	r, err := Build(context.Background(), y, Options{Profile: profile(), From: unix(y.start), To: unix(y.end), Now: unix(y.end + hour)})
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// A year is read from its hours; of its minutes only where an hour is not on record.
func TestYear(t *testing.T) {
	y := aYear(t)
	began := time.Now()
	r := y.report(t)
	built := time.Since(began)
	var page bytes.Buffer
	if err := r.HTML(&page); err != nil {
		t.Fatal(err)
	}
	t.Logf("a year: built in %v, %d hours and %d minutes were read; the page has %d bytes and took %v", built, y.visited[compliance.KindHour], y.visited[compliance.KindMinute], page.Len(), time.Since(began)-built)
	if c := r.Clocks[0]; c.Verdicts != (Verdicts{OK: 365 * day}) || c.Compliant != 1 || r.Gaps.Total != 0 || len(c.Strip) != 365 {
		t.Errorf("%+v, %d gaps", c.Verdicts, r.Gaps.Total)
	}
	if h, m := y.visited[compliance.KindHour], y.visited[compliance.KindMinute]; h > 365*24*11/10 || m > 53*60*(1+2*slack/hour+1) {
		t.Errorf("%d hours and %d minutes were read", h, m)
	}
	if page.Len() > 1<<20 {
		t.Errorf("the page has %d bytes", page.Len())
	}
}

func BenchmarkYear(b *testing.B) {
	y := aYear(b)
	b.ReportAllocs()
	for b.Loop() {
		y.report(b)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.Sys), "sys-bytes")
}
