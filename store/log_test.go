package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// logOf returns a log of several blocks, its number, and where each of its writes ended.
func logOf(t testing.TB, rng *rand.Rand, writes int) (b []byte, number uint32, ends []int) {
	t.Helper()
	disk := vfs.NewMem()
	db, err := pebble.Open("db", &pebble.Options{FS: disk, FormatMajorVersion: engineFormat, Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := db.Set([]byte("first"), nil, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if err := db.Flush(); err != nil { // ends the log of the old format
		t.Fatal(err)
	}
	names, err := disk.List("db")
	if err != nil {
		t.Fatal(err)
	}
	var name string
	for _, n := range names {
		var got uint32
		if _, err := fmt.Sscanf(n, "%06d.log", &got); err == nil && got >= number {
			name, number = n, got
		}
	}
	for range writes {
		if err := db.Set([]byte("key"), make([]byte, rng.IntN(5000)), pebble.Sync); err != nil {
			t.Fatal(err)
		}
		if b, err = readAll(disk, "db/"+name); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, len(b))
	}
	return b, number, ends
}

// TestCheckLog damages logs of several blocks at any place and cuts them off at any
// place: all damage before the last write is found, and no cut is taken for damage.
func TestCheckLog(t *testing.T) {
	rng := rand.New(rand.NewPCG(*seedFlag, 2))
	b, number, ends := logOf(t, rng, 40)
	if len(b) < 2*logBlockLen {
		t.Fatalf("log of %d bytes", len(b))
	}
	if err := checkLog(b, number); err != nil {
		t.Fatalf("whole log: %v", err)
	}
	for range 2000 {
		cut := rng.IntN(len(b))
		if err := checkLog(b[:cut], number); err != nil {
			t.Errorf("seed %d: cut at %d: %v", *seedFlag, cut, err)
		}
		garbage := append(bytes.Clone(b[:cut]), make([]byte, 3*logBlockLen)...)
		if err := checkLog(garbage, number); err != nil {
			t.Errorf("seed %d: cut at %d, then zeros: %v", *seedFlag, cut, err)
		}
		at := rng.IntN(ends[len(ends)-1-writersMax])
		if padding(b, at) {
			continue
		}
		bad := bytes.Clone(b)
		bad[at] ^= 1 << rng.IntN(8)
		if checkLog(bad, number) == nil {
			t.Errorf("seed %d: damage at %d of %d not found", *seedFlag, at, len(b))
		}
	}
}

// TestCheckLogTorn tears the start off the last record, whose other chunks have reached
// the disk: that is no damage.
func TestCheckLogTorn(t *testing.T) {
	b, number, ends := logOf(t, rand.New(rand.NewPCG(*seedFlag, 5)), 40)
	for k := 1; k < len(ends); k++ {
		if ends[k-1]/logBlockLen == (ends[k]-1)/logBlockLen {
			continue
		}
		torn := bytes.Clone(b[:ends[k]])
		torn[ends[k-1]] ^= 1
		if err := checkLog(torn, number); err != nil {
			t.Errorf("seed %d: torn last record at %d to %d: %v", *seedFlag, ends[k-1], ends[k], err)
		}
		return
	}
	t.Errorf("seed %d: no record crosses a block", *seedFlag)
}

// padding reports whether at may lie in the unused rest of a block, whose damage harms
// nothing.
func padding(b []byte, at int) bool {
	end := min(len(b), (at/logBlockLen+1)*logBlockLen)
	return end-at < logSyncLen
}

func FuzzCheckLog(f *testing.F) {
	b, number, _ := logOf(f, rand.New(rand.NewPCG(1, 2)), 3)
	f.Add(b, number)
	f.Add(b[:len(b)/2], number+1)
	f.Add([]byte{}, uint32(0))
	f.Fuzz(func(_ *testing.T, b []byte, number uint32) {
		_ = checkLog(b, number) // must not panic
	})
}
