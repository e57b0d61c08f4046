package main

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
)

// responderModule and responderPackage are what hack/tools/go.mod pins.
const (
	responderModule  = "github.com/facebook/time"
	responderPackage = responderModule + "/cmd/ntpresponder"
)

// command runs a program of the preparation to its end and returns what it printed.
func command(ctx context.Context, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env, cmd.SysProcAttr = append(os.Environ(), env...), dieWithUs()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// buildOurs builds the appliance from this tree, as it is shipped: static.
func buildOurs(ctx context.Context, o *options) error {
	o.program = filepath.Join(o.build, "truechimer")
	_, err := command(ctx, []string{"CGO_ENABLED=0"}, "go", "build", "-buildvcs=false", "-o", o.program, "./cmd/truechimer")
	return err
}

// buildTools builds the generator and the barest server, without which there is no comparison.
func buildTools(ctx context.Context, o *options) error {
	_, err := exec.LookPath("gcc")
	if err != nil {
		return errors.New("no gcc, which builds the load generator: install gcc and libc6-dev (hack/test does, as root on Debian)")
	}
	for _, name := range []string{"ntpload", "socket-limit"} {
		source := filepath.Join(o.Tools, name+".c")
		if _, err := os.Stat(source); err != nil {
			return fmt.Errorf("no %s.c, without which there is no comparison: name its directory by --tools or TRUECHIMER_TOOLS: %w", name, err)
		}
		if _, err := command(ctx, nil, "gcc", "-O2", "-pthread", "-o", filepath.Join(o.build, name), source); err != nil {
			return err
		}
	}
	return nil
}

// buildResponder builds facebook/time's server and returns its version.
func buildResponder(ctx context.Context, o *options) (program, version string, err error) {
	program = filepath.Join(o.build, "ntpresponder")
	_, err = command(ctx, []string{"CGO_ENABLED=0"}, "go", "build", "-buildvcs=false", "-modfile=hack/tools/go.mod", "-o", program, responderPackage)
	if err != nil {
		return "", "", err
	}
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return "", "", err
	}
	for _, m := range append([]*debug.Module{&info.Main}, info.Deps...) {
		if m.Path == responderModule {
			version = m.Version
		}
	}
	return program, version, nil
}

// findChronyd returns the unpacked chronyd and its version.
func findChronyd(ctx context.Context, o *options) (program, version string, err error) {
	program, err = filepath.Abs(filepath.Join(o.Peers, "bin", "chronyd"))
	if err != nil {
		return "", "", err
	}
	said, err := command(ctx, nil, program, "--version")
	if err != nil {
		return "", "", fmt.Errorf("%w (unpack it: go run ./hack/cmd/peers .cache/peers)", err)
	}
	fields := strings.Fields(said) // chronyd (chrony) version 4.3 (+CMDMON ...
	if len(fields) < 4 {
		return "", "", fmt.Errorf("chronyd --version: %q", said)
	}
	return program, fields[3], nil
}
