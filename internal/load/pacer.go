package load

// debtMax is how far behind a pacer may be, in nanoseconds, and still catch up.
const debtMax = 20_000_000

// pacer says when requests are due at a steady rate, whatever comes back. Who
// is late catches up, so that the rate is kept; who is so late that the burst would be a
// measurement of its own begins anew, and what was not sent is missing from the count.
type pacer struct {
	rate     float64 // in a second
	from     int64   // when it began, nanoseconds
	launched uint64  // since then
}

// due returns how many requests are to be sent now, at most batch, and by how much the
// first of them is late, in nanoseconds. With 0 requests nothing is late.
func (p *pacer) due(now int64, batch int) (n int, late int64) {
	if now < p.from {
		return 0, 0
	}
	total := uint64(float64(now-p.from)*p.rate/1e9) + 1 // the first one is due at once
	if total <= p.launched {
		return 0, 0
	}
	late = max(now-p.at(p.launched), 0)
	owed := total - p.launched
	if float64(owed) > p.rate*debtMax/1e9+float64(batch) {
		p.from, p.launched = now, 0
		owed = uint64(batch)
	}
	n = int(min(owed, uint64(batch)))
	p.launched += uint64(n)
	return n, late
}

// at returns when the i-th request is due.
func (p *pacer) at(i uint64) int64 { return p.from + int64(float64(i)*1e9/p.rate) }

// next returns when the next request is due.
func (p *pacer) next() int64 { return p.at(p.launched) }
