package api

import (
	"context"
	"encoding/binary"
	"math"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/ntp"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/store"
)

// nodeService translates between the RPC messages and the Node.
type nodeService struct {
	node      Node
	timescale string
	listing   chan struct{}   // holds one for the call that lists clients
	stopping  context.Context // ends when the server begins to stop
}

func newNodeService(stopping context.Context, node Node, timescale string) *nodeService {
	return &nodeService{node: node, timescale: timescale, listing: make(chan struct{}, 1), stopping: stopping}
}

func (s *nodeService) Status(context.Context, *connect.Request[rpc.StatusRequest]) (*connect.Response[rpc.StatusResponse], error) {
	state := s.node.State()
	r := &rpc.StatusResponse{
		Node: &rpc.Node{
			Name:          state.Name,
			Number:        uint32(state.Number),
			Version:       state.Version,
			StoreId:       state.StoreID,
			StartedUnixNs: state.Started.UnixNano(),
		},
		Clock:    clockMessage(&state, s.timescale),
		Hlc:      hlcMessage(&state),
		Ntp:      &rpc.Ntp{Listen: state.NTPListen, Verdicts: state.NTPVerdicts, KernelDrops: state.NTPKernelDrops},
		Ready:    len(state.NotReady) == 0,
		NotReady: state.NotReady,
		Sources:  summaryMessage(state.Sources),
		Streams:  streamsMessage(&state.Streams),
	}
	for _, a := range state.Alarms {
		r.Alarms = append(r.Alarms, &rpc.Alarm{Name: a.Name, Labels: a.Labels, Critical: a.Critical, Sentence: a.Sentence, SinceUnixNs: a.Since.UnixNano()})
	}
	return connect.NewResponse(r), nil
}

func clockMessage(state *State, timescale string) *rpc.Clock {
	s := state.Clock
	errorBound := s.ErrorBound(state.Mono)
	if state.NoClaim != "" {
		errorBound = math.MaxInt64
	}
	residual := s.ResidualOffset
	if !s.Claims() {
		residual = state.Behind // what makestep is told
	}
	m := &rpc.Clock{
		State:            stateMessage(s.State),
		Reason:           s.Reason,
		Mode:             s.Mode.String(),
		Source:           s.Source,
		Leap:             uint32(s.Leap),
		Stratum:          uint32(s.Stratum),
		Refid:            refid(s),
		ReferenceUnixNs:  s.Reference,
		RootDelayNs:      s.RootDelay.Nanoseconds(),
		RootDispersionNs: s.RootDispersion(state.Mono).Nanoseconds(),
		GrowthPpm:        s.GrowthPPM,
		ResidualOffsetNs: residual.Nanoseconds(),
		ErrorBoundNs:     errorBound.Nanoseconds(),
		FrequencyPpm:     s.FrequencyPPM,
		PrecisionLog2:    int32(s.Precision),
		UtcUnixNs:        s.UTC(state.Mono),
		Intervals:        state.NoClaim == "",
		Steps:            s.Steps,
		ProviderErrorNs:  s.ProviderError.Nanoseconds(),
		ErrorLimitNs:     state.ErrorLimit.Nanoseconds(),
		HoldoverLeftNs:   state.holdoverLeft().Nanoseconds(),
		SkewPpm:          state.SkewPPM,
		SlewPpm:          state.SlewPPM,
		Rival:            state.Rival,
		Timescale:        timescale,
	}
	m.HoldoverSinceUnixNs = unixNs(state.Holdover)
	m.DriftPpm, m.DriftSkewPpm, m.DriftSavedUnixNs = state.Drift.FrequencyPPM, state.Drift.SkewPPM, unixNs(state.Drift.Saved)
	tellLeap(m, &state.Leap)
	m.SystemState, m.SystemReason, m.SystemOffsetNs = stateMessage(s.System.State), s.System.Reason, s.System.ResidualOffset.Nanoseconds()
	system := *s
	system.Judgement = s.System // the bound of the other clock is by the same formula
	m.SystemErrorBoundNs = system.ErrorBound(state.Mono).Nanoseconds()
	return m
}

// tellLeap says in a message what is known of leap seconds.
func tellLeap(m *rpc.Clock, l *LeapSeconds) {
	if l.Known {
		offset := int32(l.TAIOffset)
		m.TaiOffset = &offset
	}
	m.NextLeapUnixNs, m.NextLeap = l.Next, uint32(l.NextKind)
	m.LeapExpiresUnixNs, m.LeapOrigin, m.LeapWarning = l.Expires, l.Origin, l.Warning
}

func stateMessage(s clock.State) rpc.ClockState {
	switch s {
	case clock.Synchronised:
		return rpc.ClockState_CLOCK_STATE_SYNCHRONISED
	case clock.Holdover:
		return rpc.ClockState_CLOCK_STATE_HOLDOVER
	default:
		return rpc.ClockState_CLOCK_STATE_UNSYNCHRONISED
	}
}

// unixNs is a time as Unix nanoseconds; 0 for none.
func unixNs(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// holdoverLeft is how long the error bound stays within its limit if nothing more is
// heard: 0 where none is claimed, the longest duration there is where it does not grow.
func (s *State) holdoverLeft() time.Duration {
	if s.NoClaim != "" {
		return 0
	}
	if s.Left > 0 {
		return s.Left
	}
	room := float64(s.ErrorLimit - s.Clock.ErrorBound(s.Mono))
	switch left := room / (s.Clock.GrowthPPM * 1e-6); {
	case s.ErrorLimit == 0:
		return math.MaxInt64
	case room <= 0:
		return 0
	case !(left < math.MaxInt64):
		return math.MaxInt64
	default:
		return time.Duration(left)
	}
}

// refid spells a refid by the stratum: letters for a reference clock or a kiss code, else
// an address, which for an IPv6 source is four octets of its hash.
func refid(s *clock.Snapshot) string {
	stratum := s.Stratum
	if stratum >= clock.StratumUnsynchronised {
		stratum = 0
	}
	return ntp.RefID(binary.BigEndian.Uint32(s.RefID[:])).Text(stratum)
}

func hlcMessage(state *State) *rpc.Hlc {
	i := &state.Issuer
	m := &rpc.Hlc{
		Epoch:           i.Epoch,
		Issuing:         state.issuing(),
		Last:            uint64(i.Last),
		Ceiling:         uint64(i.Ceiling),
		LeadNs:          i.Lead.Nanoseconds(),
		MaxLeadNs:       i.MaxLead.Nanoseconds(),
		StartLeadNs:     i.LeadAtStart.Nanoseconds(),
		PhysicalAheadNs: state.PhysicalAhead.Nanoseconds(),
		Rebases:         i.Rebases,
		HeldJumpNs:      state.HeldJump.Nanoseconds(),
	}
	if state.Fenced != nil {
		m.Fenced = state.Fenced.Error()
	}
	return m
}

func streamsMessage(s *store.StreamsStatus) *rpc.Streams {
	return &rpc.Streams{
		Closed:       uint64(s.Closed),
		Streams:      s.Streams,
		Watchers:     uint32(s.Watchers),
		Queued:       uint32(s.Queued),
		Appends:      s.Appends,
		Events:       s.Events,
		Bytes:        s.Bytes,
		Groups:       s.Groups,
		Repeated:     s.Repeated,
		Conflicts:    s.Conflicts,
		Busy:         s.Busy,
		Full:         s.Full,
		Delivered:    s.Delivered,
		Trimmed:      s.Trimmed,
		Stalls:       s.Stalls,
		FreeBytes:    s.FreeBytes,
		ReserveBytes: s.ReserveBytes,
		NearlyFull:   s.NearlyFull,
	}
}

func (s *nodeService) AcceptClock(ctx context.Context, r *connect.Request[rpc.AcceptClockRequest]) (*connect.Response[rpc.AcceptClockResponse], error) {
	taken, err := s.node.AcceptClock(principal(ctx), time.Duration(r.Msg.JumpNs))
	if err != nil {
		return nil, callError(err)
	}
	return connect.NewResponse(&rpc.AcceptClockResponse{JumpNs: taken.Nanoseconds()}), nil
}

func (s *nodeService) MakeStep(ctx context.Context, r *connect.Request[rpc.MakeStepRequest]) (*connect.Response[rpc.MakeStepResponse], error) {
	taken, err := s.node.MakeStep(principal(ctx), time.Duration(r.Msg.OffsetNs))
	if err != nil {
		return nil, callError(err)
	}
	return connect.NewResponse(&rpc.MakeStepResponse{OffsetNs: taken.Nanoseconds()}), nil
}

func (s *nodeService) Rebase(ctx context.Context, r *connect.Request[rpc.RebaseRequest]) (*connect.Response[rpc.RebaseResponse], error) {
	done, err := s.node.Rebase(ctx, principal(ctx), r.Msg.Epoch)
	if err != nil {
		return nil, callError(err)
	}
	return connect.NewResponse(&rpc.RebaseResponse{Epoch: done.Epoch, Last: uint64(done.Last), BackNs: done.Back.Nanoseconds()}), nil
}
