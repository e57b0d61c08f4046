package store

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// journalCheck goes over every key of a journal and adds to a report what is not as it must
// be. Each track is one pass, which allocates nothing for a record; the index is another, and
// is compared with the records by two sums of hashes, whose keys are drawn for each check.
type journalCheck struct {
	ended  func() error // why it is to end, or nil
	reader pebble.Reader
	store  id
	keys   []ed25519.PublicKey
	heads  []namedHead
	report *JournalReport
	begin  func(records uint64)        // is told how many there are to check
	moved  func(records, bytes uint64) // is told how many were

	origin      id
	tips, bases [tracksEnd]*JournalTip // nil: it does not check
	roots       []journalRoot          // those whose signatures match

	written, found sums // the evidence's records as the index has to name them, and as it does
	unread         int  // tables that could not be read to their end

	records, bytes uint64 // since somebody was told
}

// namedHead is a head, and where it is from.
type namedHead struct {
	JournalHead
	from   string
	failed bool // the journal does not go on from it, or that cannot be proven
}

// String says which head it is.
func (h *namedHead) String() string { return fmt.Sprintf("%s, signed at %s", h.from, timeOf(h.Unix)) }

// sums compare what comes in two orders.
type sums struct {
	seeds [2]maphash.Seed
	count uint64
	total [2]uint64
}

func (s *sums) add(b []byte) {
	s.count++
	for i := range s.seeds {
		s.total[i] += maphash.Bytes(s.seeds[i], b)
	}
}

// timeOf is a time for people.
func timeOf(unix int64) string { return time.Unix(0, unix).UTC().Format(time.RFC3339) }

// all checks all of the journal.
func (c *journalCheck) all() error {
	c.report.Store = c.store.String()
	exists, err := c.marks()
	if err != nil {
		return err
	}
	if !exists {
		return c.none()
	}
	c.report.Journal = c.origin.String()
	var total uint64
	for _, t := range []Track{Evidence, Raw} {
		if c.tips[t] != nil && c.bases[t] != nil {
			total += c.tips[t].Sequence - c.bases[t].Sequence
		}
	}
	c.begin(total)
	c.written.seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}
	c.found.seeds = c.written.seeds
	c.accept()
	for _, step := range []func() error{c.strangers, c.chainOfRoots, c.baseOfTracks, c.evidence, c.raw, c.index} {
		if err := c.ended(); err != nil {
			return err
		}
		if err := step(); err != nil {
			return err
		}
	}
	for i := range c.heads {
		if !c.heads[i].failed {
			c.report.Heads++
		}
	}
	c.moved(c.records, c.bytes)
	return nil
}

// none finds what should be there where there is no journal.
func (c *journalCheck) none() error {
	for i := range c.heads {
		c.report.problem("%v, is of a journal, and there is none", &c.heads[i])
	}
	return c.each([]byte{tableJournal}, []byte{tableRoot + 1}, func(key, _ []byte) error {
		c.report.problem("key %.32x is of a journal, and there is none: its marks are missing", key)
		return nil
	})
}

// each visits the keys from lower on and below upper. It fails when visit does. Damage is a
// problem; then the rest is not visited.
func (c *journalCheck) each(lower, upper []byte, visit func(key, value []byte) error) error {
	iter, err := c.reader.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	for ok := iter.First(); ok; ok = iter.Next() {
		value, err := iter.ValueAndErr()
		if err != nil {
			break // and it is what iter.Close returns
		}
		if err := errors.Join(visit(iter.Key(), value), c.visited(len(value))); err != nil {
			return errors.Join(err, iter.Close())
		}
	}
	if err = iter.Close(); pebble.IsCorruptionError(err) {
		c.unread++
		c.report.problem("all of table %.1x of the journal cannot be read: %v", lower, err)
		return nil
	}
	return err
}

// visited counts a key.
func (c *journalCheck) visited(length int) error {
	c.bytes += uint64(length)
	if c.records < tellEvery && c.bytes < copyLen {
		return nil
	}
	c.moved(c.records, c.bytes)
	c.records, c.bytes = 0, 0
	return c.ended()
}

// marks reads the marks, and reports whether there is any.
func (c *journalCheck) marks() (exists bool, err error) {
	for t := range tracksEnd {
		for _, kind := range []byte{markTip, markBase} {
			v, closer, err := c.reader.Get(markKey(kind, t))
			if errors.Is(err, pebble.ErrNotFound) {
				continue
			}
			if err != nil {
				return false, err
			}
			origin, mark, err := parseMark(kind, t, v)
			if closeErr := closer.Close(); closeErr != nil {
				return false, closeErr
			}
			if err != nil {
				c.report.problem("%v", err)
				exists = true
				continue
			}
			if kind == markTip {
				c.tips[t] = &mark
			} else {
				c.bases[t] = &mark
			}
			if c.origin != (id{}) && c.origin != origin {
				c.report.problem("the marks of the journal are of two stores, %v and %v", c.origin, origin)
			}
			exists, c.origin = true, origin
		}
	}
	if !exists {
		return false, nil
	}
	for t := range tracksEnd {
		if c.tips[t] == nil {
			c.report.problem("the mark of the end of the journal, %v, is missing or does not check", t)
		}
		if c.bases[t] == nil {
			c.report.problem("the mark of the beginning of the journal, %v, is missing or does not check", t)
		}
	}
	return true, nil
}

// accept checks the heads, and keeps those that can be compared with.
func (c *journalCheck) accept() {
	heads := c.heads
	c.heads = nil
	for i := range heads {
		h := heads[i]
		switch {
		case !h.Check(nil):
			c.report.problem("%v: the signature does not check", &h)
		case h.Journal != c.origin.String():
			c.report.problem("%v, is of journal %s, and this is %v", &h, h.Journal, c.origin)
		default:
			c.signed(h.Key[:], &h)
			c.heads = append(c.heads, h)
		}
	}
}

// signed counts a signature that matches, and finds keys that should not have signed.
func (c *journalCheck) signed(key ed25519.PublicKey, what fmt.Stringer) {
	c.report.Signatures++
	same := func(k ed25519.PublicKey) bool { return bytes.Equal(k, key) }
	if !slices.ContainsFunc(c.report.Keys, same) {
		c.report.Keys = append(c.report.Keys, bytes.Clone(key))
	}
	if len(c.keys) > 0 && !slices.ContainsFunc(c.keys, same) {
		c.report.problem("%v, was signed with another key, %x", what, key)
	}
}

// strangers finds keys among the records that are of none, and no marks.
func (c *journalCheck) strangers() error {
	stranger := func(key, _ []byte) error {
		if len(key) == 4 && key[1] == 0 && (key[2] == markTip || key[2] == markBase) && Track(key[3]) < tracksEnd {
			return nil
		}
		c.report.problem("key %.32x is of no record of the journal", key)
		return nil
	}
	return errors.Join(
		c.each([]byte{tableJournal}, []byte{tableJournal, byte(Evidence)}, stranger),
		c.each([]byte{tableJournal, byte(tracksEnd)}, []byte{tableJournal + 1}, stranger))
}

// chainOfRoots goes over the roots.
func (c *journalCheck) chainOfRoots() error {
	chain, last := genesis(c.origin, trackRoots), journalRoot{}
	err := c.each([]byte{tableRoot}, []byte{tableRoot + 1}, func(key, value []byte) error {
		r, err := parseRoot(c.origin, key, value)
		if err != nil {
			c.report.problem("%v", err)
			return nil
		}
		c.report.Roots++
		if r.number != last.number+1 {
			c.report.problem("roots %d to %d of the journal are missing", last.number+1, r.number-1)
		}
		if !r.signed {
			c.report.problem("%v of the journal: the signature does not check", &r)
			last.number, chain = r.number, r.hash
			return nil
		}
		c.signed(r.key[:], &r)
		if r.before != chain {
			c.report.problem("%v of the journal does not follow the root before it", &r)
		}
		for _, t := range []Track{Evidence, Raw} {
			if r.tips[t].Sequence < last.tips[t].Sequence {
				c.report.problem("%v of the journal stands at record %d of %v, and the root before it at %d", &r, r.tips[t].Sequence, t, last.tips[t].Sequence)
			}
		}
		last, chain = r, r.hash
		c.roots = append(c.roots, r)
		return nil
	})
	if tip := c.tips[trackRoots]; err == nil && c.unread == 0 && tip != nil && (tip.Sequence != last.number || tip.Hash != chain) {
		c.report.problem("the last root of the journal is %d, and by its mark %d: roots were removed, added or changed", last.number, tip.Sequence)
	}
	return err
}

// baseOfTracks checks that what was trimmed ends at a root.
func (c *journalCheck) baseOfTracks() error {
	for t := range tracksEnd {
		base, tip := c.bases[t], c.tips[t]
		if base == nil {
			continue
		}
		if tip != nil && base.Sequence > tip.Sequence {
			c.report.problem("the journal, %v, begins behind record %d and ends at %d", t, base.Sequence, tip.Sequence)
		}
		if *base == (JournalTip{Hash: genesis(c.origin, t)}) {
			continue
		}
		if !slices.ContainsFunc(c.roots, func(r journalRoot) bool { return t != trackRoots && r.tips[t] == *base }) {
			c.report.problem("the journal, %v, begins behind record %d, written at %s, where no root says that it may", t, base.Sequence, timeOf(base.Unix))
		}
	}
	return nil
}

func (c *journalCheck) evidence() error {
	return c.track(Evidence, &c.report.Evidence)
}

func (c *journalCheck) raw() error {
	return c.track(Raw, &c.report.Raw)
}

// index compares the index with the records.
func (c *journalCheck) index() error {
	err := c.each([]byte{tableIndex}, []byte{tableIndex + 1}, func(key, value []byte) error {
		if len(key) != indexKeyLen || len(value) > 0 {
			c.report.problem("the index of the journal has a key %.32x with a value of %d bytes", key, len(value))
			return nil
		}
		c.found.add(key)
		return nil
	})
	if err != nil || c.unread > 0 || c.found == c.written {
		return err // where not all was read, the sums differ, and to look everything up would take for ever
	}
	c.report.problem("the index of the evidence has %d entries that are not all those of the %d records", c.found.count, c.written.count)
	return errors.Join(c.unrecorded(), c.unindexed())
}

// unrecorded names entries of the index without their records.
func (c *journalCheck) unrecorded() error {
	return c.each([]byte{tableIndex}, []byte{tableIndex + 1}, func(key, _ []byte) error {
		kind, unix, sequence, ok := parseIndexKey(key)
		if !ok {
			return nil
		}
		v, closer, err := c.reader.Get(recordKey(Evidence, sequence))
		if errors.Is(err, pebble.ErrNotFound) {
			c.report.problem("the index of the evidence names record %d, of kind %d at %s, which is not there", sequence, kind, timeOf(unix))
			return nil
		}
		if err != nil {
			return err
		}
		if len(v) >= recordOverhead && (v[0] != kind || int64(binary.BigEndian.Uint64(v[1:])) != unix) {
			c.report.problem("the index of the evidence says that record %d is of kind %d at %s, and it is not", sequence, kind, timeOf(unix))
		}
		return closer.Close()
	})
}

// unindexed names records without their entries in the index.
func (c *journalCheck) unindexed() error {
	return c.each([]byte{tableJournal, byte(Evidence)}, []byte{tableJournal, byte(Evidence) + 1}, func(key, value []byte) error {
		r, err := parseRecord(key, value)
		if err != nil {
			return nil // it was named
		}
		_, closer, err := c.reader.Get(indexKey(r.Kind, r.Unix, r.Sequence))
		if errors.Is(err, pebble.ErrNotFound) {
			c.report.problem("record %d of the evidence, of kind %d at %s, is not in the index", r.Sequence, r.Kind, timeOf(r.Unix))
			return nil
		}
		if err != nil {
			return err
		}
		return closer.Close()
	})
}

// fixed is a record whose hash is known from elsewhere.
type fixed struct {
	JournalTip
	from string     // what says so
	head *namedHead // nil: it is a root
}

// fixes returns what is known of a track behind its base, by sequence.
func (c *journalCheck) fixes(t Track, base uint64) (known []fixed) {
	for i := range c.roots {
		if r := &c.roots[i]; r.tips[t].Sequence >= base {
			known = append(known, fixed{r.tips[t], r.String(), nil})
		}
	}
	for i := range c.heads {
		h := &c.heads[i]
		at := h.at(t)
		if at.Sequence >= base {
			known = append(known, fixed{at, h.String(), h})
			continue
		}
		if !slices.ContainsFunc(c.roots, func(r journalRoot) bool { return r.tips[t].Sequence == at.Sequence }) {
			h.failed = true
			c.report.Trimmed = append(c.report.Trimmed, fmt.Sprintf("%v, stands at record %d of %v, and what is kept begins at %d: that much of it cannot be proven any more", h, at.Sequence, t, base+1))
			continue
		}
		for k := range c.roots {
			if r := &c.roots[k]; r.tips[t].Sequence == at.Sequence && r.tips[t].Hash != at.Hash {
				h.failed = true
				c.report.problem("%v, says otherwise of record %d of %v than %v", h, at.Sequence, t, r)
			}
		}
	}
	slices.SortStableFunc(known, func(a, b fixed) int { return cmp.Compare(a.Sequence, b.Sequence) })
	return known
}
