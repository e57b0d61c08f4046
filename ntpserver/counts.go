package ntpserver

import "sync/atomic"

// Counts is what a server did since Listen.
type Counts struct {
	Verdicts      [verdicts]uint64 // requests, by verdict
	Unstamped     uint64           // requests without a kernel timestamp: the clock was read instead
	SendErrors    uint64           // replies that the kernel refused or had no room for
	ReceiveErrors uint64           // receives that failed
	KernelDrops   uint64           // datagrams that the kernel dropped because they were not read in time
	Departures    uint64           // transmit timestamps that the kernel gave, for interleaved mode
	Unfollowed    uint64           // those that it did not give within a second
}

// counters are the counts of one worker. Only that worker writes them, so no
// two cores fight for them; anybody may read.
type counters struct {
	verdicts      [verdicts]atomic.Uint64
	unstamped     atomic.Uint64
	sendErrors    atomic.Uint64
	receiveErrors atomic.Uint64
	kernelDrops   atomic.Uint64
	departures    atomic.Uint64
	unfollowed    atomic.Uint64

	_ [cacheLineLen]byte // the next worker's counters are on another line
}

// cacheLineLen is two cache lines of the processors in use, in bytes: they
// fetch lines in pairs.
const cacheLineLen = 128

// addTo adds the counters to a sum. Counters that move meanwhile are read
// before or after, each by itself.
func (c *counters) addTo(sum *Counts) {
	for v := range c.verdicts {
		sum.Verdicts[v] += c.verdicts[v].Load()
	}
	sum.Unstamped += c.unstamped.Load()
	sum.SendErrors += c.sendErrors.Load()
	sum.ReceiveErrors += c.receiveErrors.Load()
	sum.KernelDrops += c.kernelDrops.Load()
	sum.Departures += c.departures.Load()
	sum.Unfollowed += c.unfollowed.Load()
}
