package config

import (
	"fmt"
	"strings"
)

// TOML is the effective file: every key with its value. Parse reads it back as
// the same Config.
func (c Config) TOML() string {
	var b strings.Builder
	section := ""
	for _, k := range keys() {
		if k.section != section {
			if section != "" {
				b.WriteByte('\n')
			}
			section = k.section
			fmt.Fprintf(&b, "[%s]\n", section)
		}
		fmt.Fprintf(&b, "%s = %s\n", k.name, k.field.text(&c))
	}
	return b.String()
}

// Template is a file to start from: every key explained and commented out, at
// its default. Parse reads it as Default.
func Template() string {
	const width = 100
	defaults := Default()
	var b strings.Builder
	b.WriteString("# The configuration of truechimer. What is left out has the value that is shown here.\n" +
		"# `truechimer config check` finds mistakes; `truechimer config show` prints what is in effect.\n" +
		"# Keys marked (live) take effect at SIGHUP, the others at the next start.\n")
	section := ""
	for _, k := range keys() {
		if k.section != section {
			section = k.section
			fmt.Fprintf(&b, "\n[%s]\n", section)
		} else {
			b.WriteByte('\n')
		}
		doc := fmt.Sprintf("%s Value: %s.", k.doc, k.field.want)
		if k.live {
			doc += " (live)"
		}
		for _, line := range wrapped(doc, width-len("# ")) {
			b.WriteString("# " + line + "\n")
		}
		if k.usual != "" {
			fmt.Fprintf(&b, "# In production usually: %s = %s\n", k.name, k.usual)
		}
		fmt.Fprintf(&b, "# %s = %s\n", k.name, k.field.text(&defaults))
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
