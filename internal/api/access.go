package api

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"connectrpc.com/connect"

	"github.com/truechimer/truechimer/internal/rpc/rpcconnect"
)

// Rights are a set of rights. None implies another.
type Rights uint8

// The rights.
const (
	RightRead Rights = 1 << iota
	RightIssue
	RightAppend
	RightAdmin
	// RightsAll are all of them.
	RightsAll = RightRead | RightIssue | RightAppend | RightAdmin
)

// Access says who may call what. The zero Access lets nobody do anything.
type Access struct {
	// Principals have names, tokens and certificates of their own each.
	Principals []Principal
	// Anonymous are the rights of those who show no credential, for all streams.
	Anonymous Rights
	// MetricsOpen lets everybody read the metrics; else that needs the right to read.
	MetricsOpen bool
	// HealthClosed has /healthz and /readyz, which say what is wrong, need the right to read; else
	// everybody may ask. /livez says nothing, and is always open.
	HealthClosed bool
}

// Principal is somebody who is known by a token, by a certificate, or by either.
type Principal struct {
	Name string
	// Token is the hash of its token; nil: it has none. A token has 256 random bits, so that
	// nobody can find one by trying and a fast hash without salt keeps it: slow ones are for
	// what people can remember. And whoever compares the hash of a guess with ours learns by
	// the time that it takes at the most how the hash begins, which says nothing of a token.
	Token *[sha256.Size]byte
	// Certificate is the name that its certificate has; empty: it has none.
	Certificate string
	Rights      Rights
	// Streams are what the names of the streams that it may use begin with; nil: all streams.
	Streams []string
	Quota   Quota
}

// The answers to a call that is refused. They are the same whatever is asked for, and whether
// it exists or not.
var (
	errUnknown   = connect.NewError(connect.CodeUnauthenticated, errors.New("this call shows no credential that this node knows; send Authorization: Bearer and a token of a [[principal]] of its configuration, or the certificate of one"))
	errForbidden = connect.NewError(connect.CodePermissionDenied, errors.New("whose credential this is may not make this call, or not for these streams; the rights and streams of its [[principal]] say what it may do"))
	errNoNames   = connect.NewError(connect.CodePermissionDenied, errors.New("whose credential this is may not use all streams; name streams, or a prefix, that its [[principal]] has"))
)

// rule is what a call needs.
type rule struct {
	right Rights
	// whole calls are about the node as a whole: whoever is limited to some streams may not make
	// them.
	whole bool
}

// rules returns what every call needs. A call without a row is refused to everybody.
func rules() map[string]rule {
	return map[string]rule{
		rpcconnect.ClockServiceNowProcedure:      {right: RightIssue},
		rpcconnect.ClockServiceObserveProcedure:  {right: RightIssue},
		rpcconnect.ClockServiceIntervalProcedure: {right: RightIssue},
		rpcconnect.ClockServiceWaitProcedure:     {right: RightIssue},
		rpcconnect.ClockServiceCommitProcedure:   {right: RightIssue},
		rpcconnect.ClockServiceSessionProcedure:  {right: RightIssue},

		rpcconnect.NodeServiceStatusProcedure:      {right: RightRead},
		rpcconnect.NodeServiceSourcesProcedure:     {right: RightRead},
		rpcconnect.NodeServiceClientsProcedure:     {right: RightRead},
		rpcconnect.NodeServiceAcceptClockProcedure: {right: RightAdmin, whole: true},
		rpcconnect.NodeServiceMakeStepProcedure:    {right: RightAdmin, whole: true},
		rpcconnect.NodeServiceRebaseProcedure:      {right: RightAdmin, whole: true},
		rpcconnect.NodeServiceBackupProcedure:      {right: RightAdmin, whole: true},

		// The evidence is about the node as a whole, and what was changed in its configuration, by
		// whom, is not for everybody.
		rpcconnect.EvidenceServiceComplianceProcedure:    {right: RightRead, whole: true},
		rpcconnect.EvidenceServiceBreachesProcedure:      {right: RightRead, whole: true},
		rpcconnect.EvidenceServiceHostsProcedure:         {right: RightRead, whole: true},
		rpcconnect.EvidenceServiceHistoryProcedure:       {right: RightRead, whole: true},
		rpcconnect.EvidenceServiceReportProcedure:        {right: RightRead, whole: true},
		rpcconnect.EvidenceServiceJournalProcedure:       {right: RightRead, whole: true},
		rpcconnect.EvidenceServiceJournalHeadProcedure:   {right: RightRead, whole: true},
		rpcconnect.EvidenceServiceVerifyJournalProcedure: {right: RightRead, whole: true},
		rpcconnect.EvidenceServiceAcknowledgeProcedure:   {right: RightAdmin, whole: true},
		rpcconnect.EvidenceServiceTestAlertsProcedure:    {right: RightAdmin, whole: true},

		rpcconnect.StreamServiceAppendProcedure:       {right: RightAppend},
		rpcconnect.StreamServiceCreateProcedure:       {right: RightAppend},
		rpcconnect.StreamServiceReadProcedure:         {right: RightRead},
		rpcconnect.StreamServiceWatchProcedure:        {right: RightRead},
		rpcconnect.StreamServiceCutProcedure:          {right: RightRead},
		rpcconnect.StreamServiceDescribeProcedure:     {right: RightRead},
		rpcconnect.StreamServiceListProcedure:         {right: RightRead},
		rpcconnect.StreamServiceDeleteProcedure:       {right: RightAdmin},
		rpcconnect.StreamServiceSetRetentionProcedure: {right: RightAdmin},
		rpcconnect.StreamServiceTrimProcedure:         {right: RightAdmin},
	}
}

// may reports whether the principal has what a call needs, its streams apart.
func (p *Principal) may(r rule) bool {
	return r.right != 0 && p.Rights&r.right == r.right && !(r.whole && p.Streams != nil)
}

// covers reports whether the principal may use every stream whose name begins with name, and
// so the one with that name.
func (p *Principal) covers(name string) bool {
	return p.Streams == nil || slices.ContainsFunc(p.Streams, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// selects fails unless the principal may use the streams that are named, or those with the
// prefix, or all where neither is given.
func (p *Principal) selects(names []string, prefix string) *connect.Error {
	if p.Streams != nil && len(names) == 0 && prefix == "" {
		return errNoNames
	}
	if len(names) == 0 && !p.covers(prefix) || slices.ContainsFunc(names, func(name string) bool { return !p.covers(name) }) {
		return errForbidden
	}
	return nil
}

// sameScope reports whether two principals are the same one and may use the same streams.
func (p *Principal) sameScope(o *Principal) bool {
	return p.Name == o.Name && (p.Streams == nil) == (o.Streams == nil) && slices.Equal(p.Streams, o.Streams)
}

// credential is what a call shows. The zero credential is none.
type credential struct {
	token [sha256.Size]byte
	has   bool
	// leaf is the certificate of the client, verified; nil: it has none.
	leaf *x509.Certificate
}

// bearer reads the token of a call's header. It is false where there is a header that holds
// none.
func (c *credential) bearer(header string) bool {
	if header == "" {
		return true
	}
	scheme, token, _ := strings.Cut(header, " ")
	if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || token == "" {
		return false
	}
	c.token, c.has = sha256.Sum256([]byte(token)), true
	return true
}

// table is an Access, made for looking up.
type table struct {
	anonymous    Principal
	tokens       map[[sha256.Size]byte]*member
	certificates map[string]*member
	metricsOpen  bool
	healthOpen   bool
}

// member is a principal and what it uses, which outlives the table.
type member struct {
	Principal
	usage *usage
}

// newTable returns the table of a. What the principals of old use is theirs still. It fails
// where two could not be told apart.
func newTable(a Access, old *table) (*table, error) {
	t := &table{
		anonymous:    Principal{Rights: a.Anonymous},
		tokens:       make(map[[sha256.Size]byte]*member),
		certificates: make(map[string]*member),
		metricsOpen:  a.MetricsOpen,
		healthOpen:   !a.HealthClosed,
	}
	used := old.usages()
	names := make(map[string]bool)
	for _, p := range a.Principals {
		m := &member{Principal: p, usage: used[p.Name]}
		if m.usage == nil {
			m.usage = new(usage)
		}
		twice := p.Name == "" || names[p.Name]
		names[p.Name] = true
		if p.Token != nil {
			_, known := t.tokens[*p.Token]
			twice = twice || known
			t.tokens[*p.Token] = m
		}
		if p.Certificate != "" {
			_, known := t.certificates[p.Certificate]
			twice = twice || known
			t.certificates[p.Certificate] = m
		}
		if twice {
			return nil, fmt.Errorf("principal %q has no name, or not a name, a token and a certificate of its own", p.Name)
		}
	}
	return t, nil
}

// usages returns what each principal uses, by its name.
func (t *table) usages() map[string]*usage {
	used := make(map[string]*usage)
	if t == nil {
		return used
	}
	for _, m := range t.tokens {
		used[m.Name] = m.usage
	}
	for _, m := range t.certificates {
		used[m.Name] = m.usage
	}
	return used
}

// find returns whose credential it is: nil and true for nobody's in particular, where none is
// shown. A token says more than a certificate, which comes with the connection: a proxy can
// have one. One that is shown and not known is refused even where anonymous callers may do
// everything: who sends a token that was taken back should hear so. A certificate that nobody
// here has is none.
func (t *table) find(c *credential) (m *member, ok bool) {
	if c.has {
		m, ok = t.tokens[c.token]
		return m, ok
	}
	if c.leaf != nil {
		for _, name := range namesOf(c.leaf) {
			if m := t.certificates[name]; m != nil {
				return m, true
			}
		}
	}
	return nil, true
}

// namesOf returns the names that a certificate is for. Where it has subject alternative names
// the common name is none of them (RFC 6125, section 6.4.4).
func namesOf(c *x509.Certificate) []string {
	names := slices.Clone(c.DNSNames)
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	if len(names) == 0 && len(c.EmailAddresses) == 0 && len(c.IPAddresses) == 0 && c.Subject.CommonName != "" {
		names = append(names, c.Subject.CommonName)
	}
	return names
}
