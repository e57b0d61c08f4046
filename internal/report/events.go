package report

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/truechimer/truechimer/internal/compliance"
	"github.com/truechimer/truechimer/internal/ntp"
	"github.com/truechimer/truechimer/internal/rpc"
)

// Limits on what is kept while reading.
const (
	standingMax = 20_000  // breaches, and alarms
	namedMax    = 100_000 // numbers of sources
	turnsMax    = 100_000 // starts, stops and steps, which explain gaps
	channelsMax = 1000
)

// events gathers what happened in a time, besides the summaries.
type events struct {
	profile  string
	from, to int64 // Unix seconds

	lists     Report // of which only lists and counts are used
	before    *Start // the last start before the period
	named     map[uint32]*rpc.SourceNamed
	said      map[any]uint64 // sequence of the last word on a breach, an alarm or a source, by its number or id
	breaches  map[uint64]*rpc.Breach
	alarms    map[string]*rpc.Alarmed
	ended     map[string]int64 // when alarms were over, Unix nanoseconds
	left      struct{ breaches, alarms int }
	channels  map[string]*Channel
	turns     []turn
	sequences span
}

// turn is a start, a stop or a step.
type turn struct {
	at   int64 // Unix seconds
	kind compliance.Kind
	fine bool // a start after an orderly stop
	text string
}

func newEvents(profile string, from, to int64) *events {
	return &events{
		profile: profile, from: from, to: to,
		said: map[any]uint64{}, named: map[uint32]*rpc.SourceNamed{}, breaches: map[uint64]*rpc.Breach{},
		alarms: map[string]*rpc.Alarmed{}, ended: map[string]int64{}, channels: map[string]*Channel{},
	}
}

// read reads what happened. Breaches and alarms stand for longer than a report may be, and are
// acknowledged after it: they are read from the first to the latest, until, Unix nanoseconds.
func (e *events) read(ctx context.Context, j compliance.Journal, until int64) error {
	second := int64(time.Second)
	visit := func(r compliance.Record) error {
		e.visit(r)
		return ctx.Err()
	}
	standing := []compliance.Kind{compliance.KindBreach, compliance.KindAlarm}
	if err := j.Find(ctx, 0, until, standing, visit); err != nil {
		return err
	}
	named := []compliance.Kind{compliance.KindSource, compliance.KindStarted}
	if err := j.Find(ctx, 0, (e.to+near)*second, named, visit); err != nil {
		return err
	}
	rest := []compliance.Kind{
		compliance.KindStopped, compliance.KindConfigured, compliance.KindClock, compliance.KindDelivery,
		compliance.KindPreOpen, compliance.KindOperation, compliance.KindKey,
	}
	return j.Find(ctx, (e.from-near)*second, e.to*second, rest, visit)
}

func (e *events) visit(r compliance.Record) {
	at := time.Unix(0, r.Unix).UTC()
	within := at.Unix() >= e.from && at.Unix() < e.to
	if within {
		e.sequences.add(r.Sequence)
	}
	entry := r.Entry
	switch kind := compliance.KindOf(entry); kind {
	case compliance.KindBreach:
		if b := entry.GetBreach(); e.newest(b.Id, r.Sequence) {
			e.breach(b)
		}
	case compliance.KindAlarm:
		if a := entry.GetAlarm(); e.newest(a.Id, r.Sequence) {
			e.alarm(r.Unix, a)
		}
	case compliance.KindSource:
		s := entry.GetSource()
		if e.newest(s.Number, r.Sequence) && (len(e.named) < namedMax || e.named[s.Number] != nil) {
			e.named[s.Number] = s
		}
	case compliance.KindStarted:
		e.started(at, within, entry.GetStarted())
	case compliance.KindStopped:
		e.turn(turn{at: at.Unix(), kind: kind, text: entry.GetStopped().Cause})
		if within {
			e.lists.Stops.add(Stop{At: at, Cause: entry.GetStopped().Cause}, eventsMax)
		}
	case compliance.KindClock:
		e.changed(at, within, entry.GetClock())
	default:
		if within {
			e.happened(at, entry)
		}
	}
}

// newest reports whether nothing newer was said of what has an id. Entries come by their time, and
// a clock that was set back turns that round: the last word is that of the highest sequence.
func (e *events) newest(id any, sequence uint64) bool {
	if sequence < e.said[id] {
		return false
	}
	e.said[id] = sequence
	return true
}

func (e *events) turn(t turn) {
	if t.at >= e.from-near && len(e.turns) < turnsMax {
		e.turns = append(e.turns, t)
	}
}

func (e *events) started(at time.Time, within bool, s *rpc.Started) {
	e.turn(turn{at: at.Unix(), kind: compliance.KindStarted, fine: s.Clean})
	start := Start{At: at, Version: s.Version, Node: s.Node, Mode: s.Mode, Clean: s.Clean, Hash: s.ConfigHash}
	switch {
	case within:
		e.lists.Versions.add(start, eventsMax)
	case at.Unix() < e.from:
		e.before = &start
	}
}

func (e *events) changed(at time.Time, within bool, c *rpc.ClockChanged) {
	if c.StepNs != 0 {
		e.turn(turn{at: at.Unix(), kind: compliance.KindClock, text: signed(Nanoseconds(c.StepNs))})
	}
	if within {
		e.lists.Changes.add(Change{
			At: at, From: c.From, State: c.State, Reason: c.Reason, Source: c.Source, Stratum: c.Stratum, Step: Nanoseconds(c.StepNs),
		}, eventsMax)
	}
}

// happened takes what concerns an instant only.
func (e *events) happened(at time.Time, entry *rpc.JournalEntry) {
	r := &e.lists
	switch compliance.KindOf(entry) {
	case compliance.KindConfigured:
		c := entry.GetConfigured()
		for _, k := range c.Changes {
			r.Configs.add(Config{At: at, Who: c.Who, Key: k.Key, Old: k.Old, New: k.New, Waits: k.Waits, Hash: c.ConfigHash}, eventsMax)
		}
		if len(c.Changes) == 0 {
			r.Configs.add(Config{At: at, Who: c.Who, Hash: c.ConfigHash}, eventsMax)
		}
	case compliance.KindDelivery:
		e.delivered(at, entry.GetDelivery())
	case compliance.KindPreOpen:
		e.preOpen(at, entry.GetPreOpen())
	case compliance.KindOperation:
		o := entry.GetOperation()
		r.Operated.add(Act{At: at, Who: o.Who, What: o.What, Result: o.Result}, eventsMax)
	case compliance.KindKey:
		k := entry.GetKey()
		r.Journal.Keys.add(Key{At: at, PublicKey: hex.EncodeToString(k.PublicKey), Reason: k.Reason}, eventsMax)
	}
}

func (e *events) preOpen(at time.Time, p *rpc.PreOpen) {
	if p.Profile != e.profile {
		return
	}
	if p.Passed {
		e.lists.Overall.PreOpenPassed++
	} else {
		e.lists.Overall.PreOpenFailed++
	}
	e.lists.PreOpens.add(Day{
		Day: p.Day, At: at, Passed: p.Passed, Sentence: p.Sentence,
		Bound: Nanoseconds(p.BoundNs), Agreeing: p.Agreeing, AgreeingNIST: p.AgreeingNist,
	}, periodDaysMax)
}

// periodDaysMax is how many days a period has at the most: no check is left out.
const periodDaysMax = int(periodMax / (24 * time.Hour))

func (e *events) delivered(at time.Time, d *rpc.Delivered) {
	c := e.channels[d.Channel]
	if c == nil {
		if len(e.channels) >= channelsMax {
			return
		}
		c = &Channel{Name: d.Channel}
		e.channels[d.Channel] = c
	}
	switch {
	case d.Alarm == "" && d.Taken:
		c.Tests++
		c.LastTest = &at
	case d.Alarm == "":
		c.TestsFailed++
	case d.Taken:
		c.Told++
	default:
		c.ToldFailed++
	}
	if d.Fault != "" {
		c.Fault = d.Fault
	}
}

// breach keeps the last word on each breach that touches the time.
func (e *events) breach(b *rpc.Breach) {
	if b.Profile != e.profile {
		return
	}
	second := int64(time.Second)
	if b.StartUnixNs >= e.to*second || b.EndUnixNs != 0 && b.EndUnixNs <= e.from*second {
		delete(e.breaches, b.Id)
		return
	}
	if _, known := e.breaches[b.Id]; !known && len(e.breaches) >= standingMax {
		e.left.breaches++
		return
	}
	e.breaches[b.Id] = b
}

// alarm keeps the alarms that touch the time.
func (e *events) alarm(unix int64, a *rpc.Alarmed) {
	if p := a.Labels["profile"]; p != "" && p != e.profile {
		return
	}
	second := int64(time.Second)
	switch {
	case a.SinceUnixNs >= e.to*second:
	case a.Resolved && unix <= e.from*second:
		delete(e.alarms, a.Id)
	case e.alarms[a.Id] == nil && len(e.alarms) >= standingMax:
		e.left.alarms++
	default:
		e.alarms[a.Id] = a
		delete(e.ended, a.Id)
		if a.Resolved {
			e.ended[a.Id] = unix
		}
	}
}

// near is how far from a gap what explains it may be, seconds.
const near = minute / 2

// cause explains a gap by the starts, stops and steps around it.
func (e *events) cause(g Gap) string {
	from, to := g.From.Unix(), g.To.Unix()
	var crash, rest, step bool
	cause := ""
	for _, t := range e.turns {
		switch {
		case t.at < from-near || t.at > to+near:
		case t.kind == compliance.KindStarted:
			crash, rest = crash || !t.fine, rest || t.fine
		case t.kind == compliance.KindStopped:
			rest, cause = true, ": "+t.text
		case t.kind == compliance.KindClock:
			step = true
			if !rest {
				cause = t.text
			}
		}
	}
	switch {
	case crash:
		return "the node crashed, was killed, or lost its power"
	case rest:
		return "the node was stopped in order" + cause
	case step:
		return "the clock was stepped by " + cause
	}
	return "not on record"
}

// report writes what happened into a report.
func (e *events) report(r *Report) {
	lists := &e.lists
	r.Changes, r.Configs, r.Stops, r.Operated, r.PreOpens = lists.Changes, lists.Configs, lists.Stops, lists.Operated, lists.PreOpens
	r.Overall.PreOpenPassed, r.Overall.PreOpenFailed = lists.Overall.PreOpenPassed, lists.Overall.PreOpenFailed
	r.Journal.Keys = lists.Journal.Keys
	if e.before != nil {
		r.Versions.add(*e.before, eventsMax)
	}
	for _, s := range lists.Versions.Items {
		r.Versions.add(s, eventsMax)
	}
	r.Versions.Total += lists.Versions.Left()
	for _, id := range slices.Sorted(maps.Keys(e.breaches)) {
		b := e.breaches[id]
		if b.SelfReport {
			r.Overall.SelfReports++
		}
		if b.AcknowledgedUnixNs == 0 {
			r.Overall.Unacknowledged++
		}
		r.Breaches.add(breachOf(b), eventsMax)
	}
	r.Breaches.Total += e.left.breaches
	for _, a := range e.alarms {
		r.Alarms.add(alarmOf(a, e.ended[a.Id]), standingMax)
	}
	slices.SortFunc(r.Alarms.Items, func(a, b Alarm) int {
		return cmp.Or(a.From.Compare(b.From), cmp.Compare(a.Name, b.Name), cmp.Compare(labels(a.Labels), labels(b.Labels)))
	})
	r.Alarms.Items = r.Alarms.Items[:min(len(r.Alarms.Items), eventsMax)]
	r.Alarms.Total += e.left.alarms
	r.Channels = []Channel{}
	for _, name := range slices.Sorted(maps.Keys(e.channels)) {
		r.Channels = append(r.Channels, *e.channels[name])
	}
}

func alarmOf(a *rpc.Alarmed, ended int64) Alarm {
	return Alarm{
		Name: a.Name, Labels: a.Labels, Severity: a.Severity, Sentence: a.Sentence,
		From: time.Unix(0, a.SinceUnixNs).UTC(), To: instant(ended),
	}
}

func breachOf(b *rpc.Breach) Breach {
	return Breach{
		ID: b.Id, Clock: clockName(b.Clock), From: time.Unix(0, b.StartUnixNs).UTC(), To: instant(b.EndUnixNs),
		Worst: verdictName(b.Worst), Peak: Nanoseconds(b.PeakNs), PeakOffset: Nanoseconds(b.PeakOffsetNs),
		Tolerance: Nanoseconds(b.ToleranceNs), Cause: b.Cause, Sources: append([]string{}, b.Sources...), Told: append([]string{}, b.Told...),
		AcknowledgedBy: b.AcknowledgedBy, Acknowledged: instant(b.AcknowledgedUnixNs), Note: b.Note,
		In24h: b.In_24H, SelfReport: b.SelfReport,
	}
}

// instant returns the instant of Unix nanoseconds, nil for 0.
func instant(unix int64) *time.Time {
	if unix == 0 {
		return nil
	}
	t := time.Unix(0, unix).UTC()
	return &t
}

func clockName(c rpc.JudgedClock) string {
	switch c {
	case rpc.JudgedClock_JUDGED_CLOCK_SYSTEM:
		return "system"
	case rpc.JudgedClock_JUDGED_CLOCK_SERVED:
		return "served"
	}
	return ""
}

func verdictName(v rpc.Verdict) string {
	switch v {
	case rpc.Verdict_VERDICT_OK:
		return "OK"
	case rpc.Verdict_VERDICT_WARN:
		return "WARN"
	case rpc.Verdict_VERDICT_BREACH:
		return "BREACH"
	case rpc.Verdict_VERDICT_UNKNOWN:
		return "UNKNOWN"
	}
	return ""
}

// sourceList joins the figures of the sources with their names, NIST's first.
func (e *events) sourceList(f *figures) List[Source] {
	list := List[Source]{Items: []Source{}, Total: f.crowded}
	for number, t := range f.sources {
		n := e.named[number]
		if n == nil {
			n = &rpc.SourceNamed{Name: fmt.Sprintf("source %d, whose name is not on record", number)}
		}
		s := Source{
			Number: number, Name: n.Name, Address: n.Address, Site: n.Site, NIST: n.Nist, ProviderError: Nanoseconds(n.ProviderErrorNs),
			Measured: uint64(t.measured), Agreed: t.agreed,
			OffsetMin: Nanoseconds(t.offset.Min), OffsetMax: Nanoseconds(t.offset.Max), OffsetMean: t.offset.Mean(), OffsetSD: t.offset.SD(),
			DelayMin: Nanoseconds(t.delay.Min), DelayMean: t.delay.Mean(),
		}
		if t.measured > 0 {
			s.Stratum, s.RefID = t.stratum, ntp.RefID(t.refID).Text(uint8(min(t.stratum, math.MaxUint8)))
		}
		if f.asked > 0 {
			s.AgreedShare = float64(t.agreed) / float64(f.asked)
		}
		list.add(s, sourcesMax)
	}
	slices.SortFunc(list.Items, func(a, b Source) int {
		nist := func(s Source) int {
			if s.NIST {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(nist(a), nist(b)), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Number, b.Number))
	})
	return list
}
