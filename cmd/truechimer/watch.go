package main

import (
	"context"
	"fmt"
	"time"
)

const watchInterval = time.Second

// watch prints again every second until ctx ends, which is no failure, on a terminal always at
// its top. It fails only where the first time does: a restart of the server is what one
// watches for.
func (c *client) watch(ctx context.Context, print func(context.Context) error) error {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for shown := false; ; shown = true {
		if c.terminal() {
			fmt.Fprint(c.out, "\x1b[H\x1b[2J")
		}
		err := print(ctx)
		switch {
		case err == nil || ctx.Err() != nil:
		case shown:
			fmt.Fprintln(c.err, "truechimer:", err)
		default:
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
