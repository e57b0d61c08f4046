package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Source is an upstream NTP server, or a pool of them, that is asked for the time.
type Source struct {
	Address string // a host name, an IP address, or either with a port
	Name    string // what it is called; the address where the file says nothing else
	Site    string // where it stands; empty: unknown
	// NIST marks a server that is never asked more often than every 4 s. It is set for
	// every name below nist.gov, whether or not the file says so.
	NIST bool
	Pool int // how many of the servers behind the address are used; 0: it is one server

	ProviderError time.Duration // of the server against UTC, as its operator states it

	IBurst      bool
	Interleaved bool

	MinPoll, MaxPoll int // poll intervals, log2 of seconds

	Prefer, Trust, Require, NoSelect bool
}

// DefaultSource returns the source that a file describes by its address alone.
func DefaultSource(address string) Source {
	s := Source{Address: address, IBurst: true, Interleaved: true, MinPoll: 6, MaxPoll: 10}
	s.complete()
	return s
}

// complete fills in what follows from the address.
func (s *Source) complete() {
	if s.Name == "" {
		s.Name = s.Address
	}
	s.NIST = s.NIST || isNIST(s.Address)
}

// servers is how many associations the source comes to.
func (s *Source) servers() int { return max(1, s.Pool) }

const (
	sourceSection = "source"
	sourcesMax    = 64 // members of pools among them
	poolMax       = 16
	// Poll exponents: RFC 5905 ends at 17 (36 h); 3 is 8 s, twice what NIST allows.
	pollMin, pollMax = 3, 17
	providerErrorMax = time.Second
	sourceNameLenMax = 261 // a host name, a colon and a port
	hostLenMax       = 253 // RFC 1035, section 2.3.4, as text
	labelLenMax      = 63
	ntpPort          = 123
	exampleSource    = "ntp1.example.net"

	sourceSectionWords = "A server that this node asks for the time, or a pool of them: one such section for each, 64 servers at the most. " +
		"None is built in: name your own, or those of a provider who has agreed; four or more, at different sites, outvote one that is wrong. " +
		"They are polled and judged in every mode; in mode follow they are witnesses beside whoever steers the clock. Sources are numbered from 1 in messages. (live)"
)

func sourceWords() listWords[Source] {
	return listWords[Source]{
		intro: sourceSectionWords,
		samples: []string{
			"address = \"ntp2.example.net\"\nsite = \"north\"\n",
			"address = \"pool.example.org\"\npool = 4\n",
		},
		example: func() Source {
			s := DefaultSource(exampleSource)
			s.Name = "" // it is called by its address
			return s
		},
		fresh: func() Source { return DefaultSource("") },
		id:    func(s *Source) string { return s.Name },
		short: func(s *Source) string { return s.Address },
	}
}

// sourceKeys returns the keys of a [[source]], in the order of the template.
func sourceKeys() []itemKey[Source] {
	return []itemKey[Source]{
		{
			name:  "address",
			doc:   "The server: its name or IP address, with :PORT where that is not 123; an IPv6 address with a port stands in brackets. Required.",
			field: text(func(s *Source) *string { return &s.Address }, addressRange, addressFault),
		}, {
			name:  "name",
			doc:   "What it is called in tables, logs and metrics. Left out: its address.",
			field: text(func(s *Source) *string { return &s.Name }, sourceNameRange, sourceNameFault),
		}, {
			name:  "site",
			doc:   "Where it stands, so that sources of one site can be told from independent ones.",
			field: text(func(s *Source) *string { return &s.Site }, siteRange, siteFault),
		}, {
			name: "nist",
			doc: "It is a server of NIST, which wants no client to ask more often than every 4 s: none of its addresses is, " +
				"retries and iburst included. Names below nist.gov are known to be, and need not say so.",
			field: boolean(func(s *Source) *bool { return &s.NIST }),
		}, {
			name:  "pool",
			doc:   "How many of the servers that the name stands for are used; one that is of no use is replaced. 0: it is one server.",
			field: number(func(s *Source) *int { return &s.Pool }, 0, poolMax),
		}, {
			name:  "provider_error",
			doc:   "How far its operator says that it can be from UTC, beyond what it claims over NTP. Added to the error bound.",
			field: duration(func(s *Source) *time.Duration { return &s.ProviderError }, 0, providerErrorMax),
		}, {
			name:  "iburst",
			doc:   "Ask several times in a row at the start, and after it was away, so as to synchronise sooner.",
			field: boolean(func(s *Source) *bool { return &s.IBurst }),
		}, {
			name:  "interleaved",
			doc:   "Ask in interleaved mode (RFC 9769), which is more exact, where the server has it.",
			field: boolean(func(s *Source) *bool { return &s.Interleaved }),
		}, {
			name:  "min_poll",
			doc:   "The shortest poll interval, as log2 of seconds: 6 is 64 s. Ask strangers no more often than that.",
			field: number(func(s *Source) *int { return &s.MinPoll }, pollMin, pollMax),
		}, {
			name:  "max_poll",
			doc:   "The longest poll interval, as log2 of seconds: 10 is 1024 s. Between the two it adapts itself.",
			field: number(func(s *Source) *int { return &s.MaxPoll }, pollMin, pollMax),
		}, {
			name:  "prefer",
			doc:   "Follow only such sources as long as one of them agrees with the majority.",
			field: boolean(func(s *Source) *bool { return &s.Prefer }),
		}, {
			name:  "trust",
			doc:   "Assume that it is right: what disagrees with it is wrong, be it the majority.",
			field: boolean(func(s *Source) *bool { return &s.Trust }),
		}, {
			name:  "require",
			doc:   "Follow nobody unless one such source is among those that agree.",
			field: boolean(func(s *Source) *bool { return &s.Require }),
		}, {
			name:  "noselect",
			doc:   "Poll and judge it, and never follow it.",
			field: boolean(func(s *Source) *bool { return &s.NoSelect }),
		},
	}
}

const addressRange = `a host name, an IPv4 address, an IPv6 address, or one of them with a port: "ntp1.example.net", "192.0.2.1:123", "[2001:db8::1]:123"`

// addressFault is what is wrong with the address of a server, or "".
func addressFault(s string) string {
	host, port, hasPort := splitPort(s)
	if n, err := strconv.ParseUint(port, 10, 16); hasPort && (err != nil || n == 0) {
		return fmt.Sprintf("%s names port %s: want 1 to 65535, or leave it out for 123", quoted(s), quoted(port))
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if a.IsUnspecified() || a.IsMulticast() || a.Unmap() == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
			return quoted(s) + " is not the address of one machine: name one server"
		}
		return ""
	}
	if wrong := hostFault(host); wrong != "" {
		return fmt.Sprintf("%s %s: want %s", quoted(s), wrong, addressRange)
	}
	return ""
}

// splitPort splits host, host:port, v6, [v6] and [v6]:port; the host is without brackets.
func splitPort(s string) (host, port string, hasPort bool) {
	if inside, bracketed := strings.CutPrefix(s, "["); bracketed {
		host, rest, closed := strings.Cut(inside, "]")
		port, hasPort = strings.CutPrefix(rest, ":")
		if a, err := netip.ParseAddr(host); err != nil || !a.Is6() || !closed || rest != "" && !hasPort {
			return s, "", false // as a name it will be refused
		}
		return host, port, hasPort
	}
	if strings.Count(s, ":") == 1 {
		host, port, _ = strings.Cut(s, ":")
		return host, port, true
	}
	return s, "", false
}

// hostFault is why s cannot be the name of a host, or "". It may end with a dot.
// Source: RFC 1123, section 2.1; underscores are taken, because some sites use them.
func hostFault(s string) string {
	s = strings.TrimSuffix(s, ".")
	if s == "" {
		return "names no server"
	}
	if len(s) > hostLenMax {
		return fmt.Sprintf("is longer than a name can be (%d letters)", hostLenMax)
	}
	labels := strings.Split(s, ".")
	for _, label := range labels {
		other := func(c rune) bool { return !bare(c) }
		if label == "" || len(label) > labelLenMax || strings.ContainsFunc(label, other) || label[0] == '-' || label[len(label)-1] == '-' {
			return "is neither an address nor the name of a host"
		}
	}
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		return "is not an IPv4 address, although it ends like one"
	}
	return ""
}

const sourceNameRange = "1 to 261 printable letters of ASCII without blanks and quotes, or nothing for its address"

func sourceNameFault(s string) string {
	other := func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }
	if len(s) > sourceNameLenMax || strings.ContainsFunc(s, other) {
		return fmt.Sprintf("want %s, not %s", sourceNameRange, quoted(s))
	}
	return ""
}

const siteRange = `up to 63 of the letters a-z and A-Z, digits, dots, dashes and underscores, such as "gaithersburg"`

func siteFault(s string) string {
	if s != "" && nameFault(s) != "" {
		return fmt.Sprintf("want %s, not %s", siteRange, quoted(s))
	}
	return ""
}

// canonical is an address as it is compared with others: they are the same server where
// it is the same.
func canonical(address string) string {
	_, port, hasPort := splitPort(address)
	if n, err := strconv.Atoi(port); hasPort && err == nil && n != ntpPort {
		return hostOf(address) + "/" + strconv.Itoa(n)
	}
	return hostOf(address)
}

// hostOf is the host of an address in its one spelling: a name in small letters and
// without a dot at its end, or an IP address.
func hostOf(address string) string {
	host, _, _ := splitPort(address)
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap().String()
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

func isNIST(address string) bool {
	host := hostOf(address)
	return host == "nist.gov" || strings.HasSuffix(host, ".nist.gov")
}
