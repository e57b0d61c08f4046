package hlc

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// TestClock runs the scripts in testdata/clock. Times are written tick+logical, and
// physical time tick+nanoseconds; the commands of one block share a clock:
//
//	clock [maxlead=T] [last=T] [ceiling=T]    a new clock at physical time 0; ceiling 0 unless given
//
//	physical T       physical time is T from here on
//	now, nown N, observe T
//	raise T, reset LAST CEILING, maxlead T
//	state            what the clock remembers
//
// A block that begins with "run" goes on with the clock of the block before.
func TestClock(t *testing.T) {
	datadriven.Walk(t, "testdata/clock", func(t *testing.T, path string) {
		var c *Clock
		var physical int64
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "clock" {
				o := Options{Physical: func() int64 { return physical }}
				for _, arg := range d.CmdArgs {
					v := parseTicks(t, arg.Vals[0])
					switch arg.Key {
					case "maxlead":
						o.MaxLead = time.Duration(v)
					case "last":
						o.Last = v
					case "ceiling":
						o.Ceiling = v
					default:
						d.Fatalf(t, "unknown option %q", arg.Key)
					}
				}
				physical = 0
				var err error
				if c, err = New(o); err != nil {
					return err.Error()
				}
			} else if d.Cmd != "run" {
				d.Fatalf(t, "unknown command %q", d.Cmd)
			}
			var out strings.Builder
			for _, line := range strings.Split(d.Input, "\n") {
				fmt.Fprintf(&out, "%-24s", line)
				f := strings.Fields(line)
				arg := func(i int) Timestamp { return parseTicks(t, f[i]) }
				var ts Timestamp
				var err error
				switch f[0] {
				case "now":
					ts, err = c.Now()
				case "nown":
					n, perr := strconv.Atoi(f[1])
					if perr != nil {
						d.Fatalf(t, "%v", perr)
					}
					ts, err = c.NowN(n)
				case "observe":
					ts, err = c.Observe(arg(1))
				case "physical":
					physical = int64(arg(1))
				case "raise":
					c.Raise(arg(1))
				case "reset":
					c.Reset(arg(1), arg(2))
				case "maxlead":
					err = c.SetMaxLead(time.Duration(arg(1)))
				case "state":
					fmt.Fprintf(&out, " last %s, ceiling %s, lead %s, behind %d",
						ticks(c.Last()), ticks(c.Ceiling()), ticks(Timestamp(c.Lead())), c.Behind())
				default:
					d.Fatalf(t, "unknown line %q", line)
				}
				var lead *LeadError
				switch {
				case errors.As(err, &lead):
					whose := "own"
					if lead.Remote {
						whose = "remote"
					}
					fmt.Fprintf(&out, " refused: %s lead %s, max %s", whose, ticks(Timestamp(lead.Lead)), ticks(Timestamp(lead.MaxLead)))
				case err != nil:
					fmt.Fprintf(&out, " refused: %s", strings.TrimPrefix(err.Error(), "hlc: "))
				case ts != 0:
					fmt.Fprintf(&out, " %s", ticks(ts))
				}
				out.WriteByte('\n')
			}
			return trimLines(out.String())
		})
	})
}

func trimLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// ticks writes t as tick+logical.
func ticks(t Timestamp) string {
	if t == Max {
		return "max"
	}
	return fmt.Sprintf("%d+%d", uint64(t)>>LogicalBits, t.Logical())
}

func parseTicks(t testing.TB, s string) Timestamp {
	if s == "max" {
		return Max
	}
	tick, rest, _ := strings.Cut(s, "+")
	n, err := strconv.ParseUint(tick, 10, 64-LogicalBits)
	if err != nil {
		t.Fatal(err)
	}
	var l uint64
	if rest != "" {
		if l, err = strconv.ParseUint(rest, 10, LogicalBits); err != nil {
			t.Fatal(err)
		}
	}
	return Timestamp(n<<LogicalBits | l)
}

// TestSteering runs the scripts in testdata/steering: a monotonic clock that a script
// moves, steered physical time over it, and a hybrid clock on that. Both are printed as
// distances to the base, the Unix time at which the script's monotonic clock read 0.
//
//	physical         everything new
//
//	wait D                     the monotonic clock goes on by D
//	steer D [rate=PPM] [asleep=D] [age=D] [confirmed]   a target that says base + mono + D, read age ago
//	accept, anchor D
//	now                        physical time, and what the hybrid clock issues
func TestSteering(t *testing.T) {
	const base = noon
	datadriven.Walk(t, "testdata/steering", func(t *testing.T, path string) {
		var p *Physical
		var c *Clock
		var mono time.Duration
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "physical":
				mono = 0
				p = NewPhysical(func() time.Duration { return mono })
				c, _ = New(Options{Physical: p.Now, Ceiling: Max})
			case "run":
			default:
				d.Fatalf(t, "unknown command %q", d.Cmd)
			}
			duration := func(s string) time.Duration {
				v, err := time.ParseDuration(s)
				if err != nil {
					d.Fatalf(t, "%v", err)
				}
				return v
			}
			var out strings.Builder
			for _, line := range strings.Split(d.Input, "\n") {
				fmt.Fprintf(&out, "%-24s", line)
				f := strings.Fields(line)
				var target Target
				if f[0] == "steer" || f[0] == "anchor" {
					target.Mono = mono
					for _, arg := range f[2:] {
						k, v, _ := strings.Cut(arg, "=")
						switch k {
						case "rate":
							ppm, err := strconv.ParseFloat(v, 64)
							if err != nil {
								d.Fatalf(t, "%v", err)
							}
							target.Rate = ppm / 1e6
						case "asleep":
							target.Asleep = duration(v)
						case "age":
							target.Mono -= duration(v)
						case "confirmed":
							target.Confirmed = true
						default:
							d.Fatalf(t, "unknown argument %q", arg)
						}
					}
					target.Unix = base + int64(target.Mono+duration(f[1]))
				}
				switch f[0] {
				case "wait":
					mono += duration(f[1])
				case "steer":
					s := p.Steer(target)
					verdict := "taken"
					if s.Held {
						verdict = "held"
					}
					fmt.Fprintf(&out, " %s, jump %v, behind %v", verdict, s.Jump, s.Behind)
				case "accept":
					target, ok := p.Accept()
					if !ok {
						fmt.Fprintf(&out, " nothing is held")
						break
					}
					fmt.Fprintf(&out, " taken, mono%s", signed(time.Duration(target.Unix-base)-target.Mono))
				case "anchor":
					p.Anchor(target)
				case "now":
					if p.Now() == 0 {
						fmt.Fprintf(&out, " 0")
						break
					}
					ts, err := c.Now()
					if errors.Is(err, ErrLead) {
						fmt.Fprintf(&out, " mono%s, hybrid refused: lead", signed(time.Duration(p.Now()-base)-mono))
						break
					}
					fmt.Fprintf(&out, " mono%s, hybrid %s", signed(time.Duration(p.Now()-base)-mono), signed(ts.Sub(FromUnix(p.Now()))))
				default:
					d.Fatalf(t, "unknown line %q", line)
				}
				out.WriteByte('\n')
			}
			return trimLines(out.String())
		})
	})
}

func signed(d time.Duration) string {
	if d < 0 {
		return d.String()
	}
	return "+" + d.String()
}
