package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/truechimer/truechimer/internal/rpc"
)

func newCheck(c *client) *cobra.Command {
	var profile string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Monitoring plugin: can the clocks be proven to be within their limits?",
		Long: `Prints one line with performance data, and exits like a monitoring plugin: 0 when all
profiles are OK, 1 when one warns, or an alarm stands, 2 when one is beyond its
tolerance, or a critical alarm stands, 3 when nothing can be proven of one, or nobody
answers. Of these, 2 goes before 3, and 3 before 1: what is proven to be wrong is never
hidden. Without any profile it goes by whether the node is ready.`,
		Example: "  truechimer check\n  truechimer check --profile finra-50ms --timeout 5s",
		Args: func(cmd *cobra.Command, args []string) error {
			return pluginUsage(exactArgs()(cmd, args))
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			result, err := c.check(ctx, profile)
			if err != nil {
				result = checked{code: pluginUnknown, text: c.failure(err).Error()}
			}
			if c.json {
				if err := c.printValue(result.json()); err != nil {
					return err
				}
			} else if _, err := fmt.Fprintln(c.out, result.line()); err != nil {
				return err
			}
			if result.code != pluginOK {
				return exitError{code: result.code}
			}
			return nil
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return pluginUsage(fmt.Errorf("%w; see %s --help", err, cmd.CommandPath()))
	})
	cmd.Flags().StringVar(&profile, "profile", "", "only this profile; left out: all")
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Second, "how long the server may take")
	return cmd
}

// pluginUsage gives a mistake on the command line the exit code of a plugin that knows nothing: 2
// would be taken for a clock that is wrong.
func pluginUsage(err error) error {
	if err == nil {
		return nil
	}
	return exitError{pluginUnknown, err}
}

// checked is what a check came to.
type checked struct {
	code int
	text string
	data []string // performance data
}

func (r checked) word() string {
	return [...]string{pluginOK: "OK", pluginWarning: "WARNING", pluginCritical: "CRITICAL", pluginUnknown: "UNKNOWN"}[r.code]
}

// line is the plugin's one line. What a line cannot hold is left out of it.
func (r checked) line() string {
	line := "TRUECHIMER " + r.word() + " - " + strings.ReplaceAll(onLine(r.text), "|", " ")
	if len(r.data) > 0 {
		line += " | " + strings.Join(r.data, " ")
	}
	return line
}

func (r checked) json() any {
	return struct {
		Code int      `json:"code"`
		Word string   `json:"word"`
		Text string   `json:"text"`
		Data []string `json:"performanceData"`
	}{r.code, r.word(), r.text, append([]string{}, r.data...)}
}

// check asks the server.
func (c *client) check(ctx context.Context, profile string) (checked, error) {
	status, err := c.node().Status(ctx, connect.NewRequest(&rpc.StatusRequest{}))
	if err != nil {
		return checked{}, err
	}
	compliance, err := c.evidence().Compliance(ctx, connect.NewRequest(&rpc.ComplianceRequest{Days: 1}))
	if err != nil {
		return checked{}, err
	}
	return judge(status.Msg, compliance.Msg, profile), nil
}

// severity orders the codes of plugins. What is proven to be wrong is the worst. Of what cannot be
// proven nobody knows whether it is within its limit, which is worse than a warning, and no excuse
// for what is wrong besides. Source: max_state_alt of the monitoring plugins' utils_base.c, which
// has unknown below warning; but here it is a verdict.
func severity(code int) int {
	return [...]int{pluginOK: 0, pluginWarning: 1, pluginUnknown: 2, pluginCritical: 3}[code]
}

// finding is one thing that a check has found.
type finding struct {
	code int
	text string
}

// judge makes a plugin's verdict of what the server said: the worst of all counts, and is said
// first. Of a profile other than the one that is asked for, alarms do not count.
func judge(status *rpc.StatusResponse, compliance *rpc.ComplianceResponse, profile string) checked {
	var r checked
	var all []finding
	find := func(code int, format string, args ...any) {
		all = append(all, finding{code, fmt.Sprintf(format, args...)})
	}
	found := 0
	for _, v := range compliance.Verdicts {
		if profile != "" && v.Profile != profile {
			continue
		}
		found++
		name := v.Profile + " " + clockWord(v.Clock)
		switch v.Verdict {
		case rpc.Verdict_VERDICT_OK:
			find(pluginOK, "%s OK", name)
		case rpc.Verdict_VERDICT_WARN:
			find(pluginWarning, "%s WARN: %s", name, v.Reason)
		case rpc.Verdict_VERDICT_BREACH:
			find(pluginCritical, "%s BREACH: %s", name, v.Reason)
		default:
			find(pluginUnknown, "%s UNKNOWN: %s", name, v.Reason)
		}
		r.data = append(r.data, boundData(v))
	}
	switch {
	case found == 0 && profile != "":
		return checked{code: pluginUnknown, text: fmt.Sprintf("there is no profile %q: add it to the configuration, or see truechimer check --help", profile)}
	case found == 0 && !status.Ready:
		find(pluginCritical, "not ready: %s", strings.Join(status.NotReady, "; "))
	case found == 0:
		find(pluginOK, "ready, error bound %v", ns(status.Clock.ErrorBoundNs))
	}
	for _, a := range status.Alarms {
		of, ofProfile := a.Labels["profile"]
		code := pluginWarning
		if a.Critical {
			code = pluginCritical
		}
		switch {
		case ofProfile && profile != "" && of != profile:
		case found > 0 && slices.Contains([]string{"compliance_breach", "compliance_unknown"}, a.Name): // the verdict says it
		default:
			find(code, "%s: %s", a.Name, a.Sentence)
		}
	}
	slices.SortStableFunc(all, func(a, b finding) int { return severity(b.code) - severity(a.code) })
	r.code = all[0].code
	var words []string
	for _, f := range all {
		words = append(words, f.text)
	}
	r.text = strings.Join(words, "; ")
	return r
}

// boundData is the error bound as performance data: with the warn level and the tolerance.
func boundData(v *rpc.ProfileVerdict) string {
	value := "U" // unknown, in the words of the plugins
	if v.BoundNs >= 0 {
		value = fmt.Sprintf("%.9fs", ns(v.BoundNs).Seconds())
	}
	return fmt.Sprintf("'%s_%s_bound'=%s;%.9f;%.9f;0", v.Profile, clockWord(v.Clock), value, ns(int64(v.WarnNs)).Seconds(), ns(int64(v.ToleranceNs)).Seconds())
}
