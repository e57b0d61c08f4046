package upstream

import (
	"net/netip"
	"time"

	"github.com/truechimer/truechimer/internal/discipline"
	"github.com/truechimer/truechimer/internal/ntp"
)

// SourceStatus is what is known of one server of a source, or of a source that
// has none. It is a value: nobody changes it any more.
type SourceStatus struct {
	Source Source
	// Server is the zero AddrPort while the source has none; then only Fault is valid besides.
	Server netip.AddrPort
	ID     discipline.SourceID
	Fault  string // why the last poll brought nothing, and what to do; empty: it was good

	Interleaved bool          // the mode of the last good reply
	Stopped     bool          // it has forbidden us to ask
	Reach       uint8         // of the last eight polls, the latest in the lowest bit
	Poll        int8          // the interval in use, log2 seconds
	NextPoll    time.Duration // on the local timeline; Never
	Counts      Counts

	Heard     bool
	LastHeard time.Duration // on the local timeline; valid when Heard

	// Header is what the server said last, fit for use or not; the zero Header: nothing yet.
	Header ntp.Header
	// Measurement is the last: its T1 to T4, offset, delay and bound; valid when Measured.
	Measured    bool
	Measurement Measurement
}

// Counts are how often each verdict was given, by the verdict.
type Counts [verdictCount]uint64

// Status returns what is known of every source, in their order, as of the last event. The
// caller must not change it. Concurrent.
func (p *Poller) Status() []SourceStatus { return *p.statuses.Load() }

// publish makes the status what it is now.
func (p *Poller) publish() {
	all := []SourceStatus{}
	for _, s := range p.sources {
		if len(s.members) == 0 {
			all = append(all, SourceStatus{Source: s.Source, Fault: s.fault()})
		}
		for _, m := range s.members {
			a := m.association
			all = append(all, SourceStatus{
				Source: s.Source, Server: m.addr, ID: m.id, Fault: m.fault,
				Interleaved: a.Interleaved(), Stopped: a.Stopped(), Reach: a.Reach(), Poll: a.Poll(), NextPoll: a.Next(), Counts: a.Counts(),
				Heard: m.heard, LastHeard: m.heardAt, Header: m.header, Measured: m.sampled, Measurement: m.last,
			})
		}
	}
	p.statuses.Store(&all)
}

// fault says why a source has no server.
func (s *source) fault() string {
	switch {
	case s.crowded != nil:
		return "its server is that of source " + s.crowded.Name + " already: one server is one witness; give this source another"
	case s.lookupFault != "":
		return s.lookupFault + ": check the name and the resolver"
	}
	return "its name has not been looked up yet"
}
