package compliance

import "time"

// Second is what is known at one look at the clocks. There is one look a second; each counts as a
// second, whatever the clock shows: after it was set back, seconds are there twice.
type Second struct {
	Unix   int64   // served UTC, nanoseconds
	System Reading // the system clock, which stamps what other programs write
	Served Reading // the clock that is served; does not matter where Same
	Same   bool    // the served clock is the system clock

	FrequencyPPM float64 // correction of the frequency in force
	SlewPPM      float64 // rate at which an offset is being removed
	Smeared      bool    // a smear, or a leap second not yet absorbed, marks this second; the bounds contain it
	TAIOffset    int     // TAI minus UTC, seconds
	TAIKnown     bool
	Step         time.Duration // how far the served clock was stepped since the last look; positive: forward

	Sources     []SourceReading // those that are configured, whatever became of them
	RawSequence uint64          // of the last raw record
}

// Reading is what can be claimed of one clock.
type Reading struct {
	Bound    time.Duration // the error bound E
	Offset   time.Duration // known and not yet corrected; positive when the clock is behind
	Claims   bool          // Bound and Offset hold; not so: nothing can be claimed
	Smeared  bool          // it is off UTC on purpose, by more than Bound says: nothing is proven by Bound
	Holdover bool          // Bound holds and grows: the sources are gone
	State    string        // synchronised, holdover or unsynchronised
	Reason   string        // for State, in a sentence
	Source   string        // who vouches
	Stratum  int
}

// SourceReading is what is known of one source.
type SourceReading struct {
	Name    string // as configured
	Address string // IP address and port; empty: its name could not be looked up
	Site    string // as configured; empty: it stands nowhere in particular
	Number  uint32 // Engine.SourceNumber; 0: none

	NIST      bool
	Agrees    bool   // it is one of the majority
	Status    string // what became of it, for people
	Reachable bool
	Measured  bool // Offset holds

	// Offset is source minus served clock as estimated for this look: not that of the last poll,
	// since when the clock may have been slewed.
	Offset        time.Duration
	RootDistance  time.Duration // the largest error of Offset
	ProviderError time.Duration // what its operator states against UTC
}

// present reports whether the source can be compared with others.
func (s *SourceReading) present() bool { return s.Measured && s.Reachable }

// quorum is who vouches in a second.
type quorum struct {
	configured, agreeing, nist, sites int
	nistConfigured                    bool
}

// quorumOf counts the sources that agree. Those that stand nowhere in particular count as no site.
func quorumOf(sources []SourceReading) quorum {
	q := quorum{configured: len(sources)}
	var room [16]string
	sites := room[:0]
next:
	for i := range sources {
		s := &sources[i]
		q.nistConfigured = q.nistConfigured || s.NIST
		if !s.Agrees {
			continue
		}
		q.agreeing++
		if s.NIST {
			q.nist++
		}
		if s.Site == "" {
			continue
		}
		for _, site := range sites {
			if site == s.Site {
				continue next
			}
		}
		sites = append(sites, s.Site)
	}
	q.sites = len(sites)
	return q
}

// meets reports whether as many vouch as a profile asks for.
func (q *quorum) meets(p *Profile) bool {
	return q.agreeing >= p.MinSources && q.nist >= p.MinNIST && q.sites >= p.MinSites
}
