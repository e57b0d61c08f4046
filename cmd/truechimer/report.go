package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/truechimer/truechimer/internal/rpc"
)

// reportMax is how long a report may take: a year of one takes a few seconds.
const reportMax = time.Minute

func newReport(c *client) *cobra.Command {
	var r rpc.ReportRequest
	var from, to instantFlag
	var period, format, output string
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Report to an auditor: how far the clocks were from UTC, and how that is known",
		Long: `Makes a report of a profile for a time, from the journal: scope and method, the chain of
traceability, every figure of the error bound and the offset, gaps, breaches with notes,
changes of configuration, versions. --format html is one file that can be printed.

The time is --for a day (2026-11-27), a week (2026-W48), a month (2026-11) or a year
(2026), or --from and --to, each of them a time such as 2026-11-22T06:42:10Z or how long
ago, such as 10m or 2d. All times are UTC. Left out, it is the last whole day.`,
		Example: "  truechimer report --profile finra-50ms --for 2026-11 --output november.html\n" +
			"  truechimer report --profile finra-50ms --from 30d --format csv > figures.csv",
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			kind, known := rpc.ReportFormat_value["REPORT_FORMAT_"+strings.ToUpper(format)]
			if !known || kind == 0 {
				return usage(fmt.Errorf("--format is %.40q; want html, csv or json", format))
			}
			r.Format = rpc.ReportFormat(kind)
			var err error
			if r.FromUnixNs, r.ToUnixNs, err = reportTime(period, &from, &to, time.Now()); err != nil {
				return usage(err)
			}
			if r.Profile == "" {
				return usage(errors.New("say with --profile of which profile; truechimer check shows them"))
			}
			if output == "" && c.terminal() && !c.json && r.Format == rpc.ReportFormat_REPORT_FORMAT_HTML {
				return usage(errors.New("a report is a file: say with --output where it goes, or redirect the output"))
			}
			m, err := callWithin(cmd.Context(), c, reportMax, c.evidence().Report, &r)
			if err != nil {
				return err
			}
			if output == "" && c.json {
				return c.printJSON(m)
			}
			if output == "" {
				_, err = c.out.Write(m.Content)
				return err
			}
			if err := os.WriteFile(output, m.Content, 0o644); err != nil {
				return fmt.Errorf("write the report: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&r.Profile, "profile", "", "the profile")
	cmd.Flags().StringVar(&period, "for", "", "a day, a week, a month or a year")
	cmd.Flags().Var(&from, "from", "where it begins")
	cmd.Flags().Var(&to, "to", "where it ends; left out: now")
	cmd.Flags().StringVar(&format, "format", "html", "html, csv or json")
	cmd.Flags().StringVarP(&output, "output", "o", "", "the file; left out: the output")
	return cmd
}

// reportTime is the time that a report is of, Unix nanoseconds.
func reportTime(period string, from, to *instantFlag, now time.Time) (start, end int64, err error) {
	switch {
	case period != "" && (from.text != "" || to.text != ""):
		return 0, 0, errors.New("say --for, or --from and --to, and not both")
	case from.text != "" && to.text != "":
		return from.unix(), to.unix(), nil
	case from.text != "":
		return from.unix(), now.UnixNano(), nil
	case to.text != "":
		return 0, 0, errors.New("say with --from where it begins")
	case period == "":
		today := now.UTC().Truncate(24 * time.Hour)
		return today.AddDate(0, 0, -1).UnixNano(), today.UnixNano(), nil
	}
	first, last, err := parsePeriod(period)
	if err != nil {
		return 0, 0, err
	}
	if first.Year() < 1970 || last.Year() > 2261 {
		return 0, 0, fmt.Errorf("--for is %s: nothing is on record of that time; say one from 1970 to 2260", period)
	}
	return first.UnixNano(), last.UnixNano(), nil
}

// parsePeriod reads a day, a week, a month or a year, of UTC: its first instant, and the one behind
// its last.
func parsePeriod(s string) (first, last time.Time, err error) {
	for _, form := range []struct {
		layout              string
		years, months, days int
	}{{time.DateOnly, 0, 0, 1}, {"2006-01", 0, 1, 0}, {"2006", 1, 0, 0}} {
		if t, err := time.Parse(form.layout, s); err == nil && t.Format(form.layout) == s {
			return t, t.AddDate(form.years, form.months, form.days), nil
		}
	}
	var year, week int
	if n, err := fmt.Sscanf(s, "%4d-W%2d", &year, &week); err == nil && n == 2 && fmt.Sprintf("%04d-W%02d", year, week) == s {
		// The week with 4 January in it is the first: ISO 8601.
		fourth := time.Date(year, 1, 4, 0, 0, 0, 0, time.UTC)
		monday := fourth.AddDate(0, 0, -(int(fourth.Weekday())+6)%7)
		first = monday.AddDate(0, 0, 7*(week-1))
		if y, w := first.ISOWeek(); y == year && w == week {
			return first, first.AddDate(0, 0, 7), nil
		}
	}
	return first, last, fmt.Errorf("--for is %.40q; want a day (2026-11-27), a week (2026-W48), a month (2026-11) or a year (2026)", s)
}
