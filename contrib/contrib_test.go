// Package contrib tests what is handed out for other systems: that it is right, and that it uses
// metrics that exist.
package contrib

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/truechimer/truechimer/internal/api"
)

// promtool runs Prometheus's promtool; where it cannot be had the test is left out.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	peers := os.Getenv("TRUECHIMER_PEERS")
	if peers == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("no TRUECHIMER_PEERS, which has promtool: run hack/test")
		}
		t.Skip("no TRUECHIMER_PEERS, which has promtool: run hack/test")
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(peers, "bin", "promtool"), args...).CombinedOutput()
	if err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestRules(t *testing.T) {
	promtool(t, "check", "rules", "prometheus/rules.yml")
	promtool(t, "test", "rules", "prometheus/rules_test.yml")
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// rules are the expressions of the alerting rules, by the alerts' names.
func rules(t *testing.T) map[string]string {
	t.Helper()
	text := read(t, "prometheus/rules.yml")
	all := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^ +- alert: (\w+).*\n +expr: (.+)$`).FindAllStringSubmatch(text, -1) {
		all[m[1]] = m[2]
	}
	if n := strings.Count(text, "alert:"); n != len(all) || n != strings.Count(text, "expr:") || n < 20 {
		t.Errorf("%d alerts, %d of them understood", n, len(all))
	}
	return all
}

// Each rule is tested to be silent and to alert.
func TestEachRuleIsTested(t *testing.T) {
	tests := read(t, "prometheus/rules_test.yml")
	for name := range rules(t) {
		silent := strings.Contains(tests, "alertname: "+name+", exp_alerts: []}")
		if !silent || !strings.Contains(tests, "alertname: "+name+"\n        exp_alerts:\n          - exp_labels:") {
			t.Errorf("%s is not tested in rules_test.yml", name)
		}
	}
}

// query is one query of the dashboard.
type query struct{ expr, legend string }

// dashboard returns the queries of the dashboard.
func dashboard(t *testing.T) []query {
	t.Helper()
	var board struct {
		Title, UID string
		Panels     []struct {
			ID         int
			Type       string
			Title      string
			GridPos    struct{ X, Y, W, H int }
			Datasource struct{ UID string }
			Targets    []struct {
				Expr, LegendFormat, RefID string
			}
		}
		Templating struct {
			List []struct {
				Name       string
				Definition string
			}
		}
	}
	err := json.Unmarshal([]byte(read(t, "grafana/truechimer.json")), &board)
	if err != nil {
		t.Fatal(err)
	}
	if board.Title == "" || board.UID == "" || len(board.Panels) < 20 {
		t.Errorf("%q, %q, %d panels", board.Title, board.UID, len(board.Panels))
	}
	seen := map[int]bool{}
	var all []query
	for _, p := range board.Panels {
		if seen[p.ID] || p.GridPos.W == 0 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %d %q: its number or place is wrong", p.ID, p.Title)
		}
		seen[p.ID] = true
		if p.Type != "row" && (len(p.Targets) == 0 || p.Datasource.UID != "${datasource}") {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			all = append(all, query{target.Expr, target.LegendFormat})
		}
	}
	for _, v := range board.Templating.List {
		if name, ok := strings.CutPrefix(v.Definition, "label_values("); ok {
			name, _, _ = strings.Cut(name, ",")
			all = append(all, query{expr: name})
		}
	}
	return all
}

// What Grafana puts into an expression before it is asked.
func grafana(expr string) string {
	return strings.NewReplacer("$__rate_interval", "5m", "$__range", "1d").Replace(expr)
}

// promtool parses every expression of the dashboard, as rules that record.
func TestDashboardParses(t *testing.T) {
	type rule struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	var all []rule
	for i, q := range dashboard(t) {
		all = append(all, rule{fmt.Sprint("expr", i), grafana(q.expr)})
	}
	file, err := json.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": all}}}) // which is YAML too
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "rules.yml")
	err = os.WriteFile(name, file, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", name)
}

// exported are the labels of each metric.
func exported(t *testing.T) map[string][]string {
	t.Helper()
	docs, err := api.Metrics()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{"up": nil}
	for _, d := range docs {
		all[d.Name] = d.Labels
	}
	for name, labels := range all {
		all[name] = append([]string{"instance", "job"}, labels...)
	}
	return all
}

// unknown returns what is wrong with the metrics of an expression: one that does not exist, or a
// label that it does not have.
func unknown(expr string, metrics map[string][]string) []string {
	var wrong []string
	expr = regexp.MustCompile(`\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)`).ReplaceAllString(expr, " ")
	expr = regexp.MustCompile(`\[[^\]]*\]`).ReplaceAllString(expr, " ")
	for _, m := range regexp.MustCompile(`([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(\(|\{[^}]*\})?`).FindAllStringSubmatch(expr, -1) {
		name, after := m[1], m[2]
		if after == "(" || slices.Contains([]string{"and", "or", "unless", "bool", "offset", "e6"}, name) {
			continue
		}
		labels, ok := metrics[name]
		if !ok {
			wrong = append(wrong, name)
			continue
		}
		for _, l := range regexp.MustCompile(`(\w+)\s*(?:=|!=|=~|!~)\s*"`).FindAllStringSubmatch(after, -1) {
			if !slices.Contains(labels, l[1]) {
				wrong = append(wrong, name+"."+l[1])
			}
		}
	}
	return wrong
}

// left reports whether what comes of an expression has a label: one that it is summed by, or of
// one of its metrics.
func left(expr string, metrics map[string][]string, label string) bool {
	if by := regexp.MustCompile(`\bby \(([^)]*)\)`).FindStringSubmatch(expr); by != nil {
		return slices.Contains(strings.Split(by[1], ", "), label)
	}
	for _, name := range regexp.MustCompile(`truechimer_\w+`).FindAllString(expr, -1) {
		if slices.Contains(metrics[name], label) {
			return true
		}
	}
	return false
}

func TestMetricsExist(t *testing.T) {
	metrics := exported(t)
	for name, expr := range rules(t) {
		if wrong := unknown(expr, metrics); wrong != nil {
			t.Errorf("rule %s uses what is not exported: %v", name, wrong)
		}
	}
	for _, q := range dashboard(t) {
		if wrong := unknown(grafana(q.expr), metrics); wrong != nil {
			t.Errorf("the dashboard uses what is not exported: %v in %s", wrong, q.expr)
		}
		for _, m := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(q.legend, -1) {
			if !left(q.expr, metrics, m[1]) {
				t.Errorf("the legend %q names %s, which %s has not", q.legend, m[1], q.expr)
			}
		}
	}
}

func TestUnknown(t *testing.T) {
	metrics := map[string][]string{"a": {"x"}, "b_total": nil}
	for expr, want := range map[string]string{
		`a`: "[]", `a{x="1"} > 2 and b_total == 1`: "[]", `sum by (z) (rate(b_total[5m])) * 1e6`: "[]", `max(a{x=~"c|d", x!="e"})`: "[]",
		`c`: "[c]", `a{y="1"}`: "[a.y]", `rate(c[5m]) / a`: "[c]", `sum without (z) (a{x="1", y!~"z"}) or b_total{x="1"}`: "[a.y b_total.x]",
		`predict_linear(a[6h], 3 * 86400) < d`: "[d]",
	} {
		if got := fmt.Sprint(unknown(expr, metrics)); got != want {
			t.Errorf("%s: got %s, want %s", expr, got, want)
		}
	}
}
