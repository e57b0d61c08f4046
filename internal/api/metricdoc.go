package api

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// MetricDoc describes a metric.
type MetricDoc struct {
	Name   string
	Type   string // counter or gauge
	Labels []string
	Help   string // a sentence or two
}

// Metrics describes the metrics of a node, by their names, for documents and for tests of what
// uses them. Those of the Go runtime and of the process are not among them.
func Metrics() ([]MetricDoc, error) {
	var docs []MetricDoc
	for _, c := range nodeCollectors(nil, nil, nil) {
		for _, d := range descsOf(c) {
			doc, err := docOf(d)
			if err != nil {
				return nil, err
			}
			docs = append(docs, doc)
		}
	}
	slices.SortFunc(docs, func(a, b MetricDoc) int { return strings.Compare(a.Name, b.Name) })
	return docs, nil
}

// descsOf returns what a collector says of itself.
func descsOf(c prometheus.Collector) []*prometheus.Desc {
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		c.Describe(descs)
	}()
	var all []*prometheus.Desc
	for d := range descs {
		all = append(all, d)
	}
	return all
}

// docOf takes a description apart. It has no accessors, only a text. A counter's name ends in
// _total, and no other's does: a test lints them.
func docOf(d *prometheus.Desc) (MetricDoc, error) {
	text := d.String()
	m := regexp.MustCompile(`^Desc\{fqName: ("[^"]+"), help: ("(?:[^"\\]|\\.)*"),.* variableLabels: \{([^}]*)\}\}$`).FindStringSubmatch(text)
	if m == nil {
		return MetricDoc{}, fmt.Errorf("take apart what client_golang says of a metric: %s", text)
	}
	name, err := strconv.Unquote(m[1])
	if err != nil {
		return MetricDoc{}, fmt.Errorf("unquote a metric's name: %w", err)
	}
	help, err := strconv.Unquote(m[2])
	if err != nil {
		return MetricDoc{}, fmt.Errorf("unquote the help of %s: %w", name, err)
	}
	doc := MetricDoc{Name: name, Type: "gauge", Help: help}
	if strings.HasSuffix(name, "_total") {
		doc.Type = "counter"
	}
	if m[3] != "" {
		doc.Labels = strings.Split(m[3], ",")
	}
	return doc, nil
}
