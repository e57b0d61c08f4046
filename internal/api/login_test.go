package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/web"
)

// blank is a source of pages that have nothing to show.
type blank struct{}

var errBlank = errors.New("nothing to show")

func (blank) Status(context.Context) (*rpc.StatusResponse, error)   { return nil, errBlank }
func (blank) Sources(context.Context) (*rpc.SourcesResponse, error) { return nil, errBlank }
func (blank) Clients(context.Context, *rpc.ClientsRequest) (*rpc.ClientsResponse, error) {
	return nil, errBlank
}
func (blank) Compliance(context.Context, *rpc.ComplianceRequest) (*rpc.ComplianceResponse, error) {
	return nil, errBlank
}
func (blank) History(context.Context, *rpc.HistoryRequest) (*rpc.HistoryResponse, error) {
	return nil, errBlank
}
func (blank) Hosts(context.Context, *rpc.HostsRequest) (*rpc.HostsResponse, error) {
	return nil, errBlank
}
func (blank) JournalHead(context.Context, *rpc.JournalHeadRequest) (*rpc.JournalHeadResponse, error) {
	return nil, errBlank
}

// withDashboard serves the calls and the dashboard.
func withDashboard(t *testing.T, o Options) (s *Server, host string) {
	t.Helper()
	return guarded(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Streams: newFakeStreams(), Web: web.New(blank{}, web.Options{Logger: quiet})}, o)
}

// stays has a client not follow redirects.
func stays(c *http.Client) *http.Client {
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c
}

// tryLogin posts a token as the login page does.
func tryLogin(t *testing.T, c *http.Client, base, token string, header map[string]string) answer {
	t.Helper()
	all := map[string]string{"Content-Type": "application/x-www-form-urlencoded", "Origin": base}
	for name, value := range header {
		all[name] = value
	}
	return send(t, c, http.MethodPost, base+"/login", url.Values{"token": {token}}.Encode(), all)
}

// slowly is tryLogin, but waits until it may try.
func slowly(t *testing.T, c *http.Client, base, token string) answer {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if a := tryLogin(t, c, base, token, nil); a.status != http.StatusTooManyRequests || time.Now().After(deadline) {
			return a
		}
	}
}

// cookieOf is the cookie that a login gave, as a header of requests.
func cookieOf(t *testing.T, a answer) map[string]string {
	t.Helper()
	if a.status != http.StatusSeeOther || a.header.Get("Location") != "/" {
		t.Fatalf("the login was answered with %d, to %q: %s", a.status, a.header.Get("Location"), a.body)
	}
	cookie, _, _ := strings.Cut(a.header.Get("Set-Cookie"), ";")
	return map[string]string{"Cookie": cookie, "Accept": "text/html"}
}

// TestLogin: a browser without a right gets the login page, and there alone; the right token gets a
// cookie, which counts for reading the dashboard and for nothing else, until it is given back.
func TestLogin(t *testing.T) {
	_, host := withDashboard(t, Options{Access: crowd(0)})
	base, c := "http://"+host, stays(newClient(t))
	browser := map[string]string{"Accept": "text/html,application/xhtml+xml"}
	for _, r := range []struct {
		path   string
		header map[string]string
		form   bool
	}{
		{"/", browser, true},
		{"/", nil, false},
		{"/", map[string]string{"Accept": "text/html", "Cookie": cookieName + "=x"}, true},
		{"/ui/live", browser, false},
		{"/ui/history", browser, false},
		{"/metrics", browser, false},
	} {
		a := send(t, c, http.MethodGet, base+r.path, "", r.header)
		if form := strings.Contains(a.body, `name=token`); a.status != http.StatusUnauthorized || form != r.form {
			t.Errorf("%s %v: %d, the login page: %v\n%s", r.path, r.header, a.status, form, a.body)
		}
	}
	if a := send(t, c, http.MethodGet, base+web.AssetsPath+"x", "", nil); a.status != http.StatusNotFound {
		t.Errorf("an asset: %d, and not open to everybody", a.status)
	}

	a := slowly(t, c, base, "read")
	if got := a.header.Get("Set-Cookie"); !strings.HasSuffix(got, "; Path=/; HttpOnly; SameSite=Strict") {
		t.Errorf("the cookie is %q", got)
	}
	cookie := cookieOf(t, a)
	for _, path := range []string{"/", "/ui/live", "/ui/detail"} {
		if a := send(t, c, http.MethodGet, base+path, "", cookie); a.status != http.StatusOK || path == "/" && !strings.Contains(a.body, "<span>read</span>") {
			t.Errorf("%s with the cookie: %d\n%s", path, a.status, a.body)
		}
	}
	if a := send(t, c, http.MethodHead, base+"/", "", cookie); a.status != http.StatusOK {
		t.Errorf("HEAD with the cookie: %d", a.status)
	}
	for _, r := range []struct {
		method, path string
		header       map[string]string
	}{
		{http.MethodPost, "/", nil},
		{http.MethodDelete, "/ui/live", nil},
		{http.MethodGet, "/metrics", nil},
		{http.MethodGet, "/", map[string]string{"Authorization": "Bearer wrong"}},
	} {
		header := map[string]string{"Cookie": cookie["Cookie"]}
		for name, value := range r.header {
			header[name] = value
		}
		if a := send(t, c, r.method, base+r.path, "", header); a.status != http.StatusUnauthorized {
			t.Errorf("%s %s %v with the cookie: %d", r.method, r.path, r.header, a.status)
		}
	}
	for _, m := range methods() {
		if m.streams {
			continue
		}
		a := send(t, c, http.MethodPost, base+m.procedure, "{}", map[string]string{"Content-Type": "application/json", "Cookie": cookie["Cookie"]})
		if a.status != http.StatusUnauthorized {
			t.Errorf("%s with the cookie: %d", m.procedure, a.status)
		}
	}
	other := cookieOf(t, slowly(t, c, base, "all"))
	out := send(t, c, http.MethodPost, base+"/logout", "", map[string]string{"Cookie": cookie["Cookie"], "Origin": base})
	if got := out.header.Get("Set-Cookie"); out.status != http.StatusSeeOther || !strings.Contains(got, "Max-Age=0") {
		t.Errorf("logged out: %d, %q", out.status, got)
	}
	if a := send(t, c, http.MethodGet, base+"/", "", cookie); a.status != http.StatusUnauthorized {
		t.Errorf("after the logout: %d", a.status)
	}
	if a := send(t, c, http.MethodGet, base+"/", "", other); a.status != http.StatusOK {
		t.Errorf("another's login, after the logout: %d", a.status)
	}
}

// TestLoginRefused: whatever is wrong with a token, the answer is the same; and a foreign page can
// neither log a browser in nor out.
func TestLoginRefused(t *testing.T) {
	s, host := withDashboard(t, Options{Access: crowd(0)})
	base, c := "http://"+host, stays(newClient(t))
	first := slowly(t, c, base, "wrong")
	if first.status != http.StatusUnauthorized || !strings.Contains(first.body, loginRefused) || first.header.Get("Set-Cookie") != "" {
		t.Fatalf("%d\n%s", first.status, first.body)
	}
	for _, token := range []string{"", "none", "issue", "admin", strings.Repeat("x", 2*loginLenMax), "read\x00"} {
		if a := slowly(t, c, base, token); a.status != first.status || a.body != first.body {
			t.Errorf("%.20q: %d\n%s", token, a.status, a.body)
		}
	}
	for name, value := range map[string]string{"Origin": "http://example.net", "Sec-Fetch-Site": "cross-site"} {
		if a := tryLogin(t, c, base, "read", map[string]string{name: value}); a.status != http.StatusForbidden || a.header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %s: %d", name, value, a.status)
		}
		a := send(t, c, http.MethodPost, base+"/logout", "", map[string]string{name: value})
		if a.status != http.StatusForbidden || a.header.Get("Set-Cookie") != "" {
			t.Errorf("logout, %s: %s: %d", name, value, a.status)
		}
	}
	if a := tryLogin(t, c, base, "read", map[string]string{"Sec-Fetch-Site": "same-site"}); a.status != http.StatusForbidden {
		t.Errorf("from a page of the same site: %d", a.status)
	}
	if n := len(s.gate.logins.all); n != 0 {
		t.Errorf("%d cookies were handed out", n)
	}
	tries := 0
	for tryLogin(t, c, base, "wrong", nil).status != http.StatusTooManyRequests {
		if tries++; tries > 1000 {
			t.Fatal("one may try without end")
		}
	}
	if a := send(t, c, http.MethodGet, base+"/login", "", nil); a.status != http.StatusSeeOther {
		t.Errorf("GET /login: %d", a.status)
	}
}

// TestLoginEnds: a cookie ends at once with its token, and with its token's right, and does not
// come back with them.
func TestLoginEnds(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Principal)
		then   int // how the cookie fares; 0: nobody looks
	}{
		"token":         {func(p *Principal) { p.Token = tokenOf("new") }, 401},
		"token, unseen": {func(p *Principal) { p.Token = tokenOf("new") }, 0},
		"right":         {func(p *Principal) { p.Rights = RightIssue }, 401},
	} {
		t.Run(name, func(t *testing.T) {
			change, then := c.change, c.then
			access := func(change func(*Principal)) Access {
				p := Principal{Name: "one", Token: tokenOf("one"), Rights: RightRead}
				change(&p)
				return Access{Principals: []Principal{p}}
			}
			as := func(*Principal) {}
			s, host := withDashboard(t, Options{Access: access(as)})
			base, client := "http://"+host, stays(newClient(t))
			cookie := cookieOf(t, slowly(t, client, base, "one"))
			status := func() int { return send(t, client, http.MethodGet, base+"/", "", cookie).status }
			for _, step := range []struct {
				change func(*Principal)
				want   int
			}{{as, 200}, {change, then}, {as, 401}} {
				if err := s.SetAccess(access(step.change)); err != nil {
					t.Fatal(err)
				}
				if step.want == 0 {
					continue
				}
				if got := status(); got != step.want {
					t.Fatalf("%d, want %d", got, step.want)
				}
			}
		})
	}
}

// TestLoginNotAsked: who may read anyway is not asked to log in.
func TestLoginNotAsked(t *testing.T) {
	browser := map[string]string{"Accept": "text/html"}
	_, host := withDashboard(t, Options{Access: crowd(RightRead)})
	if a := send(t, newClient(t), http.MethodGet, "http://"+host+"/", "", browser); a.status != http.StatusOK {
		t.Errorf("anonymous: %d", a.status)
	}
	ours := newAuthority(t, "ours")
	access := Access{Principals: []Principal{
		{Name: "reader", Certificate: "reader", Rights: RightRead}, {Name: "issuer", Certificate: "issuer", Rights: RightIssue}, {Name: "token", Token: tokenOf("token"), Rights: RightRead},
	}}
	_, host = withDashboard(t, Options{Access: access, TLS: tlsFiles(t, t.TempDir(), ours.server(t), ours)})
	base := "https://" + host
	if a := send(t, newBearer(t, ours, "reader"), http.MethodGet, base+"/", "", browser); a.status != http.StatusOK {
		t.Errorf("a certificate that may read: %d", a.status)
	}
	issuer := stays(newBearer(t, ours, "issuer"))
	if a := send(t, issuer, http.MethodGet, base+"/", "", browser); a.status != http.StatusUnauthorized || !strings.Contains(a.body, `name=token`) {
		t.Errorf("a certificate that may not read: %d\n%s", a.status, a.body)
	}
	a := slowly(t, issuer, base, "token")
	if !strings.Contains(a.header.Get("Set-Cookie"), "; Secure") {
		t.Errorf("over TLS, the cookie is %q", a.header.Get("Set-Cookie"))
	}
	if a := send(t, issuer, http.MethodGet, base+"/", "", cookieOf(t, a)); a.status != http.StatusOK {
		t.Errorf("a certificate that may not read, and a cookie that may: %d", a.status)
	}
}

// newBearer returns a client with a certificate for a name.
func newBearer(t *testing.T, a *authority, name string) *http.Client {
	return newTLSClient(t, a, shows(a.client(t, name, time.Now().Add(time.Hour))))
}

// TestOpenToAll: metrics and health are open, or not, as it is configured.
func TestOpenToAll(t *testing.T) {
	c := newClient(t)
	for _, r := range []struct {
		metricsOpen, healthClosed bool
		metrics, health           int
	}{{false, false, 401, 200}, {true, false, 200, 200}, {false, true, 401, 401}, {true, true, 200, 401}} {
		access := crowd(0)
		access.MetricsOpen, access.HealthClosed = r.metricsOpen, r.healthClosed
		_, host := withDashboard(t, Options{Access: access})
		for path, want := range map[string]int{"/metrics": r.metrics, "/healthz": r.health, "/readyz": r.health, "/livez": 200} {
			if got := send(t, c, http.MethodGet, "http://"+host+path, "", nil).status; got != want {
				t.Errorf("%+v: %s is answered with %d, want %d", r, path, got, want)
			}
			if got := send(t, c, http.MethodGet, "http://"+host+path, "", map[string]string{"Authorization": "Bearer read"}).status; got != 200 {
				t.Errorf("%+v: %s to who may read is answered with %d", r, path, got)
			}
		}
	}
}

// TestLogins: so many cookies and no more, the oldest go; each for so long and no longer.
func TestLogins(t *testing.T) {
	var l logins
	now := time.Unix(1_795_000_000, 0)
	token := func(i int) [sha256.Size]byte { return sha256.Sum256([]byte(fmt.Sprint(i))) }
	var values []string
	for i := range loginsMax + 2 {
		values = append(values, l.add(token(i), now.Add(time.Duration(i)*time.Second)))
		if len(l.all) > loginsMax {
			t.Fatalf("%d are remembered", len(l.all))
		}
	}
	last := now.Add((loginsMax + 1) * time.Second)
	for i, v := range values {
		if got, ok := l.find(v, last); ok != (i >= 2) || ok && got != token(i) {
			t.Fatalf("cookie %d: %v", i, ok)
		}
	}
	if _, ok := l.find(values[2], now.Add(2*time.Second+loginLasts-1)); !ok {
		t.Error("it ended too early")
	}
	if _, ok := l.find(values[2], now.Add(2*time.Second+loginLasts)); ok {
		t.Error("it did not end")
	}
	l.remove(values[5])
	if _, ok := l.find(values[5], last); ok || len(l.all) != loginsMax-1 {
		t.Error("it was not removed, or others were")
	}
	l.add(token(0), last.Add(loginLasts))
	if len(l.all) != 1 {
		t.Errorf("%d are remembered, of which all but one have ended", len(l.all))
	}
}

// TestLoginTries: an address may try so often and no more; that is nobody else's business, and does
// not last.
func TestLoginTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dashboard{gate: openGate(), tries: newAddresses(addressesMax)}
		time.Sleep(2 * time.Second) // the buckets are full
		count := func(from string) (n int) {
			for range 100 {
				if d.mayTry(from) {
					n++
				}
			}
			return n
		}
		if n := count("192.0.2.1:1"); n != loginsPerSecond {
			t.Errorf("%d tries", n)
		}
		if n := count("192.0.2.1:2"); n != 0 {
			t.Errorf("%d more from another port", n)
		}
		if n := count("192.0.2.2:1"); n != loginsPerSecond {
			t.Errorf("%d from another address", n)
		}
		time.Sleep(time.Second)
		if n := count("192.0.2.1:3"); n != loginsPerSecond {
			t.Errorf("%d a second later", n)
		}
		if d.mayTry("nonsense") {
			t.Error("somebody without an address may try")
		}
	})
}

// TestDashboardBusy: pages count as calls in progress, and are bounded with them.
func TestDashboardBusy(t *testing.T) {
	l := newLimits(1, nil)
	began, end := make(chan struct{}), make(chan struct{})
	h := l.pages(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(began); <-end }))
	done := make(chan struct{})
	go func() { defer close(done); h.ServeHTTP(nil, nil) }()
	<-began
	w := httptest.NewRecorder()
	h.ServeHTTP(w, nil)
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("one too many: %d", w.Code)
	}
	close(end)
	<-done
}
