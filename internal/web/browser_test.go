package web_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser is a chromium that the tests of a package share.
type browser struct {
	ctx context.Context
	dir string // what is kept for people to look at
}

// openBrowser starts Debian's chromium. Where there is none the test is skipped; with CI=true it
// fails.
func openBrowser(t *testing.T) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no chromium: hack/cmd/peers brings it")
		}
		t.Skip("no chromium: hack/cmd/peers brings it, as root on Debian")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.DisableGPU,
		chromedp.Flag("force-device-scale-factor", "1"), chromedp.Flag("hide-scrollbars", true))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // it refuses to start otherwise
	}
	life, end := context.WithTimeout(t.Context(), 4*time.Minute)
	allocator, endAllocator := chromedp.NewExecAllocator(life, options...)
	ctx, endBrowser := chromedp.NewContext(allocator, chromedp.WithErrorf(func(string, ...any) {})) // it complains of events that it does not know
	t.Cleanup(func() {
		endBrowser() // and waits for the process
		endAllocator()
		end()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	b := &browser{ctx: ctx, dir: os.Getenv("TRUECHIMER_ARTEFACTS")}
	if b.dir == "" {
		b.dir = t.ArtifactDir()
	}
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return b
}

// tab is a tab of the browser, and what went on in it. It shares no cookies with others.
type tab struct {
	t   *testing.T
	b   *browser
	ctx context.Context

	mu       sync.Mutex
	faults   []string // errors on the console, violations of the policy among them
	requests []string
	urls     map[network.RequestID]string
	weight   map[string]int64 // bytes of bodies by address, as the page sees them
}

func (b *browser) open(t *testing.T, width, height int64) *tab {
	t.Helper()
	ctx, end := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext())
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	t.Cleanup(func() { stop(); end() })
	tab := &tab{t: t, b: b, ctx: ctx, urls: make(map[network.RequestID]string), weight: make(map[string]int64)}
	err := chromedp.Listen(ctx, func(event any) {
		tab.mu.Lock()
		defer tab.mu.Unlock()
		switch e := event.(type) {
		case *runtime.EventConsoleAPICalled:
			if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeAssert {
				tab.faults = append(tab.faults, fmt.Sprintf("console: %s", e.Args[0].Value))
			}
		case *runtime.EventExceptionThrown:
			tab.faults = append(tab.faults, fmt.Sprintf("exception: %s %+v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
		case *cdplog.EventEntryAdded:
			if e.Entry.Level == cdplog.EntryLevelError {
				tab.faults = append(tab.faults, fmt.Sprintf("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL))
			}
		case *network.EventRequestWillBeSent:
			tab.requests = append(tab.requests, e.Request.URL)
			tab.urls[e.RequestID] = e.Request.URL
		case *network.EventDataReceived:
			tab.weight[tab.urls[e.RequestID]] += e.DataLength
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	call(tab, network.Enable, network.EnableParams{})
	call(tab, cdplog.Enable, cdp.Empty{})
	call(tab, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1})
	call(tab, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "America/New_York"})
	return tab
}

// call gives the browser a command of its protocol.
func call[P, R any](tab *tab, command cdp.Command[P, R], params P) {
	tab.t.Helper()
	if _, err := chromedp.Call(tab.ctx, command, params); err != nil {
		tab.t.Fatal(err)
	}
}

// do fails the test where an action fails.
func (tab *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	tab.t.Helper()
	if err := chromedp.Do(tab.ctx, actions...); err != nil {
		tab.t.Fatalf("%v; the console says %q", err, tab.faults)
	}
}

// value evaluates an expression in the page, even where its scripts do not run.
func value[T any](tab *tab, expression string) T {
	tab.t.Helper()
	v, err := chromedp.Run(tab.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		tab.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// until waits until an expression is true. It has no value for a moment where the page is loaded anew.
func (tab *tab) until(expression string) {
	tab.t.Helper()
	var err error
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		var yes bool
		if yes, err = chromedp.Run(tab.ctx, chromedp.Evaluate[bool](expression)); yes {
			return
		}
		if time.Now().After(deadline) {
			tab.t.Fatalf("never true: %s (%v); the console says %q", expression, err, tab.faults)
		}
	}
}

// keep keeps a picture of the page.
func (tab *tab) keep(name string) {
	tab.t.Helper()
	picture, err := chromedp.Run(tab.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		tab.t.Fatal(err)
	}
	path := filepath.Join(tab.b.dir, name+".png")
	if err := os.WriteFile(path, picture, 0o644); err != nil {
		tab.t.Fatal(err)
	}
	tab.t.Log(path)
}

// clean fails the test where anything was wrong on the console, or another host was asked.
func (tab *tab) clean(origin string) {
	tab.t.Helper()
	tab.mu.Lock()
	defer tab.mu.Unlock()
	if tab.faults != nil {
		tab.t.Errorf("the console says %q", tab.faults)
	}
	for _, r := range tab.requests {
		if u, err := url.Parse(r); err != nil || u.Scheme != "data" && u.Scheme+"://"+u.Host != origin {
			tab.t.Errorf("%s was asked for, which is not of %s", r, origin)
		}
	}
}

// theme has the page be light or dark.
func (tab *tab) theme(name string) {
	tab.t.Helper()
	call(tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
}

// drawn is true once all charts are.
const drawn = `document.querySelectorAll(".plot canvas").length === 8`
