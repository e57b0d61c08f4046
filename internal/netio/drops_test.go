package netio

import (
	"net/netip"
	"testing"
)

func TestDropsNeverFall(t *testing.T) {
	b := NewBatch()
	for _, c := range []struct {
		name string
		told uint32
		want uint64
	}{
		{"none told", 0, 0},
		{"the first", 3, 3},
		{"none since", 3, 3},
		{"none told again", 0, 3},
		{"more", 1 << 31, 1 << 31},
		{"behind", 1<<31 - 1, 1 << 31},
		{"the last before the counter wraps", 1<<32 - 1, 1<<32 - 1},
		{"wrapped to what is never told", 0, 1<<32 - 1},
		{"wrapped", 1, 1<<32 + 1},
		{"behind, on the other side", 1<<32 - 1, 1<<32 + 1},
		{"again halfway", 1 << 31, 1<<32 + 1<<31},
		{"nearly wrapped", 1<<32 - 1, 2<<32 - 1},
		{"wrapped again", 9, 2<<32 + 9},
	} {
		if b.tellDrops(c.told); b.Drops() != c.want {
			t.Fatalf("%s: %d, want %d", c.name, b.Drops(), c.want)
		}
	}
}

func TestMemoryTellsDrops(t *testing.T) {
	m := NewMemory(netip.MustParseAddrPort("192.0.2.1:123"))
	b := NewBatch()
	for i, want := range []uint64{0, 2, 7} {
		m.Drop([]uint32{0, 2, 5}[i])
		m.Deliver(Message{Data: []byte("a")})
		if n, err := m.Receive(b); n != 1 || err != nil || b.Drops() != want {
			t.Errorf("%d, %v, %d dropped; want %d", n, err, b.Drops(), want)
		}
	}
}
