package compliance

import (
	"github.com/truechimer/truechimer/internal/rpc"
)

// numbersMax is how many sources can have a number. A pool gives other addresses all the time.
const numbersMax = 1 << 16

// numbers gives sources their numbers: the name and the address together have one, for good.
type numbers struct {
	known map[sourceKey]*rpc.SourceNamed
	last  uint32
}

func newNumbers(known []*rpc.SourceNamed) numbers {
	n := numbers{known: map[sourceKey]*rpc.SourceNamed{}}
	for _, m := range known {
		n.known[sourceKey{m.Name, m.Address}] = m
		n.last = max(n.last, m.Number)
	}
	return n
}

// of returns the number of a source, and its entry where that is to be written.
func (n *numbers) of(s SourceReading) (uint32, *rpc.JournalEntry) {
	key := sourceKey{s.Name, s.Address}
	m := &rpc.SourceNamed{Name: s.Name, Address: s.Address, Site: s.Site, Nist: s.NIST, ProviderErrorNs: uint64(max(s.ProviderError, 0))}
	was := n.known[key]
	switch {
	case was != nil && was.Site == m.Site && was.Nist == m.Nist && was.ProviderErrorNs == m.ProviderErrorNs:
		return was.Number, nil
	case was != nil:
		m.Number = was.Number
	case len(n.known) == numbersMax:
		return 0, nil
	default:
		n.last++
		m.Number = n.last
	}
	n.known[key] = m
	return m.Number, &rpc.JournalEntry{What: &rpc.JournalEntry_Source{Source: m}}
}
