package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
)

// newTLSClient returns a client that trusts an authority, and shows certificates where it is
// asked for some.
func newTLSClient(t *testing.T, trusted *authority, change func(*tls.Config), protocols ...func(*http.Protocols)) *http.Client {
	c := newClient(t, protocols...)
	config := &tls.Config{RootCAs: trusted.pool()}
	if change != nil {
		change(config)
	}
	c.Transport.(*http.Transport).TLSClientConfig = config
	return c
}

func h2(p *http.Protocols) { p.SetHTTP2(true) }

// shows has a client show a certificate whether or not its authority was asked for.
func shows(c tls.Certificate) func(*tls.Config) {
	return func(config *tls.Config) {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c, nil }
	}
}

// TestTLS: TLS 1.3 and nothing else, over HTTP/1.1 and HTTP/2; a certificate is good only if it
// is of the right authority and in time, and names a principal.
func TestTLS(t *testing.T) {
	ours, foreign := newAuthority(t, "ours"), newAuthority(t, "ours") // by the same name, with another key
	access := crowd(0)
	access.Principals = append(access.Principals,
		Principal{Name: "by name", Certificate: "a.example.net", Rights: RightIssue},
		Principal{Name: "by uri", Certificate: "spiffe://example.net/b", Rights: RightIssue},
		Principal{Name: "by common name", Certificate: "Common Name", Rights: RightIssue},
		Principal{Name: "cannot issue", Certificate: "read.example.net", Rights: RightRead},
	)
	_, host := guarded(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode(), Streams: newFakeStreams()},
		Options{Access: access, TLS: tlsFiles(t, t.TempDir(), ours.server(t), ours)})
	later := time.Now().Add(time.Hour)
	other := func(change func(*x509.Certificate)) func(*tls.Config) { return shows(ours.issue(t, later, change)) }
	for name, c := range map[string]struct {
		change func(*tls.Config)
		token  string
		status int    // 0: there is no connection
		fails  string // with what, then
	}{
		"nobody":                     {nil, "", 401, ""},
		"token":                      {nil, "issue", 200, ""},
		"wrong token":                {nil, "wrong", 401, ""},
		"token without right":        {nil, "read", 403, ""},
		"DNS name":                   {shows(ours.client(t, "a.example.net", later)), "", 200, ""},
		"URI":                        {other(func(c *x509.Certificate) { u, _ := url.Parse("spiffe://example.net/b"); c.URIs = []*url.URL{u} }), "", 200, ""},
		"common name":                {other(func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "Common Name"} }), "", 200, ""},
		"common name beside another": {other(func(c *x509.Certificate) { c.Subject, c.DNSNames = pkix.Name{CommonName: "Common Name"}, []string{"x"} }), "", 401, ""},
		"name of nobody":             {shows(ours.client(t, "b.example.net", later)), "", 401, ""},
		"name below":                 {shows(ours.client(t, "x.a.example.net", later)), "", 401, ""},
		"without right":              {shows(ours.client(t, "read.example.net", later)), "", 403, ""},
		"token beats certificate":    {shows(ours.client(t, "a.example.net", later)), "read", 403, ""},
		"wrong token, certificate":   {shows(ours.client(t, "a.example.net", later)), "wrong", 401, ""},
		"wrong key":                  {shows(foreign.client(t, "a.example.net", later)), "", 0, "tls:"},
		"wrong key, right token":     {shows(foreign.client(t, "a.example.net", later)), "issue", 0, "tls:"},
		"expired":                    {shows(ours.client(t, "a.example.net", time.Now().Add(-time.Minute))), "", 0, "expired certificate"},
		"for servers only":           {other(func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1]; c.DNSNames = []string{"a.example.net"} }), "", 0, "tls:"},
		"TLS 1.2":                    {func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, "issue", 0, "protocol version"},
		"TLS 1.0":                    {func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS10 }, "issue", 0, "protocol version"},
		"wrong server":               {func(c *tls.Config) { c.RootCAs = foreign.pool() }, "issue", 0, "certificate"},
	} {
		for version, protocols := range map[string][]func(*http.Protocols){"HTTP/1.1": nil, "HTTP/2": {h2}} {
			t.Run(name+" "+version, func(t *testing.T) {
				client := newTLSClient(t, ours, c.change, protocols...)
				r, err := http.NewRequest(http.MethodPost, "https://"+host+rpcconnect.ClockServiceNowProcedure, strings.NewReader("{}"))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", "application/json")
				if c.token != "" {
					r.Header.Set("Authorization", "Bearer "+c.token)
				}
				a, err := client.Do(r)
				if c.status == 0 {
					// The alert races with what is still being written: without it the connection just broke.
					if err == nil || strings.Contains(err.Error(), "tls: ") && !strings.Contains(err.Error(), c.fails) {
						t.Fatalf("got %v, %v", a, err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				a.Body.Close()
				if a.StatusCode != c.status || a.Proto[:6] != version[:6] || a.TLS.Version != tls.VersionTLS13 {
					t.Errorf("status %d, want %d, by %s and TLS %x", a.StatusCode, c.status, a.Proto, a.TLS.Version)
				}
			})
		}
	}
	// In the clear there is nothing, and a name other than localhost is served.
	if a := send(t, newClient(t), http.MethodGet, "http://"+host+"/livez", "", nil); a.status != http.StatusBadRequest {
		t.Errorf("in the clear: %+v", a)
	}
	if a := send(t, newTLSClient(t, ours, nil), http.MethodGet, "https://"+host+"/livez", "", map[string]string{"Host": "clock.example.net"}); a.status != http.StatusOK {
		t.Errorf("by name: %+v", a)
	}
}

// TestTLSFilesBad: what is wrong with the files is said at the start, with the key.
func TestTLSFilesBad(t *testing.T) {
	ours := newAuthority(t, "ours")
	for name, c := range map[string]struct {
		spoil func(t *testing.T, f *TLSFiles)
		says  string
	}{
		"no certificate": {func(_ *testing.T, f *TLSFiles) { f.Certificate += "x" }, "api.tls_cert: stat "},
		"no key":         {func(_ *testing.T, f *TLSFiles) { f.Key += "x" }, "api.tls_key: stat "},
		"no client CA":   {func(_ *testing.T, f *TLSFiles) { f.ClientCA += "x" }, "api.client_ca: stat "},
		"directory":      {func(_ *testing.T, f *TLSFiles) { f.Key = filepath.Dir(f.Key) }, "api.tls_key: "},
		"not PEM":        {func(t *testing.T, f *TLSFiles) { write(t, f.Certificate, []byte("x")) }, "api.tls_cert"},
		"another key": {func(t *testing.T, f *TLSFiles) {
			_, key := pemOf(t, ours.server(t))
			write(t, f.Key, key)
		}, "are not a certificate and its key"},
		"client CA not PEM": {func(t *testing.T, f *TLSFiles) { write(t, f.ClientCA, []byte("x")) }, "api.client_ca"},
		"client CA a key":   {func(_ *testing.T, f *TLSFiles) { f.ClientCA = f.Key }, "there is no certificate in it"},
		"large":             {func(t *testing.T, f *TLSFiles) { write(t, f.ClientCA, make([]byte, tlsLenMax+1)) }, "api.client_ca: "},
	} {
		f := tlsFiles(t, t.TempDir(), ours.server(t), ours)
		c.spoil(t, &f)
		if _, err := Listen(Options{TLS: f, Access: everybody, Logger: quiet}); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTLSReload: files that change are read again with a handshake, not at each; those that
// cannot be used leave what there was, and are told once.
func TestTLSReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours := newAuthority(t, "ours")
		dir := t.TempDir()
		f := tlsFiles(t, dir, ours.server(t, "first"), ours)
		var lines bytes.Buffer
		s, err := openSecrets(f, slog.New(slog.NewTextHandler(&lines, nil)))
		if err != nil {
			t.Fatal(err)
		}
		name := func() string {
			t.Helper()
			leaf, err := x509.ParseCertificate(s.current().config.Certificates[0].Certificate[0])
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprint(leaf.DNSNames)
		}
		want := func(what, want string) {
			t.Helper()
			if got := name(); got != want {
				t.Errorf("%s: %s, want %s", what, got, want)
			}
		}
		// Times of files are of the machine's clock: the bubble's says nothing of them.
		stamped := time.Now()
		touch := func(name string) {
			stamped = stamped.Add(time.Second)
			if err := os.Chtimes(name, stamped, stamped); err != nil {
				t.Fatal(err)
			}
		}
		want("at the start", "[first]")
		certificate, key := pemOf(t, ours.server(t, "second"))
		write(t, f.Certificate, certificate)
		touch(f.Certificate)
		want("at once", "[first]")
		time.Sleep(tlsLookEvery)
		want("half of it", "[first]")
		time.Sleep(tlsLookEvery)
		want("half of it, still", "[first]")
		if n := strings.Count(lines.String(), "cannot be used"); n != 1 {
			t.Errorf("told %d times:\n%s", n, &lines)
		}
		write(t, f.Key, key)
		touch(f.Key)
		time.Sleep(tlsLookEvery)
		want("both", "[second]")
		if err := os.Remove(f.Key); err != nil {
			t.Fatal(err)
		}
		time.Sleep(tlsLookEvery)
		want("the key is gone", "[second]")
		write(t, f.Key, key)
		touch(f.Key)

		// An authority that is not listed any more is not trusted any more.
		chain := verified{ours.cert, ours.cert}
		if !s.trusted(chain) {
			t.Error("our authority is not trusted")
		}
		next := newAuthority(t, "ours")
		write(t, f.ClientCA, tlsFilesCA(t, next))
		touch(f.ClientCA)
		time.Sleep(tlsLookEvery)
		if s.trusted(chain) || !s.trusted(verified{next.cert}) {
			t.Error("after the change the old authority is trusted, or the new one is not")
		}
	})
}

// tlsFilesCA is the file of an authority.
func tlsFilesCA(t *testing.T, a *authority) []byte {
	f := tlsFiles(t, t.TempDir(), a.server(t), a)
	text, err := os.ReadFile(f.ClientCA)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestCertificateExpiresInUse: a connection that is older than the end of its certificate, or
// of trust in its authority, is of no use any more.
func TestCertificateExpiresInUse(t *testing.T) {
	ours := newAuthority(t, "ours")
	access := Access{Principals: []Principal{{Name: "a", Certificate: "a", Rights: RightIssue}}}
	_, host := guarded(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode()}, Options{Access: access, TLS: tlsFiles(t, t.TempDir(), ours.server(t), ours)})
	client := newTLSClient(t, ours, shows(ours.client(t, "a", time.Now().Add(2*time.Second))))
	connections := 0
	client.Transport.(*http.Transport).DialContext = countDials(&connections)
	status := func() int {
		return knock(t, client, "https://"+host, rpcconnect.ClockServiceNowProcedure, "application/json", "", "{}").status
	}
	if got := status(); got != http.StatusOK {
		t.Fatalf("at first: %d", got)
	}
	for deadline := time.Now().Add(patience); status() != http.StatusUnauthorized; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the certificate has expired, and is taken still")
		}
	}
	if connections != 1 {
		t.Errorf("%d connections: the test says nothing", connections)
	}
}

// countDials counts the connections that are made.
func countDials(n *int) func(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		*n++
		return d.DialContext(ctx, network, addr)
	}
}
