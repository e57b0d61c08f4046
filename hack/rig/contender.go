package main

import (
	"fmt"
	"path/filepath"
	"strings"
)

// The contenders get the same settings: how often they may poll, an opening burst,
// and when they may step.
const (
	pollMinLog2, pollMaxLog2 = 4, 6
	stepThresholdSeconds     = 0.05
	stepUpdates              = 3
)

const contenderDir = "/run/contender"

// contenderNames are all that there are, as the command line names them.
func contenderNames() []string { return []string{"chronyd", "ours"} }

// programs are where the guest finds what it runs.
type programs struct {
	chronyd, libraries string // libraries: for LD_LIBRARY_PATH
	ours               string
}

// contenderFor is how the guest starts the contender of that name for a plan.
func contenderFor(name string, p plan, at programs) (guestProgram, error) {
	switch name {
	case "chronyd":
		return chronydFor(p, at), nil
	case "ours":
		return oursFor(p, at), nil
	default:
		return guestProgram{}, fmt.Errorf("no contender %q: there are %s", name, strings.Join(contenderNames(), ", "))
	}
}

// chronydFor is stock chronyd with the settings of the comparison.
func chronydFor(p plan, at programs) guestProgram {
	var conf strings.Builder
	for _, s := range p.Servers {
		fmt.Fprintf(&conf, "server %s iburst minpoll %d maxpoll %d\n", s.Address, pollMinLog2, pollMaxLog2)
	}
	fmt.Fprintf(&conf, "makestep %g %d\n", stepThresholdSeconds, stepUpdates)
	fmt.Fprintf(&conf, "rtcsync\ndriftfile %s/drift\npidfile %s/pid\nbindcmdaddress /\ncmdport 0\nuser root\n", contenderDir, contenderDir)
	file := filepath.Join(contenderDir, "chrony.conf")
	return guestProgram{
		Argv:  []string{at.chronyd, "-d", "-f", file},
		Env:   []string{"LD_LIBRARY_PATH=" + at.libraries},
		Files: map[string]string{file: conf.String()},
	}
}

// oursFor is the appliance that steers. Its ceiling is raised less often than
// usual, which has nothing to do with the clock and saves simulated work.
func oursFor(p plan, at programs) guestProgram {
	var conf strings.Builder
	fmt.Fprintf(&conf, "[node]\nname = \"rig\"\ndata_dir = %q\n\n", filepath.Join(contenderDir, "data"))
	fmt.Fprintf(&conf, "[clock]\nmode = \"steer\"\nstep_threshold = \"%gs\"\nstep_updates = %d\n\n", stepThresholdSeconds, stepUpdates)
	conf.WriteString("[hlc]\nwindow = \"5s\"\nmax_lead = \"10s\"\n")
	for _, s := range p.Servers {
		fmt.Fprintf(&conf, "\n[[source]]\naddress = %q\niburst = true\nmin_poll = %d\nmax_poll = %d\n", s.Address, pollMinLog2, pollMaxLog2)
	}
	file := filepath.Join(contenderDir, "truechimer.toml")
	return guestProgram{
		Argv:  []string{at.ours, "serve", "--config", file},
		Files: map[string]string{file: conf.String()},
	}
}
