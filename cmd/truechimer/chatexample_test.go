package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// TestChatExample runs hack/examples/chat.py behind a proxy that loses the answer to every
// first append of a key and cuts every watch after its first events: all is there once, in
// order.
func TestChatExample(t *testing.T) {
	python, err := exec.LookPath("/usr/bin/python3") // Debian's: hack/cmd/peers brings it
	if err != nil {
		python, err = exec.LookPath("python3")
	}
	if err != nil {
		leaveOut(t, "needs python3")
	}
	const program = "../../hack/examples/chat.py"
	if _, err := os.ReadFile(program); err != nil { // read here too, so that go test runs anew when it changes
		t.Fatal(err)
	}
	s := serveSynchronised(t)
	p := &lossyProxy{to: "http://" + s.api, seen: make(map[string]bool)}
	front := httptest.NewServer(p)
	defer front.Close()
	cmd := exec.CommandContext(t.Context(), python, program, front.URL, "chat-1")
	cmd.Env = append(cmd.Environ(), "TRUECHIMER_TOKEN=s3cret", "NO_PROXY=*", "no_proxy=*", "PYTHONDONTWRITEBYTECODE=1")
	cmd.SysProcAttr = dieWithUs()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := regexp.MustCompile(`^three timestamps: (\d+), (\d+), (\d+)
bob hears: deploy now\?
alice hears: tests are green
bob hears: go\?
alice hears: go!
said twice, there once: True
page 1: 1 (\d+) alice: deploy now\?
page 1: 2 (\d+) bob: tests are green
page 2: 3 (\d+) alice: go\?
page 2: 4 (\d+) bob: go!
page 3: 5 (\d+) alice: thanks
in the past for certain: UTC is in (\d+) to (?:\d+)
$`)
	found := want.FindSubmatch(out)
	if found == nil {
		t.Fatalf("got\n%s\nwant\n%v", out, want)
	}
	last := uint64(0)
	for _, text := range found[1:] {
		ts, err := strconv.ParseUint(string(text), 10, 64)
		if err != nil || ts <= last {
			t.Errorf("%d, then %s, %v", last, text, err)
		}
		last = ts
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.strangers > 0 || p.lost != 6 || p.cut < 4 || p.blind != 1 {
		t.Errorf("%d calls without the token, %d answers lost, %d watches cut, %d appends observed nothing", p.strangers, p.lost, p.cut, p.blind)
	}
}

// lossyProxy passes calls on to a node, and loses some of what it answers.
type lossyProxy struct {
	to string

	mu                   sync.Mutex
	seen                 map[string]bool // appends, by their bodies
	strangers, lost, cut int
	blind                int // appends after nothing
}

// ServeHTTP implements http.Handler.
func (p *lossyProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	request, err := http.NewRequestWithContext(r.Context(), r.Method, p.to+r.URL.Path, bytes.NewReader(body))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	request.Header.Set("Content-Type", r.Header.Get("Content-Type"))
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer answer.Body.Close()
	p.note(r, body)
	w.Header().Set("Content-Type", answer.Header.Get("Content-Type"))
	if strings.HasSuffix(r.URL.Path, "/Watch") {
		w.WriteHeader(answer.StatusCode)
		p.watch(w, answer.Body)
		panic(http.ErrAbortHandler)
	}
	if length := answer.Header.Get("Content-Length"); length != "" {
		w.Header().Set("Content-Length", length)
	}
	w.WriteHeader(answer.StatusCode)
	_, _ = io.Copy(w, answer.Body) // who is gone needs no answer
}

// note counts a call, and does not return where the answer is to be lost: the first one to each
// append. The one that the program itself repeats differs in what it observes.
func (p *lossyProxy) note(r *http.Request, body []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer s3cret" {
		p.strangers++
	}
	if strings.HasSuffix(r.URL.Path, "/Append") && !p.seen[string(body)] {
		p.seen[string(body)] = true
		p.lost++
		if bytes.Contains(body, []byte(`"observe": "0"`)) {
			p.blind++
		}
		panic(http.ErrAbortHandler)
	}
}

// watch passes on what comes of a watch until there were events, and a part of what is next.
func (p *lossyProxy) watch(w http.ResponseWriter, from io.Reader) {
	for head := make([]byte, 5); ; {
		if _, err := io.ReadFull(from, head); err != nil {
			return
		}
		message := make([]byte, binary.BigEndian.Uint32(head[1:]))
		if _, err := io.ReadFull(from, message); err != nil {
			return
		}
		_, _ = w.Write(append(bytes.Clone(head), message...)) // who is gone needs no answer
		events := bytes.Contains(message, []byte(`"sequence"`))
		if events {
			_, _ = w.Write(head[:3])
		}
		_ = http.NewResponseController(w).Flush()
		if events {
			p.mu.Lock()
			p.cut++
			p.mu.Unlock()
			return
		}
	}
}
