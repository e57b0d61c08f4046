// Package history keeps what charts are drawn of: a row every 10 s for an hour, every two
// minutes for a day, and every hour for 30 days. Rows are not evidence: what proves something
// is in the journal.
package history

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/truechimer/truechimer/internal/rpc"
)

// Rows is where rows are kept; store.History is one.
type Rows interface {
	// Put keeps a row, in place of one of the same resolution and second, and removes those of
	// its resolution from before keepFrom. It returns once the row is durable.
	Put(resolution uint8, unix int64, row []byte, keepFrom int64) error
	// Rows visits the rows from a second on and before another, by their time.
	Rows(resolution uint8, from, to int64, visit func(unix int64, row []byte) error) error
}

// Value is one series at one moment. NaN and infinite values are not kept.
type Value struct {
	Name  string
	Value float64
}

// resolution is how fine rows are, and how long they are kept.
type resolution struct {
	number     uint8
	step, kept int64 // seconds
}

// levels is how many resolutions there are.
const levels = 3

// resolutions are the finest first. Each step is a whole number of those before it, and rows are
// kept for longer than the span that they are drawn over, so that the next coarser can be made
// of them after any restart.
func resolutions() [levels]resolution {
	const hour, day = 3600, 24 * 3600
	return [levels]resolution{
		{number: 1, step: 10, kept: hour + hour/2},
		{number: 2, step: 120, kept: day + 2*hour},
		{number: 3, step: hour, kept: 31 * day},
	}
}

// spanOf returns how far a chart goes back, in seconds, and of which rows it is drawn.
func spanOf(span rpc.HistorySpan) (seconds int64, level int) {
	const hour, day = 3600, 24 * 3600
	switch span {
	case rpc.HistorySpan_HISTORY_SPAN_DAY:
		return day, 1
	case rpc.HistorySpan_HISTORY_SPAN_MONTH:
		return 30 * day, 2
	default:
		return hour, 0
	}
}

const (
	seriesMax  = 1024     // in a row: 64 sources come to 128, all else to a few dozen
	pendingMax = 64       // rows that wait for the disk
	rowLenMax  = 64 << 10 // bytes of a row
)

// Recorder makes rows of what is observed. Its methods may be called concurrently.
type Recorder struct {
	rows Rows

	mu      sync.Mutex
	start   int64 // of the cell in progress, Unix seconds; valid where there is one
	cell    cell  // nil: there is none
	pending []row // complete, and not written yet
	dropped uint64

	flushing sync.Mutex // guards the rest
	last     [levels]int64
	known    [levels]bool
}

// cell is the values of a step, by the names of their series.
type cell map[string]*rpc.HistoryValue

// row is a cell that is complete.
type row struct {
	unix int64
	cell cell
}

// New returns a Recorder that keeps its rows in rows.
func New(rows Rows) *Recorder { return &Recorder{rows: rows} }

// Observe takes what is measured in a second. It does not wait: Flush writes.
func (r *Recorder) Observe(unix int64, values []Value) {
	r.mu.Lock()
	defer r.mu.Unlock()
	step := resolutions()[0].step
	start := floor(unix, step)
	if r.cell != nil && start != r.start {
		if len(r.pending) == pendingMax {
			r.pending = slices.Delete(r.pending, 0, 1)
			r.dropped++
		}
		r.pending = append(r.pending, row{r.start, r.cell})
		r.cell = nil
	}
	if r.cell == nil {
		r.start, r.cell = start, make(cell, len(values))
	}
	for _, v := range values {
		r.cell.add(v.Name, 1, v.Value, v.Value, v.Value)
	}
}

// add adds count values, whose sum, least and greatest these are.
func (c cell) add(name string, count uint32, sum, least, greatest float64) {
	if math.IsNaN(sum) || math.IsInf(sum, 0) || count == 0 {
		return
	}
	v, ok := c[name]
	if !ok {
		if len(c) == seriesMax {
			return
		}
		v = &rpc.HistoryValue{Name: name, Min: least, Max: greatest}
		c[name] = v
	}
	v.Count += count
	v.Sum += sum
	v.Min, v.Max = min(v.Min, least), max(v.Max, greatest)
}

func (c cell) addRow(m *rpc.HistoryRow) {
	for _, v := range m.Values {
		c.add(v.Name, v.Count, v.Sum, v.Min, v.Max)
	}
}

// encode is the row as it is kept, its series in the order of their names. Those that are beyond what a
// row can hold are left out: a pool whose members change all the time makes very many.
func (c cell) encode() ([]byte, error) {
	m := &rpc.HistoryRow{}
	for _, v := range c {
		m.Values = append(m.Values, v)
	}
	slices.SortFunc(m.Values, func(a, b *rpc.HistoryValue) int {
		if a.Name < b.Name {
			return -1
		}
		return 1 // names differ
	})
	length := 0
	for i, v := range m.Values {
		if length += proto.Size(v) + valueOverhead; length > rowLenMax {
			m.Values = m.Values[:i]
			break
		}
	}
	return proto.Marshal(m)
}

// valueOverhead is what a row needs for a value besides the value itself, bytes, at the most.
const valueOverhead = 4

func floor(unix, step int64) int64 { return unix - ((unix%step)+step)%step }

// Flush writes the rows that are complete, and the coarser ones that they complete. What could
// not be written is tried again by the next Flush.
func (r *Recorder) Flush() error {
	r.flushing.Lock()
	defer r.flushing.Unlock()
	for {
		r.mu.Lock()
		if len(r.pending) == 0 {
			r.mu.Unlock()
			return nil
		}
		next := r.pending[0]
		r.mu.Unlock()
		if err := r.write(0, next); err != nil {
			return fmt.Errorf("keep a row of the charts' history: %w", err)
		}
		r.mu.Lock()
		if len(r.pending) > 0 && r.pending[0].unix == next.unix {
			r.pending = slices.Delete(r.pending, 0, 1) // it was not dropped meanwhile
		}
		r.mu.Unlock()
	}
}

// write keeps a row. Where it begins a new cell of the next coarser resolution, the cell that
// the row before it is in is complete: that needs no memory, so it is right after a restart too.
func (r *Recorder) write(level int, next row) error {
	all := resolutions()
	this := all[level]
	if level+1 < levels {
		step := all[level+1].step
		before, ok, err := r.lastBefore(level, next.unix)
		if err != nil {
			return err
		}
		if start := floor(before, step); ok && start < floor(next.unix, step) {
			whole := make(map[int64]cell)
			if _, err := r.group(this, start, start+step, step, whole); err != nil {
				return err
			}
			if err := r.write(level+1, row{start, whole[start]}); err != nil {
				return err
			}
		}
	}
	encoded, err := next.cell.encode()
	if err != nil {
		return err
	}
	if err := r.rows.Put(this.number, next.unix, encoded, max(next.unix-this.kept, 0)); err != nil {
		return err
	}
	r.last[level], r.known[level] = next.unix, true
	return nil
}

// lastBefore returns the second of the last row of a level before unix. It is looked up once, and
// remembered from then on.
func (r *Recorder) lastBefore(level int, unix int64) (last int64, ok bool, err error) {
	if r.known[level] {
		return r.last[level], r.last[level] < unix, nil
	}
	err = r.rows.Rows(resolutions()[level].number, math.MinInt64, unix, func(at int64, _ []byte) error {
		last, ok = at, true
		return nil
	})
	return last, ok, err
}

// group adds the rows of a resolution from a second on and before another to the cells of step
// seconds that they are in, and returns where the last of them ends.
func (r *Recorder) group(this resolution, from, to, step int64, into map[int64]cell) (end int64, err error) {
	end = from
	err = r.rows.Rows(this.number, from, to, func(unix int64, b []byte) error {
		end = unix + this.step
		var m rpc.HistoryRow
		if err := proto.Unmarshal(b, &m); err != nil {
			return err
		}
		start := floor(unix, step)
		if into[start] == nil {
			into[start] = make(cell)
		}
		into[start].addRow(&m)
		return nil
	})
	return end, err
}

// Read returns what charts of a span that ends at the second now are drawn of. Series that are
// not among those that are wanted are left out; none: all are wanted.
func (r *Recorder) Read(span rpc.HistorySpan, now int64, wanted []string) (*rpc.HistoryResponse, error) {
	seconds, level := spanOf(span)
	this := resolutions()[level]
	from := floor(now-seconds, this.step)
	c := newChart(wanted)
	end := from
	err := r.rows.Rows(this.number, from, now+1, func(unix int64, b []byte) error {
		end = unix + this.step
		return c.add(unix, b)
	})
	if err != nil {
		return nil, err
	}
	// The step in progress, and one that nothing has completed yet, as far as finer rows tell.
	rest := make(map[int64]cell)
	for finer := level - 1; finer >= 0; finer-- {
		if end, err = r.group(resolutions()[finer], end, now+1, this.step, rest); err != nil {
			return nil, err
		}
	}
	for _, start := range slices.Sorted(maps.Keys(rest)) {
		c.addCell(start, rest[start])
	}
	return c.response(uint32(this.step)), nil
}

// Dropped returns how many rows were given up because the disk did not take them.
func (r *Recorder) Dropped() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dropped
}
