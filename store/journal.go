package store

// The journal is the evidence: what was measured, decided and changed, in the order in which
// it was written. It has two tracks, one that is kept for years and one that is kept for days,
// each with a sequence of its own and a chain: every record's hash is made of the hash of the
// one before it, its key and its value. So whoever knows one hash knows that nothing before
// it was changed, removed, added or moved.
//
// Who can write to the disk can make all of it anew, hashes too. So hashes leave the machine: a
// head is both of the tracks' last hashes in one signed line, for a log, a mail or another
// machine, and what stood before it cannot be changed any more without notice. A root is the same,
// kept in the journal, one for each day, and holds the hash of the root before it. A track
// that is trimmed begins behind one of the roots, which says with which hash.
//
// What the chain does not hold has a checksum (the marks: where a track begins and ends), a
// signature (heads and roots), or is compared with the chain (the index of kinds and times).
//
// Times are what the clock said: they may go back. The sequence is the order.
//
// Further reading: S. Haber and W. S. Stornetta, How to time-stamp a digital document, Journal
// of Cryptology 3 (1991).

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// Track is one of the two chains of the journal.
type Track uint8

// The tracks. The roots have a chain too, which is counted as a third.
const (
	trackRoots Track = 0
	Evidence   Track = 1 // kept for years, with an index of kinds and times
	Raw        Track = 2 // kept for days
	tracksEnd  Track = 3
)

// String returns the name of a track.
func (t Track) String() string {
	switch t {
	case trackRoots:
		return "roots"
	case Evidence:
		return "evidence"
	case Raw:
		return "raw"
	}
	return fmt.Sprintf("track %d", uint8(t))
}

// check fails with ErrRange on what is no track.
func (t Track) check() error {
	if t != Evidence && t != Raw {
		return fmt.Errorf("%w: there is no journal %v", ErrRange, t)
	}
	return nil
}

const (
	// JournalPayloadLenMax is the longest payload of a record, in bytes.
	JournalPayloadLenMax = 1 << 20
	// JournalEntriesMax and JournalAppendLenMax bound one Append: its entries, and the bytes of
	// all their payloads.
	JournalEntriesMax   = 10_000
	JournalAppendLenMax = 8 << 20
	// JournalReserveDefault is the free disk space that the journal leaves alone: half of what
	// streams do, so that the evidence of a full disk can be written.
	JournalReserveDefault = ReserveDefault / 2
)

// ErrJournalOpen reports a second OpenJournal of one Store.
var ErrJournalOpen = errors.New("store: the journal is open already; use the one that is")

// JournalEntry is what is to be written.
type JournalEntry struct {
	Track Track
	Kind  uint8 // what the payload is, 1 to 255; its meaning is the caller's
	// Unix is the time by the caller's clock, nanoseconds, 0 or more.
	Unix    int64
	Payload []byte
}

// JournalRecord is an entry as it was written.
type JournalRecord struct {
	Track    Track
	Sequence uint64 // 1, 2, 3, ... in its track, without a gap
	Kind     uint8
	Unix     int64 // nanoseconds
	Payload  []byte
	Hash     [8]byte // the first bytes of the chain's hash up to it
}

// JournalTip is where a track stands behind one of its records.
type JournalTip struct {
	Sequence uint64            // 0: before the first record
	Hash     [sha256.Size]byte // of the chain, up to that record
	Unix     int64             // when it was written, nanoseconds; 0: there is none
}

// JournalOptions of a Journal. The zero JournalOptions are the defaults.
type JournalOptions struct {
	// Reserve is the free disk space, in bytes, below which nothing is appended; 0 means
	// JournalReserveDefault.
	Reserve uint64
	// Logger gets changes of state; nil drops them.
	Logger *slog.Logger
}

// Journal is the journal of a store. What Append has returned from is durable, and so is
// whatever is read. It has no goroutines and is not closed; once its store is, calls return
// ErrClosed. All methods may be called concurrently; those that write wait for each other.
type Journal struct {
	store      *Store
	log        *slog.Logger
	space      space // guarded by writing
	key        ed25519.PrivateKey
	keyCreated bool
	origin     id // of the store that the journal began in; a restore does not change it

	writing sync.Mutex // held across what is written to the database
	chains  [tracksEnd]chain
	state   atomic.Pointer[journalState] // as it is durable

	signing sync.Mutex // held across what is written to the file of the head
	head    atomic.Pointer[JournalHead]
}

// journalState is where the journal stands, all of it from one instant. It is immutable.
type journalState struct {
	tips, bases [tracksEnd]JournalTip
	oldest      [tracksEnd]int64 // when the first record that is left was written; 0: there is none
}

// OpenJournal opens the journal of s, which has one, and creates it at the first use: an empty
// one, and the key that signs, in the file journal.key of the data directory. The key is
// in no backup; a store that was restored signs with a new one. It fails with ErrJournalOpen,
// ErrDamaged, ErrFenced and ErrClosed, and where the key cannot be read or written.
func OpenJournal(s *Store, o JournalOptions) (*Journal, error) {
	if o.Reserve == 0 {
		o.Reserve = JournalReserveDefault
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if !s.journal.CompareAndSwap(false, true) {
		return nil, ErrJournalOpen
	}
	j := &Journal{store: s, log: o.Logger, space: space{fs: s.fs, dir: s.dir, reserve: o.Reserve}}
	if err := j.open(); err != nil {
		s.journal.Store(false)
		return nil, fmt.Errorf("open journal: %w", err)
	}
	return j, nil
}

// open does the work of OpenJournal.
func (j *Journal) open() error {
	if err := j.store.usable(); err != nil {
		return err
	}
	m, err := fetch(j.store, func(db *pebble.DB) (journalMarks, error) { return readMarks(db) })
	if err != nil {
		return err
	}
	if !m.exists {
		if m, err = j.create(); err != nil {
			return err
		}
	}
	j.origin = m.origin
	for t := range tracksEnd {
		j.chains[t] = newChain(m.tips[t].Hash)
	}
	state := journalState{tips: m.tips, bases: m.bases}
	for _, t := range []Track{Evidence, Raw} {
		if state.oldest[t], err = j.oldest(t, state.bases[t], state.tips[t]); err != nil {
			return err
		}
	}
	if j.key, j.keyCreated, err = loadKey(j.store.fs, j.store.dir); err != nil {
		return err
	}
	if h, err := readHeadFile(j.store.fs, j.store.dir); err == nil && h.Journal == j.origin.String() {
		j.head.Store(&h) // one that is damaged, Verify reports, and Sign replaces
	}
	j.state.Store(&state)
	return nil
}

// create writes the marks of an empty journal.
func (j *Journal) create() (journalMarks, error) {
	m := journalMarks{exists: true, origin: j.store.id}
	b := j.store.db.NewBatch()
	for t := range tracksEnd {
		m.tips[t].Hash = genesis(m.origin, t)
		m.bases[t] = m.tips[t]
		if err := errors.Join(putMark(b, markTip, t, m.origin, m.tips[t]), putMark(b, markBase, t, m.origin, m.bases[t])); err != nil {
			return journalMarks{}, errors.Join(err, b.Close())
		}
	}
	return m, j.write(b)
}

// oldest returns when the first record behind a base was written, and checks that the last one
// is the tip.
func (j *Journal) oldest(t Track, base, tip JournalTip) (int64, error) {
	if base.Sequence == tip.Sequence {
		return 0, nil
	}
	return fetch(j.store, func(db *pebble.DB) (int64, error) {
		first, err := readRecord(db, t, base.Sequence+1)
		if err != nil {
			return 0, err
		}
		last, err := readRecord(db, t, tip.Sequence)
		if err == nil && last.Hash != short(tip.Hash) {
			err = fmt.Errorf("%w: the last record of the journal, %d of %v, is not the one that was written", ErrDamaged, tip.Sequence, t)
		}
		return first.Unix, err
	})
}

// write makes a batch durable and closes it.
func (j *Journal) write(b *pebble.Batch) error {
	err := j.store.apply(b)
	if errors.Is(err, ErrFenced) {
		return err // the database may have the batch for good
	}
	return errors.Join(err, b.Close())
}

// Append makes the entries durable, in their order: all of them, or none. It fails with ErrRange and
// ErrTooLarge on entries that can never be appended, with ErrFull below the reserve, and with
// ErrFenced and ErrClosed. Whatever it returns, the entries are still the caller's.
func (j *Journal) Append(entries ...JournalEntry) error {
	if err := checkEntries(entries); err != nil {
		return err
	}
	if len(entries) == 0 {
		return nil
	}
	j.writing.Lock()
	defer j.writing.Unlock()
	if err := j.space.check(j.log); err != nil {
		return err
	}
	state := *j.state.Load()
	b := j.store.db.NewBatch()
	if err := j.fill(b, &state, entries); err != nil {
		return errors.Join(err, b.Close())
	}
	if err := j.write(b); err != nil {
		return err
	}
	j.state.Store(&state)
	return nil
}

// fill puts the entries into a batch, and into the state that there will be behind it.
func (j *Journal) fill(b *pebble.Batch, state *journalState, entries []JournalEntry) error {
	var key, value []byte
	for i := range entries {
		e := &entries[i]
		tip := &state.tips[e.Track]
		tip.Sequence++
		tip.Unix = e.Unix
		chain := &j.chains[e.Track]
		chain.sum = tip.Hash // it stands elsewhere where the write before failed
		key = appendRecordKey(key[:0], e.Track, tip.Sequence)
		value = chain.appendRecord(value[:0], key, e)
		tip.Hash = chain.sum
		if err := b.Set(key, value, nil); err != nil {
			return err
		}
		if e.Track == Evidence {
			if err := b.Set(indexKey(e.Kind, e.Unix, tip.Sequence), nil, nil); err != nil {
				return err
			}
		}
		if tip.Sequence == state.bases[e.Track].Sequence+1 {
			state.oldest[e.Track] = e.Unix
		}
	}
	return errors.Join(
		putMark(b, markTip, Evidence, j.origin, state.tips[Evidence]),
		putMark(b, markTip, Raw, j.origin, state.tips[Raw]))
}

// checkEntries finds what can never be appended.
func checkEntries(entries []JournalEntry) error {
	if len(entries) > JournalEntriesMax {
		return fmt.Errorf("%w: %d journal entries at once (at most %d)", ErrTooLarge, len(entries), JournalEntriesMax)
	}
	total := 0
	for i := range entries {
		e := &entries[i]
		if err := e.Track.check(); err != nil {
			return err
		}
		switch total += len(e.Payload); {
		case e.Kind == 0:
			return fmt.Errorf("%w: a journal entry of kind 0 (want 1 to 255)", ErrRange)
		case e.Unix < 0:
			return fmt.Errorf("%w: a journal entry at %d ns, before 1970", ErrRange, e.Unix)
		case len(e.Payload) > JournalPayloadLenMax:
			return fmt.Errorf("%w: a journal payload of %d bytes (at most %d)", ErrTooLarge, len(e.Payload), JournalPayloadLenMax)
		case total > JournalAppendLenMax:
			return fmt.Errorf("%w: journal payloads of more than %d bytes at once", ErrTooLarge, JournalAppendLenMax)
		}
	}
	return nil
}

// Tip returns where a track stands; the zero JournalTip for what is no track.
func (j *Journal) Tip(t Track) JournalTip {
	if t.check() != nil {
		return JournalTip{}
	}
	return j.state.Load().tips[t]
}

// JournalStatus is what a journal holds.
type JournalStatus struct {
	// ID is that of the store that the journal began in: a restore does not change it.
	ID            string
	Evidence, Raw JournalTrackStatus
	Roots         uint64
	Bytes         uint64       // on disk, about: what was written last may not be counted yet
	Head          *JournalHead // signed last; nil: none was
	Key           ed25519.PublicKey
	KeyCreated    bool // OpenJournal has made a new key
	FreeBytes     uint64
	NearlyFull    bool // appends are refused by ErrFull
}

// JournalTrackStatus is what a track holds. First and Last are the sequences of the first and the
// last record that are kept; where Last is First-1 there is none.
type JournalTrackStatus struct {
	First, Last uint64
	OldestUnix  int64 // when the first was written, nanoseconds; 0: there is none
}

// Status returns what the journal holds. It asks the database for the bytes, and leaves them 0 where
// the store is fenced or closed.
func (j *Journal) Status() JournalStatus {
	state := j.state.Load()
	s := JournalStatus{
		ID: j.origin.String(), Evidence: state.track(Evidence), Raw: state.track(Raw), Roots: state.tips[trackRoots].Sequence,
		Head: j.head.Load(), Key: j.key.Public().(ed25519.PublicKey), KeyCreated: j.keyCreated,
	}
	s.FreeBytes, s.NearlyFull = j.space.last()
	s.Bytes, _ = fetch(j.store, func(db *pebble.DB) (uint64, error) {
		return db.EstimateDiskUsage([]byte{tableJournal}, []byte{tableRoot + 1})
	})
	return s
}

func (s *journalState) track(t Track) JournalTrackStatus {
	return JournalTrackStatus{First: s.bases[t].Sequence + 1, Last: s.tips[t].Sequence, OldestUnix: s.oldest[t]}
}
