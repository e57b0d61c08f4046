package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// receive takes the contender's alerts, and tells the console of each with the instant, until
// the machine is turned off.
func receive(planFile string) error {
	p, err := readPlan(planFile)
	if err != nil {
		return err
	}
	console, err := os.OpenFile("/dev/console", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", p.Receiver.Address)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(os.Stdout, "ready")
	if err != nil {
		return err
	}
	h := &hook{law: p.Law, headFile: p.Receiver.HeadFile, console: console, refuser: refuser{left: p.Receiver.Refusals}}
	return http.Serve(l, h)
}

// hook is the receiver's HTTP server.
type hook struct {
	law      law
	headFile string
	console  io.Writer

	mu      sync.Mutex
	refuser refuser
	hasHead bool
}

// ServeHTTP implements http.Handler.
func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	const bodyMax = 1 << 16
	body, err := io.ReadAll(io.LimitReader(r.Body, bodyMax))
	if err == nil {
		var code int
		code, err = h.take(body)
		w.WriteHeader(code)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "receive: %v\n", err) // on the console; the message is then missing
	}
}

// take returns with what a message is answered.
func (h *hook) take(body []byte) (code int, err error) {
	real, raw, err := readClocks(unix.CLOCK_REALTIME)
	if err != nil {
		return http.StatusInternalServerError, err
	}
	var m message
	err = json.Unmarshal(body, &m)
	if err != nil {
		return http.StatusBadRequest, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	code = http.StatusOK
	at := time.Duration(raw - h.law.RawNs)
	if h.refuser.refuses(&m, at) {
		code = http.StatusInternalServerError
	} else if m.Head != "" && !h.hasHead {
		err = os.WriteFile(h.headFile, []byte(m.Head+"\n"), 0o644)
		if err != nil {
			return http.StatusInternalServerError, err
		}
		h.hasHead = true
	}
	told := record{Kind: received, Seconds: at.Seconds(), RawNs: raw, UnixNs: real, Code: code, Text: string(body)}
	_, err = h.console.Write(told.line())
	return code, err
}
