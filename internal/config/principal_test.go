package config

import (
	"strings"
	"testing"
)

// TestAccessProblems: each way to say too little or too much of who may call is refused, once
// and with what to do.
func TestAccessProblems(t *testing.T) {
	const network, tls = "[api]\nlisten = ['192.0.2.1:8123']\n", "tls_cert = 'c'\ntls_key = 'k'\n"
	one := func(lines ...string) string {
		return "[[principal]]\nname = 'one'\nrights = []\n" + strings.Join(lines, "\n") + "\n"
	}
	token := "token = '" + TokenHash("x") + "'"
	for name, c := range map[string]struct {
		in   string
		want []string
	}{
		"loopback, nothing else":        {"[api]\nlisten = ['127.0.0.1:1', '[::1]:1']", nil},
		"network, nothing else":         {network, []string{"t.toml:2: api.listen: ", "t.toml:2: api.listen: "}},
		"network, plain, nobody":        {network + "plaintext_on_network = true", []string{"t.toml:2: api.listen: \"192.0.2.1:8123\" is not a loopback address, and anybody"}},
		"network, TLS, nobody":          {network + tls, []string{"add a [[principal]]"}},
		"network, TLS, anonymous":       {network + tls + "anonymous = ['read']", nil},
		"network, TLS, anonymous, none": {network + tls + "anonymous = []", nil},
		"network, TLS, somebody":        {network + tls + one(token), nil},
		"network, plain, somebody":      {network + one(token), []string{"there is no TLS"}},
		"network, plain, told so":       {network + "plaintext_on_network = true\n" + one(token), nil},
		"a second one, not of loopback": {"[api]\nlisten = ['127.0.0.1:1', '10.0.0.1:1']\n" + tls, []string{`"10.0.0.1:1" is not a loopback`}},
		"key without certificate":       {"[api]\ntls_key = 'k'", []string{"t.toml:2: api.tls_key: tls_cert and tls_key belong together"}},
		"certificate without key":       {"[api]\ntls_cert = 'k'", []string{"t.toml:2: api.tls_cert: tls_cert and tls_key belong together"}},
		"client CA without TLS":         {"[api]\nclient_ca = 'k'", []string{"t.toml:2: api.client_ca: client certificates are shown over TLS only"}},
		"certificate without client CA": {one("certificate = 'a.example.net'"), []string{"t.toml:4: principal[1].certificate: nobody is asked for a certificate"}},
		"no credential":                 {one(), []string{"t.toml:1: principal[1]: it has neither a token nor a certificate"}},
		"no name":                       {"[[principal]]\nrights = []\n" + token, []string{"t.toml:1: principal[1]: the name is missing"}},
		"no rights":                     {"[[principal]]\nname = 'a'\n" + token, []string{"t.toml:1: principal[1]: the rights are missing"}},
		"another right":                 {"[[principal]]\nname = 'a'\nrights = ['write']\n" + token, []string{`"write" is no right`}},
		"a right twice":                 {"[[principal]]\nname = 'a'\nrights = ['read', 'read']\n" + token, []string{"in the list twice"}},
		"a right, no list":              {"[[principal]]\nname = 'a'\nrights = 'read'\n" + token, []string{"want a list"}},
		"no streams":                    {one(token, "streams = []"), []string{"t.toml:5: principal[1].streams: an empty list allows no stream"}},
		"every stream":                  {one(token, "streams = ['']"), []string{"every name begins with nothing"}},
		"streams that cannot be":        {one(token, "streams = ['a b', '/a', 'ok']"), []string{`begins with "a b"`, `begins with "/a"`}},
		"names twice":                   {one(token) + one("token = '"+TokenHash("y")+"'"), []string{"t.toml:6: principal[2].name: principal[1] has the same name"}},
		"tokens twice":                  {one(token) + strings.Replace(one(token), "'one'", "'two'", 1), []string{"t.toml:8: principal[2].token: principal[1] has the same token"}},
		"too many calls":                {one(token, "calls = 4097"), []string{"want 1 to 4096"}},
		"misspelt":                      {one(token, "right = []"), []string{"did you mean principal.rights?"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("t.toml", []byte(c.in))
			var lines []string
			if err != nil {
				lines = strings.Split(err.Error(), "\n")
			}
			if len(lines) != len(c.want) {
				t.Fatalf("%d problems, want %d:\n%v", len(lines), len(c.want), err)
			}
			for i := range lines {
				if !strings.Contains(lines[i], c.want[i]) {
					t.Errorf("%s\ndoes not say\n%s", lines[i], c.want[i])
				}
			}
		})
	}
	two := one("certificate = 'a'") + strings.Replace(one("certificate = 'a'"), "'one'", "'two'", 1)
	_, err := Parse("t.toml", []byte("[api]\n"+tls+"client_ca = 'ca'\n"+two))
	if err == nil || !strings.Contains(err.Error(), "principal[2].certificate: principal[1] has the same certificate") {
		t.Errorf("certificates twice: %v", err)
	}
}

// TestTokenStaysSecret: a token that stands where its hash belongs is not repeated.
func TestTokenStaysSecret(t *testing.T) {
	const secret = "tc_0123456789"
	for _, text := range []string{secret, "sha256:" + secret, strings.ToUpper(TokenHash(secret)), "sha256:" + strings.ToUpper(TokenHash(secret)[7:]), TokenHash(secret) + "00"} {
		_, err := Parse("t.toml", []byte("[[principal]]\ntoken = '"+text+"'"))
		if err == nil || !strings.Contains(err.Error(), "want \"sha256:\" and 64 digits") || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestAnonymousIsNotOpenedByAdopting: the last principal of a listener that the network
// reaches cannot be taken away, so that everybody would have its rights.
func TestAnonymousIsNotOpenedByAdopting(t *testing.T) {
	served := "[api]\nlisten = ['192.0.2.1:1']\ntls_cert = 'c'\ntls_key = 'k'\n"
	old, err := Parse("old", []byte(served+"[[principal]]\nname = 'one'\nrights = ['read']\ntoken = '"+TokenHash("x")+"'"))
	if err != nil {
		t.Fatal(err)
	}
	if rights := old.AnonymousRights(); len(rights) != 0 {
		t.Errorf("with a principal: %v", rights)
	}
	next, err := Parse("next", nil)
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "without a principal", Rights(), next.AnonymousRights())
	got, err := old.Adopt(next)
	if err == nil || !strings.Contains(err.Error(), "add a [[principal]]") {
		t.Errorf("adopted: %v", err)
	}
	diff(t, "after", old, got)
}

// TestPrincipalTOML: the section that is printed for a principal reads back.
func TestPrincipalTOML(t *testing.T) {
	p := DefaultPrincipal("a")
	p.Token, p.Rights = TokenHash("x"), []string{RightRead}
	for _, streams := range [][]string{nil, {"a/", "b"}} {
		p.Streams = streams
		got, err := Parse("t.toml", []byte(p.TOML()))
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "after TOML", []Principal{p}, got.Principals)
	}
}
