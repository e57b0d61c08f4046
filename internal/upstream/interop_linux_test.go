package upstream

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/truechimer/truechimer/internal/discipline"
	"github.com/truechimer/truechimer/internal/ntp"
)

// stockServer runs a chronyd that serves its own clock on loopback, and that can touch none
// until the test ends.
func stockServer(t *testing.T) netip.AddrPort {
	t.Helper()
	peers := os.Getenv("TRUECHIMER_PEERS")
	if peers == "" && os.Getenv("CI") == "true" {
		t.Fatal("no chronyd: TRUECHIMER_PEERS is not set")
	}
	if peers == "" {
		t.Skip("no chronyd: TRUECHIMER_PEERS is not set; ./hack/interop sets it")
	}
	free, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	at := free.LocalAddr().(*net.UDPAddr).AddrPort()
	free.Close()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	rights := []string{"--bounding-set=-sys_time", "--inh-caps=-sys_time"}
	if os.Geteuid() != 0 {
		rights = []string{"--no-new-privs", "--inh-caps=-sys_time"}
	}
	dir := t.TempDir()
	args := append(rights, "--", filepath.Join(peers, "bin", "chronyd"), "-x", "-d", "-U", "-u", me.Username,
		"cmdport 0", "bindcmdaddress /", "pidfile "+filepath.Join(dir, "pid"),
		"local stratum 3", "allow", "bindaddress 127.0.0.1", fmt.Sprintf("port %d", at.Port()))
	cmd := exec.Command("setpriv", args...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		t.Logf("chronyd:\n%s", log.String())
	})
	return at
}

// recorder is a Sink that keeps what comes.
type recorder struct {
	mu      sync.Mutex
	samples []discipline.Sample
}

func (r *recorder) Open(discipline.SourceOptions) discipline.SourceID { return 0 }
func (r *recorder) Close(discipline.SourceID)                         {}
func (r *recorder) Reach(discipline.SourceID, uint8)                  {}
func (r *recorder) Add(_ discipline.SourceID, s discipline.Sample) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.samples = append(r.samples, s)
	return 0
}

// A stock chronyd in basic mode and then in interleaved mode, on one clock with us: every
// offset is an error, and lies within what is claimed for it.
func TestInteropPoller(t *testing.T) {
	server := stockServer(t)
	anchor := time.Now()
	sink := new(recorder)
	p, err := New(PollerOptions{
		Sources: []Source{{Name: "chronyd", Host: server.String(), Interleaved: true, MinPoll: -4, MaxPoll: -4}},
		Sink:    sink,
		Timeline: func() (time.Duration, int64) {
			now := time.Now()
			return now.Sub(anchor), now.UnixNano()
		},
		Scale: plainScale{}, Pivot: anchor.UnixNano(),
		Precision: ntp.MeasurePrecision(func() int64 { return time.Now().UnixNano() }),
		Logger:    slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Run(ctx)
	}()
	defer func() {
		cancel()
		<-done
	}()
	basic, interleaved := 0, 0
	var last time.Duration
	for basic < 4 || interleaved < 10 {
		if time.Since(anchor) > 4*patience {
			t.Fatalf("%d basic and %d interleaved in %v: %+v", basic, interleaved, time.Since(anchor), p.Status())
		}
		<-time.After(5 * time.Millisecond)
		all := p.Status()
		if len(all) != 1 || !all[0].Measured || all[0].LastHeard == last {
			continue
		}
		last = all[0].LastHeard
		m := all[0].Measurement
		if m.Interleaved {
			interleaved++
		} else {
			basic++
		}
		// The stamps of both programs are of one clock: no more than the wander of its rate.
		if m.Offset().Abs() > m.Delay()/2+m.precisions() || m.Delay() > 100*time.Millisecond {
			t.Errorf("interleaved %v: offset %v with a delay of %v", m.Interleaved, m.Offset(), m.Delay())
		}
		if m.Header.Stratum != 3 || m.Header.RefID != refIDLocal {
			t.Errorf("claims %+v", m.Header)
		}
		// The kernel takes a moment to begin.
		if (!m.Stamped || !m.Departed) && basic > 2 {
			t.Errorf("T4 by the kernel: %v, T1: %v", m.Stamped, m.Departed)
		}
	}
	st := p.Status()[0]
	t.Logf("basic %d, interleaved %d, last offset %v, delay %v, counts %v", basic, interleaved, st.Measurement.Offset(), st.Measurement.Delay(), st.Counts)
	sink.mu.Lock()
	defer sink.mu.Unlock()
	for i, s := range sink.samples {
		if off := time.Duration(s.Remote - benchTAI - anchor.UnixNano() - int64(s.Local)); off.Abs() > s.Delay/2+s.Dispersion+time.Microsecond {
			t.Errorf("sample %d: offset %v, delay %v", i, off, s.Delay)
		}
		if i > 0 && s.Local <= sink.samples[i-1].Local {
			t.Errorf("sample %d is of %v, the one before of %v", i, s.Local, sink.samples[i-1].Local)
		}
	}
}
