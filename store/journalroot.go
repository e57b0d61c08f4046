package store

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// A root on disk, big-endian: day (8 bytes), time (8), where the evidence stood and where the raw
// track did (sequence, hash, time: 48 each), hash of the root before (32), key (32), signature of
// all before it (64). Its key is the table and a number, 1, 2, 3, ...: a clock that went back
// can neither hide a root nor stop the next one.
const (
	rootKeyLen = 1 + 8
	rootTipLen = 8 + sha256.Size + 8
	rootBody   = 8 + 8 + 2*rootTipLen + sha256.Size + ed25519.PublicKeySize
	rootLen    = rootBody + ed25519.SignatureSize
)

// journalRoot is where both tracks stood at some time, signed and kept in the journal.
type journalRoot struct {
	number uint64
	day    int64 // its start, Unix seconds
	unix   int64 // when it was signed, nanoseconds
	tips   [tracksEnd]JournalTip
	before [sha256.Size]byte // hash of the root before it
	key    [ed25519.PublicKeySize]byte
	signed bool              // the signature is one of key
	hash   [sha256.Size]byte // of the chain of roots, up to it
}

// String returns what to call it.
func (r *journalRoot) String() string {
	return fmt.Sprintf("root %d, of %s", r.number, time.Unix(r.day, 0).UTC().Format(time.DateOnly))
}

func rootKey(number uint64) []byte { return binary.BigEndian.AppendUint64([]byte{tableRoot}, number) }

// rootMessage is what the signature of a root is of.
func rootMessage(origin id, key, body []byte) []byte {
	b := fmt.Appendf(nil, "truechimer journal root 1 %v ", origin)
	return append(append(b, key...), body...)
}

// encode returns the value of a root.
func (r *journalRoot) encode(origin id, key ed25519.PrivateKey) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, rootLen), uint64(r.day))
	b = binary.BigEndian.AppendUint64(b, uint64(r.unix))
	for _, t := range []Track{Evidence, Raw} {
		b = binary.BigEndian.AppendUint64(b, r.tips[t].Sequence)
		b = append(b, r.tips[t].Hash[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(r.tips[t].Unix))
	}
	b = append(b, r.before[:]...)
	b = append(b, key.Public().(ed25519.PublicKey)...)
	return append(b, ed25519.Sign(key, rootMessage(origin, rootKey(r.number), b))...)
}

// parseRoot reads what encode writes, and checks the signature. Its errors wrap ErrDamaged.
func parseRoot(origin id, key, v []byte) (journalRoot, error) {
	r, err := decodeRoot(key, v)
	if err != nil {
		return journalRoot{}, err
	}
	r.signed = ed25519.Verify(r.key[:], rootMessage(origin, key, v[:rootBody]), v[rootBody:])
	c := newChain(r.before)
	c.add(key, v)
	r.hash = c.sum
	return r, nil
}

// decodeRoot is parseRoot without what takes time: whether it is signed, and its hash.
func decodeRoot(key, v []byte) (journalRoot, error) {
	if len(key) != rootKeyLen || len(v) != rootLen {
		return journalRoot{}, fmt.Errorf("%w: root of the journal with a key of %d and a value of %d bytes", ErrDamaged, len(key), len(v))
	}
	r := journalRoot{
		number: binary.BigEndian.Uint64(key[1:]),
		day:    int64(binary.BigEndian.Uint64(v)), unix: int64(binary.BigEndian.Uint64(v[8:])),
	}
	at := v[16:]
	for _, t := range []Track{Evidence, Raw} {
		r.tips[t] = JournalTip{
			Sequence: binary.BigEndian.Uint64(at), Hash: [sha256.Size]byte(at[8:]),
			Unix: int64(binary.BigEndian.Uint64(at[8+sha256.Size:])),
		}
		at = at[rootTipLen:]
	}
	r.before = [sha256.Size]byte(at)
	r.key = [ed25519.PublicKeySize]byte(at[sha256.Size:])
	return r, nil
}

// Root writes a root: where both tracks stand, signed, and chained to the root before it. day is the
// start of the day that it ends, Unix seconds, and unix the time, nanoseconds. Where the last
// root is of the same day nothing happens. It fails like Append.
func (j *Journal) Root(day, unix int64) error {
	if day < 0 || unix < 0 {
		return fmt.Errorf("%w: a root of day %d at %d ns, before 1970", ErrRange, day, unix)
	}
	j.writing.Lock()
	defer j.writing.Unlock()
	if err := j.space.check(j.log); err != nil {
		return err
	}
	state := *j.state.Load()
	tip := &state.tips[trackRoots]
	if tip.Sequence > 0 {
		last, err := j.root(tip.Sequence)
		if err != nil || last.day == day {
			return err
		}
	}
	r := journalRoot{number: tip.Sequence + 1, day: day, unix: unix, tips: state.tips, before: tip.Hash}
	chain := &j.chains[trackRoots]
	chain.sum = tip.Hash
	key, value := rootKey(r.number), r.encode(j.origin, j.key)
	chain.add(key, value)
	*tip = JournalTip{Sequence: r.number, Hash: chain.sum, Unix: unix}
	b := j.store.db.NewBatch()
	if err := errors.Join(b.Set(key, value, nil), putMark(b, markTip, trackRoots, j.origin, *tip)); err != nil {
		return errors.Join(err, b.Close())
	}
	if err := j.write(b); err != nil {
		return err
	}
	j.state.Store(&state)
	return nil
}

// root reads a root, which there must be.
func (j *Journal) root(number uint64) (journalRoot, error) {
	return fetch(j.store, func(db *pebble.DB) (journalRoot, error) {
		v, err := get(db, rootKey(number))
		if err != nil {
			return journalRoot{}, fmt.Errorf("%w: root %d of the journal: %w", ErrDamaged, number, err)
		}
		r, err := parseRoot(j.origin, rootKey(number), v)
		if err == nil && !r.signed {
			err = fmt.Errorf("%w: %v of the journal: the signature does not check", ErrDamaged, &r)
		}
		return r, err
	})
}

// Trim removes the records of a track that were written before its last root at or before the
// given time, Unix nanoseconds, and returns how many. It goes no further than the first root that is
// later, so that a clock that showed another year for a while does not take what came before; roots
// that are later than the last one are of a clock that was ahead, and say nothing. The track then begins behind that root, and
// the roots stay. It fails with ErrRange, ErrDamaged, ErrFenced and ErrClosed; some records may
// then be gone, and the rest is whole.
func (j *Journal) Trim(t Track, before int64) (removed uint64, err error) {
	if err := t.check(); err != nil {
		return 0, err
	}
	j.writing.Lock()
	defer j.writing.Unlock()
	begin := j.state.Load().bases[t].Sequence
	steps, err := j.steps(t, before)
	for i := 0; err == nil && i < len(steps); i++ {
		err = j.cut(t, steps[i])
	}
	return j.state.Load().bases[t].Sequence - begin, err
}

// steps returns where the track is to begin, one after the other. The index has no range of its
// own for what lies between two roots, so the evidence goes day by day.
func (j *Journal) steps(t Track, before int64) ([]JournalTip, error) {
	numbers, err := j.rootsBefore(t, before)
	if err != nil {
		return nil, err
	}
	if t == Raw && len(numbers) > 1 {
		numbers = numbers[len(numbers)-1:]
	}
	var steps []JournalTip
	for _, n := range numbers {
		r, err := j.root(n)
		if err != nil {
			return nil, err
		}
		if len(steps) == 0 || r.tips[t] != steps[len(steps)-1] { // else nothing lies in between
			steps = append(steps, r.tips[t])
		}
	}
	return steps, nil
}

// rootsBefore returns the numbers of the roots behind the base of a track, up to the last before the first
// that was signed later than the given time. Roots that are later than the last one say nothing.
func (j *Journal) rootsBefore(t Track, before int64) ([]uint64, error) {
	state := j.state.Load()
	base, next, newest := state.bases[t].Sequence, state.tips[trackRoots].Sequence, state.tips[trackRoots].Unix
	return fetch(j.store, func(db *pebble.DB) (numbers []uint64, err error) {
		iter, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{tableRoot}, UpperBound: []byte{tableRoot + 1}})
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, iter.Close()) }()
		for ok := iter.Last(); ok; ok = iter.Prev() {
			r, err := decodeRoot(iter.Key(), iter.Value())
			if err != nil {
				return nil, err
			}
			if r.number != next {
				return nil, fmt.Errorf("%w: root %d of the journal is missing", ErrDamaged, next)
			}
			if next--; r.tips[t].Sequence <= base {
				break
			}
			switch {
			case r.unix > newest:
			case r.unix > before:
				numbers = nil
			default:
				numbers = append(numbers, r.number)
			}
		}
		slices.Reverse(numbers)
		return numbers, nil
	})
}

// cut lets the track begin at a root's tip.
func (j *Journal) cut(t Track, at JournalTip) error {
	state := *j.state.Load()
	base := state.bases[t]
	state.bases[t] = at
	var err error
	if state.oldest[t], err = j.oldest(t, at, state.tips[t]); err != nil {
		return err
	}
	b := j.store.db.NewBatch()
	// From the first record ever on: a table goes at once where one range contains it, and a day is
	// shorter than a table.
	err = errors.Join(
		b.DeleteRange(recordKey(t, 1), recordKey(t, at.Sequence+1), nil),
		putMark(b, markBase, t, j.origin, at))
	if err == nil && t == Evidence {
		err = j.unindex(b, base.Sequence+1, at.Sequence)
	}
	if err != nil {
		return errors.Join(err, b.Close())
	}
	if err := j.write(b); err != nil {
		return err
	}
	j.state.Store(&state)
	return nil
}

// unindex removes records of the evidence from the index.
func (j *Journal) unindex(b *pebble.Batch, from, to uint64) error {
	for from <= to {
		p, err := j.page(Evidence, from, to)
		if err != nil {
			return err
		}
		for i := range p {
			if err := b.Delete(indexKey(p[i].Kind, p[i].Unix, p[i].Sequence), nil); err != nil {
				return err
			}
			from = p[i].Sequence + 1
		}
		if len(p) == 0 {
			return fmt.Errorf("%w: record %d of the journal, %v, is missing", ErrDamaged, from, Evidence)
		}
	}
	return nil
}
