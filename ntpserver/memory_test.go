package ntpserver

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/truechimer/truechimer/internal/ntp"
)

// crowd is a lot of clients that ask in turn, a tenth of them in interleaved mode, and
// a Responder with everything on. It allocates nothing after newCrowd.
type crowd struct {
	r        Responder
	receive  []uint64 // heard last, of those in interleaved mode
	req, dst []byte
	asked    int
	clients  int
	verdicts [verdicts]int
}

// newCrowd returns so many clients.
func newCrowd(t testing.TB, clients int) *crowd {
	c := newClients(t, 0, Policy{
		Deny: prefixes("203.0.113.0/24", "2001:db8:bad::/48"),
		Rate: Rate{Interval: time.Nanosecond, Burst: burstMax, Kiss: 1, Private: true}, // for all, refusing nobody
	})
	crowd := &crowd{r: Responder{Clients: c}, req: plain(4, ntp.ModeClient), dst: make([]byte, 48), clients: clients}
	crowd.receive = make([]uint64, clients/10+1)
	crowd.r.Use(honest())
	return crowd
}

// from returns the address of a client: one in eight has IPv6.
func (c *crowd) from(i int) netip.Addr {
	if i%8 == 3 {
		b := [16]byte{0x20, 1, 0x0d, 0xb8}
		binary.BigEndian.PutUint32(b[4:], uint32(i))
		b[15] = 1
		return netip.AddrFrom16(b)
	}
	b := [4]byte{}
	binary.BigEndian.PutUint32(b[:], 0x0a000000+uint32(i))
	return netip.AddrFrom4(b)
}

// ask lets n clients ask, a tenth of them in interleaved mode. Those do so four times
// in a row, or else what is kept for them would be pushed out before they come again.
func (c *crowd) ask(n int) {
	for range n {
		i := c.asked / 4 % c.clients
		follows := i%10 == 0
		if !follows {
			i = c.asked % c.clients
		}
		c.asked++
		now := int64(c.asked) * 1000
		word := uint64(c.asked) * 0x9e3779b97f4a7c15
		origin := uint64(0)
		if follows {
			origin = c.receive[i/10] | 1
		}
		binary.BigEndian.PutUint64(c.req[originOffset:], origin)
		a := Arrival{From: netip.AddrPortFrom(c.from(i), 41000), At: noon + now, Mono: now, Random: word}
		size, v := c.r.Respond(c.dst, c.req, a)
		c.r.Seal(c.dst[:size], noon+now+5000, word)
		if v.Followed() {
			c.receive[i/10] = receiveOf(c.dst)
			c.r.Departed(c.dst, noon+now+6000, word)
		}
		c.verdicts[v]++
	}
}

// TestMemoryIsBounded: ten million requests from more than a million addresses allocate nothing,
// and the heap is at the end what it was after the first tenth.
func TestMemoryIsBounded(t *testing.T) {
	clients, requests := 1_150_000, 10_000_000 // some clients ask in one mode only: a million do ask
	if raceEnabled || testing.Short() {
		clients, requests = 20_000, 200_000
	}
	c := newCrowd(t, clients)
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.HeapInuse
	}
	c.ask(requests / 10)
	first := heap()
	for tenth := 2; tenth <= 10; tenth++ {
		// AllocsPerRun calls it once more. What the runtime allocates now and then for
		// itself is lost in the mean.
		if got := testing.AllocsPerRun(requests/10-1, func() { c.ask(1) }); got != 0 {
			t.Errorf("tenth %d: %v allocations per answer", tenth, got)
		}
		if now := heap(); now < first-first/20 || now > first+first/20 {
			t.Errorf("tenth %d: %d bytes of heap, %d after the first", tenth, now, first)
		}
	}
	if c.asked != requests || c.verdicts[Answered]+c.verdicts[AnsweredInterleaved]+c.verdicts[AnsweredMissed] != requests {
		t.Errorf("%d requests: %v", c.asked, c.verdicts)
	}
	if got := c.verdicts[AnsweredInterleaved]; got < requests/20 {
		t.Errorf("only %d answers in interleaved mode", got)
	}
	if got := len(c.r.Clients.List(10 * clients)); got > clientsDefault || got < min(clients, clientsDefault)/2 {
		t.Errorf("%d addresses are remembered", got)
	}
	runtime.KeepAlive(c)
}

// TestMemoryOfClients is what NewClients says.
func TestMemoryOfClients(t *testing.T) {
	sets := clientsDefault / setLen
	bytes := sets * int(unsafe.Sizeof(set[record]{})+unsafe.Sizeof(set[bucket]{})+unsafe.Sizeof(set[departure]{}))
	if bytes < 9<<20 || bytes > 11<<20 {
		t.Errorf("%d bytes for %d clients: the documentation says some 10 MB", bytes, clientsDefault)
	}
}

// TestEverythingOnDoesNotAllocate, whatever the verdict.
func TestEverythingOnDoesNotAllocate(t *testing.T) {
	for name, p := range map[string]Policy{
		"open":    {},
		"denied":  {Deny: prefixes("0.0.0.0/0", "::/0")},
		"limited": {Rate: Rate{Interval: time.Hour, Burst: 1, Private: true}},
		"kissed":  {Rate: Rate{Interval: time.Hour, Burst: 1, Private: true, Kiss: 1}},
	} {
		c := newCrowd(t, 100)
		if err := c.r.Clients.SetPolicy(p); err != nil {
			t.Fatal(err)
		}
		if got := testing.AllocsPerRun(2000, func() { c.ask(1) }); got != 0 {
			t.Errorf("%s: %v allocations, verdicts %v", name, got, c.verdicts)
		}
	}
}

func BenchmarkCrowd(b *testing.B) {
	for _, v := range []struct {
		name    string
		clients int
	}{{"10 addresses", 10}, {"1M addresses", 1_000_000}} {
		b.Run(v.name, func(b *testing.B) {
			c := newCrowd(b, v.clients)
			b.ReportAllocs()
			for b.Loop() {
				c.ask(1)
			}
		})
	}
}
