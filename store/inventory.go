package store

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	inventoryName  = "INVENTORY"
	inventoryTitle = "truechimer backup"
	// inventoryLenMax is the length of the list of about a million files.
	inventoryLenMax = 64 << 20
	// copyLen is how much is read or written at a time.
	copyLen = 256 << 10
)

// inventory lists the files of a backup's database, so that all of it can be proved. The
// checks of Pebble, and those of the logs, leave out the last write of a log, whose damage
// looks like the end that a power cut has torn; nothing else in a backup looks like that. Its
// text is
//
//	truechimer backup
//	format 1
//	id 00112233445566778899aabbccddeeff
//	0a1b2c3d 4096 000005.sst
//	crc32c 0a1b2c3d
//
// with a line for each file: CRC-32C, length in bytes, name.
type inventory struct {
	id    id
	files []inventoryFile // in the order of their names
}

type inventoryFile struct {
	name string
	size uint64
	sum  uint32
}

func (c inventory) encode() []byte {
	b := fmt.Appendf(nil, "%s\nformat %d\nid %s\n", inventoryTitle, format, c.id)
	for _, f := range c.files {
		b = fmt.Appendf(b, "%08x %d %s\n", f.sum, f.size, f.name)
	}
	return fmt.Appendf(b, "crc32c %08x\n", checksum(b))
}

// decodeInventory reads what encode writes, to the byte.
func decodeInventory(b []byte) (inventory, error) {
	text := string(b)
	at := strings.LastIndex(text, "crc32c ")
	if at < 0 || text[at:] != fmt.Sprintf("crc32c %08x\n", checksum(b[:at])) {
		return inventory{}, errors.New("the checksum does not match")
	}
	lines := strings.Split(text[:at], "\n")
	if len(lines) < 4 {
		return inventory{}, errors.New("it has too few lines")
	}
	var c inventory
	raw, err := hex.DecodeString(strings.TrimPrefix(lines[2], "id "))
	if err != nil || len(raw) != len(c.id) {
		return inventory{}, errors.New("the store id is missing")
	}
	copy(c.id[:], raw)
	for _, line := range lines[3 : len(lines)-1] {
		fields := strings.SplitN(line, " ", 3)
		if len(fields) != 3 || !plainName(fields[2]) {
			return inventory{}, fmt.Errorf("it has a line %.80q", line)
		}
		sum, sumErr := strconv.ParseUint(fields[0], 16, 32)
		size, sizeErr := strconv.ParseUint(fields[1], 10, 63)
		if err := errors.Join(sumErr, sizeErr); err != nil {
			return inventory{}, fmt.Errorf("it has a line %.80q", line)
		}
		c.files = append(c.files, inventoryFile{fields[2], size, uint32(sum)})
	}
	if string(c.encode()) != text { // one spelling only
		return inventory{}, errors.New("it is not spelt as it would be written")
	}
	return c, nil
}

// plainName reports whether name is one of a file in the same directory.
func plainName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\\\n\x00")
}

// bytes is the length of all files.
func (c inventory) bytes() (n uint64) {
	for _, f := range c.files {
		n += f.size
	}
	return n
}

// readInventory returns the list of the backup in dir.
func readInventory(fs vfs.FS, dir string) (inventory, error) {
	name := fs.PathJoin(dir, inventoryName)
	switch info, err := fs.Stat(name); {
	case err != nil:
		return inventory{}, err
	case !info.Mode().IsRegular() || info.Size() > inventoryLenMax:
		return inventory{}, errors.New("it is not a list")
	}
	b, err := readAll(fs, name)
	if err != nil {
		return inventory{}, err
	}
	return decodeInventory(b)
}

// writeInventory puts the list into dir and syncs it.
func writeInventory(fs vfs.FS, dir string, c inventory) error {
	f, err := fs.Create(fs.PathJoin(dir, inventoryName), vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("create inventory: %w", err)
	}
	_, err = f.Write(c.encode())
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write inventory: %w", err)
	}
	return syncDir(fs, dir)
}

// takeInventory reads every file of the database in dir.
func takeInventory(ctx context.Context, fs vfs.FS, dir string, store id, r *reporter) (inventory, error) {
	c := inventory{id: store}
	names, err := fs.List(dir)
	if err != nil {
		return inventory{}, err
	}
	slices.Sort(names)
	for _, name := range names {
		info, err := fs.Stat(fs.PathJoin(dir, name))
		if err != nil {
			return inventory{}, err
		}
		c.files = append(c.files, inventoryFile{name: name, size: uint64(info.Size())})
	}
	r.phase("reading", uint64(len(c.files)), c.bytes())
	for i := range c.files {
		f := &c.files[i]
		if f.size, f.sum, err = sumFile(ctx, fs, fs.PathJoin(dir, f.name), r); err != nil {
			return inventory{}, err
		}
	}
	return c, nil
}

// check compares the files of the database in dir with the list, and calls problem for
// every difference. It fails when ctx ends.
func (c inventory) check(ctx context.Context, fs vfs.FS, dir string, r *reporter, problem func(string, ...any)) error {
	names, err := fs.List(dir)
	if err != nil {
		problem("the directory %s cannot be read: %v", fs.PathBase(dir), err)
	}
	listed := map[string]bool{}
	r.phase("reading", uint64(len(c.files)), c.bytes())
	for _, f := range c.files {
		listed[f.name] = true
		size, sum, err := sumFile(ctx, fs, fs.PathJoin(dir, f.name), r)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, iofs.ErrNotExist):
			problem("file %s is missing", f.name)
		case err != nil:
			problem("file %s cannot be read: %v", f.name, err)
		case size != f.size:
			problem("file %s has %d bytes, and had %d", f.name, size, f.size)
		case sum != f.sum:
			problem("file %s has changed since the backup was made", f.name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if !listed[name] {
			problem("file %.80q is not of this backup", name)
		}
	}
	return nil
}

// sumFile returns the length and the CRC-32C of a file.
func sumFile(ctx context.Context, fs vfs.FS, name string, r *reporter) (size uint64, sum uint32, err error) {
	info, err := fs.Stat(name)
	if err != nil {
		return 0, 0, err
	}
	if !info.Mode().IsRegular() { // opening a fifo would wait for ever
		return 0, 0, errors.New("it is not a regular file")
	}
	f, err := fs.Open(name, vfs.SequentialReadsOption)
	if err != nil {
		return 0, 0, err
	}
	size, sum, err = copySum(ctx, io.Discard, f, r)
	return size, sum, errors.Join(err, f.Close())
}

// copySum copies all of from, and returns its length and CRC-32C.
func copySum(ctx context.Context, to io.Writer, from io.Reader, r *reporter) (size uint64, sum uint32, err error) {
	buf := make([]byte, copyLen)
	for {
		if err := ctx.Err(); err != nil {
			return 0, 0, err
		}
		n, err := from.Read(buf)
		sum = addChecksum(sum, buf[:n])
		size += uint64(n)
		if _, err := to.Write(buf[:n]); err != nil { // last: it may change the bytes
			return 0, 0, err
		}
		r.moved(0, uint64(n))
		if err == io.EOF {
			r.moved(1, 0)
			return size, sum, nil
		}
		if err != nil {
			return 0, 0, err
		}
	}
}
