package ntpserver

// A bounded table that many workers share.
//
// What is remembered of clients must not grow with their number: an attacker
// invents as many as he likes. So the table is laid out once, as sets of eight
// entries, and a key's hash names its set. A new key in a full set takes the
// place of the entry that was used least recently; nobody waits, nothing is
// moved, and a flood of invented keys can push out what was remembered but
// never use more memory. Each set has a lock of its own, which is held for the
// few instructions of one look or change; two workers meet at one only when
// they serve the same client at the same moment.
//
// The hash is keyed by chance at the start, so that nobody can aim at a set.

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"net/netip"
	"sync"
)

// setLen is how many entries a set has. Their tags fit in one cache line with
// the lock, and a look touches that line and the entry's.
const setLen = 8

// tickShift makes a tick of a monotonic instant in nanoseconds: about a
// millisecond. An age is right for 52 days, and beyond that an entry merely
// looks younger than it is.
const tickShift = 20

// tickSlack is how many ticks a worker's instant may lie behind another's, about
// a minute: each reads the clock once per batch, and may be held up after that. What
// the other one has just used would else look as old as can be.
const tickSlack = 1 << 16

// key is what an entry is found by: an address, a prefix, or a timestamp.
type key [2]uint64

// addrKey returns the key of an address.
func addrKey(addr netip.Addr) key {
	b := addr.As16()
	return key{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// addr returns the address that a key was made of.
func (k key) addr(v4 bool) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], k[0])
	binary.BigEndian.PutUint64(b[8:], k[1])
	if v4 {
		return netip.AddrFrom16(b).Unmap()
	}
	return netip.AddrFrom16(b)
}

// table is a bounded map. Its methods may be called concurrently.
type table[V any] struct {
	seed maphash.Seed
	mask uint64
	sets []set[V]
}

// set is setLen entries and their lock. A value may be used only while the
// lock is held.
type set[V any] struct {
	mu      sync.Mutex
	tags    [setLen]uint16 // of the keys' hashes; 0 is an empty entry
	used    [setLen]uint32 // ticks
	entries [setLen]entry[V]
}

type entry[V any] struct {
	key   key
	value V
}

// newTable returns a table of at least so many entries.
func newTable[V any](entries int) *table[V] {
	sets := 1 << bits.Len(uint(max(entries, 1)-1)/setLen)
	return &table[V]{seed: maphash.MakeSeed(), mask: uint64(sets - 1), sets: make([]set[V], sets)}
}

// lock locks the set of a key and returns it with the key's tag. The caller
// unlocks it.
func (t *table[V]) lock(k key) (s *set[V], tag uint16) {
	h := maphash.Comparable(t.seed, k)
	s = &t.sets[h&t.mask]
	s.mu.Lock()
	return s, uint16(h>>48) | 1
}

// find returns the index of the entry of a key, or −1.
func (s *set[V]) find(k key, tag uint16) int {
	for i, other := range s.tags {
		if other == tag && s.entries[i].key == k {
			return i
		}
	}
	return -1
}

// take returns the value of a key, which is the zero value when fresh: the key
// was not there and may have taken the place of another. now is a monotonic
// instant in nanoseconds.
func (s *set[V]) take(k key, tag uint16, now int64) (v *V, fresh bool) {
	tick := uint32(now >> tickShift)
	i := s.find(k, tag)
	if i < 0 {
		fresh, i = true, s.oldest(tick)
		s.tags[i], s.entries[i] = tag, entry[V]{key: k}
	}
	s.used[i] = tick
	return &s.entries[i].value, fresh
}

// clear forgets the i-th entry.
func (s *set[V]) clear(i int) { s.tags[i], s.entries[i] = 0, entry[V]{} }

// oldest returns the index of an empty entry, or else of the one that was used
// least recently.
func (s *set[V]) oldest(tick uint32) int {
	tick += tickSlack
	oldest := 0
	for i, tag := range s.tags {
		if tag == 0 {
			return i
		}
		if tick-s.used[i] > tick-s.used[oldest] {
			oldest = i
		}
	}
	return oldest
}

// len returns how many entries there are.
func (t *table[V]) len() (n int) {
	t.each(func(key, *V) { n++ })
	return n
}

// each calls f for every entry, set by set.
func (t *table[V]) each(f func(key, *V)) {
	for i := range t.sets {
		s := &t.sets[i]
		s.mu.Lock()
		for k, tag := range s.tags {
			if tag != 0 {
				f(s.entries[k].key, &s.entries[k].value)
			}
		}
		s.mu.Unlock()
	}
}
