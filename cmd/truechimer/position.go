package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// position is where a watch is: behind the answer that a cursor came with, or at a
// timestamp. The zero position is nowhere yet.
type position struct {
	Cursor string `json:"cursor,omitempty"`
	Time   uint64 `json:"time,string,omitempty"`
	// After is the timestamp of the last event behind Cursor that was printed: no cursor goes
	// with the middle of an answer.
	After uint64 `json:"after,string,omitempty"`
}

// keptPosition is what is in the file of a position: also what was watched, since a position
// means something only for that.
type keptPosition struct {
	Names  []string `json:"names"`
	Prefix string   `json:"prefix"`
	position
}

// positionFile keeps the position of a watch.
type positionFile struct {
	name   string
	names  []string
	prefix string
}

// load returns the position, the zero one where there is no file yet. It fails on a file
// that is something else, or is of a watch of other streams.
func (f *positionFile) load() (position, error) {
	text, err := os.ReadFile(f.name)
	if errors.Is(err, fs.ErrNotExist) {
		return position{}, nil
	}
	if err != nil {
		return position{}, fmt.Errorf("read the position: %w", err)
	}
	var kept keptPosition
	if err := json.Unmarshal(text, &kept); err != nil || kept.position == (position{}) {
		return position{}, usage(fmt.Errorf("%s holds no position of a watch; name another file, or remove it", f.name))
	}
	if !slices.Equal(kept.Names, f.names) || kept.Prefix != f.prefix {
		return position{}, usage(fmt.Errorf("%s is of a watch of %s, not of %s; name another file", f.name, selectionWords(kept.Names, kept.Prefix), selectionWords(f.names, f.prefix)))
	}
	return kept.position, nil
}

// selectionWords says which streams are meant.
func selectionWords(names []string, prefix string) string {
	switch {
	case len(names) > 0:
		return strings.Join(names, ", ")
	case prefix != "":
		return prefix + "*"
	default:
		return "all streams"
	}
}

// save replaces the file at once, or leaves it as it was.
func (f *positionFile) save(p position) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("keep the position: %w", err)
		}
	}()
	text, err := json.Marshal(keptPosition{f.names, f.prefix, p})
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(f.name), filepath.Base(f.name)+".*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(append(text, '\n'))
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), f.name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}
