package config

import (
	"fmt"
	"strings"
)

// TOML is the effective file: every key with its value, those that are left out as
// comments. Parse reads it back as the same Config.
func (c Config) TOML() string {
	var b strings.Builder
	for i, section := range sectionNames() {
		if l, ok := listAt(section); ok {
			items := l.toml(&c)
			if b.Len() > 0 && items != "" && !strings.HasSuffix(b.String(), "\n\n") {
				b.WriteByte('\n')
			}
			b.WriteString(items)
			continue
		}
		if i > 0 && !strings.HasSuffix(b.String(), "\n\n") {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "[%s]\n", section)
		for _, k := range keys() {
			if k.section == section {
				b.WriteString(k.field.line(k.name, &c, false))
			}
		}
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// Template is a file to start from: every key explained and commented out, at
// its default. Parse reads it as Default.
func Template() string {
	defaults := Default()
	var b strings.Builder
	b.WriteString("# The configuration of truechimer. What is left out has the value that is shown here.\n" +
		"# `truechimer config check` finds mistakes; `truechimer config show` prints what is in effect.\n" +
		"# Keys marked (live) take effect at SIGHUP, the others at the next start.\n")
	for _, section := range sectionNames() {
		if l, ok := listAt(section); ok {
			b.WriteString(l.template())
			continue
		}
		fmt.Fprintf(&b, "\n[%s]\n", section)
		first := true
		for _, k := range keys() {
			if k.section != section {
				continue
			}
			if !first {
				b.WriteByte('\n')
			}
			first = false
			doc := fmt.Sprintf("%s Value: %s.", k.doc, k.field.want)
			if k.live {
				doc += " (live)"
			}
			b.WriteString(comment(doc))
			if k.usual != "" {
				fmt.Fprintf(&b, "# In production usually: %s = %s\n", k.name, k.usual)
			}
			b.WriteString("# " + strings.TrimPrefix(k.field.line(k.name, &defaults, true), "# "))
		}
	}
	return b.String()
}

// comment is a text in lines of a comment.
func comment(text string) string {
	const width = 100
	var b strings.Builder
	for _, line := range wrapped(text, width-len("# ")) {
		b.WriteString("# " + line + "\n")
	}
	return b.String()
}

// wrapped breaks text at spaces into lines of at most width bytes.
func wrapped(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}
