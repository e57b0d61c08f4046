package api

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/discipline"
	"github.com/truechimer/truechimer/internal/ntp"
	"github.com/truechimer/truechimer/internal/rpc"
)

// Source is what is known of one server that is asked for the time: one association. All
// lengths of time are at the moment of the State.
type Source struct {
	Name    string // as configured; the members of a pool share theirs
	Address string // IP address and port; empty while the name could not be looked up
	Site    string

	Status discipline.Status
	// Reason says in one sentence why Status is what it is; empty: what the status says of itself.
	Reason string
	Weight float64 // share in the estimate, 0 to 1

	Reach       uint8         // shift register of the last eight polls
	PollLog2    int8          // poll interval
	Heard       bool          // an answer was used
	HeardAgo    time.Duration // valid when Heard
	NextPoll    time.Duration // until the next request; 0: now
	Interleaved bool          // mode of the last answer

	// What it says of itself, valid when Stratum is above 0.
	Stratum uint8
	RefID   [4]byte
	Leap    clock.Leap

	// What was measured, valid when Samples is above 0.
	Samples      int
	Offset       time.Duration // source minus served clock: positive when that is behind
	Delay        time.Duration // of the sample that proves most
	Jitter       time.Duration // standard deviation of one sample
	RootDistance time.Duration // the largest error that it can have
	FrequencyPPM float64       // of its clock to the served one
	SkewPPM      float64       // standard deviation of FrequencyPPM

	ProviderError time.Duration

	NIST, Prefer, Trust, Require, NoSelect bool

	Outcomes  map[string]uint64 // polls by what became of them, one word of a closed list each
	LastFault string            // what was wrong last; empty: nothing ever was
}

// statusWord is a status in a word and in a sentence.
type statusWord struct{ word, sentence string }

// statusWords are in the order of the statuses.
func statusWords() []statusWord {
	return []statusWord{
		discipline.Selected:     {"selected", "it is followed: the best of those that agree"},
		discipline.Combined:     {"combined", "it agrees, and has a share in the estimate"},
		discipline.Waiting:      {"waiting", "it has not been heard often enough yet"},
		discipline.Unreachable:  {"unreachable", "none of its last eight polls brought an answer of use"},
		discipline.Alone:        {"alone", "it follows nothing but its own clock, which says nothing of UTC; trust = true follows it all the same"},
		discipline.Distant:      {"distant", "the largest error that it can have is above the limit"},
		discipline.Smearing:     {"smearing", "it smears leap seconds, and others do not"},
		discipline.Falseticker:  {"falseticker", "the majority of the sources disagrees with it"},
		discipline.NoMajority:   {"no_majority", "no majority of the sources agrees on a time"},
		discipline.Distrusted:   {"distrusted", "a source that the configuration trusts disagrees with it"},
		discipline.Outlier:      {"outlier", "it agrees, and is farther from the others than they are from each other"},
		discipline.NotPreferred: {"not_preferred", "it agrees, and so does a source that the configuration prefers"},
		discipline.NotSelected:  {"noselect", "the configuration says that it is never followed"},
		discipline.TooFew:       {"too_few", "fewer sources agree than clock.min_sources wants"},
		discipline.Missing:      {"required_missing", "no source that the configuration requires is among those that agree"},
	}
}

// StatusWord returns the word for a status.
func StatusWord(s discipline.Status) string { return wordOf(s).word }

// wordOf returns what a status is called.
func wordOf(s discipline.Status) statusWord {
	if all := statusWords(); int(s) < len(all) {
		return all[s]
	}
	return statusWord{fmt.Sprintf("status_%d", s), "this server does not know why"}
}

func (s *nodeService) Sources(context.Context, *connect.Request[rpc.SourcesRequest]) (*connect.Response[rpc.SourcesResponse], error) {
	state := s.node.State()
	m := &rpc.SourcesResponse{UtcUnixNs: state.Clock.UTC(state.Mono)}
	for i := range state.Sources {
		m.Sources = append(m.Sources, sourceMessage(&state.Sources[i]))
	}
	return connect.NewResponse(m), nil
}

func sourceMessage(s *Source) *rpc.Source {
	word := wordOf(s.Status)
	m := &rpc.Source{
		Name:            s.Name,
		Address:         s.Address,
		Site:            s.Site,
		Status:          word.word,
		Reason:          cmp.Or(s.Reason, word.sentence),
		Weight:          s.Weight,
		Reach:           uint32(s.Reach),
		PollLog2:        int32(s.PollLog2),
		NextPollNs:      max(0, s.NextPoll.Nanoseconds()),
		Interleaved:     s.Interleaved,
		Stratum:         uint32(s.Stratum),
		Leap:            uint32(s.Leap),
		OffsetNs:        s.Offset.Nanoseconds(),
		DelayNs:         s.Delay.Nanoseconds(),
		JitterNs:        s.Jitter.Nanoseconds(),
		RootDistanceNs:  s.RootDistance.Nanoseconds(),
		FrequencyPpm:    s.FrequencyPPM,
		SkewPpm:         s.SkewPPM,
		Samples:         uint32(s.Samples),
		ProviderErrorNs: s.ProviderError.Nanoseconds(),
		Nist:            s.NIST,
		Prefer:          s.Prefer,
		Trust:           s.Trust,
		Require:         s.Require,
		Noselect:        s.NoSelect,
		Outcomes:        s.Outcomes,
		LastFault:       s.LastFault,
	}
	if s.Heard {
		ago := max(0, s.HeardAgo.Nanoseconds())
		m.HeardAgoNs = &ago
	}
	if s.Stratum > 0 {
		m.Refid = ntp.RefID(binary.BigEndian.Uint32(s.RefID[:])).Text(s.Stratum)
	}
	return m
}

// summaryMessage says what the sources come to.
func summaryMessage(sources []Source) *rpc.SourceSummary {
	m := new(rpc.SourceSummary)
	for i := range sources {
		s := &sources[i]
		if s.NoSelect {
			continue
		}
		m.Known++
		if s.Reach != 0 {
			m.Reachable++
		}
		if s.Status.Agrees() {
			m.Agree++
		}
	}
	if i := slices.IndexFunc(sources, func(s Source) bool { return s.Status == discipline.Selected }); i >= 0 {
		m.Following, m.FollowingAddress, m.FollowingStratum = sources[i].Name, sources[i].Address, uint32(sources[i].Stratum)
	}
	return m
}
