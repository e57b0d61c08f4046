package ntpserver

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

// tickLen is a tick in nanoseconds.
const tickLen = int64(1) << tickShift

// tableTwin is a table, slow and obvious: per set, a list of what is there. Only
// which set a key belongs to is taken from the table.
type tableTwin struct {
	of   func(key) *set[int]
	sets map[*set[int]][]twinEntry
}

type twinEntry struct {
	key   key
	value int
	used  int64 // ticks, which never wrap here
}

// twinOf returns the empty twin of a table.
func twinOf(table *table[int]) *tableTwin {
	known := map[key]*set[int]{}
	of := func(k key) *set[int] {
		if known[k] == nil {
			s, _ := table.lock(k)
			s.mu.Unlock()
			known[k] = s
		}
		return known[k]
	}
	return &tableTwin{of, make(map[*set[int]][]twinEntry)}
}

// at returns the entry of a key, or nil.
func (w *tableTwin) at(k key) *twinEntry {
	list := w.sets[w.of(k)]
	for i := range list {
		if list[i].key == k {
			return &list[i]
		}
	}
	return nil
}

// remove forgets a key.
func (w *tableTwin) remove(k key) {
	var rest []twinEntry
	for _, e := range w.sets[w.of(k)] {
		if e.key != k {
			rest = append(rest, e)
		}
	}
	w.sets[w.of(k)] = rest
}

// add adds a key that is not there. In a full set it first forgets the one that
// the table has forgotten, and tells whether that was right: no other
// may have been used before it.
func (w *tableTwin) add(k key, used int64, has func(key) bool) bool {
	set, right := w.of(k), true
	if list := w.sets[set]; len(list) == setLen {
		var gone []twinEntry
		least := list[0].used
		for _, e := range list {
			least = min(least, e.used)
			if !has(e.key) {
				gone = append(gone, e)
			}
		}
		right = len(gone) == 1 && gone[0].used == least
		for _, e := range gone {
			w.remove(e.key)
		}
	}
	w.sets[set] = append(w.sets[set], twinEntry{key: k, used: used})
	return right
}

// tableHas reports whether a key is in a table.
func tableHas(table *table[int], k key) bool {
	s, tag := table.lock(k)
	defer s.mu.Unlock()
	return s.find(k, tag) >= 0
}

// TestTableEqualsItsTwin: random takes and removes, as several workers make them,
// whose clocks' readings are not in order. An empty entry is taken first, then the one
// used least recently, also while the ticks wrap.
func TestTableEqualsItsTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := newTable[int](rapid.IntRange(1, 40).Draw(t, "entries"))
		twin := twinOf(table)
		has := func(k key) bool { return tableHas(table, k) }
		now := rapid.SampledFrom([]int64{1, 1 << 20, 1<<32 - 20, 1<<34 - 100}).Draw(t, "tick")
		steps := rapid.SampledFrom([]int64{1, 10, 1 << 22}).Draw(t, "steps")
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		for i := range 300 {
			now += random.Int64N(steps + 1)
			k := key{random.Uint64N(9) << 60, random.Uint64N(9)}
			if random.IntN(8) == 0 {
				s, tag := table.lock(k)
				if at := s.find(k, tag); at >= 0 {
					s.clear(at)
				}
				s.mu.Unlock()
				twin.remove(k)
				continue
			}
			used := max(now-random.Int64N(3), 0) // another worker's clock was read a little earlier
			before := twin.at(k)
			s, tag := table.lock(k)
			v, fresh := s.take(k, tag, used*tickLen+random.Int64N(tickLen))
			got := *v
			*v = i
			s.mu.Unlock()
			switch {
			case fresh != (before == nil):
				t.Fatalf("operation %d: fresh is %v", i, fresh)
			case fresh:
				if got != 0 {
					t.Fatalf("operation %d: a fresh value is %d", i, got)
				}
				if !twin.add(k, used, has) {
					t.Fatalf("operation %d: took the place of the wrong entry", i)
				}
			case got != before.value:
				t.Fatalf("operation %d: got %d, want %d", i, got, before.value)
			}
			e := twin.at(k)
			e.value, e.used = i, used
		}
		count := 0
		table.each(func(k key, v *int) {
			count++
			if e := twin.at(k); e == nil || e.value != *v {
				t.Fatalf("%v holds %d, and %+v in the twin", k, *v, e)
			}
		})
		want := 0
		for _, list := range twin.sets {
			want += len(list)
		}
		if count != want {
			t.Fatalf("%d entries, want %d", count, want)
		}
	})
}

// TestTableAges: what has just been used is never the oldest, whichever worker
// looks, also 49 days after the start and when the ticks wrap, after 52.
func TestTableAges(t *testing.T) {
	const days49 = 49 * 86400 * second / tickLen
	for _, v := range []struct {
		name   string
		ticks  [setLen]int64
		now    int64
		oldest int
	}{
		{"in order", [setLen]int64{1, 2, 3, 4, 5, 6, 7, 8}, 9, 0},
		{"in the middle", [setLen]int64{5, 6, 7, 2, 8, 9, 3, 4}, 9, 3},
		{"the last", [setLen]int64{5, 6, 7, 4, 8, 9, 3, 2}, 9, 7},
		{"all at once", [setLen]int64{9, 9, 9, 9, 9, 9, 9, 9}, 9, 0},
		{"across the wrap", [setLen]int64{1<<32 + 2, 1<<32 + 1, 1 << 32, 1<<32 - 1, 1<<32 - 2, 1<<32 + 3, 1<<32 + 4, 1<<32 + 5}, 1<<32 + 9, 4},
		{"49 days", [setLen]int64{10, 10 + days49, 9, 10, 11, 12, 10 + days49, 13}, 11 + days49, 2},
		{"49 days and half as many", [setLen]int64{days49, 10 + days49/2, 10, 11 + days49/2, days49, days49, days49, days49}, 11 + days49, 2},
		{"used by a worker that is ahead", [setLen]int64{12, 9, 9, 9, 9, 8, 9, 9}, 9, 5},
		{"all by one that is ahead", [setLen]int64{12, 11, 13, 14, 12, 13, 14, 12}, 9, 1},
	} {
		table := newTable[int](setLen)
		s := &table.sets[0]
		for i, tick := range v.ticks {
			if _, fresh := s.take(key{uint64(i)}, 1, tick*tickLen); !fresh {
				t.Fatalf("%s: entry %d was there", v.name, i)
			}
		}
		if got := s.oldest(uint32(v.now)); got != v.oldest {
			t.Errorf("%s: the oldest is %d, want %d", v.name, got, v.oldest)
		}
		s.clear(s.find(key{6}, 1))
		if got := s.oldest(uint32(v.now)); got != 6 {
			t.Errorf("%s: %d in place of the empty entry", v.name, got)
		}
	}
}

// TestTableTellsKeysApart by the key, not by the tag alone.
func TestTableTellsKeysApart(t *testing.T) {
	table := newTable[int](1)
	s := &table.sets[0]
	for i := range uint64(setLen) {
		v, fresh := s.take(key{i / 2, i % 2}, 7, 0)
		if !fresh || *v != 0 {
			t.Errorf("key %d: %d, fresh %v", i, *v, fresh)
		}
		*v = int(i + 1)
	}
	for i := range uint64(setLen) {
		if v, fresh := s.take(key{i / 2, i % 2}, 7, 0); fresh || *v != int(i+1) {
			t.Errorf("key %d: %d, fresh %v", i, *v, fresh)
		}
		if s.find(key{i / 2, i % 2}, 9) >= 0 {
			t.Errorf("key %d: found by another tag", i)
		}
	}
}

// TestTableSpreads: keys that differ little go to different sets.
func TestTableSpreads(t *testing.T) {
	table := newTable[int](1 << 12)
	seen := map[*set[int]]int{}
	for i := range uint64(1 << 12) {
		s, _ := table.lock(key{0, i})
		s.mu.Unlock()
		seen[s]++
	}
	for i := range uint64(1 << 20) { // one in 65,536 hashes has no bits in its tag's place
		s, tag := table.lock(key{i, 1})
		s.mu.Unlock()
		if tag == 0 {
			t.Fatal("the tag of an empty entry")
		}
	}
	for _, n := range seen {
		if n > 40 { // 8 are expected
			t.Errorf("%d keys in one set", n)
		}
	}
	if len(seen) < len(table.sets)*95/100 { // all but e^-8 of them are expected
		t.Errorf("%d of %d sets", len(seen), len(table.sets))
	}
}

// TestTableConcurrently: no change is lost, and every value stays with its key,
// while eight workers share a table.
func TestTableConcurrently(t *testing.T) {
	const workers, rounds = 8, 20_000
	few, many := newTable[int](setLen), newTable[int](64) // few never evicts
	var taken, wrong atomic.Int64
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 1))
			for i := range rounds {
				k := key{random.Uint64N(setLen)}
				s, tag := few.lock(k)
				v, _ := s.take(k, tag, int64(i)*tickLen)
				*v++
				if i%100 == 0 {
					runtime.Gosched() // so that the others come while the set is locked
				}
				s.mu.Unlock()

				k = key{0, random.Uint64N(1000)}
				s, tag = many.lock(k)
				if v, fresh := s.take(k, tag, int64(i)*tickLen); fresh {
					*v = int(k[1])
				} else if *v != int(k[1]) {
					wrong.Add(1)
				}
				if i%5 == 0 {
					s.clear(s.find(k, tag))
				}
				s.mu.Unlock()
				if i%1000 == 0 {
					many.each(func(k key, v *int) {
						if *v != int(k[1]) {
							wrong.Add(1)
						}
					})
				}
			}
		})
	}
	group.Wait()
	few.each(func(_ key, v *int) { taken.Add(int64(*v)) })
	if taken.Load() != workers*rounds || wrong.Load() != 0 {
		t.Errorf("%d changes of %d, %d values with the wrong key", taken.Load(), workers*rounds, wrong.Load())
	}
}

// TestTableSizes: at least what was asked for, less than twice that, and never
// more entries than it has.
func TestTableSizes(t *testing.T) {
	for _, v := range []struct{ entries, want int }{{-1, 8}, {0, 8}, {1, 8}, {8, 8}, {9, 16}, {16, 16}, {17, 32}, {65_535, 65_536}, {65_536, 65_536}, {65_537, 131_072}} {
		table := newTable[byte](v.entries)
		if got := len(table.sets) * setLen; got != v.want || table.mask != uint64(len(table.sets)-1) {
			t.Errorf("%d: %d entries, mask %x, want %d", v.entries, got, table.mask, v.want)
		}
		if v.entries > 20 {
			continue
		}
		for i := range uint64(100) {
			s, tag := table.lock(key{i})
			s.take(key{i}, tag, int64(i)*tickLen)
			s.mu.Unlock()
		}
		count := 0
		table.each(func(key, *byte) { count++ })
		if count > v.want {
			t.Errorf("%d: holds %d", v.entries, count)
		}
	}
}

// TestTableIsLaidOutLazily: the largest table that can be had takes no memory
// before it is used. It asks a process that has no memory to be used again.
func TestTableIsLaidOutLazily(t *testing.T) {
	if runtime.GOOS != "linux" || raceEnabled {
		t.Skip("needs /proc, and an allocation that the race detector does not write to")
	}
	const alone = "NTPSERVER_TEST_ALONE"
	if os.Getenv(alone) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTableIsLaidOutLazily$")
		cmd.Env = append(os.Environ(), alone+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	before := resident(t)
	table := newTable[record](clientsMax)
	if got := len(table.sets) * setLen; got != clientsMax {
		t.Errorf("%d entries", got)
	}
	if grown := resident(t) - before; grown > 64<<20 {
		t.Errorf("takes %d MB", grown>>20)
	}
	runtime.KeepAlive(table)
}

// resident returns the memory of this process, in bytes.
func resident(t *testing.T) int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// TestTableLayout: the lock and what a look reads first fit in one cache line.
func TestTableLayout(t *testing.T) {
	if at := unsafe.Offsetof(set[record]{}.entries); at > 64 {
		t.Errorf("the entries begin at byte %d", at)
	}
}

// TestAddrKey: a key gives the address back.
func TestAddrKey(t *testing.T) {
	for _, text := range []string{"0.0.0.0", "192.0.2.7", "255.255.255.255", "::", "::1", "2001:db8::7", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::ffff:192.0.2.7"} {
		addr := netip.MustParseAddr(text)
		if got := addrKey(addr).addr(addr.Is4()); got != addr {
			t.Errorf("%v: got %v", addr, got)
		}
	}
	if a, b := addrKey(netip.MustParseAddr("1.2.3.4")), addrKey(netip.MustParseAddr("1.2.3.5")); b != (key{a[0], a[1] + 1}) {
		t.Errorf("keys %x and %x: not in the order of the addresses", a, b)
	}
}

func BenchmarkTableTake(b *testing.B) {
	for _, n := range []int{1, 1_000_000} {
		b.Run(strconv.Itoa(n)+" keys", func(b *testing.B) {
			b.ReportAllocs()
			table := newTable[record](clientsDefault)
			var random uint64
			for b.Loop() {
				random = random*6364136223846793005 + 1442695040888963407
				k := key{random >> 40 % uint64(n)}
				s, tag := table.lock(k)
				s.take(k, tag, int64(random>>2))
				s.mu.Unlock()
			}
		})
	}
}
