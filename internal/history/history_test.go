package history

import (
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/truechimer/truechimer/internal/rpc"
)

// memory is Rows in memory.
type memory struct {
	rows map[uint8]map[int64][]byte
	err  error
	puts int
}

func (m *memory) Put(resolution uint8, unix int64, row []byte, keepFrom int64) error {
	if m.err != nil {
		return m.err
	}
	m.puts++
	if m.rows == nil {
		m.rows = make(map[uint8]map[int64][]byte)
	}
	if m.rows[resolution] == nil {
		m.rows[resolution] = make(map[int64][]byte)
	}
	m.rows[resolution][unix] = row
	maps.DeleteFunc(m.rows[resolution], func(at int64, _ []byte) bool { return at < keepFrom })
	return nil
}

func (m *memory) Rows(resolution uint8, from, to int64, visit func(int64, []byte) error) error {
	for _, at := range slices.Sorted(maps.Keys(m.rows[resolution])) {
		if at >= from && at < to {
			if err := visit(at, m.rows[resolution][at]); err != nil {
				return err
			}
		}
	}
	return nil
}

// What is read equals what is computed from all that was observed, whatever restarts there
// were and however long nobody looked.
func TestHistoryTwin(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		m := &memory{}
		r := New(m)
		all := map[int64]float64{} // by second
		now := int64(1_790_000_000)
		start, last := now, now
		for now < start+3*24*3600 {
			if rnd.IntN(4000) == 0 { // stopped in the middle of a cell: that cell is lost
				for at := range all {
					if floor(at, 10) == floor(last, 10) {
						delete(all, at)
					}
				}
				r = New(m)
				now = floor(now, 10) + 10 + rnd.Int64N(20000)
				continue
			}
			v := rnd.NormFloat64()
			all[now], last = v, now
			r.Observe(now, []Value{{"x", v}, {"nothing", math.NaN()}})
			if err := r.Flush(); err != nil {
				t.Fatal(err)
			}
			now += 1 + rnd.Int64N(2)
		}
		r.Observe(floor(now, 10)+10, nil) // completes the last cell
		if err := r.Flush(); err != nil {
			t.Fatal(err)
		}
		for _, span := range []rpc.HistorySpan{rpc.HistorySpan_HISTORY_SPAN_HOUR, rpc.HistorySpan_HISTORY_SPAN_DAY, rpc.HistorySpan_HISTORY_SPAN_MONTH} {
			got, err := r.Read(span, now, nil)
			if err != nil {
				t.Fatal(err)
			}
			seconds, _ := spanOf(span)
			compare(t, seed, got, all, floor(now-seconds, int64(got.Step)))
		}
	}
}

// compare recounts each point of a chart from the seconds.
func compare(t *testing.T, seed uint64, got *rpc.HistoryResponse, all map[int64]float64, from int64) {
	t.Helper()
	points := map[int64][]float64{}
	for at, v := range all {
		if cell := floor(at, int64(got.Step)); cell >= from {
			points[cell] = append(points[cell], v)
		}
	}
	if len(points) == 0 && len(got.Series) == 0 && len(got.At) == 0 {
		return
	}
	if len(got.Series) != 1 || got.Series[0].Name != "x" {
		t.Fatalf("seed %d: series %v", seed, got.Series)
	}
	s := got.Series[0]
	if len(points) != len(got.At) || len(s.Mean) != len(got.At) {
		t.Fatalf("seed %d, step %d: %d points, want %d", seed, got.Step, len(got.At), len(points))
	}
	for i, at := range got.At {
		values := points[at]
		sum := 0.0
		for _, v := range values {
			sum += v
		}
		if len(values) == 0 || math.Abs(s.Mean[i]-sum/float64(len(values))) > 1e-9 || s.Min[i] != slices.Min(values) || s.Max[i] != slices.Max(values) {
			t.Fatalf("seed %d, step %d, at %d: %v, %v, %v of %d values", seed, got.Step, at, s.Mean[i], s.Min[i], s.Max[i], len(values))
		}
	}
}

// Rows that the disk does not take wait for it, up to a limit.
func TestHistoryDisk(t *testing.T) {
	m := &memory{err: errors.New("full")}
	r := New(m)
	for i := range int64(pendingMax + 10) {
		r.Observe(1000+10*i, []Value{{"x", float64(i)}})
	}
	if err := r.Flush(); !errors.Is(err, m.err) {
		t.Errorf("Flush returns %v", err)
	}
	if r.Dropped() != 9 {
		t.Errorf("%d rows dropped", r.Dropped())
	}
	m.err = nil
	if err := r.Flush(); err != nil || len(m.rows[1]) != pendingMax {
		t.Errorf("Flush returns %v, %d rows", err, len(m.rows[1]))
	}
	puts := m.puts
	if err := r.Flush(); err != nil || m.puts != puts {
		t.Errorf("a Flush with nothing to write: %v, %d rows written", err, m.puts-puts)
	}
}

// A series that comes and goes has NaN where it was not there, and only the series that are
// wanted are told. Too many are left out.
func TestHistorySeries(t *testing.T) {
	m := &memory{}
	r := New(m)
	r.Observe(1000, []Value{{"b", 1}})
	r.Observe(1010, []Value{{"a", 2}})
	r.Observe(1020, []Value{{"b", 3}, {"b", 5}})
	many := make([]Value, 2*seriesMax)
	for i := range many {
		many[i] = Value{string(rune('c'+i%20)) + string(rune(0x100+i)), 1}
	}
	r.Observe(1030, many)
	r.Observe(1040, nil)
	if err := r.Flush(); err != nil {
		t.Fatal(err)
	}
	got, err := r.Read(rpc.HistorySpan_HISTORY_SPAN_HOUR, 1040, []string{"a", "b"})
	if err != nil || len(got.Series) != 2 || len(got.At) != 4 || got.Step != 10 {
		t.Fatalf("%v, %v", got, err)
	}
	a, b := got.Series[0], got.Series[1]
	if a.Name != "a" || len(a.Mean) != 4 || !math.IsNaN(a.Mean[0]) || a.Mean[1] != 2 || !math.IsNaN(a.Mean[2]) || !math.IsNaN(a.Mean[3]) {
		t.Errorf("a is %v", a)
	}
	if b.Mean[2] != 4 || b.Min[2] != 3 || b.Max[2] != 5 || !math.IsNaN(b.Mean[1]) {
		t.Errorf("b is %v", b)
	}
	if got, err := r.Read(rpc.HistorySpan_HISTORY_SPAN_HOUR, 1040, nil); err != nil || len(got.Series) != 2+seriesMax {
		t.Errorf("%d series, %v", len(got.Series), err)
	}
}
