package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// guest is the life of the guest's first process: it prepares the machine, starts
// servers, observer and contender, lets happen what the plan says, and turns the
// machine off. It returns only if that is impossible.
func guest(planFile string) error {
	console := io.Writer(os.Stdout)
	err := runPlan(planFile, console)
	last := record{Kind: ended}
	if err != nil {
		last = record{Kind: failed, Text: err.Error()}
	}
	_, err = console.Write(last.line())
	if err != nil {
		return err
	}
	unix.Sync()
	return unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func runPlan(planFile string, console io.Writer) error {
	err := mountAll()
	if err != nil {
		return err
	}
	p, err := readPlan(planFile)
	if err != nil {
		return err
	}
	err = seedRandom(p.Seed)
	if err != nil {
		return err
	}
	err = insertModules(p.Modules)
	if err != nil {
		return err
	}
	err = layNetwork(p)
	if err != nil {
		return err
	}
	real, raw, err := readClocks(unix.CLOCK_REALTIME)
	if err != nil {
		return err
	}
	p.Law.RawNs, p.Law.UnixNs = raw, real+p.Offset.Nanoseconds()
	instructions := filepath.Join(guestScratchDir, "plan.json")
	err = p.write(instructions)
	if err != nil {
		return err
	}
	_, err = startRole("reference", instructions, "ip", "netns", "exec", "srv")
	if err != nil {
		return err
	}
	_, err = startRole("observe", instructions)
	if err != nil {
		return err
	}
	if p.Receiver != nil {
		_, err = startRole("receive", instructions)
		if err != nil {
			return err
		}
	}
	return steer(p, console)
}

// mountAll gives the guest the usual file systems and names. The root may be
// read-only, and may hold anything in /tmp.
func mountAll() error {
	for _, m := range []struct{ kind, dir string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/run"},
	} {
		err := unix.Mount(m.kind, m.dir, m.kind, 0, "")
		if err != nil && !errors.Is(err, unix.EBUSY) { // the kernel may have mounted /dev
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	err := os.MkdirAll(guestScratchDir, 0o755)
	if err != nil {
		return err
	}
	// The kernel gives its first process next to nothing.
	return errors.Join(os.Setenv("TMPDIR", guestScratchDir), os.Setenv("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"))
}

// seedRandom gives the kernel random numbers to begin with. A guest gathers them
// slowly, and whoever asks for one waits: a Go program would start seconds late.
func seedRandom(seed [32]byte) error {
	pool, err := os.OpenFile("/dev/random", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer pool.Close()
	// Source: random(4), struct rand_pool_info.
	info := struct {
		entropyBits, lenBytes int32
		seed                  [32]byte
	}{int32(8 * len(seed)), int32(len(seed)), seed}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, pool.Fd(), unix.RNDADDENTROPY, uintptr(unsafe.Pointer(&info)))
	if errno != 0 {
		return fmt.Errorf("seed the kernel's random numbers: %w", errno)
	}
	return nil
}

func insertModules(files []string) error {
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		_ = f.Close() // only read
		if err != nil {
			return fmt.Errorf("insert module %s: %w", name, err)
		}
	}
	return nil
}

// startRole starts this program in another role, behind the words of wrap, and
// waits until it says that it is ready. It lives until the machine is turned off.
func startRole(role, instructions string, wrap ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	argv := append(wrap, self, "guest-role", role, instructions)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	err = cmd.Start()
	if err != nil {
		return nil, err
	}
	said, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("start %s: it said %q: %w", role, said, err)
	}
	return cmd, nil
}

// guestRole is what the guest's other processes are.
func guestRole(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "reference":
		return reference(args[1])
	case len(args) == 2 && args[0] == "observe":
		return observe(args[1])
	case len(args) == 2 && args[0] == "receive":
		return receive(args[1])
	case len(args) == 3 && args[0] == "put": // a namespace's own settings need a process in it
		return os.WriteFile(args[1], []byte(args[2]), 0o644)
	default:
		return errUsage
	}
}

// steer runs the contender from now to the plan's end, with the plan's events.
func steer(p plan, console io.Writer) error {
	since, err := stopwatch()
	if err != nil {
		return err
	}
	tell := func(r record) error {
		r.Seconds = since().Seconds()
		_, err := console.Write(r.line())
		return err
	}
	c, err := startContender(p.Contender, tell)
	if err != nil {
		return err
	}
	for _, e := range append(p.Events, event{At: p.Duration}) {
		err = c.runUntil(e.At, since)
		if err != nil {
			return err
		}
		if e.Kind == "" {
			break
		}
		err = tell(record{Kind: happened, Text: string(e.Kind)})
		if err != nil {
			return err
		}
		err = cause(e, p.Route)
		if err != nil {
			return fmt.Errorf("%s: %w", e.Kind, err)
		}
	}
	err = ask(p, tell)
	if err != nil {
		return err
	}
	err = c.stop()
	if err != nil {
		return err
	}
	r, err := observation(p.Law)
	if err != nil {
		return err
	}
	r.Text = afterEnd
	return tell(r)
}

// stopwatch counts from now on the truth's oscillator: no steering changes it.
func stopwatch() (func() time.Duration, error) {
	start, err := clockNs(unix.CLOCK_MONOTONIC_RAW)
	return func() time.Duration {
		now, err := clockNs(unix.CLOCK_MONOTONIC_RAW)
		if err != nil { // it worked a moment ago
			return 0
		}
		return time.Duration(now - start)
	}, err
}

func cause(e event, p route) error {
	switch e.Kind {
	case networkGone:
		gone := p
		gone.LossPct = 100
		return setRoute("change", gone)
	case networkSlow:
		slow := p
		slow.Up.Base, slow.Down.Base = e.By, slow.Down.Jitter
		return setRoute("change", slow)
	case networkBack:
		return setRoute("change", p)
	case stepped:
		return stepClock(e.By)
	default:
		return errors.New("no such event")
	}
}

// stepClock sets the clock as an operator's hand does: the kernel forgets what it
// was told of its error.
func stepClock(by time.Duration) error {
	now, err := clockNs(unix.CLOCK_REALTIME)
	if err != nil {
		return err
	}
	to := unix.NsecToTimespec(now + by.Nanoseconds())
	return unix.ClockSettime(unix.CLOCK_REALTIME, &to)
}

// contender is the daemon that steers.
type contender struct {
	cmd  *exec.Cmd
	gone chan error
}

func startContender(g guestProgram, tell func(record) error) (*contender, error) {
	for name, text := range g.Files {
		err := os.MkdirAll(filepath.Dir(name), 0o755)
		if err != nil {
			return nil, err
		}
		err = os.WriteFile(name, []byte(text), 0o644)
		if err != nil {
			return nil, err
		}
	}
	c := &contender{cmd: exec.Command(g.Argv[0], g.Argv[1:]...), gone: make(chan error, 1)}
	c.cmd.Env = append(os.Environ(), g.Env...)
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c.cmd.Stdout, c.cmd.Stderr = writer, writer
	err = c.cmd.Start()
	if err != nil {
		return nil, err
	}
	err = writer.Close() // the contender has its own
	if err != nil {
		return nil, err
	}
	go func() {
		lines := bufio.NewScanner(reader)
		for lines.Scan() {
			if tell(record{Kind: said, Text: lines.Text()}) != nil {
				break
			}
		}
		c.gone <- c.cmd.Wait()
	}()
	return c, nil
}

// runUntil waits for an instant, in which the contender must not end. It waits by
// a clock that is steered, and looks at the one that is not.
func (c *contender) runUntil(at time.Duration, since func() time.Duration) error {
	for {
		left := at - since()
		if left <= 0 {
			return nil
		}
		select {
		case err := <-c.gone:
			return fmt.Errorf("the contender ended by itself: %w", errors.Join(err, errors.New("see what it said")))
		case <-time.After(left):
		}
	}
}

// stop ends the contender as a service manager does.
func (c *contender) stop() error {
	err := c.cmd.Process.Signal(syscall.SIGTERM)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	select {
	case <-c.gone: // with whatever code
		return nil
	case <-ctx.Done():
		return errors.New("the contender did not end within 30 s of SIGTERM")
	}
}

// run runs a command of the guest's own.
func run(line string) error {
	argv := strings.Fields(line)
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", line, err, out)
	}
	return nil
}
