package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/discipline"
	"github.com/truechimer/truechimer/ntpserver"
	"github.com/truechimer/truechimer/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

// noon is a day in 2026, Unix nanoseconds, and a whole tick.
const noon = 1_795_000_000_000_000_000

// fakeNode is a Node in the state that a test gives it.
type fakeNode struct {
	mu      sync.Mutex
	state   State
	clients []ntpserver.Client
	listed  func() // called by Clients
	accept  func(jump time.Duration) (time.Duration, error)
	step    func(offset time.Duration) (time.Duration, error)
	rebase  func(epoch uint64) (Rebased, error)
	backup  func(ctx context.Context, dir string, progress func(store.Progress)) (store.BackupResult, error)
}

func (n *fakeNode) State() State {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.state
}

func (n *fakeNode) change(do func(*State)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	do(&n.state)
}

func (n *fakeNode) Clients() []ntpserver.Client {
	if n.listed != nil {
		n.listed()
	}
	return slices.Clone(n.clients)
}

func (n *fakeNode) AcceptClock(_ string, jump time.Duration) (time.Duration, error) {
	return n.accept(jump)
}

func (n *fakeNode) MakeStep(_ string, offset time.Duration) (time.Duration, error) {
	return n.step(offset)
}

func (n *fakeNode) Rebase(_ context.Context, _ string, epoch uint64) (Rebased, error) {
	return n.rebase(epoch)
}

func (n *fakeNode) Backup(ctx context.Context, dir string, progress func(store.Progress)) (store.BackupResult, error) {
	return n.backup(ctx, dir, progress)
}

// newFakeNode returns a node that is synchronised and ready. No two of its figures are
// the same.
func newFakeNode() *fakeNode {
	judgement := clock.Judgement{
		State:          clock.Synchronised,
		Reason:         "chronyd follows 192.0.2.1",
		Source:         "chronyd",
		Leap:           clock.LeapInsert,
		Stratum:        3,
		RefID:          [4]byte{192, 0, 2, 1},
		Reference:      noon - 1,
		RootDelay:      2 * time.Millisecond,
		RootDispersion: 3 * time.Millisecond,
		GrowthPPM:      4,
		ResidualOffset: -5 * time.Microsecond,
		FrequencyPPM:   -12.5,
		ProviderError:  26 * time.Microsecond,
	}
	system := judgement
	system.State, system.Reason, system.ResidualOffset = clock.Holdover, "it is left alone", 27*time.Millisecond
	return &fakeNode{
		accept: func(time.Duration) (time.Duration, error) { return 0, ErrNothingHeld },
		step:   func(time.Duration) (time.Duration, error) { return 0, ErrNotSteering },
		rebase: func(uint64) (Rebased, error) { return Rebased{}, ErrNotAhead },
		state: State{
			Name: "alpha", Number: 7, Version: "v0.0.1", StoreID: "00112233445566778899aabbccddeeff", Started: time.Unix(0, noon-9),
			Clock: &clock.Snapshot{
				Time: clock.Map{From: int64(time.Hour), To: noon}, Mode: clock.Follow, Precision: -24, Steps: 6,
				Judgement: judgement, System: system,
			},
			Mono:       time.Hour + time.Second,
			ErrorLimit: 50 * time.Millisecond,
			Holdover:   time.Unix(0, noon-28),
			SkewPPM:    0.29,
			SlewPPM:    -30,
			Rival:      "its frequency changed, and not by us",
			Drift:      Drift{FrequencyPPM: 31, SkewPPM: 32, Saved: time.Unix(0, noon-33)},
			Leap: LeapSeconds{
				Known: true, TAIOffset: 37, Next: noon + 34, NextKind: clock.LeapDelete, Expires: noon + 35e9, Origin: "/leap-seconds.list", Warning: "renew it",
			},
			Sources: fakeSources(),
			Issuer: store.Status{
				Epoch: 8, Ceiling: noon + 1<<20, Last: noon + 1<<10, Lead: 10 * time.Millisecond, LeadAtStart: 11 * time.Millisecond,
				MaxLead: time.Second, Started: true, Rebases: 12, Saves: 13, Waits: 14, Behind: 15, SaveFailures: 18,
			},
			Streams: store.StreamsStatus{
				Closed: noon + 40, Streams: 41, Watchers: 42, Queued: 43, Appends: 44, Events: 45, Bytes: 46, Groups: 47, Repeated: 48, Conflicts: 49,
				Busy: 50, Full: 51, Delivered: 52, Trimmed: 53, Stalls: 54, FreeBytes: 55, ReserveBytes: 56, NearlyFull: true,
			},
			HeldJump:      -22 * time.Nanosecond,
			PhysicalAhead: 16 * time.Nanosecond,
			NTPListen:     []string{"127.0.0.1:11123"},
			NTPVerdicts:   map[string]uint64{"answered": 17, "short": 0},
			NTPUnstamped:  19, NTPSendErrors: 20, NTPReceiveErrors: 21, NTPKernelDrops: 23, NTPStamps: 24, NTPStampsMissed: 25,
		},
	}
}

// fakeSources are one with distinct figures, one of which nothing is known, and two members
// of a pool.
func fakeSources() []Source {
	return []Source{
		{
			Name: "ntp1", Address: "192.0.2.1:123", Site: "north", Status: discipline.Selected, Weight: 0.75,
			Reach: 0o377, PollLog2: 6, Heard: true, HeardAgo: 2 * time.Second, NextPoll: 3 * time.Second, Interleaved: true,
			Stratum: 1, RefID: [4]byte{'G', 'P', 'S'}, Leap: clock.LeapInsert,
			Samples: 4, Offset: -5 * time.Millisecond, Delay: 6 * time.Millisecond, Jitter: 7 * time.Millisecond, RootDistance: 8 * time.Millisecond,
			FrequencyPPM: 9.5, SkewPPM: 10.5, ProviderError: 11 * time.Millisecond, NIST: true, Prefer: true, Trust: true, Require: true,
			Outcomes: map[string]uint64{"measured": 12, "lost": 13}, LastFault: "no reply in time",
		},
		{Name: "ntp2", Status: discipline.Unreachable, PollLog2: -2, NextPoll: -1, HeardAgo: -1, Stratum: 0, RefID: [4]byte{1, 2, 3, 4}, Reason: "its name is unknown", NoSelect: true},
		{Name: "pool", Status: discipline.Falseticker, Reach: 1, PollLog2: 10, Stratum: 2, RefID: [4]byte{192, 0, 2, 9}, Heard: true, HeardAgo: -5},
		{Name: "pool", Status: discipline.Outlier, Reach: 2, PollLog2: 10},
	}
}

// fakeIssuer answers every call with the same, or with an error.
type fakeIssuer struct{ err error }

func (f fakeIssuer) NowN(_ context.Context, n int) (hlc.Timestamp, error) {
	if n < 1 || n > hlc.CountMax {
		return 0, hlc.ErrCount
	}
	return noon + 1, f.err
}

func (f fakeIssuer) NowAfter(_ context.Context, r hlc.Timestamp, _ int) (hlc.Timestamp, error) {
	return r + 1, f.err
}

func (f fakeIssuer) Observe(_ context.Context, r hlc.Timestamp) (hlc.Timestamp, error) {
	return r + 1, f.err
}

func (f fakeIssuer) Interval(context.Context) (hlc.Interval, error) {
	return hlc.Interval{Earliest: noon - 1<<10, Latest: noon + 1<<10}, f.err
}

func (f fakeIssuer) Wait(_ context.Context, ts hlc.Timestamp) (hlc.Interval, error) {
	return hlc.Interval{Earliest: ts + 1, Latest: ts + 2}, f.err
}

func (f fakeIssuer) Commit(context.Context) (hlc.Timestamp, error) { return noon + 3, f.err }

// memoryCeilings is a CeilingStore that forgets.
type memoryCeilings struct {
	mu sync.Mutex
	c  store.Ceiling
}

func (m *memoryCeilings) update(epoch uint64, do func(*store.Ceiling)) (store.Ceiling, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if epoch != m.c.Epoch {
		return store.Ceiling{}, store.ErrEpoch
	}
	do(&m.c)
	return m.c, nil
}

func (m *memoryCeilings) Load() (store.Ceiling, error) {
	return m.update(m.c.Epoch, func(*store.Ceiling) {})
}

func (m *memoryCeilings) Begin() (store.Ceiling, error) {
	return m.update(m.c.Epoch, func(c *store.Ceiling) { c.Epoch++ })
}

func (m *memoryCeilings) Save(epoch uint64, ceiling hlc.Timestamp) error {
	_, err := m.update(epoch, func(c *store.Ceiling) { c.Ceiling = ceiling })
	return err
}

func (m *memoryCeilings) Finish(epoch uint64, last hlc.Timestamp) error {
	_, err := m.update(epoch, func(c *store.Ceiling) { c.Clean, c.Last = epoch, last })
	return err
}

func (m *memoryCeilings) Rebase(epoch uint64, ceiling hlc.Timestamp) (store.Ceiling, error) {
	return m.update(epoch, func(c *store.Ceiling) { c.Epoch++; c.Ceiling = ceiling; c.Rebases++ })
}

// newIssuer returns an issuer over the host's clock that claims a millisecond.
func newIssuer(t *testing.T) *store.Issuer {
	t.Helper()
	physical := func() int64 { return time.Now().UnixNano() }
	i, err := store.NewIssuer(new(memoryCeilings), store.IssuerOptions{
		Physical: physical,
		Bound:    func() (int64, time.Duration, error) { return physical(), time.Millisecond, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := i.Start(); err != nil {
		t.Fatal(err)
	}
	return i
}

var quiet = slog.New(slog.DiscardHandler)

// everybody may do everything.
var everybody = Access{Anonymous: RightsAll}

// openGate lets everybody do everything.
func openGate() *gate {
	j, err := newJournal("", quiet)
	if err != nil {
		panic(err)
	}
	g, err := newGate(everybody, j)
	if err != nil {
		panic(err)
	}
	return g
}

// serve answers on a free port of loopback until the test ends, and returns the URL.
func serve(t *testing.T, services Services) string {
	t.Helper()
	s, err := Listen(Options{Addrs: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, Access: everybody, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	run(t, s, services)
	return "http://" + s.Addrs()[0].String()
}

// run serves until the test ends, or until what it returns is called.
func run(t *testing.T, s *Server, services Services) (stop func()) {
	t.Helper()
	if services.Evidence == nil {
		services.Evidence = newFakeEvidence()
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, services) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("serve: %v", err)
			}
		case <-time.After(patience):
			t.Error("Serve does not end")
		}
	})
	t.Cleanup(stop)
	return stop
}

// newClient returns a client whose connections end with the test.
func newClient(t *testing.T, protocols ...func(*http.Protocols)) *http.Client {
	transport := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
	if len(protocols) == 0 {
		transport.Protocols.SetHTTP1(true)
	}
	for _, p := range protocols {
		p(transport.Protocols)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

func h2c(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// send sends a request. A header "Host" is the host that it asks for.
func send(t *testing.T, c *http.Client, method, url, body string, header map[string]string) answer {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		if name == "Host" {
			r.Host = value
			continue
		}
		r.Header.Set(name, value)
	}
	response, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(text)}
}

var jsonType = map[string]string{"Content-Type": "application/json"}

// call makes a call as curl would.
func call(t *testing.T, c *http.Client, base, method, body string) answer {
	t.Helper()
	return send(t, c, http.MethodPost, base+"/truechimer.v1."+method, body, jsonType)
}

var errUnlisted = errors.New("an error that nobody thought of")
