package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"github.com/truechimer/truechimer/hlc"
)

// TestScript runs the scripts in testdata/script: the command line as its users see it.
//
//	exits CODE ARGS...    runs truechimer, which must exit with CODE; see stdout, stderr
//	until PATTERN ARGS... runs truechimer until its output matches, for 20 s
//	serve ARGS...         starts truechimer serve, and sets $NTP and $API
//	signal NAME           sends it HUP, TERM, INT or KILL
//	log PATTERN           waits until its log matches
//	ended CODE [PATTERN]  waits for its end, in 5 s; its output must match
//	ntp NAME CLAIM...     starts an NTP server that claims that; its address is $NAME
//	chronyd               starts a chronyd that is synchronised to 2 ms, at $CHRONYD
//	http URL [BODY]       prints the status and the body of a GET or POST
//	ahead NAME SPAN       sets $NAME to the timestamp that is so far in the future
//	expand FILE           puts the environment into a file
//	pki                   writes the certificates of pki_test.go
//	masked FILE           prints a file with what differs from run to run replaced
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *rewriteFlag,
		Setup: func(e *testscript.Env) error {
			e.Values[serverKey{}] = new(*server)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": scriptExits, "until": scriptUntil, "serve": scriptServe, "signal": scriptSignal, "log": scriptLog, "ended": scriptEnded,
			"ntp": scriptNTP, "chronyd": scriptChronyd, "http": scriptHTTP, "expand": scriptExpand, "ahead": scriptAhead, "masked": scriptMasked,
			"pki": scriptPKI,
		},
	})
}

type serverKey struct{}

// running returns the place of the server of a script.
func running(ts *testscript.TestScript) **server { return ts.Value(serverKey{}).(**server) }

func scriptExits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec("truechimer", args[1:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func scriptUntil(ts *testscript.TestScript, _ bool, args []string) {
	want := regexp.MustCompile("(?m)" + args[0])
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		_ = ts.Exec("truechimer", args[1:]...) // the output tells
		if want.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("the output never matches %s", args[0])
		}
	}
}

func scriptServe(ts *testscript.TestScript, _ bool, args []string) {
	s, err := startServer(ts.MkAbs("."), args...)
	ts.Check(err)
	ts.Defer(s.kill)
	*running(ts) = s
	ts.Setenv("NTP", s.ntp)
	ts.Setenv("API", s.api)
}

func scriptSignal(ts *testscript.TestScript, _ bool, args []string) {
	signals := map[string]os.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM, "INT": os.Interrupt, "KILL": os.Kill}
	ts.Check((*running(ts)).cmd.Process.Signal(signals[args[0]]))
}

func scriptLog(ts *testscript.TestScript, _ bool, args []string) {
	s := *running(ts)
	if _, err := s.log.await(regexp.MustCompile(args[0]), s.ended); err != nil {
		ts.Fatalf("%v; log:\n%s", err, s.log.String())
	}
}

func scriptEnded(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	s := *running(ts)
	got, err := s.code(stopMax)
	if err != nil || got != want {
		ts.Fatalf("exit code %d, %v; want %d; log:\n%s", got, err, want, s.log.String())
	}
	if len(args) > 1 && !regexp.MustCompile(args[1]).MatchString(s.out.String()) {
		ts.Fatalf("the output does not match %s:\n%s", args[1], s.out.String())
	}
}

func scriptNTP(ts *testscript.TestScript, _ bool, args []string) {
	addr, stop, err := fakeNTP(args[1:])
	ts.Check(err)
	ts.Defer(stop)
	ts.Setenv(args[0], addr)
}

func scriptChronyd(ts *testscript.TestScript, _ bool, _ []string) {
	addr, stop, err := fakeChronyd()
	ts.Check(err)
	ts.Defer(stop)
	ts.Setenv("CHRONYD", addr)
}

func scriptHTTP(ts *testscript.TestScript, _ bool, args []string) {
	web := http.Client{Timeout: patience}
	defer web.CloseIdleConnections()
	var r *http.Response
	var err error
	if len(args) == 1 {
		r, err = web.Get(args[0])
	} else {
		r, err = web.Post(args[0], "application/json", strings.NewReader(args[1]))
	}
	ts.Check(err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "%d %s\n", r.StatusCode, body)
}

func scriptExpand(ts *testscript.TestScript, _ bool, args []string) {
	name := ts.MkAbs(args[0])
	ts.Check(os.WriteFile(name, []byte(os.Expand(ts.ReadFile(args[0]), ts.Getenv)), 0o600))
}

func scriptAhead(ts *testscript.TestScript, _ bool, args []string) {
	span, err := time.ParseDuration(args[1])
	ts.Check(err)
	ts.Setenv(args[0], hlc.FromUnix(time.Now().Add(span).UnixNano()).String())
}

// masks replace what differs from one run to the next by a word for it.
var masks = []struct {
	what *regexp.Regexp
	word string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z(\+\d{4})?`), "TIME"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "ADDRESS"},
	{regexp.MustCompile(`\b[0-9a-f]{16}\b`), "HEX"},
	{regexp.MustCompile(`\b\d{19}\b`), "INTEGER"},
	{regexp.MustCompile(`[+-]?\b(\d+(\.\d+)?(ns|µs|ms|h|m|s))+\b`), "SPAN"},
	{regexp.MustCompile(`2\^-\d+ s`), "2^-N s"},
	{regexp.MustCompile(`version \S+,`), "version V,"},
	{regexp.MustCompile(`\d+ MiB of the disk free`), "N MiB of the disk free"},
	{regexp.MustCompile(`(Ns"):(-?\d+)`), "$1:N"},
	{regexp.MustCompile(`(precisionLog2"):(-?\d+)`), "$1:N"},
	{regexp.MustCompile(`kernel's receive timestamp|read after the receive`), "STAMP"}, // see netio.Client
	{regexp.MustCompile(`(kernelStamped"):(true|false)`), "$1:STAMP"},
	{regexp.MustCompile(`  +`), "  "}, // columns are as wide as what is in them
}

func scriptMasked(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0])
	for _, m := range masks {
		text = m.what.ReplaceAllString(text, m.word)
	}
	fmt.Fprint(ts.Stdout(), text)
}

// TestHelp walks through all commands: each explains itself, takes --json, and refuses
// what it does not know.
func TestHelp(t *testing.T) {
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		words := strings.Fields(cmd.CommandPath())[1:]
		t.Run(strings.Join(append(words, "help"), "_"), func(t *testing.T) {
			run := func(args ...string) (code int, out, log string) {
				var o, l strings.Builder
				code = run(t.Context(), append(append([]string{}, words...), args...), streams{strings.NewReader(""), &o, &l})
				return code, o.String(), l.String()
			}
			code, out, log := run("--help")
			if code != 0 || log != "" {
				t.Errorf("--help: exit code %d, stderr %q", code, log)
			}
			if cmd.Short == "" || !cmd.HasSubCommands() && (cmd.Long == "" || !strings.HasPrefix(out, cmd.Long)) {
				t.Errorf("--help explains nothing:\n%s", out)
			}
			for _, want := range []string{"Usage:\n  truechimer", "--json", "--api"} {
				if !strings.Contains(out, want) {
					t.Errorf("--help does not show %q:\n%s", want, out)
				}
			}
			for _, line := range strings.Split(out, "\n") {
				if len(line) > 140 {
					t.Errorf("--help has a line of %d bytes: %s", len(line), line)
				}
			}
			usage := exitUsage
			if cmd.Name() == "check" && cmd.Parent().Parent() == nil {
				usage = pluginUnknown // 2 would be taken for a clock that is wrong
			}
			if code, out, log := run("--no-such-flag"); code != usage || out != "" || log != "truechimer: unknown flag: --no-such-flag; see "+cmd.CommandPath()+" --help\n" {
				t.Errorf("an unknown flag: exit code %d, stdout %q, stderr %q", code, out, log)
			}
			if code, _, log := run("nonsense", "nonsense", "nonsense"); code == 0 || !strings.HasPrefix(log, "truechimer: ") && cmd.Name() != "query" {
				t.Errorf("nonsense: exit code %d, stderr %q", code, log)
			}
		})
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(newRoot(streams{strings.NewReader(""), io.Discard, io.Discard}))
}
