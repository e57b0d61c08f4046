package daemon

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/truechimer/truechimer/internal/alert"
	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/compliance"
	"github.com/truechimer/truechimer/internal/config"
	"github.com/truechimer/truechimer/internal/fleet"
	"github.com/truechimer/truechimer/internal/history"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/upstream"
	"github.com/truechimer/truechimer/ntpserver"
	"github.com/truechimer/truechimer/store"
)

const (
	// grace is how long after the start nothing is alarming about a clock that is not
	// synchronised yet.
	grace = 60 * time.Second
	// alarmsBack is how far the journal is read for alarms that still stand, or channels that were
	// not told yet.
	alarmsBack = 30 * 24 * time.Hour
	// alarmsKnown is how many alarms are remembered so as to tell a breach who was told of it.
	alarmsKnown = 1024
)

// evidence judges what the clock loop sees, keeps it in the journal, and tells those who are to
// know. The clock loop calls it each second and waits for nothing that it does.
type evidence struct {
	log     *slog.Logger
	version string
	keeper  *timekeeper
	issuer  *store.Issuer
	streams *store.Streams
	counts  func() ntpserver.Counts
	issued  func() uint64 // timestamps, to callers of the API

	remembered func() int   // clients of the NTP server; it walks over all of its memory
	clients    atomic.Int64 // as many, some seconds ago

	store    *store.Store
	journal  *store.Journal
	recorder *compliance.Recorder
	heads    *compliance.HeadFile
	engine   *compliance.Engine
	alerts   *alert.Manager
	hosts    *fleet.Prober
	history  *history.Recorder

	config atomic.Pointer[config.Config]
	asked  *askers
	wrong  atomic.Pointer[[]alert.Condition] // of the hosts; their prober is asked once a second

	// Of the clock loop.
	rates rates
	seen  seen

	mu     sync.Mutex
	alarms map[string]*rpc.Alarmed // the latest, by their ids
	order  []string                // of alarms, the oldest first
	cause  string                  // why the node stops
}

// seen is the last look that was judged.
type seen struct {
	any        bool
	mono       time.Duration
	step       time.Duration // of the clock, since
	conditions []alert.Condition
}

// looksApart is how far two looks are apart at the least that count as a second each. The clock
// loop looks once a second, give or take what the scheduler does, and besides when something is set.
const looksApart = pollInterval / 2

// openEvidence opens the journal and goes on where it ends. Nothing is written before run.
func (d *Daemon) openEvidence(c *config.Config) (err error) {
	e := &evidence{
		log: d.log, version: d.version, keeper: d.keeper, issuer: d.issuer, streams: d.streams, store: d.store,
		counts: d.ntp.Counts,
		issued: d.api.Issued,

		remembered: d.ntp.Remembered,
		history:    history.New(store.NewHistory(d.store)),
		heads:      compliance.NewHeadFile(c.Journal.HeadFile, d.log),
		asked:      newAskers(func() []ntpserver.Client { return d.ntp.Clients(clientsMax) }),
		alarms:     make(map[string]*rpc.Alarmed),
		cause:      "stopped",
	}
	e.config.Store(c)
	e.wrong.Store(new([]alert.Condition))
	// Streams stop at the reserve; what that is evidence of needs some of it.
	if e.journal, err = store.OpenJournal(d.store, store.JournalOptions{Reserve: c.Store.Reserve / 2, Logger: d.log}); err != nil {
		return err
	}
	e.recorder = compliance.NewRecorder(compliance.RecorderOptions{
		Chain: e.journal, Now: e.now, HandOut: e.handOut, Flush: e.history.Flush, Logger: d.log,
	})
	e.recorder.Keep(keptOf(c))
	ctx := context.Background()
	restored, err := compliance.Restore(ctx, e.recorder, e.unix())
	if err != nil {
		return fmt.Errorf("read the journal: %w; truechimer journal verify --data %s tells what is wrong with it", err, c.Node.DataDir)
	}
	e.engine = compliance.NewEngine(compliance.Options{
		Profiles: profilesOf(c), Deviation: c.Clock.SourceDeviation, Grace: grace, Restored: restored,
	})
	e.alerts, err = alert.New(alert.Options{
		Node: c.Node.Name, Channels: channelsOf(c), Journal: e.told, Head: e.recorder.Head, Logger: d.log,
	}, e.restoreAlerts(ctx))
	if err != nil {
		return err
	}
	e.hosts, err = fleet.New(fleet.Options{
		Groups: c.Groups(), Clock: e.claim, Journal: e.probed, Asked: e.asked.when,
	})
	if err != nil {
		return err
	}
	if err := e.started(c); err != nil {
		return err
	}
	d.keeper.observe, d.keeper.alert = e.observe, e.alerts.Update
	d.evidence = e
	return nil
}

// restoreAlerts reads from the journal what stood when the node stopped. It goes by when that was on
// record, not by the clock, which may be years off at a start; and by the order in which it was
// written, since a clock may have been set back.
func (e *evidence) restoreAlerts(ctx context.Context) alert.Restored {
	since := max(0, e.journal.Tip(store.Evidence).Unix-int64(alarmsBack))
	var records []compliance.Record
	err := e.recorder.Find(ctx, since, maxUnix, []compliance.Kind{compliance.KindAlarm, compliance.KindDelivery}, func(r compliance.Record) error {
		records = append(records, r)
		return nil
	})
	if err != nil {
		e.log.Error("alarms of before the start not read", "err", err)
	}
	slices.SortFunc(records, func(a, b compliance.Record) int { return cmp.Compare(a.Sequence, b.Sequence) })
	return alert.Restore(func(yield func(int64, *rpc.JournalEntry) bool) {
		for _, r := range records {
			e.remember(r.Entry.GetAlarm())
			if !yield(r.Unix, r.Entry) {
				return
			}
		}
	})
}

// errEnough ends a search in the journal.
var errEnough = errors.New("enough")

// started puts the start on record, and the configuration where it is not that of the record
// before.
func (e *evidence) started(c *config.Config) error {
	effective := c.Journalled()
	hash := configHash(c)
	start := &rpc.Started{Version: e.version, Node: c.Node.Name, Mode: c.Clock.Mode, ConfigHash: hash, Clean: true}
	before, ok, err := e.last(compliance.KindStarted, compliance.KindStopped)
	if err != nil {
		return err
	}
	start.Clean = !ok || before.GetStopped() != nil
	now := e.unix()
	e.recorder.Add(now, &rpc.JournalEntry{What: &rpc.JournalEntry_Started{Started: start}})
	status := e.journal.Status()
	if status.KeyCreated {
		reason := "the journal begins"
		if ok {
			reason = "there was no key in the data directory: it was restored from a backup, or the key was removed"
		}
		e.recorder.Add(now, &rpc.JournalEntry{What: &rpc.JournalEntry_Key{Key: &rpc.SigningKey{PublicKey: status.Key, Reason: reason}}})
	}
	configured := &rpc.Configured{Who: "start", ConfigHash: hash}
	if before, err := e.configBefore(); err != nil {
		return err
	} else if before != hash {
		configured.Effective = effective
	}
	e.recorder.Add(now, configuredEntry(configured))
	return nil
}

// configuredLenMax is the longest configuration that is put on record as text, and what changed in one
// too, bytes: both fit into a record.
const configuredLenMax = store.JournalPayloadLenMax / 5 * 2

// configuredEntry is a configuration as it is put on record. One at its limits would be longer than a
// record: of that there is the hash, and what changed as far as it fits.
func configuredEntry(c *rpc.Configured) *rpc.JournalEntry {
	if len(c.Effective) > configuredLenMax {
		c.Effective = ""
	}
	length := 0
	for i, change := range c.Changes {
		if length += proto.Size(change); length > configuredLenMax {
			c.Changes = c.Changes[:i]
			break
		}
	}
	return &rpc.JournalEntry{What: &rpc.JournalEntry_Configured{Configured: c}}
}

// configBefore returns the hash of the configuration that is on record; empty: none is.
func (e *evidence) configBefore() (hash string, err error) {
	entry, _, err := e.last(compliance.KindConfigured)
	return entry.GetConfigured().GetConfigHash(), err
}

// last returns the entry of some kinds that was written last; ok is false where there is none.
func (e *evidence) last(kinds ...compliance.Kind) (entry *rpc.JournalEntry, ok bool, err error) {
	var latest store.JournalRecord
	for _, k := range kinds {
		r, found, err := e.journal.Last(uint8(k))
		if err != nil {
			return nil, false, err
		}
		if found && r.Sequence > latest.Sequence {
			latest, ok = r, true
		}
	}
	if !ok {
		return nil, false, nil
	}
	entry, err = compliance.Decode(latest)
	return entry, err == nil, err
}

// configHash is of all that the file says, what is not put on record too.
func configHash(c *config.Config) string {
	sum := sha256.Sum256([]byte(c.TOML()))
	return hex.EncodeToString(sum[:])
}

// run writes, tells and asks until ctx ends, and puts the stop on record. What is seen after that
// is on record no more.
func (e *evidence) run(ctx context.Context) error {
	recording, stop := context.WithCancel(context.Background())
	defer stop()
	var recorder, others sync.WaitGroup
	var failed error
	recorder.Go(func() { failed = e.recorder.Run(recording) })
	go e.heads.Run(recording) // nobody waits for it: the file may be on a machine that is gone
	others.Go(func() { e.alerts.Run(ctx) })
	others.Go(func() { e.hosts.Run(ctx) })
	others.Go(func() { e.look(ctx) })
	others.Wait()
	now := e.unix()
	e.recorder.Add(now, e.engine.Stop()...)
	e.mu.Lock()
	cause := e.cause
	e.mu.Unlock()
	e.recorder.Add(now, &rpc.JournalEntry{What: &rpc.JournalEntry_Stopped{Stopped: &rpc.Stopped{Cause: cause}}})
	stop()
	recorder.Wait()
	if errors.Is(failed, store.ErrFenced) || errors.Is(failed, store.ErrClosed) {
		return nil // it is said elsewhere
	}
	return failed
}

// look asks for what takes too long for the clock loop: for the hosts once a second, and for the clients of
// the NTP server, of which there can be many, every clientsEvery.
func (e *evidence) look(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for n := 0; ; n++ {
		if n%int(clientsEvery/time.Second) == 0 {
			e.clients.Store(int64(e.remembered()))
			if len(e.config.Load().Monitors) > 0 { // nobody else asks who they are
				e.asked.read()
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		standing := e.hosts.Conditions()
		e.wrong.Store(&standing)
	}
}

// now returns the served time, and whether somebody vouches for it.
func (e *evidence) now() (unix int64, sure bool) {
	s := e.keeper.current()
	return max(s.UTC(e.keeper.system.Mono()), 0), s.Claims()
}

func (e *evidence) unix() int64 {
	unix, _ := e.now()
	return unix
}

// claim returns the served time and its error bound, for who is compared with it.
func (e *evidence) claim() (unix int64, bound time.Duration, ok bool) {
	s, mono := e.keeper.current(), e.keeper.system.Mono()
	return s.UTC(mono), s.ErrorBound(mono), s.Claims()
}

// handOut hands out a head: to the log and a file; metrics and channels ask for it.
func (e *evidence) handOut(h store.JournalHead) {
	line := h.String()
	e.log.Info("journal head", "head", line)
	e.heads.Add(line)
}

// measured puts a measurement on record. The poller asks nobody before Run, when there is evidence.
func (d *Daemon) measured(s upstream.Source, m upstream.Measurement) { d.evidence.measured(s, m) }

// measured puts a measurement on record.
func (e *evidence) measured(s upstream.Source, m upstream.Measurement) {
	number, named := e.engine.SourceNumber(compliance.SourceReading{
		Name: s.Name, Address: m.Server.String(), Site: s.Site, NIST: s.NIST, ProviderError: s.ProviderError,
	})
	now := e.unix()
	if named != nil {
		e.recorder.Add(now, named)
	}
	entry := measuredEntry(number, &m)
	e.recorder.Add(now, entry)
	e.engine.Measured(now, entry.GetMeasured())
}

// probed puts what is seen of the hosts that are observed on record.
func (e *evidence) probed(entry *rpc.JournalEntry) { e.recorder.Add(e.unix(), entry) }

// told puts on record what the alerts do, and in a breach who was told of it.
func (e *evidence) told(entry *rpc.JournalEntry) {
	now := e.unix()
	e.recorder.Add(now, entry)
	e.remember(entry.GetAlarm())
	d := entry.GetDelivery()
	if d == nil || !d.Taken {
		return
	}
	e.mu.Lock()
	a := e.alarms[d.Alarm]
	e.mu.Unlock()
	if a == nil {
		return
	}
	if more := e.engine.Told(a.Labels, a.SinceUnixNs, d.Channel); more != nil {
		e.recorder.Add(now, more)
	}
}

// remember keeps an alarm so that later words of it are understood.
func (e *evidence) remember(a *rpc.Alarmed) {
	if a == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, known := e.alarms[a.Id]; !known {
		if len(e.order) == alarmsKnown {
			delete(e.alarms, e.order[0])
			e.order = e.order[1:]
		}
		e.order = append(e.order, a.Id)
	}
	e.alarms[a.Id] = a
}

// operated puts an operator's decision on record.
func (e *evidence) operated(who, what, result string) {
	e.recorder.Add(e.unix(), &rpc.JournalEntry{What: &rpc.JournalEntry_Operation{Operation: &rpc.Operated{Who: who, What: what, Result: result}}})
}

// observe judges a look at the clock, and returns what is wrong.
func (e *evidence) observe(before, s *clock.Snapshot, j *judged) []alert.Condition {
	mono := s.Mono() // all is of the instant of the snapshot, alarms too
	if before != nil && before.Steps != s.Steps {
		e.seen.step += time.Duration(s.Time.To - before.UTC(mono))
	}
	if e.seen.any && mono-e.seen.mono < looksApart {
		return e.seen.conditions // the clock was set, or the settings were: the second has been judged
	}
	second := e.second(s, j, mono)
	second.Step, e.seen.step = e.seen.step, 0
	out := e.engine.Step(second)
	e.recorder.Add(second.Unix, out.Entries...)
	e.history.Observe(second.Unix/int64(time.Second), e.values(s, &second, mono))
	standing := append(out.Conditions, e.recorder.Conditions(second.Unix)...)
	e.seen.any, e.seen.mono, e.seen.conditions = true, mono, append(standing, *e.wrong.Load()...)
	return e.seen.conditions
}

// reload takes over another configuration, and puts what differs on record.
func (e *evidence) reload(c *config.Config, changes []config.Change) error {
	if err := e.alerts.Set(channelsOf(c)); err != nil {
		return err
	}
	if err := e.hosts.Set(c.Groups()); err != nil {
		return err
	}
	e.engine.Set(profilesOf(c), c.Clock.SourceDeviation)
	e.recorder.Keep(keptOf(c))
	e.heads.Set(c.Journal.HeadFile)
	e.config.Store(c)
	effective := c.Journalled()
	entry := &rpc.Configured{Who: "reload", ConfigHash: configHash(c), Effective: effective}
	for _, change := range changes {
		entry.Changes = append(entry.Changes, &rpc.ConfigChange{Key: change.Key, Old: change.JournalledOld(), New: change.JournalledNew(), Waits: !change.Live})
	}
	e.recorder.Add(e.unix(), configuredEntry(entry))
	return nil
}

// stopsBecause says why the node stops.
func (e *evidence) stopsBecause(cause string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cause = cause
}

// keptOf returns how long the journal is kept.
func keptOf(c *config.Config) (raw, evidence time.Duration) {
	return time.Duration(c.Journal.RawDays) * 24 * time.Hour, c.EvidenceKept()
}

// profilesOf are the profiles of a configuration.
func profilesOf(c *config.Config) []compliance.Profile {
	var list []compliance.Profile
	for i := range c.Profiles {
		list = append(list, c.Profiles[i].Effective())
	}
	return list
}

// channelsOf are the channels of a configuration.
func channelsOf(c *config.Config) []alert.Channel {
	var list []alert.Channel
	for _, a := range c.Alerts {
		list = append(list, alert.Channel{
			Name: a.Name, Type: a.Type, URL: a.URL, TokenFile: a.TokenFile, CAFile: a.CAFile, CriticalOnly: a.CriticalOnly, Heartbeat: a.Heartbeat,
		})
	}
	return list
}
