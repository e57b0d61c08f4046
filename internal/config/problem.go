package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Problem is one reason why a file is refused.
type Problem struct {
	File string
	Line int    // from 1; 0 where no line is at fault
	Key  string // "section.name", "[section]", or empty where the syntax is at fault
	Text string
}

// String is the problem as a compiler would print it: file:line: key: text.
func (p Problem) String() string {
	s := p.File + ":"
	if p.Line > 0 {
		s += strconv.Itoa(p.Line) + ":"
	}
	if p.Key != "" {
		s += " " + p.Key + ":"
	}
	return s + " " + p.Text
}

// Problems is the error for a file that is refused: everything wrong with it, in
// the order of its lines.
type Problems struct {
	List []Problem
	More int // how many more there are than List has room for
}

// Error is one line for each problem.
func (p *Problems) Error() string {
	var lines []string
	for _, one := range p.List {
		lines = append(lines, one.String())
	}
	if p.More > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", p.More))
	}
	return strings.Join(lines, "\n")
}

const problemsMax = 50

// problems returns list as an error, sorted and cut, or nil when it is empty.
func problems(list []Problem) error {
	if len(list) == 0 {
		return nil
	}
	slices.SortStableFunc(list, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	p := &Problems{List: list}
	if len(list) > problemsMax {
		p.List, p.More = list[:problemsMax], len(list)-problemsMax
	}
	return p
}

// quoted is s in quotes, cut where it is long, safe to print on a terminal.
func quoted(s string) string { return strconv.Quote(clipped(s)) }

// clipped is s, cut where it is long for a message.
func clipped(s string) string { return cut(s, 80) }

// cut is s, or as much of it as most bytes hold, and that there is more.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// nearestKey returns the key that a misspelt one probably means, or "". A key
// that is right but in the wrong section counts as near.
func nearestKey(section, name string) string {
	best, bestCost := "", costMax(name)+1
	for _, known := range sectionNames() {
		for _, key := range keysOf(known) {
			cost := distance(name, key) + min(distance(section, known), 2)
			if cost < bestCost {
				best, bestCost = known+"."+key, cost
			}
		}
	}
	return best
}

// nearestSection returns the section that a misspelt one probably means, or "".
func nearestSection(section string) string {
	best, bestCost := "", costMax(section)+1
	for _, name := range sectionNames() {
		if cost := distance(section, name); cost < bestCost {
			best, bestCost = name, cost
		}
	}
	return best
}

// costMax is how many edits away from s a suggestion may be: more than half of
// its letters would make a guess of it.
func costMax(s string) int { return max(1, min(len(s)/2, 4)) }

// distance is the least number of insertions, deletions, substitutions and swaps
// of neighbours that turn a into b, each part of b edited at most once. It counts
// bytes. Source: Damerau 1964; this variant is the optimal string alignment.
func distance(a, b string) int {
	const longest = 64 // no key is as long: what is longer is near to none
	if len(a) > longest || len(b) > longest {
		return max(len(a), len(b))
	}
	// rows[i][j] is the distance of a[:i] and b[:j].
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
