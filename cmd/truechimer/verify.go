package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/truechimer/truechimer/internal/daemon"
)

func newVerify(c *client) *cobra.Command {
	return &cobra.Command{
		Use:   "verify DIR",
		Short: "Prove a data directory, or a backup, from end to end",
		Long: `Reads all of a data directory that no server has open, or of a backup, and changes nothing:
checksums, that the sequences of each stream have no gap, that timestamps rise and are
below the ceiling, that names and streams belong together; of a backup also that no byte
of it has changed. What is wrong is listed, with exit code 1. A directory that cannot be
looked at is refused, with exit code 4.`,
		Example: "  truechimer verify /var/backups/truechimer-1",
		Args:    exactArgs("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			shown := c.phases()
			r, err := daemon.Verify(cmd.Context(), args[0], shown.store)
			shown.end()
			if err != nil {
				if len(r.Problems) > 0 && !c.json {
					_ = c.printVerified(&r, args[0]) // what was found up to there
				}
				return offlineFailure(cmd.Context(), err)
			}
			if err := c.printVerified(&r, args[0]); err != nil {
				return err
			}
			if n := len(r.Problems) + r.MoreProblems; n > 0 {
				return fmt.Errorf("%s: %s found; restore a backup, and keep this one to find out what happened", args[0], wasWere(uint64(n), "problem"))
			}
			return nil
		},
	}
}

// wasWere says that things were.
func wasWere(n uint64, what string) string {
	if n == 1 {
		return "1 " + what + " was"
	}
	return plural(n, what) + " were"
}

// verifiedJSON is a report, for programs.
type verifiedJSON struct {
	StoreID      string   `json:"storeId"`
	Backup       bool     `json:"backup"`
	Node         uint16   `json:"node"`
	Epoch        uint64   `json:"epoch,string"`
	Ceiling      uint64   `json:"ceiling,string"`
	Streams      uint64   `json:"streams,string"`
	Deleted      uint64   `json:"deletedStreams,string"`
	Events       uint64   `json:"events,string"`
	EventBytes   uint64   `json:"eventBytes,string"`
	Retries      uint64   `json:"idempotencyKeys,string"`
	Problems     []string `json:"problems"`
	MoreProblems int      `json:"moreProblems"` // that are not named
}

// printVerified prints a report.
func (c *client) printVerified(r *daemon.VerifyReport, dir string) error {
	if c.json {
		problems := append([]string{}, r.Problems...) // [] where there are none
		return c.printValue(verifiedJSON{
			r.ID, r.Backup, r.Node, r.Epoch, uint64(r.Ceiling), r.Streams, r.Deleted, r.Events, r.Bytes, r.Retries, problems, r.MoreProblems,
		})
	}
	kind := "data directory"
	if r.Backup {
		kind = "backup"
	}
	rows := rows{width: c.width()}
	rows.add(kind, "%s", dir)
	rows.add("store", "%s, node number %d, epoch %d, ceiling %s", r.ID, r.Node, r.Epoch, r.Ceiling)
	rows.add("holds", "%s; %s, %s", contentWords(r.Streams, r.Events, r.Bytes), plural(r.Deleted, "deleted stream"), plural(r.Retries, "idempotency key"))
	for _, problem := range r.Problems {
		rows.add("problem", "%s", problem)
	}
	switch {
	case r.MoreProblems > 0:
		rows.add("", "and %d more", r.MoreProblems)
	case len(r.Problems) == 0:
		rows.add("whole", "no problem was found")
	}
	return rows.write(c.out)
}
