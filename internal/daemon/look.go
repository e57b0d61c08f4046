package daemon

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/api"
	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/compliance"
	"github.com/truechimer/truechimer/internal/history"
	"github.com/truechimer/truechimer/internal/leap"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/upstream"
	"github.com/truechimer/truechimer/ntpserver"
	"github.com/truechimer/truechimer/store"
)

// second is a look at the clocks in the words of those who judge it, its step apart.
func (e *evidence) second(s *clock.Snapshot, j *judged, mono time.Duration) compliance.Second {
	utc := s.UTC(mono)
	second := compliance.Second{
		Unix:         max(utc, 0),
		Served:       reading(&s.Judgement, s.ErrorBound(mono)),
		System:       reading(&s.System, s.SystemErrorBound(mono)),
		Same:         s.Mode != clock.Virtual,
		FrequencyPPM: s.FrequencyPPM,
		SlewPPM:      j.slewPPM,
		Smeared:      leap.SmoothOf(s, mono).Unabsorbed != 0,
		RawSequence:  e.journal.Tip(store.Raw).Sequence,
	}
	second.TAIOffset, second.TAIKnown = e.keeper.keeping.scale.Table().Offset(utc)
	for _, source := range tellSources(e.keeper.poller.Status(), j, e.keeper.keeping.scale, s, mono) {
		second.Sources = append(second.Sources, e.sourceReading(&source))
	}
	return second
}

// reading is what is claimed of a clock.
func reading(j *clock.Judgement, bound time.Duration) compliance.Reading {
	return compliance.Reading{
		Bound: bound, Offset: j.ResidualOffset, Claims: j.State != clock.Unsynchronised, Holdover: j.State == clock.Holdover,
		State: j.State.String(), Reason: j.Reason, Source: j.Source, Stratum: int(j.Stratum),
	}
}

func (e *evidence) sourceReading(s *api.Source) compliance.SourceReading {
	r := compliance.SourceReading{
		Name: s.Name, Address: s.Address, Site: s.Site, NIST: s.NIST,
		Agrees: s.Status.Agrees(), Status: api.StatusWord(s.Status), Reachable: s.Reach != 0, Measured: s.Samples > 0,
		Offset: s.Offset, RootDistance: s.RootDistance, ProviderError: s.ProviderError,
	}
	if s.Address != "" {
		number, named := e.engine.SourceNumber(r)
		if named != nil {
			e.recorder.Add(e.unix(), named)
		}
		r.Number = number
	}
	return r
}

// measuredEntry is a measurement as it is kept.
func measuredEntry(source uint32, m *upstream.Measurement) *rpc.JournalEntry {
	return &rpc.JournalEntry{What: &rpc.JournalEntry_Measured{Measured: &rpc.Measured{
		Source: source,
		Origin: uint64(m.Sample.Origin), Receive: uint64(m.Sample.Receive), Transmit: uint64(m.Sample.Transmit), Destination: uint64(m.Sample.Destination),
		OffsetNs: m.Offset().Nanoseconds(), DelayNs: nonNegative(m.Delay()), BoundNs: nonNegative(m.ErrorBound()),
		RootDelayNs: nonNegative(m.Header.RootDelay.Duration()), RootDispersionNs: nonNegative(m.Header.RootDispersion.Duration()),
		Stratum: uint32(m.Header.Stratum), Refid: uint32(m.Header.RefID), Leap: uint32(m.Header.Leap),
		Stamped: m.Stamped && m.Departed, Interleaved: m.Interleaved,
	}}}
}

func nonNegative(d time.Duration) uint64 { return uint64(max(d, 0)) }

// rates makes rates of counts that only grow. The zero rates know of none.
type rates struct {
	mono   time.Duration
	counts map[string]uint64
}

// of returns how fast counts have grown since the last call, per second.
func (r *rates) of(mono time.Duration, counts map[string]uint64) map[string]float64 {
	rates := make(map[string]float64, len(counts))
	if took := (mono - r.mono).Seconds(); r.counts != nil && took > 0 {
		for name, n := range counts {
			if before, ok := r.counts[name]; ok && n >= before {
				rates[name] = float64(n-before) / took
			}
		}
	}
	r.mono, r.counts = mono, counts
	return rates
}

// values are what charts are drawn of.
func (e *evidence) values(s *clock.Snapshot, second *compliance.Second, mono time.Duration) []history.Value {
	var list []history.Value
	add := func(name string, value float64) { list = append(list, history.Value{Name: name, Value: value}) }
	if s.Claims() {
		add(compliance.SeriesBound, second.Served.Bound.Seconds())
		add(compliance.SeriesOffset, second.Served.Offset.Seconds())
	}
	add(compliance.SeriesFrequency, s.FrequencyPPM)
	for i := range second.Sources {
		if source := &second.Sources[i]; source.Measured && source.Address != "" {
			offset, bound := compliance.SourceSeries(source.Name, source.Address)
			add(offset, source.Offset.Seconds())
			add(bound, source.RootDistance.Seconds())
		}
	}
	issuer, streams, ntp := e.issuer.Status(), e.streams.Status(), e.counts()
	if issuer.Started {
		add(compliance.SeriesLead, issuer.Lead.Seconds())
		add(compliance.SeriesCeiling, issuer.Ceiling.Sub(max(issuer.Last, hlc.FromUnix(e.keeper.physical.Now()))).Seconds())
	}
	counts := map[string]uint64{compliance.SeriesIssued: e.issued(), compliance.SeriesEvents: streams.Events}
	for _, v := range ntpserver.Verdicts() {
		counts[compliance.VerdictSeries(v.String())] = ntp.Verdicts[v]
	}
	for name, rate := range e.rates.of(mono, counts) {
		add(name, rate)
	}
	add(compliance.SeriesClients, float64(e.clients.Load()))
	return list
}

// clientsEvery is how often the clients of the NTP server are counted, and listed.
const clientsEvery = 10 * time.Second

// askers tells when an address asked this node last over NTP, as of the last read. Its methods may be
// called concurrently.
type askers struct {
	clients func() []ntpserver.Client
	last    atomic.Pointer[map[netip.Addr]int64] // Unix nanoseconds
}

func newAskers(clients func() []ntpserver.Client) *askers {
	a := &askers{clients: clients}
	a.last.Store(new(map[netip.Addr]int64))
	return a
}

// read lists the clients anew.
func (a *askers) read() {
	list := a.clients()
	last := make(map[netip.Addr]int64, len(list))
	for _, c := range list {
		last[c.Addr.Unmap()] = c.Last.UnixNano()
	}
	a.last.Store(&last)
}

// when returns when an address asked last, Unix nanoseconds; false: not that we remember.
func (a *askers) when(addr netip.Addr) (unix int64, ok bool) {
	unix, ok = (*a.last.Load())[addr.Unmap()]
	return unix, ok
}
