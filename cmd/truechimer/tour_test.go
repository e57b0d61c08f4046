package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/truechimer/truechimer/hlc"
)

// TestTour does what the README tells a newcomer to do, line by line. What the lines say
// is what runs, except that the program is not built again, that the server is ended by
// its process number, and that an unpacked chronyd has no user of its own.
func TestTour(t *testing.T) {
	if canIsolate() {
		if !isolate(t) {
			return
		}
	} else if !tourPortsFree() {
		leaveOut(t, "needs the ports of the tour, or network namespaces")
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	tour := tour{t: t, dir: t.TempDir()}
	if !strings.Contains(string(readme), "Start `go run ./cmd/truechimer serve` in one terminal.") {
		t.Error("the README does not say how to start")
	}
	tour.serve()
	done := 0
	for _, line := range steps(t, string(readme), "A tour", "With a configuration") {
		t.Logf("$ %s", line)
		tour.step(line)
		done++
	}
	if done < 10 {
		t.Errorf("the README has %d steps only", done)
	}
	if tour.server != nil {
		tour.stop()
	}
	before, after := tour.timestamp("before"), tour.timestamp("after")
	if after <= before {
		t.Errorf("time went back: %v, then %v", before, after)
	}
}

// tourPortsFree reports whether nothing serves where the tour does.
func tourPortsFree() bool {
	api, err := net.Listen("tcp", "127.0.0.1:8123")
	if err != nil {
		return false
	}
	api.Close()
	ntp, err := net.ListenPacket("udp", "127.0.0.1:11123")
	if err != nil {
		return false
	}
	ntp.Close()
	return true
}

// steps returns the lines of the shell blocks under the headings.
func steps(t *testing.T, readme string, headings ...string) (lines []string) {
	t.Helper()
	for _, heading := range headings {
		_, section, found := strings.Cut(readme, "\n## "+heading+"\n")
		if !found {
			t.Fatalf("the README has no section %q", heading)
		}
		section, _, _ = strings.Cut(section, "\n## ")
		for i, block := range strings.Split(section, "\n```") {
			if i%2 == 0 || !strings.HasPrefix(block, "sh\n") {
				continue
			}
			for line := range strings.Lines(strings.TrimPrefix(block, "sh\n")) {
				line, _, _ = strings.Cut(line, "  #")
				lines = append(lines, strings.TrimSpace(line))
			}
		}
	}
	return lines
}

type tour struct {
	t      *testing.T
	dir    string
	server *server
}

func (u *tour) serve(args ...string) { u.server = serveTest(u.t, u.dir, args...) }

// stop ends the server as an operator would.
func (u *tour) stop() {
	u.t.Helper()
	if err := u.server.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		u.t.Error(err)
	}
	code, err := u.server.code(stopMax)
	if err != nil || code != 0 || !strings.HasSuffix(u.server.out.String(), "stopped in order\n") {
		u.t.Errorf("exit code %d, %v:\n%s", code, err, u.server.out.String())
	}
	u.server = nil
}

func (u *tour) step(line string) {
	u.t.Helper()
	word, rest, _ := strings.Cut(line, " ")
	switch {
	case line == "go build ./cmd/truechimer":
		self, err := exec.LookPath("truechimer")
		if err != nil {
			u.t.Fatal(err)
		}
		if err := os.Symlink(self, filepath.Join(u.dir, "truechimer")); err != nil {
			u.t.Fatal(err)
		}
	case line == "./truechimer serve &":
		u.serve()
	case line == "pkill -9 -n -x truechimer":
		u.server.kill()
	case line == "kill $!":
		u.stop()
	case word == "sleep": // serve has waited
	case strings.HasPrefix(line, "./truechimer serve"):
		if u.server != nil {
			u.stop()
		}
		u.serve(strings.Fields(strings.TrimPrefix(line, "./truechimer serve"))...)
	case word == "chronyd" && os.Getenv("TRUECHIMER_PEERS") == "":
		if os.Getenv("CI") == "true" {
			u.t.Error("needs TRUECHIMER_PEERS for chronyd")
		}
	case word == "chronyd":
		u.sh(`PATH="$TRUECHIMER_PEERS/bin:$PATH" chronyd "user root" ` + strings.TrimPrefix(rest, "-Q -t 10 ") + " -Q -t 10")
	case word == "curl":
		if _, err := exec.LookPath("curl"); err != nil && os.Getenv("CI") != "true" {
			return
		}
		if out := u.sh(line); !strings.Contains(out, `"timestamp"`) {
			u.t.Errorf("%s: got %s", line, out)
		}
	case line == "./truechimer read chat": // also after the crash
		if out := u.sh(line); !strings.Contains(out, "deploy now?") || !strings.Contains(out, "tests are green") {
			u.t.Errorf("%s: got %s", line, out)
		}
	case word == "./truechimer" || word == "sort" || word == "cat":
		u.sh(line)
	default:
		u.t.Errorf("the README has a step that this test does not know: %s", line)
	}
}

// sh runs a line of the README, which must succeed.
func (u *tour) sh(line string) string {
	u.t.Helper()
	cmd := exec.CommandContext(u.t.Context(), "sh", "-c", line)
	cmd.Dir, cmd.SysProcAttr = u.dir, dieWithUs()
	out, err := cmd.CombinedOutput()
	if u.t.Logf("%s", out); err != nil {
		u.t.Errorf("%s: %v", line, err)
	}
	return string(out)
}

// timestamp reads what the tour has kept in a file.
func (u *tour) timestamp(name string) hlc.Timestamp {
	u.t.Helper()
	text, err := os.ReadFile(filepath.Join(u.dir, name))
	if err != nil {
		u.t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), " ")
	ts, err := hlc.Parse(first)
	if err != nil {
		u.t.Fatal(err)
	}
	return ts
}
