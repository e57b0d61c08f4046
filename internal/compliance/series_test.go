package compliance

import "testing"

// TestSourceSeries: whatever a source is called, its series tells whose it is.
func TestSourceSeries(t *testing.T) {
	for _, s := range [][2]string{
		{"ntp1", "192.0.2.1:123"},
		{"time.example", "[2001:db8::1]:123"},
		{"a@b.offset_seconds", "192.0.2.1:123"},
		{"not looked up", ""},
		{"", ""},
	} {
		offset, bound := SourceSeries(s[0], s[1])
		name, address, ok := SourceOfOffset(offset)
		if !ok || name != s[0] || address != s[1] {
			t.Errorf("the source of %q is %q at %q, %v; want %q", offset, name, address, ok, s)
		}
		if _, _, ok := SourceOfOffset(bound); ok {
			t.Errorf("%q is taken for an offset", bound)
		}
	}
	for _, series := range []string{SeriesOffset, SeriesBound, "source.", "source.x.offset_seconds", "", VerdictSeries("answered")} {
		if _, _, ok := SourceOfOffset(series); ok {
			t.Errorf("%q is taken for the offset of a source", series)
		}
	}
	if got := VerdictSeries("answered"); got != "ntp.answered_per_second" {
		t.Errorf("got %q", got)
	}
}
