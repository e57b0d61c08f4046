package main

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestRows(t *testing.T) {
	const red, off = "\x1b[31m", "\x1b[0m"
	fill := func(width int) string {
		r := rows{width: width}
		r.add("a", "one two three four")
		r.add("", "%s", "five 5µs six")
		r.add("longer", red+"seven"+off+" eight nine")
		r.add("", "%s", "a-word-beyond-all ten")
		var b strings.Builder
		if err := r.write(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	for width, want := range map[int]string{
		0: `a       one two three four
        five 5µs six
longer  ` + red + "seven" + off + ` eight nine
        a-word-beyond-all ten
`,
		80: fill(0),
		21: `a       one two three
        four
        five 5µs six
longer  ` + red + "seven" + off + ` eight
        nine
        a-word-beyond-all
        ten
`,
		20: `a       one two
        three four
        five 5µs six
longer  ` + red + "seven" + off + ` eight
        nine
        a-word-beyond-all
        ten
`,
		18: `a       one two
        three four
        five 5µs
        six
longer  ` + red + "seven" + off + `
        eight nine
        a-word-beyond-all
        ten
`,
		1: `a       one
        two
        three
        four
        five
        5µs
        six
longer  ` + red + "seven" + off + `
        eight
        nine
        a-word-beyond-all
        ten
`,
	} {
		if got := fill(width); got != want {
			t.Errorf("width %d:\n%swant\n%s", width, got, want)
		}
	}
}

// TestBrokenLosesNothing: the lines put together are the text, each is as long as it can
// be, and none is longer than it may be that has two words.
func TestBrokenLosesNothing(t *testing.T) {
	t.Logf("-seed %d", *seedFlag)
	random := rand.New(rand.NewPCG(*seedFlag, 0))
	for range 2000 {
		words := make([]string, 1+random.IntN(20))
		for i := range words {
			words[i] = strings.Repeat(string("aµ"[:1+2*random.IntN(2)]), random.IntN(9))
		}
		text, width := strings.Join(words, " "), random.IntN(30)
		lines := broken(text, width)
		if got := strings.Join(lines, " "); strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(text), " ") {
			t.Fatalf("%q became %q", text, lines)
		}
		for i, line := range lines {
			if n := utf8.RuneCountInString(line); n > width && strings.Contains(strings.Trim(line, " "), " ") {
				t.Fatalf("width %d: %q has %d letters", width, line, n)
			}
			if i == 0 {
				continue
			}
			if first := strings.SplitN(line, " ", 2)[0]; first != "" && utf8.RuneCountInString(lines[i-1])+1+utf8.RuneCountInString(first) <= width && lines[i-1] != "" {
				t.Fatalf("width %d: %q had room for %q", width, lines[i-1], first)
			}
		}
	}
	if got := broken("", 10); !slices.Equal(got, []string{""}) {
		t.Errorf("%q", got)
	}
}
