// Command truechimer is an NTP server and a hybrid-logical-clock appliance in one binary.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes. check and query --max-error use those of monitoring plugins instead.
const (
	exitFailed      = 1
	exitUsage       = 2 // also configuration
	exitUnreachable = 3
	exitRefused     = 4 // the store was refused
)

// exitError is an error with an exit code of its own. One without a cause has been told
// already.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e exitError) Unwrap() error { return e.err }

// usage marks an error as the caller's.
func usage(err error) error { return exitError{exitUsage, err} }

// version is set by the linker in releases.
var version string

func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills, whatever the first has to wait for
	os.Exit(run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

// run runs one command line and returns its exit code.
func run(ctx context.Context, args []string, s streams) int {
	root := newRoot(s)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var exit exitError
	if !errors.As(err, &exit) {
		exit = exitError{exitFailed, err}
	}
	if exit.err != nil {
		say(s.err, fmt.Sprintf("truechimer: %v\n", err))
	}
	return exit.code
}

func newRoot(s streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "truechimer",
		Short: "NTP server and hybrid logical clock in one binary",
		Long: `truechimer serves time over NTP, is honest about its error, issues timestamps that
order events causally while staying close to physical time, and keeps streams of events.

Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 server unreachable,
4 data directory refused.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          subcommandOnly,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	client := &client{streams: s}
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return client.checkAddress() }
	root.SetOut(s.out)
	root.SetErr(s.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(fmt.Errorf("%w; see %s --help", err, cmd.CommandPath()))
	})
	root.PersistentFlags().StringVar(&client.address, "api", cmp.Or(os.Getenv(apiVariable), defaultAPI), "address of the server's API, HOST:PORT, with https:// for TLS; or "+apiVariable)
	client.credential.flags(root)
	root.PersistentFlags().BoolVar(&client.json, "json", false, "print JSON for programs")
	root.AddCommand(
		newServe(client),
		newStatus(client), newSources(client), newClients(client), newWaitsync(client), newQuery(client),
		newBench(client), newDemo(client),
		newNow(client), newObserve(client), newWait(client), newDecode(client),
		newAppend(client), newRead(client), newWatch(client), newStreams(client), newCut(client),
		newBackup(client), newRestore(client), newVerify(client),
		newClock(client), newHLC(client),
		newCheck(client), newReport(client), newBreach(client), newHosts(client), newAlert(client), newJournal(client),
		newConfig(client), newToken(client),
		newVersion(client),
	)
	return root
}

// exactArgs is cobra.ExactArgs with our exit code and a sentence.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		want := "no arguments"
		if len(names) > 0 {
			want = strings.Join(names, " ")
		}
		if len(args) != len(names) {
			return usage(fmt.Errorf("%s takes %s, not %d arguments; see %[1]s --help", cmd.CommandPath(), want, len(args)))
		}
		return nil
	}
}

// subcommandOnly is the Args of a command that only has subcommands.
func subcommandOnly(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(fmt.Errorf("unknown command %q; see %s --help", args[0], cmd.CommandPath()))
	}
	return nil
}
