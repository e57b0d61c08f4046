package main

import (
	"os"
	"strings"
	"testing"

	"github.com/truechimer/truechimer/internal/api"
)

func TestWrite(t *testing.T) {
	var b strings.Builder
	err := write(&b, []api.MetricDoc{
		{Name: "a_total", Type: "counter", Labels: []string{"x", "y"}, Help: "This | that."},
		{Name: "b", Type: "gauge", Help: "B."},
	})
	want := "|---|---|---|---|\n| `a_total` | counter | `x`, `y` | This \\| that. |\n| `b` | gauge |  | B. |\n\nThose"
	if err != nil || !strings.Contains(b.String(), want) {
		t.Errorf("got %v, %s", err, b.String())
	}
	b.Reset()
	err = write(&b, []api.MetricDoc{{Name: "a"}, {Name: "b", Help: "no end"}})
	if err == nil || b.Len() > 0 || !strings.Contains(err.Error(), "help of a ") || !strings.Contains(err.Error(), "help of b ") {
		t.Errorf("got %v, %q", err, b.String())
	}
}

// docs/metrics.md is what the code says.
func TestCurrent(t *testing.T) {
	docs, err := api.Metrics()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := write(&b, docs); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../../docs/metrics.md")
	if err != nil || string(page) != b.String() {
		t.Errorf("docs/metrics.md is not current: run hack/generate (%v)", err)
	}
}
