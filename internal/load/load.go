// Package load asks an NTP server for the time as often as it can stand, and measures
// what comes back.
//
// It promises that nothing counts as an answer that is not one: every request carries an
// unpredictable number that says which request it was, from which socket, and an answer
// must give it back in time, once, at that socket. Everything else that comes is counted under
// a name of its own. In the closed loop a request follows an answer, so that the
// server sets the pace; in the open loop requests leave at a steady rate, whatever comes
// back; a sweep is open loops that look for the highest rate that a server holds. How late the
// generator itself was, and whether it was the limit, is part of every result.
//
// What decides is plain types that are given time and bytes (cookies, ledger, judge,
// histogram, pacer, search, Permit); a worker for each thread is the loop around them.
//
// It assumes that it may use its threads wholly: a loop reads its sockets again and again
// before it sleeps.
//
// Hazard: the offset, and the time from T1 to T2, are the server's error only where client and
// server read one clock. Between two hosts they are the difference of the clocks and of the
// two directions of the path.
//
// Hazard: load on a server that one does not own is an attack. Run refuses such addresses.
package load

import (
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"github.com/truechimer/truechimer/internal/netio"
	"github.com/truechimer/truechimer/internal/ntp"
)

// Loop is what makes a request follow another.
type Loop int

// The loops.
const (
	Closed Loop = iota // an answer
	Open               // the clock, at Rate
	Sweep              // the clock, at one rate after another
)

// Limits of the options.
const (
	windowMax      = 1024
	rateMax        = 10_000_000
	durationMin    = 10 * time.Millisecond
	durationMax    = time.Hour
	warmupMax      = time.Minute
	timeoutMin     = time.Millisecond
	timeoutMax     = 10 * time.Second
	factorMin      = 1.01
	factorMax      = 100
	lossMin        = 0.0001
	lossMax        = 100
	resolutionMin  = 0.1
	resolutionMax  = 100
	outstandingMax = ringMax / 4 // all over, so that the ring holds them and those before
)

// Options says what to send, where and how.
type Options struct {
	// Servers are the addresses of one server. The first that answers is used.
	Servers []netip.AddrPort

	// Public permits addresses that are neither loopback, nor private, nor IPv6 link-local.
	Public bool

	Loop    Loop
	Sockets int // source ports, over all threads
	Window  int // Closed: requests in flight on each socket
	Batch   int // requests in one system call, at most
	Threads int

	Duration time.Duration // of what is measured; of each step of a Sweep
	Warmup   time.Duration // before that
	Timeout  time.Duration // after which an answer is late

	Version uint8 // of NTP, 1 to 4

	Rate              float64 // Open: requests in a second
	MinRate, MaxRate  float64 // Sweep: where it begins, and ends at the latest
	Factor            float64 // Sweep: from one step to the next
	MaxLossPercent    float64 // Sweep: a rate is held below that
	ResolutionPercent float64 // Sweep: how near to the limit it ends
}

// Defaults returns the options of a closed loop that lack nothing but a server.
func Defaults() Options {
	return Options{
		Sockets: 16, Window: 1, Batch: 32, Threads: 1,
		Duration: 5 * time.Second, Warmup: 300 * time.Millisecond, Timeout: 100 * time.Millisecond,
		Version: ntp.VersionMax, Rate: 10_000,
		MinRate: 5_000, MaxRate: 4_000_000, Factor: 1.5, MaxLossPercent: 1, ResolutionPercent: 4,
	}
}

// Check returns what is wrong with the options, apart from the servers, or nil. The text begins
// with the option's name, in lower case and with hyphens, as a command line has it.
func (o *Options) Check() error {
	whole := func(name string, v, least, most int) error {
		if v < least || v > most {
			return fmt.Errorf("%s is %d; want %d to %d", name, v, least, most)
		}
		return nil
	}
	number := func(name string, v, least, most float64) error {
		if !(v >= least && v <= most) { // so that what is no number is refused too
			return fmt.Errorf("%s is %s; want %s to %s", name, plain(v), plain(least), plain(most))
		}
		return nil
	}
	span := func(name string, v, least, most time.Duration) error {
		if v < least || v > most {
			return fmt.Errorf("%s is %v; want %v to %v", name, v, least, most)
		}
		return nil
	}
	for _, err := range []error{
		whole("sockets", o.Sockets, 1, netio.FlowsMax),
		whole("window", o.Window, 1, windowMax),
		whole("batch", o.Batch, 1, netio.FlowBatchMax),
		whole("threads", o.Threads, 1, runtime.NumCPU()),
		whole("ntp-version", int(o.Version), ntp.VersionMin, ntp.VersionMax),
		number("seconds", o.Duration.Seconds(), durationMin.Seconds(), durationMax.Seconds()),
		span("warmup", o.Warmup, 0, warmupMax),
		span("timeout", o.Timeout, timeoutMin, timeoutMax),
		number("rate", o.Rate, 1, rateMax),
		number("min-rate", o.MinRate, 1, rateMax),
		number("max-rate", o.MaxRate, 1, rateMax),
		number("factor", o.Factor, factorMin, factorMax),
		number("max-loss", o.MaxLossPercent, lossMin, lossMax),
		number("resolution", o.ResolutionPercent, resolutionMin, resolutionMax),
	} {
		if err != nil {
			return err
		}
	}
	return o.checkTogether()
}

// checkTogether looks at options that are each in their range.
func (o *Options) checkTogether() error {
	switch {
	case o.Threads > o.Sockets:
		return fmt.Errorf("threads is %d; want at most as many as sockets, %d", o.Threads, o.Sockets)
	case o.MinRate > o.MaxRate:
		return fmt.Errorf("min-rate is %s; want at most max-rate, %s", plain(o.MinRate), plain(o.MaxRate))
	case o.Loop == Closed && o.Sockets*o.Window > outstandingMax:
		return fmt.Errorf("window is %d on each of %d sockets; want at most %d requests in flight", o.Window, o.Sockets, outstandingMax)
	case o.Loop != Closed && o.highestRate()*o.Timeout.Seconds() > outstandingMax:
		return fmt.Errorf("timeout is %v at %s requests in a second; want at most %d requests in flight: take a shorter one", o.Timeout, plain(o.highestRate()), outstandingMax)
	}
	return nil
}

// highestRate returns the highest rate of the open loops.
func (o *Options) highestRate() float64 {
	if o.Loop == Sweep {
		return o.MaxRate
	}
	return o.Rate
}

// threadRateMax is more than one thread can send, in a second.
const threadRateMax = 2_000_000

// remembered returns how many requests one thread has to remember so that those sent
// within a timeout are among them.
func (o *Options) remembered() int {
	rate := float64(threadRateMax)
	if o.Loop != Closed {
		rate = min(rate, o.highestRate()/float64(o.Threads))
	}
	burst := rate * 2 * debtMax / 1e9
	return int(2*(rate*o.Timeout.Seconds()+burst)) + 2*o.Sockets*o.Window
}

// plain writes a number without an exponent and without zeros that say nothing.
func plain(v float64) string { return fmt.Sprintf("%.10g", v) }
