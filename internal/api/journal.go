package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
)

const (
	// refusalsMax is how many refusals are written in a second; the others are counted.
	refusalsMax = 32
	// refusalsQueued is how many wait for a disk that is slow.
	refusalsQueued = 2 * refusalsMax
	codesMax       = int(connect.CodeUnauthenticated) + 1
)

// journal writes down the calls that were refused, one line each, and counts them. Nothing
// waits for it: where it cannot follow it leaves out, and says how many.
type journal struct {
	path   string // empty: they go to the log
	log    *slog.Logger
	queue  chan refusal
	kick   chan struct{} // something was left out
	left   atomic.Uint64
	counts [codesMax]atomic.Uint64

	mu     sync.Mutex // guards second and count
	second time.Time
	count  int

	file   atomic.Pointer[os.File]
	reopen chan struct{}
	broken bool // the last line could not be written; the writer's alone
}

// refusal is one line.
type refusal struct {
	Time      time.Time `json:"time"`
	Address   string    `json:"address,omitempty"`
	Principal string    `json:"principal"`
	Call      string    `json:"call,omitempty"`
	Code      string    `json:"code,omitempty"`
	LeftOut   uint64    `json:"left_out,omitempty"`
}

// newJournal opens the file where there is one.
func newJournal(path string, log *slog.Logger) (*journal, error) {
	j := &journal{path: path, log: log, queue: make(chan refusal, refusalsQueued), kick: make(chan struct{}, 1), reopen: make(chan struct{}, 1)}
	if path == "" {
		return j, nil
	}
	f, err := openJournal(path)
	if err != nil {
		return nil, fmt.Errorf("open api.access_log: %w; name a file that can be written, or leave it empty for the log", err)
	}
	j.file.Store(f)
	return j, nil
}

func openJournal(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
}

// refused notes that a call was refused. It never waits.
func (j *journal) refused(address, principal, call string, fault *connect.Error) {
	if code := int(fault.Code()); code < codesMax {
		j.counts[code].Add(1)
	}
	j.put(refusal{Time: time.Now().UTC(), Address: address, Principal: principal, Call: clipped(call), Code: fault.Code().String()})
}

// put queues a line, or leaves it out.
func (j *journal) put(r refusal) {
	if j.room(r.Time) {
		select {
		case j.queue <- r:
			return
		default: // the disk is slow
		}
	}
	j.left.Add(1)
	select {
	case j.kick <- struct{}{}:
	default:
	}
}

// room reports whether another line may be written in this second.
func (j *journal) room(now time.Time) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if since := now.Sub(j.second); since < 0 || since >= time.Second {
		j.second, j.count = now, 0
	}
	j.count++
	return j.count <= refusalsMax
}

// run writes until ctx ends.
func (j *journal) run(ctx context.Context) {
	tell := time.NewTimer(0)
	<-tell.C
	defer tell.Stop()
	armed := false
	for {
		select {
		case r := <-j.queue:
			j.write(r)
		case <-j.kick:
			if !armed {
				armed = true
				tell.Reset(time.Second)
			}
		case <-tell.C:
			armed = false
			j.writeLeft()
		case <-j.reopen:
			j.open()
		case <-ctx.Done():
			for len(j.queue) > 0 {
				j.write(<-j.queue)
			}
			j.writeLeft()
			return
		}
	}
}

// writeLeft says how many were left out since it last did.
func (j *journal) writeLeft() {
	if n := j.left.Swap(0); n > 0 {
		j.write(refusal{Time: time.Now().UTC(), LeftOut: n})
	}
}

func (j *journal) write(r refusal) {
	f := j.file.Load()
	if f == nil {
		if r.LeftOut > 0 {
			j.log.Info("calls refused and not listed", "count", r.LeftOut)
			return
		}
		j.log.Info("call refused", "address", r.Address, "principal", r.Principal, "call", r.Call, "code", r.Code)
		return
	}
	line, err := json.Marshal(r)
	if err == nil { // invariant: it is text and numbers
		_, err = f.Write(append(line, '\n'))
	}
	if err != nil && !j.broken {
		j.log.Warn("access log cannot be written; refusals are only counted until it can", "err", err)
	}
	j.broken = err != nil
}

// open opens the file again, which may have been moved away. Where it cannot be opened, the
// old one is written on.
func (j *journal) open() {
	f, err := openJournal(j.path)
	if err != nil {
		j.log.Warn("access log not opened again; the old file is written on", "err", err)
		return
	}
	j.closeFile(j.file.Swap(f))
	j.broken = false
}

// again has the file opened again.
func (j *journal) again() {
	if j.path == "" {
		return
	}
	select {
	case j.reopen <- struct{}{}:
	default: // it will be
	}
}

// close releases the file; run has ended.
func (j *journal) close() { j.closeFile(j.file.Swap(nil)) }

func (j *journal) closeFile(f *os.File) {
	if f == nil {
		return
	}
	if err := f.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		j.log.Warn("access log not closed in order", "err", err)
	}
}
