package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"
)

// Principal is somebody whom the API knows: by a token, by a certificate, or by either.
type Principal struct {
	Name        string
	Token       string // as TokenHash returns it; empty: none
	Certificate string // the name that the client's certificate must have; empty: none
	Rights      []string
	Streams     []string // prefixes of names; nil: all streams

	Calls                int    // in progress at once
	TimestampsPerSecond  int    // issued, on average
	AppendBytesPerSecond uint64 // of payloads, on average; 0: no limit
}

// The rights of a principal, and of those who show no credential. None implies another.
const (
	RightRead   = "read"
	RightIssue  = "issue"
	RightAppend = "append"
	RightAdmin  = "admin"
)

// Rights returns all rights.
func Rights() []string { return []string{RightRead, RightIssue, RightAppend, RightAdmin} }

// AnonymousRights returns the rights of those who show no credential: what the file says, or
// else everything while there is no principal and nothing once there is one.
func (c *Config) AnonymousRights() []string {
	switch {
	case c.API.Anonymous != nil:
		return c.API.Anonymous
	case len(c.Principals) == 0:
		return Rights()
	default:
		return nil
	}
}

const (
	principalSection = "principal"
	principalsMax    = 1024
	streamsMax       = 256 // prefixes of one principal
	callsMax         = 4096
	timestampsMax    = 1_000_000_000 // per second; a clock issues about as many
	appendBytesMax   = 1 << 40       // per second
	certificateMax   = 253           // bytes
	streamNameMax    = 255           // bytes, as in store.NameLenMax

	tokenPrefix = "sha256:"

	principalSectionWords = "Somebody whom the API knows: one such section for each, 1024 at the most. `truechimer token` makes a token and " +
		"prints its section. Principals are numbered from 1 in messages. (live)"
)

// DefaultPrincipal returns a principal of whom nothing but the name is said.
func DefaultPrincipal(name string) Principal {
	return Principal{Name: name, Calls: 1024, TimestampsPerSecond: 200_000_000}
}

// TokenHash returns what stands in the file for a token. A token is random and long, so a plain
// hash says nothing of it: nobody can try 2^256 of them.
func TokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return tokenPrefix + hex.EncodeToString(sum[:])
}

// ParseTokenHash returns the hash that TokenHash has written.
func ParseTokenHash(text string) (hash [sha256.Size]byte, ok bool) {
	digits, ok := strings.CutPrefix(text, tokenPrefix)
	sum, err := hex.DecodeString(digits)
	if !ok || err != nil || len(sum) != len(hash) || digits != strings.ToLower(digits) {
		return hash, false
	}
	return [sha256.Size]byte(sum), true
}

// TOML is the principal's section of a file: what is not the default.
func (p Principal) TOML() string {
	var b strings.Builder
	fmt.Fprintf(&b, "[[%s]]\n", principalSection)
	usual := DefaultPrincipal("")
	for _, k := range principalKeys() {
		if k.field.text(&p) != k.field.text(&usual) {
			b.WriteString(k.field.line(k.name, &p, false))
		}
	}
	return b.String()
}

func principalWords() listWords[Principal] {
	hash := TokenHash("an example")
	return listWords[Principal]{
		intro: principalSectionWords,
		samples: []string{
			"name = \"orders\"\ntoken = \"" + hash + "\"\nrights = [\"read\", \"issue\", \"append\"]\nstreams = [\"orders/\"]\n",
		},
		example: func() Principal {
			p := DefaultPrincipal("monitoring")
			p.Rights = []string{RightRead}
			p.Token = TokenHash("another example")
			return p
		},
		fresh: func() Principal { return DefaultPrincipal("") },
		id:    func(p *Principal) string { return p.Name },
		short: func(p *Principal) string { return strings.Join(p.Rights, " ") },
	}
}

// principalKeys returns the keys of a [[principal]], in the order of the template.
func principalKeys() []itemKey[Principal] {
	return []itemKey[Principal]{
		{
			name:  "name",
			doc:   "Who it is, in logs, and for idempotency keys, which belong to who has used them. Required.",
			field: text(func(p *Principal) *string { return &p.Name }, nameRange, nameFault),
		}, {
			name:  "token",
			doc:   "The hash of the token that it sends (Authorization: Bearer TOKEN). The token itself stands nowhere.",
			field: text(func(p *Principal) *string { return &p.Token }, tokenRange, tokenFault),
		}, {
			name: "certificate",
			doc: "The name that its client certificate must have: a DNS name or URI among its subject alternative names, or its common name " +
				"where it has none of these. Needs api.client_ca. A principal has a token or a certificate, or either will do.",
			field: text(func(p *Principal) *string { return &p.Certificate }, certificateRange, certificateFault),
		}, {
			name: "rights",
			doc: "What it may do. \"read\": status, sources, clients, metrics, and reading, watching, cutting and listing streams. \"issue\": timestamps " +
				"and intervals. \"append\": appending, and creating streams. \"admin\": deleting, trimming and the retention of streams; and, with all " +
				"streams, the clock's jumps and steps, rebase and backup. None implies another. Required.",
			field: words(func(p *Principal) *[]string { return &p.Rights }, len(Rights()), rightsRange, `["read"]`, rightFault),
		}, {
			name:  "streams",
			doc:   "The streams that it may use: those whose names begin with one of these. Left out: all.",
			field: words(func(p *Principal) *[]string { return &p.Streams }, streamsMax, streamsRange, `["orders/", "audit/"]`, streamPrefixFault),
		}, {
			name:  "calls",
			doc:   "How many calls it may have in progress at once; and a fourth as many watches, and a sixteenth as many sessions.",
			field: number(func(p *Principal) *int { return &p.Calls }, 1, callsMax),
		}, {
			name:  "timestamps_per_second",
			doc:   "How many timestamps it may take on average, a second's worth at once. The default is a fifth of what the clock can issue.",
			field: number(func(p *Principal) *int { return &p.TimestampsPerSecond }, 1, timestampsMax),
		}, {
			name:  "append_bytes_per_second",
			doc:   "How much it may append on average, a second's worth at once. 0 is no limit.",
			field: size(func(p *Principal) *uint64 { return &p.AppendBytesPerSecond }, 0, appendBytesMax),
		},
	}
}

const tokenRange = `"sha256:" and 64 digits of hexadecimal`

// tokenFault does not repeat what it finds fault with: it may be a token.
func tokenFault(s string) string {
	if _, ok := ParseTokenHash(s); s != "" && !ok {
		return "want " + tokenRange + ", which `truechimer token` prints for a new token; the token itself does not belong here"
	}
	return ""
}

const certificateRange = "a name of up to 253 bytes without control characters"

func certificateFault(s string) string {
	if len(s) > certificateMax || strings.ContainsFunc(s, unicode.IsControl) || strings.TrimSpace(s) != s {
		return fmt.Sprintf("want %s, not %s", certificateRange, quoted(s))
	}
	return ""
}

const rightsRange = `a list of "read", "issue", "append" and "admin"`

func rightFault(s string) string {
	if !slices.Contains(Rights(), s) {
		return fmt.Sprintf("%s is no right: want %s", quoted(s), rightsRange)
	}
	return ""
}

const streamsRange = `a list of up to 256 beginnings of names of streams`

// streamPrefixFault is what is wrong with the beginning of a stream's name, or "".
func streamPrefixFault(s string) string {
	letter := func(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' }
	other := func(r rune) bool { return !letter(r) && !strings.ContainsRune("._-:/@+", r) }
	switch {
	case s == "":
		return "every name begins with nothing: leave streams out for all of them"
	case len(s) > streamNameMax || strings.ContainsFunc(s, other) || !letter(rune(s[0])):
		return fmt.Sprintf("no stream's name begins with %s: it is up to %d letters, digits and ._-:/@+, the first a letter or a digit", quoted(s), streamNameMax)
	}
	return ""
}

// accessChecks reports what is wrong between the keys of principals, between principals, and
// between them and the API.
func accessChecks(c *Config) []crossFault {
	var faults []crossFault
	find := func(text string, keys ...string) { faults = append(faults, crossFault{keys: keys, text: text}) }
	a := &c.API
	if (a.TLSCert == "") != (a.TLSKey == "") {
		find("tls_cert and tls_key belong together: set both, or none", "api.tls_cert", "api.tls_key")
	}
	if a.ClientCA != "" && a.TLSCert == "" {
		find("client certificates are shown over TLS only: set tls_cert and tls_key, or take client_ca out", "api.client_ca")
	}
	if i := slices.IndexFunc(a.Listen, func(at netip.AddrPort) bool { return !at.Addr().IsLoopback() }); i >= 0 {
		at := quoted(a.Listen[i].String())
		if a.TLSCert == "" && !a.PlaintextOnNetwork {
			find(at+" is not a loopback address, and there is no TLS: whoever is on the way could read tokens and data, and change them; "+
				"set tls_cert and tls_key, or listen on 127.0.0.1 or [::1]; plaintext_on_network = true takes the risk", "api.listen")
		}
		if len(c.Principals) == 0 && a.Anonymous == nil {
			find(at+" is not a loopback address, and anybody who reaches it could do everything: add a [[principal]] (truechimer token makes one), "+
				"or say in api.anonymous what everybody may do", "api.listen")
		}
	}
	for i := range c.Principals {
		faults = append(faults, c.Principals[i].check(i, a)...)
	}
	for _, k := range []struct {
		key string
		of  func(*Principal) string
	}{
		{"name", func(p *Principal) string { return p.Name }},
		{"token", func(p *Principal) string { return p.Token }},
		{"certificate", func(p *Principal) string { return p.Certificate }},
	} {
		first := map[string]int{}
		for i := range c.Principals {
			v := k.of(&c.Principals[i])
			if before, twice := first[v]; twice && v != "" {
				find(fmt.Sprintf("%s has the same %s: give each principal its own", itemAt(principalSection, before, ""), k.key), itemAt(principalSection, i, k.key))
				continue
			}
			first[v] = i
		}
	}
	return faults
}

// check reports what is missing of one principal.
func (p *Principal) check(i int, a *API) []crossFault {
	var faults []crossFault
	at := func(key string) string { return itemAt(principalSection, i, key) }
	find := func(text string, keys ...string) { faults = append(faults, crossFault{keys: keys, text: text}) }
	if p.Name == "" {
		find("the name is missing: a principal needs name, rights, and a token or a certificate", at("name"), at(""))
	}
	if p.Rights == nil {
		find("the rights are missing: want "+rightsRange+"; [] is none", at("rights"), at(""))
	}
	if p.Streams != nil && len(p.Streams) == 0 {
		find("an empty list allows no stream: leave streams out for all of them", at("streams"))
	}
	switch {
	case p.Token == "" && p.Certificate == "":
		find("it has neither a token nor a certificate: nobody could be it; truechimer token makes a token", at("token"), at("certificate"), at(""))
	case p.Certificate != "" && a.ClientCA == "":
		find("nobody is asked for a certificate: set api.client_ca to the file of those who sign them", at("certificate"))
	}
	return faults
}
