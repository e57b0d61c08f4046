package web

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/rpc"
)

// words are the functions that templates say values with.
func words() template.FuncMap {
	return template.FuncMap{
		"asset": asset, "alarms": alarmsText, "nanos": nanos, "signed": signed, "bound": boundText, "lasting": lasting, "ago": ago, "utc": utc, "iso": iso, "timestamp": timestampText,
		"lasted": func(end, start int64) string { return lasting(end - start) },
		"count":  count, "bytes": bytesText, "ppm": ppm, "verdict": verdictWord, "clockName": clockName, "sourceLevel": sourceLevel, "state": stateWord,
		"dayText": dayText, "dayLevel": dayLevel, "date": func(unix int64) string { return time.Unix(unix, 0).UTC().Format("2 Jan") },
		"level": func(v rpc.Verdict) string { return verdictLevel(v) }, "nano": func(s uint64) int64 { return int64(min(s, math.MaxInt64)) },
		"kept": func(s uint64) string { return lasting(int64(min(s, uint64(never/time.Second))) * int64(time.Second)) },
		"poll": func(log2 int32) string { return lasting(int64(math.Ldexp(1e9, int(log2)))) },
		"percent": func(of, all uint64) string {
			return strconv.FormatFloat(100*float64(of)/float64(max(all, 1)), 'f', 1, 64) + " %"
		},
	}
}

// never is what durations are that have no end, or cannot be claimed.
const never = math.MaxInt64

// scaled is a value in seconds with three digits, and the unit that it is in.
func scaled(seconds float64) (number, unit string) {
	if math.IsNaN(seconds) {
		return "–", ""
	}
	units := []string{"ns", "µs", "ms", "s"}
	v, i := seconds*1e9, 0
	for i < len(units)-1 && math.Abs(v) >= 999.5 {
		v /= 1000
		i++
	}
	return digits(v, i == 0), units[i]
}

// digits is a number with three digits, or more where it is a thousand or above. The minus sign
// is as wide as a digit.
func digits(v float64, whole bool) string {
	decimals := 2
	switch a := math.Abs(v); {
	case whole || a >= 99.95 || a == 0:
		decimals = 0
	case a >= 9.995:
		decimals = 1
	}
	text := strconv.FormatFloat(v, 'f', decimals, 64)
	if rest, ok := strings.CutPrefix(text, "-"); ok {
		if strings.Trim(rest, "0.") == "" {
			return rest
		}
		return "−" + rest
	}
	return text
}

// secondsText is a value in seconds in words.
func secondsText(seconds float64) string {
	number, unit := scaled(seconds)
	return strings.TrimSuffix(number+"\u00a0"+unit, "\u00a0")
}

// nanos is a value in nanoseconds in words.
func nanos(ns int64) string { return secondsText(float64(ns) / 1e9) }

// signed is nanos with a sign.
func signed(ns int64) string {
	if ns > 0 {
		return "+" + nanos(ns)
	}
	return nanos(ns)
}

// boundText is an error bound in words: negative, or without an end, none can be claimed.
func boundText(ns int64) string {
	if ns < 0 || ns == never {
		return "none"
	}
	return nanos(ns)
}

// lasting is a duration in words, in its two largest units.
func lasting(ns int64) string {
	switch d := time.Duration(ns); {
	case ns == never:
		return "without end"
	case d <= 0:
		return "0\u00a0s"
	case d < 10*time.Second:
		return nanos(ns)
	case d < 100*time.Second:
		return fmt.Sprintf("%d\u00a0s", d/time.Second)
	case d < time.Hour:
		return two(d, time.Minute, "min", time.Second, "s")
	case d < 48*time.Hour:
		return two(d, time.Hour, "h", time.Minute, "min")
	case d < 1000*24*time.Hour:
		return two(d, 24*time.Hour, "d", time.Hour, "h")
	default:
		return fmt.Sprintf("%.1f\u00a0years", d.Hours()/24/365.25)
	}
}

func two(d, large time.Duration, largeUnit string, small time.Duration, smallUnit string) string {
	text := fmt.Sprintf("%d\u00a0%s", d/large, largeUnit)
	if rest := d % large / small; rest > 0 {
		text += fmt.Sprintf(" %d\u00a0%s", rest, smallUnit)
	}
	return text
}

// ago is how long before now, both Unix nanoseconds, something was.
func ago(now, then int64) string {
	if then == 0 {
		return "never"
	}
	return lasting(max(0, now-then)) + " ago"
}

// utc is an instant, Unix nanoseconds, in words.
func utc(ns int64) string {
	if ns == 0 {
		return "never"
	}
	return time.Unix(0, ns).UTC().Format("2006-01-02 15:04:05") + " UTC"
}

// iso is an instant, Unix nanoseconds, for programs.
func iso(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }

// count is a number with its thousands apart.
func count(n any) string { return apart(fmt.Sprint(n)) }

// apart is a whole number with its thousands apart, and any other text as it is.
func apart(text string) string {
	if strings.Contains(text, ".") {
		return text
	}
	for i := len(text) - 3; i > 0 && text[i-1] >= '0' && text[i-1] <= '9'; i -= 3 {
		text = text[:i] + "\u202f" + text[i:]
	}
	return text
}

// alarmsText is how many alarms there are, in words.
func alarmsText(alarms []*rpc.Alarm) string {
	if len(alarms) == 1 {
		return "1 alarm"
	}
	return count(len(alarms)) + " alarms"
}

// bytesText is a number of bytes in words.
func bytesText(n uint64) string {
	v, i := float64(n), 0
	units := []string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}
	for i < len(units)-1 && v >= 999.5 {
		v /= 1000
		i++
	}
	return digits(v, i == 0) + "\u00a0" + units[i]
}

// ppm is a frequency in parts per million.
func ppm(v float64) string {
	return strings.Replace(strconv.FormatFloat(v, 'f', 3, 64), "-", "−", 1)
}

// timestampText is a hybrid timestamp, or a dash where there is none.
func timestampText(t uint64) string {
	if t == 0 {
		return "–"
	}
	return hlc.Timestamp(t).String()
}
