package config

import (
	"fmt"
	"slices"
	"strings"
)

// listed declares a section of which there can be many, each an item of a list.
type listed struct {
	name  string
	after string // the section that it follows in the template
	most  int
	keys  []string
	size  func(c *Config) int
	add   func(c *Config) // one with nothing but defaults
	set   func(c *Config, i, key int, v value) []fault
	toml  func(c *Config) string
	// template explains it, and shows its keys.
	template func() string
	diff     func(old, next *Config) []Change
}

// lists returns every section of which there can be many.
func lists() []listed {
	return []listed{
		listOf(sourceSection, "clock", sourcesMax, sourceKeys(), func(c *Config) *[]Source { return &c.Sources }, sourceWords()),
		listOf(monitorSection, "journal", monitorsMax, monitorKeys(), func(c *Config) *[]Monitor { return &c.Monitors }, monitorWords()),
		listOf(alertSection, "journal", alertsMax, alertKeys(), func(c *Config) *[]Alert { return &c.Alerts }, alertWords()),
		listOf(profileSection, "journal", profilesMax, profileKeys(), func(c *Config) *[]Profile { return &c.Profiles }, profileWords()),
		listOf(principalSection, "api", principalsMax, principalKeys(), func(c *Config) *[]Principal { return &c.Principals }, principalWords()),
	}
}

// listAt finds the list whose section is called name.
func listAt(name string) (listed, bool) {
	all := lists()
	i := slices.IndexFunc(all, func(l listed) bool { return l.name == name })
	if i < 0 {
		return listed{}, false
	}
	return all[i], true
}

// itemKey declares one key of the items of a list. All are live.
type itemKey[T any] struct {
	name  string
	doc   string // for the template, without the range
	field field[T]
}

// listWords are what is particular to the items of a list.
type listWords[T any] struct {
	intro   string          // a paragraph of the template
	samples []string        // short examples of it, without comment signs
	example func() T        // whose values the template shows
	fresh   func() T        // what an item is of which nothing is said
	id      func(*T) string // what it is known by among the others
	short   func(*T) string // what it is, in a word, for a log
}

func listOf[T any](name, after string, most int, keys []itemKey[T], at func(*Config) *[]T, words listWords[T]) listed {
	var names []string
	for _, k := range keys {
		names = append(names, k.name)
	}
	return listed{
		name: name, after: after, most: most, keys: names,
		size: func(c *Config) int { return len(*at(c)) },
		add:  func(c *Config) { *at(c) = append(*at(c), words.fresh()) },
		set:  func(c *Config, i, key int, v value) []fault { return keys[key].field.set(&(*at(c))[i], v) },
		toml: func(c *Config) string {
			var b strings.Builder
			for i := range *at(c) {
				fmt.Fprintf(&b, "[[%s]]\n", name)
				for _, k := range keys {
					b.WriteString(k.field.line(k.name, &(*at(c))[i], false))
				}
				b.WriteByte('\n')
			}
			return b.String()
		},
		template: func() string { return listTemplate(name, keys, words) },
		diff:     func(old, next *Config) []Change { return diffList(name, *at(old), *at(next), keys, words) },
	}
}

// listTemplate explains a list, and shows the keys of one item and short examples.
func listTemplate[T any](name string, keys []itemKey[T], words listWords[T]) string {
	var b strings.Builder
	b.WriteString("\n" + comment(words.intro))
	for _, sample := range words.samples {
		b.WriteString("#\n# [[" + name + "]]\n")
		for line := range strings.Lines(sample) {
			b.WriteString("# " + strings.TrimSuffix(line, "\n") + "\n")
		}
	}
	b.WriteString("#\n# All that can be said of one, with what holds where it is left out:\n#\n# [[" + name + "]]\n")
	example := words.example()
	for _, k := range keys {
		b.WriteString("#\n" + comment(fmt.Sprintf("%s Value: %s.", k.doc, k.field.want)))
		b.WriteString("# " + strings.TrimPrefix(k.field.line(k.name, &example, true), "# "))
	}
	return b.String()
}

// diffList lists what differs between two lists whose items are known by their names: what is
// gone, what is new, and the keys that changed. Their order means nothing.
func diffList[T any](section string, old, next []T, keys []itemKey[T], words listWords[T]) []Change {
	var changes []Change
	find := func(list []T, id string) *T {
		if i := slices.IndexFunc(list, func(item T) bool { return words.id(&item) == id }); i >= 0 {
			return &list[i]
		}
		return nil
	}
	note := func(key, before, after string) {
		changes = append(changes, Change{Key: cut(key, changeLenMax), Old: cut(before, changeLenMax), New: cut(after, changeLenMax), Live: true})
	}
	for i := range old {
		if id := words.id(&old[i]); find(next, id) == nil {
			note(section+"["+id+"]", words.short(&old[i]), "")
		}
	}
	for i := range next {
		id := words.id(&next[i])
		shown := section + "[" + id + "]"
		before := find(old, id)
		if before == nil {
			note(shown, "", words.short(&next[i]))
			continue
		}
		for _, k := range keys {
			if k.field.text(before) != k.field.text(&next[i]) {
				note(shown+"."+k.name, k.field.plain(before), k.field.plain(&next[i]))
			}
		}
	}
	return changes
}

// itemAt names an item of a list, or a key of it, in messages: the first is source[1].
func itemAt(section string, i int, key string) string {
	name := fmt.Sprintf("%s[%d]", section, i+1)
	if key == "" {
		return name
	}
	return name + "." + key
}

// words is a key whose value is a list of 0 to most strings, in each of which check finds no
// fault. It can be left out, which is another thing than an empty list; example is then shown
// of it in a comment.
func words[C any](at func(*C) *[]string, most int, want, example string, check func(string) string) field[C] {
	return field[C]{
		want:    want,
		example: example,
		set: func(c *C, v value) []fault {
			if v.kind != aList {
				return []fault{{text: fmt.Sprintf("want a list, %s, not %s", want, v)}}
			}
			if n := len(v.items); n > most {
				return []fault{{text: fmt.Sprintf("want a list of %d at the most, not of %d", most, n)}}
			}
			list := []string{}
			var faults []fault
			for _, item := range v.items {
				wrong := ""
				switch {
				case item.kind != aString:
					wrong = fmt.Sprintf("want strings in the list: %s, not %s", want, item)
				case slices.Contains(list, item.text):
					wrong = quoted(item.text) + " is in the list twice"
				default:
					wrong = check(item.text)
				}
				if wrong != "" {
					faults = append(faults, fault{line: item.line, text: wrong})
					continue
				}
				list = append(list, item.text)
			}
			if faults == nil {
				*at(c) = list
			}
			return faults
		},
		text: func(c *C) string {
			if *at(c) == nil {
				return ""
			}
			return wordsText(*at(c))
		},
		plain: func(c *C) string { return strings.Join(*at(c), ", ") },
		copy:  func(to, from *C) { *at(to) = slices.Clone(*at(from)) },
	}
}

// wordsText is a list in the syntax of the file.
func wordsText(list []string) string {
	items := make([]string, len(list))
	for i, item := range list {
		items[i] = quotedTOML(item)
	}
	return "[" + strings.Join(items, ", ") + "]"
}
