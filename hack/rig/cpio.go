package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
)

// initramfs collects the files of a guest's root, by their names there.
type initramfs struct{ files map[string]file }

type file struct {
	mode    uint32 // type and permissions, as in a directory entry
	content []byte
}

const (
	cpioDirectory = 0o040755
	cpioProgram   = 0o100755
	cpioLink      = 0o120777
)

func newInitramfs() *initramfs { return &initramfs{files: map[string]file{}} }

// add puts a program, or anything else to read, at an absolute name, with the
// directories above it.
func (fs *initramfs) add(name string, content []byte) {
	fs.put(name, file{cpioProgram, content})
}

func (fs *initramfs) addDirectory(name string) { fs.put(name, file{mode: cpioDirectory}) }

func (fs *initramfs) addLink(name, target string) { fs.put(name, file{cpioLink, []byte(target)}) }

// addFile puts a file of the host's.
func (fs *initramfs) addFile(name, host string) error {
	content, err := os.ReadFile(host)
	if err != nil {
		return err
	}
	fs.add(name, content)
	return nil
}

func (fs *initramfs) put(name string, f file) {
	name = strings.TrimPrefix(path.Clean(name), "/")
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if _, there := fs.files[dir]; !there {
			fs.files[dir] = file{mode: cpioDirectory}
		}
	}
	fs.files[name] = f
}

// archive is the root as the kernel unpacks it: the "newc" format, every directory
// before what is in it. Source: the kernel's
// Documentation/driver-api/early-userspace/buffer-format.rst.
func (fs *initramfs) archive() []byte {
	var out bytes.Buffer
	inode := 0
	entry := func(name string, f file) {
		inode++
		// magic, inode, mode, uid, gid, links, mtime, size, four device numbers, length of the name, checksum
		fmt.Fprintf(&out, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
			inode, f.mode, 0, 0, 1, 0, len(f.content), 0, 0, 0, 0, len(name)+1, 0)
		out.WriteString(name + "\x00")
		pad(&out)
		out.Write(f.content)
		pad(&out)
	}
	for _, name := range slices.Sorted(maps.Keys(fs.files)) { // "a" sorts before "a/b"
		entry(name, fs.files[name])
	}
	entry("TRAILER!!!", file{})
	return out.Bytes()
}

// pad fills up to a multiple of four.
func pad(out *bytes.Buffer) {
	for out.Len()%4 != 0 {
		out.WriteByte(0)
	}
}
