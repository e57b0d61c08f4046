package hlc

import (
	"bytes"
	"cmp"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

var (
	_ encoding.TextMarshaler     = Timestamp(0)
	_ encoding.TextAppender      = Timestamp(0)
	_ encoding.TextUnmarshaler   = (*Timestamp)(nil)
	_ encoding.BinaryMarshaler   = Timestamp(0)
	_ encoding.BinaryAppender    = Timestamp(0)
	_ encoding.BinaryUnmarshaler = (*Timestamp)(nil)
	_ json.Marshaler             = Timestamp(0)
	_ json.Unmarshaler           = (*Timestamp)(nil)
)

// encodings is what one timestamp looks like everywhere. The list is in ascending order.
var encodings = []struct {
	name    string
	t       Timestamp
	text    string
	decimal string
	uuid    string // of node 0xabcd
}{
	{"zero", 0, "1970-01-01T00:00:00.000000000Z+0000", "0", "00000000-0000-7000-802a-f34000000000"},
	{"one", 1, "1970-01-01T00:00:00.000000000Z+0001", "1", "00000000-0000-7000-806a-f34000000000"},
	{"last of the first tick", 1023, "1970-01-01T00:00:00.000000000Z+1023", "1023", "00000000-0000-7003-bfea-f34000000000"},
	{"second tick", 1024, "1970-01-01T00:00:00.000001024Z+0000", "1024", "00000000-0000-7004-802a-f34000000000"},
	{"second tick and one", 1025, "1970-01-01T00:00:00.000001024Z+0001", "1025", "00000000-0000-7004-806a-f34000000000"},
	{"last below a millisecond", 999_999, "1970-01-01T00:00:00.000999424Z+0575", "999999", "00000000-0000-7f42-8fea-f34000000000"},
	{"a millisecond, inside a tick", 1_000_000, "1970-01-01T00:00:00.000999424Z+0576", "1000000", "00000000-0001-7000-802a-f34000000000"},
	{"last below a second", 999_999_999, "1970-01-01T00:00:00.999999488Z+0511", "999999999", "00000000-03e7-7f42-8fea-f34000000000"},
	{"a second, inside a tick", 1_000_000_000, "1970-01-01T00:00:00.999999488Z+0512", "1000000000", "00000000-03e8-7000-802a-f34000000000"},
	{"the text in the documentation", 1_795_329_730_123_456_529, "2026-11-22T06:42:10.123456512Z+0017", "1795329730123456529", "01a201fd-a64b-76f7-946a-f34000000000"},
	{"last of the NTP era", 2_085_978_495_999_999_999, "2036-02-07T06:28:15.999998976Z+1023", "2085978495999999999", "01e5ae01-dbff-7f42-8fea-f34000000000"},
	{"last of the signed 64-bit tick before", math.MaxInt64 - 1024, "2262-04-11T23:47:16.854773760Z+1023", "9223372036854774783", "08637bd0-5af6-7bd2-9fea-f34000000000"},
	{"greatest signed 64-bit", math.MaxInt64, "2262-04-11T23:47:16.854774784Z+1023", "9223372036854775807", "08637bd0-5af6-7bd6-9fea-f34000000000"},
	{"first beyond signed 64-bit", math.MaxInt64 + 1, "2262-04-11T23:47:16.854775808Z+0000", "9223372036854775808", "08637bd0-5af6-7bd6-a02a-f34000000000"},
	{"last tick", Max &^ LogicalMax, "2554-07-21T23:34:33.709550592Z+0000", "18446744073709550592", "10c6f7a0-b5ed-7866-b02a-f34000000000"},
	{"maximum", Max, "2554-07-21T23:34:33.709550592Z+1023", "18446744073709551615", "10c6f7a0-b5ed-786a-afea-f34000000000"},
}

func TestEncodings(t *testing.T) {
	for i, c := range encodings {
		t.Run(c.name, func(t *testing.T) {
			if got := c.t.String(); got != c.text {
				t.Errorf("String() = %q, want %q", got, c.text)
			}
			if got := fmt.Sprintf("%d", c.t); got != c.decimal {
				t.Errorf("decimal = %q, want %q", got, c.decimal)
			}
			if got, _ := c.t.MarshalJSON(); string(got) != `"`+c.decimal+`"` {
				t.Errorf("MarshalJSON() = %s, want %q", got, c.decimal)
			}
			if got := uuidString(c.t.UUID(0xabcd)); got != c.uuid {
				t.Errorf("UUID(0xabcd) = %s, want %s", got, c.uuid)
			}
			if got, want := c.t.Time().UnixMicro(), int64(uint64(c.t&^1023)/1000); got != want {
				t.Errorf("Time() = %d µs, want %d", got, want)
			}
			if got := c.t.Time().Location(); got != time.UTC {
				t.Errorf("Time() is in %v, want UTC", got)
			}
			if got, want := c.t.Logical(), int(c.t%1024); got != want {
				t.Errorf("Logical() = %d, want %d", got, want)
			}
			roundTrip(t, c.t)
			for _, d := range encodings[:i] {
				sortsAlike(t, d.t, c.t)
			}
		})
	}
}

// roundTrip checks that every encoding of a gives a back.
func roundTrip(t testing.TB, a Timestamp) {
	t.Helper()
	check := func(form string, got Timestamp, err error) {
		t.Helper()
		if err != nil || got != a {
			t.Errorf("%s of %d came back as %d, %v", form, uint64(a), uint64(got), err)
		}
	}
	got, err := Parse(a.String())
	check("String", got, err)
	got, err = Parse(fmt.Sprintf("%d", a))
	check("decimal", got, err)

	got = ^a
	text, _ := a.MarshalText()
	check("MarshalText", a, errors.Join(got.UnmarshalText(text), equal(string(text), a.String())))
	check("UnmarshalText", got, nil)
	appended, _ := a.AppendText([]byte("> "))
	check("AppendText", a, equal(string(appended), "> "+a.String()))

	got = ^a
	bin, _ := a.MarshalBinary()
	check("MarshalBinary", a, got.UnmarshalBinary(bin))
	check("UnmarshalBinary", got, nil)
	appended, _ = a.AppendBinary([]byte("> "))
	check("AppendBinary", a, equal(string(appended), "> "+string(bin)))

	got = ^a
	js, err := json.Marshal(a)
	check("MarshalJSON", a, errors.Join(err, json.Unmarshal(js, &got)))
	check("UnmarshalJSON", got, nil)
	got = ^a
	check("JSON with text", a, json.Unmarshal([]byte(`"`+a.String()+`"`), &got))
	check("UnmarshalJSON with text", got, nil)

	for _, node := range []uint16{0, 1, 0x8000, math.MaxUint16, uint16(a)} {
		u := a.UUID(node)
		back, n, err := FromUUID(u)
		check("UUID", back, err)
		if n != node {
			t.Errorf("node %d came back as %d", node, n)
		}
		validUUIDv7(t, a, u)
	}
}

func equal(got, want string) error {
	if got != want {
		return fmt.Errorf("got %q, want %q", got, want)
	}
	return nil
}

// validUUIDv7 checks what RFC 9562 section 5.7 asks of any UUID of version 7: 48 bits of
// Unix milliseconds, 4 of version, 12 of rand_a, 2 of variant, 62 of rand_b.
func validUUIDv7(t testing.TB, a Timestamp, u [16]byte) {
	t.Helper()
	var ms uint64
	for _, b := range u[:6] {
		ms = ms<<8 | uint64(b)
	}
	if want := uint64(a) / 1_000_000; ms != want {
		t.Errorf("UUID of %d has unix_ts_ms %d, want %d", uint64(a), ms, want)
	}
	if version := u[6] >> 4; version != 7 {
		t.Errorf("UUID of %d has version %d", uint64(a), version)
	}
	if variant := u[8] >> 6; variant != 0b10 {
		t.Errorf("UUID of %d has variant %b", uint64(a), variant)
	}
}

// sortsAlike checks that text, bytes and UUIDs order a and b like the integers.
func sortsAlike(t testing.TB, a, b Timestamp) {
	t.Helper()
	want := cmp.Compare(uint64(a), uint64(b))
	if got := strings.Compare(a.String(), b.String()); got != want {
		t.Errorf("text: %v, %v compare as %d, want %d", a, b, got, want)
	}
	ab, _ := a.MarshalBinary()
	bb, _ := b.MarshalBinary()
	if got := bytes.Compare(ab, bb); got != want {
		t.Errorf("bytes: %x, %x compare as %d, want %d", ab, bb, got, want)
	}
	for _, nodes := range [][2]uint16{{0, 0}, {math.MaxUint16, 0}, {0, math.MaxUint16}, {255, 256}} {
		want := cmp.Or(want, cmp.Compare(nodes[0], nodes[1])) // ties go by node
		au, bu := a.UUID(nodes[0]), b.UUID(nodes[1])
		if got := bytes.Compare(au[:], bu[:]); got != want {
			t.Errorf("UUID: %s, %s compare as %d, want %d", uuidString(au), uuidString(bu), got, want)
		}
		if got := strings.Compare(uuidString(au), uuidString(bu)); got != want {
			t.Errorf("UUID text: %s, %s compare as %d, want %d", uuidString(au), uuidString(bu), got, want)
		}
	}
}

func uuidString(u [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// TestParseRefuses: one spelling per timestamp, everything else is an error that says so.
func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ name, s string }{
		{"empty", ""},
		{"space", " "},
		{"word", "now"},
		{"leading zero", "007"},
		{"plus", "+7"},
		{"minus", "-7"},
		{"minus zero", "-0"},
		{"hexadecimal", "0x7"},
		{"underscore", "1_000"},
		{"trailing space", "7 "},
		{"leading space", " 7"},
		{"line feed", "7\n"},
		{"fraction", "7.0"},
		{"exponent", "1e9"},
		{"beyond 64 bits", "18446744073709551616"},
		{"far beyond 64 bits", strings.Repeat("9", 1000)},
		{"35 digits", strings.Repeat("1", 35)},
		{"other digits", "١"},
		{"without logical part", "2026-11-22T06:42:10.123456512Z"},
		{"three logical digits", "2026-11-22T06:42:10.123456512Z+017"},
		{"five logical digits", "2026-11-22T06:42:10.123456512Z+00017"},
		{"logical part beyond a tick", "2026-11-22T06:42:10.123456512Z+1024"},
		{"signed logical part", "2026-11-22T06:42:10.123456512Z++017"},
		{"negative logical part", "2026-11-22T06:42:10.123456512Z-0017"},
		{"blank for plus", "2026-11-22T06:42:10.123456512Z 0017"},
		{"logical part no number", "2026-11-22T06:42:10.123456512Z+00x7"},
		{"time between two ticks", "2026-11-22T06:42:10.123456513Z+0017"},
		{"carry spelt in the time", "2026-11-22T06:42:10.123456511Z+0001"},
		{"six digits", "2026-11-22T06:42:10.123456Z+0017"},
		{"decimal comma", "2026-11-22T06:42:10,123456512Z+0017"},
		{"lower case t", "2026-11-22t06:42:10.123456512Z+0017"},
		{"lower case z", "2026-11-22T06:42:10.123456512z+0017"},
		{"blank for T", "2026-11-22 06:42:10.123456512Z+0017"},
		{"month 13", "2026-13-22T06:42:10.123456512Z+0017"},
		{"day 0", "2026-11-00T06:42:10.123456512Z+0017"},
		{"29 February of a common year", "2026-02-29T06:42:10.123456512Z+0017"},
		{"hour 24", "2026-11-22T24:42:10.123456512Z+0017"},
		{"leap second", "2016-12-31T23:59:60.000000000Z+0000"},
		{"before 1970", "1969-12-31T23:59:59.999999488Z+0000"},
		{"year 0", "0000-01-01T00:00:00.000000000Z+0000"},
		{"first tick that does not fit", "2554-07-21T23:34:33.709551616Z+0000"},
		{"first second that does not fit", "2554-07-21T23:34:34.000000000Z+0000"},
		{"year 9999", "9999-12-31T23:59:59.999999488Z+0000"},
		{"surrounded", `"2026-11-22T06:42:10.123456512Z+0017"`},
		{"not UTF-8", "2026-11-22T06:42:10.123456512Z+001\xff"},
		{"NUL", strings.Repeat("\x00", 35)},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse(c.s)
			if !errors.Is(err, ErrSyntax) || got != 0 {
				t.Errorf("Parse(%q) = %d, %v; want 0, ErrSyntax", c.s, uint64(got), err)
			}
			if n := len(err.Error()); n > 600 {
				t.Errorf("the error for %d bytes is %d bytes long", len(c.s), n)
			}
			u := Timestamp(42)
			if err := u.UnmarshalText([]byte(c.s)); !errors.Is(err, ErrSyntax) || u != 42 {
				t.Errorf("UnmarshalText: %v, and the timestamp is now %d", err, uint64(u))
			}
		})
	}
}

// TestParseSaysWhy: the error tells what to mend.
func TestParseSaysWhy(t *testing.T) {
	for s, want := range map[string]string{
		"tomorrow":                            "want a decimal integer or the form 2006-01-02T15:04:05.000000512Z+0000",
		"2026-13-22T06:42:10.123456512Z+0017": "month out of range",
		"2026-11-22T06:42:10.123456512Z+1024": "the logical part must be 0000 to 1023",
		"2026-11-22T06:42:10.123456513Z+0017": "not a multiple of 1.024µs",
		"1969-12-31T23:59:59.999999488Z+0000": "the year must be 1970 to 2554",
		"2555-01-01T00:00:00.000000000Z+0000": "the year must be 1970 to 2554",
	} {
		if _, err := Parse(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q): %v, want it to say %q", s, err, want)
		}
	}
	// The form in the first of these is one itself.
	if _, err := Parse("2006-01-02T15:04:05.000000512Z+0000"); err != nil {
		t.Error(err)
	}
}

func TestJSONRefuses(t *testing.T) {
	for _, s := range []string{``, `"`, `7`, `"7`, `"77`, `77"`, `7"`, `null`, `""`, `"\""`, `true`, `[]`, `["7"]`, `{}`, `"07"`, `" 7"`, `18446744073709551615`, strings.Repeat("9", 1000)} {
		u := Timestamp(42)
		err := u.UnmarshalJSON([]byte(s))
		if !errors.Is(err, ErrSyntax) || u != 42 {
			t.Errorf("UnmarshalJSON(%q): %v, and the timestamp is now %d", s, err, uint64(u))
		}
		if err != nil && len(err.Error()) > 600 {
			t.Errorf("the error for %d bytes is %d bytes long", len(s), len(err.Error()))
		}
	}
}

// TestJSONInStruct: the forms hold inside other values, as a map key too.
func TestJSONInStruct(t *testing.T) {
	type event struct {
		At   Timestamp
		Seen map[Timestamp]Timestamp
	}
	in := event{At: Max, Seen: map[Timestamp]Timestamp{1: math.MaxInt64}}
	js, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"At":"18446744073709551615","Seen":{"1970-01-01T00:00:00.000000000Z+0001":"9223372036854775807"}}`
	if string(js) != want {
		t.Errorf("got %s\nwant %s", js, want)
	}
	var out event
	if err := json.Unmarshal(js, &out); err != nil || out.At != in.At || out.Seen[1] != in.Seen[1] {
		t.Errorf("came back as %v, %v", out, err)
	}
}

func TestBinaryRefuses(t *testing.T) {
	for _, n := range []int{0, 1, 7, 9, 16} {
		u := Timestamp(42)
		if err := u.UnmarshalBinary(make([]byte, n)); !errors.Is(err, ErrSyntax) || u != 42 {
			t.Errorf("%d bytes: %v, and the timestamp is now %d", n, err, uint64(u))
		}
	}
}

func TestUUIDRefuses(t *testing.T) {
	good := Timestamp(1_795_329_730_123_456_529).UUID(7)
	for _, c := range []struct {
		name   string
		damage func(u *[16]byte)
	}{
		{"version 4", func(u *[16]byte) { u[6] = u[6]&0x0f | 0x40 }},
		{"variant of Microsoft", func(u *[16]byte) { u[8] = u[8]&0x3f | 0xc0 }},
		{"random last bit", func(u *[16]byte) { u[15] |= 1 }},
		{"random bit next to the node", func(u *[16]byte) { u[11] |= 0x20 }},
		{"a million nanoseconds in a millisecond", func(u *[16]byte) { // 1e6 = 0xf4240
			u[6], u[7], u[8], u[9] = 0x7f, 0x42, 0x80|0x40>>2, u[9]&0x3f
		}},
		{"milliseconds beyond 2554", func(u *[16]byte) { u[0] = 0xff }},
		{"all zero", func(u *[16]byte) { *u = [16]byte{} }},
		{"all one", func(u *[16]byte) { *u = [16]byte(bytes.Repeat([]byte{0xff}, 16)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := good
			c.damage(&u)
			if ts, node, err := FromUUID(u); !errors.Is(err, ErrSyntax) || ts != 0 || node != 0 {
				t.Errorf("FromUUID(%s) = %d, %d, %v; want ErrSyntax", uuidString(u), uint64(ts), node, err)
			}
		})
	}
}

func TestFromUnix(t *testing.T) {
	for _, c := range []struct {
		unix        int64
		floor, ceil Timestamp
	}{
		{math.MinInt64, 0, 0},
		{-1, 0, 0},
		{0, 0, 0},
		{1, 0, 1024},
		{1023, 0, 1024},
		{1024, 1024, 1024},
		{1025, 1024, 2048},
		{math.MaxInt64 - 1023, 1<<63 - 1024, 1<<63 - 1024},
		{math.MaxInt64 - 1022, 1<<63 - 1024, 1 << 63},
		{math.MaxInt64, 1<<63 - 1024, 1 << 63},
	} {
		if got := FromUnix(c.unix); got != c.floor {
			t.Errorf("FromUnix(%d) = %d, want %d", c.unix, uint64(got), uint64(c.floor))
		}
		if got := CeilUnix(c.unix); got != c.ceil {
			t.Errorf("CeilUnix(%d) = %d, want %d", c.unix, uint64(got), uint64(c.ceil))
		}
	}
}

func TestSub(t *testing.T) {
	for _, c := range []struct {
		t, u Timestamp
		want time.Duration
	}{
		{0, 0, 0},
		{Max, Max, 0},
		{5, 3, 2},
		{3, 5, -2},
		{math.MaxInt64, 0, math.MaxInt64},
		{math.MaxInt64 + 1, 0, math.MaxInt64},
		{Max, 0, math.MaxInt64},
		{0, math.MaxInt64, -math.MaxInt64},
		{0, math.MaxInt64 + 1, math.MinInt64},
		{0, math.MaxInt64 + 2, math.MinInt64},
		{0, Max, math.MinInt64},
		{Max, Max - 1, 1},
		{Max - 1, Max, -1},
	} {
		if got := c.t.Sub(c.u); got != c.want {
			t.Errorf("%d.Sub(%d) = %d, want %d", uint64(c.t), uint64(c.u), got, c.want)
		}
	}
}

// FuzzTimestampText: any timestamp survives every encoding, and its text is 35 bytes.
func FuzzTimestampText(f *testing.F) {
	for _, c := range encodings {
		f.Add(uint64(c.t))
	}
	f.Fuzz(func(t *testing.T, n uint64) {
		a := Timestamp(n)
		roundTrip(t, a)
		if s := a.String(); len(s) != 35 {
			t.Errorf("String() = %q has %d bytes", s, len(s))
		}
		if d := int64(n) - a.Time().UnixNano(); int64(n) >= 0 && (d < 0 || d >= int64(Tick)) {
			t.Errorf("Time() of %d is %d ns away", n, d)
		}
	})
}

// FuzzOrder: every encoding sorts like the integer.
func FuzzOrder(f *testing.F) {
	for i, c := range encodings {
		f.Add(uint64(c.t), uint64(encodings[len(encodings)-1-i].t))
		f.Add(uint64(c.t), uint64(c.t)+1)
	}
	f.Fuzz(func(t *testing.T, a, b uint64) {
		sortsAlike(t, Timestamp(a), Timestamp(b))
		sortsAlike(t, Timestamp(a), Timestamp(a+b%2048)) // close by, where carries are
	})
}

// FuzzParse: what is accepted is spelt as it would be written, in one form or the other.
func FuzzParse(f *testing.F) {
	for _, c := range encodings {
		f.Add(c.text)
		f.Add(c.decimal)
	}
	for _, s := range []string{"", "-1", "007", "18446744073709551616", "2554-07-21T23:34:33.709551616Z+0000", "2026-11-22T06:42:10,123456512Z+0017", "2026-11-22T06:42:10.123456513Z+0017"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := Parse(s)
		if err != nil {
			if !errors.Is(err, ErrSyntax) || a != 0 || len(err.Error()) > 600 {
				t.Errorf("Parse(%q) = %d, %v", s, uint64(a), err)
			}
			return
		}
		if s != a.String() && s != fmt.Sprintf("%d", a) {
			t.Errorf("Parse(%q) = %d, which is written %s", s, uint64(a), a)
		}
	})
}

// FuzzJSON: what is accepted is a JSON string with one of the two forms, and
// encoding/json agrees.
func FuzzJSON(f *testing.F) {
	for _, c := range encodings {
		f.Add([]byte(`"` + c.text + `"`))
		f.Add([]byte(`"` + c.decimal + `"`))
		f.Add([]byte(c.decimal))
	}
	for _, s := range []string{`null`, `""`, `"`, ` "7" `, `"\u0037"`, `"7\"`, `"77`, `77"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a := Timestamp(42)
		if err := a.UnmarshalJSON(b); err != nil {
			if !errors.Is(err, ErrSyntax) || a != 42 {
				t.Errorf("UnmarshalJSON(%q): %v, and the timestamp is now %d", b, err, uint64(a))
			}
			return
		}
		var s string
		if err := json.Unmarshal(b, &s); err != nil || s != a.String() && s != fmt.Sprintf("%d", a) {
			t.Errorf("UnmarshalJSON(%q) gave %d; encoding/json reads %q, %v", b, uint64(a), s, err)
		}
	})
}

// FuzzUUID: what is accepted comes back as the same 16 bytes.
func FuzzUUID(f *testing.F) {
	for i, c := range encodings {
		u := c.t.UUID(uint16(i * 4369))
		f.Add(u[:])
	}
	f.Add(bytes.Repeat([]byte{0xff}, 16))
	f.Add(make([]byte, 16))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) != 16 {
			return
		}
		u := [16]byte(b)
		a, node, err := FromUUID(u)
		if err != nil {
			if !errors.Is(err, ErrSyntax) || a != 0 || node != 0 {
				t.Errorf("FromUUID(%x) = %d, %d, %v", b, uint64(a), node, err)
			}
			// Make it one that is ours, so that mutation finds those too.
			u[6], u[8] = u[6]&0xf|0x70, u[8]&0x3f|0x80
			u[11], u[12], u[13], u[14], u[15] = u[11]&0xc0, 0, 0, 0, 0
			if a, node, err = FromUUID(u); err != nil {
				return
			}
		}
		if got := a.UUID(node); got != u {
			t.Errorf("FromUUID(%x) = %d, %d, which is %x", u, uint64(a), node, got)
		}
		validUUIDv7(t, a, u)
	})
}

// FuzzBinary: 8 bytes are a timestamp and come back the same; anything else is refused.
func FuzzBinary(f *testing.F) {
	for _, c := range encodings {
		b, _ := c.t.MarshalBinary()
		f.Add(b)
	}
	f.Add([]byte{})
	f.Add(make([]byte, 9))
	f.Fuzz(func(t *testing.T, b []byte) {
		a := Timestamp(42)
		err := a.UnmarshalBinary(b)
		if (err == nil) != (len(b) == 8) {
			t.Fatalf("UnmarshalBinary(%x): %v", b, err)
		}
		if err != nil {
			if !errors.Is(err, ErrSyntax) || a != 42 {
				t.Errorf("UnmarshalBinary(%x): %v, and the timestamp is now %d", b, err, uint64(a))
			}
			return
		}
		if got, _ := a.MarshalBinary(); !bytes.Equal(got, b) {
			t.Errorf("UnmarshalBinary(%x) = %d, which is %x", b, uint64(a), got)
		}
	})
}
