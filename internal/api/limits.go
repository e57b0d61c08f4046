package api

import (
	"context"
	"math"
	"net/http"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
	"github.com/truechimer/truechimer/store"
)

// limits are what all calls share. They refuse a call in the protocol that it came in.
type limits struct {
	calls, sessions, watches, backups turnstile
	verifications, reports, lookups   turnstile
	requests, answers                 *memory
	refusals                          *connect.ErrorWriter
}

// turnstile lets in so many calls at a time.
type turnstile struct {
	slots chan struct{}
	full  *connect.Error
}

func newLimits(calls int, refusals *connect.ErrorWriter) *limits {
	return &limits{
		calls:    turnstile{make(chan struct{}, calls), errFull},
		sessions: turnstile{make(chan struct{}, sessionsMax), errSessions},
		watches:  turnstile{make(chan struct{}, store.WatchersMax), errWatches},
		backups:  turnstile{make(chan struct{}, 1), errBackup},

		verifications: turnstile{make(chan struct{}, verificationsMax), errVerifying},
		reports:       turnstile{make(chan struct{}, reportsMax), errReporting},
		lookups:       turnstile{make(chan struct{}, lookupsMax), errLookups},

		requests: newMemory(requestsLenMax),
		answers:  newMemory(answersLenMax),
		refusals: refusals,
	}
}

// optionsOf are the options of the calls that differ from others: some have larger requests.
// What a watch delivers is not compressed: a thousand of them would have the same events
// compressed a thousand times, by clients whose library asks for it unbidden.
func optionsOf(spec connect.Spec) []connect.HandlerOption {
	switch spec.Procedure {
	case rpcconnect.StreamServiceAppendProcedure:
		return []connect.HandlerOption{connect.WithReadMaxBytes(appendLenMax)}
	case rpcconnect.StreamServiceCutProcedure:
		return []connect.HandlerOption{connect.WithReadMaxBytes(namesLenMax)}
	case rpcconnect.StreamServiceWatchProcedure:
		return []connect.HandlerOption{connect.WithReadMaxBytes(namesLenMax), connect.WithCompressMinBytes(math.MaxInt)}
	}
	return nil
}

// apply puts the limits in front of the calls of a service. A watch does not take the place
// of another call, nor the other way round.
func (l *limits) apply(service http.Handler) http.Handler {
	weighed := weighRequests(service, l.requests)
	endless := openEnded(holdAnswers(weighed, l.answers))
	plain := l.calls.guard(service, l.refusals)
	large := l.calls.guard(weighed, l.refusals)
	read := l.calls.guard(holdAnswers(service, l.answers), l.refusals)
	session := l.sessions.guard(openEnded(service), l.refusals)
	watch := l.watches.guard(endless, l.refusals)
	backup := l.backups.guard(endless, l.refusals)
	verification := l.verifications.guard(openEnded(service), l.refusals)
	report := l.reports.guard(plain, l.refusals)
	lookup := l.lookups.guard(plain, l.refusals)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next := plain
		switch r.URL.Path {
		case rpcconnect.StreamServiceAppendProcedure, rpcconnect.StreamServiceCutProcedure:
			next = large
		case rpcconnect.StreamServiceReadProcedure:
			next = read
		case rpcconnect.ClockServiceSessionProcedure:
			next = session
		case rpcconnect.StreamServiceWatchProcedure:
			next = watch
		case rpcconnect.NodeServiceBackupProcedure:
			next = backup
		case rpcconnect.EvidenceServiceVerifyJournalProcedure:
			next = verification
		case rpcconnect.EvidenceServiceReportProcedure:
			next = report
		case rpcconnect.EvidenceServiceBreachesProcedure, rpcconnect.EvidenceServiceAcknowledgeProcedure,
			rpcconnect.EvidenceServiceHistoryProcedure, rpcconnect.EvidenceServiceJournalProcedure:
			next = lookup
		}
		next.ServeHTTP(w, r)
	})
}

// guard refuses a call that finds no slot free.
func (t turnstile) guard(next http.Handler, refusals *connect.ErrorWriter) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case t.slots <- struct{}{}:
			defer func() { <-t.slots }()
			next.ServeHTTP(w, r)
		default:
			_ = refusals.Write(w, r, t.full) // a client that is gone needs no answer
		}
	})
}

// shareKey is the key of a call's share of the answers in its context.
type shareKey struct{}

// shareOf returns what a call holds of the memory for answers.
func shareOf(ctx context.Context) *share { return ctx.Value(shareKey{}).(*share) }

// holdAnswers gives a call its share of the memory for answers, which it may hold until its
// answer is written.
func holdAnswers(next http.Handler, m *memory) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := &share{of: m}
		defer s.release()
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), shareKey{}, s)))
	})
}
