package ntpserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/truechimer/truechimer/internal/netio"
)

// workersMax bounds the sockets of one address: no machine that we know of has
// more cores.
const workersMax = 1024

// Options says what to serve and where. The zero value lacks an address.
type Options struct {
	// Addrs are the addresses to listen on. An unspecified one (0.0.0.0, ::) is
	// every address of its family and answers from the address that was asked;
	// port 0 takes a free port.
	Addrs []netip.AddrPort

	// Workers is how many sockets, each with a thread of its own, share every
	// address; 0 is one per core. The machine spreads its clients over them.
	// Only Linux can: elsewhere it is one.
	Workers int

	// Claims returns what is known of the clock at this moment; nil says that it
	// was never set. Every worker calls it once per batch, so it must be safe
	// for concurrent use, and fast: loading an atomic pointer is right. A nil
	// function serves an unsynchronised clock.
	Claims func() *Claims

	// Policy says who may ask, and how often. SetPolicy changes it later.
	Policy Policy

	// BasicOnly turns interleaved mode off: no timestamps of clients are kept.
	BasicOnly bool

	// ClientsMax is how many addresses are remembered at least; 0 is 65,536,
	// which takes some 11 MB once they have all asked. Those heard least
	// recently make room.
	ClientsMax int

	// DSCP is the code point that replies carry, 0 to 63.
	DSCP uint8

	// Interface is the network interface that requests must arrive on and
	// replies leave by; empty is any.
	Interface string

	// Logger is told of errors, at most one line in ten seconds; nil is silence.
	Logger *slog.Logger
}

// Server is an NTP server that is bound to its addresses. Its methods may be
// called concurrently.
type Server struct {
	addrs   []netip.AddrPort
	clients *Clients
	workers []*worker
	stop    chan struct{}
	close   func() error
	served  atomic.Bool
}

// Listen binds the addresses and answers nothing yet. The error says
// what to do where an address cannot be bound; nothing is then left open.
func Listen(o Options) (*Server, error) {
	if len(o.Addrs) == 0 {
		return nil, errors.New("ntpserver: no address to listen on: give at least one, such as 0.0.0.0:123")
	}
	if o.Workers < 0 || o.Workers > workersMax {
		return nil, fmt.Errorf("ntpserver: %d workers: give 1 to %d, or 0 for one per core", o.Workers, workersMax)
	}
	perAddr := o.Workers
	if perAddr == 0 {
		perAddr = runtime.GOMAXPROCS(0)
	}
	clients, err := NewClients(o.ClientsMax, o.BasicOnly)
	if err != nil {
		return nil, err
	}
	if err := clients.SetPolicy(o.Policy); err != nil {
		return nil, err
	}
	var sockets []netio.Socket
	for _, addr := range o.Addrs {
		group, err := netio.Listen(addr, perAddr, netio.Options{DSCP: o.DSCP, Interface: o.Interface})
		if err != nil {
			for _, s := range sockets {
				_ = s.Close()
			}
			return nil, fmt.Errorf("ntpserver: %w", err)
		}
		sockets = append(sockets, group...)
	}
	return newServer(o, clients, sockets), nil
}

// newServer returns a server over sockets, of which it becomes the owner.
func newServer(o Options, clients *Clients, sockets []netio.Socket) *Server {
	if o.Claims == nil {
		o.Claims = func() *Claims { return nil }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{clients: clients, stop: make(chan struct{})}
	begun, silence := time.Now(), new(quiet)
	for _, socket := range sockets {
		addr := socket.LocalAddr()
		if len(s.addrs) == 0 || s.addrs[len(s.addrs)-1] != addr {
			s.addrs = append(s.addrs, addr)
		}
		s.workers = append(s.workers, &worker{
			socket:    socket,
			claims:    o.Claims,
			now:       func() int64 { return time.Now().UnixNano() },
			mono:      func() int64 { return int64(time.Since(begun)) },
			logger:    o.Logger,
			quiet:     silence,
			stop:      s.stop,
			batch:     netio.NewBatch(),
			responder: Responder{Clients: clients},
		})
	}
	s.close = sync.OnceValue(s.closeAll)
	return s
}

// Addrs returns the addresses bound, with the ports that were chosen.
func (s *Server) Addrs() []netip.AddrPort { return append([]netip.AddrPort(nil), s.addrs...) }

// Serve answers until ctx is done or Close is called, and returns nil then:
// the sockets are closed and every worker has ended. A server serves once;
// a second Serve fails and changes nothing.
func (s *Server) Serve(ctx context.Context) error {
	if s.served.Swap(true) {
		return errors.New("ntpserver: Serve was called before: a server serves once")
	}
	cancel := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer cancel()
	var group sync.WaitGroup
	for _, w := range s.workers {
		group.Go(w.run)
	}
	group.Wait()
	return s.Close()
}

// Close closes the sockets; Serve then returns. Requests that have arrived and
// were not yet read are lost. Closing again returns what the first did.
func (s *Server) Close() error { return s.close() }

// closeAll is Close, the first time.
func (s *Server) closeAll() error {
	close(s.stop)
	var errs []error
	for _, w := range s.workers {
		errs = append(errs, w.socket.Close())
	}
	return errors.Join(errs...)
}

// Counts returns what the server did so far. Each count is exact; a request in
// flight may be in one and not yet in another.
func (s *Server) Counts() Counts {
	var sum Counts
	for _, w := range s.workers {
		w.counters.addTo(&sum)
	}
	return sum
}

// SetPolicy changes who may ask and how often, from the next request on. What is
// remembered of the clients stays. It fails, and changes nothing, where the policy
// contradicts itself or is out of range.
func (s *Server) SetPolicy(p Policy) error { return s.clients.SetPolicy(p) }

// Remembered returns how many clients Clients has to choose from.
func (s *Server) Remembered() int { return s.clients.records.len() }

// Clients returns the clients heard last, the latest first, at most n of them.
func (s *Server) Clients(n int) []Client { return s.clients.List(n) }
