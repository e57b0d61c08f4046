// Command year has the parts of the daemon that keep the evidence live through a simulated year,
// in a real store, and measures what a year takes: on disk, and of the time of whoever starts a
// node, looks at its dashboard, asks for a report or verifies the journal. hack/README.md says how
// to read it. It exits 1 where a limit is broken.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime/pprof"
	"time"

	"github.com/truechimer/truechimer/internal/compliance"
)

// patience is how long the dashboard's figures and a report of a year may take.
const patience = 5 * time.Second

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "year:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	var (
		dir     = flag.String("dir", "", "keep the data in this `directory`, which must be empty or missing; without it they go when all is measured")
		days    = flag.Int("days", 365, "simulate this `number` of days, 1 at the least")
		sources = flag.Int("sources", 16, "how many are asked")
		poll    = flag.Duration("poll", 16*time.Second, "how often each is asked")
		write   = flag.Duration("write", time.Minute, "simulated time between two writes to the disk, and so between two heads; the daemon writes each second")
		charts  = flag.Duration("charts", 0, "keep rows of charts from so long before the end on; they are kept for 31 days, so 768h come to the same, faster; 0: all along")
		seed    = flag.Uint64("seed", 1, "of all that is random")
		end     = flag.String("end", "", "when the year ends, as 2026-01-02T15:04:05Z; without it, an hour or two ago")
		profile = flag.String("cpuprofile", "", "write a CPU profile of the simulation to this `file`")
	)
	flag.Parse()
	s := settings{dir: *dir, sources: *sources, poll: int64(*poll / time.Second), write: int64(*write / time.Second), seed: *seed, raw: 30 * 24 * time.Hour, charts: *charts, channels: []string{"pager", "desk"}}
	to := time.Now().Add(-time.Hour)
	if *end != "" {
		if to, err = time.Parse(time.RFC3339, *end); err != nil {
			return err
		}
	}
	if *days < 1 || s.sources < 1 || s.poll < 1 || s.write < 1 || s.write > 600 || flag.NArg() > 0 {
		return errors.New("want --days, --sources, and --poll of at least 1 s, and --write of 1 s to 10m; --help lists the flags")
	}
	s.to = to.Unix() - to.Unix()%3600
	s.from = s.to - int64(*days)*86400
	if s.charts == 0 {
		s.charts = time.Duration(s.to-s.from) * time.Second
	}
	for _, name := range []string{"finra-50ms", "pci-10.6"} {
		p, _ := compliance.Builtin(name)
		s.profiles = append(s.profiles, p)
	}
	if s.dir == "" {
		if s.dir, err = os.MkdirTemp("", "year-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(s.dir)) }()
	}
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
	}
	began := time.Now()
	s.told = func(done float64) {
		fmt.Fprintf(os.Stderr, "\r%3.0f %% in %v ", 100*done, time.Since(began).Round(time.Second))
	}
	n := newNode(s)
	err = n.run()
	pprof.StopCPUProfile()
	fmt.Fprintln(os.Stderr)
	if err != nil {
		return err
	}
	f, err := measure(n, patience)
	if err != nil {
		return err
	}
	fmt.Printf("%d days, %d sources at %v, %d profiles, seed %d, simulated in %v\n\n", *days, s.sources, *poll, len(s.profiles), s.seed, time.Since(began).Round(time.Second))
	f.print(os.Stdout)
	return f.judge()
}
