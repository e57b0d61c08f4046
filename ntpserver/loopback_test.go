package ntpserver

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/netio"
	"github.com/truechimer/truechimer/internal/ntp"
)

// reading is what an interleaved client knows of one exchange: its clock before and
// after, and the reply.
type reading struct {
	before, after int64
	reply         ntp.Header
	interleaved   bool
}

// interleave asks in interleaved mode: origin is the last reply's receive
// timestamp, receive is when that reply came.
func interleave(t *testing.T, c *net.UDPConn, last reading) reading {
	t.Helper()
	now := reading{before: time.Now().UnixNano()}
	req := ntp.Header{Version: 4, Mode: ntp.ModeClient, Poll: 6, Transmit: ntp.FromUnix(now.before)}
	if last.after != 0 {
		req.Origin, req.Receive = last.reply.Receive, ntp.FromUnix(last.after)
	}
	reply, err := exchange(c, req.Append(nil))
	now.after = time.Now().UnixNano()
	if err != nil {
		t.Fatal(err)
	}
	now.reply, now.interleaved = reply, reply.Origin == req.Receive
	if !now.interleaved && reply.Origin != req.Transmit {
		t.Fatalf("%+v to %+v", reply, req)
	}
	return now
}

// TestServeInterleaved: a client hears when the reply before really left:
// between its own readings of the clock around that exchange, and not before
// what that reply said by itself.
func TestServeInterleaved(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs transmit timestamps")
	}
	const asked = 20
	noise := int64(ntp.Precision(-25).Duration()) + 1
	for _, addr := range loopbacks() {
		for _, workers := range []int{1, 3} {
			s := serve(t, Options{Addrs: []netip.AddrPort{addr}, Workers: workers})
			var all []reading
			for range asked {
				c := dial(t, addr.Addr().String(), s) // another port each time, and maybe another worker
				var last reading
				if len(all) > 0 {
					last = all[len(all)-1]
				}
				all = append(all, interleave(t, c, last))
				_ = c.Close()
			}
			heard := uint64(0)
			for i, now := range all {
				// The first asks for nothing, the second's wish was not known before, and one
				// that comes to another worker may be there before what the kernel tells is.
				if now.interleaved && i < 2 || !now.interleaved && i >= 2 && workers == 1 {
					t.Fatalf("%s, %d workers, reply %d: interleaved %v", addr, workers, i, now.interleaved)
				}
				if !now.interleaved {
					continue
				}
				heard++
				before := all[i-1]
				left := now.reply.Transmit
				if at := left.Unix(now.after); at < before.before-noise || at > before.after+noise || left.Before(before.reply.Receive) {
					t.Errorf("%s, reply %d: left %d ns after its request was made, %d before it came", addr, i, at-before.before, before.after-at)
				}
				if !before.interleaved && int64(left.Sub(before.reply.Transmit)) < -noise {
					t.Errorf("%s, reply %d: left %v before its own T3", addr, i, before.reply.Transmit.Sub(left))
				}
			}
			counts := s.Counts()
			if counts.Verdicts[Answered] != 1 || counts.Verdicts[AnsweredMissed] != asked-1-heard || counts.Verdicts[AnsweredInterleaved] != heard || heard < asked/2 {
				t.Errorf("%s: %v", addr, counts.Verdicts)
			}
			until(t, "the departures", func() bool { return s.Counts().Departures >= asked-2 })
			if got := s.Clients(2); len(got) != 1 || got[0].Addr != addr.Addr() || got[0].Interleaved != all[asked-1].interleaved || got[0].Requests != asked || got[0].Interval < time.Microsecond {
				t.Errorf("%s: %+v", addr, got)
			}
		}
	}
}

// TestPolicyOverLoopback: the options reach the workers, and SetPolicy does while they
// serve.
func TestPolicyOverLoopback(t *testing.T) {
	s := serve(t, Options{Addrs: addrs("127.0.0.1:0"), Policy: Policy{Deny: prefixes("127.0.0.0/8")}, BasicOnly: true, Workers: 2})
	c := dial(t, "127.0.0.1", s)
	req := plain(4, ntp.ModeClient)
	for i := range 3 {
		if _, err := c.Write(req); err != nil {
			t.Fatal(err)
		}
		until(t, "a refusal", func() bool { return s.Counts().Verdicts[DropDenied] == uint64(i+1) })
	}
	if err := s.SetPolicy(Policy{Rate: Rate{Interval: -1}}); err == nil {
		t.Error("accepts a rate below zero")
	}
	if err := s.SetPolicy(Policy{Rate: Rate{Interval: time.Hour, Burst: 2, Kiss: 1, Private: true}}); err != nil {
		t.Fatal(err)
	}
	kisses := 0
	for i := range 50 {
		h, err := exchange(c, req)
		if err != nil || h.Origin != 0x1122334455667788 {
			t.Fatalf("%+v, %v", h, err)
		}
		switch {
		case h.RefID == ntp.KissRATE && i >= 2:
			kisses++
		case h.Stratum != 3:
			t.Errorf("reply %d: %+v", i, h)
		}
	}
	counts := s.Counts().Verdicts
	if counts[DropDenied] != 3 || counts[Answered] != 2 || counts[KissRate] != uint64(kisses) || counts[AnsweredLeak] != uint64(48-kisses) || kisses < 12 {
		t.Errorf("%v", counts)
	}
	if got := s.Clients(9); s.Remembered() != 1 || len(got) != 1 || got[0].Requests != 53 || got[0].Drops != uint64(3+kisses) {
		t.Errorf("%+v", got)
	}
	if err := s.SetPolicy(Policy{}); err != nil {
		t.Fatal(err)
	}
	// BasicOnly.
	var last reading
	for range 4 {
		last = interleave(t, c, last)
		if last.interleaved {
			t.Error("an interleaved reply")
		}
	}
}

// TestGarbageIsNotLogged: whatever arrives, at whatever rate, writes no line.
func TestGarbageIsNotLogged(t *testing.T) {
	var log remember
	s := serve(t, Options{Addrs: addrs("127.0.0.1:0"), Workers: 1, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	c := dial(t, "127.0.0.1", s)
	honest := plain(4, ntp.ModeClient)
	garbage := [][]byte{{}, {0x23}, make([]byte, 48), make([]byte, 49), make([]byte, 3000), bytes.Repeat([]byte{0x17}, 192), append(bytes.Clone(honest), make([]byte, 16)...), interleavedRequest(1)[:44]}
	begun, rounds := time.Now(), 0
	for ; time.Since(begun) < 300*time.Millisecond || rounds < 20; rounds++ {
		for range 10 {
			for _, datagram := range garbage {
				_, _ = c.Write(datagram)
			}
		}
		if _, err := exchange(c, honest); err != nil {
			t.Fatal(err)
		}
	}
	var dropped uint64
	for v, n := range s.Counts().Verdicts {
		if Verdict(v).silent() {
			dropped += n
		}
	}
	if dropped != uint64(10*len(garbage)*rounds) {
		t.Errorf("%d dropped of %d", dropped, 10*len(garbage)*rounds)
	}
	log.mu.Lock()
	defer log.mu.Unlock()
	if log.text.Len() > 0 {
		t.Errorf("after %d datagrams: %s", dropped, &log.text)
	}
}

// held is what this process has: goroutines, threads and descriptors.
func held(t *testing.T) (h [3]int) {
	h[0] = runtime.NumGoroutine()
	for i, dir := range []string{"/proc/self/task", "/proc/self/fd"} {
		list, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		h[i+1] = len(list)
	}
	return h
}

// TestCyclesLeaveNothing: a server that is closed gives back its goroutines, threads
// and descriptors.
func TestCyclesLeaveNothing(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	const workers = 4
	cycle := func() {
		s, err := Listen(Options{Addrs: loopbacks(), Workers: workers, ClientsMax: 100})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- s.Serve(context.Background()) }()
		for _, addr := range s.Addrs() {
			c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(patience))
			for i := range 5 {
				if _, err := exchange(c, interleavedRequest(uint64(2*i+1))); err != nil {
					t.Error(err)
				}
			}
			_ = c.Close()
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	cycle()
	before := held(t)
	for range 10 {
		cycle()
	}
	// The runtime may start a few threads of its own; ten cycles used eighty.
	const threadsMax = 5
	until(t, fmt.Sprintf("what was held: %v", before), func() bool {
		now := held(t)
		return now[0] <= before[0] && now[1] <= before[1]+threadsMax && now[2] <= before[2]
	})
}

// TestDSCPIsCheckedByListen, which hands it on.
func TestDSCPIsCheckedByListen(t *testing.T) {
	if s, err := Listen(Options{Addrs: addrs("127.0.0.1:0"), DSCP: 64}); s != nil || err == nil {
		t.Error("accepts 64")
	}
	if s, err := Listen(Options{Addrs: addrs("127.0.0.1:0"), Interface: "no-such-one"}); s != nil || err == nil {
		t.Error("accepts an interface that is not there")
	}
}

func BenchmarkServeInterleaved(b *testing.B) {
	s := serve(b, Options{Addrs: addrs("127.0.0.1:0")})
	c := dial(b, "127.0.0.1", s)
	_ = c.SetDeadline(time.Time{})
	req, buf := interleavedRequest(1), make([]byte, 100)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(req); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Read(buf); err != nil {
			b.Fatal(err)
		}
		binary.BigEndian.PutUint64(req[originOffset:], receiveOf(buf))
	}
	if got := s.Counts(); got.Verdicts[AnsweredInterleaved] < uint64(b.N)*9/10 {
		b.Errorf("%v", got.Verdicts)
	}
}

// TestServeDepartsBeforeItArrives: whatever came before, lone requests or bursts, no reply
// of a burst claims to have left after it was there. Both sides read one clock, and the
// client's is the kernel's stamp; a prediction that a lucky group undercuts now and then is
// what the tolerance is for.
func TestServeDepartsBeforeItArrives(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs receive timestamps of the client's")
	}
	s := serve(t, Options{Addrs: addrs("127.0.0.1:0"), Workers: 1})
	flows, err := netio.DialFlows(s.Addrs()[0], 1, ntp.HeaderLen)
	if err != nil {
		t.Fatal(err)
	}
	defer flows.Close()
	const burst = 32
	for i := range burst {
		copy(flows.Out(i), plain(4, ntp.ModeClient))
	}
	late, answers, worst := 0, 0, time.Duration(0)
	round := func(n int) {
		if sent, err := flows.Send(0, n); sent != n {
			t.Fatal(sent, err)
		}
		for got, begun := 0, time.Now(); got < n; {
			flows.Watch(0)
			flows.Wait(patience)
			k, err := flows.Receive(0)
			if time.Since(begun) > patience {
				t.Fatalf("%d answers of %d: %v", got, n, err)
			}
			for i := range k {
				m := flows.In(i)
				h, _ := ntp.Decode(m.Data)
				if early := time.Duration(h.Transmit.Unix(m.At) - m.At); m.Stamped && early > 0 {
					late, worst = late+1, max(worst, early)
				}
			}
			got, answers = got+k, answers+k
		}
	}
	for range 40 {
		for range 100 {
			round(1)
		}
		round(burst)
	}
	answers -= 40 * 100
	t.Logf("%d of %d, by %v at the most", late, answers, worst)
	if late > answers/100 {
		t.Errorf("%d of %d replies claim to have left after they arrived, by %v at the most", late, answers, worst)
	}
}
