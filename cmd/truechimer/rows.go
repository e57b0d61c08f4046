package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// rows are lines of a name and what there is to say of it: two columns.
type rows struct {
	list []row
	// width is where lines are broken, between words; 0 is nowhere.
	width int
}

type row struct{ name, text string }

// add adds a row. One without a name goes on with what was said of the name above.
func (r *rows) add(name, format string, args ...any) {
	r.list = append(r.list, row{name, fmt.Sprintf(format, args...)})
}

// write prints the rows. What is broken goes on below, in the second column.
func (r *rows) write(out io.Writer) error {
	const gap = "  "
	indent := 0
	for _, one := range r.list {
		indent = max(indent, utf8.RuneCountInString(one.name)+len(gap))
	}
	var b strings.Builder
	for _, one := range r.list {
		lines := []string{one.text}
		if r.width > 0 {
			lines = broken(one.text, r.width-indent)
		}
		for i, line := range lines {
			name := one.name
			if i > 0 {
				name = ""
			}
			fmt.Fprintf(&b, "%-*s%s\n", indent, name, line)
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// broken breaks a text between its words into lines of at most width letters. A word that
// is longer has a line for itself.
func broken(text string, width int) (lines []string) {
	line, used := "", 0
	for word := range strings.SplitSeq(text, " ") {
		long := shown(word)
		switch {
		case line == "":
			line, used = word, long
		case used+1+long > width:
			lines = append(lines, line)
			line, used = word, long
		default:
			line, used = line+" "+word, used+1+long
		}
	}
	return append(lines, line)
}

// shown is how many letters of s a terminal shows: colours are none.
func shown(s string) int {
	n := 0
	for {
		before, after, coloured := strings.Cut(s, "\x1b[")
		n += utf8.RuneCountInString(before)
		if !coloured {
			return n
		}
		_, s, _ = strings.Cut(after, "m")
	}
}
