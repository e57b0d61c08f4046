package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// tightFS is a disk that says how much of it is free.
type tightFS struct {
	vfs.FS
	free *atomic.Uint64 // 0: it does not tell
}

func (fs tightFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	if free := fs.free.Load(); free > 0 {
		return vfs.DiskUsage{AvailBytes: free, TotalBytes: 1 << 40}, nil
	}
	return vfs.DiskUsage{}, vfs.ErrUnsupported
}

// refusedFull checks that nothing can be appended or created, and that all else goes on.
func refusedFull(t *testing.T, st *Streams, h *hand) {
	t.Helper()
	ctx := context.Background()
	if _, err := st.Append(ctx, single("s", "x")); !errors.Is(err, ErrFull) {
		t.Errorf("append: %v", err)
	}
	if _, err := st.Create(ctx, "new", Retention{}); !errors.Is(err, ErrFull) {
		t.Errorf("create: %v", err)
	}
	if _, err := st.Describe("new"); !errors.Is(err, ErrNoStream) {
		t.Errorf("refused, and there: %v", err)
	}
	if s := st.Status(); !s.NearlyFull || s.Full < 2 || s.FreeBytes >= s.ReserveBytes+s.ReserveBytes/16 {
		t.Errorf("status %+v", s)
	}
	for range 3 {
		h.move(time.Minute) // past the ceiling: a new one has to be saved
		now(t, st.issuer)
	}
	last := st.mustDescribe(t, "s").Last
	if p, err := st.Read(ctx, "s", Query{Reverse: true, Limit: 1}); err != nil || p.Events[0].Sequence != last {
		t.Errorf("read %+v, %v", p, err)
	}
	if _, err := st.Cut(ctx, now(t, st.issuer), Selection{}, ""); err != nil {
		t.Errorf("cut: %v", err)
	}
	if s, err := st.Trim(ctx, "s", 2); err != nil || s.First != 2 {
		t.Errorf("trim: %+v, %v", s, err)
	}
	if err := st.store.Err(); err != nil {
		t.Error(err)
	}
}

func (t *Streams) mustDescribe(tb testing.TB, name string) Stream {
	tb.Helper()
	s, err := t.Describe(name)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// TestReserve goes below the reserve and back, with a disk that says what it is told to:
// appends stop below it, and go on a sixteenth above it. A repeated append is answered even
// then. A disk that does not tell never stops anything.
func TestReserve(t *testing.T) {
	leakFree(t)
	free, h := &atomic.Uint64{}, newHand(epoch0)
	st := openStreams(t, tightFS{vfs.NewMem(), free}, h, StreamsOptions{Reserve: 1600})
	defer closeStreams(t, st)
	first := single("s", "first")
	first.Key = "key"
	if _, err := st.Append(context.Background(), first); err != nil {
		t.Fatal(err)
	}
	appendOne(t, st, "s", "second")
	free.Store(1600)
	appendOne(t, st, "s", "at the reserve")
	free.Store(1599)
	refusedFull(t, st, h)
	if r, err := st.Append(context.Background(), first); err != nil || !r.Repeated {
		t.Errorf("repeated: %+v, %v", r, err)
	}
	free.Store(1699) // a hundred more than the reserve is not enough to go on
	refusedFull(t, st, h)
	free.Store(1700)
	appendOne(t, st, "s", "again")
	if s := st.Status(); s.NearlyFull || s.Full != 4 {
		t.Errorf("status %+v", s)
	}
}

// TestDiskFull fills a small file system up to the reserve. Appends are refused there with a
// sentence; timestamps, reads and trims go on; and when somebody makes room, appends do too,
// without a restart.
func TestDiskFull(t *testing.T) {
	leakFree(t)
	dir := smallDisk(t, 256<<20)
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 32<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHand(epoch0)
	st, err := streamsOn(nil, filepath.Join(dir, "data"), h, IssuerOptions{}, StreamsOptions{Reserve: 120 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer closeStreams(t, st)
	payload := make([]byte, PayloadLenMax)
	n := 0
	for ; ; n++ {
		_, err := st.Append(context.Background(), Batch{Entries: []Entry{{Stream: "s", Payload: payload}}})
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil || n > 1000 {
			t.Fatalf("append %d: %v", n, err)
		}
	}
	refusedFull(t, st, h)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if r := appendOne(t, st, "s", "again"); r.Sequences[0] != uint64(n+1) {
		t.Errorf("goes on at %+v after %d", r, n)
	}
	gapless(t, everything(t, st, "s"), 2)
	if err := st.store.Err(); err != nil {
		t.Error(err)
	}
	t.Logf("%d MiB were appended", n)
}

// leaveOut skips a test for want of something, and fails it where all must be tested.
func leaveOut(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" && os.Geteuid() == 0 {
		t.Fatal(why)
	}
	t.Skip(fmt.Sprint("left out: ", why))
}
