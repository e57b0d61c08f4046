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
)

// nodeService translates between the RPC messages and the Node.
type nodeService struct {
	node    Node
	listing chan struct{} // holds one for the call that lists clients
}

func newNodeService(node Node) *nodeService {
	return &nodeService{node: node, listing: make(chan struct{}, 1)}
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
		Clock:    clockMessage(&state),
		Hlc:      hlcMessage(&state),
		Ntp:      &rpc.Ntp{Listen: state.NTPListen, Verdicts: state.NTPVerdicts, KernelDrops: state.NTPKernelDrops},
		Ready:    len(state.NotReady) == 0,
		NotReady: state.NotReady,
	}
	for _, a := range state.Alarms {
		r.Alarms = append(r.Alarms, &rpc.Alarm{Name: a.Name, Sentence: a.Sentence, SinceUnixNs: a.Since.UnixNano()})
	}
	return connect.NewResponse(r), nil
}

func clockMessage(state *State) *rpc.Clock {
	s := state.Clock
	errorBound := s.ErrorBound(state.Mono)
	if state.NoClaim != "" {
		errorBound = math.MaxInt64
	}
	states := map[clock.State]rpc.ClockState{
		clock.Unsynchronised: rpc.ClockState_CLOCK_STATE_UNSYNCHRONISED,
		clock.Synchronised:   rpc.ClockState_CLOCK_STATE_SYNCHRONISED,
		clock.Holdover:       rpc.ClockState_CLOCK_STATE_HOLDOVER,
	}
	return &rpc.Clock{
		State:            states[s.State],
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
		ResidualOffsetNs: s.ResidualOffset.Nanoseconds(),
		ErrorBoundNs:     errorBound.Nanoseconds(),
		FrequencyPpm:     s.FrequencyPPM,
		PrecisionLog2:    int32(s.Precision),
		UtcUnixNs:        s.UTC(state.Mono),
		Intervals:        state.NoClaim == "",
		Steps:            s.Steps,
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

func (s *nodeService) AcceptClock(_ context.Context, r *connect.Request[rpc.AcceptClockRequest]) (*connect.Response[rpc.AcceptClockResponse], error) {
	taken, err := s.node.AcceptClock(time.Duration(r.Msg.JumpNs))
	if err != nil {
		return nil, callError(err)
	}
	return connect.NewResponse(&rpc.AcceptClockResponse{JumpNs: taken.Nanoseconds()}), nil
}

func (s *nodeService) Rebase(ctx context.Context, r *connect.Request[rpc.RebaseRequest]) (*connect.Response[rpc.RebaseResponse], error) {
	done, err := s.node.Rebase(ctx, r.Msg.Epoch)
	if err != nil {
		return nil, callError(err)
	}
	return connect.NewResponse(&rpc.RebaseResponse{Epoch: done.Epoch, Last: uint64(done.Last), BackNs: done.Back.Nanoseconds()}), nil
}
