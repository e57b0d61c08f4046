package compliance

import (
	"cmp"
	"context"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/truechimer/truechimer/internal/rpc"
)

// ledger is a journal in memory.
type ledger struct {
	t        testing.TB
	evidence []Record // by sequence
	raw      []Record
	reads    int
	fault    error
}

// write encodes entries, so that what the engine changes later does not change them.
func (l *ledger) write(unix int64, entries []*rpc.JournalEntry) {
	for _, e := range entries {
		b, err := proto.Marshal(e)
		if err != nil {
			l.t.Fatal(err)
		}
		kept := &rpc.JournalEntry{}
		if err := proto.Unmarshal(b, kept); err != nil {
			l.t.Fatal(err)
		}
		track := &l.evidence
		if KindOf(e).Raw() {
			track = &l.raw
		}
		*track = append(*track, Record{Sequence: uint64(len(*track) + 1), Unix: unix, Entry: kept})
	}
}

// Find is Journal.Find.
func (l *ledger) Find(ctx context.Context, since, until int64, kinds []Kind, visit func(Record) error) error {
	if l.fault != nil {
		return l.fault
	}
	var found []Record
	for _, r := range l.evidence {
		if r.Unix >= since && r.Unix < until && slices.Contains(kinds, KindOf(r.Entry)) {
			found = append(found, r)
		}
	}
	slices.SortStableFunc(found, func(a, b Record) int { return cmp.Or(cmp.Compare(a.Unix, b.Unix), cmp.Compare(a.Sequence, b.Sequence)) })
	for _, r := range found {
		l.reads++
		if err := visit(r); err != nil {
			return err
		}
	}
	return nil
}

// all returns the entries of a kind by their sequence.
func (l *ledger) all(k Kind) []*rpc.JournalEntry {
	var list []*rpc.JournalEntry
	for _, r := range append(slices.Clone(l.evidence), l.raw...) {
		if KindOf(r.Entry) == k {
			list = append(list, r.Entry)
		}
	}
	return list
}
