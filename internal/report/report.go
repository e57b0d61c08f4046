// Package report makes reports of a profile for a time: what could be proven of the clocks,
// what could not, and why, from the journal alone. A report is plain data; it is written as one
// page that can be printed, as CSV and as JSON.
package report

import (
	"encoding/json"
	"io"
	"strconv"
	"time"

	"github.com/truechimer/truechimer/internal/compliance"
)

// Limits on the length of lists. What is left out is counted.
const (
	gapsMax    = 1000
	eventsMax  = 1000
	sourcesMax = 1000
	pointsMax  = 600
)

// periodMax is the longest time that is reported on.
const periodMax = 10 * 366 * 24 * time.Hour

// settle is how long after the end of a minute its record may still be on its way.
const settle = 30 * time.Second

// Options says what is reported, and on whom.
type Options struct {
	Profile compliance.Profile
	From    time.Time // brought down to a whole minute
	To      time.Time // not included; brought down to a whole minute, and to the last that is on record
	Now     time.Time // of the served clock

	Node      string
	StoreID   string
	Version   string
	Head      string // the journal's last signed head, as it is handed out
	PublicKey string // that signs it, hexadecimal
}

// Report is what is on record of one profile for a time. All instants are UTC.
type Report struct {
	Made      time.Time `json:"made"`
	From      time.Time `json:"from"`
	To        time.Time `json:"to"` // not included
	Seconds   int64     `json:"seconds"`
	Node      string    `json:"node"`
	StoreID   string    `json:"store_id"`
	Version   string    `json:"version"` // that made the report
	Profile   Profile   `json:"profile"`
	Method    []string  `json:"method"`     // a sentence or a few each
	ReviewDue string    `json:"review_due"` // a day, as 2026-03-15
	ReviewWhy string    `json:"review_why"`

	Clocks   []Clock      `json:"clocks"`
	Same     bool         `json:"served_is_system"` // there is one clock only
	Overall  Overall      `json:"overall"`
	Chain    []string     `json:"chain"` // from UTC(NIST) down, a sentence each
	Sources  List[Source] `json:"sources"`
	Gaps     List[Gap]    `json:"gaps"`
	Breaches List[Breach] `json:"breaches"`
	PreOpens List[Day]    `json:"pre_open_checks"`
	Alarms   List[Alarm]  `json:"alarms"`
	Changes  List[Change] `json:"clock_changes"` // of state, and steps
	Configs  List[Config] `json:"configuration_changes"`
	Versions List[Start]  `json:"starts"`
	Stops    List[Stop]   `json:"stops"`
	Channels []Channel    `json:"alert_channels"`
	Operated List[Act]    `json:"operators_decisions"`
	Journal  Journal      `json:"journal"`
}

// List is a list that is cut to a length.
type List[T any] struct {
	Total int `json:"total"` // how many there are
	Items []T `json:"items"` // the first of them
}

// Left returns how many were left out.
func (l List[T]) Left() int { return l.Total - len(l.Items) }

// add adds an item, unless there are as many as limit.
func (l *List[T]) add(item T, limit int) {
	l.Total++
	if len(l.Items) < limit {
		l.Items = append(l.Items, item)
	}
}

// MarshalJSON writes an empty list as one that is empty.
func (l List[T]) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Total int `json:"total"`
		Items []T `json:"items"`
	}{l.Total, append([]T{}, l.Items...)})
}

// Profile is the limit that clocks were held to.
type Profile struct {
	Name             string      `json:"name"`
	Title            string      `json:"title"`
	Tolerance        Nanoseconds `json:"tolerance_ns"`
	Warn             Nanoseconds `json:"warn_ns"`
	MinSources       int         `json:"min_sources"`
	MinNIST          int         `json:"min_nist"`
	MinSites         int         `json:"min_sites"`
	PreOpen          string      `json:"pre_open"` // as 09:00 America/New_York; empty: there is no check
	Calendar         string      `json:"calendar"`
	Holidays         []string    `json:"holidays"`
	RetentionSeconds int64       `json:"retention_seconds"`
	SelfReportFactor float64     `json:"self_report_factor"` // of the tolerance; 0: never
	SelfReportCount  int         `json:"self_report_count"`  // in 24 hours; 0: never
}

// Verdicts is how many seconds each verdict was given.
type Verdicts struct {
	OK        int64 `json:"ok"`
	Warn      int64 `json:"warn"`
	Breach    int64 `json:"breach"`
	Unknown   int64 `json:"unknown"`
	NotJudged int64 `json:"not_judged"` // looked at, but not against this profile
	Gap       int64 `json:"gap"`        // nobody looked
}

// Compliant returns the seconds in which the clock was proven to be within the tolerance.
func (v Verdicts) Compliant() int64 { return v.OK + v.Warn }

// Total returns all seconds.
func (v Verdicts) Total() int64 {
	return v.OK + v.Warn + v.Breach + v.Unknown + v.NotJudged + v.Gap
}

// Share returns the compliant share, 0 to 1, 0 of nothing.
func (v Verdicts) Share() float64 {
	if v.Total() == 0 {
		return 0
	}
	return float64(v.Compliant()) / float64(v.Total())
}

// Clock is what a clock came to.
type Clock struct {
	Name      string   `json:"clock"` // system or served
	Verdicts  Verdicts `json:"seconds"`
	Compliant float64  `json:"compliant_share"` // of all seconds of the period, 0 to 1
	Unclaimed int64    `json:"unclaimed"`       // seconds without an error bound
	Bound     Figures  `json:"bound"`           // where one could be claimed
	Offset    Figures  `json:"offset"`          // likewise; percentiles are of absolute values
	Histogram []Bar    `json:"histogram"`       // of the error bound
	Points    []Point  `json:"points"`
	Step      int64    `json:"points_step_seconds"`
	Strip     []Cell   `json:"strip"`
	Unit      int64    `json:"strip_unit_seconds"`
}

// Figures is what many values, one of each second, come to.
type Figures struct {
	Samples uint64      `json:"samples"`
	Min     Nanoseconds `json:"min_ns"`
	Max     Nanoseconds `json:"max_ns"`
	Mean    float64     `json:"mean_ns"`
	SD      float64     `json:"sd_ns"`
	P50     Nanoseconds `json:"p50_ns"`
	P99     Nanoseconds `json:"p99_ns"`
	P999    Nanoseconds `json:"p99_9_ns"`
}

// Bar is how many seconds had an error bound of up to UpTo, and above that of the bar before.
type Bar struct {
	UpTo    Nanoseconds `json:"up_to_ns"`
	Seconds uint64      `json:"seconds"`
}

// Point is what a step of a chart came to.
type Point struct {
	At        int64       `json:"at"` // Unix seconds of its start
	Bound     Nanoseconds `json:"bound_max_ns"`
	OffsetMin Nanoseconds `json:"offset_min_ns"`
	OffsetMax Nanoseconds `json:"offset_max_ns"`
}

// Cell is what a unit of the strip of verdicts came to.
type Cell struct {
	At       int64    `json:"at"` // Unix seconds of its start; the period may begin later
	Verdicts Verdicts `json:"seconds"`
}

// Overall is what is not of one clock.
type Overall struct {
	Observed        int64  `json:"observed"` // seconds
	Gap             int64  `json:"gap"`      // seconds
	AgreeingMin     int    `json:"agreeing_min"`
	AgreeingNISTMin int    `json:"agreeing_nist_min"`
	Smeared         int64  `json:"smeared"`    // seconds that a smear or a leap second marks
	TAIOffset       *int32 `json:"tai_offset"` // at the end; absent: unknown
	SelfReports     int    `json:"self_report_candidates"`
	Unacknowledged  int    `json:"breaches_not_acknowledged"`
	PreOpenPassed   int    `json:"pre_open_passed"`
	PreOpenFailed   int    `json:"pre_open_failed"`
}

// Source is a server that was asked for the time. Its figures are of the whole hours that the
// period touches.
type Source struct {
	Number        uint32      `json:"number"`
	Name          string      `json:"name"`
	Address       string      `json:"address"`
	Site          string      `json:"site"`
	NIST          bool        `json:"nist"`
	ProviderError Nanoseconds `json:"provider_error_ns"`
	Stratum       uint32      `json:"stratum"` // as it claimed last; 0: it was not measured
	RefID         string      `json:"refid"`   // as it claimed last: what it follows
	Measured      uint64      `json:"measurements"`
	Agreed        int64       `json:"agreed_seconds"`
	AgreedShare   float64     `json:"agreed_share"` // of the seconds that were looked at, 0 to 1
	OffsetMin     Nanoseconds `json:"offset_min_ns"`
	OffsetMax     Nanoseconds `json:"offset_max_ns"`
	OffsetMean    float64     `json:"offset_mean_ns"`
	OffsetSD      float64     `json:"offset_sd_ns"`
	DelayMin      Nanoseconds `json:"delay_min_ns"`
	DelayMean     float64     `json:"delay_mean_ns"`
}

// Gap is a time in which seconds were not looked at.
type Gap struct {
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Seconds int64     `json:"seconds"` // that were not looked at; fewer than there are where it is not known which
	Cause   string    `json:"cause"`
}

// Breach is a time in which a clock could not be proven to be within the tolerance.
type Breach struct {
	ID             uint64      `json:"id"`
	Clock          string      `json:"clock"`
	From           time.Time   `json:"from"`
	To             *time.Time  `json:"to"` // absent: it goes on
	Worst          string      `json:"worst"`
	Peak           Nanoseconds `json:"peak_ns"` // -1: nothing could be claimed all the time
	PeakOffset     Nanoseconds `json:"peak_offset_ns"`
	Tolerance      Nanoseconds `json:"tolerance_ns"`
	Cause          string      `json:"cause"`
	Sources        []string    `json:"sources"`
	Told           []string    `json:"told"`
	AcknowledgedBy string      `json:"acknowledged_by"`
	Acknowledged   *time.Time  `json:"acknowledged"`
	Note           string      `json:"note"`
	In24h          uint32      `json:"in_24h"`
	SelfReport     bool        `json:"self_report"`
}

// Day is the check before the market opened on a trading day.
type Day struct {
	Day          string      `json:"day"`
	At           time.Time   `json:"at"`
	Passed       bool        `json:"passed"`
	Sentence     string      `json:"sentence"`
	Bound        Nanoseconds `json:"bound_ns"` // -1: none
	Agreeing     uint32      `json:"agreeing"`
	AgreeingNIST uint32      `json:"agreeing_nist"`
}

// Alarm is an alarm that stood.
type Alarm struct {
	Name     string            `json:"name"`
	Labels   map[string]string `json:"labels"`
	Severity string            `json:"severity"`
	Sentence string            `json:"sentence"`
	From     time.Time         `json:"from"`
	To       *time.Time        `json:"to"` // absent: it stands
}

// Change is a change of the clock's state, or a step.
type Change struct {
	At      time.Time   `json:"at"`
	From    string      `json:"from"`
	State   string      `json:"state"`
	Reason  string      `json:"reason"`
	Source  string      `json:"source"`
	Stratum uint32      `json:"stratum"`
	Step    Nanoseconds `json:"step_ns"` // 0: it was not stepped
}

// Config is a key of the configuration that changed.
type Config struct {
	At    time.Time `json:"at"`
	Who   string    `json:"who"`
	Key   string    `json:"key"` // empty: it is not on record which
	Old   string    `json:"old"`
	New   string    `json:"new"`
	Waits bool      `json:"waits"` // for the next start
	Hash  string    `json:"config_hash"`
}

// Start is a start of the node. The first may be of before the period: what ran as it began.
type Start struct {
	At      time.Time `json:"at"`
	Version string    `json:"version"`
	Node    string    `json:"node"`
	Mode    string    `json:"mode"`
	Clean   bool      `json:"clean"` // it was stopped in order before
	Hash    string    `json:"config_hash"`
}

// Stop is an orderly stop of the node.
type Stop struct {
	At    time.Time `json:"at"`
	Cause string    `json:"cause"`
}

// Channel is what a channel for alarms was told.
type Channel struct {
	Name        string     `json:"channel"`
	Tests       int        `json:"tests"` // that it took
	TestsFailed int        `json:"tests_failed"`
	LastTest    *time.Time `json:"last_test"` // that it took; absent: none
	Told        int        `json:"messages"`  // about alarms, that it took
	ToldFailed  int        `json:"messages_failed"`
	Fault       string     `json:"last_fault"`
}

// Act is an operator's decision.
type Act struct {
	At     time.Time `json:"at"`
	Who    string    `json:"who"`
	What   string    `json:"what"`
	Result string    `json:"result"`
}

// Journal is where the evidence stands.
type Journal struct {
	Head      string    `json:"head"`
	PublicKey string    `json:"public_key"`
	First     uint64    `json:"first_sequence,string"` // of the evidence that was read for the period; 0: none
	Last      uint64    `json:"last_sequence,string"`
	Keys      List[Key] `json:"new_keys"`
}

// Key is a key that signs from an instant on.
type Key struct {
	At        time.Time `json:"at"`
	PublicKey string    `json:"public_key"` // hexadecimal
	Reason    string    `json:"reason"`
}

// Nanoseconds is a span of time. In JSON it is a number, and a string of digits where a number
// would lose some: beyond 2^53.
type Nanoseconds int64

const exactMax = 1 << 53

// MarshalJSON writes a number or a string.
func (n Nanoseconds) MarshalJSON() ([]byte, error) {
	digits := strconv.FormatInt(int64(n), 10)
	if n > exactMax || n < -exactMax {
		digits = `"` + digits + `"`
	}
	return []byte(digits), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (n *Nanoseconds) UnmarshalJSON(b []byte) error {
	if len(b) > 1 && b[0] == '"' {
		b = b[1 : len(b)-1]
	}
	v, err := strconv.ParseInt(string(b), 10, 64)
	*n = Nanoseconds(v)
	return err
}

// JSON writes the report for programs.
func (r *Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}
