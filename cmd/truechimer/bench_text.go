package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/truechimer/truechimer/internal/load"
)

// benchPrinter writes lines, and keeps the errors.
type benchPrinter struct {
	out   io.Writer
	width int // of rows
	err   error
}

func (p *benchPrinter) printf(format string, args ...any) {
	_, err := fmt.Fprintf(p.out, format, args...)
	p.err = errors.Join(p.err, err)
}

// row is a name and its figures, below those of the row before: no name is longer.
func (p *benchPrinter) row(name, format string, args ...any) {
	one := rows{width: p.width}
	one.add(fmt.Sprintf("  %-9s", name), format, args...)
	p.err = errors.Join(p.err, one.write(p.out))
}

// writeBench prints what a run has measured, in words broken into lines of width letters;
// 0 breaks none.
func writeBench(out io.Writer, o *load.Options, r *load.Result, width int) error {
	p := &benchPrinter{out: out, width: width}
	p.printf("%v, %s\n", r.Server, loopText(o))
	if r.Interrupted {
		p.printf("interrupted: these are the figures until then\n")
	}
	if o.Loop == load.Sweep {
		p.sweep(o, r)
	}
	if s := r.Main(); s != nil {
		p.step(s)
	}
	return p.err
}

// loopText says what was asked for.
func loopText(o *load.Options) string {
	sockets := fmt.Sprintf("%d sockets", o.Sockets)
	if o.Sockets == 1 {
		sockets = "1 socket"
	}
	if o.Threads > 1 {
		sockets += fmt.Sprintf(", %d threads", o.Threads)
	}
	switch o.Loop {
	case load.Open:
		return fmt.Sprintf("open loop: %.0f requests/s from %s", o.Rate, sockets)
	case load.Sweep:
		return fmt.Sprintf("sweep from %.0f to at most %.0f requests/s from %s", o.MinRate, o.MaxRate, sockets)
	}
	return fmt.Sprintf("closed loop: %d in flight on each of %s", o.Window, sockets)
}

// sweep prints the steps, and what they come to.
func (p *benchPrinter) sweep(o *load.Options, r *load.Result) {
	p.printf("\n  %10s  %10s  %10s  %8s  %8s  %8s\n", "wanted/s", "sent/s", "answered/s", "loss %", "p50", "p99")
	for i := range r.Steps {
		s := &r.Steps[i]
		why := ""
		switch {
		case r.Interrupted && i == len(r.Steps)-1:
			why = "cut short"
		case s.GeneratorLimited():
			why = "generator"
		case !s.Held:
			why = "loss"
		}
		line := fmt.Sprintf("  %10.0f  %10.0f  %10.0f  %8.3f  %8s  %8s  %s", s.Wanted, s.PerSecond(s.Sent), s.PerSecond(s.Answered()), s.LossPercent(),
			benchSpan(s.RoundTrip.P50), benchSpan(s.RoundTrip.P99), why)
		p.printf("%s\n", strings.TrimRight(line, " "))
	}
	p.printf("\n")
	switch {
	case r.Highest > 0:
		p.row("highest", "%.0f requests/s with a loss below %g %%", r.Highest, o.MaxLossPercent)
	case r.Failed > 0:
		p.row("highest", "not even the first rate was held: begin lower, with --min-rate")
	default:
		p.row("highest", "not known: no rate was tried to its end")
	}
	switch {
	case r.Failed == 0 && r.Highest >= o.MaxRate:
		p.row("", "all rates were held: --max-rate was the limit")
	case r.Failed > 0 && r.GeneratorFailed():
		p.row("", "%.0f/s was more than this program could send or read: it was the limit, and not the server", r.Failed)
	}
	p.row("most", "%.0f answers/s, at any rate", r.Most())
}

// step prints the figures of one step.
func (p *benchPrinter) step(s *load.Step) {
	p.printf("\n")
	p.row("answered", "%.0f/s: %d in %.2f s", s.PerSecond(s.Answered()), s.Answered(), s.Measured.Seconds())
	p.row("sent", "%.0f/s: %d", s.PerSecond(s.Sent), s.Sent)
	p.row("loss", "%.3f %%: %d lost, %d late, %d kiss codes; also %d duplicate, %d bad", s.LossPercent(), s.Lost(), s.Counts[load.Late],
		s.Counts[load.Kiss], s.Counts[load.Duplicate], s.Bad())
	p.reasons(s)
	if s.Answered() > 0 {
		p.spreads(s)
	}
	p.generator(s)
}

// reasons prints what there is to say about what did not count.
func (p *benchPrinter) reasons(s *load.Step) {
	for _, v := range load.Verdicts() {
		if v.Bad() && s.Counts[v] > 0 {
			p.row("bad", "%d: %s", s.Counts[v], badText[v])
		}
	}
	for _, k := range s.Kisses {
		p.row("kiss code", "%s %d times: the server does not want to answer this host, or not so often", kissName(k), k.Count)
	}
	if s.Unsynchronised > 0 {
		p.row("note", "in %d answers the server says that it does not know the time", s.Unsynchronised)
	}
	if s.Refused > 0 {
		p.row("note", "refused %d times: at times nothing listened on that port", s.Refused)
	}
	if s.Unsent > 0 {
		p.row("note", "%d times the kernel did not take a request to send", s.Unsent)
	}
	if s.Dropped > 0 {
		p.row("note", "%d datagrams were lost in this host, because this program did not read them in time", s.Dropped)
	}
}

var badText = map[load.Verdict]string{
	load.Short:     "shorter than a header",
	load.Long:      "longer than the request, which makes an attack by others worse",
	load.Mode:      "not of mode 4",
	load.Version:   "not of the version asked with",
	load.Foreign:   "the origin is no request of ours on that socket: made up, or mixed up",
	load.ZeroTime:  "a receive or transmit timestamp of zero",
	load.Backwards: "sent before it was received: T3 before T2",
}

// spreadHead names the columns of spread.
func (p *benchPrinter) spreadHead() {
	p.printf("\n  %-11s", "")
	for _, name := range []string{"min", "p1", "p50", "p90", "p99", "p99.9", "max"} {
		p.printf("%9s", name)
	}
	p.printf("\n")
}

// spread is a row of percentiles.
func (p *benchPrinter) spread(name string, d load.Spread) {
	p.printf("  %-11s", name)
	for _, v := range []time.Duration{d.Min, d.P1, d.P50, d.P90, d.P99, d.P999, d.Max} {
		p.printf("%9s", benchSpan(v))
	}
	p.printf("\n")
}

// spreads prints the percentiles.
func (p *benchPrinter) spreads(s *load.Step) {
	p.spreadHead()
	p.spread("round trip", s.RoundTrip)
	p.spread("T3-T2", s.Processing)
	p.spread("T2-T1", s.Request)
	p.spread("offset", s.Offset)
	if s.Wanted > 0 {
		p.spread("send lag", s.Lag)
	}
	p.printf("\n")
	stamps := "the kernel's receive timestamp"
	if s.Stamped < s.Answered() {
		stamps = fmt.Sprintf("the kernel's receive timestamp in %d answers, and read after the receive in the rest", s.Stamped)
	}
	if s.Stamped == 0 {
		stamps = "read after the receive"
	}
	p.row("T1, T4", "T1 is read before a batch is sent; T4 is %s", stamps)
	p.row("offset", "((T2-T1)+(T3-T4))/2, server minus local. It and T2-T1 are the server's error only where it reads the same clock as this program, as on one host; else they are the difference of the clocks and of the ways there and back.")
}

// generator says what this program did, and whether it was the limit.
func (p *benchPrinter) generator(s *load.Step) {
	limit := "it was not the limit"
	switch {
	case s.GeneratorLimited() && s.Dropped > 0:
		limit = "it did not read fast enough: it was the limit. Take more --threads or --sockets"
	case s.GeneratorLimited() && s.Wanted > 0:
		limit = fmt.Sprintf("it sent only %.1f %% of what was due: it was the limit. Take more --threads or a larger --batch", 100*s.PerSecond(s.Sent)/s.Wanted)
	case s.GeneratorLimited():
		limit = "answers waited longer here than on their way: it was the limit. Take more --threads"
		if s.Stamped == 0 {
			limit = "it had no time to wait: it was the limit. Take more --threads"
		}
	}
	cpu := ""
	if s.CPU > 0 {
		cpu = fmt.Sprintf(", on %.2f cores", s.CPU.Seconds()/s.Measured.Seconds())
	}
	p.row("generator", "busy for %.0f %% of the time%s; answers waited %s to be read; %s", 100*s.Busy, cpu, benchSpan(s.Unread), limit)
}

// benchSpan is a duration in three digits.
func benchSpan(d time.Duration) string {
	v, unit := float64(d), "ns"
	for _, u := range []struct {
		size float64
		name string
	}{{1e3, "µs"}, {1e6, "ms"}, {1e9, "s"}} {
		if math.Abs(float64(d)) >= u.size*0.9995 {
			v, unit = float64(d)/u.size, u.name
		}
	}
	digits := 2
	for limit := 9.995; digits > 0 && math.Abs(v) >= limit; limit *= 10 {
		digits--
	}
	if unit == "ns" {
		digits = 0
	}
	if math.Abs(v) >= 999_999 {
		return fmt.Sprintf("%.0e%s", v, unit)
	}
	return fmt.Sprintf("%.*f%s", digits, v, unit)
}
