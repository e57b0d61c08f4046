package store

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/truechimer/truechimer/hlc"
)

// Idempotency keys are kept by period, so that forgetting them is one removal of a range:
// a key is looked for in the present period and in the two before, and lives for two
// periods at the least, for three at the most.
const (
	retryPeriod  = RetryWindow / 2
	retryPeriods = 3
)

// retryScope is what an idempotency key is bound to: the streams in their order, and the key
// itself, hashed. retryDigest is the rest of the batch, and who appends it: the key of somebody
// else is one that was used for something else, and its receipt is for who has it.
type (
	retryScope  [16]byte
	retryDigest [16]byte
)

// retry returns the scope and the digest of a batch. What it observes is no part of them:
// a caller may have seen more when it tries again.
func (b *Batch) retry() (scope retryScope, digest retryDigest) {
	s, d := sha256.New(), sha256.New()
	var n [8]byte
	field := func(to hash.Hash, text string) {
		binary.BigEndian.PutUint64(n[:], uint64(len(text)))
		to.Write(n[:])
		to.Write([]byte(text))
	}
	field(d, b.Principal)
	field(s, b.Key)
	for i := range b.Entries {
		e := &b.Entries[i]
		if i == 0 || e.Stream != b.Entries[i-1].Stream {
			field(s, e.Stream)
			d.Write([]byte{2}) // the same payloads may be shared out among the streams in another way
		}
		binary.BigEndian.PutUint64(n[:], uint64(len(e.Payload)))
		d.Write(n[:])
		d.Write(e.Payload)
		if e.Expected == nil {
			d.Write([]byte{'a'}) // any
			continue
		}
		binary.BigEndian.PutUint64(n[:], *e.Expected)
		d.Write([]byte{'e'})
		d.Write(n[:])
	}
	copy(scope[:], s.Sum(nil))
	copy(digest[:], d.Sum(nil))
	return scope, digest
}

// retryRecord is what is kept of an append with an idempotency key: enough to give its
// receipt again to who has its batch. On disk, big-endian: digest (16 bytes), first timestamp
// (8), the first sequence of each run of entries to one stream (8 each), CRC-32C of the key and all of these (4).
type retryRecord struct {
	digest retryDigest
	first  hlc.Timestamp
	runs   []uint64
}

const (
	retryKeyLen    = 1 + 4 + 16
	retryRecordMin = 16 + 8 + 8 + 4
)

// retryKey returns the key of a retry record.
func retryKey(period uint32, scope retryScope) []byte {
	b := binary.BigEndian.AppendUint32(append(make([]byte, 0, retryKeyLen), tableRetry), period)
	return append(b, scope[:]...)
}

// periodOf returns the period that a timestamp falls into.
func periodOf(ts hlc.Timestamp) uint32 {
	return uint32(uint64(ts) / uint64(retryPeriod/time.Nanosecond))
}

func (r *retryRecord) encode(key []byte) []byte {
	b := append(make([]byte, 0, retryRecordMin+8*len(r.runs)), r.digest[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(r.first))
	for _, n := range r.runs {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return binary.BigEndian.AppendUint32(b, checksum(key, b))
}

// parseRetry reads what encode writes. Its errors wrap ErrDamaged.
func parseRetry(key, b []byte) (retryRecord, error) {
	if len(key) != retryKeyLen || key[0] != tableRetry || len(b) < retryRecordMin || (len(b)-retryRecordMin)%8 != 0 {
		return retryRecord{}, fmt.Errorf("%w: retry record with a key of %d and a value of %d bytes", ErrDamaged, len(key), len(b))
	}
	end := len(b) - 4
	if binary.BigEndian.Uint32(b[end:]) != checksum(key, b[:end]) {
		return retryRecord{}, fmt.Errorf("%w: retry record: the checksum does not match", ErrDamaged)
	}
	var r retryRecord
	copy(r.digest[:], b)
	r.first = hlc.Timestamp(binary.BigEndian.Uint64(b[16:]))
	for at := 24; at < end; at += 8 {
		r.runs = append(r.runs, binary.BigEndian.Uint64(b[at:]))
	}
	return r, nil
}

// receipt gives the receipt of the batch that the record is of.
func (r *retryRecord) receipt(b *Batch) (Receipt, error) {
	receipt := Receipt{Timestamp: r.first, Sequences: make([]uint64, len(b.Entries)), Repeated: true}
	run := -1
	for i := range b.Entries {
		if i > 0 && b.Entries[i].Stream == b.Entries[i-1].Stream {
			receipt.Sequences[i] = receipt.Sequences[i-1] + 1
			continue
		}
		if run++; run >= len(r.runs) {
			return Receipt{}, fmt.Errorf("%w: retry record of %d runs", ErrDamaged, len(r.runs))
		}
		receipt.Sequences[i] = r.runs[run]
	}
	return receipt, nil
}

// remember keeps the receipt of an append that this group makes.
func (c *committer) remember(a *appendTask) {
	r := retryRecord{digest: a.digest, first: a.receipt.Timestamp}
	for i := range a.batch.Entries {
		if i == 0 || a.batch.Entries[i].Stream != a.batch.Entries[i-1].Stream {
			r.runs = append(r.runs, a.receipt.Sequences[i])
		}
	}
	key := retryKey(periodOf(r.first), a.scope)
	c.set(key, r.encode(key))
	c.retries[a.scope] = r
}

// repeat returns the receipt of an earlier append with the same key, nil where there was
// none. It fails with ErrKeyReused where that appended something else, or was somebody else's.
func (c *committer) repeat(a *appendTask) (*Receipt, error) {
	r, found := c.retries[a.scope]
	if !found {
		var err error
		if r, found, err = c.lookUp(a.scope); err != nil || !found {
			return nil, err
		}
	}
	if r.digest != a.digest {
		return nil, ErrKeyReused
	}
	receipt, err := r.receipt(&a.batch)
	return &receipt, err
}

// lookUp looks for a retry record in the periods that count.
func (c *committer) lookUp(scope retryScope) (retryRecord, bool, error) {
	period := c.t.issuer.period()
	periods, err := c.ahead(period)
	if err != nil {
		return retryRecord{}, false, err
	}
	for i := range min(uint32(retryPeriods), period+1) {
		periods = append(periods, period-i)
	}
	for _, period := range periods {
		key := retryKey(period, scope)
		b, err := get(c.t.store.db, key)
		if errors.Is(err, pebble.ErrNotFound) {
			continue
		}
		if err != nil {
			return retryRecord{}, false, fmt.Errorf("look up idempotency key: %w", err)
		}
		r, err := parseRetry(key, b)
		return r, true, err
	}
	return retryRecord{}, false, nil
}

// ahead returns the periods above one that have records: those from before a rebase count
// as well.
func (c *committer) ahead(period uint32) (periods []uint32, err error) {
	if c.t.issuer.Status().Rebases == 0 {
		return nil, nil
	}
	iter, err := c.t.store.db.NewIter(&pebble.IterOptions{
		LowerBound: retryKey(period+1, retryScope{}), UpperBound: []byte{tableRetry + 1},
	})
	if err != nil {
		return nil, err
	}
	for ok := iter.First(); ok && len(iter.Key()) == retryKeyLen; {
		next := binary.BigEndian.Uint32(iter.Key()[1:])
		periods = append(periods, next)
		ok = iter.SeekGE(retryKey(next+1, retryScope{}))
	}
	return periods, iter.Close()
}

// period returns the period of this moment.
func (i *Issuer) period() uint32 {
	return periodOf(max(i.clock.Last(), hlc.FromUnix(i.physical())))
}
