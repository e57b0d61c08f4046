package web_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"google.golang.org/protobuf/proto"

	"github.com/truechimer/truechimer/internal/api"
	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/web"
)

// inked counts the pixels of a chart that something was drawn on.
const inked = `(id) => {
	const c = document.querySelector("#plot-" + id + " canvas");
	const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
	let n = 0;
	for (let i = 3; i < d.length; i += 4) if (d[i] > 0) n++;
	return n;
}`

// colors are the colours of a chart, the most frequent first.
const colors = `(id) => {
	const c = document.querySelector("#plot-" + id + " canvas");
	const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data, n = {};
	for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 250) { const k = d.slice(i, i + 3).join(); n[k] = (n[k] || 0) + 1; }
	return Object.entries(n).sort((a, b) => b[1] - a[1]).slice(0, 3).map((e) => e[0]).join(" ");
}`

// contrasts lists what cannot be read easily: text whose contrast to what is behind it is below 4.5, or
// 3 where it is large (WCAG 2.2, 1.4.3).
const contrasts = `(() => {
	const c = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
	const rgba = (css) => { c.clearRect(0, 0, 1, 1); c.fillStyle = css; c.fillRect(0, 0, 1, 1); return c.getImageData(0, 0, 1, 1).data; };
	const light = (d) => [0, 1, 2].map((i) => d[i] / 255).map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
	const behind = (n) => { for (; n; n = n.parentElement) { const d = rgba(getComputedStyle(n).backgroundColor); if (d[3] > 250) return d; } return rgba("white"); };
	const low = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (walk.nextNode()) {
		const n = walk.currentNode.parentElement, s = getComputedStyle(n);
		if (!walk.currentNode.data.trim() || !n.checkVisibility() || n.closest(".unseen, .skip, .strip")) continue;
		const [a, b] = [light(rgba(s.color)), light(behind(n))].sort((a, b) => b - a), ratio = (a + .05) / (b + .05);
		const large = parseFloat(s.fontSize) >= 24 || parseFloat(s.fontSize) >= 18.66 && s.fontWeight >= 700;
		if (ratio < (large ? 3 : 4.5)) low.push(walk.currentNode.data.trim().slice(0, 30) + " " + ratio.toFixed(2));
	}
	return low;
})()`

// overlaps lists the charts whose keys reach into what is said below them.
const overlaps = `[...document.querySelectorAll("figure")].filter((f) => f.querySelector(".u-legend").getBoundingClientRect().bottom > f.querySelector("figcaption").getBoundingClientRect().top + 1).map((f) => f.innerText.slice(0, 20))`

// appliance serves a dashboard for the time of a test.
func appliance(t *testing.T, f *web.Fake) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(web.New(f, web.Options{Logger: slog.New(slog.DiscardHandler)}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// TestBrowser looks at the dashboard as people do. The pictures are kept.
func TestBrowser(t *testing.T) {
	b := openBrowser(t)
	for name, test := range map[string]func(*testing.T, *browser){
		"load": testLoad, "weight": testWeight, "dark": testDark, "narrow": testNarrow, "no script": testNoScript, "keyboard": testKeyboard,
		"live": testLive, "gone": testGone, "faults": testFaults, "bad times": testBadTimes, "login": testLogin,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they wait most of the time
			test(t, b)
		})
	}
}

// testLoad: a page comes without a fault on the console and without anything of another host; its
// tiles have the values of the API, and its charts are drawn.
func testLoad(t *testing.T, b *browser) {
	f := web.NewFake()
	s := appliance(t, f)
	tab := b.open(t, 1360, 900)
	tab.theme("light")
	tab.do(chromedp.Navigate(s.URL + "/"))
	tab.until(drawn)
	for id, want := range map[string]string{
		"bound": fmt.Sprint(f.StatusM.Clock.ErrorBoundNs), "offset": fmt.Sprint(f.StatusM.Clock.ResidualOffsetNs), "left": fmt.Sprint(f.StatusM.Clock.HoldoverLeftNs),
		"frequency": fmt.Sprint(f.StatusM.Clock.FrequencyPpm), "stratum": "2", "sources": "10", "lead": fmt.Sprint(f.StatusM.Hlc.LeadNs), "events": fmt.Sprint(f.StatusM.Streams.Events),
		"journal": fmt.Sprint(f.JournalM.EvidenceRecords), "clients": "18359",
	} {
		if got := value[string](tab, `document.querySelector("#tile-`+id+` data").value`); got != want {
			t.Errorf("the tile %s has %q, and the API says %q", id, got, want)
		}
	}
	for _, id := range []string{"bound", "sources", "frequency", "ntp", "clients", "issued", "lead", "events"} {
		if n := value[int](tab, "("+inked+")("+strconv.Quote(id)+")"); n < 1000 {
			t.Errorf("chart %s has %d pixels that are not blank", id, n)
		}
	}
	for expression, want := range map[string]string{
		`document.getElementById("now").textContent.slice(0, 17)`:   "2026-11-18 11:06:", // it goes on
		`document.getElementById("local").textContent.slice(0, 14)`: "2026-11-18 06:",
		`document.getElementById("local").textContent.slice(-10)`:   " EST local",
		`document.title`: "Synchronised, 1 alarm · alpha · Truechimer",
	} {
		if got := value[string](tab, expression); got != want {
			t.Errorf("%s is %q", expression, got)
		}
	}
	if low := value[[]string](tab, contrasts); len(low) > 0 {
		t.Errorf("hard to read: %q", low)
	}
	tab.keep("light")
	tab.do(chromedp.Navigate(s.URL + "/?span=month#charts"))
	tab.until(drawn)
	tab.keep("month")
	tab.clean(s.URL)
}

// testWeight: all that a load brings is at most 150 kB, uncompressed.
func testWeight(t *testing.T, b *browser) {
	s := appliance(t, web.NewTypical())
	tab := b.open(t, 1360, 900)
	tab.do(chromedp.Navigate(s.URL + "/"))
	tab.until(drawn)
	tab.mu.Lock()
	defer tab.mu.Unlock()
	sum := int64(0)
	for url, n := range tab.weight {
		if path := strings.TrimPrefix(url, s.URL); path == "/" || strings.HasPrefix(path, web.AssetsPath) || path == "/ui/history?span=hour" { // the rest came later
			t.Log(path, n)
			sum += n
		}
	}
	if t.Log("sum", sum); sum > 150_000 || sum < 120_000 {
		t.Errorf("a load weighs %d bytes", sum)
	}
}

// testDark: where a person likes it dark it is, and the charts follow at once.
func testDark(t *testing.T, b *browser) {
	s := appliance(t, web.NewFake())
	tab := b.open(t, 1360, 900)
	const background = `getComputedStyle(document.body).backgroundColor`
	tab.theme("light") // over a month, the charts are not fetched again in the meantime
	tab.do(chromedp.Navigate(s.URL + "/?span=month"))
	tab.until(drawn)
	page, chart := value[string](tab, background), value[string](tab, "("+colors+")('frequency')")
	tab.theme("dark")
	tab.until("(" + colors + ")('frequency') !== " + strconv.Quote(chart))
	if got := value[string](tab, background); got == page {
		t.Errorf("it is %s in the dark, too", got)
	}
	if low := value[[]string](tab, contrasts); len(low) > 0 {
		t.Errorf("hard to read: %q", low)
	}
	if over := value[[]string](tab, overlaps); len(over) > 0 {
		t.Errorf("in the way of each other: %q", over)
	}
	tab.keep("dark")
	tab.clean(s.URL)
}

// testNarrow: on a telephone nothing sticks out to the right.
func testNarrow(t *testing.T, b *browser) {
	s := appliance(t, web.NewFake())
	for _, width := range []int64{360, 390, 768, 2560} {
		tab := b.open(t, width, 844)
		tab.theme("light")
		tab.do(chromedp.Navigate(s.URL + "/"))
		tab.until(drawn)
		if got := value[int64](tab, `document.documentElement.scrollWidth`); got > width {
			t.Errorf("the page is %d wide on a screen of %d", got, width)
		}
		if over := value[[]string](tab, overlaps); len(over) > 0 {
			t.Errorf("at %d, in the way of each other: %q", width, over)
		}
		tab.keep(fmt.Sprint("width-", width))
		tab.clean(s.URL)
	}
}

// testNoScript: without script everything is there but the charts, and these are there in words and as
// tables.
func testNoScript(t *testing.T, b *browser) {
	s := appliance(t, web.NewFake())
	tab := b.open(t, 1360, 900)
	call(tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	tab.do(chromedp.Navigate(s.URL + "/"))
	text, err := chromedp.Run(tab.ctx, chromedp.Text("body"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Synchronised", "2026-11-18 11:06:40 UTC", "falseticker", "least 1.08", "finra-50ms", "trade-04", "As a table"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not to be seen", want)
		}
	}
	tab.do(chromedp.Click("#s-bound"))
	if text, err = chromedp.Run(tab.ctx, chromedp.Text("#d-bound")); err != nil || !strings.Contains(text, "10:16") {
		t.Errorf("the table of a chart does not open: %v\n%s", err, text)
	}
	tab.do(chromedp.Click(`a[href="/?span=day#charts"]`), chromedp.WaitVisible(`a[href="/?span=day#charts"][aria-current]`))
	tab.keep("no-script")
	tab.clean(s.URL)
}

// testKeyboard: the tabulator reaches all that can be done, in the order of the page, and what has the
// focus is seen.
func testKeyboard(t *testing.T, b *browser) {
	s := appliance(t, web.NewFake())
	tab := b.open(t, 1360, 900)
	tab.do(chromedp.Navigate(s.URL + "/"))
	tab.until(drawn)
	want := []string{"Skip to the state of the clock", "Proof", "Charts", "Sources", "Hosts", "Serving", "OK finra-50ms", "BREACH mifid-1ms", "The last 30 days", "The last 30 days", "Breaches", "1 h", "24 h"}
	for i, name := range want {
		tab.do(chromedp.KeyEvent(kb.Tab))
		got := value[string](tab, `(document.activeElement.getAttribute("aria-label") || document.activeElement.innerText).replace(/\s+/g, " ")`)
		if !strings.HasPrefix(got, name) {
			t.Fatalf("after %d tabs the focus is on %q, want %q", i+1, got, name)
		}
		if value[string](tab, `getComputedStyle(document.activeElement).outlineStyle`) != "solid" {
			t.Errorf("the focus on %q is not seen", got)
		}
		if i == 0 && value[float64](tab, `document.activeElement.getBoundingClientRect().top`) < 0 {
			t.Error("the skip link has the focus and is not seen")
		}
	}
	tab.do(chromedp.KeyEvent(kb.Enter))
	tab.until(`location.search === "?span=day" && ` + drawn)
	tab.clean(s.URL)
}

// testLive: what changes is shown by itself; what was opened stays open, and what has the focus keeps it.
func testLive(t *testing.T, b *browser) {
	f := web.NewFake()
	s := appliance(t, f)
	tab := b.open(t, 1360, 900)
	tab.do(chromedp.Navigate(s.URL + "/?span=month"))
	tab.until(drawn)
	tab.do(chromedp.Evaluate[chromedp.Void](`window.mark = 1; document.getElementById("d-days-0").open = true; document.getElementById("c-1").focus()`))
	f.Change(func(f *web.Fake) {
		status := proto.CloneOf(f.StatusM)
		status.Clock.ErrorBoundNs, status.Clock.State, status.Clock.Reason = 31_000_000, rpc.ClockState_CLOCK_STATE_HOLDOVER, "no source is heard"
		compliance := proto.CloneOf(f.ComplianceM)
		compliance.Verdicts[0].Verdict = rpc.Verdict_VERDICT_WARN
		sources := proto.CloneOf(f.SourcesM)
		sources.Sources[0].Status = "unreachable"
		f.StatusM, f.ComplianceM, f.SourcesM = status, compliance, sources
	})
	tab.until(`document.querySelector("#tile-bound data").value === "31000000" && document.getElementById("state").textContent === "Holdover"`)
	tab.until(`document.getElementById("announce").textContent.startsWith("Holdover")`)
	tab.until(`document.title.startsWith("Holdover")`)
	tab.until(`document.querySelector("#proof .word").textContent === "WARN" && document.querySelector(".sources .why b").textContent === "unreachable"`)
	if !value[bool](tab, `window.mark === 1 && document.getElementById("d-days-0").open && document.activeElement.id === "c-1"`) {
		t.Error("the page was loaded anew, what was open is closed, or the focus is lost")
	}
	tab.keep("holdover")
	tab.clean(s.URL)
}

// testGone: where nothing is heard any more the page says so, and its clock stands; once there is
// something to hear it is loaded anew.
func testGone(t *testing.T, b *browser) {
	f := web.NewFake()
	var down atomic.Bool
	h := web.New(f, web.Options{Logger: slog.New(slog.DiscardHandler)})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			panic(http.ErrAbortHandler) // which is all that a browser sees of a process that ended
		}
		h.ServeHTTP(w, r)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	tab := b.open(t, 1360, 900)
	tab.do(chromedp.Navigate(s.URL + "/"))
	tab.until(drawn)
	down.Store(true)
	tab.until(`!document.getElementById("lost").hidden && document.body.classList.contains("stale")`)
	if text := value[string](tab, `document.getElementById("lost").innerText`); !strings.HasPrefix(text, "Not connected since 20") || !strings.Contains(text, " UTC, ") {
		t.Errorf("it says %q", text)
	}
	stands := value[string](tab, `document.getElementById("now").textContent`)
	time.Sleep(1500 * time.Millisecond)
	if got := value[string](tab, `document.getElementById("now").textContent`); got != stands {
		t.Errorf("its clock goes on: %s, %s", stands, got)
	}
	tab.keep("gone")
	down.Store(false)
	tab.until(`document.getElementById("lost").hidden && !document.body.classList.contains("stale") && ` + drawn)
}

// testFaults: what cannot be shown any more is not shown; the page says why, and goes on.
func testFaults(t *testing.T, b *browser) {
	f := web.NewFake()
	s := appliance(t, f)
	tab := b.open(t, 1360, 900)
	tab.do(chromedp.Navigate(s.URL + "/"))
	tab.until(drawn)
	tab.do(chromedp.Evaluate[chromedp.Void](`document.getElementById("d-bound").open = true`))
	f.Change(func(f *web.Fake) { f.Err = errors.New("the store is fenced") })
	const faults = `[...document.querySelectorAll(".fault")].filter((n) => n.checkVisibility() && n.innerText.includes("the store is fenced")).length`
	tab.until(faults + " >= 7") // state, verdicts, history, sources, hosts, clients, journal
	if !value[bool](tab, `document.getElementById("lost").hidden && !document.querySelector(".figures").checkVisibility() && !document.querySelector("#state, .tiles, .sources")`) {
		t.Error("what cannot be told any more is still shown, or the page says that it is not connected")
	}
	f.Change(func(f *web.Fake) { f.Err = nil })
	tab.until(faults + ` === 0 && document.querySelector(".figures").checkVisibility() && document.getElementById("state") !== null && document.getElementById("d-bound").open`)
}

// testBadTimes: what a person sees who is called at night.
func testBadTimes(t *testing.T, b *browser) {
	f := web.NewFake()
	c := f.StatusM.Clock
	c.State, c.Reason, c.ErrorBoundNs, c.HoldoverLeftNs, c.Stratum, c.Refid = rpc.ClockState_CLOCK_STATE_UNSYNCHRONISED, "all sources are gone, and the error bound is above 50 ms", math.MaxInt64, 0, 16, "INIT"
	f.StatusM.Ready, f.StatusM.NotReady = false, []string{"the clock is not synchronised"}
	f.StatusM.Sources.Agree, f.StatusM.Sources.Reachable, f.StatusM.Sources.Following = 0, 0, ""
	f.StatusM.Alarms = append(f.StatusM.Alarms, &rpc.Alarm{Name: "breach", Sentence: "finra-50ms: nothing can be proven of the system clock. Look at the uplink.", SinceUnixNs: 1_795_000_000e9 - 90e9})
	v := f.ComplianceM.Verdicts[0]
	v.Verdict, v.Reason, v.BoundNs = rpc.Verdict_VERDICT_UNKNOWN, "no error bound can be claimed", -1
	f.HistoryM = nil
	s := appliance(t, f)
	tab := b.open(t, 1360, 900)
	tab.theme("dark")
	tab.do(chromedp.Navigate(s.URL+"/"), chromedp.Sleep(500*time.Millisecond))
	if low := value[[]string](tab, contrasts); len(low) > 0 {
		t.Errorf("hard to read: %q", low)
	}
	tab.keep("bad-times")
	tab.clean(s.URL)
}

// node is all of a node that the API asks for a dashboard.
type node struct{ api.Node }

func (node) State() api.State { return api.State{Clock: &clock.Snapshot{}} }

// testLogin: from the login page to the dashboard and out again, as a browser does it.
func testLogin(t *testing.T, b *browser) {
	hash := sha256.Sum256([]byte("tct_right"))
	s, err := api.Listen(api.Options{
		Addrs: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, Logger: slog.New(slog.DiscardHandler),
		Access: api.Access{Principals: []api.Principal{{Name: "night desk", Token: &hash, Rights: api.RightRead}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- s.Serve(ctx, api.Services{Node: node{}, Web: web.New(web.NewFake(), web.Options{Logger: slog.New(slog.DiscardHandler)})})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	tab := b.open(t, 900, 700)
	base := "http://" + s.Addrs()[0].String()
	tab.do(chromedp.Navigate(base+"/"), chromedp.WaitVisible("#token"))
	tab.keep("login")
	tab.do(chromedp.SendKeys("#token", "wrong"+kb.Enter), chromedp.WaitVisible(".fault"))
	if low := value[[]string](tab, contrasts); len(low) > 0 {
		t.Errorf("hard to read: %q", low)
	}
	tab.keep("login-refused")
	tab.do(chromedp.SendKeys("#token", "tct_right"+kb.Enter), chromedp.WaitVisible("#state"))
	tab.until(drawn)
	if got := value[string](tab, `document.querySelector(".top form").innerText + document.cookie`); !strings.HasPrefix(got, "night desk") || strings.Contains(got, "truechimer") {
		t.Errorf("it says %q", got)
	}
	tab.until(`document.getElementById("lost").hidden`)
	if err := s.SetAccess(api.Access{Principals: []api.Principal{{Name: "night desk", Token: &hash, Rights: api.RightRead}}}); err != nil {
		t.Fatal(err)
	}
	tab.do(chromedp.Click(".top button"), chromedp.WaitVisible("#token"))
	tab.do(chromedp.SendKeys("#token", "tct_right"+kb.Enter), chromedp.WaitVisible("#state"))
	if err := s.SetAccess(api.Access{}); err != nil { // the token is taken back
		t.Fatal(err)
	}
	tab.do(chromedp.WaitVisible("#token"))
	tab.mu.Lock()
	defer tab.mu.Unlock()
	for _, fault := range tab.faults {
		if !strings.Contains(fault, "401") { // which is how the login page comes
			t.Errorf("the console says %s", fault)
		}
	}
}
