package main

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

const (
	base = "http://127.0.0.1:8123" // where serve answers unless it is told otherwise
	// envelopeMax is how long a request may be whose length the recipe writes as one byte.
	envelopeMax = 255
	shapeMax    = 95 // columns, of a shape on one line
)

// curl is the command that sends an example to a call.
func curl(m protoreflect.MethodDescriptor, example string) (string, error) {
	err := protojson.Unmarshal([]byte(example), dynamicpb.NewMessage(m.Input()))
	if err != nil {
		return "", fmt.Errorf("its Example %s is no %s: %w", example, m.Input().Name(), err)
	}
	for _, c := range example {
		if c < ' ' || c > '~' || c == '\'' {
			return "", fmt.Errorf("its Example has %q, which the recipe cannot carry; keep to ASCII without apostrophes, on one line", c)
		}
	}
	address := fmt.Sprintf("%s/%s/%s", base, m.Parent().FullName(), m.Name())
	if !m.IsStreamingServer() {
		return fmt.Sprintf("curl -H 'Content-Type: application/json' -d '%s' \\\n  %s", example, address), nil
	}
	if len(example) > envelopeMax {
		return "", fmt.Errorf("its Example has %d bytes, and its recipe can carry %d; shorten it", len(example), envelopeMax)
	}
	version := ""
	if m.IsStreamingClient() {
		version = " --http2-prior-knowledge"
	}
	return fmt.Sprintf("m='%s'\nprintf \"\\\\0\\\\0\\\\0\\\\0\\\\$(printf %%o ${#m})%%s\" \"$m\" |\n"+
		"  curl -N%s -H 'Content-Type: application/connect+json' --data-binary @- \\\n  %s", example, version, address), nil
}

// shape is what an answer looks like: each value by its type, on one line if that holds it.
// Otherwise each field has a line, where objects that are too long are left out.
func shape(m protoreflect.MessageDescriptor) string {
	if line := object(m); len(line) <= shapeMax {
		return line
	}
	var lines []string
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		line := fmt.Sprintf("  %q: %s", f.JSONName(), value(f, object))
		if len(line) > shapeMax {
			line = fmt.Sprintf("  %q: %s", f.JSONName(), value(f, func(protoreflect.MessageDescriptor) string { return "{…}" }))
		}
		lines = append(lines, line)
	}
	return "{\n" + strings.Join(lines, ",\n") + "\n}"
}

// object is a message with all that is in it. No message of ours holds itself.
func object(m protoreflect.MessageDescriptor) string {
	var fields []string
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		fields = append(fields, fmt.Sprintf("%q: %s", f.JSONName(), value(f, object)))
	}
	return "{" + strings.Join(fields, ", ") + "}"
}

// value is what stands for the value of a field, in which inner says what objects look like.
func value(f protoreflect.FieldDescriptor, inner func(protoreflect.MessageDescriptor) string) string {
	switch {
	case f.IsMap():
		return fmt.Sprintf("{%q: %s, …}", "STRING", value(f.MapValue(), inner))
	case f.IsList():
		return "[" + single(f, inner) + ", …]"
	}
	return single(f, inner)
}

func single(f protoreflect.FieldDescriptor, inner func(protoreflect.MessageDescriptor) string) string {
	switch f.Kind() {
	case protoreflect.MessageKind:
		return inner(f.Message())
	case protoreflect.BoolKind:
		return "BOOL"
	case protoreflect.Int32Kind, protoreflect.Uint32Kind, protoreflect.DoubleKind:
		return "NUMBER"
	case protoreflect.Fixed64Kind:
		return `"TIMESTAMP"`
	case protoreflect.BytesKind:
		return `"BASE64"`
	case protoreflect.EnumKind:
		return fmt.Sprintf(`"%s_…"`, strings.TrimSuffix(string(f.Enum().Values().Get(0).Name()), "_UNSPECIFIED"))
	}
	return fmt.Sprintf("%q", strings.ToUpper(f.Kind().String()))
}
