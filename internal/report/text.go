package report

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// length writes a span of time with three digits after the point, rounded away from zero: what
// is printed is never better than what is meant.
func length(n Nanoseconds) string {
	if n < 0 {
		if n == math.MinInt64 {
			n++
		}
		return "−" + length(-n)
	}
	units := []struct {
		name string
		ns   int64
	}{{"s", 1e9}, {"ms", 1e6}, {"µs", 1e3}}
	for _, u := range units {
		if int64(n) < u.ns {
			continue
		}
		whole, rest := int64(n)/u.ns, int64(n)%u.ns
		thousandths := (rest*1000 + u.ns - 1) / u.ns
		return fmt.Sprintf("%d.%03d %s", whole+thousandths/1000, thousandths%1000, u.name)
	}
	return strconv.FormatInt(int64(n), 10) + " ns"
}

// signed is length with a plus where there is no minus.
func signed(n Nanoseconds) string {
	if n > 0 {
		return "+" + length(n)
	}
	return length(n)
}

// lengthOf writes a mean.
func lengthOf(ns float64) string {
	if math.IsNaN(ns) || math.Abs(ns) > math.MaxInt64/2 {
		return "–"
	}
	return length(Nanoseconds(math.Copysign(math.Ceil(math.Abs(ns)), ns)))
}

// percent writes a share, rounded down: 100 % is nothing less than all.
func percent(share float64) string {
	return strconv.FormatFloat(math.Floor(share*1e7)/1e5, 'f', 5, 64) + " %"
}

// lasting writes seconds as days, hours, minutes and seconds.
func lasting(seconds int64) string {
	var b strings.Builder
	for _, u := range []struct {
		name    string
		seconds int64
	}{{"d", day}, {"h", hour}, {"min", minute}} {
		if n := seconds / u.seconds; n > 0 {
			fmt.Fprintf(&b, "%d %s ", n, u.name)
			seconds %= u.seconds
		}
	}
	if seconds > 0 || b.Len() == 0 {
		fmt.Fprintf(&b, "%d s", seconds)
	}
	return strings.TrimSpace(b.String())
}

// labels writes the labels of an alarm in the order of their names.
func labels(m map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, k+"="+m[k])
	}
	return strings.Join(parts, ", ")
}

// witnessesNamed is how many sources of one status are named in a table; CSV and JSON name all.
const witnessesNamed = 3

// witnesses says how the sources stood in a breach, of which each line is one, "name (address): status".
func witnesses(lines []string) string {
	names := make(map[string][]string)
	var statuses []string
	for _, line := range lines {
		i := strings.LastIndex(line, ": ")
		if i < 0 {
			continue
		}
		name, status := line[:i], line[i+len(": "):]
		if names[status] == nil {
			statuses = append(statuses, status)
		}
		names[status] = append(names[status], name)
	}
	var parts []string
	for _, status := range statuses {
		part := count(len(names[status]), "source") + " " + status
		if len(names[status]) <= witnessesNamed {
			part = status + ": " + strings.Join(names[status], ", ")
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "; ")
}
