package api

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/truechimer/truechimer/hlc"
)

// refused is an error in JSON: what curl shows.
type refused struct{ Code, Message string }

func (a answer) refusal(t *testing.T) refused {
	t.Helper()
	var r refused
	if err := json.Unmarshal([]byte(a.body), &r); err != nil {
		t.Errorf("status %d, body %q: %v", a.status, a.body, err)
	}
	if got := a.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("an error of type %q", got)
	}
	return r
}

func gzipped(t *testing.T, body string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestBadInput: whatever comes in is answered with a status, a code where it was meant as
// a call, and a sentence that says what is wrong; and nothing of it is taken over.
func TestBadInput(t *testing.T) {
	base := serve(t, Services{Issuer: newIssuer(t), Node: newFakeNode()})
	const now = "/truechimer.v1.ClockService/Now"
	const observe = "/truechimer.v1.ClockService/Observe"
	const wait = "/truechimer.v1.ClockService/Wait"
	const clients = "/truechimer.v1.NodeService/Clients"
	yearAhead := strconv.FormatUint(uint64(hlc.FromUnix(time.Now().AddDate(1, 0, 0).UnixNano())), 10)
	typed := func(name, value string) map[string]string {
		return map[string]string{"Content-Type": "application/json", name: value}
	}
	cases := []struct {
		name   string
		method string // POST where empty
		path   string // Now where empty
		body   string
		header map[string]string // that of JSON where nil
		status int
		code   string // empty: the answer is plain text
		says   []string
	}{
		{name: "unknown field", body: `{"cuont": 5}`, status: 400, code: "invalid_argument", says: []string{`"cuont"`, `"count" (int64)`}},
		{name: "unknown field of a message without any", path: "/truechimer.v1.ClockService/Interval", body: `{"count": 5}`, status: 400, code: "invalid_argument", says: []string{`"count"`, "no fields: send {}"}},
		{name: "field in another case", body: `{"Count": 5}`, status: 400, code: "invalid_argument", says: []string{`"Count"`}},
		{name: "field given twice", body: `{"count": 5, "count": 6}`, status: 400, code: "invalid_argument", says: []string{`"count"`}},
		{name: "wrong type", body: `{"count": [1]}`, status: 400, code: "invalid_argument", says: []string{"count", "int64"}},
		{name: "a word for a number", body: `{"count": "abc"}`, status: 400, code: "invalid_argument", says: []string{"count", "abc"}},
		{name: "a fraction", body: `{"count": 1.5}`, status: 400, code: "invalid_argument", says: []string{"count", "1.5"}},
		{name: "an array", body: `[]`, status: 400, code: "invalid_argument", says: []string{"one JSON object"}},
		{name: "a number", body: `5`, status: 400, code: "invalid_argument", says: []string{"one JSON object"}},
		{name: "null", body: `null`, status: 400, code: "invalid_argument", says: []string{"one JSON object"}},
		{name: "no body", body: ``, status: 400, code: "invalid_argument", says: []string{"no body", "send {}"}},
		{name: "blank body", body: " \n", status: 400, code: "invalid_argument", says: []string{"one JSON object"}},
		{name: "cut off", body: `{"count": 5`, status: 400, code: "invalid_argument", says: []string{"one JSON object"}},
		{name: "two objects", body: `{}{}`, status: 400, code: "invalid_argument", says: []string{"one JSON object"}},
		{name: "garbage", body: "\x00\xff\xfegarbage", status: 400, code: "invalid_argument", says: []string{"one JSON object"}},
		{name: "very deep", path: "/truechimer.v1.NodeService/Status", body: strings.Repeat(`{"a":`, 20_000) + strings.Repeat("}", 20_000), status: 429, code: "resource_exhausted"},
		{name: "count 0", body: `{"count": 0}`, status: 400, code: "invalid_argument", says: []string{"count is 0", "1 to 65536"}},
		{name: "count -1", body: `{"count": -1}`, status: 400, code: "invalid_argument", says: []string{"count is -1", "1 to 65536"}},
		{name: "count 65537", body: `{"count": 65537}`, status: 400, code: "invalid_argument", says: []string{"count is 65537"}},
		{name: "count 10^9", body: `{"count": 1000000000}`, status: 400, code: "invalid_argument", says: []string{"count is 1000000000"}},
		{name: "count 2^32+1", body: `{"count": 4294967297}`, status: 400, code: "invalid_argument", says: []string{"count is 4294967297"}},
		{name: "least count", body: `{"count": "-9223372036854775808"}`, status: 400, code: "invalid_argument", says: []string{"count is -9223372036854775808"}},
		{name: "count beyond int64", body: `{"count": 9223372036854775808}`, status: 400, code: "invalid_argument", says: []string{"9223372036854775808"}},
		{name: "timestamp beyond uint64", path: observe, body: `{"timestamp": "18446744073709551616"}`, status: 400, code: "invalid_argument", says: []string{"18446744073709551616", `"timestamp" (fixed64)`}},
		{name: "negative timestamp", path: observe, body: `{"timestamp": -1}`, status: 400, code: "invalid_argument", says: []string{"-1"}},
		{name: "timestamp as text", path: observe, body: `{"timestamp": "2026-11-22T06:42:10Z+0000"}`, status: 400, code: "invalid_argument", says: []string{"2026-11-22"}},
		{name: "observe a year ahead", path: observe, body: `{"timestamp": "` + yearAhead + `"}`, status: 400, code: "failed_precondition", says: []string{"ahead of this clock", "max lead of 1s", "check the clock of its sender"}},
		{name: "observe the greatest", path: observe, body: `{"timestamp": "18446744073709551615"}`, status: 400, code: "failed_precondition", says: []string{"check the clock of its sender"}},
		{name: "wait for next year", path: wait, body: `{"timestamp": "` + yearAhead + `"}`, status: 400, code: "failed_precondition", says: []string{"too far ahead", "10s"}},
		{name: "1 MiB", body: `{"count": ` + strings.Repeat(" ", 1<<20) + `1}`, status: 429, code: "resource_exhausted", says: []string{"65536"}},
		{name: "1 MiB of zeros, compressed", body: gzipped(t, strings.Repeat("\x00", 1<<20)), header: typed("Content-Encoding", "gzip"), status: 429, code: "resource_exhausted", says: []string{"65536"}},
		{name: "not compressed at all", body: `{}`, header: typed("Content-Encoding", "gzip"), status: 400, code: "invalid_argument", says: []string{"decompress"}},
		{name: "unknown compression", body: `{}`, header: typed("Content-Encoding", "zstd"), status: 501, code: "unimplemented", says: []string{"zstd", "gzip"}},
		{name: "a timeout that is none", body: `{}`, header: typed("Connect-Timeout-Ms", "soon"), status: 400, code: "invalid_argument", says: []string{"timeout"}},
		{name: "a protocol version of the future", body: `{}`, header: typed("Connect-Protocol-Version", "2"), status: 400, code: "invalid_argument", says: []string{"Version"}},

		{name: "what curl sends by itself", body: `{}`, header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, status: 415, says: []string{"application/json", "curl -H 'Content-Type: application/json' -d '{}' " + base + now}},
		{name: "what a form on a foreign page can send", body: `{}`, header: map[string]string{"Content-Type": "text/plain"}, status: 415, says: []string{"application/json"}},
		{name: "no type", body: `{}`, header: map[string]string{}, status: 415, says: []string{"application/json"}},
		{name: "XML", body: `<count/>`, header: map[string]string{"Content-Type": "application/xml"}, status: 415, says: []string{"application/json"}},
		{name: "GET of a call", method: "GET", status: 405, says: []string{"POST", "curl"}},
		{name: "GET of a call, with a message in the URL", method: "GET", path: now + "?encoding=json&message={}&connect=v1", status: 405, says: []string{"POST"}},
		{name: "PUT", method: "PUT", body: `{}`, status: 405, says: []string{"POST"}},
		{name: "what a browser asks before a foreign page may call", method: "OPTIONS", header: map[string]string{"Origin": "http://page.example", "Access-Control-Request-Method": "POST"}, status: 405, says: []string{"POST"}},
		{name: "no clients at all", path: clients, body: `{"limit": 0}`, status: 400, code: "invalid_argument", says: []string{"limit is 0; ask for 1 to 1000 clients, or leave it out for 100"}},
		{name: "fewer than none", path: clients, body: `{"limit": "-1"}`, status: 400, code: "invalid_argument", says: []string{"limit is -1"}},
		{name: "too many clients", path: clients, body: `{"limit": 1001}`, status: 400, code: "invalid_argument", says: []string{"limit is 1001"}},
		{name: "2^32+1 clients", path: clients, body: `{"limit": 4294967297}`, status: 400, code: "invalid_argument", says: []string{"limit is 4294967297"}},
		{name: "an order by its number", path: clients, body: `{"order": 99}`, status: 400, code: "invalid_argument", says: []string{"order is 99", "leave it out for those heard last"}},
		{name: "an order by a name", path: clients, body: `{"order": "requests"}`, status: 400, code: "invalid_argument", says: []string{"requests", `"order" (enum)`}},

		{name: "unknown call", path: "/truechimer.v1.ClockService/Then", body: `{}`, status: 501, code: "unimplemented", says: []string{`ClockService has no call "Then"; its calls are Now, Observe, Interval, Wait, Commit`}},
		{name: "unknown call of the other service", path: "/truechimer.v1.NodeService/Now", body: `{}`, status: 501, code: "unimplemented", says: []string{`NodeService has no call "Now"; its calls are Status, Sources, Clients, AcceptClock, MakeStep, Rebase, Backup`}},
		{name: "no call", path: "/truechimer.v1.ClockService/", body: `{}`, status: 501, code: "unimplemented", says: []string{`no call ""`}},
		{name: "below a call", path: now + "/x", body: `{}`, status: 501, code: "unimplemented", says: []string{`no call "Now/x"`}},
		{name: "call in another case", path: "/truechimer.v1.ClockService/now", body: `{}`, status: 501, code: "unimplemented", says: []string{`no call "now"`}},
		{name: "unknown call with a long name", path: "/truechimer.v1.ClockService/" + strings.Repeat("x", 5000), body: `{}`, status: 501, code: "unimplemented", says: []string{`no call "` + strings.Repeat("x", 80) + `..."; its`}},
		{name: "unknown call by GET", method: "GET", path: "/truechimer.v1.ClockService/Then", status: 405, says: []string{"POST"}},
		{name: "watch as one message", path: "/truechimer.v1.StreamService/Watch", body: `{}`, status: 415, says: []string{"Watch is answered with a stream", "application/connect+json"}},
		{name: "backup as one message", path: "/truechimer.v1.NodeService/Backup", body: `{}`, status: 415, says: []string{"Backup is answered with a stream"}},
		{name: "one message as a stream", body: "\x00\x00\x00\x00\x02{}", header: map[string]string{"Content-Type": "application/connect+json"}, status: 415, says: []string{"Now is answered with one message", "application/json"}},
		{name: "unknown service", path: "/truechimer.v2.ClockService/Now", body: `{}`, status: 404, says: []string{"/truechimer.v1.ClockService/Now", "/readyz"}},
		{name: "root", method: "GET", path: "/", status: 404, says: []string{"/truechimer.v1.ClockService/Now"}},
		{name: "health by POST", path: "/healthz", body: `{}`, status: 404, says: []string{"/healthz"}},

		{name: "a foreign name", body: `{}`, header: typed("Host", "page.example"), status: 421, says: []string{"IP address or localhost"}},
		{name: "a foreign name with our port", body: `{}`, header: typed("Host", "page.example:8123"), status: 421, says: []string{"IP address or localhost"}},
		{name: "a name that looks like an address", body: `{}`, header: typed("Host", "127.0.0.1.page.example"), status: 421},
		{name: "a name below localhost", body: `{}`, header: typed("Host", "localhost.page.example"), status: 421},
		{name: "status for a foreign name", path: "/truechimer.v1.NodeService/Status", body: `{}`, header: typed("Host", "page.example"), status: 421},
		{name: "metrics for a foreign name", method: "GET", path: "/metrics", header: map[string]string{"Host": "page.example"}, status: 421},
		{name: "readiness for a foreign name", method: "GET", path: "/readyz", header: map[string]string{"Host": "page.example"}, status: 421},
	}
	client := newClient(t)
	last := issued(t, client, base)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.method == "" {
				c.method = http.MethodPost
			}
			if c.path == "" {
				c.path = now
			}
			if c.header == nil {
				c.header = jsonType
			}
			a := send(t, client, c.method, base+c.path, c.body, c.header)
			if a.status != c.status {
				t.Errorf("status %d, want %d", a.status, c.status)
			}
			text := a.body
			if c.code != "" {
				r := a.refusal(t)
				if r.Code != c.code {
					t.Errorf("code %q, want %q", r.Code, c.code)
				}
				text = r.Message
			}
			if strings.TrimSpace(text) == "" {
				t.Error("the answer says nothing")
			}
			for _, s := range c.says {
				if !strings.Contains(text, s) {
					t.Errorf("the answer %q does not say %q", text, s)
				}
			}
			next := issued(t, client, base)
			if ahead := time.Until(next.Time()); next <= last || ahead > time.Second {
				t.Errorf("issued %v after %v: %v ahead", next, last, ahead)
			}
			last = next
		})
	}
}

// issued takes a timestamp.
func issued(t *testing.T, c *http.Client, base string) hlc.Timestamp {
	t.Helper()
	a := call(t, c, base, "ClockService/Now", "{}")
	var r struct{ Timestamp string }
	if err := json.Unmarshal([]byte(a.body), &r); err != nil || a.status != http.StatusOK {
		t.Fatalf("status %d, body %q: %v", a.status, a.body, err)
	}
	n, err := strconv.ParseUint(r.Timestamp, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return hlc.Timestamp(n)
}

// TestHosts: the names that a client on this machine may use.
func TestHosts(t *testing.T) {
	base := serve(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode()})
	client := newClient(t)
	for _, host := range []string{"127.0.0.1", "127.0.0.1:8123", "localhost", "LOCALHOST:8123", "[::1]", "[::1]:8123", "[fe80::1%25eth0]:8123", "192.0.2.7:80"} {
		if a := send(t, client, http.MethodGet, base+"/livez", "", map[string]string{"Host": host}); a.status != http.StatusOK {
			t.Errorf("host %q: status %d %q", host, a.status, a.body)
		}
	}
	// HTTP/1.0 needs no host; without one, nobody can tell whom it was meant for.
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "GET /livez HTTP/1.0\r\n\r\n")
	line := make([]byte, len("HTTP/1.0 421"))
	if _, err := conn.Read(line); err != nil || !strings.HasSuffix(string(line), " 421") {
		t.Errorf("without a host: %q, %v", line, err)
	}
}

// TestGoodInput: spellings that JSON allows.
func TestGoodInput(t *testing.T) {
	base := serve(t, Services{Issuer: newIssuer(t), Node: newFakeNode()})
	client := newClient(t)
	for _, c := range []struct{ body, count string }{
		{`{}`, "1"},
		{`{"count": null}`, "1"},
		{`{"count": 5}`, "5"},
		{`{"count": "5"}`, "5"},
		{`{"count": 65536}`, "65536"},
		{" {\n} ", "1"},
	} {
		a := call(t, client, base, "ClockService/Now", c.body)
		var r struct{ Timestamp, Count string }
		if err := json.Unmarshal([]byte(a.body), &r); err != nil || a.status != http.StatusOK || r.Count != c.count {
			t.Errorf("%s: status %d, %q, %v", c.body, a.status, a.body, err)
		}
	}
	for _, contentType := range []string{"application/json; charset=utf-8", "application/json;charset=UTF-8", "APPLICATION/JSON"} {
		a := send(t, client, http.MethodPost, base+"/truechimer.v1.ClockService/Now", "{}", map[string]string{"Content-Type": contentType})
		if a.status != http.StatusOK {
			t.Errorf("%s: status %d, %q", contentType, a.status, a.body)
		}
	}
	a := send(t, client, http.MethodPost, base+"/truechimer.v1.ClockService/Now", gzipped(t, `{"count":"2"}`),
		map[string]string{"Content-Type": "application/json", "Content-Encoding": "gzip"})
	if a.status != http.StatusOK || !strings.Contains(a.body, `"2"`) {
		t.Errorf("compressed: status %d, %q", a.status, a.body)
	}
	// Small answers are not compressed, whatever the client accepts.
	a = send(t, client, http.MethodPost, base+"/truechimer.v1.ClockService/Now", "{}",
		map[string]string{"Content-Type": "application/json", "Accept-Encoding": "gzip"})
	if slices.Contains(a.header.Values("Content-Encoding"), "gzip") {
		t.Error("a small answer was compressed")
	}
}
