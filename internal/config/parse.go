package config

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// Parse reads data, the content of the file called name. The error is a
// *Problems.
//
// It walks the syntax tree rather than decoding into a struct, because a decoder
// stops at the first wrong type and forgets the lines. After an error of syntax
// it goes on with the next line that can be read, so that one missing quote does
// not hide what else is wrong. The decoder has the last word about what the walk
// does not look at.
func Parse(name string, data []byte) (Config, error) {
	r := reader{file: name, data: data, config: Default(), setOn: map[string]int{}, faulty: map[string]bool{}, opened: map[string]int{}}
	switch {
	case len(data) > fileLenMax:
		r.problem(0, "", "a configuration of more than %d bytes is not read", fileLenMax)
	case !utf8.Valid(data):
		r.problem(badLine(data), "", "the file is not UTF-8 text here")
	default:
		r.read()
	}
	if err := problems(r.problems); err != nil {
		return Config{}, err
	}
	return r.config, nil
}

// reader is the state of one Parse.
type reader struct {
	file     string
	data     []byte
	config   Config
	problems []Problem

	lineStarts []int           // offset of each line
	setOn      map[string]int  // key → line that sets it
	faulty     map[string]bool // keys whose value was wrong: cross-checks of them would mislead
	unread     bool            // a part of the text could not be read: all of them might
	opened     map[string]int  // section → line of its header
	section    []string        // of the header that was last read
	lost       bool            // a header could not be read: its keys have no section
}

func (r *reader) problem(line int, key, format string, args ...any) {
	r.problems = append(r.problems, Problem{File: r.file, Line: line, Key: key, Text: fmt.Sprintf(format, args...)})
}

func (r *reader) read() {
	r.lineStarts = []int{0}
	for i, b := range r.data {
		if b == '\n' {
			r.lineStarts = append(r.lineStarts, i+1)
		}
	}
	r.walk()
	if !r.unread {
		r.crossCheck()
	}
	if len(r.problems) > 0 {
		return
	}
	var all map[string]any
	if err := toml.Unmarshal(r.data, &all); err != nil {
		line := 0
		var at *toml.DecodeError
		if errors.As(err, &at) {
			line, _ = at.Position()
		}
		r.problem(line, "", "%s", strings.TrimPrefix(err.Error(), "toml: "))
	}
}

// walk reads every expression of the file.
func (r *reader) walk() {
	var p unstable.Parser
	start := 0        // where p's data begin in the file's
	stumbled := false // the last line could not be read
	for {
		p.Reset(r.data[start:])
		for p.NextExpression() {
			stumbled = false
			r.expression(p.Expression(), start)
		}
		err := p.Error()
		if err == nil {
			return
		}
		offset := len(r.data) // where a text that ends too early is at fault
		var at *unstable.ParserError
		if errors.As(err, &at) && len(at.Highlight) > 0 {
			offset = start + int(p.Range(at.Highlight).Offset)
		}
		line := r.line(offset)
		if !stumbled {
			r.problem(line, "", "this is not TOML: %v", err)
			r.unread = true
		}
		stumbled = true
		if r.lineStartsWith(line, '[') {
			r.lost = true
		}
		if line >= len(r.lineStarts) || len(r.problems) > problemsMax {
			return
		}
		start = r.lineStarts[line]
	}
}

func (r *reader) lineStartsWith(line int, b byte) bool {
	text := bytes.TrimLeft(r.data[r.lineStarts[line-1]:], " \t")
	return len(text) > 0 && text[0] == b
}

// line is the line, from 1, that the offset is on.
func (r *reader) line(offset int) int {
	i, exact := slices.BinarySearch(r.lineStarts, offset)
	if exact {
		return i + 1
	}
	return i
}

// expression reads one section header or one key with its value.
func (r *reader) expression(n *unstable.Node, start int) {
	switch n.Kind {
	case unstable.Table, unstable.ArrayTable:
		path, line := r.path(n.Key(), start)
		r.header(path, line, n.Kind == unstable.ArrayTable)
	case unstable.KeyValue:
		if !r.lost {
			r.keyValue(r.section, n, start)
		}
	}
}

func (r *reader) path(parts unstable.Iterator, start int) (path []string, line int) {
	for parts.Next() {
		n := parts.Node()
		if path == nil {
			line = r.line(start + int(n.Raw.Offset))
		}
		path = append(path, string(n.Data))
	}
	return path, line
}

func (r *reader) header(path []string, line int, array bool) {
	r.section, r.lost = path, false
	name := pathText(path)
	shown := "[" + name + "]"
	if l, ok := listAt(name); ok {
		r.openItem(l, line, array)
		return
	}
	before, twice := r.opened[name]
	switch known := slices.Contains(sectionNames(), name); {
	case !known:
		r.unknownSection(shown, name, line)
	case array:
		r.problem(line, shown, "there is one such section: write [%s], not [[%s]]", name, name)
	case twice:
		r.problem(line, shown, "the section is already opened on line %d", before)
	}
	if !twice {
		r.opened[name] = line
	}
}

// openItem begins an item of a list: the keys that follow are its.
func (r *reader) openItem(l listed, line int, array bool) {
	if !array {
		r.problem(line, "["+l.name+"]", "there can be many such sections: write [[%s]], not [%[1]s]", l.name)
	}
	if l.size(&r.config) == l.most {
		r.problem(line, "[["+l.name+"]]", "want %d %ss at the most", l.most, l.name)
	}
	l.add(&r.config)
	r.setOn[itemAt(l.name, l.size(&r.config)-1, "")] = line
}

func (r *reader) unknownSection(shown, name string, line int) {
	hint := "the sections are " + strings.Join(sectionNames(), ", ")
	if near := nearestSection(name); near != "" {
		hint = "did you mean [" + near + "]?"
	}
	r.problem(line, shown, "unknown section; %s", hint)
}

// keyValue reads a key below the section, and the keys of a table in braces.
func (r *reader) keyValue(section []string, n *unstable.Node, start int) {
	below, line := r.path(n.Key(), start)
	path := slices.Concat(section, below)
	shown := pathText(path)
	list, ofList := listAt(path[0])
	switch known := slices.Contains(sectionNames(), pathText(path[:1])); {
	case len(section) > 0 && !slices.Contains(sectionNames(), pathText(section)):
		return // reported where the section begins
	case ofList:
		r.itemKey(list, path, below, n, line, start)
		return
	case len(path) == 1 && n.Value().Kind == unstable.InlineTable:
		if !known {
			r.unknownSection(shown, shown, line)
			return
		}
		for it := n.Value().Children(); it.Next(); {
			r.keyValue(path, it.Node(), start)
		}
		return
	case len(path) == 1 && known:
		r.problem(line, shown, "this is a section: write [%s], and its keys below", shown)
		return
	}
	all := keys()
	i := slices.IndexFunc(all, func(k key) bool { return k.path() == shown })
	if i < 0 {
		r.unknownKey(path, shown, line)
		return
	}
	r.set(shown, line, func() []fault { return all[i].field.set(&r.config, r.value(n.Value(), line, start)) })
}

// set sets a key that is shown as such, unless it is set already.
func (r *reader) set(shown string, line int, set func() []fault) {
	if before, twice := r.setOn[shown]; twice {
		r.problem(line, shown, "the key is already set on line %d", before)
		return
	}
	r.setOn[shown] = line
	for _, f := range set() {
		r.faulty[shown] = true
		r.problem(max(f.line, line), shown, "%s", f.text)
	}
}

// itemKey reads a key of the item of a list that was opened last.
func (r *reader) itemKey(l listed, path, below []string, n *unstable.Node, line, start int) {
	if len(below) == len(path) { // source = ... or source.address = ... outside of one
		r.problem(line, pathText(path), "write [[%s]] for each %[1]s, and its keys below", l.name)
		return
	}
	i := l.size(&r.config) - 1
	name := pathText(below)
	shown := itemAt(l.name, i, name)
	k := slices.Index(l.keys, name)
	if k < 0 {
		r.unknownKey(path, shown, line)
		return
	}
	r.set(shown, line, func() []fault { return l.set(&r.config, i, k, r.value(n.Value(), line, start)) })
}

func (r *reader) unknownKey(path []string, shown string, line int) {
	section, name := "", path[len(path)-1]
	if len(path) > 1 {
		section = path[len(path)-2]
	}
	hint := "the sections are " + strings.Join(sectionNames(), ", ")
	if near := nearestKey(section, name); near != "" {
		hint = "did you mean " + near + "?"
	} else if slices.Contains(sectionNames(), section) {
		hint = "the keys of [" + section + "] are " + strings.Join(keysOf(section), ", ")
	}
	r.problem(line, shown, "unknown key; %s", hint)
}

// value copies what a key may need of n out of the parser.
func (r *reader) value(n *unstable.Node, line, start int) value {
	v := value{kind: kindOf(n.Kind), text: string(n.Data), line: line}
	if n.Raw.Length > 0 {
		v.line = r.line(start + int(n.Raw.Offset))
	}
	if n.Kind != unstable.Array {
		return v
	}
	for it := n.Children(); it.Next(); {
		item := it.Node()
		one := value{kind: kindOf(item.Kind), text: string(item.Data), line: line}
		if item.Raw.Length > 0 {
			one.line = r.line(start + int(item.Raw.Offset))
		}
		v.items = append(v.items, one)
	}
	return v
}

func kindOf(k unstable.Kind) kind {
	switch k {
	case unstable.String:
		return aString
	case unstable.Integer:
		return aNumber
	case unstable.Float:
		return aFloat
	case unstable.Bool:
		return aBool
	case unstable.Array:
		return aList
	case unstable.InlineTable:
		return aSection
	default:
		return aTime
	}
}

func (r *reader) crossCheck() {
	var faults []crossFault
	for i := range r.config.Sources {
		s := &r.config.Sources[i]
		if saidNot := !s.NIST && r.setOn[sourceAt(i, "nist")] > 0; saidNot && isNIST(s.Address) {
			faults = append(faults, nistFault(i, s))
		}
		s.complete()
	}
	faults = slices.Concat(faults, crossChecks(&r.config), sourceChecks(&r.config), accessChecks(&r.config),
		profileChecks(&r.config), alertChecks(&r.config), monitorChecks(&r.config))
	for _, f := range faults {
		if slices.ContainsFunc(f.keys, func(k string) bool { return r.faulty[k] }) {
			continue
		}
		key, line := f.keys[0], 0
		for _, k := range f.keys {
			if on := r.setOn[k]; on > line {
				key, line = k, on
			}
		}
		r.problem(line, key, "%s", f.text)
	}
}

// pathText is a path as the file would have it: parts that are not bare keys are
// in quotes.
func pathText(path []string) string {
	parts := make([]string, 0, len(path))
	for _, part := range path {
		if part == "" || strings.ContainsFunc(part, func(c rune) bool { return !bare(c) }) || len(part) > nameLenMax {
			part = quoted(part)
		}
		parts = append(parts, part)
	}
	return clipped(strings.Join(parts, "."))
}

func bare(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// badLine is the line of the first byte that is not UTF-8.
func badLine(data []byte) int {
	good := data
	for i := 0; i < len(data); {
		c, size := utf8.DecodeRune(data[i:])
		if c == utf8.RuneError && size == 1 {
			good = data[:i]
			break
		}
		i += size
	}
	return bytes.Count(good, []byte{'\n'}) + 1
}
