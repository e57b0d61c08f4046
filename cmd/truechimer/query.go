package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/truechimer/truechimer/internal/upstream"
)

const (
	samplesMax      = 64
	spacingDefault  = 2 * time.Second
	spacingMin      = 2 * time.Second // between requests to a stranger's server
	spacingMinLocal = time.Millisecond
	spacingMinNIST  = 4 * time.Second // more often is treated as an attack there
)

// Exit codes of a monitoring plugin.
const (
	pluginOK = iota
	pluginWarning
	pluginCritical
	pluginUnknown
)

type queryOptions struct {
	samples  int
	spacing  time.Duration
	timeout  time.Duration
	maxError time.Duration
}

func newQuery(c *client) *cobra.Command {
	var o queryOptions
	cmd := &cobra.Command{
		Use:   "query HOST...",
		Short: "Ask NTP servers for the time, once",
		Long: `Asks each server, and prints the four timestamps, the offset of the local clock
(server minus local: positive when the local clock is behind), the delay, the error
bound of that offset if the server's own claims are true, and those claims. Of
several samples the one with the least delay is shown. Of several servers it also prints
in which range of offsets most of them agree, and which of them do not; with --json as
one more object after theirs.

HOST is a name or address, with :PORT where that is not 123. The local clock is read
and never changed.

With --max-error it also prints how far away a server can be for that: half the round
trip is part of the error bound, and light takes a millisecond for 200 km of fibre.
It then exits like a monitoring plugin: 0 when every server proves that the local clock
is within that of UTC, 2 when one proves the contrary, else 3 when one gave no usable
answer, else 1 when one cannot prove it, which a server that follows nothing but its
own clock never can. Without, it exits with 3 when one gave no answer,
and with 1 when one gave an answer that is of no use.`,
		Example: "  truechimer query 127.0.0.1:11123\n  truechimer query --max-error 50ms ntp1.example.net ntp2.example.net",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(errors.New("name at least one server; see truechimer query --help"))
			}
			for _, host := range args {
				if _, _, err := upstream.ParseHost(host); err != nil {
					return usage(err)
				}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(); err != nil {
				return usage(err)
			}
			return c.query(cmd.Context(), args, o)
		},
	}
	cmd.Flags().IntVar(&o.samples, "samples", 1, fmt.Sprintf("exchanges with each server, 1 to %d", samplesMax))
	cmd.Flags().DurationVar(&o.spacing, "interval", spacingDefault, "time between them; not below 2s, or 4s for nist.gov, unless the server is on this network")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 3*time.Second, "how long to wait for each reply")
	cmd.Flags().DurationVar(&o.maxError, "max-error", 0, "exit like a monitoring plugin: is the local clock within this of UTC?")
	return cmd
}

func (o queryOptions) check() error {
	switch {
	case o.samples < 1 || o.samples > samplesMax:
		return fmt.Errorf("--samples is %d; want 1 to %d", o.samples, samplesMax)
	case o.timeout <= 0 || o.spacing <= 0:
		return errors.New("--timeout and --interval must be positive")
	case o.maxError < 0:
		return errors.New("--max-error cannot be negative")
	}
	return nil
}

// spacingFor returns the time between two requests to a server that does not hurt it.
func (o queryOptions) spacingFor(host string, server netip.AddrPort) time.Duration {
	name, _, _ := strings.Cut(strings.ToLower(host), ":")
	switch {
	case strings.HasSuffix(strings.TrimSuffix(name, "."), "nist.gov"):
		return max(o.spacing, spacingMinNIST)
	case server.Addr().IsLoopback() || server.Addr().IsPrivate() || server.Addr().IsLinkLocalUnicast():
		return max(o.spacing, spacingMinLocal)
	default:
		return max(o.spacing, spacingMin)
	}
}

// answer is what came of asking one host.
type answer struct {
	host string
	best upstream.Measurement
	got  int // replies that may be used
	err  error
}

func (c *client) query(ctx context.Context, hosts []string, o queryOptions) error {
	answers := make([]answer, len(hosts))
	done := make(chan int)
	for i, host := range hosts {
		go func() {
			answers[i] = ask(ctx, host, o)
			done <- i
		}()
	}
	for range hosts {
		<-done
	}
	var err error
	for i := range answers {
		if c.json {
			err = errors.Join(err, json.NewEncoder(c.out).Encode(answers[i].forPrograms(o.maxError)))
		} else {
			err = errors.Join(err, answers[i].write(c.out, o.maxError))
		}
	}
	all := agreeOn(answers)
	if !c.json {
		err = errors.Join(err, all.write(c.out, o.maxError))
	} else if len(answers) > 1 {
		err = errors.Join(err, all.writeJSON(c.out))
	}
	if err != nil {
		return err
	}
	return conclude(answers, o.maxError)
}

// ask measures one host.
func ask(ctx context.Context, host string, o queryOptions) answer {
	a := answer{host: host}
	servers, err := upstream.Resolve(ctx, host)
	if err != nil {
		a.err = err
		return a
	}
	a.measure(ctx, servers, o)
	return a
}

// measure takes the samples from the first of the servers that answers, and keeps the one
// with the least delay.
func (a *answer) measure(ctx context.Context, servers []netip.AddrPort, o queryOptions) {
	for i := range o.samples {
		if i > 0 {
			select {
			case <-ctx.Done():
				a.err = ctx.Err()
				return
			case <-time.After(o.spacingFor(a.host, servers[0])):
			}
		}
		err := a.sample(ctx, servers[0], o.timeout)
		for err != nil && !a.answered() && len(servers) > 1 {
			servers = servers[1:]
			err = a.sample(ctx, servers[0], o.timeout)
		}
		if err != nil && a.got == 0 {
			a.err = err
		}
	}
}

// sample adds one exchange, and returns why it cannot be used.
func (a *answer) sample(ctx context.Context, server netip.AddrPort, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	m, err := upstream.Exchange(ctx, server)
	switch {
	case err != nil:
		return err
	case m.Fault != nil:
		if a.got == 0 {
			a.best = m
		}
		return m.Fault
	}
	if a.got == 0 || m.Delay() < a.best.Delay() {
		a.best, a.err = m, nil
	}
	a.got++
	return nil
}

// answered reports whether the host said anything.
func (a *answer) answered() bool { return a.best.Server.IsValid() }

// verdict says what the answer proves about the local clock.
func (a *answer) verdict(maxError time.Duration) int {
	switch {
	case a.err != nil:
		return pluginUnknown
	case a.best.Local():
		return pluginWarning // it proves nothing either way
	}
	offset, bound := a.best.Offset().Abs(), a.best.ErrorBound()
	switch {
	case offset+bound <= maxError:
		return pluginOK
	case offset-bound > maxError:
		return pluginCritical
	default:
		return pluginWarning
	}
}

// conclude turns the answers into the exit code. A proof that the clock is wrong
// outranks a server that did not answer, so that no outage hides it.
func conclude(answers []answer, maxError time.Duration) error {
	verdicts := make(map[int]bool)
	code := 0
	for i := range answers {
		a := &answers[i]
		verdicts[a.verdict(maxError)] = true
		switch {
		case !a.answered():
			code = exitUnreachable
		case a.err != nil:
			code = max(code, exitFailed) // it answered, and said why that is of no use
		}
	}
	if maxError > 0 {
		code = 0
		for _, worse := range []int{pluginWarning, pluginUnknown, pluginCritical} {
			if verdicts[worse] {
				code = worse
			}
		}
	}
	if code != 0 {
		return exitError{code: code}
	}
	return nil
}

var verdictText = [...]string{"OK: proven within", "WARNING: not proven within", "CRITICAL: proven to be outside", "UNKNOWN: nobody can tell whether it is within"}

func (a *answer) write(out io.Writer, maxError time.Duration) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	m := &a.best
	fmt.Fprintf(w, "%s", a.host)
	if a.answered() && m.Server.String() != a.host {
		fmt.Fprintf(w, " (%v)", m.Server)
	}
	fmt.Fprintln(w)
	if a.err != nil {
		fmt.Fprintf(w, "  no usable answer\t%v\n", a.err)
	}
	if a.answered() {
		writeMeasurement(w, m, a.err == nil)
	}
	if maxError > 0 {
		fmt.Fprintf(w, "  verdict\t%s %v of UTC\n", verdictText[a.verdict(maxError)], maxError)
	}
	return w.Flush()
}

// writeMeasurement prints one exchange: the timestamps and what follows from them where
// they may be used, and what the server says of itself.
func writeMeasurement(w io.Writer, m *upstream.Measurement, usable bool) {
	if usable {
		t1 := m.Sample.Origin.Unix(time.Now().UnixNano())
		stamp := func(name string, at int64, who string) {
			fmt.Fprintf(w, "  %s\t%s\t%s\n", name, time.Unix(0, at).UTC().Format("2006-01-02T15:04:05.000000000Z"), who)
		}
		t4 := "read after the receive"
		if m.Stamped {
			t4 = "kernel's receive timestamp"
		}
		stamp("t1", t1, "local clock, read before the send")
		stamp("t2", m.Sample.Receive.Unix(t1), "server")
		stamp("t3", m.Sample.Transmit.Unix(t1), "server")
		stamp("t4", m.Sample.Destination.Unix(t1), "local clock, "+t4)
		fmt.Fprintf(w, "  offset\t%v\tserver minus local\n", signed(m.Offset()))
		fmt.Fprintf(w, "  delay\t%v\tround trip\n", m.Delay())
		fmt.Fprintf(w, "  error bound\t%v\thalf the delay, the claims of the server, precision and drift\n", m.ErrorBound())
		fmt.Fprintf(w, "  range\t%v to %v\n", signed(m.Offset()-m.ErrorBound()), signed(m.Offset()+m.ErrorBound()))
	}
	h := &m.Header
	fmt.Fprintf(w, "  server claims\tstratum %d, refid %s, leap %s, precision 2^%d s\n", h.Stratum, h.RefID.Text(h.Stratum), leapWords[min(int(h.Leap), len(leapWords)-1)], h.Precision)
	fmt.Fprintf(w, "  \troot delay %v, root dispersion %v\n", h.RootDelay.Duration(), h.RootDispersion.Duration())
	if m.Local() {
		fmt.Fprintf(w, "  \tit follows nothing but its own clock: nothing of this is about UTC\n")
	}
}

// signed is a duration that shows its sign.
func signed(d time.Duration) string {
	if d > 0 {
		return "+" + d.String()
	}
	return d.String()
}

// queryJSON is an answer for programs. Lengths of time are nanoseconds.
type queryJSON struct {
	Host             string `json:"host"`
	Server           string `json:"server,omitempty"`
	Error            string `json:"error,omitempty"`
	Verdict          string `json:"verdict,omitempty"`
	Samples          int    `json:"samples"`
	T1               string `json:"t1,omitempty"` // NTP timestamps, 16 hexadecimal digits
	T2               string `json:"t2,omitempty"`
	T3               string `json:"t3,omitempty"`
	T4               string `json:"t4,omitempty"`
	KernelStamped    bool   `json:"kernelStamped"`
	OffsetNs         int64  `json:"offsetNs"`
	DelayNs          int64  `json:"delayNs"`
	ErrorBoundNs     int64  `json:"errorBoundNs"`
	Leap             int    `json:"leap"`
	Stratum          int    `json:"stratum"`
	RefID            string `json:"refid,omitempty"`
	Precision        int    `json:"precisionLog2"`
	RootDelayNs      int64  `json:"rootDelayNs"`
	RootDispersionNs int64  `json:"rootDispersionNs"`
	Local            bool   `json:"local"` // it follows nothing but its own clock
}

func (a *answer) forPrograms(maxError time.Duration) queryJSON {
	q := queryJSON{Host: a.host, Samples: a.got}
	if a.err != nil {
		q.Error = a.err.Error()
	}
	if maxError > 0 {
		q.Verdict, _, _ = strings.Cut(verdictText[a.verdict(maxError)], ":")
	}
	m := &a.best
	if !a.answered() {
		return q
	}
	hex := func(t uint64) string { return fmt.Sprintf("%016x", t) }
	h := &m.Header
	q.Server = m.Server.String()
	q.T1, q.T2 = hex(uint64(m.Sample.Origin)), hex(uint64(m.Sample.Receive))
	q.T3, q.T4 = hex(uint64(m.Sample.Transmit)), hex(uint64(m.Sample.Destination))
	q.KernelStamped, q.Local = m.Stamped, m.Local()
	q.Leap, q.Stratum, q.RefID, q.Precision = int(h.Leap), int(h.Stratum), h.RefID.Text(h.Stratum), int(h.Precision)
	q.RootDelayNs, q.RootDispersionNs = h.RootDelay.Duration().Nanoseconds(), h.RootDispersion.Duration().Nanoseconds()
	if a.err == nil {
		q.OffsetNs, q.DelayNs, q.ErrorBoundNs = m.Offset().Nanoseconds(), m.Delay().Nanoseconds(), m.ErrorBound().Nanoseconds()
	}
	return q
}
