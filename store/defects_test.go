package store

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Trim does not take records of yesterday because the clock showed another year for an hour since.
func TestTrimAfterAClockThatWasBehind(t *testing.T) {
	j := journalOn(t, vfs.NewMem(), "/var/data", JournalOptions{})
	defer closeJournal(t, j)
	at := func(year int, d time.Month, day int) int64 {
		return time.Date(year, d, day, 0, 0, 0, 0, time.UTC).UnixNano()
	}
	put := func(unix int64) {
		t.Helper()
		if err := j.Append(JournalEntry{Raw, 1, unix, []byte("x")}); err != nil {
			t.Fatal(err)
		}
		if err := j.Root(unix/1e9/86400*86400, unix); err != nil {
			t.Fatal(err)
		}
	}
	put(at(2026, 11, 27))
	put(at(2026, 11, 28))
	put(at(2020, 1, 1)) // the sources were wrong
	put(at(2026, 11, 29))
	removed, err := j.Trim(Raw, at(2026, 10, 30))
	if err != nil || removed != 0 {
		t.Errorf("%d records of the last days were removed, %v", removed, err)
	}
	put(at(2040, 1, 1)) // nor does it keep all for years because the clock was ahead
	put(at(2026, 11, 30))
	if removed, err := j.Trim(Raw, at(2026, 11, 28)); err != nil || removed != 3 {
		t.Errorf("%d records were removed, %v", removed, err)
	}
}

// Verify finds nothing wrong while records are written and removed.
func TestVerifyWhileTrimmed(t *testing.T) {
	j := journalOn(t, vfs.NewMem(), "/var/data", JournalOptions{})
	defer closeJournal(t, j)
	stop := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		for n := int64(1); ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			var list []JournalEntry
			for range 50 {
				list = append(list, JournalEntry{Raw, 1, n * 1e9, []byte("raw")}, JournalEntry{Evidence, uint8(1 + n%7), n * 1e9, []byte("evidence")})
			}
			if err := j.Append(list...); err != nil {
				t.Error(err)
				return
			}
			if n%3 == 0 {
				if err := j.Root(n*86400, n*1e9); err != nil {
					t.Error(err)
				}
				for _, track := range []Track{Raw, Evidence} {
					if _, err := j.Trim(track, (n-20)*1e9); err != nil {
						t.Error(err)
					}
				}
			}
			if n%5 == 0 {
				if _, err := j.Sign(n * 1e9); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for range 40 {
		r, err := j.Verify(context.Background(), VerifyJournalOptions{})
		if err != nil || r.Err() != nil {
			t.Fatalf("%v, %v", err, r.Problems)
		}
	}
	close(stop)
	work.Wait()
}
