package store

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// victim is a journal whose database can be changed behind its back, and put back as it was. All
// checksums of Pebble are as they should be.
type victim struct {
	*diary
	t    *testing.T
	disk *vfs.MemFS
	keys [][]byte // all keys of the journal
	undo []func() error
}

// newVictim makes a journal of some thousand records with roots and heads, trimmed on both
// tracks.
func newVictim(t *testing.T) *victim {
	t.Helper()
	v := &victim{t: t, disk: vfs.NewMem()}
	v.diary = newDiary(journalOn(t, v.disk, "/var/data", JournalOptions{}), *seedFlag)
	t.Cleanup(func() { closeJournal(t, v.Journal) })
	v.days(t, 6, 600)
	v.trim(t, Raw, v.unix-2*day)
	v.trim(t, Evidence, v.unix-4*day)
	v.write(t, 100)
	v.sign(t)
	iter, err := v.store.db.NewIter(&pebble.IterOptions{LowerBound: []byte{tableJournal}, UpperBound: []byte{tableRoot + 1}})
	if err != nil {
		t.Fatal(err)
	}
	for ok := iter.First(); ok; ok = iter.Next() {
		v.keys = append(v.keys, bytes.Clone(iter.Key()))
	}
	if err := iter.Close(); err != nil {
		t.Fatal(err)
	}
	return v
}

// value returns what is there now; nil: nothing.
func (v *victim) value(key []byte) []byte {
	v.t.Helper()
	b, err := get(v.store.db, key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		v.t.Fatal(err)
	}
	if b == nil {
		b = []byte{}
	}
	return b
}

// set changes a value; nil removes the key.
func (v *victim) set(key, value []byte) {
	v.t.Helper()
	was, db := v.value(key), v.store.db
	put := func(b []byte) error {
		if b == nil {
			return db.Delete(key, pebble.NoSync)
		}
		return db.Set(key, b, pebble.NoSync)
	}
	if err := put(value); err != nil {
		v.t.Fatal(err)
	}
	v.undo = append(v.undo, func() error { return put(was) })
}

// mark changes a mark, with a checksum that matches.
func (v *victim) mark(kind byte, t Track, at JournalTip) {
	v.t.Helper()
	b := v.store.db.NewBatch()
	defer b.Close()
	if err := putMark(b, kind, t, v.origin, at); err != nil {
		v.t.Fatal(err)
	}
	r := b.Reader()
	_, key, value, _, _ := r.Next()
	v.set(bytes.Clone(key), bytes.Clone(value))
}

// check verifies the journal as it is now, and puts it back as it was.
func (v *victim) check(o VerifyJournalOptions) JournalReport {
	v.t.Helper()
	r, err := v.Verify(context.Background(), o)
	if err != nil {
		v.t.Fatal(err)
	}
	slices.Reverse(v.undo)
	for _, undo := range v.undo {
		if err := undo(); err != nil {
			v.t.Fatal(err)
		}
	}
	v.undo = nil
	return r
}

// found fails the test where nothing was found.
func (v *victim) found(what string, o VerifyJournalOptions) {
	v.t.Helper()
	if r := v.check(o); r.Err() == nil {
		v.t.Errorf("seed %d: %s: not found", *seedFlag, what)
	} else if testing.Verbose() && v.rng.IntN(50) == 0 {
		v.t.Logf("%s: %s", what, r.Problems[0])
	}
}

// sound fails the test where something is wrong with the journal as it was written.
func (v *victim) sound() {
	v.t.Helper()
	if r := v.check(VerifyJournalOptions{Heads: v.heads}); r.Err() != nil || int(r.Heads)+len(r.Trimmed) < len(v.heads) {
		v.t.Fatalf("false alarm: %+v", r)
	}
}

// pick returns a key of the journal of a kind.
func (v *victim) pick(fits func(key []byte) bool) []byte {
	for {
		if key := v.keys[v.rng.IntN(len(v.keys))]; fits == nil || fits(key) {
			return key
		}
	}
}

func isRecord(key []byte) bool { return len(key) == recordKeyLen && key[0] == tableJournal }

// TestJournalFlips changes one byte at each of 1,000 random places of the keys and values of a
// journal. Each is found.
func TestJournalFlips(t *testing.T) {
	leakFree(t)
	v := newVictim(t)
	v.sound()
	var total int
	var ends []int // where each key and its value end in all of the bytes
	for _, key := range v.keys {
		total += len(key) + len(v.value(key))
		ends = append(ends, total)
	}
	flip := func(key []byte, at int, bits byte) {
		value := v.value(key)
		what := fmt.Sprintf("byte %d of %x = %.20x ^ %x", at, key, value, bits)
		if at < len(key) {
			other := bytes.Clone(key)
			other[at] ^= bits
			v.set(key, nil)
			v.set(other, value)
		} else {
			value[at-len(key)] ^= bits
			v.set(key, value)
		}
		v.found(what, VerifyJournalOptions{})
	}
	for range often(1000) {
		at := v.rng.IntN(total)
		i, _ := slices.BinarySearch(ends, at+1)
		flip(v.keys[i], at-(ends[i]-len(v.keys[i])-len(v.value(v.keys[i]))), byte(1+v.rng.IntN(255)))
	}
	// Every byte of the few that are not records: marks, the last root.
	for _, key := range v.keys {
		if key[0] == tableJournal && key[1] == 0 || bytes.Equal(key, rootKey(6)) {
			for at := range len(key) + len(v.value(key)) {
				flip(key, at, byte(1+v.rng.IntN(255)))
			}
		}
	}
	v.sound()
}

// TestJournalDeletions removes 100 keys, and 100 records with their entries in the index, and adds
// as many.
func TestJournalDeletions(t *testing.T) {
	leakFree(t)
	v := newVictim(t)
	for n := range often(100) {
		key := v.pick(nil)
		v.set(key, nil)
		v.found(fmt.Sprintf("%x removed", key), VerifyJournalOptions{})

		key = v.pick(func(key []byte) bool { return key[0] == tableIndex })
		v.set(key, []byte{byte(n)})
		v.found(fmt.Sprintf("%x with a value", key), VerifyJournalOptions{})

		key = v.pick(isRecord)
		r, err := parseRecord(key, v.value(key))
		if err != nil {
			t.Fatal(err)
		}
		v.set(key, nil)
		if r.Track == Evidence {
			v.set(indexKey(r.Kind, r.Unix, r.Sequence), nil)
		}
		v.found(fmt.Sprintf("record %d of %v removed", r.Sequence, r.Track), VerifyJournalOptions{})

		value := v.value(key)
		other := v.pick(isRecord)
		v.set(other, value) // in place of another, or of itself
		if bytes.Equal(key, other) {
			v.check(VerifyJournalOptions{})
			continue
		}
		v.found(fmt.Sprintf("%x written over by %x", other, key), VerifyJournalOptions{})

		for _, key := range [][]byte{
			recordKey(Raw, v.Tip(Raw).Sequence+1+uint64(n)), recordKey(Evidence, v.Tip(Evidence).Sequence+1+uint64(n)),
			recordKey(Raw, uint64(n)), recordKey(Evidence, uint64(n)), indexKey(7, int64(n), uint64(n)),
			rootKey(7 + uint64(n)), recordKey(3, uint64(n)), markKey(byte(3+n), Raw), markKey(markTip, Track(3+n)),
			append(bytes.Clone(key), byte(n)),
		} {
			v.set(key, value)
			v.found(fmt.Sprintf("%x added", key), VerifyJournalOptions{})
		}
	}
	v.sound()
}

// TestJournalSwaps exchanges 100 pairs of records: their values, and, with an index that knows of
// it, those next to each other.
func TestJournalSwaps(t *testing.T) {
	leakFree(t)
	v := newVictim(t)
	for range often(100) {
		a, b := v.pick(isRecord), v.pick(isRecord)
		x, y := v.value(a), v.value(b)
		if bytes.Equal(x, y) {
			continue
		}
		v.set(a, y)
		v.set(b, x)
		v.found(fmt.Sprintf("%x and %x exchanged", a, b), VerifyJournalOptions{})

		track := Evidence + Track(v.rng.IntN(2))
		first := v.state.Load().bases[track].Sequence + 1
		n := first + v.rng.Uint64N(v.Tip(track).Sequence-first)
		v.move(track, n, n+1)
		v.found(fmt.Sprintf("records %d and %d of %v exchanged", n, n+1, track), VerifyJournalOptions{})
	}
	v.sound()
}

// move exchanges two records, and what the index says of them; each keeps the hash of its place.
func (v *victim) move(track Track, a, b uint64) {
	v.t.Helper()
	read := func(n uint64) JournalRecord {
		r, err := readRecord(v.store.db, track, n)
		if err != nil {
			v.t.Fatal(err)
		}
		return r
	}
	put := func(r JournalRecord, n uint64, hash [8]byte) {
		value := binary.BigEndian.AppendUint64([]byte{r.Kind}, uint64(r.Unix))
		value = append(append(value, r.Payload...), hash[:]...)
		v.set(recordKey(track, n), value)
		if track == Evidence {
			v.set(indexKey(r.Kind, r.Unix, n), []byte{})
		}
	}
	x, y := read(a), read(b)
	if track == Evidence {
		v.set(indexKey(x.Kind, x.Unix, a), nil)
		v.set(indexKey(y.Kind, y.Unix, b), nil)
	}
	put(y, a, x.Hash)
	put(x, b, y.Hash)
}

// truncate removes the last records of a track as somebody would who knows how the journal is
// made, but not the key: the index, the roots and the marks are as if they had never been there.
func (v *victim) truncate(track Track, last uint64) {
	v.t.Helper()
	at := v.state.Load().bases[track]
	c := newChain(at.Hash)
	for at.Sequence < last {
		at.Sequence++
		key := recordKey(track, at.Sequence)
		value := v.value(key)
		c.add(key, value[:len(value)-recordHashLen])
		at.Unix, at.Hash = int64(binary.BigEndian.Uint64(value[1:])), c.sum
	}
	for n := last + 1; n <= v.Tip(track).Sequence; n++ {
		r, err := readRecord(v.store.db, track, n)
		if err != nil {
			v.t.Fatal(err)
		}
		v.set(recordKey(track, n), nil)
		if track == Evidence {
			v.set(indexKey(r.Kind, r.Unix, n), nil)
		}
	}
	v.mark(markTip, track, at)
	v.uproot(track, last)
}

// uproot removes the roots that tell of more than the given sequence.
func (v *victim) uproot(track Track, last uint64) {
	v.t.Helper()
	tip := JournalTip{Hash: genesis(v.origin, trackRoots)}
	for n := uint64(1); n <= v.chainTip(trackRoots).Sequence; n++ {
		r, err := v.Journal.root(n)
		if err != nil {
			v.t.Fatal(err)
		}
		if r.tips[track].Sequence > last {
			v.set(rootKey(n), nil)
			continue
		}
		tip = JournalTip{n, r.hash, r.unix}
	}
	v.mark(markTip, trackRoots, tip)
}

// chainTip is Tip of any chain.
func (v *victim) chainTip(t Track) JournalTip { return v.state.Load().tips[t] }

// often is how often a random test is repeated: a tenth as often in a short run, which the race
// detector makes long enough.
func often(n int) int {
	if testing.Short() {
		return n / 10
	}
	return n
}

// TestJournalTruncations cuts the end off 20 times, with everything else as if it had never been
// there: behind the last head that was signed, by the file; and where the file was removed,
// too, behind one that was given. What cannot be found is a cut before any head.
func TestJournalTruncations(t *testing.T) {
	leakFree(t)
	v := newVictim(t)
	file := "/var/data/" + headFileName
	head, err := readAll(v.disk, file)
	if err != nil {
		t.Fatal(err)
	}
	v.write(t, 40) // behind the last head
	for n := range 20 {
		track := Evidence + Track(n%2)
		tip := v.Tip(track).Sequence
		last := v.heads[len(v.heads)-1]
		reached := last.at(track).Sequence
		to := reached - 1 - v.rng.Uint64N(200)
		what := fmt.Sprintf("%v cut at %d of %d, with a head at %d", track, to, tip, reached)
		v.truncate(track, to)
		v.found(what+" in the file", VerifyJournalOptions{})
		if err := v.disk.Remove(file); err != nil {
			t.Fatal(err)
		}
		v.truncate(track, to)
		v.found(what+" that was given", VerifyJournalOptions{Heads: []JournalHead{last}})
		v.truncate(track, to)
		if r := v.check(VerifyJournalOptions{}); r.Err() != nil {
			t.Errorf("%s nowhere: %v: this is not as if the records had never been there", what, r.Problems)
		}
		if err := replaceFile(v.disk, "/var/data", headFileName, slices.Clone(head), func(name string) (syncedFile, error) {
			return v.disk.Create(name, vfs.WriteCategoryUnspecified)
		}); err != nil {
			t.Fatal(err)
		}
		v.truncate(track, reached+v.rng.Uint64N(tip-reached+1))
		if r := v.check(VerifyJournalOptions{Heads: v.heads}); r.Err() != nil {
			t.Errorf("%v cut behind all heads: %v", track, r.Problems)
		}
		v.set(recordKey(track, tip), nil)
		v.found("the last record of "+track.String(), VerifyJournalOptions{})
	}
	v.sound()
}

// rewrite changes a record and makes all that follows anew, but for the roots.
func (v *victim) rewrite(track Track, sequence uint64) {
	v.t.Helper()
	at := v.state.Load().bases[track]
	c := newChain(at.Hash)
	for at.Sequence < v.Tip(track).Sequence {
		at.Sequence++
		key := recordKey(track, at.Sequence)
		value := v.value(key)
		if at.Sequence == sequence {
			value = slices.Insert(value, recordHeaderLen, 'x')
		}
		value = value[:len(value)-recordHashLen]
		at.Unix = int64(binary.BigEndian.Uint64(value[1:]))
		c.add(key, value)
		at.Hash = c.sum
		if value = append(value, c.sum[:recordHashLen]...); at.Sequence >= sequence {
			v.set(key, value)
		}
	}
	v.mark(markTip, track, at)
}

// TestJournalForgeries makes parts of the journal anew, with hashes that match: a root, a head in
// the file or one that is given tells. Who has made the roots anew too has used another key.
func TestJournalForgeries(t *testing.T) {
	leakFree(t)
	v := newVictim(t)
	file := "/var/data/" + headFileName
	last := v.heads[len(v.heads)-1]
	for _, track := range []Track{Evidence, Raw} {
		first, end := v.state.Load().bases[track].Sequence+1, v.Tip(track).Sequence
		for range 10 {
			v.rewrite(track, first+v.rng.Uint64N(end-first-200))
			v.found("rewritten", VerifyJournalOptions{})
		}
		v.rewrite(track, end) // behind all roots
		v.found("the last record rewritten", VerifyJournalOptions{})
	}
	if err := v.disk.Remove(file); err != nil {
		t.Fatal(err)
	}
	v.rewrite(Raw, v.Tip(Raw).Sequence)
	v.found("the last record rewritten, and the file gone", VerifyJournalOptions{Heads: []JournalHead{last}})
	v.rewrite(Raw, v.Tip(Raw).Sequence)
	if r := v.check(VerifyJournalOptions{}); r.Err() != nil {
		t.Errorf("rewritten, and no head: %v", r.Problems)
	}

	// All roots, signed with another key, are as good as those before, unless the keys are known.
	seed := sha256Of("another")
	other := ed25519.NewKeyFromSeed(seed[:])
	tip := JournalTip{Hash: genesis(v.origin, trackRoots)}
	reroot := func(key ed25519.PrivateKey) {
		tip := tip
		for n := uint64(1); n <= v.chainTip(trackRoots).Sequence; n++ {
			r, err := v.Journal.root(n)
			if err != nil {
				t.Fatal(err)
			}
			r.before = tip.Hash
			value := r.encode(v.origin, key)
			v.set(rootKey(n), value)
			made, err := parseRoot(v.origin, rootKey(n), value)
			if err != nil || !made.signed {
				t.Fatalf("%+v, %v", made, err)
			}
			tip = JournalTip{n, made.hash, r.unix}
		}
		v.mark(markTip, trackRoots, tip)
	}
	sixth := v.rootOf(6)
	sixth.unix++
	v.set(rootKey(6), sixth.encode(v.origin, other))
	v.found("the last root forged", VerifyJournalOptions{})
	third := v.rootOf(3)
	third.unix++
	v.set(rootKey(3), third.encode(v.origin, other))
	v.found("a root forged", VerifyJournalOptions{})
	reroot(other)
	if r := v.check(VerifyJournalOptions{Heads: v.heads}); r.Err() != nil || len(r.Keys) != 2 {
		t.Errorf("%+v", r)
	}
	reroot(other)
	r := v.check(VerifyJournalOptions{Keys: []ed25519.PublicKey{v.Status().Key}})
	if len(r.Problems) != 6 || !strings.Contains(r.Problems[0], "root 1, of 2") || !strings.Contains(r.Problems[0], "another key") {
		t.Errorf("%+v", r)
	}

	// A track that begins elsewhere, where the record before it stands.
	at := v.state.Load().bases[Raw]
	c := newChain(at.Hash)
	at.Sequence++
	value := v.value(recordKey(Raw, at.Sequence))
	c.add(recordKey(Raw, at.Sequence), value[:len(value)-recordHashLen])
	at.Hash, at.Unix = c.sum, int64(binary.BigEndian.Uint64(value[1:]))
	v.set(recordKey(Raw, at.Sequence), nil)
	v.mark(markBase, Raw, at)
	v.found("begins where no root is", VerifyJournalOptions{})
	v.mark(markBase, Raw, JournalTip{})
	v.found("begins at nothing", VerifyJournalOptions{})
	v.mark(markBase, trackRoots, v.chainTip(trackRoots))
	v.found("roots trimmed", VerifyJournalOptions{})
	v.mark(markBase, trackRoots, JournalTip{})
	v.found("roots that begin at nothing", VerifyJournalOptions{})
	v.mark(markTip, trackRoots, JournalTip{})
	v.found("no roots, by the mark", VerifyJournalOptions{})
	v.write(t, 40) // behind all heads
	for _, track := range []Track{Evidence, Raw} {
		v.rewrite(track, v.Tip(track).Sequence)
		v.mark(markTip, track, v.Tip(track))
		v.found("the last record rewritten, and the mark as it was", VerifyJournalOptions{})
	}
	v.sound()
}

// TestJournalHeads gives heads that are of another journal, forged, or of a future that was lost.
func TestJournalHeads(t *testing.T) {
	leakFree(t)
	v := newVictim(t)
	good := v.heads[len(v.heads)-1]
	seed := sha256Of("another")
	sign := func(h JournalHead) JournalHead {
		key := ed25519.NewKeyFromSeed(seed[:])
		copy(h.Key[:], key.Public().(ed25519.PublicKey))
		copy(h.Signature[:], ed25519.Sign(key, []byte(h.signed())))
		return h
	}
	change := func(do func(*JournalHead)) JournalHead {
		h := good
		do(&h)
		return h
	}
	trimmed := v.heads[0]
	root := func(t Track) JournalTip { return v.rootOf(1).tips[t] }
	cases := []struct {
		name string
		head JournalHead
		want string // in the problem; empty: none
		note string
	}{
		{"good", good, "", ""},
		{"signature", change(func(h *JournalHead) { h.Signature[3] ^= 1 }), "the signature does not check", ""},
		{"key", change(func(h *JournalHead) { h.Key[3] ^= 1 }), "the signature does not check", ""},
		{"hash", change(func(h *JournalHead) { h.RawHash[3] ^= 1 }), "the signature does not check", ""},
		{"another key", sign(good), "", ""},
		{"another journal", sign(change(func(h *JournalHead) { h.Journal = strings.Repeat("0", 32) })), "is of journal 0000", ""},
		{"other evidence", sign(change(func(h *JournalHead) { h.EvidenceHash[3] ^= 1 })), "evidence: record", ""},
		{"other raw", sign(change(func(h *JournalHead) { h.RawHash[3] ^= 1 })), "is not the one that a head that was given, signed at", ""},
		{"more evidence", sign(change(func(h *JournalHead) { h.EvidenceSequence += 2 })), "the last 2 records are missing", ""},
		{"more raw", sign(change(func(h *JournalHead) { h.RawSequence += 7 })), "raw: it ends at record", ""},
		{"from before", trimmed, "", "cannot be proven any more"},
		{"a root from before", sign(change(func(h *JournalHead) {
			h.EvidenceSequence, h.EvidenceHash = root(Evidence).Sequence, root(Evidence).Hash
			h.RawSequence, h.RawHash = root(Raw).Sequence, root(Raw).Hash
		})), "", ""},
		{"another root from before", sign(change(func(h *JournalHead) {
			h.EvidenceSequence, h.EvidenceHash = root(Evidence).Sequence, root(Evidence).Hash
			h.RawSequence, h.RawHash = root(Raw).Sequence, root(Evidence).Hash
		})), "says otherwise of record", ""},
		{"the beginning", sign(change(func(h *JournalHead) {
			h.EvidenceSequence, h.RawSequence = v.state.Load().bases[Evidence].Sequence, v.state.Load().bases[Raw].Sequence
			h.EvidenceHash, h.RawHash = v.state.Load().bases[Evidence].Hash, v.state.Load().bases[Raw].Hash
		})), "", ""},
		{"another beginning", sign(change(func(h *JournalHead) { h.EvidenceSequence = v.state.Load().bases[Evidence].Sequence })), "is not the one that", ""},
	}
	for _, c := range cases {
		r := v.check(VerifyJournalOptions{Heads: []JournalHead{c.head}})
		proven := uint64(2) // the file's and this
		if c.want != "" || c.note != "" {
			proven = 1
		}
		if (r.Err() == nil) != (c.want == "") || c.want != "" && !strings.Contains(strings.Join(r.Problems, "\n"), c.want) || len(r.Problems) > 1 || r.Heads != proven {
			t.Errorf("%s: %d heads, %q", c.name, r.Heads, r.Problems)
		}
		if (c.note == "") != (len(r.Trimmed) == 0) || c.note != "" && !strings.Contains(r.Trimmed[0], c.note) {
			t.Errorf("%s: %q", c.name, r.Trimmed)
		}
	}
	r := v.check(VerifyJournalOptions{Heads: []JournalHead{good, sign(good)}, Keys: []ed25519.PublicKey{good.Key[:]}})
	if len(r.Problems) != 1 || !strings.Contains(r.Problems[0], "another key") || len(r.Keys) != 2 {
		t.Errorf("%+v", r)
	}
}

// rootOf returns a root.
func (v *victim) rootOf(number uint64) journalRoot {
	v.t.Helper()
	r, err := v.Journal.root(number)
	if err != nil {
		v.t.Fatal(err)
	}
	return r
}

// TestJournalLocalised damages two records of one track, on both sides of a root: each is named, with
// when it was written, and what lies in between is proven.
func TestJournalLocalised(t *testing.T) {
	leakFree(t)
	v := newVictim(t)
	fifth := v.rootOf(5)
	root := fifth.tips[Raw].Sequence
	for _, n := range []uint64{root - 100, root + 3} {
		value := v.value(recordKey(Raw, n))
		value[recordHeaderLen-1] ^= 1
		v.set(recordKey(Raw, n), value)
	}
	r := v.check(VerifyJournalOptions{})
	want := []string{
		fmt.Sprintf("raw: record %d is not the one", root-100), fmt.Sprintf("%v, takes over at record %d", &fifth, root),
		fmt.Sprintf("raw: record %d is not the one", root+3), "takes over at record",
	}
	if len(r.Problems) != len(want) {
		t.Fatalf("%q", r.Problems)
	}
	for i, w := range want {
		if !strings.Contains(r.Problems[i], w) {
			t.Errorf("%q, want %q", r.Problems[i], w)
		}
	}
	value := v.value(recordKey(Raw, root+3))
	value[recordHeaderLen-1] ^= 1
	for n := root; n < root+300; n++ { // many
		v.set(recordKey(3, n), value)
	}
	if r := v.check(VerifyJournalOptions{}); len(r.Problems) != problemsMax || r.MoreProblems != 200 || !errors.Is(r.Err(), ErrDamaged) {
		t.Errorf("%d and %d problems", len(r.Problems), r.MoreProblems)
	}
}

func sha256Of(text string) [32]byte {
	c := newChain([32]byte{})
	c.add([]byte(text), nil)
	return c.sum
}
