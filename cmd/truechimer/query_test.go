package main

import (
	"net/netip"
	"testing"
	"time"
)

// A host with several addresses is asked at the first that answers, and stays with it.
func TestMeasureFallsBack(t *testing.T) {
	server := func(claims ...string) netip.AddrPort {
		addr, stop, err := fakeNTP(claims)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
		return netip.MustParseAddrPort(addr)
	}
	silent, starting, good := server("silent=true"), server("stratum=0", "leap=3", "refid=INIT"), server()
	o := queryOptions{samples: 3, spacing: spacingMinLocal, timeout: 50 * time.Millisecond}
	for name, c := range map[string]struct {
		servers []netip.AddrPort
		from    netip.AddrPort // the zero value: nobody
		got     int
	}{
		"the first":           {[]netip.AddrPort{good, silent}, good, 3},
		"the second":          {[]netip.AddrPort{silent, good}, good, 3},
		"the third":           {[]netip.AddrPort{silent, netip.MustParseAddrPort("127.0.0.1:1"), good}, good, 3},
		"an answer of no use": {[]netip.AddrPort{starting, good}, starting, 0},
		"nobody":              {[]netip.AddrPort{silent, silent}, netip.AddrPort{}, 0},
	} {
		a := answer{host: "host"}
		a.measure(t.Context(), c.servers, o)
		if a.best.Server != c.from || a.got != c.got || (a.err == nil) != (c.got > 0) {
			t.Errorf("%s: %d from %v, %v; want %d from %v", name, a.got, a.best.Server, a.err, c.got, c.from)
		}
	}
}

// A stranger's server is not asked more often than it likes, whatever the caller wants.
func TestSpacing(t *testing.T) {
	local, stranger := netip.MustParseAddrPort("127.0.0.1:123"), netip.MustParseAddrPort("192.0.2.1:123")
	for _, c := range []struct {
		host   string
		server netip.AddrPort
		asked  time.Duration
		want   time.Duration
	}{
		{"127.0.0.1:11123", local, time.Microsecond, spacingMinLocal},
		{"127.0.0.1:11123", local, 10 * time.Millisecond, 10 * time.Millisecond},
		{"10.1.2.3", netip.MustParseAddrPort("10.1.2.3:123"), time.Millisecond, time.Millisecond},
		{"ntp.example.net", stranger, time.Millisecond, 2 * time.Second},
		{"ntp.example.net", stranger, time.Minute, time.Minute},
		{"time.nist.gov", stranger, time.Millisecond, 4 * time.Second},
		{"TIME-A-G.NIST.GOV.:123", stranger, time.Millisecond, 4 * time.Second},
		{"time.nist.gov", stranger, time.Minute, time.Minute},
	} {
		if got := (queryOptions{spacing: c.asked}).spacingFor(c.host, c.server); got != c.want {
			t.Errorf("%s at %v asked every %v: %v, want %v", c.host, c.server, c.asked, got, c.want)
		}
	}
}
