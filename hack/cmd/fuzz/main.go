// Command fuzz runs every fuzz target of the tree in turn.
//
//	go run ./hack/cmd/fuzz [TIME]
//
// TIME is that of each target, as for -fuzztime: 30s by default.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// minimizing is how often one input is tried to be made smaller. Where chance decides what a
// target covers the default, a minute, would leave no time for new inputs.
const minimizing = "20x"

// target is one function FuzzX of one package.
type target struct {
	pkg, name string
}

func main() {
	each := "30s"
	if len(os.Args) > 1 {
		each = os.Args[1]
	}
	err := run(each)
	if err != nil {
		fmt.Fprintf(os.Stderr, "fuzz: %v\n", err)
		os.Exit(1)
	}
}

func run(each string) error {
	listed, err := exec.Command("go", "test", "-list", "^Fuzz", "./...").Output()
	if err != nil {
		return fmt.Errorf("list fuzz targets: %w\n%s", err, listed)
	}
	for _, t := range targets(string(listed)) {
		fmt.Printf("fuzz: %s %s for %s\n", t.pkg, t.name, each)
		cmd := exec.Command("go", "test", "-run", "^$", "-fuzz", "^"+t.name+"$", "-fuzztime", each,
			"-fuzzminimizetime", minimizing, t.pkg)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		err := cmd.Run()
		if err != nil {
			return fmt.Errorf("%s %s: %w", t.pkg, t.name, err)
		}
	}
	return nil
}

// targets reads what `go test -list` prints: the names of a package's functions,
// each on a line, then "ok", the package and how long it took.
func targets(listed string) []target {
	var all []target
	var names []string
	for line := range strings.Lines(listed) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 1 && strings.HasPrefix(fields[0], "Fuzz"):
			names = append(names, fields[0])
		case len(fields) > 1 && fields[0] == "ok":
			for _, name := range names {
				all = append(all, target{pkg: fields[1], name: name})
			}
			names = nil
		}
	}
	return all
}
