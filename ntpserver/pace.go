package ntpserver

// pace predicts how long the replies of a group wait for each other. They go to
// the kernel together and leave one after the other, so a departure read once for all
// of them is late for the last by the time that the others took.
//
// A prediction that is too long would let a reply claim to have left after it
// did, which no reply may; one that is too short errs as far as none at all
// would, and no farther. So pace errs to that side. It learns from full groups only: what
// a call costs by itself, which is most of what a single reply takes, is no wait of
// one reply for another. It falls fast and rises slowly, so that what an
// interruption made long counts for little. And it promises three quarters of what
// it has learnt.
type pace struct {
	gap int64 // ns from one reply to the next
}

const (
	// gapMax bounds what is learnt, in ns: a slow machine takes that for a reply.
	gapMax = 5_000

	riseShift = 6 // one part in 64 of the difference
	fallShift = 1
)

// wait returns how long the i-th reply of a group waits at least, in nanoseconds.
func (p *pace) wait(i int) int64 { return p.gap * int64(i) * 3 / 4 }

// learn takes note of how long a group of n took to send.
func (p *pace) learn(took int64, n int) {
	if n < sendGroup || took <= 0 { // the clock was set
		return
	}
	gap := took / int64(n)
	if gap < p.gap {
		p.gap -= (p.gap - gap + 1) >> fallShift
		return
	}
	p.gap += (min(gap, gapMax) - p.gap) >> riseShift
}
