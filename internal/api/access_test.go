package api

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
	"github.com/truechimer/truechimer/store"
)

// method is a call as its descriptor has it.
type method struct {
	procedure string
	streams   bool // its answer, or its request, is a stream
}

// methods returns every call of the API.
func methods() (all []method) {
	for _, file := range []protoreflect.FileDescriptor{rpc.File_truechimer_v1_clock_proto, rpc.File_truechimer_v1_node_proto, rpc.File_truechimer_v1_stream_proto, rpc.File_truechimer_v1_evidence_proto} {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for k := range service.Methods().Len() {
				m := service.Methods().Get(k)
				all = append(all, method{fmt.Sprintf("/%s/%s", service.FullName(), m.Name()), m.IsStreamingServer() || m.IsStreamingClient()})
			}
		}
	}
	return all
}

// TestEveryCallHasARule: a call without a row in the table is found here, and so is a row
// without a call.
func TestEveryCallHasARule(t *testing.T) {
	rows := rules()
	for _, m := range methods() {
		if r, ok := rows[m.procedure]; !ok || r.right == 0 {
			t.Errorf("%s has no rule", m.procedure)
		}
		delete(rows, m.procedure)
	}
	for procedure := range rows {
		t.Errorf("%s has a rule and is no call", procedure)
	}
	var nobody Principal
	if nobody.Rights = RightsAll; nobody.may(rule{}) {
		t.Error("a call without a rule may be made")
	}
}

func tokenOf(token string) *[sha256.Size]byte {
	hash := sha256.Sum256([]byte(token))
	return &hash
}

// allRights are the rights by name.
var allRights = map[string]Rights{"read": RightRead, "issue": RightIssue, "append": RightAppend, "admin": RightAdmin}

// crowd knows somebody with each right alone, somebody with all, somebody with none, and
// somebody with all for some streams. Each one's token is its name.
func crowd(anonymous Rights) Access {
	a := Access{Anonymous: anonymous}
	for name, right := range allRights {
		a.Principals = append(a.Principals, Principal{Name: name, Token: tokenOf(name), Rights: right})
	}
	a.Principals = append(a.Principals,
		Principal{Name: "all", Token: tokenOf("all"), Rights: RightsAll},
		Principal{Name: "none", Token: tokenOf("none")},
		Principal{Name: "some", Token: tokenOf("some"), Rights: RightsAll, Streams: []string{"a/", "chat"}},
	)
	return a
}

// guarded serves on a free port of loopback to those whom a knows.
func guarded(t *testing.T, services Services, o Options) (*Server, string) {
	t.Helper()
	o.Addrs, o.Logger = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, quiet
	s, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	run(t, s, services)
	return s, s.Addrs()[0].String()
}

// knock makes a call with a token, in a protocol by its content type.
func knock(t *testing.T, c *http.Client, base string, procedure, contentType, token, message string) answer {
	t.Helper()
	header := map[string]string{"Content-Type": contentType}
	if token != "" {
		header["Authorization"] = "Bearer " + token
	}
	if contentType != "application/json" {
		message = envelope(message)
	}
	r, err := http.NewRequest(http.MethodPost, base+procedure, strings.NewReader(message))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	response, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{response.StatusCode, response.Header, string(text)}
	a.header.Del("Date")
	maps.Copy(a.header, response.Trailer) // where gRPC has its errors
	return a
}

// code returns the code of a refusal by Connect, one message or a stream of them.
func code(a answer) string {
	_, rest, _ := strings.Cut(a.body, `"code":"`)
	word, _, _ := strings.Cut(rest, `"`)
	return word
}

// streamsThatEnd are streams whose watches end at once.
func streamsThatEnd(err error) *fakeStreams {
	f := newFakeStreams()
	f.err = err
	f.watch = func(_ context.Context, _ store.Selection, _ store.Start) (Watcher, error) {
		w := newFakeWatcher()
		w.err = store.ErrClosed
		close(w.next)
		return w, nil
	}
	return f
}

// contentTypeOf is the type of a call in JSON.
func contentTypeOf(m method) string {
	if m.streams {
		return "application/connect+json"
	}
	return "application/json"
}

// rightsWanted is the design: what each right is for. Calls after a star are about the node as a
// whole.
var rightsWanted = map[Rights]string{
	RightRead:   "Status Sources Clients Read Watch Cut Describe List * Compliance Breaches Hosts History Report Journal JournalHead VerifyJournal",
	RightIssue:  "Now Observe Interval Wait Commit Session",
	RightAppend: "Append Create",
	RightAdmin:  "Delete SetRetention Trim * AcceptClock MakeStep Rebase Backup Acknowledge TestAlerts",
}

// TestRules: the table is the design.
func TestRules(t *testing.T) {
	want := map[string]rule{}
	for right, calls := range rightsWanted {
		some, whole, _ := strings.Cut(calls, " * ")
		for _, call := range strings.Fields(some) {
			want[call] = rule{right: right}
		}
		for _, call := range strings.Fields(whole) {
			want[call] = rule{right: right, whole: true}
		}
	}
	for procedure, got := range rules() {
		if call := procedure[strings.LastIndex(procedure, "/")+1:]; got != want[call] {
			t.Errorf("%s needs %+v, want %+v", call, got, want[call])
		}
	}
	if len(want) != len(rules()) {
		t.Errorf("%d calls, want %d", len(rules()), len(want))
	}
}

// TestRightOfEveryCall: every call is let in for who has its right, and for nobody else, and
// then nothing below is asked.
func TestRightOfEveryCall(t *testing.T) {
	streams := streamsThatEnd(nil)
	node := newFakeNode()
	node.backup = func(context.Context, string, func(store.Progress)) (store.BackupResult, error) {
		streams.ask("backup")
		return store.BackupResult{}, nil
	}
	evidence := newFakeEvidence()
	evidence.ask = func(call string) { streams.ask("%s", call) }
	_, host := guarded(t, Services{Issuer: fakeIssuer{}, Node: node, Streams: streams, Evidence: evidence}, Options{Access: crowd(0)})
	client := newClient(t, h2c)
	for _, m := range methods() {
		need := rules()[m.procedure]
		for name, right := range allRights {
			streams.ask("")
			a := knock(t, client, "http://"+host, m.procedure, contentTypeOf(m), name, `{}`)
			got, allowed := code(a), right == need.right
			if refusedIt := got == "permission_denied"; refusedIt == allowed || got == "unauthenticated" {
				t.Errorf("%s by %s: %d %s", m.procedure, name, a.status, a.body)
			}
			if !allowed && streams.was() != "" {
				t.Errorf("%s by %s was refused, and it was asked: %s", m.procedure, name, streams.was())
			}
		}
		for _, token := range []string{"", "nobody's", "al", "all2", "Bearer all"} {
			if a := knock(t, client, "http://"+host, m.procedure, contentTypeOf(m), token, `{}`); code(a) != "unauthenticated" {
				t.Errorf("%s with token %q: %d %s", m.procedure, token, a.status, a.body)
			}
		}
		a := knock(t, client, "http://"+host, m.procedure, contentTypeOf(m), "some", `{}`)
		if denied := code(a) == "permission_denied"; need.whole && !denied {
			t.Errorf("%s by who has some streams: %d %s", m.procedure, a.status, a.body)
		}
	}
}

// TestSameRefusal: whoever may not use a stream gets the same bytes whether it exists or not,
// by every call and protocol, and the store is asked nothing.
func TestSameRefusal(t *testing.T) {
	exists, missing := streamsThatEnd(nil), streamsThatEnd(store.ErrNoStream)
	var bases []string
	for _, streams := range []*fakeStreams{exists, missing} {
		_, host := guarded(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Streams: streams}, Options{Access: crowd(0)})
		bases = append(bases, "http://"+host)
	}
	client := newClient(t, h2c)
	messages := map[string]string{
		"Append": `{"entries":[{"stream":"a/ok","payload":"aGk="},{"stream":"other","payload":"aGk="}],"idempotencyKey":"k"}`,
		"Watch":  `{"names":["chat","other"],"oldest":true}`, "Cut": `{"names":["other"],"timestamp":"1"}`, "List": `{"prefix":"other"}`,
	}
	for _, m := range methods() {
		service, call, _ := strings.Cut(strings.TrimPrefix(m.procedure, "/truechimer.v1."), "/")
		message, ok := messages[call]
		if !ok {
			message = `{"stream":"other"}`
		}
		if service != "StreamService" {
			message = `{}`
		}
		for _, contentType := range []string{contentTypeOf(m), "application/grpc+json", "application/grpc-web+json"} {
			for _, token := range []string{"none", "some", "nobody's", ""} {
				if token == "some" && service != "StreamService" {
					continue // it may make them, or not for another reason
				}
				first := knock(t, client, bases[0], m.procedure, contentType, token, message)
				second := knock(t, client, bases[1], m.procedure, contentType, token, message)
				if first.status != second.status || first.body != second.body || !maps.EqualFunc(first.header, second.header, slices.Equal) {
					t.Errorf("%s as %s by %q differs:\n%+v\n%+v", m.procedure, contentType, token, first, second)
				}
				whole := fmt.Sprint(first)
				if !strings.Contains(whole, "credential") {
					t.Errorf("%s as %s by %q: %s", m.procedure, contentType, token, whole)
				}
			}
		}
	}
	for _, streams := range []*fakeStreams{exists, missing} {
		if asked := streams.was(); asked != "" {
			t.Errorf("asked: %s", asked)
		}
	}
}

// TestPrefixes: who has some streams may use those, by name and by prefix, and no others.
func TestPrefixes(t *testing.T) {
	streams := streamsThatEnd(nil)
	_, host := guarded(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Streams: streams}, Options{Access: crowd(0)})
	client := newClient(t)
	entries := func(names ...string) string {
		var list []string
		for _, name := range names {
			list = append(list, `{"stream":"`+name+`"}`)
		}
		return `{"entries":[` + strings.Join(list, ",") + `]}`
	}
	for _, c := range []struct {
		call, message string
		allowed       bool
		says          string
	}{
		{"Append", entries("a/1", "chat", "chatter"), true, ""},
		{"Append", entries("a/1", "b"), false, ""},
		{"Append", entries("b", "a/1"), false, ""},
		{"Append", entries("a"), false, ""},
		{"Append", entries(""), false, ""},
		{"Read", `{"stream":"a/1"}`, true, ""},
		{"Read", `{"stream":"A/1"}`, false, ""},
		{"Read", `{"stream":"b/a/1"}`, false, ""},
		{"Describe", `{"stream":"chat"}`, true, ""},
		{"Describe", `{"stream":"cha"}`, false, ""},
		{"Create", `{"stream":"a/1"}`, true, ""},
		{"Create", `{"stream":"b"}`, false, ""},
		{"Delete", `{"stream":"a/1"}`, true, ""},
		{"Delete", `{"stream":"b"}`, false, ""},
		{"SetRetention", `{"stream":"a/1","retention":{}}`, true, ""},
		{"SetRetention", `{"stream":"b","retention":{}}`, false, ""},
		{"Trim", `{"stream":"a/1","first":"1"}`, true, ""},
		{"Trim", `{"stream":"b","first":"1"}`, false, ""},
		{"Cut", `{"names":["a/1","chat"]}`, true, ""},
		{"Cut", `{"names":["a/1","b"]}`, false, ""},
		{"Cut", `{"prefix":"a/"}`, true, ""},
		{"Cut", `{"prefix":"a/b/"}`, true, ""},
		{"Cut", `{"prefix":"a"}`, false, ""},
		{"Cut", `{}`, false, "name streams, or a prefix"},
		{"List", `{"prefix":"chat"}`, true, ""},
		{"List", `{"prefix":"c"}`, false, ""},
		{"List", `{}`, false, "name streams, or a prefix"},
		{"Watch", `{"names":["a/1"]}`, true, ""},
		{"Watch", `{"names":["a/1","b"]}`, false, ""},
		{"Watch", `{"prefix":"a/"}`, true, ""},
		{"Watch", `{"prefix":"b"}`, false, ""},
		{"Watch", `{}`, false, "name streams, or a prefix"},
	} {
		streams.ask("")
		contentType := "application/json"
		if c.call == "Watch" {
			contentType = "application/connect+json"
		}
		a := knock(t, client, "http://"+host, "/truechimer.v1.StreamService/"+c.call, contentType, "some", c.message)
		if denied := code(a) == "permission_denied"; denied == c.allowed || !strings.Contains(a.body, c.says) {
			t.Errorf("%s %s: %d %q", c.call, c.message, a.status, a.body)
		}
		if asked := streams.was() != ""; asked != c.allowed {
			t.Errorf("%s %s: the store was asked %q", c.call, c.message, streams.was())
		}
	}
}

// TestPrincipalOfAppend: who appends is known below by its name.
func TestPrincipalOfAppend(t *testing.T) {
	streams := streamsThatEnd(nil)
	_, host := guarded(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Streams: streams}, Options{Access: crowd(RightAppend)})
	for token, want := range map[string]string{"": `key "k" of ""`, "append": `key "k" of "append"`, "all": `key "k" of "all"`} {
		knock(t, newClient(t), "http://"+host, rpcconnect.StreamServiceAppendProcedure, "application/json", token, `{"entries":[{"stream":"a"}],"idempotencyKey":"k"}`)
		if asked := streams.was(); !strings.HasSuffix(asked, want) {
			t.Errorf("by %q: %s", token, asked)
		}
	}
}

// TestAnonymous: who shows no credential has the rights of anonymous callers, and who shows a
// wrong one has not; health is for everybody, metrics for who may read.
func TestAnonymous(t *testing.T) {
	for name, c := range map[string]struct {
		anonymous    Rights
		token        string
		now, metrics int
	}{
		"nothing":             {0, "", 401, 401},
		"read":                {RightRead, "", 401, 200},
		"issue":               {RightIssue, "", 200, 401},
		"all":                 {RightsAll, "", 200, 200},
		"all, wrong token":    {RightsAll, "wrong", 401, 401},
		"nothing, reader":     {0, "read", 403, 200},
		"nothing, issuer":     {0, "issue", 200, 403},
		"all, less by token":  {RightsAll, "append", 403, 403},
		"all, nothing at all": {RightsAll, "none", 403, 403},
	} {
		t.Run(name, func(t *testing.T) {
			_, host := guarded(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode()}, Options{Access: crowd(c.anonymous)})
			client := newClient(t)
			now := knock(t, client, "http://"+host, rpcconnect.ClockServiceNowProcedure, "application/json", c.token, `{}`)
			if now.status != c.now {
				t.Errorf("now: %+v", now)
			}
			if got := now.header.Get("WWW-Authenticate"); (got == "Bearer") != (c.now == 401) {
				t.Errorf("now: WWW-Authenticate %q", got)
			}
			header := map[string]string{}
			if c.token != "" {
				header["Authorization"] = "bearer " + c.token
			}
			if a := send(t, client, http.MethodGet, "http://"+host+"/metrics", "", header); a.status != c.metrics {
				t.Errorf("metrics: %+v", a)
			}
			for _, path := range []string{"/livez", "/healthz", "/readyz"} {
				if a := send(t, client, http.MethodGet, "http://"+host+path, "", nil); a.status != http.StatusOK {
					t.Errorf("%s: %+v", path, a)
				}
			}
		})
	}
}

// TestCredentialForms: a header that holds no token, or two of them, is refused where anonymous
// callers may do everything.
func TestCredentialForms(t *testing.T) {
	_, host := guarded(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode()}, Options{Access: crowd(RightsAll)})
	for _, headers := range [][]string{{"Basic YWxsOmFsbA=="}, {"Bearer"}, {"Bearer "}, {"all"}, {"Bearer all", "Bearer all"}, {"Bearer all all"}} {
		r, err := http.NewRequest(http.MethodPost, "http://"+host+rpcconnect.ClockServiceNowProcedure, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header["Authorization"] = headers
		r.Header.Set("Content-Type", "application/json")
		a, err := newClient(t).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		a.Body.Close()
		if a.StatusCode != http.StatusUnauthorized {
			t.Errorf("%q: %d", headers, a.StatusCode)
		}
	}
}

// TestHostNames: names other than localhost are refused exactly where a foreign web page could
// make calls by them.
func TestHostNames(t *testing.T) {
	for anonymous, want := range map[Rights]int{0: http.StatusOK, RightRead: http.StatusMisdirectedRequest} {
		_, host := guarded(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode()}, Options{Access: crowd(anonymous)})
		a := send(t, newClient(t), http.MethodPost, "http://"+host+rpcconnect.ClockServiceNowProcedure, "{}",
			map[string]string{"Host": "clock.example.net", "Content-Type": "application/json", "Authorization": "Bearer issue"})
		if a.status != want {
			t.Errorf("anonymous %d: %+v", anonymous, a)
		}
	}
}

// TestUnreadBody: who may not call is answered before its request has come.
func TestUnreadBody(t *testing.T) {
	_, host := guarded(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Streams: newFakeStreams()}, Options{Access: crowd(0)})
	body, err := http.NewRequest(http.MethodPost, "http://"+host+rpcconnect.StreamServiceAppendProcedure, neverEnding{t.Context().Done()})
	if err != nil {
		t.Fatal(err)
	}
	body.Header.Set("Content-Type", "application/json")
	a, err := newClient(t).Do(body)
	if err != nil {
		t.Fatal(err)
	}
	a.Body.Close()
	if a.StatusCode != http.StatusUnauthorized {
		t.Errorf("status %d", a.StatusCode)
	}
}

// neverEnding is a body that does not come.
type neverEnding struct{ done <-chan struct{} }

func (n neverEnding) Read([]byte) (int, error) {
	<-n.done
	return 0, http.ErrBodyReadAfterClose
}

// TestSetAccess: two who could not be told apart are refused, and nothing changes.
func TestSetAccess(t *testing.T) {
	s, host := guarded(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode()}, Options{Access: crowd(0)})
	for name, list := range map[string][]Principal{
		"names":        {{Name: "a", Token: tokenOf("1")}, {Name: "a", Token: tokenOf("2")}},
		"tokens":       {{Name: "a", Token: tokenOf("1")}, {Name: "b", Token: tokenOf("1")}},
		"certificates": {{Name: "a", Certificate: "1"}, {Name: "b", Certificate: "1"}},
		"no name":      {{Token: tokenOf("1")}},
	} {
		if err := s.SetAccess(Access{Principals: list}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	now := func(token string) int {
		return knock(t, newClient(t), "http://"+host, rpcconnect.ClockServiceNowProcedure, "application/json", token, `{}`).status
	}
	if got := now("issue"); got != http.StatusOK {
		t.Errorf("before: %d", got)
	}
	if err := s.SetAccess(Access{Principals: []Principal{{Name: "new", Token: tokenOf("new"), Rights: RightIssue}}}); err != nil {
		t.Fatal(err)
	}
	if old, next := now("issue"), now("new"); old != http.StatusUnauthorized || next != http.StatusOK {
		t.Errorf("afterwards: %d and %d", old, next)
	}
}
