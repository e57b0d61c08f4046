package ntp

import "time"

// Sample is the four timestamps of one exchange. Origin and Destination are
// read from the local clock, Receive and Transmit from the server's; Origin is
// the instant at which the request left, which is not what the request's
// transmit field says where that was random.
// Source: RFC 5905, section 8.
type Sample struct {
	Origin      Timestamp // T1
	Receive     Timestamp // T2
	Transmit    Timestamp // T3
	Destination Timestamp // T4
}

// Offset returns server minus local, ((T2−T1)+(T3−T4))/2, to the nearest
// nanosecond. Positive: we are behind; adding it corrects us. It is right
// across an era change and for clocks up to 68 years apart, and wrong by at most
// half the delay, which is its error where one way takes no time at all.
func (s Sample) Offset() time.Duration {
	a, b := int64(s.Receive-s.Origin), int64(s.Transmit-s.Destination)
	mean := a&b + (a^b)>>1 // (a+b)/2 without the overflow
	return time.Duration(mean>>32*nsPerSecond + (int64(uint32(mean))*nsPerSecond+1<<31)>>32)
}

// Delay returns the round trip without the server's own time,
// (T4−T1)−(T3−T2), rounded up to a nanosecond: half of it bounds an error. It
// is negative where the clocks do not fit together; who uses it as a bound
// takes at least the sum of both precisions.
func (s Sample) Delay() time.Duration {
	a, b := int64(s.Destination-s.Origin), int64(s.Transmit-s.Receive)
	sec := a>>32 - b>>32
	frac := int64(uint32(a)) - int64(uint32(b))
	return time.Duration(sec*nsPerSecond - (-frac*nsPerSecond)>>32)
}
