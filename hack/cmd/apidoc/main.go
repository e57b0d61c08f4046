// Command apidoc writes docs/api.md: what the proto files say of each call, message, field
// and value, with a curl recipe for each call.
//
//	buf build --as-file-descriptor-set -o - | go run ./hack/cmd/apidoc INTRO >docs/api.md
//
// INTRO is the Markdown file that comes first. Standard input is a descriptor set with its
// comments. hack/generate runs it. It fails, and says all that is missing at once, where
// something has no comment, or a call has no Example that is a request of its own.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: apidoc INTRO <DESCRIPTOR-SET")
		os.Exit(2)
	}
	err := run(os.Args[1], os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintf(os.Stderr, "apidoc: %v\n", err)
		os.Exit(1)
	}
}

// run writes nothing unless all of it is right.
func run(introFile string, set io.Reader, page io.Writer) error {
	intro, err := os.ReadFile(introFile)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(set)
	if err != nil {
		return fmt.Errorf("read the descriptor set: %w", err)
	}
	c, err := parse(text)
	if err != nil {
		return err
	}
	md, err := document(string(intro), c)
	if err != nil {
		return err
	}
	_, err = io.WriteString(page, md)
	return err
}

// contract is what the proto files describe.
type contract struct {
	services []protoreflect.ServiceDescriptor // in the order of serviceOrder
	messages []protoreflect.MessageDescriptor // in the order of their services' files, each before those that it imports
	enums    []protoreflect.EnumDescriptor
}

// serviceOrder is the order of the services on the page: what most callers want first.
func serviceOrder() []string {
	return []string{"ClockService", "StreamService", "NodeService", "EvidenceService"}
}

// parse reads a descriptor set. What a map is made of is no message of ours.
func parse(set []byte) (contract, error) {
	var c contract
	var fds descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(set, &fds); err != nil {
		return c, fmt.Errorf("decode the descriptor set: %w", err)
	}
	files, err := protodesc.NewFiles(&fds)
	if err != nil {
		return c, fmt.Errorf("link the descriptor set: %w", err)
	}
	files.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			c.services = append(c.services, f.Services().Get(i))
		}
		return true
	})
	rank := func(s protoreflect.ServiceDescriptor) int { return slices.Index(serviceOrder(), string(s.Name())) }
	slices.SortFunc(c.services, func(a, b protoreflect.ServiceDescriptor) int { return rank(a) - rank(b) })
	var errs []error
	told := make(map[string]bool)
	for _, s := range c.services {
		if rank(s) < 0 {
			errs = append(errs, fmt.Errorf("%s has no place in serviceOrder of hack/cmd/apidoc; give it one", s.Name()))
		}
		c.file(s.ParentFile(), told)
	}
	if len(c.services) == 0 {
		errs = append(errs, errors.New("the descriptor set has no service"))
	}
	return c, errors.Join(errs...)
}

// file adds what a file describes, and the files that it imports, but for those that were told.
func (c *contract) file(f protoreflect.FileDescriptor, told map[string]bool) {
	if told[f.Path()] {
		return
	}
	told[f.Path()] = true
	for i := range f.Messages().Len() {
		c.messages = append(c.messages, f.Messages().Get(i))
	}
	for i := range f.Enums().Len() {
		c.enums = append(c.enums, f.Enums().Get(i))
	}
	for i := range f.Imports().Len() {
		c.file(f.Imports().Get(i), told)
	}
}
