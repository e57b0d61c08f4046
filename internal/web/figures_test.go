package web

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/truechimer/truechimer/internal/compliance"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/ntpserver"
)

var nan = math.NaN()

// same compares values of which some are not known.
func same(a, b []float64) bool {
	return slices.EqualFunc(a, b, func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) })
}

// TestLineOf: a line keeps what is least and greatest when it is made coarser, takes the mean of what is
// known, and has gaps where nobody looked.
func TestLineOf(t *testing.T) {
	h := &rpc.HistoryResponse{At: []int64{100, 110, 130, 140, 150}, Step: 10} // nobody looked at 120
	s := &rpc.Series{Mean: []float64{1, 3, 5, nan, 9}, Min: []float64{0, 2, -5, nan, 8}, Max: []float64{7, 4, 6, nan, 99}}
	for name, c := range map[string]struct {
		series         *rpc.Series
		most           int
		mean, min, max []float64
	}{
		"fine":          {s, 6, []float64{1, 3, nan, 5, nan, 9}, []float64{0, 2, nan, -5, nan, 8}, []float64{7, 4, nan, 6, nan, 99}},
		"halves":        {s, 3, []float64{2, 5, 9}, []float64{0, -5, 8}, []float64{7, 6, 99}},
		"uneven":        {s, 2, []float64{2, 7}, []float64{0, -5}, []float64{7, 99}},
		"one":           {s, 1, []float64{4.5}, []float64{-5}, []float64{99}},
		"means alone":   {&rpc.Series{Mean: s.Mean}, 3, []float64{2, 5, 9}, []float64{1, 5, 9}, []float64{3, 5, 9}},
		"too short":     {&rpc.Series{Mean: s.Mean[:2], Min: s.Min[:1], Max: s.Max[:1]}, 3, []float64{2, nan, nan}, []float64{0, nan, nan}, []float64{7, nan, nan}},
		"nothing":       {&rpc.Series{}, 3, []float64{nan, nan, nan}, []float64{nan, nan, nan}, []float64{nan, nan, nan}},
		"infinite":      {&rpc.Series{Mean: []float64{math.Inf(1), 3, 5, 5, 5}}, 3, []float64{3, 5, 5}, []float64{3, 5, 5}, []float64{3, 5, 5}},
		"infinite edge": {&rpc.Series{Mean: []float64{1, 3, 5, 5, 5}, Min: []float64{math.Inf(-1), 3, 5, 5, 5}, Max: []float64{9, 3, 5, 5, 5}}, 3, []float64{2, 5, 5}, []float64{1, 5, 5}, []float64{3, 5, 5}},
	} {
		l := lineOf("x", h, c.series, c.most)
		if !same(l.mean, c.mean) || !same(l.min, c.min) || !same(l.max, c.max) {
			t.Errorf("%s: %v, %v, %v", name, l.mean, l.min, l.max)
		}
	}
}

// TestGrid: no history makes a grid without an end.
func TestGrid(t *testing.T) {
	for name, c := range map[string]struct {
		at   []int64
		step uint32
		want grid
	}{
		"none":          {nil, 10, grid{}},
		"without steps": {[]int64{1, 2}, 0, grid{}},
		"one":           {[]int64{7}, 10, grid{7, 10, 1}},
		"gap":           {[]int64{0, 50}, 10, grid{0, 10, 6}},
		"far apart":     {[]int64{0, 1e15}, 1, grid{0, 1, gridMax}},
	} {
		if got := gridOf(&rpc.HistoryResponse{At: c.at, Step: c.step}); got != c.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
	h := &rpc.HistoryResponse{At: []int64{0, 1e15, 5}, Step: 1} // nor do instants beyond it, or out of order
	lineOf("x", h, &rpc.Series{Mean: []float64{1, 2, 3}}, 10)
	lineOf("x", &rpc.HistoryResponse{At: []int64{10, 0}, Step: 1}, &rpc.Series{Mean: []float64{1, 2}}, 10)
	lineOf("x", &rpc.HistoryResponse{At: []int64{10}}, &rpc.Series{Mean: []float64{1}}, 10)
}

// TestPacked: the script gets the values to a two-thousandth of their range, whatever they are.
func TestPacked(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	cases := [][]float64{nil, {}, {nan}, {nan, nan}, {0}, {5}, {5, 5, 5}, {-12.3, -12.30001}, {0, 1e-9}, {-1e9, 1e9}, {nan, 3, nan}}
	for range 1000 {
		values := make([]float64, 1+r.IntN(200))
		center, spread := r.NormFloat64()*math.Pow(10, float64(r.IntN(12)-6)), math.Pow(10, float64(r.IntN(12)-9))
		for i := range values {
			if values[i] = center + spread*r.NormFloat64(); r.IntN(5) == 0 {
				values[i] = nan
			}
		}
		cases = append(cases, values)
	}
	for _, values := range cases {
		text, err := packed(values).MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		if got := unpack(t, string(text)); !near(got, values) {
			t.Fatalf("%v\nis packed as %s\nand read as %v", values, text, got)
		}
	}
}

// TestFigures: the charts are made of the series that they should be made of.
func TestFigures(t *testing.T) {
	offset, bound := compliance.SourceSeries("a", "1:1")
	other, _ := compliance.SourceSeries("p", "2:2")
	twin, _ := compliance.SourceSeries("p", "3:3")
	names := []string{compliance.SeriesBound, compliance.SeriesOffset, compliance.SeriesFrequency, compliance.SeriesClients, compliance.SeriesIssued,
		compliance.SeriesLead, compliance.SeriesCeiling, compliance.SeriesEvents, offset, bound, other, twin, "something.else"}
	for _, v := range ntpserver.Verdicts() {
		names = append(names, compliance.VerdictSeries(v.String()))
	}
	h := &rpc.HistoryResponse{At: []int64{0, 10}, Step: 10}
	for i, name := range names {
		h.Series = append(h.Series, &rpc.Series{Name: name, Mean: []float64{float64(i), float64(i) + 0.5}, Max: []float64{float64(i), float64(100 + i)}, Min: []float64{float64(i), 0}})
	}
	type shown struct {
		Label     string
		Last, Bar float64
	}
	got := make(map[string][]shown)
	for _, f := range figuresOf(h, spanNamed("")) {
		for _, l := range f.lines {
			s := shown{Label: l.label, Last: l.drawn()[1]}
			if l.bar != nil {
				s.Bar = l.bar[1]
			}
			got[f.ID] = append(got[f.ID], s)
		}
	}
	want := map[string][]shown{
		"bound":     {{"Error bound", 100, 0}, {"Offset", 1.5, 0}}, // the greatest bound, the mean offset
		"sources":   {{"a", 8.5, 9.5}, {"p 2:2", 10.5, 0}, {"p 3:3", 11.5, 0}},
		"frequency": {{"Frequency", 2.5, 0}},
		"ntp": {
			{"Answered", 13.5 + 14.5 + 15.5 + 16.5, 0}, {"Above their rate", 17.5 + 18.5, 0}, {"Denied", 19.5, 0},
			{"Not understood", 20.5 + 21.5 + 22.5 + 23.5 + 24.5 + 25.5 + 26.5 + 27.5, 0},
		},
		"clients": {{"Clients", 3.5, 0}},
		"issued":  {{"Timestamps", 4.5, 0}},
		"lead":    {{"Lead", 105, 0}, {"Ceiling above it", 6.5, 0}},
		"events":  {{"Events", 7.5, 0}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestTell: a chart says what is least, the mean, what is greatest and last, and what nobody knows; its
// table has it by time.
func TestTell(t *testing.T) {
	h := &rpc.HistoryResponse{Step: 10}
	bound := &rpc.Series{Name: compliance.SeriesBound}
	for i := range int64(360) {
		if i >= 60 && i < 120 { // ten minutes
			continue
		}
		h.At = append(h.At, 1_795_000_000+i*10)
		bound.Mean = append(bound.Mean, float64(i)*1e-5)
		bound.Min = append(bound.Min, float64(i)*1e-5-1e-6)
		bound.Max = append(bound.Max, float64(i)*1e-5+1e-6)
	}
	h.Series = []*rpc.Series{bound}
	f := figuresOf(h, spanNamed(""))[0]
	var rows []string
	for _, r := range f.Rows {
		rows = append(rows, strings.ReplaceAll(strings.Join(r, " | "), "\u00a0", " "))
	}
	if d := cmp.Diff([]string{
		"11:06 | 295 µs (−1.00 to 591 µs)",
		"11:16 | –",
		"11:26 | 1.49 ms (1.20 to 1.79 ms)",
		"11:36 | 2.09 ms (1.80 to 2.39 ms)",
		"11:46 | 2.70 ms (2.40 to 2.99 ms)",
		"11:56 | 3.29 ms (3.00 to 3.59 ms)",
	}, rows); d != "" {
		t.Error(d)
	}
	want := []sentence{{"Error bound", "least −1.00\u00a0µs, mean 1.97\u00a0ms, greatest 3.59\u00a0ms, last 3.59\u00a0ms."}, {"", "Nothing is known of 10\u00a0min."}}
	if d := cmp.Diff(want, f.Text); d != "" {
		t.Error(d)
	}
	if day := figuresOf(h, spanNamed("day"))[0].Rows[0][0]; day != "11-18 11:06" {
		t.Errorf("over a day, the first row is of %q", day)
	}
}

// TestScale: sources are drawn side by side so that most can be compared, and those beyond are pointed to.
func TestScale(t *testing.T) {
	source := func(offset, distance int64) *rpc.Source {
		return &rpc.Source{Samples: 1, OffsetNs: offset, RootDistanceNs: distance}
	}
	if s := scaleOf([]*rpc.Source{{}, {OffsetNs: 5}}); s.Known() {
		t.Errorf("a scale of nothing: %+v", s)
	}
	s := scaleOf([]*rpc.Source{source(0, 100), source(-20, 60), source(10, 40), source(40_000, 100), {}})
	if math.Abs(s.half-110) > 1e-9 {
		t.Fatalf("half a lane is %v, want 110: the third of four, and a tenth", s.half)
	}
	for _, c := range []struct {
		offset, distance int64
		want             lane
	}{
		{0, 110, lane{"M0 10H200", "M100 3v14"}},
		{0, 55, lane{"M50 10H150", "M100 3v14"}},
		{55, 11, lane{"M140 10H160", "M150 3v14"}},
		{-55, 1000, lane{"M0 10H200", "M50 3v14"}},
		{40_000, 100, lane{"M200 10H200", "M192 4 199 10 192 16"}},
		{-40_000, 100, lane{"M0 10H0", "M8 4 1 10 8 16"}},
	} {
		if got := s.Lane(source(c.offset, c.distance)); got != c.want {
			t.Errorf("%d ± %d: %+v", c.offset, c.distance, got)
		}
	}
	if one := scaleOf([]*rpc.Source{source(0, 0)}); !one.Known() || one.Lane(source(0, 0)).Mark != "M100 3v14" {
		t.Errorf("a perfect source: %+v", one)
	}
}

// TestHostsWorstFirst: what a person has to look at comes first, and is never what is left out.
func TestHostsWorstFirst(t *testing.T) {
	var hosts []*rpc.Host
	verdicts := []rpc.Verdict{rpc.Verdict_VERDICT_OK, rpc.Verdict_VERDICT_WARN, rpc.Verdict_VERDICT_UNKNOWN, rpc.Verdict_VERDICT_BREACH}
	for i := range hostsShown + 20 {
		hosts = append(hosts, &rpc.Host{Verdict: verdicts[i%4], Probes: uint64(i)})
	}
	before := slices.Clone(hosts)
	listed, left := worstFirst(hosts)
	if len(listed) != hostsShown || left != 20 || listed[0].Probes != 3 || listed[30].Probes != 2 || listed[60].Probes != 1 || listed[90].Probes != 0 {
		t.Errorf("%d listed, %d left: %v", len(listed), left, listed)
	}
	if !slices.Equal(before, hosts) {
		t.Error("the message was changed")
	}
	if listed, left := worstFirst(nil); listed != nil || left != 0 {
		t.Error("of nobody somebody is listed")
	}
}
