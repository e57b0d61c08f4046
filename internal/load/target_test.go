package load

import (
	"errors"
	"math"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestPermit(t *testing.T) {
	for text, want := range map[string]error{
		"127.0.0.1": nil, "127.255.0.9": nil, "::1": nil, "::ffff:127.0.0.1": nil,
		"10.0.0.1": nil, "172.16.0.1": nil, "172.31.255.255": nil, "192.168.1.1": nil, "::ffff:10.1.2.3": nil,
		"fe80::1": nil, "fe80::1%eth0": nil, "febf::1": nil, "fc00::1": nil, "fd12:3456::1": nil, "fd00:ec2::123": nil,

		"192.0.2.1": ErrPublic, "8.8.8.8": ErrPublic, "172.15.255.255": ErrPublic, "172.32.0.1": ErrPublic, "192.169.0.1": ErrPublic,
		"11.0.0.1": ErrPublic, "100.64.0.1": ErrPublic, "2001:db8::1": ErrPublic, "2600::1": ErrPublic, "::ffff:8.8.8.8": ErrPublic,
		"169.254.1.1": ErrPublic, "169.254.169.123": ErrPublic, "::ffff:169.254.169.254": ErrPublic,
		"64:ff9b::7f00:1": ErrPublic, "2002:7f00:1::": ErrPublic, "fec0::1": ErrPublic, "::127.0.0.1": ErrPublic,

		"0.0.0.0": ErrNoHost, "::": ErrNoHost, "::ffff:0.0.0.0": ErrNoHost, "0.1.2.3": ErrNoHost, "255.255.255.255": ErrNoHost, "240.0.0.1": ErrNoHost,
		"224.0.1.1": ErrNoHost, "239.1.1.1": ErrNoHost, "ff02::101": ErrNoHost, "ff05::101": ErrNoHost, "::ffff:224.0.1.1": ErrNoHost,
	} {
		addr := netip.MustParseAddr(text)
		if got := Permit(addr, false); !errors.Is(got, want) {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
		if errors.Is(want, ErrPublic) {
			want = nil
		}
		if got := Permit(addr, true); !errors.Is(got, want) {
			t.Errorf("%s, public: %v, want %v", text, got, want)
		}
	}
	if err := Permit(netip.Addr{}, true); !errors.Is(err, ErrNoHost) {
		t.Errorf("no address: %v", err)
	}
}

// All addresses are looked at before anything is sent.
func TestRunRefuses(t *testing.T) {
	local := netip.MustParseAddrPort("127.0.0.1:1")
	for name, c := range map[string]struct {
		change func(o *Options)
		want   string
	}{
		"public":         {func(o *Options) { o.Servers = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:123")} }, "192.0.2.1 is neither"},
		"public, second": {func(o *Options) { o.Servers = []netip.AddrPort{local, netip.MustParseAddrPort("192.0.2.1:123")} }, "192.0.2.1 is neither"},
		"group": {func(o *Options) {
			o.Servers, o.Public = []netip.AddrPort{netip.MustParseAddrPort("224.0.1.1:123")}, true
		}, "not the address of a host"},
		"none":    {func(o *Options) { o.Servers = nil }, "no server given"},
		"options": {func(o *Options) { o.Sockets = 0 }, "sockets is 0; want 1 to 4096"},
	} {
		o := Defaults()
		o.Servers = []netip.AddrPort{local}
		c.change(&o)
		if _, err := Run(t.Context(), o, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOptions(t *testing.T) {
	good := Defaults()
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(o *Options){
		"sockets is 4097; want 1 to 4096":         func(o *Options) { o.Sockets = 4097 },
		"window is 0; want 1 to 1024":             func(o *Options) { o.Window = 0 },
		"batch is 129; want 1 to 128":             func(o *Options) { o.Batch = 129 },
		"threads is 0; want 1 to ":                func(o *Options) { o.Threads = 0 },
		"threads is 100000; want 1 to ":           func(o *Options) { o.Threads = 100_000 },
		"ntp-version is 5; want 1 to 4":           func(o *Options) { o.Version = 5 },
		"ntp-version is 0; want 1 to 4":           func(o *Options) { o.Version = 0 },
		"seconds is 3601; want 0.01 to 3600":      func(o *Options) { o.Duration = 3601 * time.Second },
		"seconds is 0; want 0.01 to 3600":         func(o *Options) { o.Duration = 0 },
		"warmup is -1s; want 0s to 1m0s":          func(o *Options) { o.Warmup = -time.Second },
		"timeout is 0s; want 1ms to 10s":          func(o *Options) { o.Timeout = 0 },
		"timeout is 11s; want 1ms to 10s":         func(o *Options) { o.Timeout = 11 * time.Second },
		"rate is 0; want 1 to 10000000":           func(o *Options) { o.Rate = 0 },
		"rate is 10000001; want 1 to 10000000":    func(o *Options) { o.Rate = 10_000_001 },
		"rate is NaN; want 1 to 10000000":         func(o *Options) { o.Rate = math.NaN() },
		"rate is +Inf; want 1 to 10000000":        func(o *Options) { o.Rate = math.Inf(1) },
		"min-rate is 0.5; want 1 to 10000000":     func(o *Options) { o.MinRate = 0.5 },
		"max-rate is 20000000; want 1 to 1000000": func(o *Options) { o.MaxRate = 2e7 },
		"factor is 1; want 1.01 to 100":           func(o *Options) { o.Factor = 1 },
		"max-loss is 0; want 0.0001 to 100":       func(o *Options) { o.MaxLossPercent = 0 },
		"resolution is 0; want 0.1 to 100":        func(o *Options) { o.ResolutionPercent = 0 },
		"min-rate is 2000; want at most max-rate": func(o *Options) { o.MinRate, o.MaxRate = 2000, 1000 },
		"window is 1024 on each of 4096 sockets":  func(o *Options) { o.Sockets, o.Window = 4096, 1024 },
		"timeout is 1s at 2000000 requests":       func(o *Options) { o.Loop, o.Rate, o.Timeout = Open, 2e6, time.Second },
		"timeout is 1s at 4000000 requests":       func(o *Options) { o.Loop, o.Timeout = Sweep, time.Second },
	} {
		o := Defaults()
		change(&o)
		if err := o.Check(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	o := Defaults()
	o.Sockets, o.Threads = 1, 2
	if err := o.Check(); runtime.NumCPU() > 1 && (err == nil || !strings.HasPrefix(err.Error(), "threads is 2; want at most as many as sockets")) {
		t.Errorf("more threads than sockets: %v", err)
	}
	for _, o := range []Options{good, {Loop: Open, Sockets: 1, Window: 1, Threads: 1, Rate: 1e7, Timeout: 100 * time.Millisecond}} {
		if n, least := o.remembered(), int(min(threadRateMax, max(o.Rate, 1))*o.Timeout.Seconds()); n < least {
			t.Errorf("remembers %d of the %d of a timeout", n, least)
		}
	}
}
