package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/truechimer/truechimer/internal/rpc"
)

var quiet = slog.New(slog.DiscardHandler)

// ask makes one request of a dashboard.
func ask(h http.Handler, method, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w
}

// get reads a page of a new dashboard, which must be there.
func get(t *testing.T, f *Fake, path string) string {
	t.Helper()
	w := ask(New(f, Options{Logger: quiet}), http.MethodGet, path)
	if w.Code != http.StatusOK {
		t.Fatalf("%s: %d\n%s", path, w.Code, w.Body)
	}
	return w.Body.String()
}

// pages are all that is made of templates, but for the login page.
func pages() []string {
	return []string{"/", "/?span=day", "/?span=month", "/ui/live", "/ui/proof", "/ui/detail", "/ui/charts", "/ui/charts?span=day"}
}

// contains fails the test unless a page has all of the texts.
func contains(t *testing.T, page string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(page, text) {
			t.Errorf("%q is not in the page:\n%s", text, page)
		}
	}
}

// TestTiles: tiles have the very values of the messages, and say them to people.
func TestTiles(t *testing.T) {
	page := get(t, NewFake(), "/ui/live")
	for id, want := range map[string]string{
		"bound": `<data value="1538119">1.54 <span>ms</span></data><small>limit 50.0 ms`, "offset": `<data value="-18402">−18.4 <span>µs</span></data>`,
		"left": `<data value="119520000000000">33` + "\u00a0" + `h 12` + "\u00a0" + `min</data>`, "frequency": `<data value="-12.3471">−12.347 <span>ppm</span></data><small>± 0.018 ppm`,
		"stratum": `<data value="2">2</data><small>refid 192.0.2.11`, "sources": `<data value="10">10 <span>of 12</span></data><small>following nist-a`,
		"clients": `<data value="18359">18` + "\u202f" + `359</data>`, "lead": `<data value="1204">1.20 <span>µs</span></data><small>of 500` + "\u00a0" + `ms at the most`,
		"ceiling": `<data value="211999727">212 <span>ms</span></data><small>durable, epoch 12`, "events": `<data value="1234567">1` + "\u202f" + `234` + "\u202f" + `567</data><small>14 streams`,
		"journal": `<data value="48211">48` + "\u202f" + `211 <span>records</span></data><small>head signed`,
	} {
		want = strings.ReplaceAll(want, "50.0 ms", "50.0\u00a0ms")
		contains(t, page, `<dd id="tile-`+id+`">`+want)
	}
	f := NewFake()
	h := f.HistoryM[rpc.HistorySpan_HISTORY_SPAN_HOUR]
	sum := 0.0
	for _, s := range h.Series {
		if s.Name == "ntp.answered_per_second" || s.Name == "ntp.interleaved_per_second" {
			sum += s.Mean[len(s.Mean)-1]
		}
	}
	contains(t, get(t, f, "/ui/live"), fmt.Sprintf(`<dd id="tile-rate"><data value="%v">`, sum))
}

// TestSays: the page says what the messages say, in words.
func TestSays(t *testing.T) {
	contains(t, html.UnescapeString(get(t, NewFake(), "/")),
		"Synchronised", "ten of twelve sources agree", "source_deviation", "bank-east is 38.2 ms away", "2026-11-18 10:19:40 UTC", // state, alarm
		"finra-50ms", "the error bound is within the warn level", "2026-10-28 11:06:40 UTC", "BREACH", "not observed 1\u00a0h 30\u00a0min", // proof
		"passed", "goes on", "holdover: no source was heard for 9 min", "May have to be reported.", // breaches
		"falseticker", "its interval does not meet those of the majority", "192.0.2.16:123 · NIST"[:14], "no answer to the last eight polls", // sources
		"its clock may be 61 ms from UTC", "it never answered", // hosts
		"198.51.100.7", "18\u202f204 clients are remembered", "connection refused", "kept 7.0\u00a0years", "812\u00a0MB of 3.40\u00a0GB planned", // served
		"The last hour", "<b>Error bound</b> least", "<b>Offset</b> least −", "Nothing is known of", // charts
		"2026-11-18T11:06:40.000000000Z+0017", "UTC, TAI − UTC 37 s", "http-equiv=refresh",
	)
	contains(t, get(t, NewFake(), "/?span=month"), "The last 30 days", `<a href="/?span=month#charts" aria-current="true">30 d</a>`)
	contains(t, get(t, NewFake(), "/?span=nonsense"), "The last hour")
}

// TestStates: whatever is missing, the page says so and stays up.
func TestStates(t *testing.T) {
	for name, c := range map[string]struct {
		change func(f *Fake)
		path   string
		want   []string
	}{
		"holdover": {func(f *Fake) {
			c := f.StatusM.Clock
			c.State, c.Reason, c.HoldoverSinceUnixNs, c.HoldoverLeftNs = rpc.ClockState_CLOCK_STATE_HOLDOVER, "no source is heard", noon-540e9, 7200e9
		}, "/ui/live", []string{`class="state warn"`, "Holdover", "no source is heard", "2026-11-18 10:57:40 UTC", "2\u00a0h</b>", "<title>Holdover, 1 alarm · alpha · Truechimer</title>"}},
		"unsynchronised": {func(f *Fake) {
			c := f.StatusM.Clock
			c.State, c.ErrorBoundNs, c.HoldoverLeftNs, c.Stratum = rpc.ClockState_CLOCK_STATE_UNSYNCHRONISED, math.MaxInt64, 0, 16
			f.StatusM.NotReady = []string{"nobody vouches for the clock"}
		}, "/ui/live", []string{`class="state bad"`, "Unsynchronised", "Not ready: nobody vouches", `<div class="bad"><dt>Error bound</dt><dd id="tile-bound"><data value="9223372036854775807">none</data>`}},
		"not ready":        {func(f *Fake) { f.StatusM.Ready, f.StatusM.NotReady = false, []string{"the disk is late"} }, "/ui/live", []string{`class="state warn"`, "Not ready: the disk is late"}},
		"no status":        {func(f *Fake) { f.StatusM = &rpc.StatusResponse{} }, "/", []string{`class="state bad"`, "Unsynchronised", "nothing was issued"}},
		"nothing issued":   {func(f *Fake) { f.StatusM.Hlc.Issuing = false }, "/ui/live", []string{`<div class="bad"><dt>HLC lead`, "nothing is issued"}},
		"fenced":           {func(f *Fake) { f.StatusM.Hlc.Fenced = "a write failed" }, "/ui/detail", []string{"fenced: a write failed"}},
		"rival":            {func(f *Fake) { f.StatusM.Clock.Rival = "its frequency changed" }, "/ui/live", []string{"Somebody else seems to steer this clock: its frequency changed"}},
		"leap second":      {func(f *Fake) { f.StatusM.Clock.NextLeapUnixNs, f.StatusM.Clock.NextLeap = noon, 1 }, "/ui/live", []string{"A leap second will be inserted before"}},
		"leap warning":     {func(f *Fake) { f.StatusM.Clock.LeapWarning = "the list has expired" }, "/ui/live", []string{"Leap seconds: the list has expired"}},
		"few agree":        {func(f *Fake) { f.StatusM.Sources.Agree = 6 }, "/ui/live", []string{`<div class="warn"><dt>Sources agreeing`}},
		"most agree":       {func(f *Fake) { f.StatusM.Sources.Agree = 7 }, "/ui/live", []string{`<div><dt>Sources agreeing`}},
		"no skew":          {func(f *Fake) { f.StatusM.Clock.SkewPpm = -1 }, "/ui/live", []string{"skew not measured"}},
		"no history yet":   {func(f *Fake) { f.HistoryM = nil }, "/", []string{"No history yet.", `<dd id="tile-rate"><data value="">– <span>/s</span></data><small>no history yet`}},
		"empty history":    {func(f *Fake) { f.HistoryM[rpc.HistorySpan_HISTORY_SPAN_HOUR] = &rpc.HistoryResponse{Step: 10} }, "/", []string{"No history yet."}},
		"no sources":       {func(f *Fake) { f.SourcesM = &rpc.SourcesResponse{} }, "/", []string{"no [[source]] is configured"}},
		"no profiles":      {func(f *Fake) { f.ComplianceM = &rpc.ComplianceResponse{} }, "/", []string{"No profile is configured", "nobody is told when something is wrong"}},
		"no hosts":         {func(f *Fake) { f.HostsM = &rpc.HostsResponse{} }, "/", []string{"No host is observed"}},
		"no clients":       {func(f *Fake) { f.ClientsM = &rpc.ClientsResponse{} }, "/", []string{"Nobody asked for the time yet."}},
		"journal damaged":  {func(f *Fake) { f.JournalM.Dropped = 3 }, "/ui/live", []string{`<div class="bad"><dt>Journal`, "3 could not be written"}},
		"no head":          {func(f *Fake) { f.JournalM.Head = "" }, "/", []string{"no head signed yet", "none is signed yet"}},
		"unknown verdict":  {func(f *Fake) { f.ComplianceM.Verdicts[0].Verdict = 99 }, "/ui/live", []string{"UNKNOWN"}},
		"pre-open missed":  {func(f *Fake) { f.ComplianceM.Verdicts[0].PreOpen.Passed = false }, "/ui/proof", []string{"not passed"}},
		"served clock too": {func(f *Fake) { f.ComplianceM.Verdicts[0].Clock = rpc.JudgedClock_JUDGED_CLOCK_SERVED }, "/ui/proof", []string{"served clock"}},
		"many hosts": {func(f *Fake) {
			for range 200 {
				f.HostsM.Hosts = append(f.HostsM.Hosts, &rpc.Host{Name: "h", Verdict: rpc.Verdict_VERDICT_OK})
			}
		}, "/ui/detail", []string{"And 106 more"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := NewFake()
			c.change(f)
			contains(t, get(t, f, c.path), c.want...)
			for _, path := range pages() {
				get(t, f, path)
			}
		})
	}
}

// TestErrors: what a source cannot tell, the page says so, with the cause, and shows nothing old.
func TestErrors(t *testing.T) {
	f := NewFake()
	h := New(f, Options{Logger: quiet})
	f.Change(func(f *Fake) { f.Err = errors.New("the store is fenced") })
	page := ask(h, http.MethodGet, "/")
	if page.Code != http.StatusOK {
		t.Fatalf("%d", page.Code)
	}
	contains(t, page.Body.String(), "The state of the clock cannot be shown: the store is fenced", "The verdicts cannot be shown: the store is fenced",
		"The history cannot be shown: the store is fenced", "The sources cannot be shown: the store", "The hosts cannot", "The clients cannot", "The journal cannot")
	if w := ask(h, http.MethodGet, "/ui/history"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("the charts' data: %d %s", w.Code, w.Body)
	}
	f.Change(func(f *Fake) { f.Err = nil })
	if page := ask(h, http.MethodGet, "/").Body.String(); strings.Contains(page, "cannot be shown") {
		t.Error("an error stays after its cause")
	}
}

// TestMethods: a dashboard is read.
func TestMethods(t *testing.T) {
	h := New(NewFake(), Options{Logger: quiet})
	for _, path := range append(pages(), "/ui/history", asset("dashboard.js")) {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch} {
			if w := ask(h, method, path); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: %d, allowed is %q", method, path, w.Code, w.Header().Get("Allow"))
			}
		}
		if w := ask(h, http.MethodHead, path); w.Code != http.StatusOK {
			t.Errorf("HEAD %s: %d", path, w.Code)
		}
	}
	for _, path := range []string{"/x", "/ui", "/ui/", "/ui/x", AssetsPath, AssetsPath + "0000000000000000/dashboard.js", AssetsPath + "README.md"} {
		if w := ask(h, http.MethodGet, path); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

// TestPolicy: every answer forbids the browser what no page needs, and no page needs what is forbidden:
// scripts, styles or handlers of its own, or anything of another host.
func TestPolicy(t *testing.T) {
	h := New(NewFake(), Options{Logger: quiet})
	forbidden := regexp.MustCompile(`(?i)<style|\sstyle=|<script(>| [^>]*>[^<])|\son[a-z]+=|javascript:|(src|href|action)="?(https?:)?//`)
	login := httptest.NewRecorder()
	NewLogin().Show(login, http.StatusUnauthorized, "no")
	answers := map[string]*httptest.ResponseRecorder{"login": login}
	for _, path := range append(pages(), "/ui/history", "/nothing") {
		answers[path] = ask(h, http.MethodGet, path)
	}
	for path, w := range answers {
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
			"X-Content-Type-Options":  "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin",
			"Cross-Origin-Embedder-Policy": "require-corp", "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store",
		} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
		if found := forbidden.FindString(w.Body.String()); found != "" {
			t.Errorf("%s has %q", path, found)
		}
	}
}

// spoil puts a text into every text of a message, and of those in it.
func spoil(m protoreflect.Message, text string) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				spoil(v.List().Get(i).Message(), text)
			}
		case f.IsList() && f.Kind() == protoreflect.StringKind:
			for i := range v.List().Len() {
				v.List().Set(i, protoreflect.ValueOfString(text))
			}
		case f.IsList():
		case f.Message() != nil:
			spoil(v.Message(), text)
		case f.Kind() == protoreflect.StringKind && f.Name() != "name" || f.Kind() == protoreflect.StringKind && m.Descriptor().Name() != "Series":
			m.Set(f, protoreflect.ValueOfString(text))
		}
		return true
	})
}

// TestEscapes: whatever sources, clients, hosts and operators are called, and whatever they say, it is
// text in the page.
func TestEscapes(t *testing.T) {
	const text = `x" onload=alert(1) '<script>alert(2)</script><!--{{.}}&lt;javascript:`
	f := NewFake()
	for _, m := range []proto.Message{f.StatusM, f.SourcesM, f.ClientsM, f.ComplianceM, f.HostsM, f.JournalM} {
		spoil(m.ProtoReflect(), text)
	}
	for _, h := range f.HistoryM {
		for _, s := range h.Series {
			s.Name = strings.Replace(s.Name, "source.nist-a@", "source."+text+"@", 1)
		}
	}
	f.StatusM.NotReady = []string{text}
	tag := regexp.MustCompile(`<[^>]*>`)
	for _, path := range pages() {
		page := get(t, f, path)
		if strings.Contains(page, "<script>") || strings.Contains(page, "<!--") || strings.Contains(page, `x" onload`) {
			t.Errorf("%s has the text as it is", path)
		}
		if !strings.Contains(html.UnescapeString(page), text) {
			t.Errorf("%s does not show the text", path)
		}
		for _, tag := range tag.FindAllString(page, -1) {
			if strings.Contains(tag, "alert(") {
				t.Errorf("%s has it in a tag: %s", path, tag)
			}
		}
	}
	login := httptest.NewRecorder()
	NewLogin().Show(login, http.StatusUnauthorized, text)
	if strings.Contains(login.Body.String(), "<script>") {
		t.Error("the login page has the text as it is")
	}
}

// loginPage is the login page.
func loginPage() string {
	w := httptest.NewRecorder()
	NewLogin().Show(w, http.StatusUnauthorized, "")
	return w.Body.String()
}

// TestHistoryIsShared: however many look, a history is asked for once in a while, by one at a time; an
// error is told to who asked.
func TestHistoryIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewFake()
		h := New(f, Options{Logger: quiet})
		asked := func() (n int) {
			f.Change(func(f *Fake) { n = f.asked["history"] })
			return n
		}
		look := func() {
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() { ask(h, http.MethodGet, "/ui/live") })
			}
			all.Wait()
		}
		look()
		time.Sleep(historyKept - 1)
		look()
		if n := asked(); n != 1 {
			t.Errorf("asked %d times at first", n)
		}
		time.Sleep(1 * time.Nanosecond)
		look()
		if n := asked(); n != 2 {
			t.Errorf("asked %d times after a while", n)
		}
		ask(h, http.MethodGet, "/ui/history?span=day")
		if n := asked(); n != 3 {
			t.Errorf("asked %d times, another span among them", n)
		}
		f.Change(func(f *Fake) { f.Err = errors.New("no") })
		time.Sleep(historyKept)
		for range 3 {
			if w := ask(h, http.MethodGet, "/ui/history"); w.Code != http.StatusServiceUnavailable {
				t.Errorf("an old history is shown instead of the error: %d", w.Code)
			}
		}
		if n := asked(); n != 6 {
			t.Errorf("asked %d times, three times for an error", n)
		}
	})
}

// TestUser: who has logged in can log out; who has not is not told to.
func TestUser(t *testing.T) {
	h := New(NewFake(), Options{Logger: quiet})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r.WithContext(WithUser(r.Context(), "desk <1>")))
	contains(t, w.Body.String(), `<form method=post action="/logout"><span>desk &lt;1&gt;</span>`)
	if page := get(t, NewFake(), "/"); strings.Contains(page, "logout") {
		t.Error("somebody who has not logged in can log out")
	}
}

// TestWeight: all that a load brings, uncompressed, is at most 150 kB, of which the libraries are 103;
// with twelve sources and one profile.
func TestWeight(t *testing.T) {
	weigh := func(f *Fake) (sum int) {
		for _, path := range []string{"/", "/ui/history", asset("htmx.min.js"), asset("uPlot.iife.min.js"), asset("dashboard.js"), asset("dashboard.css")} {
			n := len(get(t, f, path))
			t.Log(path, n)
			sum += n
		}
		t.Log("sum", sum)
		return sum
	}
	if sum := weigh(NewTypical()); sum > 150_000 {
		t.Errorf("%d bytes", sum)
	}
	weigh(NewFake())
}

// TestHistoryData: what the script gets is what the figures are made of.
func TestHistoryData(t *testing.T) {
	for _, s := range spans() {
		var got map[string]struct {
			Unit        string
			Start, Step int64
			Lines       []struct{ Label, V, E string }
		}
		if err := json.Unmarshal([]byte(get(t, NewFake(), "/ui/history?span="+s.Name)), &got); err != nil {
			t.Fatal(err)
		}
		figures := figuresOf(NewFake().HistoryM[s.value], s)
		if len(got) != len(figures) {
			t.Errorf("%d charts, want %d", len(got), len(figures))
		}
		for _, f := range figures {
			g := got[f.ID]
			if g.Start != f.grid.start || g.Step != f.grid.step || len(g.Lines) != len(f.lines) {
				t.Errorf("%s: %+v", f.ID, g)
			}
			for i, l := range f.lines {
				if g.Lines[i].Label != l.label || !near(unpack(t, g.Lines[i].V), l.drawn()) || l.bar != nil && !near(unpack(t, g.Lines[i].E), l.bar) {
					t.Errorf("%s: line %q differs", f.ID, l.label)
				}
			}
		}
	}
}

// unpack is what the script does.
func unpack(t *testing.T, text string) (values []float64) {
	t.Helper()
	parts := strings.Split(text, ",")
	var least, quantum float64
	fmt.Sscan(parts[0], &least)
	fmt.Sscan(parts[1], &quantum)
	for i := 0; i < len(parts[2]); i += 2 {
		if parts[2][i:i+2] == ".." {
			values = append(values, math.NaN())
			continue
		}
		values = append(values, least+quantum*float64(64*strings.IndexByte(packedDigits, parts[2][i])+strings.IndexByte(packedDigits, parts[2][i+1])))
	}
	return values
}

// near reports whether values are the same to a thousandth of their range.
func near(a, b []float64) bool {
	least, greatest := math.NaN(), math.NaN()
	for _, v := range b {
		least, greatest = lesser(v, least), greater(v, greatest)
	}
	return slices.EqualFunc(a, b, func(a, b float64) bool {
		return math.IsNaN(a) && math.IsNaN(b) || math.Abs(a-b) <= (greatest-least)/1000+1e-7*math.Abs(b)
	})
}
