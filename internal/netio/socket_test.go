package netio

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen.
const patience = 5 * time.Second

// needFamily skips a test of IPv6 where the machine has none.
func needFamily(t testing.TB, addr string) {
	t.Helper()
	if !netip.MustParseAddrPort(addr).Addr().Is6() {
		return
	}
	c, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		t.Skipf("needs IPv6: %v", err)
	}
	_ = c.Close()
}

// listen opens one socket and closes it at the end of the test.
func listen(t testing.TB, addr string) Socket {
	t.Helper()
	needFamily(t, addr)
	sockets, err := Listen(netip.MustParseAddrPort(addr), 1, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sockets[0].Close() })
	return sockets[0]
}

// both runs a test over the sockets of this system and over plain ones.
func both(t *testing.T, addr string, test func(t *testing.T, s Socket)) {
	t.Run("system", func(t *testing.T) { test(t, listen(t, addr)) })
	t.Run("plain", func(t *testing.T) {
		needFamily(t, addr)
		s, err := openPlain(netip.MustParseAddrPort(addr))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		test(t, s)
	})
}

// dial returns a client connected to a port of an address: it accepts
// datagrams from there only.
func dial(t testing.TB, addr string, port uint16) *net.UDPConn {
	t.Helper()
	to := netip.AddrPortFrom(netip.MustParseAddr(addr), port)
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

// echo answers n datagrams with themselves.
func echo(s Socket, n int) error {
	b := NewBatch()
	for n > 0 {
		got, err := s.Receive(b)
		if err != nil {
			return err
		}
		for i := range got {
			b.Queue(i, len(b.Message(i).Data), false)
		}
		if _, err := s.Flush(b); err != nil {
			return err
		}
		n -= got
	}
	return nil
}

func TestEcho(t *testing.T) {
	for _, c := range []struct{ listen, ask string }{
		{"127.0.0.1:0", "127.0.0.1"},
		{"0.0.0.0:0", "127.0.0.1"},
		{"[::1]:0", "::1"},
		{"[::]:0", "::1"},
	} {
		t.Run(c.listen, func(t *testing.T) {
			both(t, c.listen, func(t *testing.T, s Socket) {
				client := dial(t, c.ask, s.LocalAddr().Port())
				done := make(chan error, 1)
				go func() { done <- echo(s, 2) }()
				for _, text := range []string{"", "forty-eight bytes"} {
					if _, err := client.Write([]byte(text)); err != nil {
						t.Fatal(err)
					}
					got := make([]byte, 100)
					n, err := client.Read(got)
					if err != nil || string(got[:n]) != text {
						t.Fatalf("got %q, %v; want %q", got[:n], err, text)
					}
				}
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestWildcardRepliesFromTheAddressAsked: a connected client hears nothing
// that comes from another address.
func TestWildcardRepliesFromTheAddressAsked(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs packet information")
	}
	s := listen(t, "0.0.0.0:0")
	done := make(chan error, 1)
	asked := []string{"127.0.0.2", "127.0.0.1", "127.9.8.7"}
	go func() { done <- echo(s, len(asked)) }()
	for _, addr := range asked {
		client := dial(t, addr, s.LocalAddr().Port())
		_, _ = client.Write([]byte(addr))
		got := make([]byte, 100)
		if n, err := client.Read(got); err != nil || string(got[:n]) != addr {
			t.Errorf("%s: got %q, %v", addr, got[:n], err)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestReceiveDescribesTheDatagram(t *testing.T) {
	both(t, "127.0.0.1:0", func(t *testing.T, s Socket) {
		client := dial(t, "127.0.0.1", s.LocalAddr().Port())
		before := time.Now().UnixNano()
		if _, err := client.Write([]byte("now")); err != nil {
			t.Fatal(err)
		}
		after := time.Now().UnixNano()
		time.Sleep(20 * time.Millisecond) // the datagram waits; its stamp must not
		b := NewBatch()
		n, err := s.Receive(b)
		if n != 1 || err != nil {
			t.Fatal(n, err)
		}
		m := b.Message(0)
		_, system := s.(plain)
		if m.Stamped == system {
			t.Errorf("stamped: %v", m.Stamped)
		}
		if m.Stamped && (m.At < before || m.At > after) {
			t.Errorf("arrived %d ns after the send began, which took %d", m.At-before, after-before)
		}
		if !m.Stamped && m.At < after {
			t.Errorf("read %d ns before the send ended", after-m.At)
		}
		if want := client.LocalAddr().(*net.UDPAddr).AddrPort(); m.From != want {
			t.Errorf("from %s, want %s", m.From, want)
		}
		if string(m.Data) != "now" || m.Truncated {
			t.Errorf("data %q, truncated %v", m.Data, m.Truncated)
		}
	})
}

func TestReceiveMarksWhatIsTruncated(t *testing.T) {
	both(t, "127.0.0.1:0", func(t *testing.T, s Socket) {
		client := dial(t, "127.0.0.1", s.LocalAddr().Port())
		b := NewBatch()
		for _, size := range []int{DatagramMax - 1, DatagramMax, DatagramMax + 1, 60_000, 1} {
			sent := bytes.Repeat([]byte{7}, size)
			if _, err := client.Write(sent); err != nil {
				t.Fatal(err)
			}
			if n, err := s.Receive(b); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			m := b.Message(0)
			if m.Truncated != (size > DatagramMax) || !bytes.Equal(m.Data, sent[:min(size, DatagramMax)]) {
				t.Errorf("%d bytes: got %d, truncated %v", size, len(m.Data), m.Truncated)
			}
		}
	})
}

// TestBatches: what waits is received in one call, in order, and replies that
// are left out do not shift the others: each leaves from the address that its own
// request was sent to.
func TestBatches(t *testing.T) {
	s := listen(t, "0.0.0.0:0")
	if !balanced {
		t.Skip("one datagram at a time")
	}
	clients := make([]*net.UDPConn, BatchMax+3)
	for i := range clients {
		clients[i] = dial(t, []string{"127.0.0.1", "127.0.0.2"}[i%2], s.LocalAddr().Port())
		if _, err := clients[i].Write([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	b := NewBatch()
	seen := 0
	for _, want := range []int{BatchMax, 3} {
		n, err := s.Receive(b)
		if n != want || err != nil {
			t.Fatalf("got %d, %v; want %d", n, err, want)
		}
		for i := range n {
			m := b.Message(i)
			if len(m.Data) != 1 || int(m.Data[0]) != seen {
				t.Fatalf("message %d: got %v, want %d", i, m.Data, seen)
			}
			if seen%3 == 1 {
				m.Data[0] += 100
				b.Queue(i, 1, false)
			}
			seen++
		}
		if failed, err := s.Flush(b); failed != 0 || err != nil || b.Queued() != 0 {
			t.Fatal(failed, err, b.Queued())
		}
	}
	for i, c := range clients {
		got := make([]byte, 2)
		if i%3 != 1 {
			_ = c.SetReadDeadline(time.Now())
		}
		n, err := c.Read(got)
		if i%3 == 1 && (n != 1 || err != nil || int(got[0]) != i+100) {
			t.Errorf("client %d: got %v, %v", i, got[:n], err)
		}
		if i%3 != 1 && err == nil {
			t.Errorf("client %d was answered", i)
		}
	}
}

func TestFlushSkipsWhatTheKernelRefuses(t *testing.T) {
	both(t, "127.0.0.1:0", func(t *testing.T, s Socket) {
		client := dial(t, "127.0.0.1", s.LocalAddr().Port())
		b := NewBatch()
		_, _ = client.Write([]byte("a"))
		if n, err := s.Receive(b); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		forget(b, 1) // a second message, from nobody
		b.Queue(1, 1, true)
		b.Queue(0, 1, true)
		b.Queue(1, 1, true)
		failed, err := s.Flush(b)
		departing := 1
		if _, unstamped := s.(plain); unstamped {
			departing = 0
		}
		if b.Departing() != departing {
			t.Errorf("%d depart, want %d", b.Departing(), departing)
		}
		if failed != 2 || err == nil {
			t.Errorf("failed %d, %v; want 2", failed, err)
		}
		if n, err := client.Read(make([]byte, 2)); n != 1 || err != nil {
			t.Errorf("the reply between was lost: %d, %v", n, err)
		}
	})
}

func TestQueueIgnoresWhatDoesNotFit(t *testing.T) {
	b := NewBatch()
	b.Queue(0, -1, false)
	b.Queue(0, DatagramMax+1, false)
	if b.Queued() != 0 {
		t.Errorf("queued %d", b.Queued())
	}
	for range BatchMax + 1 {
		b.Queue(0, DatagramMax, false)
	}
	if b.Queued() != BatchMax {
		t.Errorf("queued %d", b.Queued())
	}
}

// TestCloseWakesReceive closes under readers that wait, are about to wait, and
// are busy.
func TestCloseWakesReceive(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::]:0"} {
		both(t, addr, func(t *testing.T, s Socket) {
			done := make(chan error, 1)
			go func() {
				n, err := s.Receive(NewBatch())
				if n != 0 {
					t.Errorf("received %d datagrams from nobody", n)
				}
				done <- err
			}()
			time.Sleep(10 * time.Millisecond) // either side of this is right; the far one is the interesting one
			start := time.Now()
			var closers sync.WaitGroup
			for range 3 {
				closers.Go(func() {
					if err := s.Close(); err != nil {
						t.Error(err)
					}
				})
			}
			closers.Wait()
			if took := time.Since(start); took > receiveTimeoutTest/2 {
				t.Errorf("closing took %v: it was the timeout that woke the reader", took)
			}
			select {
			case err := <-done:
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("got %v", err)
				}
			case <-time.After(patience):
				t.Fatal("Receive did not return")
			}
			b := NewBatch()
			if n, err := s.Receive(b); n != 0 || !errors.Is(err, net.ErrClosed) {
				t.Errorf("after Close: %d, %v", n, err)
			}
			b.messages[0].From = s.LocalAddr()
			b.Queue(0, 1, false)
			if failed, err := s.Flush(b); failed != 1 || !errors.Is(err, net.ErrClosed) || b.Queued() != 0 {
				t.Errorf("after Close: %d, %v, %d queued", failed, err, b.Queued())
			}
		})
	}
}

// receiveTimeoutTest is the belt's timeout, which no test should need.
const receiveTimeoutTest = time.Second

func TestCloseUnderLoad(t *testing.T) {
	for range 50 {
		s := listen(t, "127.0.0.1:0")
		client := dial(t, "127.0.0.1", s.LocalAddr().Port())
		stop := make(chan struct{})
		var group sync.WaitGroup
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_, _ = client.Write([]byte("x"))
				}
			}
		})
		done := make(chan error, 1)
		go func() { done <- echo(s, 1<<30) }()
		time.Sleep(time.Millisecond)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v", err)
		}
		close(stop)
		group.Wait()
	}
}

func TestMemory(t *testing.T) {
	local, from := netip.MustParseAddrPort("192.0.2.1:123"), netip.MustParseAddrPort("192.0.2.9:5000")
	m := NewMemory(local)
	b := NewBatch()
	m.Deliver(Message{Data: []byte("ab"), From: from, At: 5, Stamped: true}, Message{Data: make([]byte, DatagramMax+1), From: from})
	n, err := m.Receive(b)
	if n != 2 || err != nil || string(b.Message(0).Data) != "ab" || b.Message(0).At != 5 || !b.Message(1).Truncated {
		t.Fatal(n, err, *b.Message(0))
	}
	b.Queue(0, 1, false)
	if failed, err := m.Flush(b); failed != 0 || err != nil {
		t.Fatal(failed, err)
	}
	if sent := m.Sent(); len(sent) != 1 || sent[0].To != from || string(sent[0].Data) != "a" {
		t.Errorf("sent %v", sent)
	}
	m.Refuse(syscall.EPERM)
	b.Queue(0, 1, false)
	if failed, err := m.Flush(b); failed != 1 || !errors.Is(err, syscall.EPERM) {
		t.Fatal(failed, err)
	}
	_, _ = m.Close(), m.Close()
	if _, err := m.Receive(b); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}
