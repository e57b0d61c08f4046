package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/hlc/client"
)

// newAppliances starts two whose clocks differ.
func newAppliances(t testing.TB, apart time.Duration) (ahead, behind *appliance) {
	ahead, behind = newAppliance(t), newAppliance(t)
	real := behind.physical
	behind.stop()
	behind.physical = func() int64 { return real() - int64(apart) }
	behind.start(t)
	return ahead, behind
}

// serve serves a handler over both versions of HTTP, and returns clients that carry the past.
func serve(t testing.TB, h http.Handler) (url map[string]string, carrying map[string]*http.Client) {
	url, carrying = map[string]string{}, map[string]*http.Client{}
	for _, version := range []string{"HTTP/1.1", "HTTP/2"} {
		s := httptest.NewUnstartedServer(h)
		if s.EnableHTTP2 = version == "HTTP/2"; s.EnableHTTP2 {
			s.StartTLS()
		} else {
			s.Start()
		}
		t.Cleanup(s.Close)
		c := *s.Client()
		c.Transport = &client.Transport{Base: c.Transport}
		t.Cleanup(c.CloseIdleConnections)
		url[version], carrying[version] = s.URL, &c
	}
	return url, carrying
}

// get returns the response and its body, which has been read.
func get(ctx context.Context, t testing.TB, c *http.Client, url string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

// TestHTTPReplies: at two servers with an appliance each, whose clocks are 400 ms apart, a
// reply never sorts before its request, whoever asks whom.
func TestHTTPReplies(t *testing.T) {
	ahead, behind := newAppliances(t, 400*time.Millisecond)
	now := func(c *client.Client, w io.Writer, r *http.Request) {
		ts, err := c.Now(r.Context())
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintln(w, uint64(ts))
	}
	here, there := clientOf(t, ahead), clientOf(t, behind)
	far, farClients := serve(t, client.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now(there, w, r)
	})))
	near, nearClients := serve(t, client.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var said strings.Builder
		now(here, &said, r)
		version := "HTTP/1.1"
		if r.ProtoMajor == 2 {
			version = "HTTP/2"
		}
		_, reply := get(r.Context(), t, farClients[version], far[version])
		said.WriteString(reply)
		now(here, &said, r)
		_, _ = io.WriteString(w, said.String())
	})))
	for version := range near {
		ctx := client.WithPast(t.Context(), 0)
		var last hlc.Timestamp
		for range 20 {
			_, said := get(ctx, t, nearClients[version], near[version])
			_, reply := get(ctx, t, farClients[version], far[version])
			lines := strings.Fields(said + reply)
			if len(lines) != 4 {
				t.Fatalf("%s: %q", version, lines)
			}
			for _, line := range lines {
				ts, err := hlc.Parse(line)
				if err != nil || ts <= last {
					t.Fatalf("%s: %d after %d, %v", version, ts, last, err)
				}
				last = ts
			}
			if past := client.Past(ctx); past != last {
				t.Fatalf("%s: the past is %d after %d", version, past, last)
			}
		}
	}
}

// TestHTTPHourAhead: a request from a peer whose clock is wrong by an hour is refused its
// timestamp and answered all the same, and nobody else is moved.
func TestHTTPHourAhead(t *testing.T) {
	c := clientOf(t, newAppliance(t))
	first, err := c.Now(t.Context())
	must(t, first, err)
	hour := first + hlc.Timestamp(time.Hour)
	url, carrying := serve(t, client.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, now := c.Now(r.Context())
		_, interval := c.Interval(r.Context())
		if errors.Is(now, hlc.ErrLead) && errors.Is(interval, hlc.ErrLead) {
			w.WriteHeader(http.StatusConflict)
			return
		}
		if now != nil || interval != nil {
			t.Error(now, interval)
		}
	})))
	for version := range url {
		for range 3 {
			r, _ := get(client.WithPast(t.Context(), hour), t, carrying[version], url[version])
			if r.StatusCode != http.StatusConflict {
				t.Errorf("%s: an hour ahead: %s", version, r.Status)
			}
			ctx := client.WithPast(t.Context(), 0)
			r, _ = get(ctx, t, carrying[version], url[version])
			if r.StatusCode != http.StatusOK || client.Past(ctx) <= first || client.Past(ctx) >= hour {
				t.Errorf("%s: beside it: %s, %d", version, r.Status, client.Past(ctx))
			}
		}
	}
	if c.Seen() >= hour {
		t.Error("a refused timestamp was seen")
	}
}

// TestHandler: however the response is written, it carries the past at that time, and as a
// trailer what came after it.
func TestHandler(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	late := func(w http.ResponseWriter, r *http.Request, write func()) {
		client.Saw(r.Context(), 9)
		write()
		client.Saw(r.Context(), 20)
	}
	for name, c := range map[string]struct {
		sent    string // the header of the request
		handle  func(w http.ResponseWriter, r *http.Request)
		body    string
		header  string
		trailer string // over HTTP/2
		chunked bool   // the trailer is there over HTTP/1.1 too
	}{
		"nothing":  {handle: func(http.ResponseWriter, *http.Request) {}},
		"returned": {sent: "7", handle: func(http.ResponseWriter, *http.Request) {}, header: "7"},
		"text form": {sent: hlc.Timestamp(7).String(), header: "7",
			handle: func(http.ResponseWriter, *http.Request) {}},
		"garbage": {sent: "yesterday", header: "5",
			handle: func(_ http.ResponseWriter, r *http.Request) { client.Saw(r.Context(), 5) }},
		"status": {sent: "7", header: "9", trailer: "20",
			handle: func(w http.ResponseWriter, r *http.Request) { late(w, r, func() { w.WriteHeader(http.StatusOK) }) }},
		"written": {sent: "7", header: "9", trailer: "20", body: "x",
			handle: func(w http.ResponseWriter, r *http.Request) { late(w, r, func() { fmt.Fprint(w, "x") }) }},
		"large": {sent: "7", header: "9", trailer: "20", chunked: true, body: strings.Repeat("x", 1<<16),
			handle: func(w http.ResponseWriter, r *http.Request) {
				late(w, r, func() { fmt.Fprint(w, strings.Repeat("x", 1<<16)) })
			}},
		"flushed": {header: "9", trailer: "20", chunked: true, body: "x",
			handle: func(w http.ResponseWriter, r *http.Request) {
				late(w, r, func() { w.(http.Flusher).Flush() })
				fmt.Fprint(w, "x")
			}},
		"controller": {header: "9", trailer: "20", chunked: true, body: "x",
			handle: func(w http.ResponseWriter, r *http.Request) {
				controller := http.NewResponseController(w)
				err := controller.SetWriteDeadline(time.Now().Add(time.Minute))
				late(w, r, func() { err = errors.Join(err, controller.Flush()) })
				if err != nil {
					t.Error(err)
				}
				fmt.Fprint(w, "x")
			}},
		"file": {header: "9", trailer: "20", body: "text",
			handle: func(w http.ResponseWriter, r *http.Request) {
				late(w, r, func() { http.ServeFile(w, r, file) })
			}},
		"copied": {header: "9", trailer: "20", body: "text",
			handle: func(w http.ResponseWriter, r *http.Request) {
				late(w, r, func() { _, _ = w.(io.ReaderFrom).ReadFrom(strings.NewReader("text")) })
			}},
		"not moved": {sent: "7", header: "7", body: "x",
			handle: func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "x"); client.Saw(r.Context(), 6) }},
		"proxied": {sent: "7", header: "8",
			handle: func(w http.ResponseWriter, _ *http.Request) { w.Header().Set(client.TimeHeader, "8") }},
		"nested": {sent: "7", header: "9", body: "x",
			handle: client.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				client.Saw(r.Context(), 9)
				fmt.Fprint(w, "x")
			})).ServeHTTP},
	} {
		url, carrying := serve(t, client.Handler(http.HandlerFunc(c.handle)))
		for version, at := range url {
			bare := &http.Client{Transport: carrying[version].Transport.(*client.Transport).Base}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.sent != "" {
				r.Header.Set(client.TimeHeader, c.sent)
			}
			response, err := bare.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			response.Body.Close()
			trailer := c.trailer
			if version == "HTTP/1.1" && !c.chunked {
				trailer = ""
			}
			got := []string{string(body), strings.Join(response.Header[client.TimeHeader], "|"), strings.Join(response.Trailer[client.TimeHeader], "|")}
			if err != nil || got[0] != c.body || got[1] != c.header || got[2] != trailer {
				t.Errorf("%s over %s: body, header, trailer %.40q, %v", name, version, got, err)
			}
			// A client that carries learns the latest of it.
			ctx := client.WithPast(t.Context(), 7)
			get(ctx, t, carrying[version], at)
			want, _ := strconv.ParseUint(trailer, 10, 64)
			header, _ := strconv.ParseUint(c.header, 10, 64)
			if past := client.Past(ctx); uint64(past) != max(want, header, 7) {
				t.Errorf("%s over %s: the client's past is %d", name, version, past)
			}
		}
	}
}

// TestHandlerInformational: a response that comes before the real one does not count for it.
func TestHandlerInformational(t *testing.T) {
	url, carrying := serve(t, client.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		client.Saw(r.Context(), 9)
	})))
	for version, at := range url {
		hints := 0
		ctx := client.WithPast(t.Context(), 7)
		r, _ := get(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: func(int, textproto.MIMEHeader) error {
			hints++
			return nil
		}}), t, carrying[version], at)
		if hints != 1 || r.Header.Get(client.TimeHeader) != "9" || client.Past(ctx) != 9 {
			t.Errorf("%s: %d hints, header %v", version, hints, r.Header)
		}
	}
}

// TestUpgrade: a connection that is taken over works, on both sides.
func TestUpgrade(t *testing.T) {
	url, carrying := serve(t, client.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client.Saw(r.Context(), 9)
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "echo")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, both, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		line, err := both.ReadString('\n')
		if err != nil {
			t.Error(err)
		}
		fmt.Fprint(conn, line)
	})))
	ctx := client.WithPast(t.Context(), 7)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url["HTTP/1.1"], nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "echo")
	response, err := carrying["HTTP/1.1"].Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	conn, ok := response.Body.(io.ReadWriter)
	if !ok || client.Past(ctx) != 9 {
		t.Fatalf("%s, past %d, a body of %T", response.Status, client.Past(ctx), response.Body)
	}
	fmt.Fprintln(conn, "hello")
	if back, err := io.ReadAll(conn); err != nil || string(back) != "hello\n" {
		t.Errorf("%q, %v", back, err)
	}
}

// roundTrip is a http.RoundTripper.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestTransport: the request is not changed, and where there is nothing to carry nothing is.
func TestTransport(t *testing.T) {
	failed := errors.New("no network")
	for name, c := range map[string]struct {
		ctx    context.Context
		own    string // a header that the request has already
		want   string
		answer http.Header
		past   hlc.Timestamp
		err    error
	}{
		"no past":    {ctx: t.Context(), answer: http.Header{client.TimeHeader: {"9"}}},
		"empty past": {ctx: client.WithPast(t.Context(), 0), answer: http.Header{client.TimeHeader: {"9"}}, past: 9},
		"past":       {ctx: client.WithPast(t.Context(), 7), want: "7", past: 7},
		"garbage":    {ctx: client.WithPast(t.Context(), 7), want: "7", answer: http.Header{client.TimeHeader: {"-9"}}, past: 7},
		"several":    {ctx: client.WithPast(t.Context(), 7), want: "7", answer: http.Header{client.TimeHeader: {"8", "9", "x"}}, past: 9},
		"own later":  {ctx: client.WithPast(t.Context(), 7), own: "8", want: "8", past: 7},
		"own before": {ctx: client.WithPast(t.Context(), 7), own: "6", want: "7", past: 7},
		"refused":    {ctx: client.WithPast(t.Context(), 7), want: "7", past: 7, err: failed},
	} {
		transport := &client.Transport{Base: roundTrip(func(r *http.Request) (*http.Response, error) {
			if got := r.Header.Get(client.TimeHeader); got != c.want {
				t.Errorf("%s: sent %q", name, got)
			}
			if c.err != nil {
				return nil, c.err
			}
			return &http.Response{StatusCode: http.StatusOK, Header: c.answer, Body: http.NoBody}, nil
		})}
		r := httptest.NewRequestWithContext(c.ctx, http.MethodGet, "http://server/", nil)
		r.Header = nil
		if c.own != "" {
			r.Header = http.Header{client.TimeHeader: {c.own}}
		}
		_, err := transport.RoundTrip(r)
		if !errors.Is(err, c.err) || client.Past(c.ctx) != c.past {
			t.Errorf("%s: past %d, %v", name, client.Past(c.ctx), err)
		}
		if got := r.Header.Get(client.TimeHeader); got != c.own || c.own == "" && r.Header != nil {
			t.Errorf("%s: the request was changed: %v", name, r.Header)
		}
	}
}

// Two services of one application: what the second one does for a request sorts after what
// the first one did before it asked, whatever their clocks say.
func ExampleHandler() {
	address, stop := exampleAppliance()
	defer stop()
	c, _ := client.New(client.Options{Addresses: []string{address}})
	defer c.Close()

	shipping := httptest.NewServer(client.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shipped, err := c.Now(r.Context()) // after all that led to this request
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, uint64(shipped))
	})))
	defer shipping.Close()

	ctx := client.WithPast(context.Background(), 0) // in a server, that of the request: r.Context()
	ordered, err := c.Now(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	web := http.Client{Transport: &client.Transport{}}
	defer web.CloseIdleConnections()
	request, _ := http.NewRequestWithContext(ctx, http.MethodPost, shipping.URL, nil)
	response, err := web.Do(request)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	shipped, err := hlc.Parse(string(body))
	fmt.Println(shipped > ordered, client.Past(ctx) == shipped, err)
	// Output: true true <nil>
}
