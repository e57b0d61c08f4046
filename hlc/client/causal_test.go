package client_test

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/hlc/client"
)

// message is what goes over the bus: a timestamp, and what its sender knew.
type message struct {
	id    int
	from  int // process; badProcess lies about the time
	ts    hlc.Timestamp
	cause *message // that it answers; nil: none
}

// bus delivers messages late, in another order, and some of them several times.
type bus struct {
	mu      sync.Mutex
	rng     *rand.Rand
	waiting [2][]*message // for each process
	sent    []*message
}

func (b *bus) send(m *message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m.id = len(b.sent)
	b.sent = append(b.sent, m)
	for to := range b.waiting {
		if to == m.from {
			continue
		}
		for range 1 + b.rng.IntN(3)/2 { // one in three comes twice
			at := b.rng.IntN(len(b.waiting[to]) + 1)
			b.waiting[to] = append(b.waiting[to], nil)
			copy(b.waiting[to][at+1:], b.waiting[to][at:])
			b.waiting[to][at] = m
		}
		if n := len(b.sent); n > 10 && b.rng.IntN(5) == 0 { // and an old one comes back
			b.waiting[to] = append(b.waiting[to], b.sent[b.rng.IntN(n)])
		}
	}
}

func (b *bus) receive(to int) *message {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting[to]) == 0 {
		return nil
	}
	m := b.waiting[to][0]
	b.waiting[to] = b.waiting[to][1:]
	if m.from == to { // an old one of its own
		return nil
	}
	return m
}

const badProcess = 2

// TestCausal: two processes at appliances whose clocks wander by up to 50 ms either way answer
// each other over a bus that delays, reorders and repeats, while somebody sends timestamps of an
// hour ahead. No message sorts before one that it answers, or before one that its sender sent
// earlier; and nobody's clock is moved by the liar.
func TestCausal(t *testing.T) {
	const messages = 4000
	var skew [2]atomic.Int64
	b := &bus{rng: rand.New(rand.NewPCG(1, 2))}
	var appliances [2]*appliance
	var lasts [2]hlc.Timestamp
	var refused atomic.Int64
	for p := range appliances {
		a := newAppliance(t)
		a.stop()
		a.physical = func() int64 { return time.Now().UnixNano() + skew[p].Load() }
		a.start(t)
		appliances[p] = a
	}
	var processes sync.WaitGroup
	var sent atomic.Int64
	for p, a := range appliances {
		c := clientOf(t, a)
		processes.Go(func() {
			rng := rand.New(rand.NewPCG(3, uint64(p)))
			for sent.Load() < messages {
				if rng.IntN(50) == 0 {
					skew[p].Store(rng.Int64N(int64(100*time.Millisecond)) - int64(50*time.Millisecond))
				}
				ctx, m := t.Context(), b.receive(p)
				if m != nil {
					ctx = client.WithPast(ctx, m.ts)
				}
				ts, err := c.Now(ctx)
				switch {
				case m != nil && m.from == badProcess:
					if !errors.Is(err, hlc.ErrLead) {
						t.Errorf("a message an hour ahead: %d, %v", ts, err)
						return
					}
					refused.Add(1)
					continue
				case err != nil:
					t.Error(err)
					return
				case ts <= lasts[p]:
					t.Errorf("process %d: %d after %d", p, ts, lasts[p])
				}
				lasts[p] = ts
				b.send(&message{from: p, ts: ts, cause: m})
				if n := sent.Add(1); n%10 == 0 {
					b.send(&message{from: badProcess, ts: hlc.FromUnix(time.Now().Add(time.Hour).UnixNano())})
				}
			}
		})
	}
	processes.Wait()
	answers := 0
	for _, m := range b.sent {
		if m.cause == nil {
			continue
		}
		answers++
		if m.ts <= m.cause.ts {
			t.Errorf("%d answers %d, and sorts before it", m.ts, m.cause.ts)
		}
	}
	if answers < messages/4 || refused.Load() < messages/100 {
		t.Errorf("%d answers, %d refused: the bus was too quiet", answers, refused.Load())
	}
	for p, a := range appliances {
		if lead := lasts[p].Sub(hlc.FromUnix(time.Now().UnixNano())); lead > 200*time.Millisecond {
			t.Errorf("appliance %d leads by %v", p, lead)
		}
		if last := a.issuer.Status().Last; last.Sub(hlc.FromUnix(time.Now().UnixNano())) > 200*time.Millisecond {
			t.Errorf("appliance %d has issued %v", p, last)
		}
	}
}
