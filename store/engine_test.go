package store

import (
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// The first level is sorted when there are many tables, though they make one sublevel only.
func TestFirstLevel(t *testing.T) {
	j := journalOn(t, vfs.NewMem(), "data", JournalOptions{})
	defer closeJournal(t, j)
	db := j.store.db
	for n := range uint64(2 * filesSorted) {
		if err := errors.Join(db.Set(recordKey(Raw, n), nil, pebble.Sync), db.Flush()); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		m := db.Metrics()
		if m.Levels[0].TablesCount < filesSorted {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d tables in the first level\n%s", m.Levels[0].TablesCount, m)
		}
	}
}
