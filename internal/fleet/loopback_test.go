package fleet

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/ntp"
	"github.com/truechimer/truechimer/internal/rpc"
)

// serve answers requests over NTP on loopback by a clock that is ahead, until the test is over.
func serve(t *testing.T, ahead time.Duration) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		var b [1024]byte
		for {
			n, from, err := conn.ReadFromUDPAddrPort(b[:])
			if err != nil {
				return
			}
			request, err := ntp.Decode(b[:n])
			if err != nil {
				continue
			}
			now := ntp.FromUnix(time.Now().Add(ahead).UnixNano())
			reply := ntp.Header{
				Version: request.Version, Mode: ntp.ModeServer, Stratum: 2, Precision: -20, RefID: 1,
				Origin: request.Transmit, Receive: now, Transmit: now, Reference: now,
			}
			conn.WriteToUDPAddrPort(reply.Append(nil), from)
		}
	})
	t.Cleanup(func() {
		conn.Close()
		serving.Wait()
	})
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// Over real sockets: one host is right, one is a second behind, and at one nobody serves.
func TestLoopback(t *testing.T) {
	right, behind := serve(t, 0), serve(t, -time.Second)
	closed, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.LocalAddr().(*net.UDPAddr).AddrPort()
	closed.Close()

	entries := make(chan *rpc.JournalEntry, 16)
	p, err := New(Options{
		Groups: []Group{
			{Name: "right", Hosts: []string{right.String()}, Profile: limit()},
			{Name: "behind", Hosts: []string{behind.String()}, Profile: limit()},
			{Name: "nobody", Hosts: []string{nobody.String()}, Profile: limit()},
		},
		Clock:   func() (int64, time.Duration, bool) { return time.Now().UnixNano(), time.Microsecond, true },
		Journal: func(e *rpc.JournalEntry) { entries <- e },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { p.Run(ctx) })
	for range 3 {
		<-entries
	}
	cancel()
	running.Wait()

	hosts := p.Hosts("", false)
	if len(hosts) != 3 {
		t.Fatal(hosts)
	}
	r, b, n := hosts[0], hosts[1], hosts[2]
	if r.LastAnswerUnixNs == 0 || r.BoundNs < max(r.OffsetNs, -r.OffsetNs) || r.Stratum != 2 {
		t.Errorf("%v", r)
	}
	// The true offset is known: a second. The bound must hold it, however slow this machine is.
	if miss := b.OffsetNs - int64(time.Second); b.Verdict != rpc.Verdict_VERDICT_BREACH || max(miss, -miss) > b.BoundNs-b.OffsetNs {
		t.Errorf("%v", b)
	}
	if n.Verdict != rpc.Verdict_VERDICT_UNKNOWN || n.LastAnswerUnixNs != 0 || n.Lost != 1 {
		t.Errorf("%v", n)
	}
}
