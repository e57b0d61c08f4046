package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/truechimer/truechimer/internal/rpc"
)

func verdictOf(profile string, clock rpc.JudgedClock, v rpc.Verdict) *rpc.ProfileVerdict {
	return &rpc.ProfileVerdict{Profile: profile, Clock: clock, Verdict: v, Reason: "because", BoundNs: 1_500_000, WarnNs: 25e6, ToleranceNs: 50e6}
}

// TestJudge: the code and the words of a check, for each verdict and alarm alone and together.
func TestJudge(t *testing.T) {
	const system, served = rpc.JudgedClock_JUDGED_CLOCK_SYSTEM, rpc.JudgedClock_JUDGED_CLOCK_SERVED
	const ok, warn, breach, unknown = rpc.Verdict_VERDICT_OK, rpc.Verdict_VERDICT_WARN, rpc.Verdict_VERDICT_BREACH, rpc.Verdict_VERDICT_UNKNOWN
	of := func(list ...rpc.Verdict) (verdicts []*rpc.ProfileVerdict) {
		for i, v := range list {
			verdicts = append(verdicts, verdictOf("p", []rpc.JudgedClock{system, served}[i%2], v))
		}
		return verdicts
	}
	warning, critical := &rpc.Alarm{Name: "nist_lost", Sentence: "none agrees"}, &rpc.Alarm{Name: "journal_loss", Critical: true, Sentence: "the disk"}
	own := func(name string) *rpc.Alarm {
		return &rpc.Alarm{Name: name, Critical: true, Sentence: "it is so", Labels: map[string]string{"profile": "p", "clock": "system"}}
	}
	for name, c := range map[string]struct {
		ready    bool
		verdicts []*rpc.ProfileVerdict
		alarms   []*rpc.Alarm
		profile  string
		code     int
		text     string
	}{
		"ok":                       {verdicts: of(ok), code: 0, text: "p system OK"},
		"warn":                     {verdicts: of(warn), code: 1, text: "p system WARN: because"},
		"breach":                   {verdicts: of(breach), code: 2, text: "p system BREACH: because"},
		"unknown":                  {verdicts: of(unknown), code: 3, text: "p system UNKNOWN: because"},
		"not said":                 {verdicts: of(0), code: 3, text: "p system UNKNOWN: because"},
		"ok and ok":                {verdicts: of(ok, ok), code: 0, text: "p system OK; p served OK"},
		"ok and warn":              {verdicts: of(ok, warn), code: 1, text: "p served WARN: because; p system OK"},
		"warn and ok":              {verdicts: of(warn, ok), code: 1, text: "p system WARN: because; p served OK"},
		"ok and unknown":           {verdicts: of(ok, unknown), code: 3, text: "p served UNKNOWN: because; p system OK"},
		"warn and unknown":         {verdicts: of(warn, unknown), code: 3, text: "p served UNKNOWN: because; p system WARN: because"},
		"unknown and warn":         {verdicts: of(unknown, warn), code: 3, text: "p system UNKNOWN: because; p served WARN: because"},
		"breach and unknown":       {verdicts: of(breach, unknown), code: 2, text: "p system BREACH: because; p served UNKNOWN: because"},
		"unknown and breach":       {verdicts: of(unknown, breach), code: 2, text: "p served BREACH: because; p system UNKNOWN: because"},
		"breach and warn":          {verdicts: of(breach, warn), code: 2, text: "p system BREACH: because; p served WARN: because"},
		"a warning":                {verdicts: of(ok), alarms: []*rpc.Alarm{warning}, code: 1, text: "nist_lost: none agrees; p system OK"},
		"a critical alarm":         {verdicts: of(ok), alarms: []*rpc.Alarm{critical}, code: 2, text: "journal_loss: the disk; p system OK"},
		"unknown and a warning":    {verdicts: of(unknown), alarms: []*rpc.Alarm{warning}, code: 3, text: "p system UNKNOWN: because; nist_lost: none agrees"},
		"unknown and critical":     {verdicts: of(unknown), alarms: []*rpc.Alarm{warning, critical}, code: 2, text: "journal_loss: the disk; p system UNKNOWN: because; nist_lost: none agrees"},
		"unknown and its alarm":    {verdicts: of(unknown), alarms: []*rpc.Alarm{own("compliance_unknown")}, code: 3, text: "p system UNKNOWN: because"},
		"breach and its alarm":     {verdicts: of(breach), alarms: []*rpc.Alarm{own("compliance_breach")}, code: 2, text: "p system BREACH: because"},
		"over, but for its alarm":  {verdicts: of(ok), alarms: []*rpc.Alarm{own("compliance_breach")}, code: 0, text: "p system OK"},
		"another alarm of it":      {verdicts: of(ok), alarms: []*rpc.Alarm{own("preopen_failed")}, code: 2, text: "preopen_failed: it is so; p system OK"},
		"asked for":                {verdicts: append(of(breach), verdictOf("q", system, ok)), profile: "q", code: 0, text: "q system OK"},
		"asked for, not alarm":     {verdicts: append(of(ok), verdictOf("q", system, ok)), alarms: []*rpc.Alarm{own("preopen_failed")}, profile: "q", code: 0, text: "q system OK"},
		"asked for, its alarm":     {verdicts: append(of(ok), verdictOf("q", system, ok)), alarms: []*rpc.Alarm{own("preopen_failed")}, profile: "p", code: 2, text: "preopen_failed: it is so; p system OK"},
		"asked for, alarm of all":  {verdicts: of(ok), alarms: []*rpc.Alarm{critical}, profile: "p", code: 2, text: "journal_loss: the disk; p system OK"},
		"asked for, and not there": {ready: true, verdicts: of(breach), profile: "q", code: 3, text: `there is no profile "q": add it to the configuration, or see truechimer check --help`},
		"no profile, ready":        {ready: true, code: 0, text: "ready, error bound 1.5ms"},
		"no profile, not ready":    {code: 2, text: "not ready: one; two"},
		"no profile, an alarm":     {ready: true, alarms: []*rpc.Alarm{warning}, code: 1, text: "nist_lost: none agrees; ready, error bound 1.5ms"},
		"no profile, all of it":    {alarms: []*rpc.Alarm{warning, critical}, code: 2, text: "not ready: one; two; journal_loss: the disk; nist_lost: none agrees"},
		"a profile, not ready":     {verdicts: of(ok), code: 0, text: "p system OK"},
	} {
		t.Run(name, func(t *testing.T) {
			status := &rpc.StatusResponse{Ready: c.ready, Alarms: c.alarms, Clock: &rpc.Clock{ErrorBoundNs: 1_500_000}}
			if !c.ready {
				status.NotReady = []string{"one", "two"}
			}
			got := judge(status, &rpc.ComplianceResponse{Verdicts: c.verdicts}, c.profile)
			if got.code != c.code || got.text != c.text {
				t.Errorf("%d %q, want %d %q", got.code, got.text, c.code, c.text)
			}
			if want := strings.Count(c.text, " system ") + strings.Count(c.text, " served "); len(got.data) != want {
				t.Errorf("%d figures, want %d: %q", len(got.data), want, got.data)
			}
		})
	}
}

// TestPerformanceData: as the guidelines of the monitoring plugins have it.
func TestPerformanceData(t *testing.T) {
	v := verdictOf("finra-50ms", rpc.JudgedClock_JUDGED_CLOCK_SYSTEM, rpc.Verdict_VERDICT_OK)
	for bound, want := range map[int64]string{
		1_500_000: "'finra-50ms_system_bound'=0.001500000s;0.025000000;0.050000000;0",
		0:         "'finra-50ms_system_bound'=0.000000000s;0.025000000;0.050000000;0",
		-1:        "'finra-50ms_system_bound'=U;0.025000000;0.050000000;0",
		61e9:      "'finra-50ms_system_bound'=61.000000000s;0.025000000;0.050000000;0",
	} {
		v.BoundNs = bound
		if got := boundData(v); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	// Guidelines, section 2.6: 'label'=value[UOM];[warn];[crit];[min];[max]
	form := regexp.MustCompile(`^TRUECHIMER (OK|WARNING|CRITICAL|UNKNOWN) - [^|\n]+ \|( '[^'=]+'=(U|[-0-9.]+s);[-0-9.]*;[-0-9.]*;[-0-9.]*)+$`)
	r := judge(&rpc.StatusResponse{}, &rpc.ComplianceResponse{Verdicts: []*rpc.ProfileVerdict{v, verdictOf("a.b_c", rpc.JudgedClock_JUDGED_CLOCK_SERVED, rpc.Verdict_VERDICT_WARN)}}, "")
	if line := r.line(); !form.MatchString(line) {
		t.Errorf("%s does not have the form", line)
	}
}

// TestCheckLine: nothing in a text ends the line, or the text.
func TestCheckLine(t *testing.T) {
	for _, c := range []struct {
		r    checked
		want string
	}{
		{checked{pluginOK, "well", nil}, "TRUECHIMER OK - well"},
		{checked{pluginWarning, "well", []string{"a=1", "b=2"}}, "TRUECHIMER WARNING - well | a=1 b=2"},
		{checked{pluginCritical, "a|b\nc\rd\te\x1b[2Jf\u2028g\u0085h\x7f", nil}, "TRUECHIMER CRITICAL - a b c d e [2Jf g h "},
		{checked{pluginUnknown, "100 µs", nil}, "TRUECHIMER UNKNOWN - 100 µs"},
	} {
		if got := c.r.line(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// TestCheckUnreachable: where nobody answers, nothing is known; in JSON too.
func TestCheckUnreachable(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"check"}, "TRUECHIMER UNKNOWN - cannot reach a server at 127.0.0.1:1: "},
		{[]string{"check", "--json"}, `{"code":3,"word":"UNKNOWN","text":"cannot reach a server at 127.0.0.1:1: `},
	} {
		var out, log strings.Builder
		code := run(t.Context(), append([]string{"--api", "127.0.0.1:1"}, c.args...), streams{strings.NewReader(""), &out, &log})
		if code != 3 || log.String() != "" || !strings.HasPrefix(out.String(), c.want) || strings.Count(out.String(), "\n") != 1 {
			t.Errorf("%q: exit code %d, stdout %q, stderr %q", c.args, code, out.String(), log.String())
		}
	}
}

// TestSeverity: all codes are in one order.
func TestSeverity(t *testing.T) {
	codes := []int{pluginUnknown, pluginCritical, pluginOK, pluginWarning}
	slices.SortFunc(codes, func(a, b int) int { return severity(a) - severity(b) })
	if want := []int{pluginOK, pluginWarning, pluginUnknown, pluginCritical}; !slices.Equal(codes, want) {
		t.Errorf("%v, want %v", codes, want)
	}
}
