package store

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"
)

// journalRecords is how many records BenchmarkVerifyJournal verifies: what 16 sources that are
// asked every 16 seconds make in 40 days, with a record for each second besides.
const journalRecords = 10_000_000

// BenchmarkVerifyJournal verifies a journal of 10 million records of 100 bytes, half of them
// evidence, with a root for each 100,000.
func BenchmarkVerifyJournal(b *testing.B) {
	if testing.Short() {
		b.Skip("it takes some minutes and 2 GB of disk")
	}
	dir := b.TempDir() + "/data"
	j := journalOn(b, nil, dir, JournalOptions{Reserve: 1 << 20})
	entries := make([]JournalEntry, JournalEntriesMax)
	payloads, rng := make([]byte, 100*len(entries)), rand.NewChaCha8([32]byte{1})
	begin := time.Now()
	for n := range journalRecords / len(entries) {
		for i := range entries {
			unix := epoch0 + int64(n*len(entries)+i)*second
			payload := payloads[100*i : 100*i+100]
			_, _ = rng.Read(payload) // which cannot be compressed
			entries[i] = JournalEntry{Track: Evidence + Track(i%2), Kind: uint8(1 + i%7), Unix: unix, Payload: payload}
		}
		if err := j.Append(entries...); err != nil {
			b.Fatal(err)
		}
		if n%10 == 9 {
			if err := j.Root(entries[0].Unix/second, entries[0].Unix); err != nil {
				b.Fatal(err)
			}
		}
	}
	if _, err := j.Sign(epoch0); err != nil {
		b.Fatal(err)
	}
	b.Logf("written in %v", time.Since(begin))
	b.ReportMetric(journalRecords/time.Since(begin).Seconds(), "appended/s")
	verified := func(r JournalReport, err error) {
		if err != nil || r.Err() != nil || r.Evidence.Records+r.Raw.Records != journalRecords || r.Heads != 1 {
			b.Fatalf("%+v, %v", r, err)
		}
	}
	b.Run("open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r, err := j.Verify(context.Background(), VerifyJournalOptions{})
			verified(r, err)
		}
		b.ReportMetric(journalRecords*float64(b.N)/b.Elapsed().Seconds(), "records/s")
	})
	closeJournal(b, j)
	b.Run("closed", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r, err := VerifyJournal(context.Background(), dir, VerifyJournalOptions{})
			verified(r, err)
		}
		b.ReportMetric(journalRecords*float64(b.N)/b.Elapsed().Seconds(), "records/s")
	})
}
