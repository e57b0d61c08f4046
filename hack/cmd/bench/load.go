package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"
)

// burst is what ntpload prints of one run.
type burst struct {
	WantedRate float64 `json:"wanted_rate"`
	SentRate   float64 `json:"sent_rate"`
	Rate       float64 `json:"rps"` // answers
	LossPct    float64 `json:"loss_pct"`
	Seconds    float64 `json:"seconds"`

	Sent       uint64 `json:"sent"`
	Responses  uint64 `json:"responses"`
	Bad        uint64 `json:"bad"`
	Late       uint64 `json:"late"`
	Kissed     uint64 `json:"kod"`
	Unsync     uint64 `json:"unsync"`
	SendErrors uint64 `json:"send_errors"`

	RTT          quantiles  `json:"rtt_us"`
	Offset       quantiles  `json:"offset_us"`
	RequestDelay quantiles  `json:"request_delay_us"` // T2−T1
	Turnaround   quantiles  `json:"server_t3_t2_us"`  // T3−T2
	Lag          *quantiles `json:"generator_lag_us,omitempty"`

	CPUPerAnswer  float64 `json:"server_cpu_us_per_response"`
	CPUShare      float64 `json:"server_cpu_share"`
	LoadWait      float64 `json:"generator_wait_s"`
	ServerWait    float64 `json:"server_wait_s"`
	ServerUser    float64 `json:"server_user_s"`
	ServerSystem  float64 `json:"server_sys_s"`
	GeneratorTime float64 `json:"generator_cpu_s"`
}

// quantiles are in microseconds.
type quantiles struct {
	Min  float64 `json:"min"`
	P1   float64 `json:"p1"`
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
	Mean float64 `json:"mean"`
}

// errSilence reports that nothing at all was answered.
var errSilence = errors.New("no answer")

// parseBurst reads the line that ntpload prints with --json.
func parseBurst(line []byte) (*burst, error) {
	if len(bytes.TrimSpace(line)) == 0 {
		return nil, errors.New("ntpload has printed nothing")
	}
	b := &burst{}
	if err := json.Unmarshal(line, b); err != nil {
		return nil, fmt.Errorf("read what ntpload prints: %w: %s", err, line)
	}
	if b.Responses == 0 {
		return b, errSilence
	}
	return b, nil
}

// fault says what is wrong with the answers of a burst, or "". Lost ones are not wrong.
func (b *burst) fault() string {
	switch {
	case b.Bad > 0:
		return fmt.Sprintf("%d answers were wrong", b.Bad)
	case b.Kissed > 0:
		return fmt.Sprintf("%d answers were kisses of death", b.Kissed)
	case b.Unsync > 0:
		return fmt.Sprintf("%d answers were unsynchronised", b.Unsync)
	}
	return ""
}

// held reports whether the server kept up with the rate, and whether the generator
// did: a server is not to blame for what was never sent.
func (b *burst) held() (server, generator bool) {
	generator = b.SentRate >= 0.97*b.WantedRate
	return generator && b.LossPct < lossMaxPct, generator
}

// generator runs ntpload on its CPU.
type generator struct {
	o       *options
	program string
	fifo    int
	bursts  int
}

func newGenerator(o *options) *generator {
	return &generator{o: o, program: filepath.Join(o.build, "ntpload"), fifo: o.LoadFIFO}
}

// bind returns the source address of the next burst. Each has its own, so that a
// server that counts requests by client sees a client that is new.
func (g *generator) bind() string {
	g.bursts++
	n := g.bursts
	return fmt.Sprintf("127.%d.%d.%d", 1+n/250/250%250, n/250%250, 1+n%250)
}

// run measures a server for the time given, and returns errSilence with the burst
// where nothing came back.
func (g *generator) run(ctx context.Context, s *server, seconds time.Duration, args ...string) (*burst, error) {
	all := append([]string{
		"--json", "--server", s.ntp(), "--bind", g.bind(), "--pid", fmt.Sprint(s.pid()), "--pin", fmt.Sprint(g.o.LoadCPU),
		"--seconds", fmt.Sprint(seconds.Seconds()), "--warmup", fmt.Sprint(g.o.Warmup.Seconds()), "--fifo", fmt.Sprint(g.fifo),
	}, args...)
	ctx, cancel := context.WithTimeout(ctx, seconds+g.o.Warmup+10*time.Second)
	defer cancel()
	var out, log bytes.Buffer
	cmd := exec.CommandContext(ctx, g.program, all...)
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = &out, &log, dieWithUs()
	err := cmd.Run() // it fails where there is no answer too
	if ctx.Err() != nil {
		return nil, fmt.Errorf("ntpload: %w", ctx.Err())
	}
	if err != nil && out.Len() == 0 {
		return nil, fmt.Errorf("ntpload: %w: %s", err, bytes.TrimSpace(log.Bytes()))
	}
	return parseBurst(out.Bytes())
}

// await waits until a server answers well.
func (g *generator) await(ctx context.Context, s *server) error {
	for begun := time.Now(); ; {
		b, err := g.run(ctx, s, 20*time.Millisecond, "--sockets", "1", "--nospin")
		if err == nil && b.fault() == "" {
			return wait(ctx, settle)
		}
		if err == nil {
			err = errors.New(b.fault())
		}
		if time.Since(begun) > answerWithin {
			return fmt.Errorf("it does not answer: %w", err)
		}
		if err := wait(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// wait waits for the time given or the end of ctx.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
