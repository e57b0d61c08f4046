package web

import (
	"fmt"
	"math"
	"slices"

	"github.com/truechimer/truechimer/internal/rpc"
)

// scale is how the intervals of sources, offset ± error bound, are drawn side by side: lanes of
// laneWidth by 20, zero in the middle.
type scale struct {
	half float64 // what half a lane stands for, nanoseconds; 0: there is nothing to draw
}

const laneWidth = 200

// scaleOf returns the scale at which three quarters of the sources that were heard fit in whole: a
// source that is far away, or says little, does not press the others together.
func scaleOf(sources []*rpc.Source) scale {
	var reaches []float64
	for _, s := range sources {
		if s.Samples > 0 {
			reaches = append(reaches, max(abs(s.OffsetNs-s.RootDistanceNs), abs(s.OffsetNs+s.RootDistanceNs)))
		}
	}
	if reaches == nil {
		return scale{}
	}
	slices.Sort(reaches)
	return scale{max(1, 1.1*reaches[(len(reaches)-1)*3/4])}
}

func abs(ns int64) float64 { return max(float64(ns), -float64(ns)) }

// Half says what half a lane stands for.
func (s scale) Half() string { return secondsText(s.half / 1e9) }

// Known reports whether there is anything to draw.
func (s scale) Known() bool { return s.half > 0 }

// lane is a source's interval as it is drawn: two SVG paths.
type lane struct {
	Line string // from end to end, as far as the lane goes
	Mark string // where the offset is: a stroke, or an arrow to where it is beyond the lane
}

// Lane returns how a source's interval is drawn.
func (s scale) Lane(source *rpc.Source) lane {
	x := func(ns int64) float64 { return math.Round(10*(laneWidth/2+float64(ns)/s.half*laneWidth/2)) / 10 }
	inside := func(ns int64) float64 { return min(max(x(ns), 0), laneWidth) }
	l := lane{
		Line: fmt.Sprintf("M%v 10H%v", inside(source.OffsetNs-source.RootDistanceNs), inside(source.OffsetNs+source.RootDistanceNs)),
		Mark: fmt.Sprintf("M%v 3v14", inside(source.OffsetNs)),
	}
	switch at := x(source.OffsetNs); {
	case at < 0:
		l.Mark = "M8 4 1 10 8 16"
	case at > laneWidth:
		l.Mark = "M192 4 199 10 192 16"
	}
	return l
}
