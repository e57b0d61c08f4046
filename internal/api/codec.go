package api

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// jsonCodec writes every field, zero or not, and refuses fields that it does not know: a
// misspelt field must not pass for an absent one.
type jsonCodec struct{ name string }

func (c jsonCodec) Name() string { return c.name }

func (c jsonCodec) Marshal(message any) ([]byte, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("encode %T: not a message", message)
	}
	return protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(m)
}

func (c jsonCodec) Unmarshal(data []byte, message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return fmt.Errorf("decode %T: not a message", message)
	}
	if len(data) == 0 {
		return fmt.Errorf("the request has no body; send {} where there is nothing to say")
	}
	if err := (protojson.UnmarshalOptions{}).Unmarshal(data, m); err != nil {
		return fmt.Errorf("%w; %s", err, fieldsOf(m.ProtoReflect().Descriptor()))
	}
	return nil
}

// fieldsOf says what a request may hold.
func fieldsOf(d protoreflect.MessageDescriptor) string {
	fields := d.Fields()
	if fields.Len() == 0 {
		return "the request has no fields: send {}"
	}
	var names []string
	for i := range fields.Len() {
		names = append(names, fmt.Sprintf("%q (%v)", fields.Get(i).JSONName(), fields.Get(i).Kind()))
	}
	return "the request is one JSON object, and its fields are " + strings.Join(names, ", ")
}
