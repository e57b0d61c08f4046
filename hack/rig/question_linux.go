package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// ask asks the plan's questions, and tells the answers. It fails where a command does; what it
// said is told all the same.
func ask(p plan, tell func(record) error) error {
	for _, q := range p.Questions {
		now, err := clockNs(unix.CLOCK_REALTIME)
		if err != nil {
			return err
		}
		argv := q.argv(p.Law.UnixNs, now)
		cmd := exec.Command(argv[0], argv[1:]...)
		var out, complaint bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &complaint
		failure := cmd.Run()
		parts, err := pack(q.Name, out.Bytes())
		if err != nil {
			return err
		}
		for _, part := range parts {
			err = tell(part)
			if err != nil {
				return err
			}
		}
		if failure != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), failure, bytes.TrimSpace(complaint.Bytes()))
		}
	}
	return nil
}
