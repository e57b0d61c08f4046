package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// dieWithUs has the kernel kill a child when this process ends, however it ends.
func dieWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// mayNotSetClock returns nil where neither this process nor what it starts can set
// the clock: CAP_SYS_TIME is not in its bounding set, which nothing but a reboot
// gives back. Who is not root has no capabilities to begin with.
func mayNotSetClock() error {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, set := range []string{"CapBnd", "CapPrm", "CapInh", "CapAmb"} {
		value, err := statusOf(os.Getpid(), set)
		if err != nil {
			return err
		}
		bits, err := strconv.ParseUint(value, 16, 64)
		if err != nil {
			return err
		}
		if bits&(1<<unix.CAP_SYS_TIME) != 0 {
			return errors.New("servers that could set this machine's clock are not started: run hack/bench, which takes that from them")
		}
	}
	return nil
}

// residentBytes is the memory that a process has in RAM.
func residentBytes(pid int) (int64, error) {
	value, err := statusOf(pid, "VmRSS")
	if err != nil {
		return 0, err
	}
	kilobytes, err := strconv.ParseInt(strings.TrimSuffix(value, " kB"), 10, 64)
	return kilobytes << 10, err
}

// statusOf reads one field of /proc/PID/status.
func statusOf(pid int, field string) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("process %d has no %s", pid, field)
}
