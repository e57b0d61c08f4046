package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var (
	rewriteFlag = flag.Bool("rewrite", false, "rewrite the golden outputs in testdata/script")
	seedFlag    = flag.Uint64("seed", uint64(os.Getpid()), "seed of what is random")
)

// TestMain lets the test binary be the program too: the children of a test are started
// as truechimer, which is this very binary under that name.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) != "truechimer" {
		if err := giveUpClock(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	testscript.Main(m, map[string]func(){"truechimer": main})
}

// giveUpClock starts this process anew without CAP_SYS_TIME where it has it, so that
// nothing started from here can set the clock of this machine.
func giveUpClock() error {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 || mayNotSetClock("self") == nil {
		return nil
	}
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		return errors.New("these tests run as root only without CAP_SYS_TIME: they need setpriv, of util-linux")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := append([]string{"setpriv", "--bounding-set=-sys_time", "--inh-caps=-sys_time", "--", self}, os.Args[1:]...)
	return fmt.Errorf("setpriv: %w", syscall.Exec(setpriv, args, os.Environ()))
}

// capSysTime is the number of the capability to set the clock, in capability.h.
const capSysTime = 25

// mayNotSetClock returns nil where the process, named as in /proc, cannot set the clock:
// CAP_SYS_TIME is not in its bounding set, which nothing but a reboot gives back, nor in
// any other of its sets.
func mayNotSetClock(pid string) error {
	f, err := os.Open("/proc/" + pid + "/status")
	if err != nil {
		return err
	}
	defer f.Close()
	sets := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		if !strings.HasPrefix(name, "Cap") {
			continue
		}
		sets++
		bits, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		if err != nil {
			return err
		}
		if bits&(1<<capSysTime) != 0 {
			return fmt.Errorf("process %s has CAP_SYS_TIME in %s", pid, name)
		}
	}
	if sets != 5 {
		return fmt.Errorf("process %s shows %d sets of capabilities, not 5", pid, sets)
	}
	return nil
}

// proveNoClock fails unless a child cannot set the clock. It may have ended, if nobody
// has waited for it yet. Who is not root has no capabilities to begin with.
func proveNoClock(cmd *exec.Cmd) error {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		return nil
	}
	return mayNotSetClock(strconv.Itoa(cmd.Process.Pid))
}

// TestChildrenCannotSetTheClock looks at a child from outside and from inside.
func TestChildrenCannotSetTheClock(t *testing.T) {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("only root on Linux could set the clock")
	}
	cmd := exec.Command("cat", "/proc/self/status")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := proveNoClock(cmd); err != nil {
		t.Error(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "Cap") {
			t.Log(lines.Text())
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
