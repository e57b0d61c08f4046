package api

import (
	"context"
	"crypto/tls"
	"net/http"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
	"github.com/truechimer/truechimer/store"
)

// bearing sends a token with each request.
type bearing struct {
	token string
	next  http.RoundTripper
}

func (b bearing) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.next.RoundTrip(r)
}

func withToken(c *http.Client, token string) *http.Client {
	return &http.Client{Transport: bearing{token, c.Transport}}
}

// TestRevoked: calls without an end, however silent, end with the right, the token, the streams
// or the principal of their callers; those of others, and of a principal of whom something else
// changed, go on.
func TestRevoked(t *testing.T) {
	one := func(change func(*Principal)) Access {
		p := Principal{Name: "one", Token: tokenOf("one"), Rights: RightsAll}
		change(&p)
		return Access{Principals: []Principal{p, {Name: "other", Token: tokenOf("other"), Rights: RightsAll}}}
	}
	for name, c := range map[string]struct {
		change func(*Principal)
		code   connect.Code // 0: nothing ends
	}{
		"nothing":       {func(*Principal) {}, 0},
		"quota":         {func(p *Principal) { p.Quota.Calls = 1 }, 0},
		"certificate":   {func(p *Principal) { p.Certificate = "x" }, 0},
		"another right": {func(p *Principal) { p.Rights &^= RightAppend }, 0},
		"right":         {func(p *Principal) { p.Rights = RightAppend }, connect.CodePermissionDenied},
		"token":         {func(p *Principal) { p.Token = tokenOf("new") }, connect.CodeUnauthenticated},
		"principal":     {func(p *Principal) { p.Name, p.Token = "two", tokenOf("two") }, connect.CodeUnauthenticated},
		"name":          {func(p *Principal) { p.Name = "two" }, connect.CodePermissionDenied},
		"streams":       {func(p *Principal) { p.Streams = []string{"other"} }, connect.CodePermissionDenied},
	} {
		t.Run(name, func(t *testing.T) {
			streams, began := watched()
			node := newFakeNode()
			backingUp := make(chan struct{}, 2)
			node.backup = func(ctx context.Context, _ string, _ func(store.Progress)) (store.BackupResult, error) {
				backingUp <- struct{}{}
				<-ctx.Done()
				return store.BackupResult{}, ctx.Err()
			}
			s, host := guarded(t, Services{Issuer: fakeIssuer{}, Node: node, Streams: streams}, Options{Access: one(func(*Principal) {})})
			calls, leave := context.WithCancel(t.Context())
			defer leave()
			begin := func(token string) (watch *connect.ServerStreamForClient[rpc.WatchResponse], session session, w *fakeWatcher) {
				client := withToken(newClient(t, h2c), token)
				watch, err := rpcconnect.NewStreamServiceClient(client, "http://"+host).Watch(calls, connect.NewRequest(&rpc.WatchRequest{Names: []string{"chat"}}))
				if err != nil {
					t.Fatal(err)
				}
				session = rpcconnect.NewClockServiceClient(client, "http://"+host).Session(t.Context())
				exchange(t, session, &rpc.SessionRequest{Count: 1})
				return watch, session, <-began
			}
			watch, mine, w := begin("one")
			otherWatch, other, otherW := begin("other")
			backups := rpcconnect.NewNodeServiceClient(withToken(newClient(t, h2c), "one"), "http://"+host)
			backup := make(chan error, 1)
			go func() { // its headers come with its first message
				b, err := backups.Backup(calls, connect.NewRequest(&rpc.BackupRequest{Path: "/x"}))
				if err == nil {
					b.Receive()
					err = b.Err()
					b.Close()
				}
				backup <- err
			}()
			<-backingUp
			if err := s.SetAccess(one(c.change)); err != nil {
				t.Fatal(err)
			}
			if c.code == 0 {
				go func() { w.next <- delivery(1, 1) }()
				if !watch.Receive() {
					t.Errorf("the watch ended: %v", watch.Err())
				}
				exchange(t, mine, &rpc.SessionRequest{Count: 1})
				end(t, mine)
			} else {
				if watch.Receive() || connect.CodeOf(watch.Err()) != c.code {
					t.Errorf("the watch: %v", watch.Err())
				}
				if a, err := mine.Receive(); connect.CodeOf(err) != c.code {
					t.Errorf("the session: %v, %v", a, err)
				}
				mine.CloseRequest()
				mine.CloseResponse()
				if err := <-backup; connect.CodeOf(err) != c.code {
					t.Errorf("the backup: %v", err)
				}
			}
			go func() { otherW.next <- delivery(1, 1) }()
			if !otherWatch.Receive() {
				t.Errorf("the watch of another ended: %v", otherWatch.Err())
			}
			exchange(t, other, &rpc.SessionRequest{Count: 1})
			end(t, other)
			leave()
			if c.code == 0 {
				if err := <-backup; connect.CodeOf(err) != connect.CodeCanceled {
					t.Errorf("the backup: %v", err)
				}
			}
			<-w.closed
			<-otherW.closed
			for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
				s.gate.mu.Lock()
				left := len(s.gate.long)
				s.gate.mu.Unlock()
				if left == 0 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("%d calls are remembered and over", left)
				}
			}
		})
	}
}

// TestRevokedMeanwhile: a call that is let in by one table and begins under the next ends at
// once.
func TestRevokedMeanwhile(t *testing.T) {
	g := openGate()
	r, err := http.NewRequest(http.MethodPost, "http://localhost"+rpcconnect.StreamServiceWatchProcedure, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, fault := g.identify(r, g.rules[r.URL.Path])
	if fault != nil {
		t.Fatal(fault)
	}
	if err := g.set(Access{Anonymous: RightIssue}); err != nil {
		t.Fatal(err)
	}
	var got error
	c.watchOver(func(fault error) { got = fault })()
	if got != errUnknown {
		t.Errorf("ended with %v", got)
	}
	if len(g.long) != 0 {
		t.Errorf("%d calls are remembered", len(g.long))
	}
}

// TestWatchEndsWithCertificate: a silent watch ends when the certificate of its caller does.
func TestWatchEndsWithCertificate(t *testing.T) {
	ours := newAuthority(t, "ours")
	streams, began := watched()
	access := Access{Principals: []Principal{{Name: "a", Certificate: "a", Rights: RightRead}}}
	_, host := guarded(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Streams: streams}, Options{Access: access, TLS: tlsFiles(t, t.TempDir(), ours.server(t), ours)})
	client := newTLSClient(t, ours, func(c *tls.Config) {
		c.Certificates = []tls.Certificate{ours.client(t, "a", time.Now().Add(2*time.Second))}
	}, h2)
	watch, err := rpcconnect.NewStreamServiceClient(client, "https://"+host).Watch(t.Context(), connect.NewRequest(&rpc.WatchRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	w := <-began
	if watch.Receive() || connect.CodeOf(watch.Err()) != connect.CodeUnauthenticated {
		t.Errorf("ended with %v", watch.Err())
	}
	<-w.closed
}
