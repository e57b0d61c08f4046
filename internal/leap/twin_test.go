package leap

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
)

// slowClock is a clock as the kernel has it, that counts one second at a time.
type slowClock struct {
	unix   int64 // seconds
	offset int   // TAI−UTC, as the leap seconds so far made it
	again  bool  // this second is the inserted one
}

// tick goes on by one second. At midnight it looks whether there is a leap second.
func (c *slowClock) tick(events map[int64]int) {
	switch next := c.unix + 1; {
	case !c.again && events[next] > 0: // 23:59:60: the last second again
		c.offset++
		c.again = true
	case events[next+1] < 0: // there is no 23:59:59
		c.unix += 2
		c.offset--
	default:
		c.unix = next
		c.again = false
	}
}

// randomTable has leap seconds at the ends of random months, both ways.
func randomTable(t *testing.T, random *rand.Rand) (*Table, map[int64]int) {
	base := random.IntN(60) - 20
	offset := base
	changes := map[int64]int{}
	var events []Event
	month := time.Date(1972+random.IntN(200), time.Month(1+random.IntN(12)), 1, 0, 0, 0, 0, time.UTC)
	for range random.IntN(6) {
		month = month.AddDate(0, 1+random.IntN(2)*random.IntN(20), 0)
		change := 1 - 2*random.IntN(2)
		offset += change
		events = append(events, Event{At: month.UnixNano(), Offset: offset})
		changes[month.Unix()] = change
	}
	return table(t, base, events...), changes
}

func TestTwin(t *testing.T) {
	const seed = 20170101
	random := rand.New(rand.NewPCG(seed, 0))
	for range 300 {
		made, changes := randomTable(t, random)
		for i, e := range made.events {
			slow := slowClock{unix: e.At/second - 5, offset: made.before(i)}
			tai := slow.unix*second + int64(slow.offset)*second
			for range 10 {
				for _, ns := range []int64{0, 1, random.Int64N(second), second - 1} {
					utc := slow.unix*second + ns
					if got := made.UTC(tai + ns); got != utc {
						t.Fatalf("seed %d: %+v: UTC of %d is %d, the slow clock shows %d", seed, made.events, tai+ns, got, utc)
					}
					want := tai + ns
					if slow.again {
						want -= second // of two seconds that look the same, the first
					}
					if got := made.TAI(utc); got != want {
						t.Fatalf("seed %d: %+v: TAI of %d is %d, want %d", seed, made.events, utc, got, want)
					}
					twice := changes[slow.unix+1] > 0
					if made.Ambiguous(utc) != twice {
						t.Fatalf("seed %d: %+v: %d is ambiguous: %v", seed, made.events, utc, !twice)
					}
				}
				slow.tick(changes)
				tai += second
			}
			if slow.offset != e.Offset || slow.again {
				t.Fatalf("seed %d: the slow clock made no leap: %+v", seed, slow)
			}
		}
	}
}

func TestProperties(t *testing.T) {
	const seed = 7
	random := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		made, _ := randomTable(t, random)
		around := int64(random.IntN(1 << 32))
		if len(made.events) > 0 {
			around = made.events[random.IntN(len(made.events))].At / second
		}
		spread := []int64{3, 3000, 1 << 28}[random.IntN(3)] * second
		x := around*second + random.Int64N(2*spread) - spread
		if utc := made.UTC(made.TAI(x)); utc != x && !skipped(made, x) {
			t.Fatalf("seed %d: UTC(TAI(%d)) is %d", seed, x, utc)
		}
		if utc := made.UTC(x); !made.Ambiguous(utc) && made.TAI(utc) != x {
			t.Fatalf("seed %d: TAI(UTC(%d)) is %d", seed, x, made.TAI(utc))
		}
		y := x + random.Int64N(4*second)
		if !skipped(made, x) && !skipped(made, y) && made.TAI(x) > made.TAI(y) {
			t.Fatalf("seed %d: TAI goes back from %d to %d", seed, x, y)
		}
	}
}

// skipped reports whether a deleted second leaves utc out.
func skipped(t *Table, utc int64) bool {
	at, kind, ok := t.Next(utc)
	return ok && kind == clock.LeapDelete && utc >= at-second
}
