package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/truechimer/truechimer/internal/load"
	"github.com/truechimer/truechimer/internal/ntp"
)

func TestBenchSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0ns", 1: "1ns", -999: "-999ns", 1000: "1.00µs", 1234: "1.23µs", 12_345: "12.3µs", 123_456: "123µs", 999_400: "999µs", 999_600: "1.00ms",
		-1_234_567: "-1.23ms", 9_996_000: "10.0ms", 59 * time.Second: "59.0s", time.Hour: "3600s", -100 * time.Hour: "-360000s", 1 << 62: "5e+09s", -1 << 63: "-9e+09s",
	} {
		if got := benchSpan(d); got != want || utf8.RuneCountInString(got) > 8 {
			t.Errorf("%d is %q, want %q", d, got, want)
		}
	}
}

// step is a step in which everything happened that can, with long figures.
func fullStep(wanted float64) load.Step {
	long := load.Spread{Count: 1, Min: -1 << 62, P1: -123456 * time.Hour, P50: 123 * time.Microsecond, P90: 1 << 62, P99: 1 << 62, P999: 1 << 62, Max: 1 << 62}
	s := load.Step{
		Wanted: wanted, Measured: time.Hour, Sent: 36_000_000_000, Unsent: 1e9, Refused: 1e9, Dropped: 1e9, Unsynchronised: 1e9, Stamped: 1e9,
		Kisses:    []load.Kisses{{Code: ntp.KissRATE, Count: 5}, {Code: 0x1b5b316d, Count: 1}, {Code: 0, Count: 7}},
		RoundTrip: long, Processing: long, Offset: long, Request: long, Lag: long, Busy: 1, CPU: 4 * time.Hour, Unread: time.Hour,
	}
	for _, v := range load.Verdicts() {
		s.Counts[v] = 3_000_000_000
	}
	return s
}

// What people read fits their terminal, and no byte of an outsider's reaches it.
func TestBenchText(t *testing.T) {
	server := netip.MustParseAddrPort("[fe80::1234:5678:9abc:def0%enp123s0]:12345")
	for _, loop := range []load.Loop{load.Closed, load.Open, load.Sweep} {
		o := load.Defaults()
		o.Loop, o.Threads, o.Sockets, o.Rate = loop, 16, 4096, 1e7
		steps := []load.Step{fullStep(0)}
		r := load.Result{Server: server, Loop: loop, Interrupted: true, Steps: steps}
		if loop != load.Closed {
			steps[0].Wanted = 1e7
		}
		if loop == load.Sweep {
			steps[0].Held = true
			r.Steps, r.Highest, r.Failed = append(steps, fullStep(1.5e7)), 1e7, 1.5e7
		}
		var out strings.Builder
		if err := writeBench(&out, &o, &r, widthUsual); err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(out.String(), "\n") {
			if n := utf8.RuneCountInString(line); n > widthUsual && i > 0 || strings.HasSuffix(line, " ") || strings.ContainsRune(line, 0x1b) {
				t.Errorf("a line of %d columns: %q", n, line)
			}
		}
		want := []string{
			"interrupted", "bad        3000000000: shorter than a header", "kiss code  RATE 5 times", `\x1b[1m`, "other 7 times", "busy for 100 % of the time, on 4.00 cores",
			"it was the limit", "the server's error only where", "1000000000 datagrams were lost in this host",
		}
		if loop == load.Sweep {
			want = append(want, "cut short", "10000000 requests/s with a loss below 1 %", "15000000/s was more than this program")
		}
		for _, w := range want {
			if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), strings.Join(strings.Fields(w), " ")) {
				t.Errorf("loop %d does not say %q:\n%s", loop, w, out.String())
			}
		}
	}
}

func TestBenchTextSweepWithoutResult(t *testing.T) {
	o := load.Defaults()
	o.Loop = load.Sweep
	cut := load.Step{Wanted: 5000, Measured: time.Second, Sent: 5000, Counts: [len(load.Step{}.Counts)]uint64{load.Answered: 5000}}
	for want, r := range map[string]load.Result{
		"highest    not known: no rate was tried to its end\n": {Interrupted: true, Steps: []load.Step{cut}},
		"not even the first rate was held":                     {Failed: 5000, Steps: []load.Step{{Wanted: 5000, Measured: time.Second, Sent: 5000}, {Wanted: 5000, Measured: time.Second, Sent: 5000}}},
		"all rates were held":                                  {Highest: 4e6, Steps: []load.Step{{Wanted: 4e6, Measured: time.Second, Sent: 4e6, Held: true}}},
		"5000/s was more than this program could":              {Failed: 5000, Steps: []load.Step{{Wanted: 5000, Measured: time.Second, Sent: 500}}},
	} {
		var out strings.Builder
		r.Loop = load.Sweep
		if err := writeBench(&out, &o, &r, widthUsual); err != nil || !strings.Contains(out.String(), want) || r.Highest == 0 && strings.Contains(out.String(), "sent  ") {
			t.Errorf("%v, no %q:\n%s", err, want, out.String())
		}
	}
}

// Every figure has a stable name with its unit, and comes out as it went in.
func TestBenchJSON(t *testing.T) {
	o := load.Defaults()
	o.Loop = load.Sweep
	held := fullStep(100)
	held.Held, held.Dropped = true, 0
	r := load.Result{Server: netip.MustParseAddrPort("127.0.0.1:123"), Loop: load.Sweep, Steps: []load.Step{held, fullStep(200)}, Highest: 100, Failed: 200}
	text, err := json.Marshal(benchForPrograms(&o, &r))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"server":"127.0.0.1:123","loop":"sweep","sockets":16,"batch":32,`, `"result":{"wantedPerSecond":100,"measuredSeconds":3600,"sent":36000000000,"sentPerSecond":10000000,"answered":3000000000,`,
		`"late":3000000000,"duplicate":3000000000,"bad":21000000000,"badReasons":{"foreignOrigin":3000000000,`, `"kissCodes":{"RATE":5,"\\x1b[1m":1,"other":7}`,
		`"roundTripNs":{"count":1,"min":-4611686018427387904,`, `"lagNs":{`, `"cpuSeconds":14400`, `"held":true}`, `"held":false}`,
		`"sweep":{"highestPerSecond":100,"failedPerSecond":200,"mostAnsweredPerSecond":`, `"generatorLimited":true,"steps":[{`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	text, _ = json.Marshal(benchForPrograms(&o, &load.Result{Loop: load.Sweep}))
	if !strings.Contains(string(text), `"result":null`) || !strings.Contains(string(text), `"steps":[]`) {
		t.Errorf("of nothing: %s", text)
	}
	text, _ = json.Marshal(benchForPrograms(&o, &load.Result{Loop: load.Sweep, Interrupted: true, Steps: []load.Step{fullStep(100)}}))
	if !strings.Contains(string(text), `"interrupted":true,"result":null`) || !strings.Contains(string(text), `"steps":[{`) {
		t.Errorf("cut short in the first step: %s", text)
	}
}

func TestBenchProgress(t *testing.T) {
	var out strings.Builder
	show, erase := progressOnto(&out)
	show(load.Progress{Step: 1, Elapsed: 1200 * time.Millisecond, Lasts: 5300 * time.Millisecond, Sent: 1000, Answered: 999})
	show(load.Progress{Step: 2, Wanted: 1e7, Elapsed: 6 * time.Second, Lasts: 5300 * time.Millisecond})
	erase()
	const want = "\r\x1b[Kclosed loop: 1.2 of 5.3 s, 1000 sent/s, 999 answered/s\r\x1b[Kstep 2, 10000000/s: 5.3 of 5.3 s, 0 sent/s, 0 answered/s\r\x1b[K"
	if out.String() != want {
		t.Errorf("%q\nwant %q", out.String(), want)
	}
	c := &client{streams: streams{err: &out}}
	if show, _ := c.benchProgress(load.Defaults()); show != nil {
		t.Error("it draws where nobody looks")
	}
	terminal, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0) // a device of characters, as a terminal is
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	c.err = terminal
	if show, _ := c.benchProgress(load.Defaults()); show == nil {
		t.Error("it does not draw on a terminal")
	}
	short := load.Defaults()
	short.Duration = 500 * time.Millisecond
	if show, _ := c.benchProgress(short); show != nil {
		t.Error("it draws for less than a second")
	}
}

// Interrupted, it prints what it has, and that is no failure.
func TestBenchInterrupted(t *testing.T) {
	addr, stop, err := fakeNTP(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	// Long enough to measure something on a busy machine, with the race detector.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var out, log strings.Builder
	began := time.Now()
	code := run(ctx, []string{"bench", "ntp", "--seconds", "3600", "--warmup", "0s", addr}, streams{strings.NewReader(""), &out, &log})
	if code != 0 || log.String() != "" || !strings.Contains(out.String(), "\ninterrupted: these are the figures until then\n") || !strings.Contains(out.String(), "answered") {
		t.Errorf("exit code %d, %s\n%s", code, log.String(), out.String())
	}
	if took := time.Since(began); took > patience {
		t.Errorf("it took %v to stop", took)
	}
	out.Reset()
	code = run(ctx, []string{"bench", "ntp", addr}, streams{strings.NewReader(""), &out, &log})
	if code != exitFailed || log.String() != "truechimer: interrupted before anything was measured\n" || out.String() != "" {
		t.Errorf("exit code %d, %s\n%s", code, log.String(), out.String())
	}
}

// Interrupted while the name is looked up, it does not say that the server is away.
func TestBenchInterruptedLookup(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	usual := net.DefaultResolver
	defer func() { net.DefaultResolver = usual }()
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	var out, log strings.Builder
	code := run(ctx, []string{"bench", "ntp", "name.invalid"}, streams{strings.NewReader(""), &out, &log})
	if code != exitFailed || log.String() != "truechimer: interrupted before anything was measured\n" || out.String() != "" {
		t.Errorf("exit code %d, %s\n%s", code, log.String(), out.String())
	}
}

// A host without a route to the server is told so, as where nobody answers.
func TestBenchWithoutRoute(t *testing.T) {
	if !canIsolate() {
		leaveOut(t, "needs unshare, and the right to use it")
	}
	if !isolate(t) {
		return
	}
	var out, log strings.Builder
	code := run(t.Context(), []string{"bench", "ntp", "10.0.0.1"}, streams{strings.NewReader(""), &out, &log})
	if code != exitUnreachable || !strings.HasPrefix(log.String(), "truechimer: no answer from 10.0.0.1: 10.0.0.1:123: nothing came back: network is unreachable; does") {
		t.Errorf("exit code %d, %s\n%s", code, log.String(), out.String())
	}
}

// Where it is not for a terminal, words are not broken; where it is, its width counts.
func TestBenchWidth(t *testing.T) {
	o := load.Defaults()
	for width, want := range map[int]string{
		0:  "\n  generator  busy for 100 % of the time, on 4.00 cores; answers waited 3600s to be read; it did not read fast enough: it was the limit. Take more --threads or --sockets\n",
		60: "\n  generator  busy for 100 % of the time, on 4.00 cores;\n             answers waited 3600s to be read; it did not\n",
	} {
		var out strings.Builder
		if err := writeBench(&out, &o, &load.Result{Steps: []load.Step{fullStep(0)}}, width); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("width %d: %v, no %q:\n%s", width, err, want, out.String())
		}
	}
}

// A server that falls silent under load is as good as none, but what was sent is shown.
func TestBenchSilent(t *testing.T) {
	var silent atomic.Bool
	addr, stop, err := answerUDP(func([]byte) []byte {
		if silent.Swap(true) {
			return nil
		}
		return []byte{0}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	var out, log strings.Builder
	code := run(t.Context(), []string{"bench", "ntp", "--seconds", "0.1", "--warmup", "0s", addr}, streams{strings.NewReader(""), &out, &log})
	if code != exitUnreachable || !strings.HasPrefix(log.String(), "truechimer: no answer from "+addr+": nothing came back; does") || !strings.Contains(out.String(), "100.000 %: 16 lost") {
		t.Errorf("exit code %d, %s\n%s", code, log.String(), out.String())
	}
}

// A disk that is full is told.
func TestBenchWriteError(t *testing.T) {
	o := load.Defaults()
	err := writeBench(brokenWriter{}, &o, &load.Result{Steps: []load.Step{fullStep(0)}}, 0)
	if !errors.Is(err, errBroken) {
		t.Error(err)
	}
}

var errBroken = errors.New("broken")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, fmt.Errorf("write: %w", errBroken) }
