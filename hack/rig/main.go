// Command rig measures how well a daemon keeps a clock: it lets the daemon steer
// a real kernel's clock in a guest, and compares that clock with a truth that no
// steering touches. README.md says how it works and how to read it.
//
//	go run ./hack/rig run [flags]      scenarios × contenders × repeats
//	go run ./hack/rig table FILE...    the figures of such runs, side by side
//	go run ./hack/rig list             the scenarios
//	go run ./hack/rig evidence [flags] our evidence through outage, breach and recovery
//	go run ./hack/rig kernel           builds the guest kernel, which run does too
//
// Inside the guest the same program is the first process, the reference servers,
// the observer, and who receives alerts.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

const usage = "usage: rig run [flags] | table FILE... | list | evidence [flags] | kernel"

var errUsage = errors.New(usage)

func main() {
	err := command(os.Args[1:])
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	case err != nil:
		fmt.Fprintf(os.Stderr, "rig: %v\n", err)
		os.Exit(1)
	}
}

// command chooses what to be: a guest's first process knows itself by its number
// and its plan, the guest's other processes by their role.
func command(args []string) error {
	if plan := os.Getenv(planVariable); plan != "" && os.Getpid() == 1 {
		return guest(plan)
	}
	if len(args) == 0 {
		return errUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch role, rest := args[0], args[1:]; role {
	case "run":
		return runCommand(ctx, rest, os.Stdout, os.Stderr)
	case "table":
		return tableCommand(rest, os.Stdout)
	case "list":
		return list(os.Stdout)
	case "evidence":
		return evidenceCommand(ctx, rest, os.Stdout, os.Stderr)
	case "kernel":
		path, err := buildKernel(ctx, os.Stderr)
		if err != nil {
			return err
		}
		fmt.Println(path)
		return nil
	case "guest-role":
		return guestRole(rest)
	default:
		return errUsage
	}
}

func list(w io.Writer) error {
	for _, s := range scenarios() {
		_, err := fmt.Fprintf(w, "%-12s %s\n", s.Name, s.About)
		if err != nil {
			return err
		}
	}
	return nil
}
