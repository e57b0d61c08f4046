package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"log/slog"
	"os"
	"strconv"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"
)

const lockName = "LOCK"

// directory is a data directory before it is trusted.
type directory struct {
	fs   vfs.FS
	path string
	node uint16
	log  *slog.Logger

	op     string // that a refusal is of; empty: opening a store
	backup bool   // a refusal is of a backup
}

// prepare locks the directory, creates the store in it if there is none, and checks
// everything that can be checked without writing. The caller closes the lock it returns.
// On a refusal nothing has changed.
func (d directory) prepare() (lock io.Closer, r records, err error) {
	// Look before locking: the lock would leave a file in a foreign directory.
	before, err := d.look()
	if err != nil {
		return nil, records{}, err
	}
	if before == nil {
		if err := d.makeAll(); err != nil {
			return nil, records{}, err
		}
	} else if err := d.usable(*before); err != nil {
		return nil, records{}, err
	}
	_, statErr := d.fs.Stat(d.join(lockName))
	lock, err = d.fs.Lock(d.join(lockName))
	if err != nil {
		return nil, records{}, d.lockRefusal(err)
	}
	if r, err = d.check(); err != nil {
		if before != nil && errors.Is(statErr, iofs.ErrNotExist) && errors.Is(err, ErrRefused) {
			_ = d.fs.Remove(d.join(lockName)) // it was not there before
		}
		if !errors.Is(err, ErrFenced) { // else Pebble may still be at work in there
			err = errors.Join(err, lock.Close())
		}
		return nil, records{}, err
	}
	return lock, r, nil
}

// lockRefusal tells a lock that is held from one that cannot be made.
func (d directory) lockRefusal(err error) error {
	if path := (*os.PathError)(nil); errors.As(err, &path) {
		return d.unwritable("cannot write in it", err)
	}
	remedy := remedyLocked
	if d.op == opVerify {
		remedy = remedyVerifyLocked
	}
	return d.refuse(ErrLocked, "another process has it open", remedy, err)
}

// check does the work of prepare under the lock.
func (d directory) check() (records, error) {
	m, err := d.look() // again: it may have changed before the lock was taken
	if err != nil {
		return records{}, err
	}
	if m == nil {
		m = &marker{state: stateNew}
		if _, err := rand.Read(m.id[:]); err != nil {
			return records{}, fmt.Errorf("open store %q: store id: %w", d.path, err)
		}
		if err := writeMarker(d.fs, d.path, *m); err != nil {
			return records{}, d.unwritable("cannot create a store in it", err)
		}
	}
	if err := d.usable(*m); err != nil {
		return records{}, err
	}
	if m.state == stateNew {
		if err := d.create(*m); err != nil {
			return records{}, err
		}
	}
	r, err := d.verify(m.id)
	if err != nil {
		return records{}, err
	}
	if r.format.node != d.node {
		return records{}, d.refuse(ErrNode,
			fmt.Sprintf("it belongs to node number %d, not %d", r.format.node, d.node),
			fmt.Sprintf("set the node number back to %d, or choose an empty directory", r.format.node), nil)
	}
	return r, nil
}

// usable refuses a directory that its marker says is none to issue from.
func (d directory) usable(m marker) error {
	switch m.state {
	case stateBackup:
		return d.refuse(ErrBackup, "it is a backup", remedyBackup, nil)
	case stateBackingUp:
		return d.refuse(ErrUnfinished, "it is a backup that was cut off", remedyBackingUp, nil)
	case stateRestoring:
		return d.refuse(ErrUnfinished, "a restore into it was cut off", remedyRestoring, nil)
	}
	return nil
}

// look returns the marker of the directory, nil when there is nothing in it, or a
// refusal. It writes nothing.
func (d directory) look() (*marker, error) {
	// Nothing is opened that is not known to be a directory or a regular file: opening a
	// fifo would wait for ever.
	switch info, err := d.fs.Stat(d.path); {
	case errors.Is(err, iofs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, d.unwritable("cannot read it", err)
	case !info.IsDir():
		return nil, d.foreign("it is a file, not a directory", nil)
	}
	names, err := d.fs.List(d.path)
	if errors.Is(err, iofs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, d.unwritable("cannot read it", err)
	}
	for _, name := range []string{markerName, lockName} {
		if info, err := d.fs.Stat(d.join(name)); err == nil && !info.Mode().IsRegular() {
			return nil, d.foreign(fmt.Sprintf("its %s is not a regular file", name), nil)
		}
	}
	raw, err := readMarker(d.fs, d.path)
	if errors.Is(err, iofs.ErrNotExist) {
		if other := d.other(names); other != "" {
			return nil, d.foreign(fmt.Sprintf("it holds %.80q but no file %s, so it is not a Truechimer store", other, markerName), nil)
		}
		return nil, nil
	}
	if err != nil {
		return nil, d.unwritable("cannot read its marker", err)
	}
	m, err := decodeMarker(raw)
	if errors.Is(err, errMarkerNewer) {
		return nil, d.newer(fmt.Sprintf("it was written by a newer version: %v", err))
	}
	if err != nil {
		return nil, d.damaged("its file "+markerName+" is damaged", err)
	}
	return &m, nil
}

// other returns a name that does not belong into an empty directory. What a creation
// leaves that was cut off before its marker, and lost+found at the root of a disk, do.
func (d directory) other(names []string) string {
	for _, n := range names {
		switch n {
		case lockName, markerTemp:
			if info, err := d.fs.Stat(d.join(n)); err == nil && info.Mode().IsRegular() && info.Size() <= markerLenMax {
				continue
			}
			return n
		case "lost+found":
		default:
			return n
		}
	}
	return ""
}

// makeAll creates the directory and makes its name, and those of its parents that it
// had to create, durable.
func (d directory) makeAll() error {
	var parents []string
	for p := d.path; ; {
		if _, err := d.fs.Stat(p); err == nil {
			break
		}
		parent := d.fs.PathDir(p)
		if parent == p {
			break
		}
		parents = append(parents, parent)
		p = parent
	}
	if err := d.fs.MkdirAll(d.path, 0o750); err != nil {
		return d.unwritable("cannot create it", err)
	}
	for _, p := range parents {
		if err := syncDir(d.fs, p); err != nil {
			return d.unwritable("cannot create it", err)
		}
	}
	return nil
}

// create makes the database, or makes it anew after a creation that was cut off: the
// marker says that nothing was ever issued from it. That is not taken on trust.
func (d directory) create(m marker) error {
	dir := d.join(engineName)
	if _, err := d.fs.Stat(dir); err == nil {
		if r, err := peekRecords(d.fs, dir); err == nil && (r.ceiling.Epoch > 0 || r.format.id != m.id) {
			return d.damaged("its marker says that it was never used, but its records say otherwise", nil)
		}
		if err := d.fs.RemoveAll(dir); err != nil {
			return d.unwritable("cannot clear an unfinished creation", err)
		}
		if err := syncDir(d.fs, d.path); err != nil {
			return d.unwritable("cannot clear an unfinished creation", err)
		}
	}
	if err := createEngine(d.fs, dir, formatRecord{format, m.id, d.node}, d.log); err != nil {
		return d.unwritable("cannot create a store in it", err)
	}
	m.state = stateReady
	if err := writeMarker(d.fs, d.path, m); err != nil {
		return d.unwritable("cannot create a store in it", err)
	}
	return nil
}

// verify looks at the database without writing and compares it with the marker.
func (d directory) verify(store id) (records, error) {
	dir := d.join(engineName)
	if err := d.verifyFormat(dir); err != nil {
		return records{}, err
	}
	if err := checkLogs(d.fs, dir); err != nil {
		return records{}, d.damaged("its database is damaged", err)
	}
	r, err := peekRecords(d.fs, dir)
	if err != nil {
		return records{}, d.damaged("its database is damaged", err)
	}
	switch {
	case r.format.format > format:
		return records{}, d.newer(fmt.Sprintf("its records were written by a newer version: format %d (this version knows %d)", r.format.format, format))
	case r.format.format != format:
		return records{}, d.damaged(fmt.Sprintf("its records claim format %d, which never was", r.format.format), nil)
	case r.format.id != store || r.owner != store:
		return records{}, d.foreign(fmt.Sprintf("its marker is of store %v, its database of %v, its ceiling of %v", store, r.format.id, r.owner), nil)
	}
	return r, nil
}

// verifyFormat checks that the database in dir exists in the format that is pinned.
func (d directory) verifyFormat(dir string) error {
	text, err := atomicfs.ReadMarker(d.fs, dir, "format-version")
	if err != nil {
		return d.damaged("its database is missing", err)
	}
	version, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return d.damaged("its database has no format", err)
	}
	if version > uint64(engineFormat) {
		return d.newer(fmt.Sprintf("its database was written by a newer version: format %d (this version knows %d)", version, engineFormat))
	}
	if version < uint64(engineFormat) {
		return d.damaged(fmt.Sprintf("its database claims format %d, older than any that was ever written (%d)", version, engineFormat), nil)
	}
	desc, err := pebble.Peek(dir, d.fs)
	if err != nil {
		return d.damaged("its database cannot be read", err)
	}
	if !desc.Exists {
		return d.damaged("its database is missing", nil)
	}
	return nil
}

func (d directory) join(name string) string { return d.fs.PathJoin(d.path, name) }
