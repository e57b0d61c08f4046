package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/truechimer/truechimer/internal/alert"
	"github.com/truechimer/truechimer/internal/compliance"
	"github.com/truechimer/truechimer/internal/history"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/ntpserver"
	"github.com/truechimer/truechimer/store"
)

// A node is the parts of the daemon that evidence goes through, driven second by second: the
// engine, the recorder, the journal, the rows of the charts. What the daemon does in goroutines
// happens here in turn.

// settings of a run.
type settings struct {
	dir      string
	from, to int64 // Unix seconds; whole hours
	sources  int
	poll     int64 // seconds
	write    int64 // seconds between two writes, and so between two heads
	seed     uint64
	raw      time.Duration // how long raw records are kept
	charts   time.Duration // before the end, from when on there are rows of charts
	profiles []compliance.Profile
	channels []string // that alarms are told to
	told     func(done float64)
}

// version is what starts are on record with.
const version = "year"

// evidenceKept is longer than any run.
const evidenceKept = 7 * compliance.Year

// node is one that runs, or has stopped.
type node struct {
	settings
	world *world
	truth *truth
	alarm alarms
	sizes map[compliance.Kind]*size

	now      int64 // Unix nanoseconds
	store    *store.Store
	journal  *store.Journal
	recorder *compliance.Recorder
	engine   *compliance.Engine
	history  *history.Recorder
	values   []history.Value
	named    [][2]string // series of the sources
	verdicts []string    // series of the NTP verdicts

	early  string        // a head that was handed out early in the run
	starts int           // of the node
	slow   time.Duration // the slowest Restore
}

// size is what the entries of a kind come to.
type size struct{ entries, bytes uint64 }

// newNode returns a node that has not been started.
func newNode(s settings) *node {
	r := rand.New(rand.NewPCG(s.seed, 0))
	n := &node{
		settings: s, sizes: map[compliance.Kind]*size{},
		world: newWorld(r, s.sources, s.poll, episodes(r, s.from, s.to, s.sources)),
		truth: &truth{profile: s.profiles[0]},
		alarm: alarms{standing: map[string]*rpc.Alarmed{}, last: map[string]int64{}},
	}
	for _, v := range ntpserver.Verdicts() {
		n.verdicts = append(n.verdicts, compliance.VerdictSeries(v.String()))
	}
	return n
}

// start opens the store and starts the node, as the daemon does.
func (n *node) start() (err error) {
	if err := n.open(); err != nil {
		return err
	}
	began := time.Now()
	restored, err := compliance.Restore(context.Background(), n.recorder, n.now)
	if err != nil {
		return err
	}
	n.slow = max(n.slow, time.Since(began))
	n.engine = compliance.NewEngine(compliance.Options{Profiles: n.profiles, Grace: time.Minute, Restored: restored})
	n.starts++
	n.world.start(n.now / 1e9)
	clean := n.truth.ended()
	effective := strings.Repeat("[[source]]\naddress = \"time-a-g.nist.gov\"\nsite = \"gaithersburg\"\nnist = true\n\n", n.sources)
	hash := strings.Repeat("5e", 32)
	n.add(&rpc.JournalEntry{What: &rpc.JournalEntry_Started{Started: &rpc.Started{Version: version, Node: "year", Mode: "virtual", ConfigHash: hash, Clean: clean}}})
	configured := &rpc.Configured{Who: "start", ConfigHash: hash}
	if n.starts == 1 {
		status := n.journal.Status()
		n.add(&rpc.JournalEntry{What: &rpc.JournalEntry_Key{Key: &rpc.SigningKey{PublicKey: status.Key, Reason: "the journal begins"}}})
		configured.Effective = effective
	}
	n.add(&rpc.JournalEntry{What: &rpc.JournalEntry_Configured{Configured: configured}})
	n.named = n.named[:0]
	for i := range n.world.sources {
		r := &n.world.sources[i].reading
		number, entry := n.engine.SourceNumber(*r)
		if entry != nil {
			n.add(entry)
		}
		r.Number = number
		offset, bound := compliance.SourceSeries(r.Name, r.Address)
		n.named = append(n.named, [2]string{offset, bound})
	}
	return nil
}

// open opens the store, the journal and what writes.
func (n *node) open() (err error) {
	quiet := slog.New(slog.DiscardHandler)
	if n.store, err = store.Open(n.dir, store.Options{Logger: quiet}); err != nil {
		return err
	}
	if n.journal, err = store.OpenJournal(n.store, store.JournalOptions{Logger: quiet}); err != nil {
		return errors.Join(err, n.store.Close())
	}
	n.history = history.New(store.NewHistory(n.store))
	n.recorder = compliance.NewRecorder(compliance.RecorderOptions{
		Chain: n.journal, Now: func() (int64, bool) { return n.now, true }, HandOut: n.handOut, Flush: n.history.Flush, Logger: quiet,
	})
	n.recorder.Keep(n.raw, evidenceKept)
	return nil
}

// handOut keeps a head from when a twentieth of the time has gone.
func (n *node) handOut(h store.JournalHead) {
	if n.early == "" && n.now/1e9 >= n.from+(n.to-n.from)/20 {
		n.early = h.String()
	}
}

// add has entries written.
func (n *node) add(entries ...*rpc.JournalEntry) {
	for _, e := range entries {
		k := compliance.KindOf(e)
		if n.sizes[k] == nil {
			n.sizes[k] = &size{}
		}
		n.sizes[k].entries++
		n.sizes[k].bytes += uint64(proto.Size(e))
		n.recorder.Add(n.now, e)
	}
}

// second takes in a second.
func (n *node) second(at int64) {
	s := n.world.look(at)
	n.now = s.Unix
	s.RawSequence = n.journal.Tip(store.Raw).Sequence
	for _, e := range n.world.polled {
		n.add(e)
		n.engine.Measured(n.now, e.GetMeasured())
	}
	out := n.engine.Step(s)
	n.add(out.Entries...)
	for _, e := range out.Entries {
		if b := e.GetBreach(); b != nil && b.EndUnixNs != 0 && b.Id%2 == 0 {
			n.acknowledge(b.Id)
		}
	}
	n.add(n.alarm.update(n.now, out.Conditions, n.channels)...)
	n.truth.look(&s, out.Entries)
	if at >= n.to-int64(n.charts/time.Second) {
		n.history.Observe(at, n.charted(&s))
	}
}

// acknowledge puts a note to a breach on record.
func (n *node) acknowledge(id uint64) {
	entry, _, err := n.engine.Acknowledge(id, "operator", "the uplink was congested; see ticket 4711", n.now)
	if err == nil {
		n.add(entry)
	}
}

// charted is what charts are drawn of, as the daemon gives it.
func (n *node) charted(s *compliance.Second) []history.Value {
	list := n.values[:0]
	add := func(name string, value float64) { list = append(list, history.Value{Name: name, Value: value}) }
	if s.Served.Claims {
		add(compliance.SeriesBound, s.Served.Bound.Seconds())
		add(compliance.SeriesOffset, s.Served.Offset.Seconds())
	}
	add(compliance.SeriesFrequency, s.FrequencyPPM)
	for i := range s.Sources {
		if source := &s.Sources[i]; source.Measured {
			add(n.named[i][0], source.Offset.Seconds())
			add(n.named[i][1], source.RootDistance.Seconds())
		}
	}
	busy := 100 + 10*s.SlewPPM
	add(compliance.SeriesLead, busy/1e9)
	add(compliance.SeriesCeiling, busy/1e2)
	add(compliance.SeriesIssued, busy)
	add(compliance.SeriesEvents, busy)
	for _, v := range n.verdicts {
		add(v, busy)
	}
	add(compliance.SeriesClients, float64(int(busy)))
	n.values = list
	return list
}

// flush writes what waits.
func (n *node) flush() error {
	if err := n.recorder.Write(); err != nil {
		return err
	}
	n.truth.written()
	return nil
}

// stop stops the node in order.
func (n *node) stop(cause string) error {
	n.add(n.engine.Stop()...)
	n.add(&rpc.JournalEntry{What: &rpc.JournalEntry_Stopped{Stopped: &rpc.Stopped{Cause: cause}}})
	n.truth.stop()
	if err := n.flush(); err != nil {
		return err
	}
	return n.store.Close()
}

// kill ends the node as a crash would: what was not written is lost.
func (n *node) kill() error {
	n.truth.crash()
	return n.store.Close()
}

// run drives the node through the whole time, and stops it.
func (n *node) run() error {
	n.now = n.from * 1e9
	if err := n.start(); err != nil {
		return err
	}
	trouble := n.world.trouble
	for at := n.from; at < n.to; at++ {
		n.second(at)
		if at%n.write == n.write-1 {
			if err := n.flush(); err != nil {
				return err
			}
		}
		if at%86400 == 0 {
			n.add(tests(n.now, n.channels)...)
			n.told(float64(at-n.from) / float64(n.to-n.from))
		}
		for len(trouble) > 0 && trouble[0].from <= at {
			e := trouble[0]
			trouble = trouble[1:]
			if e.to <= at || e.to >= n.to {
				continue
			}
			var err error
			switch e.kind {
			case restart:
				err = n.stop("stopped")
			case crash:
				err = n.kill()
			case pause:
			default:
				continue
			}
			if err != nil {
				return err
			}
			at = e.to - 1
			n.now = e.to * 1e9
			if e.kind != pause {
				if err := n.start(); err != nil {
					return err
				}
			}
		}
	}
	return n.stop("the year is over")
}

// alarms makes of the conditions that stand what the alerts put on record.
type alarms struct {
	standing map[string]*rpc.Alarmed
	last     map[string]int64
	count    int
}

// away is for how long a condition must not stand for its alarm to be over.
const away = 30 * time.Second

func (a *alarms) update(now int64, conditions []alert.Condition, channels []string) (entries []*rpc.JournalEntry) {
	tell := func(m *rpc.Alarmed) {
		entries = append(entries, &rpc.JournalEntry{What: &rpc.JournalEntry_Alarm{Alarm: m}})
		for _, c := range channels {
			entries = append(entries, delivered(c, fmt.Sprintf("%s-%t", m.Id, m.Resolved), m.Id))
		}
	}
	for _, c := range conditions {
		key := c.Name + c.Labels["profile"] + c.Labels["clock"] + c.Labels["source"]
		a.last[key] = now
		if a.standing[key] != nil {
			continue
		}
		a.count++
		severity := "warning"
		if c.Critical {
			severity = "critical"
		}
		m := &rpc.Alarmed{Id: fmt.Sprintf("%032x", a.count), Name: c.Name, Labels: c.Labels, Severity: severity, Sentence: c.Sentence, SinceUnixNs: now}
		a.standing[key] = m
		tell(m)
	}
	for key, m := range a.standing {
		if now-a.last[key] > int64(away) {
			over := proto.CloneOf(m)
			over.Resolved = true
			tell(over)
			delete(a.standing, key)
		}
	}
	return entries
}

func delivered(channel, message, alarm string) *rpc.JournalEntry {
	return &rpc.JournalEntry{What: &rpc.JournalEntry_Delivery{Delivery: &rpc.Delivered{
		Message: message, Channel: channel, Alarm: alarm, Taken: true, Attempts: 1,
	}}}
}

// tests are the daily tests of the channels.
func tests(now int64, channels []string) (entries []*rpc.JournalEntry) {
	for _, c := range channels {
		entries = append(entries, delivered(c, fmt.Sprintf("test-%d", now), ""))
	}
	return entries
}
