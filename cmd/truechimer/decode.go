package main

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/truechimer/truechimer/hlc"
)

func newDecode(c *client) *cobra.Command {
	var node uint16
	cmd := &cobra.Command{
		Use:     "decode TIMESTAMP",
		Short:   "Show what a timestamp says, in all its forms",
		Long:    "Shows a timestamp, given as text or integer, in all its forms. No server is asked.",
		Example: "  truechimer decode 1795330930123456529",
		Args:    exactArgs("TIMESTAMP"),
		RunE: func(_ *cobra.Command, args []string) error {
			ts, err := hlc.Parse(args[0])
			if err != nil {
				return usage(err)
			}
			return c.printDecoded(ts, node)
		},
	}
	cmd.Flags().Uint16Var(&node, "node", 0, "node number for the UUID")
	return cmd
}

func (c *client) printDecoded(ts hlc.Timestamp, node uint16) error {
	u := ts.UUID(node)
	uuid := fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
	physical := ts.Time().Format(time.RFC3339Nano)
	if c.json {
		return json.NewEncoder(c.out).Encode(struct {
			Timestamp hlc.Timestamp `json:"timestamp"`
			Text      string        `json:"text"`
			Physical  string        `json:"physical"`
			Logical   int           `json:"logical"`
			UUID      string        `json:"uuid"`
		}{ts, ts.String(), physical, ts.Logical(), uuid})
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "integer\t%d\n", uint64(ts))
	fmt.Fprintf(w, "text\t%s\n", ts)
	fmt.Fprintf(w, "physical\t%s\tright to %v\n", physical, hlc.Tick)
	fmt.Fprintf(w, "logical\t%d\n", ts.Logical())
	fmt.Fprintf(w, "UUIDv7\t%s\tof node %d\n", uuid, node)
	return w.Flush()
}

// printTimestamps prints count timestamps from first on, or the message as JSON.
func (c *client) printTimestamps(m proto.Message, first hlc.Timestamp, count int64) error {
	if c.json {
		return c.printJSON(m)
	}
	for i := range count {
		ts := first + hlc.Timestamp(i)
		if _, err := fmt.Fprintf(c.out, "%s  %d\n", ts, uint64(ts)); err != nil {
			return err
		}
	}
	return nil
}

// printInterval prints both ends of an interval and its width, or the message as JSON.
func (c *client) printInterval(m proto.Message, i hlc.Interval) error {
	if c.json {
		return c.printJSON(m)
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "earliest\t%s\t%d\n", i.Earliest, uint64(i.Earliest))
	fmt.Fprintf(w, "latest\t%s\t%d\n", i.Latest, uint64(i.Latest))
	fmt.Fprintf(w, "width\t%v\n", i.Width())
	return w.Flush()
}
