package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/truechimer/truechimer/internal/config"
	"github.com/truechimer/truechimer/internal/daemon"
)

func newRestore(c *client) *cobra.Command {
	var file string
	var bound time.Duration
	cmd := &cobra.Command{
		Use:   "restore BACKUP DATA_DIR",
		Short: "Make a data directory of a backup",
		Long: `Makes a data directory, which must be missing or empty, of a backup, which it proves first
and leaves as it is. No server is asked. What was appended after the backup is lost.

The new store begins a new epoch, above every timestamp that can have been issued so far:
the time of this machine, its error bound, and the max lead. The bound is what the kernel
says, else ` + longWords(daemon.ErrorBoundAssumed) + `; --error-bound knows better. Max lead and window are the
usual ones, or those of the configuration file that the server had. It issues nothing for
about as long as the bound. Cursors of before are refused.`,
		Example: "  truechimer restore /var/backups/truechimer-1 ./data",
		Args:    exactArgs("BACKUP", "DATA_DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if bound < 0 || bound > daemon.ErrorBoundMax {
				return usage(fmt.Errorf("--error-bound is %v; want 0s to %v", bound, daemon.ErrorBoundMax))
			}
			cfg := config.Default()
			if file != "" {
				var err error
				if cfg, err = config.Load(file); err != nil {
					return usage(err)
				}
			}
			shown := c.phases()
			r, floor, err := daemon.Restore(cmd.Context(), args[0], args[1], daemon.RestoreOptions{HLC: cfg.HLC, ErrorBound: bound, Progress: shown.store})
			shown.end()
			if err != nil {
				return offlineFailure(cmd.Context(), err)
			}
			return c.printRestored(&r, &floor)
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration file with the max lead and the window that the server had")
	cmd.Flags().DurationVar(&bound, "error-bound", 0, "how far the clock of this machine can be from UTC")
	return cmd
}

// store shows how far the store is.
func (p *phases) store(s daemon.Progress) {
	p.show(s.Phase, s.Files, s.FilesTotal, s.Bytes, s.BytesTotal)
}

// offlineFailure gives an error of a data directory its exit code.
func offlineFailure(ctx context.Context, err error) error {
	switch {
	case daemon.Refused(err):
		return exitError{exitRefused, err}
	case ctx.Err() != nil:
		return errors.New("interrupted")
	}
	return err
}

// restoredJSON is a restored store, for programs.
type restoredJSON struct {
	Dir          string `json:"dir"`
	StoreID      string `json:"storeId"`
	Backup       string `json:"backupStoreId"`
	Node         uint16 `json:"node"`
	Epoch        uint64 `json:"epoch,string"`
	Ceiling      uint64 `json:"ceiling,string"`
	ErrorBoundNs int64  `json:"errorBoundNs,string"`
	Assumed      bool   `json:"errorBoundAssumed"`
	MaxLeadNs    int64  `json:"maxLeadNs,string"`
	Streams      uint64 `json:"streams,string"`
	Events       uint64 `json:"events,string"`
	EventBytes   uint64 `json:"eventBytes,string"`
}

func (c *client) printRestored(r *daemon.RestoreResult, f *daemon.Floor) error {
	if c.json {
		return c.printValue(restoredJSON{
			r.Dir, r.ID, r.Backup, r.Node, r.Epoch, uint64(r.Ceiling), f.ErrorBound.Nanoseconds(), f.Assumed, f.MaxLead.Nanoseconds(), r.Streams, r.Events, r.EventBytes,
		})
	}
	vouched := "as the kernel says"
	switch {
	case f.Given:
		vouched = "as you said"
	case f.Assumed:
		vouched = "assumed: nobody vouches for the clock of this machine"
	}
	rows := rows{width: c.width()}
	rows.add("restored", "%s in %s", contentWords(r.Streams, r.Events, r.EventBytes), r.Dir)
	rows.add("store", "%s, made of a backup of %s; epoch %d", r.ID, r.Backup, r.Epoch)
	rows.add("hlc", "starts at %s: above the time here, its error bound of %v (%s), and the max lead of %v", r.Ceiling, f.ErrorBound.Round(time.Microsecond), vouched, f.MaxLead)
	if f.Assumed {
		rows.add("", "it issues nothing until the time is near that; --error-bound says how far the clock can be wrong, where you know it")
	}
	rows.add("next", "truechimer serve, with node.data_dir = %s%s", strconv.Quote(r.Dir), numberWords(r.Node))
	return rows.write(c.out)
}

// numberWords says which number a node has to have, where that is not the usual one.
func numberWords(node uint16) string {
	if node == 0 {
		return ""
	}
	return fmt.Sprintf(" and node.number = %d", node)
}
