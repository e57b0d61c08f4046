package store

import (
	"errors"
	"io"
	"os"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// engineFS is the file system as Pebble should see it, in two points.
//
// It makes the names in a directory durable before Pebble points a marker at one of
// them. Pebble syncs a new manifest, but its name only together with the marker's: on a
// file system that does not order names, a power cut can keep the marker and lose the
// manifest, and the database would not open again.
//
// It raises the fence when a log cannot be made or written, or a directory not synced,
// and parks the goroutine that found out. Pebble would panic, in places on goroutines of
// its own or with a lock in a state that ends the process, where nobody can recover it.
type engineFS struct {
	vfs.FS
	fence *fence
}

// Create syncs the directory before it creates a marker.
func (fs engineFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasPrefix(fs.PathBase(name), "marker.") {
		if err := syncDir(fs, fs.PathDir(name)); err != nil {
			return nil, err
		}
	}
	f, err := fs.FS.Create(name, c)
	return fs.file(name, f, err)
}

// ReuseForWrite makes a new log of an old one.
func (fs engineFS) ReuseForWrite(oldName, newName string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.ReuseForWrite(oldName, newName, c)
	return fs.file(newName, f, err)
}

// OpenDir returns a directory whose Sync does not fail.
func (fs engineFS) OpenDir(name string) (vfs.File, error) {
	f, err := fs.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return engineFile{f, fs.fence}, nil
}

// file wraps f when it is a log.
func (fs engineFS) file(name string, f vfs.File, err error) (vfs.File, error) {
	if !strings.HasSuffix(name, ".log") {
		return f, err
	}
	must(fs.fence, err)
	return engineFile{f, fs.fence}, nil
}

// must returns when err is nil, else not at all.
func must(f *fence, err error) {
	if err != nil {
		f.raise(err)
		park()
	}
}

// engineFile is a log or a directory. Its methods that write return no error.
type engineFile struct {
	vfs.File
	fence *fence
}

// Write returns when all of p is written.
func (f engineFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	must(f.fence, err)
	return n, nil
}

// Preallocate returns when it has succeeded.
func (f engineFile) Preallocate(offset, length int64) error {
	must(f.fence, f.File.Preallocate(offset, length))
	return nil
}

// Sync returns when it has succeeded.
func (f engineFile) Sync() error {
	must(f.fence, f.File.Sync())
	return nil
}

// SyncData returns when it has succeeded.
func (f engineFile) SyncData() error {
	must(f.fence, f.File.SyncData())
	return nil
}

// SyncTo returns when it has succeeded.
func (f engineFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	must(f.fence, err)
	return full, nil
}

// Close returns when it has succeeded.
func (f engineFile) Close() error {
	must(f.fence, f.File.Close())
	return nil
}

// errSealed reports an attempt to change what is only being looked at.
var errSealed = errors.New("store: write to a sealed directory")

// sealedFS is a file system that cannot be changed. Its locks hold nothing: whoever
// looks has the lock of the whole directory already.
type sealedFS struct{ vfs.FS }

// Create and the methods below it refuse.
func (sealedFS) Create(string, vfs.DiskWriteCategory) (vfs.File, error) { return nil, errSealed }

// Link refuses.
func (sealedFS) Link(string, string) error { return errSealed }

// OpenReadWrite refuses.
func (sealedFS) OpenReadWrite(string, vfs.DiskWriteCategory, ...vfs.OpenOption) (vfs.File, error) {
	return nil, errSealed
}

// Remove refuses.
func (sealedFS) Remove(string) error { return errSealed }

// RemoveAll refuses.
func (sealedFS) RemoveAll(string) error { return errSealed }

// Rename refuses.
func (sealedFS) Rename(string, string) error { return errSealed }

// ReuseForWrite refuses.
func (sealedFS) ReuseForWrite(string, string, vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, errSealed
}

// MkdirAll refuses.
func (sealedFS) MkdirAll(string, os.FileMode) error { return errSealed }

// Lock succeeds and holds nothing.
func (sealedFS) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }
