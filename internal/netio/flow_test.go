package netio

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// dialers are all kinds of flows that this system has.
func dialers() map[string]func(netip.AddrPort, int, int) (Flows, error) {
	return map[string]func(netip.AddrPort, int, int) (Flows, error){
		"own": DialFlows,
		"plain": func(server netip.AddrPort, n, lenBytes int) (Flows, error) {
			return dialPlainFlows(server, n, lenBytes)
		},
	}
}

// receiveFlow waits until n datagrams have come to a socket, and returns them.
func receiveFlow(t *testing.T, f Flows, flow, n int) (all []Message) {
	t.Helper()
	for end := time.Now().Add(patience); len(all) < n; {
		if time.Now().After(end) {
			t.Fatalf("%d of %d datagrams", len(all), n)
		}
		got, err := f.Receive(flow)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			m := *f.In(i)
			m.Data = append([]byte(nil), m.Data...)
			all = append(all, m)
		}
		if got == 0 {
			f.Watch(flow)
			f.Wait(10 * time.Millisecond)
		}
	}
	return all
}

func TestFlows(t *testing.T) {
	for name, dial := range dialers() {
		for _, addr := range []string{"127.0.0.1", "::1"} {
			t.Run(name+" "+addr, func(t *testing.T) {
				server, at := peer(t, addr)
				f, err := dial(at, 3, 5)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				if f.Len() != 3 || len(f.Out(0)) != 5 || len(f.Out(FlowBatchMax-1)) != 5 {
					t.Fatalf("%d sockets, room for %d bytes", f.Len(), len(f.Out(0)))
				}
				for i := range FlowBatchMax {
					copy(f.Out(i), fmt.Sprintf("%05d", i))
				}
				ports := map[uint16]bool{}
				for flow, n := range []int{1, FlowBatchMax, 7} {
					if sent, err := f.Send(flow, n); sent != n || err != nil {
						t.Fatalf("%d of %d sent, %v", sent, n, err)
					}
					var from netip.AddrPort
					for i := range n {
						var b [100]byte
						var got int
						got, from, err = server.ReadFromUDPAddrPort(b[:])
						if want := fmt.Sprintf("%05d", i); err != nil || string(b[:got]) != want {
							t.Fatalf("the server got %q, %v; want %q", b[:got], err, want)
						}
					}
					ports[from.Port()] = true
					before := time.Now().UnixNano()
					for _, text := range []string{"first", strings.Repeat("x", FlowDatagramMax), strings.Repeat("y", FlowDatagramMax+1), strings.Repeat("z", 1500), ""} {
						if _, err := server.WriteToUDPAddrPort([]byte(text), from); err != nil {
							t.Fatal(err)
						}
					}
					all := receiveFlow(t, f, flow, 5)
					for i, want := range []struct {
						lenBytes  int
						truncated bool
					}{{5, false}, {FlowDatagramMax, false}, {FlowDatagramMax, true}, {FlowDatagramMax, true}, {0, false}} {
						m := all[i]
						if len(m.Data) != want.lenBytes || m.Truncated != want.truncated || m.At < before || m.At > time.Now().UnixNano() {
							t.Errorf("datagram %d is %d bytes, truncated %v, at %d", i, len(m.Data), m.Truncated, m.At-before)
						}
					}
					if string(all[0].Data) != "first" {
						t.Errorf("the first is %q", all[0].Data)
					}
				}
				if len(ports) != 3 {
					t.Errorf("%d source ports", len(ports))
				}
				for flow := range 3 {
					if n, err := f.Receive(flow); n != 0 || err != nil {
						t.Errorf("there is more: %d, %v", n, err)
					}
				}
				if f.Dropped() != 0 {
					t.Errorf("%d dropped", f.Dropped())
				}
			})
		}
	}
}

// A stranger cannot answer.
func TestFlowsStranger(t *testing.T) {
	for name, dial := range dialers() {
		server, at := peer(t, "127.0.0.1")
		stranger, _ := peer(t, "127.0.0.1")
		f, err := dial(at, 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Send(0, 1); err != nil {
			t.Fatal(err)
		}
		var b [1]byte
		_, from, err := server.ReadFromUDPAddrPort(b[:])
		if err != nil {
			t.Fatal(err)
		}
		_, err1 := stranger.WriteToUDPAddrPort([]byte("stranger"), from)
		_, err2 := server.WriteToUDPAddrPort([]byte("server"), from)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		if m := receiveFlow(t, f, 0, 1)[0]; string(m.Data) != "server" {
			t.Errorf("%s: received %q", name, m.Data)
		}
		_ = f.Close()
	}
}

// Nobody listens: that is told once for each time that the network says it.
func TestFlowsRefused(t *testing.T) {
	for name, dial := range dialers() {
		server, at := peer(t, "127.0.0.1")
		_ = server.Close()
		f, err := dial(at, 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		if sent, err := f.Send(0, 1); sent != 1 || err != nil {
			t.Errorf("%s: %d sent, %v", name, sent, err)
		}
		for end := time.Now().Add(patience); !errors.Is(err, syscall.ECONNREFUSED); {
			if time.Now().After(end) {
				t.Fatalf("%s: %v", name, err)
			}
			f.Watch(0)
			f.Wait(time.Millisecond)
			_, err = f.Receive(0)
		}
		if n, err := f.Receive(0); n != 0 || err != nil {
			t.Errorf("%s: again: %d, %v", name, n, err)
		}
		_ = f.Close()
	}
}

// Wait lasts as long as it is told, and no longer than until something comes.
func TestFlowsWait(t *testing.T) {
	for name, dial := range dialers() {
		server, at := peer(t, "127.0.0.1")
		f, err := dial(at, 2, 1)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		f.Watch(0)
		f.Wait(20 * time.Millisecond)
		if took := time.Since(began); took < 19*time.Millisecond {
			t.Errorf("%s: waited %v", name, took)
		}
		f.Wait(-time.Second)
		if _, err := f.Send(1, 1); err != nil {
			t.Fatal(err)
		}
		var b [1]byte
		_, from, err := server.ReadFromUDPAddrPort(b[:])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := server.WriteToUDPAddrPort(b[:], from); err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		for range 10 { // no more than there are
			f.Watch(1)
		}
		f.Wait(time.Hour)
		if took := time.Since(began); took > time.Minute {
			t.Errorf("%s: waited %v", name, took)
		}
		_ = f.Close()
	}
}

func TestDialFlowsRefuses(t *testing.T) {
	server := netip.MustParseAddrPort("127.0.0.1:123")
	for want, c := range map[string]struct {
		server      netip.AddrPort
		n, lenBytes int
	}{
		"no such server":  {netip.AddrPort{}, 1, 1},
		"no such server ": {netip.MustParseAddrPort("127.0.0.1:0"), 1, 1},
		"0 sockets":       {server, 0, 1},
		"4097 sockets":    {server, FlowsMax + 1, 1},
		"0 bytes":         {server, 1, 0},
		"257 bytes":       {server, 1, FlowDatagramMax + 1},
	} {
		if _, err := DialFlows(c.server, c.n, c.lenBytes); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(want)) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// What nobody reads is lost here, and counted.
func TestFlowsDropped(t *testing.T) {
	for name, dial := range dialers() {
		if name == "own" && runtime.GOOS != "linux" {
			continue // the same, and the kernel's share of it is not known
		}
		server, at := peer(t, "127.0.0.1")
		f, err := dial(at, 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Send(0, 1); err != nil {
			t.Fatal(err)
		}
		var b [1]byte
		_, from, err := server.ReadFromUDPAddrPort(b[:])
		if err != nil {
			t.Fatal(err)
		}
		for n := 0; f.Dropped() == 0; n++ {
			if n > 100_000 {
				t.Fatalf("%s: nothing was dropped", name)
			}
			if _, err := server.WriteToUDPAddrPort(make([]byte, 100), from); err != nil {
				t.Fatal(err)
			}
		}
		_ = f.Close()
	}
}

func TestFlowsDoNotAllocate(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only the kernel's flows promise that")
	}
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	f, err := DialFlows(conn.LocalAddr().(*net.UDPAddr).AddrPort(), 1, 48)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [48]byte
	n := testing.AllocsPerRun(100, func() {
		for _, batch := range []int{1, 8} {
			_, _ = f.Send(0, batch) // what is lost here is not what this is about
			for range batch {
				_, from, _ := conn.ReadFromUDPAddrPort(b[:])
				_, _ = conn.WriteToUDPAddrPort(b[:], from)
			}
			f.Watch(0)
			f.Wait(time.Second)
			for got := 0; got < batch; {
				n, _ := f.Receive(0)
				got += n
			}
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
