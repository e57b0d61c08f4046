package api

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// TLSFiles names what the API is served over TLS with, all in PEM. The zero TLSFiles is no TLS.
type TLSFiles struct {
	Certificate, Key string
	ClientCA         string // those who sign client certificates; empty: clients are not asked for any
}

// verified is a chain from a client's certificate to that of an authority.
type verified = []*x509.Certificate

// tlsLookEvery is how long a changed file may go unnoticed.
const tlsLookEvery = 2 * time.Second

// tlsLenMax bounds a file, in bytes.
const tlsLenMax = 4 << 20

// secrets are the TLS files, as they were last read. Its methods may be called concurrently.
type secrets struct {
	files TLSFiles
	log   *slog.Logger
	read  atomic.Pointer[material]

	mu     sync.Mutex // one looks at a time, and the others do not wait
	looked time.Time
	told   [3]stamp // of the files that could not be used; a failure is logged once
}

// material is what the files say.
type material struct {
	config *tls.Config
	roots  map[string]bool // the authorities, encoded; nil: none
	stamps [3]stamp
}

// stamp tells one state of a file from another.
type stamp struct {
	size     int64
	modified time.Time
}

// openSecrets reads the files. It fails with a sentence that names the key.
func openSecrets(files TLSFiles, log *slog.Logger) (*secrets, error) {
	s := &secrets{files: files, log: log, looked: time.Now()}
	m, err := files.load()
	if err != nil {
		return nil, err
	}
	s.read.Store(m)
	return s, nil
}

// stamps looks at the files. One that is not there has the zero stamp.
func (f *TLSFiles) stamps() (stamps [3]stamp) {
	for i, name := range []string{f.Certificate, f.Key, f.ClientCA} {
		if info, err := os.Stat(name); err == nil {
			stamps[i] = stamp{info.Size(), info.ModTime()}
		}
	}
	return stamps
}

func (f *TLSFiles) load() (*material, error) {
	m := &material{stamps: f.stamps()} // before reading: what changes meanwhile is read again
	certificate, err := readSecret("api.tls_cert", f.Certificate)
	if err != nil {
		return nil, err
	}
	key, err := readSecret("api.tls_key", f.Key)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("api.tls_cert %q and api.tls_key %q are not a certificate and its key in PEM: %w", f.Certificate, f.Key, err)
	}
	m.config = &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{pair},
		NextProtos:   []string{"h2", "http/1.1"},
		// A ticket would vouch for a client certificate that is no longer taken.
		SessionTicketsDisabled: true,
	}
	if f.ClientCA == "" {
		return m, nil
	}
	text, err := readSecret("api.client_ca", f.ClientCA)
	if err != nil {
		return nil, err
	}
	m.config.ClientAuth = tls.VerifyClientCertIfGiven
	m.config.ClientCAs, m.roots, err = authorities(text)
	if err != nil {
		return nil, fmt.Errorf("api.client_ca %q: %w", f.ClientCA, err)
	}
	return m, nil
}

// authorities reads certificates.
func authorities(text []byte) (*x509.CertPool, map[string]bool, error) {
	pool, roots := x509.NewCertPool(), make(map[string]bool)
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, nil, err
		}
		pool.AddCert(c)
		roots[string(c.Raw)] = true
	}
	if len(roots) == 0 {
		return nil, nil, errors.New("there is no certificate in it; want those of the authorities that sign client certificates, in PEM")
	}
	return pool, roots, nil
}

// readSecret reads one of the files.
func readSecret(key, name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err == nil && info.Size() > tlsLenMax {
		err = fmt.Errorf("%d bytes are more than are read", info.Size())
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(name)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: %w; name a file in PEM that is there", key, err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return text, nil
}

// current returns what the files say, and looks now and then whether they have changed. Files
// that cannot be used leave what was read before.
func (s *secrets) current() *material {
	if !s.mu.TryLock() {
		return s.read.Load()
	}
	defer s.mu.Unlock()
	now := time.Now()
	if since := now.Sub(s.looked); since >= 0 && since < tlsLookEvery {
		return s.read.Load()
	}
	s.looked = now
	old := s.read.Load()
	stamps := s.files.stamps()
	if stamps == old.stamps {
		return old
	}
	m, err := s.files.load()
	if err != nil {
		if s.told != stamps {
			s.log.Error("TLS files have changed and cannot be used; those from before stay in use", "err", err)
		}
		s.told = stamps
		return old
	}
	s.read.Store(m)
	s.log.Info("TLS files read again")
	return m
}

// config is the configuration of a listener.
func (s *secrets) config() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true,
		GetConfigForClient:     func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.current().config, nil },
	}
}

// trusted reports whether the authority of a chain is still one of ours: a connection can be
// older than the file.
func (s *secrets) trusted(chain verified) bool {
	return s.current().roots[string(chain[len(chain)-1].Raw)]
}
