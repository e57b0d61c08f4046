package store

import (
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// engineFS is the file system as Pebble should see it, in four points.
//
// It makes the names in a directory durable before Pebble points a marker at one of
// them. Pebble syncs a new manifest, but its name only together with the marker's: on a
// file system that does not order names, a power cut can keep the marker and lose the
// manifest, and the database would not open again.
//
// It raises the fence when a log cannot be made or written, or a directory not synced,
// and parks the goroutine that found out. Pebble would panic, in places on goroutines of
// its own or with a lock in a state that ends the process, where nobody can recover it.
//
// That goes for the directory of the database. What Pebble writes anywhere else is a
// backup: its failures are returned, and harm nobody but the backup.
//
// Who opens a log that is being written sees what was written when it was opened, and no
// more. Pebble copies logs for a backup while they grow; where such a file was used before,
// a copy could hold a piece of the old log between two of the new, which is damage.
type engineFS struct {
	vfs.FS
	dir   string // of the database
	fence *fence

	transfer atomic.Pointer[transfer] // the backup on its way; nil: none

	mu   sync.Mutex
	logs map[string]*atomic.Int64 // bytes written to each log of this process
}

func newEngineFS(fs vfs.FS, dir string, fence *fence) *engineFS {
	return &engineFS{FS: fs, dir: dir, fence: fence, logs: map[string]*atomic.Int64{}}
}

// outside reports whether name is not in the directory of the database.
func (fs *engineFS) outside(name string) bool { return name != fs.dir && fs.PathDir(name) != fs.dir }

// Create syncs the directory before it creates a marker.
func (fs *engineFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasPrefix(fs.PathBase(name), "marker.") {
		if err := syncDir(fs, fs.PathDir(name)); err != nil {
			return nil, err
		}
	}
	f, err := fs.FS.Create(name, c)
	if t := fs.transfer.Load(); t != nil && err == nil && fs.outside(name) {
		return transferFile{f, t}, nil
	}
	return fs.file(name, f, err)
}

// Link makes a file part of a backup.
func (fs *engineFS) Link(oldName, newName string) error {
	t := fs.transfer.Load()
	if t == nil || !fs.outside(newName) {
		return fs.FS.Link(oldName, newName)
	}
	if err := t.ctx.Err(); err != nil {
		return err
	}
	if err := fs.FS.Link(oldName, newName); err != nil {
		return err
	}
	if info, err := fs.Stat(newName); err == nil {
		t.moved(uint64(info.Size()))
	}
	return nil
}

// Open opens what is there of a log.
func (fs *engineFS) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	fs.mu.Lock()
	written := fs.logs[name]
	fs.mu.Unlock()
	if written == nil {
		return fs.FS.Open(name, o...)
	}
	left := written.Load()
	f, err := fs.FS.Open(name, o...)
	if err != nil {
		return nil, err
	}
	return &logReader{f, left}, nil
}

// ReuseForWrite makes a new log of an old one.
func (fs *engineFS) ReuseForWrite(oldName, newName string, c vfs.DiskWriteCategory) (vfs.File, error) {
	fs.forget(oldName)
	f, err := fs.FS.ReuseForWrite(oldName, newName, c)
	return fs.file(newName, f, err)
}

// Remove removes a file.
func (fs *engineFS) Remove(name string) error {
	fs.forget(name)
	return fs.FS.Remove(name)
}

func (fs *engineFS) forget(name string) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	delete(fs.logs, name)
}

// OpenDir returns a directory whose Sync does not fail, where it is that of the database.
func (fs *engineFS) OpenDir(name string) (vfs.File, error) {
	f, err := fs.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	if fs.outside(name) {
		if t := fs.transfer.Load(); t != nil {
			return transferDir{f, t}, nil
		}
		return f, nil
	}
	return engineFile{f, fs.fence, new(atomic.Int64)}, nil
}

// file wraps f when it is a log of the database.
func (fs *engineFS) file(name string, f vfs.File, err error) (vfs.File, error) {
	if !strings.HasSuffix(name, ".log") || fs.outside(name) {
		return f, err
	}
	must(fs.fence, err)
	written := new(atomic.Int64)
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.logs[name] = written
	return engineFile{f, fs.fence, written}, nil
}

// logReader reads a log up to where it was written when it was opened.
type logReader struct {
	vfs.File
	left int64
}

// Read returns io.EOF behind that.
func (f *logReader) Read(p []byte) (int, error) {
	if f.left == 0 {
		return 0, io.EOF
	}
	n, err := f.File.Read(p[:min(int64(len(p)), f.left)])
	f.left -= int64(n)
	return n, err
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
	fence   *fence
	written *atomic.Int64
}

// Write returns when all of p is written.
func (f engineFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	must(f.fence, err)
	f.written.Add(int64(n))
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
