package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// machine is a guest that lives for one plan and returns its console.
type machine interface {
	run(ctx context.Context, p plan) (console []byte, err error)
}

// uml is the user-mode kernel whose time runs as fast as events allow. Its root is
// the host's, read-only.
type uml struct {
	kernel  string
	self    string        // this program, static
	timeout time.Duration // of the host's
	free    chan int      // processors of the host that have no guest; nil: not known
}

// newUML returns the user-mode machine for so many guests at a time.
func newUML(kernel, self string, timeout time.Duration, parallel int) uml {
	u := uml{kernel: kernel, self: self, timeout: timeout}
	if cpus := processors(); len(cpus) > 0 {
		u.free = make(chan int, parallel)
		for i := range parallel {
			u.free <- cpus[i%len(cpus)]
		}
	}
	return u
}

func (u uml) run(ctx context.Context, p plan) ([]byte, error) {
	scratch, err := os.MkdirTemp("", "rig-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	planFile := filepath.Join(scratch, "plan.json")
	err = p.write(planFile)
	if err != nil {
		return nil, err
	}
	argv := []string{u.kernel}
	if u.free != nil {
		// Its two halves, kernel and processes, take turns thousands of times a second: on two
		// processors each turn would be the wake-up of an idle one.
		cpu := <-u.free
		defer func() { u.free <- cpu }()
		argv = []string{"taskset", "--cpu-list", strconv.Itoa(cpu), u.kernel}
	}
	// With nohz the guest's slews come in batches while it idles, and too long.
	return guestConsole(ctx, u.timeout, []string{"TMPDIR=" + scratch}, argv[0], append(argv[1:],
		"mem=768M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "init="+u.self,
		"con=null", "con0=null,fd:1", "con1=null", "ssl=null", "quiet", "panic=-1", "uml_dir="+scratch,
		"time-travel=inf-cpu", "nohz=off", planVariable+"="+planFile)...)
}

// guestConsole runs a guest to its end and returns what it wrote. A guest that is
// stuck does not hear signals: it is killed, with all of its processes.
func guestConsole(ctx context.Context, timeout time.Duration, env []string, name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = 5 * time.Second
	ownGroup(cmd)
	var console bytes.Buffer
	cmd.Stdout, cmd.Stderr = &console, &console
	err := cmd.Run()
	if ctx.Err() != nil {
		return console.Bytes(), fmt.Errorf("the guest did not end within %s: %w", timeout, ctx.Err())
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = nil // the kernel's exit code says nothing; its last record does
	}
	return console.Bytes(), err
}

// buildProgram builds a package of the tree into dir, as a guest can run it,
// static, and returns its file.
func buildProgram(ctx context.Context, dir, pkg string) (string, error) {
	root, err := repository()
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, filepath.Base(pkg))
	_, err = output(ctx, root, "go", "build", "-buildvcs=false", "-o", file, pkg)
	return file, err
}
