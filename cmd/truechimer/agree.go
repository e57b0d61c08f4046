package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
	"time"
)

// What several servers prove together.
//
// Each usable answer proves that the offset of the local clock lies in its range, if its
// server claims the truth. Where most of the ranges share a part, and one part only, most
// servers can be right only if the offset lies there: that part is proven by the majority, and
// whose range does not touch it is wrong about its claims, or lies. Answers of servers that
// follow nothing but their own clock are about no UTC, and have no vote. This is the question
// of Marzullo's algorithm; whom to follow for long, of which RFC 5905 also asks where the
// middle of each range lies, is not asked here.
// Source: K. Marzullo, S. Owicki, Maintaining the time in a distributed system, 1983.

// offsetRange is where the offset of the local clock lies, by one server.
type offsetRange struct{ low, high time.Duration }

// majority returns the part that most of the ranges share, and how many of them do. It
// fails where no more than half share any, or where as many share another part too.
func majority(ranges []offsetRange) (shared offsetRange, count int, ok bool) {
	type edge struct {
		at    time.Duration
		opens bool
	}
	var edges []edge
	for _, r := range ranges {
		edges = append(edges, edge{r.low, true}, edge{r.high, false})
	}
	slices.SortFunc(edges, func(a, b edge) int {
		switch {
		case a.at != b.at:
			return cmp.Compare(a.at, b.at)
		case a.opens == b.opens:
			return 0
		case a.opens: // ranges that touch share a point
			return -1
		default:
			return 1
		}
	})
	open, parts := 0, 0
	for i, e := range edges {
		if !e.opens {
			open--
			continue
		}
		if open++; open > count {
			count, parts = open, 0
		}
		if open == count && !edges[i+1].opens {
			shared, parts = offsetRange{e.at, edges[i+1].at}, parts+1
		}
	}
	return shared, count, 2*count > len(ranges) && parts == 1
}

// consensus is what all answers come to.
type consensus struct {
	hosts  int
	voters []*answer // the usable ones
	shared offsetRange
	count  int
	ok     bool
	apart  []*answer // those of the voters that do not touch it
}

func agreeOn(answers []answer) consensus {
	c := consensus{hosts: len(answers)}
	var ranges []offsetRange
	for i := range answers {
		a := &answers[i]
		if a.err == nil && a.got > 0 && !a.best.Local() {
			c.voters = append(c.voters, a)
			ranges = append(ranges, a.offsetRange())
		}
	}
	c.shared, c.count, c.ok = majority(ranges)
	for i, r := range ranges {
		if c.ok && (r.high < c.shared.low || r.low > c.shared.high) {
			c.apart = append(c.apart, c.voters[i])
		}
	}
	return c
}

func (a *answer) offsetRange() offsetRange {
	offset, bound := a.best.Offset(), a.best.ErrorBound()
	return offsetRange{offset - bound, offset + bound}
}

// bound is how far the local clock is from UTC at the most, if the majority is right.
func (c *consensus) bound() time.Duration { return max(c.shared.low.Abs(), c.shared.high.Abs()) }

// fibreKmPerMs is how far light gets in a fibre.
const fibreKmPerMs = 200

// reach is how long a round trip to a server may take, and how long a fibre may be to it, so that
// the error bound of its answer is within a limit of which all but half the round trip has
// taken the rest. Source: STANDARDS section 1.8.
func reach(limit, rest time.Duration) (roundTrip time.Duration, km int64) {
	left := max(0, limit-rest)
	return 2 * left, int64(left) / (int64(time.Millisecond) / fibreKmPerMs)
}

// rest is what an error bound holds besides half the round trip to the server.
func (a *answer) rest() time.Duration { return a.best.ErrorBound() - a.best.Delay()/2 }

// surest returns the one of those that agree whose error bound holds the least besides half
// the round trip, or nil where there is none: what an outvoted server claims is worth nothing.
func (c *consensus) surest() *answer {
	var best *answer
	for _, a := range c.voters {
		if c.ok && !slices.Contains(c.apart, a) && (best == nil || a.rest() < best.rest()) {
			best = a
		}
	}
	return best
}

// write prints what several hosts agree on, and with a limit how far a server can be for it.
func (c *consensus) write(out io.Writer, maxError time.Duration) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if c.hosts > 1 {
		fmt.Fprintf(w, "all %d hosts\n", c.hosts)
		switch {
		case len(c.voters) == 0:
			fmt.Fprintf(w, "  agree\tnone gave an answer about UTC that is of use\n")
		case !c.ok:
			fmt.Fprintf(w, "  agree\tno majority of the %d that gave one about UTC: nothing is proven\n", len(c.voters))
		default:
			c.writeMajority(w)
		}
	} else if maxError > 0 {
		fmt.Fprintf(w, "for %v of UTC\n", maxError)
	}
	if maxError > 0 {
		c.writeReach(w, maxError)
	}
	return w.Flush()
}

func (c *consensus) writeMajority(w io.Writer) {
	unheard := ""
	if n := c.hosts - len(c.voters); n > 0 {
		unheard = fmt.Sprintf("; %d gave no answer about UTC that is of use", n)
	}
	fmt.Fprintf(w, "  agree\t%d of %d%s\n", c.count, len(c.voters), unheard)
	fmt.Fprintf(w, "  offset\t%v to %v\t%s\n", signed(c.shared.low), signed(c.shared.high), c.direction())
	fmt.Fprintf(w, "  error bound\t%v\tof the local clock, if those that agree are right\n", c.bound())
	for _, a := range c.apart {
		r := a.offsetRange()
		fmt.Fprintf(w, "  disagrees\t%s\t%v to %v\n", a.host, signed(r.low), signed(r.high))
	}
}

// direction says on which side of UTC the local clock is.
func (c *consensus) direction() string {
	switch {
	case c.shared.low > 0:
		return "server minus local: the local clock is behind"
	case c.shared.high < 0:
		return "server minus local: the local clock is ahead"
	default:
		return "server minus local: it may be right"
	}
}

func (c *consensus) writeReach(w io.Writer, maxError time.Duration) {
	trip, km := reach(maxError, 0)
	fmt.Fprintf(w, "  reach\tround trip below %v even to a perfect server: %s km of fibre at %d km/ms\n", trip, thousands(km), fibreKmPerMs)
	a := c.surest()
	if a == nil {
		return
	}
	name, rest := a.host, a.rest().Round(time.Microsecond)
	if trip, km = reach(maxError, a.rest()); trip == 0 {
		fmt.Fprintf(w, "  \tnone to one like %s: the claims of the server and the clocks take %v by themselves\n", name, rest)
		return
	}
	fmt.Fprintf(w, "  \tbelow %v to one like %s, whose claims and the clocks take %v: %s km\n", trip.Round(time.Microsecond), name, rest, thousands(km))
}

// thousands is a number with its thousands set apart.
func thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// consensusJSON is a consensus for programs, after the answers of several hosts. Lengths
// of time are nanoseconds.
type consensusJSON struct {
	Hosts        int      `json:"hosts"`
	Voters       int      `json:"voters"` // that gave a usable answer about UTC
	Majority     bool     `json:"majority"`
	Agree        int      `json:"agree"`
	OffsetLowNs  int64    `json:"offsetLowNs"`
	OffsetHighNs int64    `json:"offsetHighNs"`
	ErrorBoundNs int64    `json:"errorBoundNs"` // 9223372036854775807 without a majority
	Disagree     []string `json:"disagree"`
}

func (c *consensus) writeJSON(out io.Writer) error {
	j := consensusJSON{Hosts: c.hosts, Voters: len(c.voters), Majority: c.ok, ErrorBoundNs: math.MaxInt64, Disagree: []string{}}
	if c.ok {
		j.Agree, j.OffsetLowNs, j.OffsetHighNs, j.ErrorBoundNs = c.count, c.shared.low.Nanoseconds(), c.shared.high.Nanoseconds(), c.bound().Nanoseconds()
	}
	for _, a := range c.apart {
		j.Disagree = append(j.Disagree, a.host)
	}
	return json.NewEncoder(out).Encode(j)
}
