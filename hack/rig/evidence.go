package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"
)

// evidenceProfile is what the contender's clock is held to. Its tolerance is one that the scenario
// crosses: the error bound is some 11 ms on the usual way, and above 40 ms on the slow one. All of that
// is needed: as the slow way is slow in one direction only, the clock is then wrong by almost as much.
const (
	evidenceProfile   = "rig"
	evidenceTolerance = 25 * time.Millisecond
	evidenceWarn      = evidenceTolerance / 2
	slowWay           = 80 * time.Millisecond // to the servers, and next to nothing back
	evidenceHours     = 4
	receiverAddress   = "127.0.0.1:9123"
)

// evidenceScenario is a day of trouble, in short: the way to the servers becomes so slow that bound and
// true error cross the tolerance, and is as before; then the servers are gone for so long that the bound
// does so again.
func evidenceScenario(d time.Duration) scenario {
	part := func(share float64) time.Duration { return time.Duration((share - 0.5) * float64(d)) }
	return scenario{
		Name: "evidence", Route: symmetric(10*time.Millisecond, 500*time.Microsecond, 1),
		Oscillator: oscillator{RatePPM: 37, WanderAmplitudePPM: 2}, Lies: []time.Duration{0, 0, 0}, Duration: d, Sample: time.Second,
		Middle: []event{
			{At: part(0.10), Kind: networkSlow, By: slowWay},
			{At: part(0.35), Kind: networkBack},
			{At: part(0.45), Kind: networkGone},
			{At: part(0.90), Kind: networkBack},
		},
	}
}

// goneEvent is the index of the event with which the servers are gone.
const goneEvent = 2

// evidencePlan is what the guest is told, for our program.
func evidencePlan(d time.Duration, ours string) plan {
	p := planFor(evidenceScenario(d), d, 1)
	p.Contender = oursFor(p, programs{ours: ours})
	for name := range p.Contender.Files { // the one
		p.Contender.Files[name] += fmt.Sprintf("\n[[profile]]\nname = %q\ntolerance = %q\n\n[[alert]]\nname = \"receiver\"\ntype = \"webhook\"\nurl = \"http://%s/\"\n",
			evidenceProfile, evidenceTolerance, receiverAddress)
	}
	head := filepath.Join(guestScratchDir, "head")
	p.Receiver = &receiver{Address: receiverAddress, HeadFile: head, Refusals: []refusal{
		{Type: typeResolved, Alarm: alarmBreach, For: time.Minute},
		{After: p.Events[goneEvent].At, Type: typeFiring, Alarm: alarmUnknown, For: 20 * time.Second},
	}}
	for _, q := range []question{
		{Name: askVerify, Argv: []string{"journal", "verify", "--json", "--head-file", head}},
		{Name: askReport, Argv: []string{"report", "--profile", evidenceProfile, "--from", "{from}", "--to", "{to}", "--format", "json"}},
		{Name: askSeconds, Argv: []string{"journal", "show", "--raw", "--kind", "seconds", "--all", "--json"}},
		{Name: askEvents, Argv: []string{"journal", "show", "--kind", "minute", "--kind", "clock", "--kind", "alarm", "--all", "--json"}},
	} {
		q.Argv = append([]string{ours}, q.Argv...)
		p.Questions = append(p.Questions, q)
	}
	return p
}

// The names of the questions.
const (
	askVerify  = "verify"
	askReport  = "report"
	askSeconds = "seconds"
	askEvents  = "events"
)

func parseEvidenceOptions(args []string, errOut io.Writer) (options, error) {
	o := options{parallel: 1}
	f := flag.NewFlagSet("rig evidence", flag.ContinueOnError)
	f.SetOutput(errOut)
	f.Float64Var(&o.hours, "hours", evidenceHours, "length of the run; what happens in it happens later in a longer one")
	f.StringVar(&o.keep, "keep", "", "keep the console and the answers of our program in `DIR`")
	f.DurationVar(&o.timeout, "timeout", 20*time.Minute, "of the host's time")
	f.StringVar(&o.ours, "ours", "", "`FILE` of our binary (default: built from the tree)")
	f.StringVar(&o.machine, "machine", "uml", "uml, the fast one, or qemu")
	err := f.Parse(args)
	if err != nil {
		return o, errors.Join(errUsage, err)
	}
	if f.NArg() > 0 || o.hours <= 0 {
		return o, errUsage
	}
	return o, nil
}

// errProof reports evidence that does not hold.
var errProof = errors.New("the evidence does not hold, see the table")

// evidenceCommand has our program keep a journal in a guest in which the truth is known, and checks
// what it says.
func evidenceCommand(ctx context.Context, args []string, out, progress io.Writer) error {
	o, err := parseEvidenceOptions(args, progress)
	if err != nil {
		return err
	}
	bin, err := os.MkdirTemp("", "rig-bin-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(bin)
	ours, err := filepath.Abs(o.ours)
	if o.ours == "" {
		ours, err = buildProgram(ctx, bin, "./cmd/truechimer")
	}
	if err != nil {
		return err
	}
	m, err := machineNamed(ctx, o, bin, programs{ours: ours}, progress)
	if err != nil {
		return err
	}
	start := time.Now()
	d := time.Duration(o.hours * float64(time.Hour))
	told, err := evidenceRecords(ctx, m, evidencePlan(d, ours), o.keep)
	if err != nil {
		return err
	}
	fmt.Fprintf(progress, "rig: %s of evidence took %.0f s\n", brief(d), time.Since(start).Seconds())
	return writeProof(out, told.proof())
}

// evidenceRecords runs the plan. Where keep names a directory, all that was said stays there.
func evidenceRecords(ctx context.Context, m machine, p plan, keep string) (*testimony, error) {
	console, err := m.run(ctx, p)
	if keep != "" {
		err = errors.Join(err, os.MkdirAll(keep, 0o755), os.WriteFile(filepath.Join(keep, "evidence.log"), console, 0o644))
	}
	var found []record
	if err == nil {
		found, err = readRecords(bytes.NewReader(console))
	}
	if err != nil {
		return nil, fmt.Errorf("%w; its console ends:\n%s", err, tail(string(console)))
	}
	said, err := answers(found)
	if err != nil {
		return nil, err
	}
	if keep != "" {
		for name, text := range said {
			err = os.WriteFile(filepath.Join(keep, name+".json"), text, 0o644)
			if err != nil {
				return nil, err
			}
		}
	}
	return readTestimony(found, said)
}

// writeProof writes the table, and fails where something in it does not hold.
func writeProof(out io.Writer, all []check) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	var failure error
	for _, c := range all {
		mark := "holds"
		switch {
		case c.fact:
			mark = ""
		case !c.holds:
			mark, failure = "FAILS", errProof
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", mark, c.what, c.found)
	}
	return errors.Join(w.Flush(), failure)
}
