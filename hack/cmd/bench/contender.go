package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The names of the contenders.
const (
	ours      = "truechimer"
	limit     = "socket-limit"
	limitOne  = "socket-limit -1"
	chrony    = "chrony"
	responder = "responder"
)

// contender is a server that is compared.
type contender struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	What    string `json:"what"`
	// Command is the program and its arguments, as it was last started.
	Command []string `json:"command"`
	// Only is the one measurement that it takes part in, or "".
	Only string `json:"only,omitempty"`

	// command prepares a start at an address and returns the program and its arguments.
	command func(addr address) ([]string, error)
}

// required reports whether there is no comparison without it.
func (c *contender) required() bool { return c.Name == ours || c.Name == limit || c.Name == limitOne }

// address is where a server serves, and where it may keep files until it ends.
type address struct {
	port int    // of NTP, UDP on 127.0.0.1
	api  int    // TCP on 127.0.0.1, for who needs one
	dir  string // empty
}

func (a address) ntp() string { return fmt.Sprintf("127.0.0.1:%d", a.port) }

// absent is a contender that could not be had.
type absent struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

// contenders builds or finds every contender.
func contenders(ctx context.Context, o *options) (all []*contender, left []absent, err error) {
	o.say("building")
	if err := buildTools(ctx, o); err != nil {
		return nil, nil, err
	}
	if err := buildOurs(ctx, o); err != nil {
		return nil, nil, err
	}
	all = []*contender{oursOf(o), limitOf(o)}
	if program, version, err := findChronyd(ctx, o); err == nil {
		all = append(all, chronyOf(program, version))
	} else {
		left = append(left, absent{chrony, err.Error()})
	}
	if program, version, err := buildResponder(ctx, o); err == nil {
		all = append(all, responderOf(program, version))
	} else {
		left = append(left, absent{responder, err.Error()})
	}
	return append(all, limitOneOf(o)), left, ctx.Err()
}

// oursOf is the appliance with everything on that a server on a LAN has on, and
// limits that the load does not reach: each burst comes from an address of its own.
func oursOf(o *options) *contender {
	c := &contender{Name: ours, What: "this tree, with access control, limiter, client table and interleaved mode"}
	if o.Plain {
		c.What = "this tree, without access control, limiter and interleaved mode"
	}
	c.command = func(a address) ([]string, error) {
		file := filepath.Join(a.dir, "truechimer.toml")
		err := os.WriteFile(file, []byte(ourConfig(a, o.Plain)), 0o600)
		return []string{o.program, "serve", "--config", file}, err
	}
	return c
}

// ourConfig is the configuration of ours.
func ourConfig(a address, plain bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[node]\ndata_dir = %q\n\n", filepath.Join(a.dir, "data"))
	fmt.Fprintf(&b, "[clock]\nlocal_stratum = 1\nchronyd = \"off\"\n\n")
	fmt.Fprintf(&b, "[ntp]\nlisten = [%q]\nworkers = 1\n", a.ntp())
	if !plain {
		b.WriteString(`allow = ["127.0.0.0/8", "::1/128"]
deny = ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"]
rate_private = true
rate_interval = "1ms"
rate_burst = 1000000
rate_kiss = 16
interleaved = true
`)
	}
	fmt.Fprintf(&b, "\n[api]\nlisten = [\"127.0.0.1:%d\"]\n", a.api)
	return b.String()
}

// limitOf is the barest server: batches of 32, kernel receive timestamps.
func limitOf(o *options) *contender {
	return &contender{
		Name: limit, What: "C, recvmmsg and sendmmsg of 32: what the socket interface allows",
		command: func(a address) ([]string, error) {
			return []string{filepath.Join(o.build, "socket-limit"), "-a", "127.0.0.1", "-p", fmt.Sprint(a.port), "-t", "1"}, nil
		},
	}
}

// limitOneOf is the same with recvmsg and sendmsg, which is quicker for one request.
func limitOneOf(o *options) *contender {
	c := limitOf(o)
	batches := c.command
	c.Name, c.What, c.Only = limitOne, "C, recvmsg and sendmsg", roundTrip
	c.command = func(a address) ([]string, error) {
		args, err := batches(a)
		return append(args, "-1"), err
	}
	return c
}

// chronyOf is chronyd as it comes, which serves its clock and touches none.
func chronyOf(program, version string) *contender {
	return &contender{
		Name: chrony, Version: version, What: "chronyd -x, no rate limit",
		command: func(a address) ([]string, error) {
			return []string{
				program, "-x", "-d", "local stratum 1", "allow 127.0.0.0/8", fmt.Sprintf("port %d", a.port),
				"bindaddress 127.0.0.1", "cmdport 0", "bindcmdaddress /", "user root", "pidfile " + filepath.Join(a.dir, "pid"),
			}, nil
		},
	}
}

// responderOf is facebook/time's server. Without -manage-loopback=false it adds its
// addresses to the loopback interface, and takes them away at its end.
func responderOf(program, version string) *contender {
	return &contender{
		Name: responder, Version: version, What: "facebook/time ntpresponder, one worker",
		command: func(a address) ([]string, error) {
			return []string{
				program, "-manage-loopback=false", "-ip", "127.0.0.1", "-port", fmt.Sprint(a.port), "-workers", "1", "-loglevel", "error",
			}, nil
		},
	}
}

// inTurn returns the contenders in the order of a round: each comes first in its turn.
func inTurn(all []*contender, round int) []*contender {
	first := round % len(all)
	return slices.Concat(all[first:], all[:first])
}

// freeAddress finds ports that nobody uses now.
func freeAddress(dir string) (address, error) {
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return address{}, err
	}
	defer udp.Close()
	tcp, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return address{}, err
	}
	defer tcp.Close()
	return address{port: udp.LocalAddr().(*net.UDPAddr).Port, api: tcp.Addr().(*net.TCPAddr).Port, dir: dir}, nil
}
