// Command metricsdoc writes docs/metrics.md: every metric that a node exports, with its type,
// labels and meaning, from the code that exports them.
//
//	go run ./hack/cmd/metricsdoc >docs/metrics.md
//
// hack/generate runs it. It fails, and says all that is missing at once, where a metric has no
// help that is a sentence.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/truechimer/truechimer/internal/api"
)

const intro = `# Metrics

<!-- Made by hack/generate from internal/api: change that. -->

` + "`GET /metrics`" + ` on the API's port tells Prometheus what a node is doing. All is in base units: seconds, bytes, ratios. What is not
known is not there, or +Inf where that is the truth; a flag is 1 or 0. Offsets are positive when the local clock is behind. No metric has a label
for each client or stream. [contrib](../contrib/README.md) has alerting rules and a dashboard made of them.

| metric | type | labels | meaning |
|---|---|---|---|
`

const outro = `
Those that begin with ` + "`go_`, `process_` and `promhttp_`" + ` are of client_golang's own collectors.
`

func main() {
	docs, err := api.Metrics()
	if err == nil {
		err = write(os.Stdout, docs)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "metricsdoc: %v\n", err)
		os.Exit(1)
	}
}

// write writes nothing unless all of it is right.
func write(page io.Writer, docs []api.MetricDoc) error {
	var errs []error
	var b strings.Builder
	b.WriteString(intro)
	for _, d := range docs {
		if !strings.HasSuffix(d.Help, ".") {
			errs = append(errs, fmt.Errorf("the help of %s is no sentence: %q", d.Name, d.Help))
		}
		labels := ""
		if len(d.Labels) > 0 {
			labels = "`" + strings.Join(d.Labels, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", d.Name, d.Type, labels, strings.ReplaceAll(d.Help, "|", `\|`))
	}
	b.WriteString(outro)
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	_, err := io.WriteString(page, b.String())
	return err
}
