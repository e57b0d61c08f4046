package alert

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/truechimer/truechimer/internal/rpc"
)

// arrival is a message that a fake receiver was sent.
type arrival struct {
	webhookMessage
	alerts []postableAlert // of an Alertmanager
	at     time.Time
	path   string
	header http.Header
	status int // answered; 0: none
}

// receiver is a fake network with webhooks behind all hosts. Its answer is a status; 0: the
// connection breaks; -1: it hangs.
type receiver struct {
	t      *testing.T
	answer func(a *arrival) int

	mu  sync.Mutex
	got []arrival
}

// RoundTrip implements http.RoundTripper.
func (r *receiver) RoundTrip(req *http.Request) (*http.Response, error) {
	a := arrival{at: time.Now(), path: req.Host + req.URL.Path, header: req.Header}
	err := a.decode(req)
	if err != nil {
		r.t.Errorf("%s: %v", req.URL, err)
	}
	a.status = 200
	if r.answer != nil {
		a.status = r.answer(&a)
	}
	r.mu.Lock()
	r.got = append(r.got, a)
	r.mu.Unlock()
	switch a.status {
	case 0:
		return nil, errors.New("connection reset by peer")
	case -1:
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	return &http.Response{StatusCode: a.status, Header: http.Header{"Location": {"http://elsewhere/"}}, Body: http.NoBody, Request: req}, nil
}

func (a *arrival) decode(req *http.Request) error {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if strings.HasSuffix(req.URL.Path, alertmanagerPath) {
		return d.Decode(&a.alerts)
	}
	err = d.Decode(&a.webhookMessage)
	if err == nil && a.header.Get("Idempotency-Key") != a.ID {
		err = fmt.Errorf("the header says %q and the body %q", a.header.Get("Idempotency-Key"), a.ID)
	}
	return err
}

// taken returns the messages about alarms that were taken, each once.
func (r *receiver) taken(host string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, a := range r.got {
		if a.status/100 == 2 && a.Alarm != nil && strings.HasPrefix(a.path, host) && !slices.Contains(all, a.ID) {
			all = append(all, a.ID)
		}
	}
	return all
}

// all returns what was sent so far.
func (r *receiver) all() []arrival {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

func (r *receiver) last() arrival {
	all := r.all()
	return all[len(all)-1]
}

// types returns the types of all that was sent, and clears the record.
func (r *receiver) types() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, a := range r.got {
		all = append(all, string(a.Type))
	}
	r.got = nil
	return strings.Join(all, " ")
}

// log is a journal in memory.
type log struct {
	mu      sync.Mutex
	entries []*rpc.JournalEntry
}

func (l *log) add(e *rpc.JournalEntry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, proto.CloneOf(e))
}

func (l *log) all() iter.Seq2[int64, *rpc.JournalEntry] {
	l.mu.Lock()
	defer l.mu.Unlock()
	entries := slices.Clone(l.entries)
	return func(yield func(int64, *rpc.JournalEntry) bool) {
		for i, e := range entries {
			if !yield(int64(i), e) {
				return
			}
		}
	}
}

// alarms returns the ids of the messages that follow from the journal.
func (l *log) alarms() []string {
	var all []string
	for _, e := range l.all() {
		if a := e.GetAlarm(); a != nil {
			all = append(all, newMessage(a).id)
		}
	}
	return all
}

func (l *log) deliveries() []*rpc.Delivered {
	var all []*rpc.Delivered
	for _, e := range l.all() {
		if d := e.GetDelivery(); d != nil {
			all = append(all, d)
		}
	}
	return all
}
