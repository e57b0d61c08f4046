package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// scriptPKI writes an authority (ca.pem), what it has signed for the server on loopback (api)
// and for clients (client, whose name is client.example.net, and late, which has expired), and
// one client that another authority has signed (foreign): NAME.pem and NAME.key each.
func scriptPKI(ts *testscript.TestScript, _ bool, _ []string) {
	ca, caKey := authority(ts)
	write(ts, "ca.pem", "CERTIFICATE", ca.Raw)
	foreign, foreignKey := authority(ts)
	now := time.Now()
	sign(ts, "api", ca, caKey, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: now.Add(time.Hour)})
	sign(ts, "client", ca, caKey, &x509.Certificate{DNSNames: []string{"client.example.net"}, NotAfter: now.Add(time.Hour)})
	sign(ts, "late", ca, caKey, &x509.Certificate{DNSNames: []string{"client.example.net"}, NotAfter: now.Add(-time.Minute)})
	sign(ts, "foreign", foreign, foreignKey, &x509.Certificate{DNSNames: []string{"client.example.net"}, NotAfter: now.Add(time.Hour)})
}

func authority(ts *testscript.TestScript) (*x509.Certificate, *ecdsa.PrivateKey) {
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "an authority"}, SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	ts.Check(err)
	c, err := x509.ParseCertificate(der)
	ts.Check(err)
	return c, key
}

func sign(ts *testscript.TestScript, name string, by *x509.Certificate, with *ecdsa.PrivateKey, template *x509.Certificate) {
	template.SerialNumber, template.NotBefore, template.KeyUsage = big.NewInt(2), time.Now().Add(-2*time.Hour), x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	der, err := x509.CreateCertificate(rand.Reader, template, by, key.Public(), with)
	ts.Check(err)
	write(ts, name+".pem", "CERTIFICATE", der)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	write(ts, name+".key", "PRIVATE KEY", secret)
}

func write(ts *testscript.TestScript, name, kind string, der []byte) {
	ts.Check(os.WriteFile(ts.MkAbs(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}
