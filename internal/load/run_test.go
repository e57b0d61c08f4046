package load

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/ntp"
	"github.com/truechimer/truechimer/ntpserver"
)

// serve runs a server of ours until the test ends.
func serve(t *testing.T) netip.AddrPort {
	t.Helper()
	now := time.Now().UnixNano()
	claims := &ntpserver.Claims{Stratum: 2, RefID: [4]byte{192, 0, 2, 1}, Precision: -25, At: now, Reference: now}
	s, err := ntpserver.Listen(ntpserver.Options{
		Addrs:  []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")},
		Claims: func() *ntpserver.Claims { return claims },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s.Addrs()[0]
}

// lie answers every datagram on loopback as it is told, until the test ends.
func lie(t *testing.T, answer func(request ntp.Header, send func([]byte))) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		b := make([]byte, 100)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if request, err := ntp.Decode(b[:n]); err == nil {
				answer(request, func(reply []byte) { _, _ = conn.WriteToUDPAddrPort(reply, from) })
			}
		}
	})
	t.Cleanup(func() { _ = conn.Close(); serving.Wait() })
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// quick are options for a short run against a server.
func quick(loop Loop, servers ...netip.AddrPort) Options {
	o := Defaults()
	o.Servers, o.Loop, o.Sockets, o.Window, o.Rate = servers, loop, 5, 2, 2000
	o.Duration, o.Warmup, o.Timeout = 150*time.Millisecond, 20*time.Millisecond, 2*time.Second
	o.MinRate, o.MaxRate, o.Factor, o.MaxLossPercent, o.ResolutionPercent = 500, 1000, 2, 90, 50
	return o
}

func TestRunAgainstOurServer(t *testing.T) {
	server := serve(t)
	for _, c := range []struct {
		loop    Loop
		threads int
		version uint8
	}{{Closed, 1, 4}, {Closed, 2, 3}, {Open, 1, 4}, {Open, 2, 1}, {Sweep, 1, 4}} {
		if c.threads > runtime.NumCPU() {
			continue
		}
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			o := quick(c.loop, server)
			o.Threads, o.Version = c.threads, c.version
			r, err := Run(t.Context(), o, nil)
			if err != nil || r.Interrupted || r.Server != server || r.Loop != c.loop {
				t.Fatalf("%+v, %v", r, err)
			}
			for i := range r.Steps {
				s := &r.Steps[i]
				if s.Answered() == 0 || s.Bad() != 0 || s.Counts[Kiss] != 0 || s.Counts[Duplicate] != 0 || s.Unsynchronised != 0 {
					t.Errorf("%+v", s)
				}
				if s.Answered()+s.Lost()+s.Counts[Late] != s.Sent || s.RoundTrip.Count != s.Answered() || s.RoundTrip.Min <= 0 || s.Processing.Min < 0 {
					t.Errorf("not all is accounted for: %+v", s)
				}
				if s.Offset.Min.Abs() > 5*time.Second || (s.Lag.Count > 0) != (c.loop != Closed) || s.Busy <= 0 || s.Busy > 1 {
					t.Errorf("%+v", s)
				}
				if c.loop == Open && s.PerSecond(s.Sent) > 2*o.Rate {
					t.Errorf("%.0f sent in a second, not %v", s.PerSecond(s.Sent), o.Rate)
				}
			}
			if c.loop != Sweep && (len(r.Steps) != 1 || r.Main() != &r.Steps[0]) {
				t.Errorf("%d steps", len(r.Steps))
			}
			if s := r.Main(); c.loop == Sweep && r.Highest > 0 && (s == nil || s.Wanted != r.Highest || !s.Held || r.Most() <= 0) {
				t.Errorf("highest %v, main %+v", r.Highest, s)
			}
		})
	}
}

// liar is a server that lies, and what is found out.
type liar struct {
	answer   func(request ntp.Header, send func([]byte))
	want     Verdict
	answered bool // also
}

// right is the answer of a server that does not lie.
func right(request ntp.Header) ntp.Header {
	now := ntp.FromUnix(time.Now().UnixNano())
	return ntp.Header{Version: request.Version, Mode: ntp.ModeServer, Stratum: 2, Origin: request.Transmit, Receive: now, Transmit: now}
}

// changed gives that answer with a lie in it.
func changed(change func(h *ntp.Header)) func(ntp.Header, func([]byte)) {
	return func(request ntp.Header, send func([]byte)) {
		h := right(request)
		change(&h)
		send(h.Append(nil))
	}
}

// A lying server is found out, whatever the lie.
func TestRunAgainstLiars(t *testing.T) {
	var held func() // of the server that is late
	for name, c := range map[string]liar{
		"short":     {func(h ntp.Header, send func([]byte)) { send(right(h).Append(nil)[:47]) }, Short, false},
		"empty":     {func(_ ntp.Header, send func([]byte)) { send(nil) }, Short, false},
		"long":      {func(h ntp.Header, send func([]byte)) { send(append(right(h).Append(nil), 0, 0, 0, 0)) }, Long, false},
		"very long": {func(h ntp.Header, send func([]byte)) { send(append(right(h).Append(nil), make([]byte, 2000)...)) }, Long, false},
		"mode":      {changed(func(h *ntp.Header) { h.Mode = ntp.ModeClient }), Mode, false},
		"version":   {changed(func(h *ntp.Header) { h.Version = 2 }), Version, false},
		"origin":    {changed(func(h *ntp.Header) { h.Origin ^= 1 }), Foreign, false},
		"constant":  {changed(func(h *ntp.Header) { h.Origin = 12345 }), Foreign, false},
		"receive":   {changed(func(h *ntp.Header) { h.Receive = 0 }), ZeroTime, false},
		"transmit":  {changed(func(h *ntp.Header) { h.Transmit = 0 }), ZeroTime, false},
		"order":     {changed(func(h *ntp.Header) { h.Transmit = h.Receive - 1 }), Backwards, false},
		"kiss":      {changed(func(h *ntp.Header) { h.Stratum, h.RefID = 0, ntp.KissRATE }), Kiss, false},
		"twice": {func(h ntp.Header, send func([]byte)) {
			b := right(h).Append(nil)
			send(b)
			send(b)
		}, Duplicate, true},
		"late": {func(h ntp.Header, send func([]byte)) { // each when the next has come, but the first
			if held != nil {
				held()
			} else {
				send(right(h).Append(nil))
			}
			b := right(h).Append(nil)
			held = func() { send(b) }
		}, Late, false},
	} {
		t.Run(name, c.test)
	}
}

func (c liar) test(t *testing.T) {
	o := quick(Open, lie(t, c.answer))
	o.Sockets, o.Timeout, o.Rate = 1, 100*time.Millisecond, 1000
	if c.want == Late {
		o.Rate, o.Timeout, o.Duration = 40, 5*time.Millisecond, 300*time.Millisecond
	}
	r, err := Run(t.Context(), o, nil)
	if err != nil || len(r.Steps) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	s := r.Main()
	for v, n := range s.Counts {
		may := Verdict(v) == c.want || Verdict(v) == Answered && c.answered || c.want == Duplicate && Verdict(v) == Late ||
			c.want == Late && Verdict(v) == Answered // two requests in a burst, from a machine that is busy
		if Verdict(v) == c.want && n == 0 || n > 0 && !may {
			t.Errorf("%d %v, want %v only", n, Verdict(v), c.want)
		}
	}
	if !c.answered && c.want != Late && s.LossPercent() != 100 || s.LossPercent() == 0 && c.want != Duplicate || s.Sent == 0 {
		t.Errorf("%v %% of %d lost", s.LossPercent(), s.Sent)
	}
	if c.want == Kiss && (len(s.Kisses) != 1 || s.Kisses[0] != Kisses{ntp.KissRATE, s.Counts[Kiss]}) {
		t.Errorf("kiss codes %v", s.Kisses)
	}
}

// A rate that is not held is tried again, and then the sweep is over where no other was held.
func TestRunSweepOfSilence(t *testing.T) {
	var asked atomic.Bool
	server := lie(t, func(h ntp.Header, send func([]byte)) {
		if !asked.Swap(true) {
			send([]byte("hello"))
		}
	})
	o := quick(Sweep, server)
	o.Duration, o.Timeout = 50*time.Millisecond, 10*time.Millisecond
	r, err := Run(t.Context(), o, nil)
	if err != nil || r.Highest != 0 || r.Failed != o.MinRate || len(r.Steps) != triesMax || r.Main() != nil || r.Heard() {
		t.Errorf("%+v, %v", r, err)
	}
}

// The server's own error is what is measured, with its sign: server minus local.
func TestRunMeasuresOffset(t *testing.T) {
	for _, offset := range []time.Duration{time.Hour, -time.Hour} {
		server := lie(t, func(h ntp.Header, send func([]byte)) {
			now := time.Now().Add(offset).UnixNano()
			send(ntp.Header{
				Version: h.Version, Mode: ntp.ModeServer, Stratum: 2, Leap: ntp.LeapUnsynchronised, Origin: h.Transmit,
				Receive: ntp.FromUnix(now), Transmit: ntp.FromUnix(now + int64(time.Minute)),
			}.Append(nil))
		})
		r, err := Run(t.Context(), quick(Closed, server), nil)
		if err != nil {
			t.Fatal(err)
		}
		s := r.Main()
		if s.Answered() == 0 || s.Unsynchronised != s.Answered() {
			t.Fatalf("%+v", s)
		}
		for what, c := range map[string]struct{ got, want time.Duration }{
			"offset": {s.Offset.P50, offset + 30*time.Second},
			"T2-T1":  {s.Request.P50, offset},
			"T3-T2":  {s.Processing.P50, time.Minute},
		} {
			if off := float64(c.got - c.want); math.Abs(off) > float64(c.want.Abs())/100+float64(time.Second) {
				t.Errorf("%s is %v, want %v", what, c.got, c.want)
			}
		}
	}
}

// What ends early gives what it has.
func TestRunInterrupted(t *testing.T) {
	server := serve(t)
	for _, loop := range []Loop{Closed, Open, Sweep} {
		o := quick(loop, server)
		o.Duration, o.Warmup = time.Hour, 0
		ctx, cancel := context.WithCancel(t.Context())
		shown := 0
		began := time.Now()
		r, err := Run(ctx, o, func(p Progress) {
			if shown++; shown == 2 {
				cancel()
			}
			if p.Step != 1 || p.Lasts != time.Hour || p.Elapsed <= 0 || (p.Wanted == 0) != (loop == Closed) {
				t.Errorf("%+v", p)
			}
		})
		cancel()
		if err != nil || !r.Interrupted || len(r.Steps) != 1 || r.Steps[0].Answered() == 0 || r.Steps[0].Held || (r.Main() == nil) != (loop == Sweep) {
			t.Errorf("loop %d: %+v, %v", loop, r, err)
		}
		if took := time.Since(began); took > time.Minute || r.Highest != 0 {
			t.Errorf("loop %d took %v", loop, took)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r, err := Run(ctx, quick(Closed, server), nil); !r.Interrupted || len(r.Steps) != 0 {
		t.Errorf("interrupted before it began: %+v, %v", r, err)
	}
}

// The first server that answers is asked, and the others are not loaded.
func TestRunReaches(t *testing.T) {
	server := serve(t)
	closed := netip.MustParseAddrPort("127.0.0.1:1")
	silent := lie(t, func(ntp.Header, func([]byte)) {})
	o := quick(Closed, closed, silent, server)
	o.Timeout = 50 * time.Millisecond
	r, err := Run(t.Context(), o, nil)
	if err != nil || r.Server != server {
		t.Errorf("%v, %v", r.Server, err)
	}
	o.Servers = []netip.AddrPort{closed}
	if _, err := Run(t.Context(), o, nil); !errors.Is(err, ErrNoAnswer) || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("where nobody listens: %v", err)
	}
	o.Servers = []netip.AddrPort{silent}
	if _, err := Run(t.Context(), o, nil); !errors.Is(err, ErrNoAnswer) || errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("where nobody answers: %v", err)
	}
}

// What the network says of a server that cannot be reached is no answer; what this host lacks
// is an error of its own.
func TestSilence(t *testing.T) {
	for err, noAnswer := range map[error]bool{
		nil: true, syscall.ECONNREFUSED: true, syscall.ENETUNREACH: true, syscall.EHOSTUNREACH: true, syscall.ENETDOWN: true,
		syscall.EHOSTDOWN: true, syscall.EADDRNOTAVAIL: true,
		syscall.ENOBUFS: false, syscall.EAGAIN: false, syscall.EPERM: false, errors.New("too many open files"): false,
	} {
		wrapped := err
		if err != nil {
			wrapped = fmt.Errorf("connect to it: %w", os.NewSyscallError("connect", err))
		}
		got := silence(wrapped)
		if errors.Is(got, ErrNoAnswer) != noAnswer || err != nil && !errors.Is(got, err) || got == nil {
			t.Errorf("%v: %v", err, got)
		}
	}
}
