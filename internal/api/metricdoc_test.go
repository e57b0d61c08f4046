package api

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// TestMetricDocs: what is scraped is what is described, and the other way round.
func TestMetricDocs(t *testing.T) {
	docs, err := Metrics()
	if err != nil {
		t.Fatal(err)
	}
	described := map[string]MetricDoc{}
	for _, d := range docs {
		described[d.Name] = d
	}
	if !slices.IsSortedFunc(docs, func(a, b MetricDoc) int { return strings.Compare(a.Name, b.Name) }) || len(described) != len(docs) {
		t.Error("not sorted, or not each once")
	}
	base := serve(t, Services{Issuer: fakeIssuer{}, Node: newFakeNode()})
	a := send(t, newClient(t), http.MethodGet, base+"/metrics", "", nil)
	for name, f := range scrape(t, newClient(t), base) {
		if !strings.HasPrefix(name, "truechimer_") {
			continue
		}
		d, ok := described[name]
		if !ok || d.Help != f.GetHelp() || d.Type != strings.ToLower(f.GetType().String()) {
			t.Errorf("%s: described as %+v, scraped as %v %q", name, d, f.GetType(), f.GetHelp())
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		if !slices.Equal(slices.Sorted(slices.Values(d.Labels)), slices.Sorted(slices.Values(labels))) {
			t.Errorf("%s: described with labels %v, scraped with %v", name, d.Labels, labels)
		}
		delete(described, name)
	}
	for name := range described {
		if strings.Contains(a.body, name+" ") {
			t.Errorf("%s was not compared", name)
		}
	}
}

func TestDocOf(t *testing.T) {
	d, err := docOf(prometheus.NewDesc("a_total", `it is "so"\, {b}, c: {d}`, []string{"x", "y"}, prometheus.Labels{"z": "1"}))
	if err != nil || d.Name != "a_total" || d.Type != "counter" || d.Help != `it is "so"\, {b}, c: {d}` || !slices.Equal(d.Labels, []string{"x", "y"}) {
		t.Errorf("got %+v, %v", d, err)
	}
	d, err = docOf(prometheus.NewDesc("a", "b", nil, nil))
	if err != nil || d.Type != "gauge" || d.Labels != nil {
		t.Errorf("got %+v, %v", d, err)
	}
	if _, err := docOf(prometheus.NewDesc("", "b", nil, nil)); err == nil {
		t.Error("no name")
	}
}
