package web

import (
	"regexp"
	"strings"
)

// Every load carries the pages, the style and the script, and a wire may be slow: they are written for
// people, and served without what only people need.

// joined are the lines of a text without what indents them, without those that are comments, and
// with another end.
func joined(text, end string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") && !strings.HasPrefix(line, "/*") {
			b.WriteString(line)
			b.WriteString(end)
		}
	}
	return b.String()
}

// denseStyle is a style sheet without spaces that say nothing. It must have none that do around these
// signs: as in "a :hover", which is not "a:hover".
func denseStyle(text string) string {
	return strings.NewReplacer("{ ", "{", " {", "{", "; }", "}", ";}", "}", " }", "}", "; ", ";", ": ", ":", ", ", ",", " > ", ">").Replace(joined(text, ""))
}

// densePage is a page without quotes around values that need none.
func densePage(text string) string {
	return regexp.MustCompile(`="([a-zA-Z0-9_-]+)"([ >])`).ReplaceAllString(joined(text, ""), "=$1$2")
}
