package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/truechimer/truechimer/internal/rpc"
)

// location is the comment of what a path in a descriptor leads to.
func location(comment string, path ...int32) *descriptorpb.SourceCodeInfo_Location {
	return &descriptorpb.SourceCodeInfo_Location{Path: path, Span: []int32{path[len(path)-1], 0, 1}, LeadingComments: &comment}
}

// small is a file with one service, one call, and what change makes of it.
func small(change func(*descriptorpb.FileDescriptorProto)) []byte {
	message := func(name string, fields ...*descriptorpb.FieldDescriptorProto) *descriptorpb.DescriptorProto {
		return &descriptorpb.DescriptorProto{Name: &name, Field: fields}
	}
	f := &descriptorpb.FileDescriptorProto{
		Name: proto.String("clock.proto"), Package: proto.String("p.v1"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{
			message("NowRequest", &descriptorpb.FieldDescriptorProto{
				Name: proto.String("max_count"), JsonName: proto.String("maxCount"), Number: proto.Int32(1),
				Type: descriptorpb.FieldDescriptorProto_TYPE_INT64.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
			}),
			message("NowResponse", &descriptorpb.FieldDescriptorProto{
				Name: proto.String("at"), JsonName: proto.String("at"), Number: proto.Int32(1),
				Type: descriptorpb.FieldDescriptorProto_TYPE_FIXED64.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum(),
			}),
		},
		Service: []*descriptorpb.ServiceDescriptorProto{{
			Name: proto.String("ClockService"),
			Method: []*descriptorpb.MethodDescriptorProto{{
				Name: proto.String("Now"), InputType: proto.String(".p.v1.NowRequest"), OutputType: proto.String(".p.v1.NowResponse"),
			}},
		}},
		SourceCodeInfo: &descriptorpb.SourceCodeInfo{Location: []*descriptorpb.SourceCodeInfo_Location{
			location(" Asks.\n", 4, 0),
			location(" How many,\n 1 | 2.\n", 4, 0, 2, 0),
			location(" Answers <all>.\n", 4, 1),
			location(" When.\n", 4, 1, 2, 0),
			location(" Tells the time.\n", 6, 0),
			location(" Now is now.\n\n Example: {\"maxCount\":\"3\"}\n", 6, 0, 2, 0),
		}},
	}
	change(f)
	set, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{f}})
	if err != nil {
		panic(err) // invariant: it is a message
	}
	return set
}

func pageOf(set []byte) (string, error) {
	c, err := parse(set)
	if err != nil {
		return "", err
	}
	return document("# Head\n", c)
}

func TestPage(t *testing.T) {
	got, err := pageOf(small(func(*descriptorpb.FileDescriptorProto) {}))
	if err != nil {
		t.Fatal(err)
	}
	const want = `# Head

## ClockService

Tells the time.

### Now

Now is now.

~sh
curl -H 'Content-Type: application/json' -d '{"maxCount":"3"}' \
  http://127.0.0.1:8123/p.v1.ClockService/Now
~

Answer:

~text
{"at": ["TIMESTAMP", …]}
~

#### NowRequest

Asks.

| field | in JSON | type in JSON | meaning |
|---|---|---|---|
| 'max_count' | 'maxCount' | string: int64 | How many, 1 \| 2. |

#### NowResponse

Answers &lt;all>.

| field | in JSON | type in JSON | meaning |
|---|---|---|---|
| 'at' | 'at' | list, each: string: timestamp | When. |

## Messages

What requests and answers are made of, and the details of errors.
`
	plain := strings.NewReplacer("```", "~", "`max_count`", "'max_count'", "`maxCount`", "'maxCount'", "`at`", "'at'").Replace(got)
	if plain != want {
		t.Errorf("got\n%s\nwant\n%s", plain, want)
	}
}

// TestStreaming: the length of the request is in front of it, and a call that takes many
// requests needs HTTP/2.
func TestStreaming(t *testing.T) {
	for _, both := range []bool{false, true} {
		got, err := pageOf(small(func(f *descriptorpb.FileDescriptorProto) {
			m := f.Service[0].Method[0]
			m.ServerStreaming, m.ClientStreaming = proto.Bool(true), proto.Bool(both)
		}))
		if err != nil || !strings.Contains(got, `printf "\\0\\0\\0\\0\\$(printf %o ${#m})%s" "$m" |`) || strings.Contains(got, "--http2") != both {
			t.Errorf("%t: %v\n%s", both, err, got)
		}
	}
}

func TestRefusals(t *testing.T) {
	example := func(text string) func(*descriptorpb.FileDescriptorProto) {
		return func(f *descriptorpb.FileDescriptorProto) { f.SourceCodeInfo.Location[5] = location(text, 6, 0, 2, 0) }
	}
	for _, c := range []struct {
		name, want string
		change     func(*descriptorpb.FileDescriptorProto)
	}{
		{"no example", "p.v1.ClockService.Now: has no Example", example(" Now is now.\n")},
		{"an unknown field", "is no NowRequest", example(" Now.\n Example: {\"cuont\":\"3\"}\n")},
		{"an example on two lines", "keep to ASCII", example(" Now.\n Example: {\"maxCount\":\n \"3\"}\n")},
		{"an apostrophe", "keep to ASCII", func(f *descriptorpb.FileDescriptorProto) {
			f.MessageType[0].Field[0].Type = descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum()
			example(` Example: {"maxCount":"it's"}`)(f)
		}},
		{"a long one for an envelope", "shorten it", func(f *descriptorpb.FileDescriptorProto) {
			f.Service[0].Method[0].ServerStreaming = proto.Bool(true)
			example(" Example: {\"maxCount\":" + strings.Repeat(" ", 250) + "\"3\"}\n")(f)
		}},
		{"a field without a comment", "p.v1.NowResponse.at: has no comment", func(f *descriptorpb.FileDescriptorProto) {
			f.SourceCodeInfo.Location = append(f.SourceCodeInfo.Location[:3:3], f.SourceCodeInfo.Location[4:]...)
		}},
		{"a service without a place", "give it one", func(f *descriptorpb.FileDescriptorProto) { f.Service[0].Name = proto.String("OtherService") }},
		{"two of one name", "called now, so that", func(f *descriptorpb.FileDescriptorProto) {
			f.MessageType[1].Name, f.Service[0].Method[0].OutputType = proto.String("now"), proto.String(".p.v1.now")
		}},
	} {
		got, err := pageOf(small(c.change))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v\n%s", c.name, err, got)
		}
	}
	if _, err := parse([]byte("garbage")); err == nil {
		t.Error("garbage was taken for a descriptor set")
	}
	if _, err := parse(nil); err == nil {
		t.Error("a set without a service was taken")
	}
}

// TestComplete: what the program links is on the page, and nothing that it links to is
// missing there. That the page is made of the proto files as they are is for hack/check.
func TestComplete(t *testing.T) {
	text, err := os.ReadFile("../../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for _, file := range []*descriptorpb.FileDescriptorProto{
		protodesc.ToFileDescriptorProto(rpc.File_truechimer_v1_clock_proto),
		protodesc.ToFileDescriptorProto(rpc.File_truechimer_v1_stream_proto),
		protodesc.ToFileDescriptorProto(rpc.File_truechimer_v1_node_proto),
	} {
		for _, s := range file.Service {
			for _, m := range s.Method {
				if !strings.Contains(page, "\n### "+m.GetName()+"\n") || !strings.Contains(page, "."+s.GetName()+"/"+m.GetName()+"\n```") {
					t.Errorf("%s.%s or its recipe is missing", s.GetName(), m.GetName())
				}
			}
		}
		for _, m := range file.MessageType {
			_, part, found := strings.Cut(page, "# "+m.GetName()+"\n")
			part, _, _ = strings.Cut(part, "\n#")
			if !found {
				t.Errorf("%s is missing", m.GetName())
			}
			for _, f := range m.Field {
				if !strings.Contains(part, fmt.Sprintf("\n| `%s` | `%s` | ", f.GetName(), f.GetJsonName())) {
					t.Errorf("%s.%s is missing", m.GetName(), f.GetName())
				}
			}
		}
	}
	for link, rest, found := nextLink(page); found; link, rest, found = nextLink(rest) {
		if !strings.Contains(strings.ToLower(page), "# "+link+"\n") {
			t.Errorf("a link goes to %s, which is not there", link)
		}
	}
}

func nextLink(page string) (link, rest string, found bool) {
	_, rest, found = strings.Cut(page, "](#")
	link, _, _ = strings.Cut(rest, ")")
	return link, rest, found
}

// TestCodes: the page says of each code what it is in JSON, as a number, and as a status.
func TestCodes(t *testing.T) {
	intro, err := os.ReadFile("intro.md")
	if err != nil {
		t.Fatal(err)
	}
	errorWriter := connect.NewErrorWriter()
	for code := connect.CodeCanceled; code <= connect.CodeUnauthenticated; code++ {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("{}"))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		if err := errorWriter.Write(w, r, connect.NewError(code, errors.New("no"))); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("\n| %s | `%s` | %d | %d | ", strings.ToUpper(code.String()), code, code, w.Code)
		if !strings.Contains(string(intro), want) {
			t.Errorf("the table of codes has no line%s", want)
		}
	}
}
