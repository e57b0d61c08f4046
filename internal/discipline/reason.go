package discipline

import "fmt"

// following is what the sentence for the operator depends on while all is well: it is the
// same for hours, and asked for every second.
type following struct {
	peer            SourceID
	agreeing, count int
	reason          string
}

// follows says whom the estimate follows.
func (d *Discipline) follows(peer *candidate, agreeing int) string {
	now := following{peer.id, agreeing, len(d.sources), d.said.reason}
	if now != d.said {
		now.reason = fmt.Sprintf("following %s, in agreement with %d of %d sources", peer.options.Name, agreeing, len(d.sources))
		if len(d.sources) == 1 {
			now.reason = fmt.Sprintf("following %s, the only source", peer.options.Name)
		}
		d.said = now
	}
	return now.reason
}

// nobody says why there is no candidate.
func (d *Discipline) nobody() string {
	count := func(status Status) (n int) {
		for i := range d.verdicts {
			if d.verdicts[i].Status == status {
				n++
			}
		}
		return n
	}
	switch n := len(d.verdicts); {
	case n == 0:
		return "there is no source"
	case count(Unreachable) == n:
		return "no source can be reached"
	case count(Waiting)+count(Unreachable) == n:
		return "the sources have not been heard often enough yet"
	case count(Alone) > 0:
		return "the sources that can be reached follow nothing but their own clocks, which says nothing of UTC; one with trust = true is followed all the same"
	case count(Distant) > 0:
		return "no source that can be reached is near enough: the largest error that each can have is above the limit (clock.error_limit)"
	default:
		return "no source can be selected"
	}
}
