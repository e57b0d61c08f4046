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

	"github.com/spf13/cobra"

	"github.com/truechimer/truechimer/internal/config"
	"github.com/truechimer/truechimer/internal/daemon"
)

func newServe(c *client) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the appliance",
		Long: `Runs the appliance until SIGTERM or SIGINT, which end it in order. SIGHUP reads the
configuration file again and takes over what can change while it runs.

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

func (c *client) serve(ctx context.Context, file string) error {
	// From the first moment on: what a SIGHUP does where nobody waits for it is to kill.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	cfg := config.Tour()
	if file != "" {
		var err error
		if cfg, err = config.Load(file); err != nil {
			return usage(err)
		}
	}
	var handler slog.Handler = slog.NewTextHandler(c.err, nil)
	words := c.out
	if c.json {
		handler = slog.NewJSONHandler(c.err, nil)
		words = io.Discard // the log says the same to programs
	}
	log := slog.New(handler)
	d, err := daemon.Open(daemon.Options{Config: cfg, Tour: file == "", Version: versionText(), Logger: log})
	if err != nil {
		if daemon.Refused(err) {
			return exitError{exitRefused, err}
		}
		return err
	}
	fmt.Fprint(words, d.Summary())

	ctx, cancel := context.WithCancel(ctx)
	var reloading sync.WaitGroup
	reloading.Go(func() { reloadOnHangup(ctx, hangups, d, file, log) })
	err = d.Run(ctx)
	cancel()
	reloading.Wait()
	if err == nil {
		fmt.Fprintln(words, "stopped in order")
	}
	return err
}

// reloadOnHangup reads the file again with every SIGHUP until ctx ends.
func reloadOnHangup(ctx context.Context, hangups <-chan os.Signal, d *daemon.Daemon, file string, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
		}
		if err := reload(d, file, log); err != nil {
			log.Error("configuration not reloaded", "err", err)
		}
	}
}

func reload(d *daemon.Daemon, file string, log *slog.Logger) error {
	if file == "" {
		return errors.New("there is no configuration file: start with --config")
	}
	next, err := config.Load(file)
	if err != nil {
		return err
	}
	changes, err := d.Reload(next)
	if err != nil {
		return err
	}
	for _, change := range changes {
		if change.Live {
			log.Info("configuration changed", "key", change.Key, "old", change.Old, "new", change.New)
		} else {
			log.Warn("configuration waits for a restart", "key", change.Key, "old", change.Old, "new", change.New)
		}
	}
	log.Info("configuration reloaded", "changes", len(changes))
	return nil
}
