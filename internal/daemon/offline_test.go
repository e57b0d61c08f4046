package daemon

import (
	"errors"
	"math"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/config"
	"github.com/truechimer/truechimer/internal/sysclock"
	"github.com/truechimer/truechimer/store"
)

// TestFloor: the floor of a restore is the time, what it can be wrong by, and the max lead.
func TestFloor(t *testing.T) {
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	behind := synced
	behind.Residual = -2 * time.Millisecond
	unmeasured := synced
	unmeasured.MaxError = 0
	for name, c := range map[string]struct {
		kernel  sysclock.Kernel
		given   time.Duration
		bound   time.Duration
		assumed bool
	}{
		"the kernel's":             {synced, 0, synced.MaxError, false},
		"with what it still slews": {behind, 0, synced.MaxError + 2*time.Millisecond, false},
		"unsynchronised":           {unsynced, 0, ErrorBoundAssumed, true},
		"measured by nobody":       {unmeasured, 0, ErrorBoundAssumed, true},
		"given":                    {synced, time.Hour, time.Hour, false},
		"given, unsynchronised":    {unsynced, time.Second, time.Second, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := floorAt(newFakeSystem(noon, c.kernel), c.given, 3*time.Second)
			want := hlc.CeilUnix(noon.Add(c.bound + 3*time.Second).UnixNano())
			if f.Timestamp != want || f.ErrorBound != c.bound || f.Assumed != c.assumed || f.Given != (c.given > 0) || f.MaxLead != 3*time.Second {
				t.Errorf("%s: %+v, want %v", name, f, want)
			}
		})
	}
}

// TestRestore: what a daemon has made is backed up, restored, verified, and goes on above the floor.
func TestRestore(t *testing.T) {
	dir := t.TempDir()
	data, backup, restored := filepath.Join(dir, "data"), filepath.Join(dir, "backup"), filepath.Join(dir, "restored")
	s, err := store.Open(data, store.Options{Node: 7})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Backup(t.Context(), backup, nil)
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	system := newFakeSystem(time.Now(), synced)
	told := 0
	o := RestoreOptions{HLC: config.Default().HLC, System: system, Progress: func(Progress) { told++ }}
	r, floor, err := Restore(t.Context(), backup, restored, o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Ceiling < floor.Timestamp || r.Node != 7 || told == 0 || floor.MaxLead != o.HLC.MaxLead {
		t.Errorf("%+v, floor %+v, told %d times", r, floor, told)
	}
	report, err := Verify(t.Context(), restored, nil)
	if err != nil || report.Err() != nil || report.Ceiling != r.Ceiling || report.Backup {
		t.Errorf("%v, %+v", err, report)
	}

	if _, _, err := Restore(t.Context(), backup, restored, o); !Refused(err) {
		t.Errorf("into a directory that is in use: %v", err)
	}
	if _, _, err := Restore(t.Context(), data, filepath.Join(dir, "other"), o); !Refused(err) {
		t.Errorf("from what is no backup: %v", err)
	}
	if _, err := Verify(t.Context(), dir, nil); !Refused(err) {
		t.Errorf("what is no store: %v", err)
	}
	for _, bound := range []time.Duration{-1, ErrorBoundMax + 1, math.MaxInt64} {
		o.ErrorBound = bound
		if _, _, err := Restore(t.Context(), backup, filepath.Join(dir, "other"), o); err == nil || Refused(err) {
			t.Errorf("an error bound of %v: %v", bound, err)
		}
	}
}
