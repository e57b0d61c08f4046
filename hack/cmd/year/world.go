package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/truechimer/truechimer/internal/compliance"
	"github.com/truechimer/truechimer/internal/ntp"
	"github.com/truechimer/truechimer/internal/rpc"
)

// A world is what a node would see: sources whose offsets, delays and bounds wander, a served
// clock that follows them, and a system clock that is kept by somebody else. It is no simulation
// of the discipline (internal/sim is): it makes values as a node measures them, at their rate.

// episodeKind is what can go wrong.
type episodeKind int

const (
	outage     episodeKind = iota // no source can be reached
	congestion                    // answers take longer, and so the bound is larger, up to beyond 50 ms
	falsetick                     // one source is wrong by 20 ms
	restart                       // the node is stopped in order, and started again
	crash                         // it is killed, and started again
	pause                         // nobody looks at the clocks, as when a machine is moved
	step                          // the served clock is stepped
)

// episode is something that goes wrong for some time, Unix seconds.
type episode struct {
	kind     episodeKind
	from, to int64
	source   int     // of falsetick
	extra    float64 // of congestion: nanoseconds that answers take longer
}

// episodes draws what goes wrong in a time: each kind at least once.
func episodes(r *rand.Rand, from, to int64, sources int) []episode {
	const minute, hour, day = 60, 3600, 86400
	var all []episode
	for _, k := range []struct {
		kind        episodeKind
		every       int64 // one in so many seconds
		least, most int64 // seconds that it takes
	}{
		{outage, 20 * day, 10 * minute, 8 * hour},
		{congestion, 8 * day, 2 * minute, 40 * minute},
		{falsetick, 30 * day, hour, 12 * hour},
		{restart, 14 * day, 15, 3 * minute},
		{crash, 40 * day, 30, 30 * minute},
		{pause, 25 * day, 6, 15 * minute},
		{step, 60 * day, 1, 2},
	} {
		for range max(1, (to-from)/k.every) {
			at := from + 2*hour + r.Int64N(max(1, to-from-4*hour))
			all = append(all, episode{k.kind, at, at + k.least + r.Int64N(k.most-k.least), r.IntN(sources), 2e7 + r.Float64()*1.2e8})
		}
	}
	slices.SortFunc(all, func(a, b episode) int { return int(a.from - b.from) })
	return all
}

const (
	// outageMin is how long no source must be heard before the clock is in holdover, seconds.
	outageMin = 128
	// growth is how fast bounds grow between two answers: 15 ppm. In holdover, when the error of the
	// frequency is known, it is 3 ppm.
	growth         = 15 * time.Microsecond // per second
	growthHoldover = 3 * time.Microsecond
	// settle is for how long after a start nothing is claimed, seconds.
	settle = 20
)

// source is one of those that are asked.
type source struct {
	reading    compliance.SourceReading
	delay      time.Duration // of the path, both ways
	jitter     float64       // nanoseconds, mean of what queues add
	bias       float64       // nanoseconds, by the asymmetry of the path
	rootDelay  ntp.Short
	stratum    uint32
	refid      uint32
	dispersion float64       // nanoseconds, of the source; it wanders
	estimate   float64       // nanoseconds, of its offset
	distance   time.Duration // root distance when it was last heard
	heard      int64         // when, Unix seconds; 0: never
}

// world is what there is to see.
type world struct {
	r       *rand.Rand
	poll    int64 // seconds
	trouble []episode
	sources []source

	theta     float64 // nanoseconds, the served clock's error
	residual  float64 // nanoseconds, of it that is known
	frequency float64 // ppm
	apart     float64 // nanoseconds, the system clock less the served one
	lost      int64   // since when no source agrees, Unix seconds; 0: one does
	bound     time.Duration
	began     int64 // when the node was started

	readings []compliance.SourceReading // of the last second
	polled   []*rpc.JournalEntry        // in the last second
}

// newWorld makes up sources; trouble is what goes wrong, by when it begins.
func newWorld(r *rand.Rand, sources int, poll int64, trouble []episode) *world {
	w := &world{r: r, poll: poll, trouble: trouble, frequency: -12.3456}
	sites := []string{"gaithersburg", "boulder", "frankfurt", "new-york"}
	for i := range sources {
		s := source{
			reading: compliance.SourceReading{
				Name: fmt.Sprintf("time-%c-g.nist.gov", 'a'+i%26), Address: fmt.Sprintf("129.6.15.%d:123", 26+i), Site: sites[i%len(sites)], NIST: i < 4,
				Status: "agrees", Reachable: true,
			},
			delay: 5*time.Millisecond + time.Duration(r.Int64N(int64(30*time.Millisecond))), jitter: 2e4 + r.Float64()*2e5,
			bias: r.NormFloat64() * 3e5, rootDelay: ntp.ShortOf(time.Duration(r.Int64N(int64(2 * time.Millisecond)))),
			stratum: 1, refid: 0x4e495354, dispersion: 2e5 + r.Float64()*5e5,
		}
		if !s.reading.NIST {
			s.reading.Name = fmt.Sprintf("ntp%d.example.net", i)
			s.stratum, s.refid = 2, r.Uint32()
		}
		w.sources = append(w.sources, s)
	}
	w.readings = make([]compliance.SourceReading, sources)
	return w
}

// start says that the node is started at a time, Unix seconds.
func (w *world) start(at int64) {
	w.began, w.lost = at, 0
	for i := range w.sources {
		w.sources[i].heard = 0
	}
}

// during returns the episode of a kind that is under way; nil: none is.
func (w *world) during(kind episodeKind, at int64) *episode {
	for i := range w.trouble {
		e := &w.trouble[i]
		if e.from > at {
			return nil
		}
		if e.kind == kind && at < e.to {
			return e
		}
	}
	return nil
}

// look goes on to a second and returns what a node sees of it. What it returns is good until the
// next call; polled has what the sources answered in it.
func (w *world) look(at int64) compliance.Second {
	w.theta += -w.theta/900 + w.r.NormFloat64()*1500
	w.residual = 0.97*w.residual - 0.001*w.theta + w.r.NormFloat64()*200
	w.apart += -w.apart/300 + w.r.NormFloat64()*3000
	w.frequency += (-12.3456-w.frequency)/36000 + w.r.NormFloat64()*1e-4
	w.ask(at)
	wrong := w.during(falsetick, at)
	agreeing, least := 0, time.Duration(1<<62)
	for i := range w.sources {
		s := &w.sources[i]
		r := &s.reading
		r.Measured, r.Reachable = s.heard != 0, s.heard != 0 && at-s.heard < outageMin
		r.Offset = time.Duration(s.estimate)
		r.RootDistance = s.distance + time.Duration(at-s.heard)*growth
		r.Agrees, r.Status = r.Reachable, "agrees"
		switch {
		case !r.Reachable:
			r.Status = "unreachable"
		case wrong != nil && wrong.source == i:
			r.Agrees, r.Status = false, "falseticker"
		default:
			agreeing++
			least = min(least, r.RootDistance)
		}
		w.readings[i] = *r
	}
	return w.second(at, agreeing, least)
}

// ask has those sources asked whose turn it is.
func (w *world) ask(at int64) {
	w.polled = w.polled[:0]
	if w.during(outage, at) != nil {
		return
	}
	slow, wrong := w.during(congestion, at), w.during(falsetick, at)
	for i := int(at % w.poll); i < len(w.sources); i += int(w.poll) {
		s := &w.sources[i]
		queue := w.r.ExpFloat64() * s.jitter
		if slow != nil {
			queue += slow.extra * (1 + w.r.Float64()/2)
		}
		delay := s.delay + time.Duration(queue)
		offset := -w.theta + s.bias + (w.r.Float64()-0.5)*queue
		if wrong != nil && wrong.source == i {
			offset += 2e7
		}
		s.dispersion = max(5e4, s.dispersion+w.r.NormFloat64()*2e4)
		s.estimate += (offset - s.estimate) / 4
		if s.heard == 0 {
			s.estimate = offset
		}
		s.heard = at
		dispersion := ntp.ShortOf(time.Duration(s.dispersion))
		s.distance = (delay+s.rootDelay.Duration())/2 + dispersion.Duration()
		w.polled = append(w.polled, w.measured(s, at, time.Duration(offset), delay, dispersion))
	}
}

// measured is an exchange as the node keeps it.
func (w *world) measured(s *source, at int64, offset, delay time.Duration, dispersion ntp.Short) *rpc.JournalEntry {
	took := time.Duration(20+w.r.Int64N(60)) * time.Microsecond // by the server
	t4 := at*1e9 + w.r.Int64N(1e9)
	t1 := t4 - int64(delay+took)
	t2 := t1 + int64(delay/2+offset)
	origin, receive, transmit, destination := ntp.FromUnix(t1), ntp.FromUnix(t2), ntp.FromUnix(t2+int64(took)), ntp.FromUnix(t4)
	return &rpc.JournalEntry{What: &rpc.JournalEntry_Measured{Measured: &rpc.Measured{
		Source: s.reading.Number,
		Origin: uint64(origin), Receive: uint64(receive), Transmit: uint64(transmit), Destination: uint64(destination),
		OffsetNs: int64(offset), DelayNs: uint64(delay), BoundNs: uint64(s.distance),
		RootDelayNs: uint64(s.rootDelay.Duration()), RootDispersionNs: uint64(dispersion.Duration()),
		Stratum: s.stratum, Refid: s.refid, Stamped: true,
	}}}
}

// second says what is claimed of the clocks, when some sources agree, and the best of them can be
// wrong by so much.
func (w *world) second(at int64, agreeing int, least time.Duration) compliance.Second {
	residual := time.Duration(w.residual)
	served := compliance.Reading{Offset: residual, Claims: true, State: "synchronised", Source: w.sources[0].reading.Name, Stratum: 2}
	switch {
	case at < w.began+settle:
		served = compliance.Reading{State: "unsynchronised", Reason: "no sources agree yet"}
	case agreeing > 0:
		w.lost, w.bound = 0, least+residual.Abs()
	default:
		if w.lost == 0 {
			w.lost = at
		}
		served.State, served.Holdover, served.Reason = "holdover", true, "no source can be reached"
		w.bound += growthHoldover
	}
	if served.Claims {
		served.Bound = w.bound
	}
	system := served
	if system.Claims {
		system.Bound += 50*time.Microsecond + time.Duration(w.apart).Abs()
		system.Offset += time.Duration(w.apart)
	}
	s := compliance.Second{
		Unix: at*1e9 + 2e8, Served: served, System: system,
		FrequencyPPM: w.frequency, SlewPPM: w.residual / 1e3,
		TAIOffset: 37, TAIKnown: true, Sources: w.readings,
	}
	if w.during(step, at) != nil {
		s.Step = 30 * time.Millisecond
	}
	return s
}
