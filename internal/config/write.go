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
			if section == sourceAfter {
				b.WriteString(sourcesTOML(c.Sources))
			}
			section = k.section
			fmt.Fprintf(&b, "[%s]\n", section)
		}
		fmt.Fprintf(&b, "%s = %s\n", k.name, k.field.text(&c))
	}
	return b.String()
}

// sourcesTOML is a section for each source.
func sourcesTOML(sources []Source) string {
	var b strings.Builder
	for i := range sources {
		fmt.Fprintf(&b, "[[%s]]\n", sourceSection)
		for _, k := range sourceKeys() {
			fmt.Fprintf(&b, "%s = %s\n", k.name, k.field.text(&sources[i]))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// Template is a file to start from: every key explained and commented out, at
// its default. Parse reads it as Default.
func Template() string {
	defaults := Default()
	var b strings.Builder
	b.WriteString("# The configuration of truechimer. What is left out has the value that is shown here.\n" +
		"# `truechimer config check` finds mistakes; `truechimer config show` prints what is in effect.\n" +
		"# Keys marked (live) take effect at SIGHUP, the others at the next start.\n")
	section := ""
	for _, k := range keys() {
		if k.section != section {
			if section == sourceAfter {
				b.WriteString(sourceTemplate())
			}
			section = k.section
			fmt.Fprintf(&b, "\n[%s]\n", section)
		} else {
			b.WriteByte('\n')
		}
		doc := fmt.Sprintf("%s Value: %s.", k.doc, k.field.want)
		if k.live {
			doc += " (live)"
		}
		b.WriteString(comment(doc))
		if k.usual != "" {
			fmt.Fprintf(&b, "# In production usually: %s = %s\n", k.name, k.usual)
		}
		fmt.Fprintf(&b, "# %s = %s\n", k.name, k.field.text(&defaults))
	}
	return b.String()
}

// sourceTemplate explains the sources, and shows the keys of one and two short examples.
func sourceTemplate() string {
	var b strings.Builder
	b.WriteString("\n" + comment(sourceSectionWords))
	b.WriteString("#\n# [[source]]\n# address = \"ntp2.example.net\"\n# site = \"north\"\n" +
		"#\n# [[source]]\n# address = \"pool.example.org\"\n# pool = 4\n" +
		"#\n# All that can be said of one, with what holds where it is left out:\n#\n# [[source]]\n")
	example := DefaultSource(exampleSource)
	example.Name = "" // it is called by its address
	for _, k := range sourceKeys() {
		b.WriteString("#\n" + comment(fmt.Sprintf("%s Value: %s.", k.doc, k.field.want)))
		fmt.Fprintf(&b, "# %s = %s\n", k.name, k.field.text(&example))
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
