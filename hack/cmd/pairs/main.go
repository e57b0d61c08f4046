// Command pairs shows what one version of the appliance costs against another: both are loaded in
// turns, over NTP and over the API, and the ratio of each pair is taken.
//
//	hack/pairs BASE [--rounds N] [--seconds S]
//
// BASE is a git revision, whose binary hack/pairs builds. Each server follows eight sources of its
// own reference, polled every eight seconds; the newer one also judges two profiles, so that its
// journal has something to write. It exits 0 whatever comes out: a benchmark carries figures.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	sources   = 8
	readyMax  = 30 * time.Second
	stopMax   = 10 * time.Second
	roundsMin = 3
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "pairs: %v\n", err)
		os.Exit(1)
	}
}

// contender is one version, and what it reached in each round.
type contender struct {
	name, binary, config string
	ntp, api             []float64 // per second
}

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	f := flag.NewFlagSet("pairs", flag.ContinueOnError)
	base := f.String("base", "", "the older binary")
	ours := f.String("ours", "", "the newer binary")
	rounds := f.Int("rounds", 20, "pairs")
	seconds := f.Float64("seconds", 2, "how long each load lasts")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *base == "" || *ours == "" || *rounds < roundsMin || *seconds <= 0 {
		return fmt.Errorf("want --base and --ours, %d rounds or more, and some seconds", roundsMin)
	}
	dir, err := os.MkdirTemp("", "pairs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ports, err := freePorts(sources + 3)
	if err != nil {
		return err
	}
	reference := filepath.Join(dir, "reference.toml")
	both := []*contender{
		{name: "base", binary: *base, config: filepath.Join(dir, "base.toml")},
		{name: "ours", binary: *ours, config: filepath.Join(dir, "ours.toml")},
	}
	if err := writeConfigs(dir, reference, both, ports); err != nil {
		return err
	}
	end, err := serve(ctx, *ours, reference, ports[sources+1])
	if err != nil {
		return err
	}
	defer end()
	for round := range *rounds {
		for i := range both {
			c := both[(round+i)%2] // each goes first every other time
			if err := c.turn(ctx, *ours, ports, *seconds); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
		fmt.Fprintf(progress, "pairs: round %d: NTP %.0f and %.0f/s, API %.0f and %.0f/s\n", round+1,
			both[0].ntp[round], both[1].ntp[round], both[0].api[round], both[1].api[round])
	}
	fmt.Fprintf(out, "%d pairs\n%s\n%s\n", *rounds, ratioLine("NTP answers", both[0].ntp, both[1].ntp), ratioLine("timestamps over the API", both[0].api, both[1].api))
	return nil
}

// turn starts the server, loads it and ends it.
func (c *contender) turn(ctx context.Context, loader string, ports []string, seconds float64) error {
	ntp, api := ports[sources], ports[sources+2]
	end, err := serve(ctx, c.binary, c.config, api)
	if err != nil {
		return err
	}
	defer end()
	for _, load := range []struct {
		args   []string
		figure string
		to     *[]float64
	}{
		{[]string{"bench", "ntp", ntp}, "answeredPerSecond", &c.ntp},
		{[]string{"bench", "api", "--api", api}, "itemsPerSecond", &c.api},
	} {
		n, err := measure(ctx, loader, append(load.args, "--json", "--seconds", fmt.Sprint(seconds)), load.figure)
		if err != nil {
			return err
		}
		*load.to = append(*load.to, n)
	}
	return nil
}

// measure runs a load and returns one figure of its answer.
func measure(ctx context.Context, binary string, args []string, figure string) (float64, error) {
	cmd := exec.CommandContext(ctx, binary, args...)
	var failed bytes.Buffer
	cmd.Stderr = &failed
	text, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, failed.String())
	}
	var answer map[string]any
	if err := json.Unmarshal(text, &answer); err != nil {
		return 0, err
	}
	if result, ok := answer["result"].(map[string]any); ok {
		answer = result
	}
	n, ok := answer[figure].(float64)
	if !ok {
		return 0, fmt.Errorf("%s tells no %s: %s", strings.Join(args, " "), figure, text)
	}
	return n, nil
}

// serve starts a server, waits until it is ready, and returns what ends it.
func serve(ctx context.Context, binary, config, api string) (end func(), err error) {
	cmd := exec.CommandContext(ctx, binary, "serve", "--config", config)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopMax
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	end = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		_ = cmd.Wait()                          // with whatever code
	}
	for deadline := time.Now().Add(readyMax); ; time.Sleep(50 * time.Millisecond) {
		wait := exec.CommandContext(ctx, binary, "now", "--api", api)
		if wait.Run() == nil {
			return end, nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			end()
			return nil, errors.Join(fmt.Errorf("the server of %s issues nothing:\n%s", config, log.String()), ctx.Err())
		}
	}
}

// writeConfigs writes what the servers are told.
func writeConfigs(dir, reference string, both []*contender, ports []string) error {
	quoted := make([]string, sources)
	for i := range quoted {
		quoted[i] = fmt.Sprintf("%q", ports[i])
	}
	text := fmt.Sprintf("[node]\ndata_dir = %q\n[clock]\nlocal_stratum = 1\nchronyd = \"off\"\n[ntp]\nlisten = [%s]\nrate_interval = \"0s\"\n[api]\nlisten = [%q]\n",
		filepath.Join(dir, "reference"), strings.Join(quoted, ", "), ports[sources+1])
	errs := []error{os.WriteFile(reference, []byte(text), 0o600)}
	for _, c := range both {
		text := fmt.Sprintf("[node]\ndata_dir = %q\n[clock]\nmode = \"virtual\"\n[ntp]\nlisten = [%q]\nrate_interval = \"0s\"\n[api]\nlisten = [%q]\n",
			filepath.Join(dir, c.name), ports[sources], ports[sources+2])
		for i := range sources {
			text += fmt.Sprintf("[[source]]\naddress = %q\ntrust = true\nmin_poll = 3\nmax_poll = 3\n", ports[i])
		}
		if c.name == "ours" {
			text += "[[profile]]\nname = \"finra-50ms\"\n[[profile]]\nname = \"mifid-1ms\"\n"
		}
		errs = append(errs, os.WriteFile(c.config, []byte(text), 0o600))
	}
	return errors.Join(errs...)
}

// freePorts returns addresses of loopback that nobody has, over UDP and TCP.
func freePorts(n int) ([]string, error) {
	var list []string
	for len(list) < n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		u, err := net.ListenPacket("udp", l.Addr().String())
		if err != nil {
			continue
		}
		defer u.Close()
		list = append(list, l.Addr().String())
	}
	return list, nil
}

// ratioLine says how two lists compare, pair by pair: medians, and the ratio with the lower end of
// what it is with 95 % confidence, one-sided, by the logarithms' mean and Student's quantile.
func ratioLine(what string, base, ours []float64) string {
	mean, lower := ratio(base, ours)
	return fmt.Sprintf("%-24s base %.0f/s, ours %.0f/s (medians); ratio %.3f, lower 95 %% bound %.3f", what, median(base), median(ours), mean, lower)
}

func ratio(base, ours []float64) (mean, lower float64) {
	n := float64(len(base))
	logs := make([]float64, len(base))
	sum := 0.0
	for i := range base {
		logs[i] = math.Log(ours[i] / base[i])
		sum += logs[i]
	}
	center := sum / n
	squares := 0.0
	for _, l := range logs {
		squares += (l - center) * (l - center)
	}
	return math.Exp(center), math.Exp(center - student(len(base)-1)*math.Sqrt(squares/(n-1)/n))
}

// student returns Student's quantile for 95 %, one-sided, to some hundredths from two degrees of freedom
// on: the normal quantile with Cornish and Fisher's terms.
func student(freedom int) float64 {
	const z = 1.644854
	v := float64(freedom)
	return z + (math.Pow(z, 3)+z)/(4*v) + (5*math.Pow(z, 5)+16*math.Pow(z, 3)+3*z)/(96*v*v) +
		(3*math.Pow(z, 7)+19*math.Pow(z, 5)+17*math.Pow(z, 3)-15*z)/(384*v*v*v)
}

func median(list []float64) float64 {
	sorted := slices.Sorted(slices.Values(list))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
