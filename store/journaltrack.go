package store

import (
	"encoding/binary"
	"fmt"
)

// trackCheck follows one track from record to record.
type trackCheck struct {
	c     *journalCheck
	t     Track
	found *JournalTrackReport

	chain chain
	last  uint64  // sequence of the record before
	unix  int64   // when it was written
	known []fixed // what is still to come
	index []byte  // room for a key

	// lost says what went wrong; from there on the chain's hash is not known. Empty: it is.
	lost   string
	since  int64  // when the last record before that was written
	beyond uint64 // records at or below the base
}

// track goes over a track.
func (c *journalCheck) track(t Track, found *JournalTrackReport) error {
	k := trackCheck{c: c, t: t, found: found, index: make([]byte, 0, indexKeyLen)}
	base := c.bases[t]
	if base == nil { // that it does not check was said; there is nothing to begin with
		base = &JournalTip{}
		k.lost = fmt.Sprintf("%v: it is not known where it begins", t)
	}
	k.chain, k.last, k.unix = newChain(base.Hash), base.Sequence, base.Unix
	k.found.First, k.found.TrimmedAfter = base.Sequence+1, base.Unix
	k.known = c.fixes(t, base.Sequence)
	unread := c.unread
	err := c.each([]byte{tableJournal, byte(t)}, []byte{tableJournal, byte(t) + 1}, func(key, value []byte) error {
		c.records++
		k.record(base.Sequence, key, value)
		return nil
	})
	switch {
	case err != nil:
		return err
	case c.unread > unread: // nothing is known of the end
		for i := range k.known {
			k.known[i].fail()
		}
	default:
		k.end()
	}
	return nil
}

// record compares a record with the one before it.
func (k *trackCheck) record(base uint64, key, value []byte) {
	report := k.c.report
	if len(key) != recordKeyLen || len(value) < recordOverhead {
		report.problem("%v: a key %.32x with a value of %d bytes is no record", k.t, key, len(value))
		return
	}
	sequence := binary.BigEndian.Uint64(key[2:])
	if sequence <= base {
		k.beyond++
		return
	}
	unix, end := int64(binary.BigEndian.Uint64(value[1:])), len(value)-recordHashLen
	if k.t == Evidence {
		k.index = appendIndexKey(k.index[:0], value[0], unix, sequence)
		k.c.written.add(k.index)
	}
	k.arrive(sequence)
	if sequence != k.last+1 {
		report.problem("%v: records %d to %d are missing, written between %s and %s", k.t, k.last+1, sequence-1, timeOf(k.unix), timeOf(unix))
		if k.lost == "" {
			k.lost, k.since = fmt.Sprintf("%v: what was there instead of records %d to %d is not known", k.t, k.last+1, sequence-1), k.unix
		}
	}
	k.chain.add(key, value[:end])
	if k.lost == "" && short(k.chain.sum) != [recordHashLen]byte(value[end:]) {
		k.lost, k.since = fmt.Sprintf("%v: record %d is not the one that was written there, or the one before it is not", k.t, sequence), k.unix
		report.problem("%s; written after %s", k.lost, timeOf(k.unix))
	}
	if k.found.Records == 0 {
		k.found.OldestUnix = unix
	}
	k.found.Records++
	k.found.Bytes += uint64(end - recordHeaderLen)
	k.found.NewestUnix = unix
	k.last, k.unix = sequence, unix
}

// arrive compares the chain with what is known of it up to the record before the given one.
func (k *trackCheck) arrive(next uint64) {
	for ; len(k.known) > 0 && k.known[0].Sequence < next; k.known = k.known[1:] {
		f := &k.known[0]
		switch {
		case f.Sequence != k.last: // it is among those that are missing
		case k.lost != "":
			k.regain(f.JournalTip, f.from)
		case f.Hash != k.chain.sum:
			k.c.report.problem("%v: record %d, written at %s, is not the one that %s, tells of: it or one before it was changed", k.t, f.Sequence, timeOf(k.unix), f.from)
		default:
			continue
		}
		f.fail()
	}
}

// fail says of a head that the journal does not go on from it.
func (f *fixed) fail() {
	if f.head != nil {
		f.head.failed = true
	}
}

// regain goes on from a hash that is known from elsewhere.
func (k *trackCheck) regain(at JournalTip, from string) {
	k.c.report.problem("%s; so nothing between %s and %s is proven, where %s, takes over at record %d", k.lost, timeOf(k.since), timeOf(k.unix), from, at.Sequence)
	k.lost, k.chain.sum = "", at.Hash
}

// end compares the end of the track with what says where it is.
func (k *trackCheck) end() {
	report := k.c.report
	k.arrive(k.last + 1)
	k.found.Last = k.last
	if k.beyond > 0 {
		report.problem("%v: %d records are there that were trimmed", k.t, k.beyond)
	}
	for i := range k.known {
		f := &k.known[i]
		f.fail()
		report.problem("%v: it ends at record %d, written at %s, and %s, stands at %d: the last %d records are missing", k.t, k.last, timeOf(k.unix), f.from, f.Sequence, f.Sequence-k.last)
	}
	tip := k.c.tips[k.t]
	switch {
	case tip == nil: // which was said
	case tip.Sequence != k.last:
		report.problem("%v: it ends at record %d, written at %s, and by its mark at record %d, written at %s", k.t, k.last, timeOf(k.unix), tip.Sequence, timeOf(tip.Unix))
	case k.lost != "":
		k.regain(*tip, "the mark of the end")
	case tip.Hash != k.chain.sum || tip.Unix != k.unix && k.last > 0:
		report.problem("%v: the last record, %d, written at %s, is not the one that the mark of the end tells of", k.t, k.last, timeOf(k.unix))
	}
	if k.lost != "" {
		report.problem("%s; nothing after %s is proven", k.lost, timeOf(k.since))
	}
}
