package history

import (
	"cmp"
	"math"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/truechimer/truechimer/internal/rpc"
)

// chartMax is how many series a chart has at the most.
const chartMax = 2 * seriesMax

// chart collects rows into series.
type chart struct {
	wanted map[string]bool // nil: all
	at     []int64
	series map[string]*rpc.Series
}

func newChart(wanted []string) *chart {
	c := &chart{series: make(map[string]*rpc.Series)}
	if len(wanted) > 0 {
		c.wanted = make(map[string]bool, len(wanted))
		for _, name := range wanted {
			c.wanted[name] = true
		}
	}
	return c
}

// add adds a row as it is kept.
func (c *chart) add(unix int64, b []byte) error {
	var m rpc.HistoryRow
	if err := proto.Unmarshal(b, &m); err != nil {
		return err
	}
	c.point(unix)
	for _, v := range m.Values {
		c.value(v)
	}
	return nil
}

// addCell adds a row that is not kept.
func (c *chart) addCell(unix int64, row cell) {
	c.point(unix)
	for _, v := range row {
		c.value(v)
	}
}

// point begins the next row: series that have no value in it have a NaN there.
func (c *chart) point(unix int64) { c.at = append(c.at, unix) }

// level makes all series as long as the list of instants.
func (c *chart) level() {
	for _, s := range c.series {
		pad(s, len(c.at))
	}
}

func pad(s *rpc.Series, n int) {
	for len(s.Mean) < n {
		s.Mean, s.Min, s.Max = append(s.Mean, math.NaN()), append(s.Min, math.NaN()), append(s.Max, math.NaN())
	}
}

func (c *chart) value(v *rpc.HistoryValue) {
	if c.wanted != nil && !c.wanted[v.Name] || v.Count == 0 {
		return
	}
	s, ok := c.series[v.Name]
	if !ok {
		if len(c.series) == chartMax && !c.makeRoom() {
			return
		}
		s = &rpc.Series{Name: v.Name}
		c.series[v.Name] = s
	}
	pad(s, len(c.at)-1)
	s.Mean, s.Min, s.Max = append(s.Mean, v.Sum/float64(v.Count)), append(s.Min, v.Min), append(s.Max, v.Max)
}

// makeRoom leaves out those series that have had no value for longest, and reports whether there are
// any that have none in this row. A pool whose members change all the time leaves very many.
func (c *chart) makeRoom() bool {
	var silent []*rpc.Series
	for _, s := range c.series {
		if len(s.Mean) < len(c.at) {
			silent = append(silent, s)
		}
	}
	slices.SortFunc(silent, func(a, b *rpc.Series) int {
		return cmp.Or(cmp.Compare(len(a.Mean), len(b.Mean)), cmp.Compare(a.Name, b.Name))
	})
	for _, s := range silent[:min(len(silent), chartMax/4)] {
		delete(c.series, s.Name)
	}
	return len(silent) > 0
}

// response is the series in the order of their names.
func (c *chart) response(step uint32) *rpc.HistoryResponse {
	c.level()
	m := &rpc.HistoryResponse{At: c.at, Step: step}
	for _, s := range c.series {
		if slices.Equal(s.Min, s.Mean) && slices.Equal(s.Max, s.Mean) {
			s.Min, s.Max = nil, nil
		}
		m.Series = append(m.Series, s)
	}
	slices.SortFunc(m.Series, func(a, b *rpc.Series) int { return cmp.Compare(a.Name, b.Name) })
	return m
}
