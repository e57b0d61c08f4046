package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/truechimer/truechimer/internal/config"
	"github.com/truechimer/truechimer/internal/daemon"
)

func newServe(c *client) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the appliance",
		Long: `Runs the appliance until SIGTERM or SIGINT, which end it in order; a second one ends it
at once. SIGHUP reads the configuration file again and takes over what can change
while it runs. Log lines that nobody reads are dropped, and counted.

Without a file it serves on loopback only: NTP on 127.0.0.1:11123, the API on
127.0.0.1:8123, data in ./data, and the system clock as it is. A clock that
nobody vouches for is then served as local stratum 10, labelled as such.`,
		Example: "  truechimer serve\n  truechimer serve --config /etc/truechimer.toml",
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("api") {
				return usage(errors.New("--api is where the other commands find a server; where this one serves is api.listen in the configuration file"))
			}
			return c.serve(cmd.Context(), file)
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration file; without one, a tour on loopback")
	return cmd
}

// leaveAfter is how long what cannot be interrupted may go on after the end was asked for:
// together with an orderly stop it is over within 5 s.
const leaveAfter = 250 * time.Millisecond

func (c *client) serve(ctx context.Context, file string) error {
	// From the first moment on: what a SIGHUP does where nobody waits for it is to kill.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	lines := newLogWriter(c.err, func(dropped uint64) {
		c.newLogger(c.err).Warn("log lines dropped because nobody read them", "count", dropped)
	})
	defer lines.Close()
	log := c.newLogger(lines)
	words := c.out
	if c.json {
		words = io.Discard // the log says the same to programs
	}
	d, err := unlessLeft(ctx, func() (*daemon.Daemon, error) { return open(file, log) })
	if errors.Is(err, errLeft) {
		return fmt.Errorf("%w: the configuration file or the data directory does not answer; nothing was served", err)
	}
	if err != nil {
		return err
	}
	say(words, d.Summary())

	ctx, cancel := context.WithCancel(ctx)
	var reloading sync.WaitGroup
	reloading.Go(func() { reloadOnHangup(ctx, hangups, d, file, log) })
	err = d.Run(ctx)
	cancel()
	reloading.Wait()
	if err == nil {
		say(words, "stopped in order\n")
	}
	return err
}

// newLogger logs for people, or for programs.
func (c *client) newLogger(out io.Writer) *slog.Logger {
	if c.json {
		return slog.New(slog.NewJSONHandler(out, nil))
	}
	return slog.New(slog.NewTextHandler(out, nil))
}

// open opens the appliance that the file describes, or the tour where it is empty.
func open(file string, log *slog.Logger) (*daemon.Daemon, error) {
	cfg := config.Tour()
	if file != "" {
		var err error
		if cfg, err = config.Load(file); err != nil {
			return nil, usage(err)
		}
	}
	d, err := daemon.Open(daemon.Options{Config: cfg, Tour: file == "", Version: versionText(), Logger: log})
	if daemon.Refused(err) {
		return nil, exitError{exitRefused, err}
	}
	return d, err
}

// errLeft reports that the end was asked for while something could not be interrupted.
var errLeft = errors.New("told to stop while still waiting")

// unlessLeft returns what do returns, or errLeft when ctx has ended and do does not return
// soon: a file that is a fifo, or on a disk that hangs, cannot be waited for with a
// context. The goroutine of do is then left behind, for the end of the process.
func unlessLeft[T any](ctx context.Context, do func() (T, error)) (T, error) {
	var result T
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		result, err = do()
	}()
	select {
	case <-done:
		return result, err
	case <-ctx.Done():
	}
	select {
	case <-done:
		return result, err
	case <-time.After(leaveAfter):
		var none T
		return none, errLeft
	}
}

// reloadOnHangup reads the file again with every SIGHUP until ctx ends.
func reloadOnHangup(ctx context.Context, hangups <-chan os.Signal, d *daemon.Daemon, file string, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
		}
		if err := reload(ctx, d, file, log); err != nil {
			log.Error("configuration not reloaded", "err", err)
		}
	}
}

func reload(ctx context.Context, d *daemon.Daemon, file string, log *slog.Logger) error {
	if file == "" {
		return errors.New("there is no configuration file: start with --config")
	}
	next, err := unlessLeft(ctx, func() (config.Config, error) { return config.Load(file) })
	if err != nil {
		return err
	}
	changes, err := d.Reload(next)
	if err != nil {
		return err
	}
	for _, change := range changes {
		switch {
		case change.Live:
			log.Info("configuration changed", "key", change.Key, "old", change.JournalledOld(), "new", change.JournalledNew())
		case change.Refused != "":
			log.Warn("configuration cannot change", "key", change.Key, "old", change.JournalledOld(), "new", change.JournalledNew(), "reason", change.Refused)
		default:
			log.Warn("configuration waits for a restart", "key", change.Key, "old", change.JournalledOld(), "new", change.JournalledNew())
		}
	}
	log.Info("configuration reloaded", "changes", len(changes))
	return nil
}
