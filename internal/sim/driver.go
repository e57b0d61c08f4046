package sim

import (
	"fmt"
	"strings"
	"time"

	"github.com/truechimer/truechimer/internal/clock"
	"github.com/truechimer/truechimer/internal/leap"
	"github.com/truechimer/truechimer/internal/sysclock"
)

// precision of the simulated clocks, log2 of seconds: 60 ns.
const precision = -24

// settings are those of a file that sets none.
func (n *node) settings() sysclock.DisciplinedSettings {
	s := sysclock.DisciplinedSettings{
		ErrorLimit:    n.ErrorLimit,
		MinSources:    max(1, n.MinSources),
		StepThreshold: 50 * time.Millisecond,
		StepUpdates:   3,
		SlewMaxPPM:    500,
	}
	if s.ErrorLimit == 0 {
		s.ErrorLimit = time.Second
	}
	return s
}

// newDriver builds the driver of a node, as the daemon does.
func newDriver(n *node) *sysclock.Disciplined {
	mode := clock.Steer
	n.tap = tap{Actuator: &n.machine.kernel, node: n}
	var actuator sysclock.Actuator = watchedTap{&n.tap, &n.machine.kernel}
	if n.Virtual {
		mode = clock.Virtual
		n.tap.Actuator = sysclock.NewVirtual(n.machine)
		actuator = &n.tap
	}
	return sysclock.NewDisciplined(n.machine, actuator, n.discipline, n.scale, mode, precision, n.KnownRate*1e6, n.settings())
}

// tap notes the steps of an actuator.
type tap struct {
	sysclock.Actuator
	node *node
}

// Step implements sysclock.Actuator.
func (t *tap) Step(by time.Duration) error {
	t.node.recorder.step(t.node, by)
	return t.Actuator.Step(by)
}

// watchedTap is a tap for a clock that others can reach.
type watchedTap struct {
	*tap
	kernel *kernelClock
}

// Look implements sysclock.Watched.
func (t watchedTap) Look() (sysclock.Disturbance, error) { return t.kernel.Look() }

// newScale returns the leap-free scale of a node, with the list of leap seconds that it has:
// the last one before the start, and the one that is to come.
func newScale(r *run, o *Node) *leap.Scale {
	if o.NoLeapTable {
		return leap.NewScale(new(leap.Table))
	}
	var list strings.Builder
	entry := func(midnight time.Time, by int) {
		last, second, sign := midnight.AddDate(0, 0, -1), 60, "+"
		if by < 0 {
			second, sign = 59, "-"
		}
		fmt.Fprintf(&list, "Leap %s 23:59:%d %s S\n", last.Format("2006 Jan 2"), second, sign)
	}
	// TAI − UTC is 10 s before the first line; the years do not matter.
	for year := range int(taiOffset/time.Second) - 10 {
		entry(time.Date(1973+year, 1, 1, 0, 0, 0, 0, time.UTC), 1)
	}
	if l := r.site.Leap; l != nil {
		entry(l.At, l.By)
	}
	fmt.Fprintf(&list, "#expires %d\n", r.site.Start.AddDate(1, 0, 0).Unix())
	table, err := leap.Parse([]byte(list.String()))
	if err != nil {
		// invariant: the list above is well formed
		panic(err)
	}
	return leap.NewScale(table)
}
