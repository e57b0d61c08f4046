package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/truechimer/truechimer/hlc"
)

// acked is what appends were answered with: the last sequence of each stream by writer.
type acked struct {
	left atomic.Int64 // bytes that may still be appended, so that a slow machine is not buried
	mu   sync.Mutex
	last map[string]uint64
}

func (a *acked) get() map[string]uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	m := map[string]uint64{}
	for name, n := range a.last {
		m[name] = n
	}
	return m
}

// appendTo appends groups to two streams of the writer until told to stop: the same number of
// events to each in every batch, event n with the payload n and some more.
func (a *acked) appendTo(t *testing.T, st *Streams, writer int, filler []byte, stop *atomic.Bool) {
	left, right := fmt.Sprintf("%d/left", writer), fmt.Sprintf("%d/right", writer)
	for n := uint64(0); !stop.Load(); {
		if a.left.Load() <= 0 {
			time.Sleep(time.Millisecond)
			continue
		}
		var b Batch
		for range 1 + n%13 {
			n++
			p := append(binary.BigEndian.AppendUint64(nil, n), filler...)
			b.Entries = append(b.Entries, Entry{Stream: left, Payload: p}, Entry{Stream: right, Payload: p})
			a.left.Add(-2 * int64(100+len(p)))
		}
		if _, err := st.Append(context.Background(), b); err != nil {
			t.Error(err)
			return
		}
		a.mu.Lock()
		a.last[left], a.last[right] = n, n
		a.mu.Unlock()
	}
}

// TestBackupLive takes backups of a store that is being written to, with events so large
// that logs end and are used again all the time. Each verifies, is refused by Open, and restores to a
// store of its own that has every event that was acknowledged before and only whole
// batches, and goes on where it was.
func TestBackupLive(t *testing.T) {
	leakFree(t)
	real := t.TempDir()
	for name, c := range map[string]struct {
		fs   vfs.FS
		root string
	}{"memory": {vfs.NewMem(), "/var"}, "disk": {vfs.Default, real}, "two disks": {noLink{vfs.NewMem(), 1 << 40}, "/var"}} {
		t.Run(name, func(t *testing.T) {
			h := newHand(epoch0)
			st := streamsAt(t, c.fs, filepath.Join(c.root, "data"), h)
			a := &acked{last: map[string]uint64{}}
			var stop atomic.Bool
			var writers sync.WaitGroup
			for w := range 4 {
				writers.Go(func() { a.appendTo(t, st, w, make([]byte, 1+20_000*w), &stop) })
			}
			for round := range 4 {
				h.move(100 * time.Millisecond)
				a.left.Store(8 << 20)
				for len(a.get()) < 8 {
					time.Sleep(time.Millisecond)
				}
				before := a.get()
				dir := filepath.Join(c.root, fmt.Sprint("backup", round))
				b, err := st.store.Backup(context.Background(), dir, nil)
				if err != nil {
					t.Errorf("round %d: %v", round, err)
					continue
				}
				if b.ID != st.store.ID() || b.Streams != 8 || b.Files == 0 || b.Bytes == 0 || b.Ceiling == 0 {
					t.Errorf("result %+v", b)
				}
				h.move(100 * time.Millisecond)
				checkRestored(t, c.fs, c.root, dir, b, before, h)
			}
			stop.Store(true)
			writers.Wait()
			closeStreams(t, st)
		})
	}
}

// checkRestored restores a backup of what acked.appendTo has written.
func checkRestored(t *testing.T, fs vfs.FS, root, dir string, b BackupResult, before map[string]uint64, h *hand) {
	t.Helper()
	if _, err := Open(dir, Options{Node: 7, fs: fs}); !errors.Is(err, ErrBackup) || !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "truechimer restore") {
		t.Errorf("open a backup: %v", err)
	}
	report, err := verifyDir(context.Background(), fs, dir, nil)
	if err != nil || report.Err() != nil || report.Events != b.Events || report.ID != b.ID || !report.Backup {
		t.Errorf("verify: %+v, %v", report, err)
	}
	floor := hlc.FromUnix(h.now()) + 5e9
	to := filepath.Join(root, "restored", filepath.Base(dir))
	r, err := Restore(context.Background(), dir, to, RestoreOptions{Floor: floor, fs: fs})
	if err != nil {
		t.Error(err)
		return
	}
	if r.Backup != b.ID || r.ID == b.ID || r.Node != 7 || r.Epoch != report.Epoch+1 || r.Ceiling != floor+hlc.Timestamp(WindowDefault) || r.Events != b.Events || r.Bytes != b.Bytes {
		t.Errorf("restored %+v from %+v", r, b)
	}
	if report, err := verifyDir(context.Background(), fs, to, nil); err != nil || report.Err() != nil || report.Events != b.Events || report.Backup || report.ID != r.ID {
		t.Errorf("verify what was restored: %+v, %v", report, err)
	}
	st := streamsAt(t, fs, to, h)
	defer closeStreams(t, st)
	if st.store.ID() != r.ID || st.issuer.Status().Epoch != r.Epoch+1 {
		t.Errorf("opened %s in epoch %d", st.store.ID(), st.issuer.Status().Epoch)
	}
	for name, least := range before {
		s, err := st.Describe(name)
		other, otherErr := st.Describe(strings.NewReplacer("left", "right", "right", "left").Replace(name))
		if err != nil || otherErr != nil || s.Last < least || s.Last != other.Last {
			t.Errorf("%s: %+v, %+v, at least %d: %v", name, s, other, least, err)
		}
		n := uint64(0)
		err = st.Scan(context.Background(), name, Query{}, func(e Event) error {
			if n++; e.Sequence != n || binary.BigEndian.Uint64(e.Payload) != n {
				return fmt.Errorf("event %d holds %d", e.Sequence, binary.BigEndian.Uint64(e.Payload))
			}
			return nil
		})
		if err != nil || n != s.Last {
			t.Errorf("%s: %d events of %d: %v", name, n, s.Last, err)
		}
	}
	for name := range before {
		s, describeErr := st.Describe(name)
		receipt, err := st.Append(context.Background(), Batch{Entries: []Entry{{Stream: name}}})
		if err := errors.Join(describeErr, err); err != nil || receipt.Sequences[0] != s.Last+1 || receipt.Timestamp <= r.Ceiling {
			t.Errorf("%s: append %+v after %+v: %v", name, receipt, s, err)
		}
	}
}
