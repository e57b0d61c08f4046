package main

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// page is the document as it grows, and what is wrong with what it is made of.
type page struct {
	text  strings.Builder
	wrong []error
	// headings are those that links go to, as the anchors that they become.
	headings map[string]bool
}

// document writes the whole page.
func document(intro string, c contract) (string, error) {
	p := &page{headings: make(map[string]bool)}
	p.print(strings.TrimRight(intro, "\n"), "")
	ofCalls := make(map[protoreflect.FullName]bool)
	for _, s := range c.services {
		p.service(s, ofCalls)
	}
	p.heading(2, "Messages")
	p.print("What requests and answers are made of, and the details of errors.", "")
	for _, m := range c.messages {
		if !ofCalls[m.FullName()] {
			p.message(3, m)
		}
	}
	for _, e := range c.enums {
		p.enum(e)
	}
	return strings.TrimRight(p.text.String(), "\n") + "\n", errors.Join(p.wrong...)
}

func (p *page) print(lines ...string) {
	for _, l := range lines {
		p.text.WriteString(l)
		p.text.WriteByte('\n')
	}
}

func (p *page) fault(d protoreflect.Descriptor, format string, args ...any) {
	p.wrong = append(p.wrong, fmt.Errorf("%s: %s", d.FullName(), fmt.Sprintf(format, args...)))
}

func anchor(name string) string { return strings.ToLower(name) }

// heading begins a part that links can go to.
func (p *page) heading(level int, name string) {
	if p.headings[anchor(name)] {
		p.wrong = append(p.wrong, fmt.Errorf("two parts of the page are called %s, so that links would go astray; rename one", name))
	}
	p.headings[anchor(name)] = true
	p.print(strings.Repeat("#", level)+" "+name, "")
}

func (p *page) service(s protoreflect.ServiceDescriptor, ofCalls map[protoreflect.FullName]bool) {
	p.heading(2, string(s.Name()))
	p.print(paragraphs(p.comment(s)), "")
	for i := range s.Methods().Len() {
		m := s.Methods().Get(i)
		p.call(m)
		for _, part := range []protoreflect.MessageDescriptor{m.Input(), m.Output()} {
			ofCalls[part.FullName()] = true
			p.message(4, part)
		}
	}
}

func (p *page) call(m protoreflect.MethodDescriptor) {
	p.heading(3, string(m.Name()))
	text, example, found := strings.Cut(p.comment(m), "Example: ")
	p.print(paragraphs(text), "")
	if !found {
		p.fault(m, `has no Example; end its comment with one, such as // Example: {"limit":"10"}`)
		return
	}
	recipe, err := curl(m, strings.TrimSpace(example))
	if err != nil {
		p.fault(m, "%v", err)
		return
	}
	answer := "Answer:"
	if m.IsStreamingServer() {
		answer = "Each message of the answer, behind its envelope:"
	}
	p.print("```sh", recipe, "```", "", answer, "", "```text", shape(m.Output()), "```", "")
}

func (p *page) message(level int, m protoreflect.MessageDescriptor) {
	p.heading(level, string(m.Name()))
	p.print(paragraphs(p.comment(m)), "")
	if m.Fields().Len() == 0 {
		return
	}
	p.print("| field | in JSON | type in JSON | meaning |", "|---|---|---|---|")
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		meaning := cell(p.comment(f))
		if o := f.ContainingOneof(); o != nil && !o.IsSynthetic() {
			meaning = fmt.Sprintf("One of `%s`. %s", o.Name(), meaning)
		}
		p.print(fmt.Sprintf("| `%s` | `%s` | %s | %s |", f.Name(), f.JSONName(), jsonType(f), meaning))
	}
	p.print("")
	for i := range m.Oneofs().Len() {
		if o := m.Oneofs().Get(i); !o.IsSynthetic() {
			p.print(fmt.Sprintf("At the most one of `%s` is given: %s", o.Name(), paragraphs(p.comment(o))), "")
		}
	}
}

func (p *page) enum(e protoreflect.EnumDescriptor) {
	p.heading(3, string(e.Name()))
	p.print(paragraphs(p.comment(e)), "", "| value | number | meaning |", "|---|---|---|")
	for i := range e.Values().Len() {
		v := e.Values().Get(i)
		p.print(fmt.Sprintf("| `%s` | %d | %s |", v.Name(), v.Number(), cell(p.comment(v))))
	}
	p.print("")
}

// comment returns what stands in front of a declaration, without the margin.
func (p *page) comment(d protoreflect.Descriptor) string {
	var lines []string
	for line := range strings.Lines(d.ParentFile().SourceLocations().ByDescriptor(d).LeadingComments) {
		lines = append(lines, strings.TrimRight(strings.TrimPrefix(line, " "), " \n"))
	}
	text := strings.TrimSpace(strings.Join(lines, "\n"))
	if text == "" {
		p.fault(d, "has no comment; say what it is, its unit and range, and what 0 or absence means")
	}
	return text
}

// escape keeps Markdown from seeing markup in a comment, which is plain text.
func escape(text string) string {
	return strings.NewReplacer("<", "&lt;", "*", `\*`, "|", `\|`, "[", `\[`, "`", "\\`").Replace(text)
}

// paragraphs is a comment as Markdown: its lists are lists there already.
func paragraphs(comment string) string { return strings.TrimSpace(escape(comment)) }

// cell is a comment on one line of a table.
func cell(comment string) string { return strings.Join(strings.Fields(escape(comment)), " ") }

// jsonType says how a field is written in JSON.
func jsonType(f protoreflect.FieldDescriptor) string {
	switch {
	case f.IsMap():
		return "object, each value: " + scalarType(f.MapValue())
	case f.IsList():
		return "list, each: " + scalarType(f)
	case f.HasOptionalKeyword():
		return scalarType(f) + "; or absent"
	}
	return scalarType(f)
}

func scalarType(f protoreflect.FieldDescriptor) string {
	link := func(name protoreflect.Name) string { return fmt.Sprintf("[%s](#%s)", name, anchor(string(name))) }
	switch f.Kind() {
	case protoreflect.MessageKind:
		return "object: " + link(f.Message().Name())
	case protoreflect.EnumKind:
		return "string: " + link(f.Enum().Name())
	case protoreflect.Fixed64Kind:
		return "string: timestamp"
	case protoreflect.Int64Kind, protoreflect.Uint64Kind:
		return "string: " + f.Kind().String()
	case protoreflect.Int32Kind, protoreflect.Uint32Kind, protoreflect.DoubleKind:
		return "number: " + f.Kind().String()
	case protoreflect.BytesKind:
		return "string: base64"
	case protoreflect.BoolKind:
		return "true or false"
	}
	return f.Kind().String()
}
