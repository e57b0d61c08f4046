package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"

	"github.com/truechimer/truechimer/internal/config"
)

func newConfig(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Check, show or start a configuration file", Args: subcommandOnly, RunE: helpOnly}
	cmd.AddCommand(
		&cobra.Command{
			Use:   "check FILE",
			Short: "Report every problem of a file, with its line",
			Long: `Reads a configuration file as serve would, and reports every problem with its line and
key. Exit code 2 when there is one.`,
			Args: exactArgs("FILE"),
			RunE: func(_ *cobra.Command, args []string) error {
				return c.checkConfig(args[0])
			},
		},
		&cobra.Command{
			Use:   "show [FILE]",
			Short: "Print the effective configuration",
			Long: `Prints all keys with the values that serve would use, with the given file or without
one.`,
			Args: atMostFile,
			RunE: func(_ *cobra.Command, args []string) error {
				effective := config.Tour()
				if len(args) > 0 {
					var err error
					if effective, err = config.Load(args[0]); err != nil {
						return usage(err)
					}
				}
				return c.showConfig(effective)
			},
		},
		&cobra.Command{
			Use:   "init [FILE]",
			Short: "Write a commented template",
			Long: `Writes a template with every key, its meaning and its default, to the given file, which
must not exist, or to the output. It is TOML: there is no --json of it.`,
			Args: atMostFile,
			RunE: func(_ *cobra.Command, args []string) error {
				if c.json {
					return usage(errors.New("a configuration file is TOML: init writes no JSON; config show --json prints the defaults of the tour as JSON"))
				}
				if len(args) == 0 {
					_, err := fmt.Fprint(c.out, config.Template())
					return err
				}
				return writeNew(args[0], config.Template())
			},
		},
	)
	return cmd
}

// problemJSON is a config.Problem for programs.
type problemJSON struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Key  string `json:"key"`
	Text string `json:"text"`
}

// checkConfig reports the problems of a file: as an error for people, as a list for
// programs.
func (c *client) checkConfig(file string) error {
	_, err := config.Load(file)
	if !c.json {
		if err != nil {
			return usage(err)
		}
		_, err = fmt.Fprintf(c.out, "%s is right\n", file)
		return err
	}
	list := []problemJSON{}
	var problems *config.Problems
	if errors.As(err, &problems) {
		for _, p := range problems.List {
			list = append(list, problemJSON(p))
		}
	} else if err != nil {
		return usage(err)
	}
	if printErr := json.NewEncoder(c.out).Encode(list); printErr != nil {
		return printErr
	}
	if err != nil {
		return exitError{code: exitUsage}
	}
	return nil
}

func (c *client) showConfig(effective config.Config) error {
	if !c.json {
		_, err := fmt.Fprint(c.out, effective.TOML())
		return err
	}
	var keys map[string]any
	if err := toml.Unmarshal([]byte(effective.TOML()), &keys); err != nil {
		return err
	}
	return json.NewEncoder(c.out).Encode(keys)
}

func atMostFile(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usage(fmt.Errorf("%s takes one file at the most; see --help", cmd.CommandPath()))
	}
	return nil
}

// writeNew writes a file that must not exist.
func writeNew(name, text string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return usage(fmt.Errorf("%s exists and is left as it is; name another file", name))
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
