package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The law is the integral of the rate, so adding up the rate comes to the same.
func TestLawIsTheIntegralOfTheRate(t *testing.T) {
	l := law{Oscillator: oscillator{RatePPM: 37, WanderAmplitudePPM: 2}, RawNs: 5e9, UnixNs: 1_795_000_000e9}
	const pace = 10 * time.Second
	gained := 0.0 // nanoseconds
	for elapsed := time.Duration(0); elapsed <= 24*time.Hour; elapsed += pace {
		got := l.at(l.RawNs+int64(elapsed)) - l.UnixNs - int64(elapsed)
		if math.Abs(float64(got)-gained) > 1000 {
			t.Fatalf("after %s the truth has gained %d ns, want %.0f", elapsed, got, gained)
		}
		gained += l.Oscillator.rateAt(elapsed+pace/2) * 1e-6 * float64(pace)
	}
	if back := l.at(l.RawNs - 1e9); back >= l.UnixNs {
		t.Errorf("before its origin the truth is %d, not below %d", back, l.UnixNs)
	}
}

func TestPlan(t *testing.T) {
	for _, s := range scenarios() {
		p := planFor(s, 4*time.Hour, 1)
		file := filepath.Join(t.TempDir(), "plan")
		if err := p.write(file); err != nil {
			t.Fatal(err)
		}
		got, err := readPlan(file)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(p, got); d != "" {
			t.Errorf("%s: what the guest reads differs: %s", s.Name, d)
		}
		if s.Duration == 0 || s.Sample == 0 || s.About == "" {
			t.Errorf("%s: duration %s, sample %s, about %q", s.Name, s.Duration, s.Sample, s.About)
		}
		if planFor(s, time.Hour, 2).Seed == p.Seed {
			t.Errorf("%s: two repeats share a seed", s.Name)
		}
	}
	outage, err := scenarioNamed("outage")
	if err != nil {
		t.Fatal(err)
	}
	want := []event{{At: 11 * time.Hour, Kind: networkGone}, {At: 13 * time.Hour, Kind: networkBack}}
	if d := cmp.Diff(want, planFor(outage, outage.Duration, 1).Events); d != "" {
		t.Error(d)
	}
	if _, err := scenarioNamed("none"); err == nil || !strings.Contains(err.Error(), "wan") {
		t.Errorf("an unknown scenario says %v, want the names that there are", err)
	}
}

// A plan that another version of this program wrote would be half understood.
func TestPlanOfAnotherVersionIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "plan")
	if err := os.WriteFile(file, []byte(`{"Path": {}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readPlan(file); err == nil {
		t.Error("read, want an error")
	}
}

func TestScenarioInWords(t *testing.T) {
	for name, want := range map[string]string{
		"asymmetry": "5 ± 0.5 ms up, 15 ± 0.5 ms down; 1 % loss; 37 ± 2 ppm a day",
		"lan":       "100 ± 50 µs each way; 0.1 % loss; 37 ± 2 ppm a day",
		"liars":     "10 ± 0.5 ms each way; 1 % loss; 37 ± 2 ppm a day; 2 of 5 servers lie (+300 ms, -80 ms)",
		"outage":    "10 ± 0.5 ms each way; 1 % loss; 37 ± 2 ppm a day; no network for 2h in the middle",
		"start-lan": "100 ± 50 µs each way; 0.1 % loss; 100 ± 2 ppm a day; 100ms off at the start",
	} {
		s, err := scenarioNamed(name)
		if err != nil {
			t.Fatal(err)
		}
		if s.About != want {
			t.Errorf("%s\ngot  %s\nwant %s", name, s.About, want)
		}
	}
}

// observedAt is an observation of a clock that claims to be synchronised.
func observedAt(seconds float64, offset time.Duration, maxErrorUs int64) record {
	return record{Kind: observed, Seconds: seconds, OffsetNs: int64(offset), MaxErrorUs: maxErrorUs}
}

func TestMeasure(t *testing.T) {
	unsynchronised := observedAt(30, time.Second, 16_000_000)
	unsynchronised.Status = kernelUnsynchronised
	last := observedAt(60, 0, 0)
	last.Text, last.FreqPPM, last.Tick = afterEnd, 39, tickNominal
	s := scenario{Settle: 20 * time.Second, Oscillator: oscillator{RatePPM: 37}}
	for name, c := range map[string]struct {
		records []record
		want    result
	}{
		"nothing": {nil, result{}},
		"what comes before the settling time counts for the convergence only": {
			[]record{observedAt(0, 5*time.Millisecond, 1000), observedAt(10, 2*time.Millisecond, 3000), observedAt(20, 300*time.Microsecond, 2000),
				observedAt(40, -400*time.Microsecond, 400)},
			result{Samples: 2, RMSUs: math.Sqrt((300*300 + 400*400) / 2), WorstUs: 400, MaxErrorMedianUs: 1200, MaxErrorWorstUs: 2000,
				ViolationsAll: 1, WithinSeconds: 20},
		},
		"too small a maximum error is a violation": {
			[]record{observedAt(20, -401*time.Microsecond, 400), observedAt(30, 401*time.Microsecond, 400)},
			result{Samples: 2, RMSUs: 401, WorstUs: 401, MaxErrorMedianUs: 400, MaxErrorWorstUs: 400, Violations: 2, ViolationsAll: 2},
		},
		"who is not synchronised claims nothing": {
			[]record{unsynchronised},
			result{Samples: 1, RMSUs: 1e6, WorstUs: 1e6, Unsynchronised: 1, WithinSeconds: -1},
		},
		"convergence is for good": {
			[]record{observedAt(1, 0, 9000), observedAt(2, time.Millisecond, 9000), observedAt(3, time.Millisecond-1, 9000)},
			result{WithinSeconds: 3},
		},
		"the step by another hand is not the contender's": {
			[]record{{Kind: step, Seconds: 1, StepNs: 5}, observedAt(1, 2*time.Millisecond, 9000),
				{Kind: happened, Seconds: 10, Text: string(stepped)}, {Kind: step, Seconds: 10, StepNs: -5},
				observedAt(11, 2*time.Millisecond, 9000), observedAt(13, 0, 9000), {Kind: step, Seconds: 15, StepNs: -5},
				{Kind: step, Seconds: 16, StepNs: -5}},
			result{Steps: 3, StepsBack: 2, LastStepSeconds: 16, WithinSeconds: 3},
		},
		"who is not disturbed by it needs no time": {
			[]record{observedAt(1, 2*time.Millisecond, 9000), observedAt(2, 0, 9000),
				{Kind: happened, Seconds: 10, Text: string(stepped)}, observedAt(11, 0, 9000)},
			result{WithinSeconds: 0},
		},
		"after an outage the time counts from its end": {
			[]record{observedAt(1, 0, 9000), {Kind: happened, Seconds: 5, Text: string(networkGone)}, observedAt(9, 3*time.Millisecond, 9000),
				{Kind: happened, Seconds: 10, Text: string(networkBack)}, observedAt(11, 2*time.Millisecond, 9000), observedAt(15, 0, 9000)},
			result{WithinSeconds: 5},
		},
		"the rate that is left behind": {[]record{last}, result{EndRateErrorPPM: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			got := measure(s, c.records)
			got.MaxErrorRewritten = 0 // TestGrowth
			if d := cmp.Diff(c.want, got, cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-6 })); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestGrowth(t *testing.T) {
	for name, c := range map[string]struct {
		maxErrors []int64 // a second apart
		want      float64
	}{
		"rewritten every second":               {[]int64{100, 101, 99, 100, 100}, 0},
		"never":                                {[]int64{100, 600, 1100, 1600}, 3},
		"twice in a second":                    {[]int64{100, 600, 1600, 2100}, 3},
		"in the middle":                        {[]int64{100, 600, 1100, 300, 800}, 2},
		"it grows faster than the kernel does": {[]int64{100, 2100, 4100}, 0},
		"by its own amount":                    {[]int64{100, 401, 702}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var g growth
			for i, e := range c.maxErrors {
				g.add(observedAt(float64(i), 0, e))
			}
			if g.longest != c.want {
				t.Errorf("longest %g s, want %g", g.longest, c.want)
			}
		})
	}
}

func TestReadRecords(t *testing.T) {
	end := string(record{Kind: ended}.line())
	for name, c := range map[string]struct {
		console string
		want    []record
		fault   string
	}{
		"between other lines": {"Linux\r\n" + string(observedAt(1, 2, 3).line()) + "\n[ 1.2] noise " + end,
			[]record{observedAt(1, 2, 3), {Kind: ended}}, ""},
		"cut short":  {string(observedAt(1, 2, 3).line()), nil, "stopped before its end, after 1 records"},
		"nothing":    {"", nil, "after 0 records"},
		"damaged":    {recordMark + "{\n" + end, nil, "read record"},
		"it failed":  {string(record{Kind: failed, Text: "no route"}.line()) + end, nil, "no route"},
		"after that": {end + string(observedAt(1, 2, 3).line()), nil, "stopped before its end"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readRecords(strings.NewReader(c.console))
			if c.fault != "" {
				if err == nil || !strings.Contains(err.Error(), c.fault) {
					t.Fatalf("error %v, want one with %q", err, c.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestArchive reads the archive back, by the fields of its format.
func TestArchive(t *testing.T) {
	fs := newInitramfs()
	fs.add("/usr/lib/x.so", []byte("12345"))
	fs.addLink("/var/run", "/run")
	fs.addDirectory("/usr")
	archive := fs.archive()
	type entry struct {
		name string
		mode uint64
		text string
	}
	var got []entry
	for len(archive) > 0 {
		field := func(i int) uint64 { return hexField(t, archive, i) }
		if string(archive[:6]) != "070701" {
			t.Fatalf("magic %q", archive[:6])
		}
		size, nameLen := int(field(6)), int(field(11))
		name := string(archive[110 : 110+nameLen-1])
		start := (110 + nameLen + 3) &^ 3
		got = append(got, entry{name, field(1), string(archive[start : start+size])})
		archive = archive[(start+size+3)&^3:]
	}
	want := []entry{
		{"usr", cpioDirectory, ""}, {"usr/lib", cpioDirectory, ""}, {"usr/lib/x.so", cpioProgram, "12345"},
		{"var", cpioDirectory, ""}, {"var/run", cpioLink, "/run"}, {"TRAILER!!!", 0, ""},
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(entry{})); d != "" {
		t.Error(d)
	}
}

func hexField(t *testing.T, archive []byte, i int) uint64 {
	t.Helper()
	value := uint64(0)
	for _, digit := range archive[6+8*i : 14+8*i] {
		value = value<<4 | uint64(strings.IndexByte("0123456789abcdef", digit))
	}
	return value
}

func TestAbsolutePaths(t *testing.T) {
	got := absolutePaths("\tlinux-vdso.so.1 (0x00007ffd)\n\tnot/absolute => not/found\n\tlibcap.so.2 => /lib/x/libcap.so.2 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n")
	if d := cmp.Diff([]string{"/lib/x/libcap.so.2", "/lib64/ld-linux-x86-64.so.2"}, got); d != "" {
		t.Error(d)
	}
}

func TestContenders(t *testing.T) {
	s, err := scenarioNamed("liars")
	if err != nil {
		t.Fatal(err)
	}
	p := planFor(s, time.Hour, 1)
	for _, name := range contenderNames() {
		g, err := contenderFor(name, p, programs{chronyd: "/c", ours: "/o"})
		if err != nil {
			t.Fatal(err)
		}
		for file, text := range g.Files {
			for _, server := range p.Servers {
				if !strings.Contains(text, server.Address) {
					t.Errorf("%s: %s lacks the server %s", name, file, server.Address)
				}
			}
		}
	}
	if _, err := contenderFor("none", p, programs{}); err == nil {
		t.Error("an unknown contender is accepted")
	}
}

func TestTable(t *testing.T) {
	var out strings.Builder
	err := writeTable(&out, []result{
		{Scenario: "lan", Contender: "ours", Repeat: 1, Hours: 24, RMSUs: 10, WorstUs: 20, MaxErrorMedianUs: 200, WithinSeconds: 8},
		{Scenario: "lan", Contender: "ours", Repeat: 2, Hours: 24, RMSUs: 30, WorstUs: 40, MaxErrorMedianUs: 300, Violations: 1, WithinSeconds: -1},
		{Scenario: "lan", Contender: "chronyd", Repeat: 1, Hours: 24, RMSUs: 20, WorstUs: 80, MaxErrorMedianUs: 16000},
		{Scenario: "lan", Contender: "chronyd", Repeat: 2, Hours: 24, RMSUs: 10, WorstUs: 80, MaxErrorMedianUs: 16000, Violations: 2},
	})
	if err != nil {
		t.Fatal(err)
	}
	squeezed := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"| lan | 2 × 24 | 15.0 | 20.0 | 1.75 | 80 | 30 | 0.38 | 16.00 | 0.25 | 0.02 | 2 | 1 |",
		"| lan | 2 × 24 | 0 | never | 0 | 0 |",
		"| rms true error, µs: chronyd | rms true error, µs: ours | ratio |",
	} {
		if !strings.Contains(squeezed, want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestJobsTakeTurns(t *testing.T) {
	o, err := parseOptions([]string{"-scenario", "lan,wan", "-repeats", "2", "-hours", "1"}, &strings.Builder{})
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := o.jobs()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, j := range jobs {
		got = append(got, j.String())
	}
	want := strings.Fields("lan-chronyd-1 lan-ours-1 wan-chronyd-1 wan-ours-1 lan-chronyd-2 lan-ours-2 wan-chronyd-2 wan-ours-2")
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
