package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
	"github.com/truechimer/truechimer/store"
)

// chatJSON is fakeStream in JSON.
const chatJSON = `{
	"name":"chat","created":"1795000000000000001","deleted":"1795000000000000002","first":"3","last":"4","lastTimestamp":"1795000000000000005","bytes":"6",
	"retention":{"ageNs":"7","count":"8","bytes":"9"}
}`

const newsJSON = `{"name":"news","created":"0","deleted":"0","first":"0","last":"0","lastTimestamp":"0","bytes":"0","retention":{"ageNs":"0","count":"0","bytes":"0"}}`

// TestStreamJSON pins what every call asks of the streams, and what it answers with.
func TestStreamJSON(t *testing.T) {
	streams := newFakeStreams()
	base := serve(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Streams: streams})
	client := newClient(t)
	behindChat, cutBehindChat := listCursor("chat"), cutCursor(noon+19, "chat")
	for _, c := range []struct{ method, request, asked, want string }{
		{
			"Append", `{"entries":[{"stream":"chat","payload":"aGVsbG8="},{"stream":"news","expected":"0"},{"stream":"news","expected":5}],"observe":"1795000000000000000","idempotencyKey":"k1"}`,
			`append chat "hello" news "" expecting 0 news "" expecting 5, observe 1795000000000000000, key "k1" of ""`,
			`{"timestamp":"1795000000000000010","sequences":["11","12"],"repeated":true}`,
		},
		{"Append", `{}`, `append, observe 0, key "" of ""`, `{"timestamp":"1795000000000000010","sequences":["11","12"],"repeated":true}`},
		{
			"Read", `{"stream":"chat","from":"1","to":2,"since":"3","until":"4","reverse":true,"limit":"5","cursor":"c"}`,
			`read chat 1-2, 3-4, reverse true, limit 5, cursor "c"`,
			`{
				"events":[
					{"stream":"chat","sequence":"13","timestamp":"1795000000000000014","payload":"aGVsbG8=","epoch":"15","node":16},
					{"stream":"chat","sequence":"17","timestamp":"1795000000000000018","payload":"","epoch":"0","node":0}
				],
				"cursor":"further","stream":` + chatJSON + `
			}`,
		},
		{"Cut", `{"timestamp":"5","names":["chat","news"]}`, `cut at 5, [chat news] prefix "" after ""`, `{
			"timestamp":"1795000000000000019",
			"streams":[{"name":"chat","first":"20","last":"21","lastTimestamp":"1795000000000000022"},{"name":"news","first":"0","last":"0","lastTimestamp":"0"}],
			"cursor":"` + cutBehindChat + `"
		}`},
		{"Create", `{"stream":"chat","retention":{"ageNs":"1","count":"2","bytes":"3"}}`, `create chat keeping 1 2 3`, `{"stream":` + chatJSON + `}`},
		{"Create", `{"stream":"chat"}`, `create chat keeping 0 0 0`, `{"stream":` + chatJSON + `}`},
		{"Describe", `{"stream":"chat"}`, `describe chat`, `{"stream":` + chatJSON + `}`},
		{"List", `{"prefix":"c"}`, `list prefix "c" after "", limit 1000`, `{"streams":[` + chatJSON + `,` + newsJSON + `],"cursor":""}`},
		{"List", `{"limit":2,"cursor":"` + behindChat + `"}`, `list prefix "" after "chat", limit 2`, `{"streams":[` + chatJSON + `,` + newsJSON + `],"cursor":"` + listCursor("news") + `"}`},
		{"Delete", `{"stream":"chat"}`, `delete chat`, `{"stream":` + chatJSON + `}`},
		{"SetRetention", `{"stream":"chat","retention":{"ageNs":"1","count":"2","bytes":"3"}}`, `set retention of chat to 1 2 3`, `{"stream":` + chatJSON + `}`},
		{"SetRetention", `{"stream":"chat","retention":{}}`, `set retention of chat to 0 0 0`, `{"stream":` + chatJSON + `}`},
		{"Trim", `{"stream":"chat","first":"3"}`, `trim chat to 3`, `{"stream":` + chatJSON + `}`},
	} {
		a := call(t, client, base, "StreamService/"+c.method, c.request)
		if a.status != http.StatusOK {
			t.Errorf("%s %s: status %d, %s", c.method, c.request, a.status, a.body)
			continue
		}
		if asked := streams.was(); asked != c.asked {
			t.Errorf("%s %s: asked %s, want %s", c.method, c.request, asked, c.asked)
		}
		if got, want := compact(t, a.body), compact(t, c.want); got != want {
			t.Errorf("%s %s: got  %s\nwant %s", c.method, c.request, got, want)
		}
	}
	// The rest of a cut is at the instant of its beginning; one without an instant is at the
	// present, which the streams know.
	call(t, client, base, "StreamService/Cut", `{"timestamp":"5","prefix":"n","cursor":"`+cutBehindChat+`"}`)
	if asked := streams.was(); asked != `cut at 1795000000000000019, [] prefix "n" after "chat"` {
		t.Errorf("asked %s", asked)
	}
	streams.cut.After = ""
	a := call(t, client, base, "StreamService/Cut", `{}`)
	if asked := streams.was(); asked != `cut at 0, [] prefix "" after ""` || !strings.Contains(a.body, `"cursor":""`) && !strings.Contains(a.body, `"cursor": ""`) {
		t.Errorf("asked %s, got %s", asked, a.body)
	}
}

// TestStreamInput: what makes no sense is refused with a sentence, before anybody is asked.
func TestStreamInput(t *testing.T) {
	streams := newFakeStreams()
	base := serve(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Streams: streams})
	client := newClient(t)
	for _, c := range []struct{ name, method, request, says string }{
		{"limit 0", "Read", `{"stream":"chat","limit":0}`, "limit is 0; ask for 1 to 10000 events, or leave it out for 10000"},
		{"limit -1", "Read", `{"stream":"chat","limit":-1}`, "limit is -1"},
		{"limit 10001", "Read", `{"stream":"chat","limit":10001}`, "limit is 10001"},
		{"limit 2^32+1", "Read", `{"stream":"chat","limit":"4294967297"}`, "limit is 4294967297"},
		{"limit 0 of a list", "List", `{"limit":0}`, "limit is 0; ask for 1 to 1000 streams"},
		{"limit 1001 of a list", "List", `{"limit":1001}`, "limit is 1001"},
		{"a negative sequence", "Read", `{"stream":"chat","from":-1}`, `"from" (uint64)`},
		{"payload that is not base64", "Append", `{"entries":[{"stream":"chat","payload":"hello!"}]}`, `payload`},
		{"unknown field of an entry", "Append", `{"entries":[{"stream":"chat","data":""}]}`, `"data"`},
		{"no list", "Append", `{"entries":{"stream":"chat"}}`, `"entries"`},
		{"names and prefix", "Cut", `{"names":["a"],"prefix":"b"}`, "names and a prefix"},
		{"no retention", "SetRetention", `{"stream":"chat"}`, "there is no retention"},
		{"trim to nothing", "Trim", `{"stream":"chat"}`, "first is 0"},
		{"cursor of nobody", "List", `{"cursor":"chat"}`, `"chat" is not from a list`},
		{"cursor of a cut", "List", `{"cursor":"` + cutCursor(5, "chat") + `"}`, "is not from a list"},
		{"cursor of a list", "Cut", `{"cursor":"` + listCursor("a-name-of-some-length") + `"}`, "is not from a cut"},
		{"cursor with a name that is none", "List", `{"cursor":"` + listCursor("a b") + `"}`, "is not from a list"},
		{"cursor without a name", "List", `{"cursor":"` + listCursor("") + `"}`, "is not from a list"},
		{"cut cursor without a name", "Cut", `{"cursor":"` + cutCursor(5, "") + `"}`, "is not from a cut"},
		{"cursor that is too long", "Cut", `{"cursor":"` + strings.Repeat("A", 10_000) + `"}`, "is not from a cut"},
		{"a large request", "Describe", `{"stream":"` + strings.Repeat("a", requestLenMax) + `"}`, "larger than configured max 65536"},
	} {
		streams.ask("nothing")
		a := call(t, client, base, "StreamService/"+c.method, c.request)
		want := "invalid_argument"
		if strings.Contains(c.says, "larger") {
			want = "resource_exhausted"
		}
		if r := a.refusal(t); r.Code != want || !strings.Contains(r.Message, c.says) {
			t.Errorf("%s: status %d, %+v", c.name, a.status, r)
		}
		if asked := streams.was(); asked != "nothing" {
			t.Errorf("%s: asked %s", c.name, asked)
		}
	}
}

// TestStreamCodes gives every error of the streams its code, and keeps its sentence.
func TestStreamCodes(t *testing.T) {
	conflict := &store.ConflictError{Stream: "chat", Expected: 3, Last: math.MaxUint64}
	trimmed := &store.TrimmedError{Stream: "chat", First: 7}
	for _, c := range []struct {
		err  error
		code connect.Code
		says string
	}{
		{fmt.Errorf("%w: %w", store.ErrUncertain, context.DeadlineExceeded), connect.CodeUnknown, "with the same idempotency key"},
		{fmt.Errorf("%w: %w", store.ErrUncertain, store.ErrFenced), connect.CodeUnknown, "may have succeeded"},
		{store.CheckName("a b"), connect.CodeInvalidArgument, "letters, digits"},
		{store.ErrTooLarge, connect.CodeInvalidArgument, "too large"},
		{store.ErrRange, connect.CodeInvalidArgument, "out of range"},
		{store.ErrCursor, connect.CodeInvalidArgument, "begin again"},
		{fmt.Errorf("%w: %w", store.ErrCursor, store.ErrTimeline), connect.CodeInvalidArgument, "rebased"},
		{store.ErrNoStream, connect.CodeNotFound, "no such stream"},
		{store.ErrExists, connect.CodeAlreadyExists, "exists already"},
		{store.ErrKeyReused, connect.CodeAlreadyExists, "use a fresh key"},
		{conflict, connect.CodeAborted, "decide again"},
		{store.ErrTimeline, connect.CodeAborted, "begin again"},
		{trimmed, connect.CodeOutOfRange, "begins at sequence 7"},
		{store.ErrBusy, connect.CodeResourceExhausted, "try again in a moment"},
		{store.ErrFull, connect.CodeResourceExhausted, "free some space"},
		{store.ErrWatchers, connect.CodeResourceExhausted, "end some"},
		{store.ErrDamaged, connect.CodeDataLoss, ""},
		{fmt.Errorf("append: %w", store.ErrFenced), connect.CodeUnavailable, "replace the disk"},
		{store.ErrClosed, connect.CodeUnavailable, "this node is stopping"},
		{store.ErrNotStarted, connect.CodeUnavailable, "waitsync"},
		{context.Canceled, connect.CodeCanceled, ""},
		{context.DeadlineExceeded, connect.CodeDeadlineExceeded, ""},
		{errUnlisted, connect.CodeInternal, "nobody thought of"},
	} {
		err := streamError(c.err)
		if connect.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) || !errors.Is(err, c.err) {
			t.Errorf("%v: got %v", c.err, err)
		}
	}
	// Nothing else has the code of what may have been done.
	for _, c := range streamCodes {
		if (c.code == connect.CodeUnknown) != (c.err == store.ErrUncertain) {
			t.Errorf("%v has the code %v", c.err, c.code)
		}
	}
}

// TestStreamErrors: every call tells the error of what it asks, in each protocol, with the
// figures that a program needs.
func TestStreamErrors(t *testing.T) {
	streams := newFakeStreams()
	base := serve(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Streams: streams})
	client := newClient(t)
	streams.err = &store.ConflictError{Stream: "chat", Expected: 3, Last: 5}
	for _, request := range [][2]string{
		{"Append", `{}`}, {"Read", `{}`}, {"Cut", `{}`}, {"Create", `{}`}, {"Describe", `{}`}, {"List", `{}`}, {"Delete", `{}`},
		{"SetRetention", `{"retention":{}}`}, {"Trim", `{"first":1}`},
	} {
		a := call(t, client, base, "StreamService/"+request[0], request[1])
		var r struct {
			Code    string
			Details []struct {
				Type  string
				Debug struct{ Stream, Expected, Last string }
			}
		}
		if err := json.Unmarshal([]byte(a.body), &r); err != nil || a.status != http.StatusConflict || r.Code != "aborted" || len(r.Details) != 1 {
			t.Errorf("%s: status %d, %s", request[0], a.status, a.body)
			continue
		}
		if d := r.Details[0]; d.Type != "truechimer.v1.AppendConflict" || d.Debug != (struct{ Stream, Expected, Last string }{"chat", "3", "5"}) {
			t.Errorf("%s: %+v", request[0], d)
		}
	}
	h2 := newClient(t, h2c)
	for name, options := range map[string][]connect.ClientOption{"Connect": nil, "gRPC": {connect.WithGRPC()}, "gRPC-Web": {connect.WithGRPCWeb()}} {
		c := rpcconnect.NewStreamServiceClient(h2, base, options...)
		streams.err = &store.ConflictError{Stream: "chat", Expected: 3, Last: 5}
		_, err := c.Append(t.Context(), connect.NewRequest(&rpc.AppendRequest{}))
		if conflict, ok := detail(t, err).(*rpc.AppendConflict); !ok || connect.CodeOf(err) != connect.CodeAborted || conflict.Last != 5 || conflict.Expected != 3 || conflict.Stream != "chat" {
			t.Errorf("%s: %v", name, err)
		}
		streams.err = &store.TrimmedError{Stream: "chat", First: 7}
		_, err = c.Read(t.Context(), connect.NewRequest(&rpc.ReadRequest{}))
		if trimmed, ok := detail(t, err).(*rpc.StreamTrimmed); !ok || connect.CodeOf(err) != connect.CodeOutOfRange || trimmed.First != 7 || trimmed.Stream != "chat" {
			t.Errorf("%s: %v", name, err)
		}
		streams.err = fmt.Errorf("%w: %w", store.ErrUncertain, context.Canceled)
		_, err = c.Append(t.Context(), connect.NewRequest(&rpc.AppendRequest{}))
		if connect.CodeOf(err) != connect.CodeUnknown || !connect.IsWireError(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// detail returns the one detail of an error.
func detail(t *testing.T, err error) any {
	t.Helper()
	var e *connect.Error
	if !errors.As(err, &e) || len(e.Details()) != 1 {
		t.Errorf("%v has no detail", err)
		return nil
	}
	m, err := e.Details()[0].Value()
	if err != nil {
		t.Error(err)
	}
	return m
}

// TestCursors: what a cursor says comes back, whatever the name.
func TestCursors(t *testing.T) {
	for _, name := range []string{"a", "chat/1", strings.Repeat("z", store.NameLenMax)} {
		if got, err := parseListCursor(listCursor(name)); got != name || err != nil {
			t.Errorf("%q: %q, %v", name, got, err)
		}
		if at, got, err := parseCutCursor(cutCursor(math.MaxUint64-1, name)); at != math.MaxUint64-1 || got != name || err != nil {
			t.Errorf("%q: %v, %q, %v", name, at, got, err)
		}
	}
}
