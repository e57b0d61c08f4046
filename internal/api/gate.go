package api

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
)

// gate decides who may call what, before anything else is asked, and goes on doing so while a
// call lasts. Its methods may be called concurrently.
type gate struct {
	table     atomic.Pointer[table]
	rules     map[string]rule
	addresses *addresses
	logins    logins
	journal   *journal
	// trusted reports whether a certificate is still one that would be taken now.
	trusted func(leaf verified) bool
	start   time.Time

	mu   sync.Mutex
	long map[*longCall]struct{} // those in progress
}

func newGate(a Access, j *journal) (*gate, error) {
	t, err := newTable(a, nil)
	if err != nil {
		return nil, err
	}
	g := &gate{rules: rules(), addresses: newAddresses(addressesMax), journal: j, start: time.Now(), long: make(map[*longCall]struct{})}
	g.table.Store(t)
	return g, nil
}

// set replaces who may call what. Calls without an end whose callers may no longer make them
// are ended; the others go on.
func (g *gate) set(a Access) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	t, err := newTable(a, g.table.Load())
	if err != nil {
		return err
	}
	g.table.Store(t)
	g.logins.keep(t)
	for l := range g.long {
		if fault := g.still(l.caller); fault != nil {
			l.end(fault)
		}
	}
	return nil
}

// now is a moment on the clock of the buckets. It is above what they begin with.
func (g *gate) now() int64 { return int64(time.Since(g.start)) }

// caller is who makes a call.
type caller struct {
	gate  *gate
	shown credential
	chain verified
	rule  rule
	who   *Principal
	name  string // of the call
	from  string // address and port
	usage *usage // nil: it is not limited
}

// callerKey is the key of a call's caller in its context.
type callerKey struct{}

func callerOf(ctx context.Context) *caller { return ctx.Value(callerKey{}).(*caller) }

// principal is who makes a call, as far as idempotency keys go; empty: nobody in particular.
func principal(ctx context.Context) string { return callerOf(ctx).who.Name }

// still returns why a caller may no longer make its call, or nil.
func (g *gate) still(c *caller) *connect.Error {
	if !g.valid(c.chain) {
		return errUnknown
	}
	who, _, fault := g.judge(&c.shown, c.rule)
	if fault == nil && !who.sameScope(c.who) {
		fault = errForbidden
	}
	return fault
}

// judge decides about a credential: who it is, what that uses, or why the call is refused.
func (g *gate) judge(shown *credential, r rule) (*Principal, *usage, *connect.Error) {
	t := g.table.Load()
	m, ok := t.find(shown)
	switch {
	case !ok:
		return nil, nil, errUnknown
	case m == nil && !t.anonymous.may(r):
		return nil, nil, errUnknown
	case m == nil:
		return &t.anonymous, nil, nil
	case !m.may(r):
		return &m.Principal, nil, errForbidden
	}
	return &m.Principal, m.usage, nil
}

// valid reports whether the certificate of a connection, where it has one, has not expired
// since, and is of an authority that is still trusted.
func (g *gate) valid(chain verified) bool {
	if len(chain) == 0 {
		return true
	}
	return time.Now().Before(chain[0].NotAfter) && (g.trusted == nil || g.trusted(chain))
}

// identify returns who makes a request that needs a right, or why it is refused.
func (g *gate) identify(r *http.Request, need rule) (*caller, *connect.Error) {
	c := &caller{gate: g, rule: need, name: r.URL.Path, from: r.RemoteAddr}
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		c.chain = r.TLS.VerifiedChains[0]
		c.shown.leaf = c.chain[0]
	}
	headers := r.Header.Values("Authorization")
	if len(headers) > 1 || len(headers) == 1 && !c.shown.bearer(headers[0]) || !g.valid(c.chain) {
		return c, errUnknown
	}
	var fault *connect.Error
	c.who, c.usage, fault = g.judge(&c.shown, need)
	return c, fault
}

// kindOf returns what a call counts as.
func kindOf(procedure string) kind {
	switch procedure {
	case rpcconnect.ClockServiceSessionProcedure:
		return aSession
	case rpcconnect.StreamServiceWatchProcedure:
		return aWatch
	default:
		return aCall
	}
}

// guard lets in the calls whose callers may make them, before their bodies are read.
func (g *gate) guard(next http.Handler, refusals *connect.ErrorWriter) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, fault := g.identify(r, g.rules[r.URL.Path])
		if fault == nil {
			k := kindOf(r.URL.Path)
			if fault = c.enter(k); fault == nil {
				defer c.leave(k)
				next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, c)))
				return
			}
		}
		g.note(c, fault)
		hasten(w)
		if fault == errUnknown {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		_ = refusals.Write(w, r, fault) // a client that is gone needs no answer
	})
}

// guardPlain lets those who may read have what is not a call, and everybody as long as open says so.
func (g *gate) guardPlain(open func(*table) bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if open(g.table.Load()) {
			next.ServeHTTP(w, r)
			return
		}
		c, fault := g.identify(r, toRead())
		if fault == nil {
			next.ServeHTTP(w, r)
			return
		}
		g.note(c, fault)
		hasten(w)
		status := http.StatusForbidden
		if fault == errUnknown {
			w.Header().Set("WWW-Authenticate", "Bearer")
			status = http.StatusUnauthorized
		}
		http.Error(w, fault.Message(), status)
	})
}

// drainMax is how long the rest of a request that was refused may take to come.
const drainMax = time.Second

// hasten leaves a client that was refused a moment for the rest of its request: otherwise who
// has no right could hold a connection for as long as a call may take.
func hasten(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(drainMax)) // fails only where there is no connection any more
}

// note remembers a refusal.
func (g *gate) note(c *caller, fault *connect.Error) {
	name := ""
	if c.who != nil {
		name = c.who.Name
	}
	g.journal.refused(c.from, name, c.name, fault)
}

// enter counts a call of the caller. Anonymous callers count by their address, but for those
// on this machine, who cannot be told apart: what holds for all calls holds for them.
func (c *caller) enter(k kind) *connect.Error {
	most := c.who.Quota.most(k)
	if c.usage == nil {
		from, err := netip.ParseAddrPort(c.from)
		if err != nil || from.Addr().Unmap().IsLoopback() {
			return nil
		}
		u, ok := c.gate.addresses.enter(holder(from.Addr()), k, most)
		switch {
		case u == nil:
			return errAddresses
		case !ok:
			return errQuotaCalls(k, most)
		}
		c.usage = u
		return nil
	}
	if !c.usage.enter(k, most) {
		return errQuotaCalls(k, most)
	}
	return nil
}

func (c *caller) leave(k kind) {
	if c.usage != nil {
		c.usage.leave(k)
	}
}

// issue draws n timestamps from the caller's quota.
func (c *caller) issue(n int64) *connect.Error {
	if c.usage == nil || n <= 0 {
		return nil
	}
	q := &c.who.Quota
	if wait := c.usage.timestamps.take(c.gate.now(), n, q.timestamps()); wait > 0 {
		return c.over(errQuotaTimestamps(q, wait))
	}
	return nil
}

// append draws n bytes from the caller's quota.
func (c *caller) append(n int64) *connect.Error {
	q := &c.who.Quota
	if c.usage == nil || q.AppendBytes == 0 || n <= 0 {
		return nil
	}
	if wait := c.usage.appendBytes.take(c.gate.now(), n, q.AppendBytes); wait > 0 {
		return c.over(errQuotaAppend(q, wait))
	}
	return nil
}

// over remembers a refusal of a call that has been let in.
func (c *caller) over(fault *connect.Error) *connect.Error {
	c.gate.note(c, fault)
	return fault
}

// covers fails unless the caller may use all of the streams.
func (c *caller) covers(names ...string) error {
	if slices.ContainsFunc(names, func(name string) bool { return !c.who.covers(name) }) {
		return c.over(errForbidden)
	}
	return nil
}

// selects fails unless the caller may use all that is selected.
func (c *caller) selects(names []string, prefix string) error {
	if fault := c.who.selects(names, prefix); fault != nil {
		return c.over(fault)
	}
	return nil
}

// longCall is a call without an end.
type longCall struct {
	caller *caller
	end    func(fault error)
}

// watchOver has end called, with what the peer is told, once the caller of a call may no
// longer make it: at once where that is so already. It is over when release is called.
func (c *caller) watchOver(end func(fault error)) (release func()) {
	g := c.gate
	l := &longCall{caller: c, end: end}
	g.mu.Lock()
	g.long[l] = struct{}{}
	fault := g.still(c) // it may have changed since it was let in
	g.mu.Unlock()
	if fault != nil {
		end(fault)
	}
	var expiry *time.Timer
	if len(c.chain) > 0 {
		expiry = time.AfterFunc(time.Until(c.chain[0].NotAfter), func() { end(errUnknown) })
	}
	return func() {
		if expiry != nil {
			expiry.Stop()
		}
		g.mu.Lock()
		delete(g.long, l)
		g.mu.Unlock()
	}
}
