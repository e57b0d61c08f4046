package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
)

// What the environment can say: a token on a command line would be seen by everybody.
const (
	tokenVariable = "TRUECHIMER_TOKEN"
	apiVariable   = "TRUECHIMER_API"
)

// credentialLenMax bounds the files that the flags name, in bytes.
const credentialLenMax = 1 << 20

// credential says what a command shows to a server, and what it wants to see of it.
type credential struct {
	tokenFile string
	ca        string
	cert, key string
}

func (c *credential) flags(root *cobra.Command) {
	flags := root.PersistentFlags()
	flags.StringVar(&c.tokenFile, "token-file", "", "file with the token to show to the server; or "+tokenVariable+", which is the token itself")
	flags.StringVar(&c.ca, "ca", "", "file with the certificates that the server's must lead to; without it, those of the system")
	flags.StringVar(&c.cert, "cert", "", "file with the certificate to show to the server, with --cert-key")
	flags.StringVar(&c.key, "cert-key", "", "file with the key of --cert")
}

// newTransport returns what requests go by. Where the flags say what cannot be, it is one that
// fails with that: commands that ask no server are not held up by it.
func (c *client) newTransport() http.RoundTripper {
	t, err := c.credential.to(c.url())
	if err != nil {
		return failing{usage(err)}
	}
	return t
}

// failing fails every request in the same way.
type failing struct{ err error }

func (f failing) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		r.Body.Close()
	}
	return nil, f.err
}

// to returns what requests to a server go by.
func (c *credential) to(api string) (http.RoundTripper, error) {
	token, secrets, err := c.show(api)
	if err != nil {
		return nil, err
	}
	next := http.DefaultTransport
	if secrets != nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.TLSClientConfig = secrets
		next = t
	}
	if token != "" {
		next = bearer{token, next}
	}
	return next, nil
}

// show returns the token for a server, if there is one, and the configuration for TLS where it
// is used.
func (c *credential) show(api string) (token string, secrets *tls.Config, err error) {
	if token, err = c.token(); err != nil {
		return "", nil, err
	}
	u, err := url.Parse(api)
	if err != nil {
		return "", nil, err
	}
	switch secure := u.Scheme == "https"; {
	case !secure && (c.ca != "" || c.cert != "" || c.key != ""):
		return "", nil, fmt.Errorf("--ca, --cert and --cert-key are for TLS: say --api https://%s", u.Host)
	case !secure && token != "" && !loopback(u.Hostname()):
		return "", nil, fmt.Errorf("a token is not sent to %s in the clear, where whoever is on the way could read it: say --api https://%[1]s", u.Host)
	case secure:
		secrets, err = c.secrets()
	}
	return token, secrets, err
}

// secrets configures TLS 1.3, which a server of ours speaks.
func (c *credential) secrets() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	if c.ca != "" {
		text, err := readCredential("--ca", c.ca)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("--ca is %s, and there is no certificate in it; want one or more in PEM", c.ca)
		}
	}
	if (c.cert == "") != (c.key == "") {
		return nil, errors.New("--cert and --cert-key belong together: give both, or none")
	}
	if c.cert != "" {
		pair, err := tls.LoadX509KeyPair(c.cert, c.key)
		if err != nil {
			return nil, fmt.Errorf("--cert and --cert-key: %w", err)
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return config, nil
}

// token returns the token to show; empty: none.
func (c *credential) token() (string, error) {
	token, from := os.Getenv(tokenVariable), tokenVariable
	if c.tokenFile != "" {
		text, err := readCredential("--token-file", c.tokenFile)
		if err != nil {
			return "", err
		}
		if token, from = strings.TrimSpace(string(text)), c.tokenFile; token == "" {
			return "", fmt.Errorf("--token-file is %s, and there is nothing in it; truechimer token makes a token", c.tokenFile)
		}
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("what %s says is no token: it is one line of letters and digits", from)
	}
	return token, nil
}

func readCredential(flag, name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, credentialLenMax))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return text, nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback() || strings.EqualFold(host, "localhost")
}

// bearer shows a token with each request.
type bearer struct {
	token string
	next  http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context()) // a RoundTripper must leave the request alone
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.next.RoundTrip(r)
}

// refusalWait is how long a server may take to say that it refuses a certificate.
const refusalWait = time.Second

// refusal asks the server once more what it has against the certificate; nil: nothing that it
// says. In TLS 1.3 a client learns that only after its own part of the handshake, and by then
// the HTTP library may have met the end of the connection and kept the reason to itself.
func (c *client) refusal() error {
	u, err := url.Parse(c.url())
	if err != nil || u.Scheme != "https" {
		return nil
	}
	secrets, err := c.secrets()
	if err != nil {
		return nil
	}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: refusalWait}, "tcp", u.Host, secrets)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(refusalWait))
	_, err = conn.Read(make([]byte, 1))
	var remote *net.OpError
	if errors.As(err, &remote) && remote.Op == "remote error" {
		return err
	}
	return nil
}

// unknown says what to do where the server does not know who asks.
func (c *client) unknown() string {
	token, _ := c.token()
	switch {
	case token != "":
		return fmt.Sprintf("the server at %s does not know the token; truechimer token makes one, and a [[principal]] of its configuration makes it known", c.address)
	case c.cert != "":
		return fmt.Sprintf("the server at %s does not know the name in the certificate; a [[principal]] of its configuration makes it known", c.address)
	default:
		return fmt.Sprintf("the server at %s wants to know who asks; give a token by --token-file or %s, or a certificate by --cert and --cert-key", c.address, tokenVariable)
	}
}

// tlsFailure says what to do where there is no connection that either side trusts; nil: that is
// not the trouble.
func (c *client) tlsFailure(err error) error {
	var untrusted *tls.CertificateVerificationError
	var plain tls.RecordHeaderError
	if c.cert != "" && !connect.IsWireError(err) && !unreachable(err) {
		if refusal := c.refusal(); refusal != nil {
			err = refusal
		}
	}
	var remote *net.OpError
	switch {
	case errors.As(err, &untrusted):
		return fmt.Errorf("the certificate of the server at %s is not trusted: %w; name the file of those who signed it with --ca", c.address, untrusted.Err)
	case errors.As(err, &plain), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fmt.Errorf("the server at %s does not speak TLS; say --api without https://", c.address)
	case errors.As(err, &remote) && remote.Op == "remote error":
		return fmt.Errorf("the server at %s refuses the connection: %w; see --cert and --cert-key, and its api.client_ca", c.address, remote.Err)
	}
	return nil
}
