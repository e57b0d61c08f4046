package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/truechimer/truechimer/internal/rpc"
)

func newBackup(c *client) *cobra.Command {
	return &cobra.Command{
		Use:   "backup DIR",
		Short: "Copy the data of the running server",
		Long: `Has the server copy its data into a new directory on its own machine, while it is being
used, and prove the copy. It holds all that was acknowledged before, and no secrets.
DIR must not exist, and the directory that it is in must. On the disk of the data it
shares files with them at first, which takes no time and no room: copy it elsewhere.`,
		Example: "  truechimer backup /var/backups/truechimer-1",
		Args:    exactArgs("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			answers, err := c.nodeWithoutLimit().Backup(cmd.Context(), connect.NewRequest(&rpc.BackupRequest{Path: dir}))
			if err != nil {
				return c.failure(err)
			}
			defer answers.Close()
			shown := c.phases()
			var result *rpc.BackupResult
			for result == nil && answers.Receive() {
				m := answers.Msg()
				result = m.Result
				shown.show(m.Phase, m.FilesDone, m.FilesTotal, m.BytesDone, m.BytesTotal)
			}
			shown.end()
			switch {
			case result != nil:
				return c.printBackup(result)
			case answers.Err() != nil:
				return c.failure(answers.Err())
			default:
				return exitError{exitUnreachable, errors.New("the server ended the backup without a word; look at its log")}
			}
		},
	}
}

// printBackup says what was copied, and what can be done with it.
func (c *client) printBackup(r *rpc.BackupResult) error {
	if c.json {
		return c.printJSON(r)
	}
	_, err := fmt.Fprintf(c.out, "backed up %s to %s in %s\n", contentWords(r.Streams, r.Events, r.EventBytes), r.Path, spanWords(ns(r.TookNs)))
	if err != nil {
		return err
	}
	next := rows{width: c.width()}
	next.add("  truechimer verify "+shellWord(r.Path), "proves it again")
	next.add("  truechimer restore "+shellWord(r.Path)+" DATA_DIR", "makes a data directory of it")
	return next.write(c.out)
}

// contentWords says what a store holds.
func contentWords(streams, events, bytes uint64) string {
	return fmt.Sprintf("%s with %s (%s)", plural(streams, "stream"), plural(events, "event"), bytesWords(bytes))
}

func plural(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
