package store

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestJournalFormat makes records, roots and heads by hand, from what ARCHITECTURE.md says of
// them: whatever is kept for years must be readable then.
func TestJournalFormat(t *testing.T) {
	leakFree(t)
	j := journalOn(t, vfs.NewMem(), "/var/data", JournalOptions{})
	defer closeJournal(t, j)
	origin := j.store.ID()
	hash := func(parts ...string) string {
		var b []byte
		for _, p := range parts {
			b = append(b, p...)
		}
		sum := sha256.Sum256(b)
		return string(sum[:])
	}
	number := func(n uint64) string {
		b := make([]byte, 8)
		for i := range b {
			b[i] = byte(n >> (8 * (7 - i)))
		}
		return string(b)
	}
	value := func(key string) string {
		t.Helper()
		b, err := get(j.store.db, []byte(key))
		if err != nil {
			t.Fatalf("%x: %v", key, err)
		}
		return string(b)
	}
	same := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s is %x, want %x", what, got, want)
		}
	}
	sums := [3]string{}
	for track := range sums {
		sums[track] = hash(fmt.Sprintf("truechimer journal 1 %s %d", origin, track))
	}
	for n := range uint64(3) {
		for _, track := range []Track{Evidence, Raw} {
			unix, payload := 1e9*n+uint64(track), fmt.Sprint("payload ", n)
			if err := j.Append(JournalEntry{track, uint8(10 + n), int64(unix), []byte(payload)}); err != nil {
				t.Fatal(err)
			}
			key := "\x20" + string(rune(track)) + number(n+1)
			body := string(rune(10+n)) + number(unix) + payload
			sums[track] = hash(sums[track], key, body)
			same("record", value(key), body+sums[track][:8])
			tip := j.Tip(track)
			same("hash", string(tip.Hash[:]), sums[track])
			if track == Evidence {
				same("index", value("\x21"+string(rune(10+n))+number(unix)+number(n+1)), "")
			}
		}
		if err := j.Root(int64(n)*86400, int64(n)); err != nil {
			t.Fatal(err)
		}
		key := "\x22" + number(n+1)
		body := number(n*86400) + number(n)
		for _, track := range []Track{Evidence, Raw} {
			body += number(n+1) + sums[track] + number(1e9*n+uint64(track))
		}
		public := j.Status().Key
		body += sums[0] + string(public)
		got := value(key)
		same("root", got[:len(body)], body)
		if len(got) != len(body)+64 || !ed25519.Verify(public, []byte("truechimer journal root 1 "+origin+" "+key+body), []byte(got[len(body):])) {
			t.Errorf("root %d is not signed", n+1)
		}
		sums[0] = hash(sums[0], key, got)
		tip := j.state.Load().tips[trackRoots]
		same("hash of the root", string(tip.Hash[:]), sums[0])
	}

	// A head, with the key of a seed of zeros.
	const line = "tcj1.0102030405060708090a0b0c0d0e0f10.1795564800000000000.3.AQIDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.4.BAUGAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik."
	h := JournalHead{
		Journal: "0102030405060708090a0b0c0d0e0f10", Unix: 1795564800000000000,
		EvidenceSequence: 3, EvidenceHash: [32]byte{1, 2, 3}, RawSequence: 4, RawHash: [32]byte{4, 5, 6},
	}
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	copy(h.Key[:], key.Public().(ed25519.PublicKey))
	copy(h.Signature[:], ed25519.Sign(key, []byte(line[:len(line)-1])))
	if text := h.String(); text[:len(line)] != line || !h.Check(nil) || !h.Check(key.Public().(ed25519.PublicKey)) {
		t.Errorf("%s", text)
	}
	r, err := j.Verify(context.Background(), VerifyJournalOptions{Heads: []JournalHead{h}})
	if err != nil || len(r.Problems) != 1 || r.Heads != 0 { // it is another journal's
		t.Errorf("%+v, %v", r, err)
	}
}
