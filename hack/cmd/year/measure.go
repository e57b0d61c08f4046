package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/truechimer/truechimer/internal/compliance"
	"github.com/truechimer/truechimer/internal/report"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/store"
)

// room is what a directory takes besides the journal, however old it is, bytes: the database's logs,
// a few of 16 MB each, and the rows of the charts.
const room = 128 << 20

// What the journal adds to each entry, bytes: its key, time, kind and hash, and for the evidence its
// place in the index.
const (
	rawAdds      = 10 + 9 + 8
	evidenceAdds = rawAdds + 18
)

// figures is what was measured.
type figures struct {
	rows   [][3]string
	broken []string
	limit  time.Duration // of what somebody waits for; 0: none
	report *report.Report
}

func (f *figures) add(what, value, note string) {
	f.rows = append(f.rows, [3]string{what, value, note})
}

func (f *figures) breaks(format string, args ...any) {
	f.broken = append(f.broken, fmt.Sprintf(format, args...))
}

// print writes the table.
func (f *figures) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range f.rows {
		fmt.Fprintf(t, "%s\t%s\t%s\n", r[0], r[1], r[2])
	}
	t.Flush()
	fmt.Fprintln(w)
}

// judge fails where a limit is broken.
func (f *figures) judge() error {
	if len(f.broken) == 0 {
		return nil
	}
	return errors.New(strings.Join(f.broken, "\n      "))
}

// measure looks at what a node that has stopped has left. What somebody waits for may take as long
// as limit says.
func measure(n *node, limit time.Duration) (*figures, error) {
	f := &figures{limit: limit}
	used, err := diskUsage(n.dir)
	if err != nil {
		return nil, err
	}
	if err := f.starts(n); err != nil {
		return nil, err
	}
	f.disk(n, used)
	for _, m := range []func(*node) error{f.compliance, f.reports, f.charts, f.reads, f.verify} {
		if err := m(n); err != nil {
			return nil, errors.Join(err, n.store.Close())
		}
	}
	return f, n.store.Close()
}

// timed measures how long do takes.
func timed(do func() error) (time.Duration, error) {
	began := time.Now()
	err := do()
	return time.Since(began), err
}

// took is how long something took, in three digits or so.
func took(d time.Duration) string {
	unit := time.Microsecond
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit).String()
}

// starts measures a start of the node.
func (f *figures) starts(n *node) error {
	opened, err := timed(n.open)
	if err != nil {
		return err
	}
	restored, err := timed(func() error {
		r, err := compliance.Restore(context.Background(), n.recorder, n.now)
		n.engine = compliance.NewEngine(compliance.Options{Profiles: n.profiles, Restored: r})
		return err
	})
	f.add("start: store and journal opened", took(opened), "")
	f.add("start: engine restored", took(restored), fmt.Sprintf("the slowest of %d starts on the way: %s", n.starts, took(n.slow)))
	return err
}

// disk compares what the data take with what is planned.
func (f *figures) disk(n *node, used uint64) {
	span := time.Duration(n.to-n.from) * time.Second
	plan := func(raw time.Duration) (rawBytes, evidenceBytes uint64) {
		return compliance.Plan(n.sources, time.Duration(n.poll)*time.Second, len(n.profiles), 0, 0, raw, span)
	}
	raw, evidence := plan(min(n.raw, span))
	rawWritten, _ := plan(span)
	var written [2]uint64 // evidence, raw; with what the journal adds to each
	for _, k := range slices.Sorted(maps.Keys(n.sizes)) {
		s := n.sizes[k]
		f.add("written: "+k.String(), fmt.Sprint(s.entries), fmt.Sprintf("%d bytes each", s.bytes/s.entries))
		if k.Raw() {
			written[1] += s.bytes + s.entries*rawAdds
		} else {
			written[0] += s.bytes + s.entries*evidenceAdds
		}
	}
	s := n.journal.Status()
	for i, t := range []struct {
		track   store.Track
		planned uint64 // for all that was ever written
		status  store.JournalTrackStatus
	}{{store.Evidence, evidence, s.Evidence}, {store.Raw, rawWritten, s.Raw}} {
		f.add("written: all "+t.track.String(), megabytes(written[i]), share(written[i], t.planned))
		if written[i] > t.planned {
			f.breaks("the records of the track %v are %s long, and %s are planned", t.track, megabytes(written[i]), megabytes(t.planned))
		}
		f.add("kept: "+t.track.String(), fmt.Sprint(t.status.Last+1-t.status.First), fmt.Sprintf("of %d, since %s", t.status.Last, time.Unix(0, t.status.OldestUnix).UTC().Format(time.DateTime)))
	}
	f.add("kept: roots", fmt.Sprint(s.Roots), "")
	f.add("disk: planned", megabytes(raw+evidence), fmt.Sprintf("%s of evidence, %s raw", megabytes(evidence), megabytes(raw)))
	f.add("disk: journal, by its status", megabytes(s.Bytes), share(s.Bytes, raw+evidence))
	f.add("disk: directory", megabytes(used), share(used, raw+evidence)+", with the charts' rows and the logs of the database")
	if s.Bytes > max(raw+evidence, room) {
		f.breaks("the journal takes %s, and %s are planned", megabytes(s.Bytes), megabytes(raw+evidence))
	}
	if used > raw+evidence+room {
		f.breaks("the directory takes %s, more than the %s that are planned and the %s of the database and the charts", megabytes(used), megabytes(raw+evidence), megabytes(room))
	}
}

func share(part, whole uint64) string {
	return fmt.Sprintf("%.0f %% of the plan", 100*float64(part)/float64(whole))
}

func megabytes(n uint64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// diskUsage returns what the files below a directory take, in bytes, as du counts.
func diskUsage(dir string) (total uint64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			total += uint64(s.Blocks) * 512
		} else {
			total += uint64(info.Size())
		}
		return nil
	})
	return total, err
}

// compliance measures what the first page of the dashboard asks for.
func (f *figures) compliance(n *node) error {
	var status *rpc.ComplianceResponse
	d, _ := timed(func() error {
		status = n.engine.Status(n.now, compliance.DaysMax)
		return nil
	})
	f.add("dashboard: status of 400 days", took(d), fmt.Sprintf("%d days", len(status.Verdicts[0].Days)))
	f.within("the status", d)
	var all []*rpc.Breach
	d, err := timed(func() (err error) {
		all, err = compliance.Breaches(context.Background(), n.recorder)
		return err
	})
	f.add("dashboard: breaches", took(d), fmt.Sprint(len(all)))
	f.within("the list of breaches", d)
	return err
}

func (f *figures) within(what string, d time.Duration) {
	if f.limit > 0 && d > f.limit {
		f.breaks("%s took %s, and may take %v", what, took(d), f.limit)
	}
}

// reports measures a report of all the time, and compares it with what was counted apart from it.
func (f *figures) reports(n *node) error {
	for _, kind := range []struct {
		name  string
		write func(*report.Report, io.Writer) error
	}{{"HTML", (*report.Report).HTML}, {"CSV", (*report.Report).CSV}, {"JSON", (*report.Report).JSON}} {
		var page bytes.Buffer
		built := time.Duration(0)
		d, err := timed(func() (err error) {
			built, err = timed(func() (err error) {
				f.report, err = report.Build(context.Background(), n.recorder, report.Options{
					Profile: n.profiles[0], From: time.Unix(n.from, 0), To: time.Unix(n.to, 0), Now: time.Unix(n.to+3600, 0),
					Node: "year", StoreID: n.store.ID(), Version: version, Head: n.recorder.Head(),
				})
				return err
			})
			if err != nil {
				return err
			}
			return kind.write(f.report, &page)
		})
		if err != nil {
			return err
		}
		f.add("report: "+kind.name, took(d), fmt.Sprintf("built in %s, %d kB", took(built), page.Len()/1000))
		f.within("the report as "+kind.name, d)
	}
	return f.compare(n)
}

// compare compares the report's figures with the truth.
func (f *figures) compare(n *node) error {
	for i, name := range []string{system: "system", served: "served"} {
		want := &n.truth.durable[i]
		at := slices.IndexFunc(f.report.Clocks, func(c report.Clock) bool { return c.Name == name })
		if at < 0 {
			f.breaks("the report has no %s clock", name)
			continue
		}
		got := &f.report.Clocks[at]
		v := got.Verdicts
		if v.OK != want.ok || v.Warn != want.warn || v.Breach != want.breach || v.Unknown != want.unknown || v.Gap != n.to-n.from-want.total() || v.NotJudged != 0 {
			f.breaks("the report says of the %s clock %+v, and it was %+v", name, v, *want)
		}
		claimed := want.total() - got.Unclaimed
		if time.Duration(got.Bound.Min) != want.least || time.Duration(got.Bound.Max) != want.most || got.Bound.Samples != uint64(claimed) {
			f.breaks("the report says of the %s clock's bound %+v, and it was %+v", name, got.Bound, *want)
		}
		if mean := float64(want.offsets) / float64(claimed); math.Abs(got.Offset.Mean-mean) > 1e-6*math.Abs(mean)+1e-3 {
			f.breaks("the report says that the mean offset of the %s clock is %v ns, and it is %v", name, got.Offset.Mean, mean)
		}
		f.add("report: "+name+" clock, seconds", fmt.Sprintf("%d OK, %d WARN", v.OK, v.Warn), fmt.Sprintf("%d BREACH, %d UNKNOWN, %d gap; by the recount %d, %d, %d, %d, %d",
			v.Breach, v.Unknown, v.Gap, want.ok, want.warn, want.breach, want.unknown, n.to-n.from-want.total()))
	}
	return nil
}

// charts measures what charts are drawn of.
func (f *figures) charts(n *node) error {
	for _, span := range []rpc.HistorySpan{rpc.HistorySpan_HISTORY_SPAN_HOUR, rpc.HistorySpan_HISTORY_SPAN_DAY, rpc.HistorySpan_HISTORY_SPAN_MONTH} {
		var m *rpc.HistoryResponse
		d, err := timed(func() (err error) {
			m, err = n.history.Read(span, n.now/1e9, nil)
			return err
		})
		if err != nil {
			return err
		}
		f.add("charts: "+strings.ToLower(strings.TrimPrefix(span.String(), "HISTORY_SPAN_")), took(d), fmt.Sprintf("%d rows of %d series", len(m.At), len(m.Series)))
		f.within("a chart", d)
	}
	return nil
}

// errEnough ends a search.
var errEnough = errors.New("enough")

// reads measures reads in the middle of the time.
func (f *figures) reads(n *node) error {
	ctx, all := context.Background(), []uint8(nil)
	middle := (n.from + n.to) / 2 * 1e9
	var first uint64
	d, err := timed(func() error {
		err := n.journal.Find(ctx, middle, math.MaxInt64, all, func(r store.JournalRecord) error {
			first = r.Sequence
			return errEnough
		})
		if !errors.Is(err, errEnough) {
			return errors.Join(err, errors.New("nothing is on record of the middle"))
		}
		left := 1000
		err = n.journal.Scan(ctx, store.Evidence, first, 0, func(store.JournalRecord) error {
			if left--; left == 0 {
				return errEnough
			}
			return nil
		})
		if errors.Is(err, errEnough) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	f.add("journal: 1000 records from the middle on", took(d), fmt.Sprintf("from record %d", first))
	count := 0
	d, err = timed(func() error {
		return n.journal.Find(ctx, middle, middle+86400e9, all, func(store.JournalRecord) error {
			count++
			return nil
		})
	})
	f.add("journal: evidence of a day in the middle", took(d), fmt.Sprintf("%d records", count))
	return err
}

// verify measures a verification, with a head from early in the time and the last one.
func (f *figures) verify(n *node) error {
	early, err := store.ParseJournalHead(n.early)
	if err != nil {
		return err
	}
	o := store.VerifyJournalOptions{Heads: []store.JournalHead{early}}
	if h := n.journal.Status().Head; h != nil {
		o.Heads = append(o.Heads, *h)
	}
	var r store.JournalReport
	d, err := timed(func() (err error) {
		r, err = n.journal.Verify(context.Background(), o)
		return err
	})
	if err != nil {
		return err
	}
	records := r.Evidence.Records + r.Raw.Records
	f.add("journal: verified", took(d), fmt.Sprintf("%d records, %d signatures, %d problems", records, r.Signatures, len(r.Problems)))
	for _, s := range r.Trimmed {
		f.add("journal: cannot be proven", "", s)
	}
	if err := r.Err(); err != nil {
		f.breaks("the journal is not whole: %v", err)
	}
	if trimmed := n.journal.Status().Raw.First > early.RawSequence; trimmed != (len(r.Trimmed) > 0) {
		f.breaks("raw records of the early head are trimmed: %t, and the verification says %q", trimmed, r.Trimmed)
	}
	return nil
}
