package sysclock

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func goodDrift() Drift {
	return Drift{FrequencyPPM: -12.345678901, SkewPPM: 0.0123, Written: time.Date(2026, 11, 22, 6, 42, 10, 0, time.UTC)}
}

const goodDriftText = `truechimer drift
format 1
frequency_ppm -12.345678901
skew_ppm 0.0123
written 2026-11-22T06:42:10Z
crc32c 148ad225
`

func TestDriftText(t *testing.T) {
	if got := string(goodDrift().encode()); got != goodDriftText {
		t.Errorf("it is written as\n%s", got)
	}
	got, err := decodeDrift(goodDriftText)
	if err != nil || got != goodDrift() {
		t.Errorf("read %+v, %v", got, err)
	}
}

// sealed gives a text the checksum that it needs.
func sealed(body string) string { return fmt.Sprintf("%scrc32c %08x\n", body, driftSum(body)) }

func TestDriftRefuses(t *testing.T) {
	text := func(frequency, skew, written string) string {
		return sealed("truechimer drift\nformat 1\nfrequency_ppm " + frequency + "\nskew_ppm " + skew + "\nwritten " + written + "\n")
	}
	const when = "2026-11-22T06:42:10Z"
	if _, err := decodeDrift(text("1", "2", when)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, text, want string }{
		{"empty", "", "checksum"},
		{"garbage", "\x00\xff garbage", "checksum"},
		{"another daemon's", "-12.345 0.123\n", "checksum"},
		{"zeroes", strings.Repeat("\x00", 150), "checksum"},
		{"only a checksum", sealed(""), "title"},
		{"title", sealed("truechimer store\nformat 1\nx\n"), "title"},
		{"only a title", sealed("truechimer drift"), "title"},
		{"no format", sealed("truechimer drift\nx\n"), "format is missing"},
		{"only a number", sealed("truechimer drift\n2\n"), "format is missing"},
		{"format of words", sealed("truechimer drift\nformat one\n"), "format is missing"},
		{"negative format", sealed("truechimer drift\nformat -1\n"), "format is missing"},
		{"newer", sealed("truechimer drift\nformat 2\nwhatever comes then\n"), "newer format: 2 (this version knows 1)"},
		{"too few lines", sealed("truechimer drift\nformat 1\nfrequency_ppm 1\n"), "lines"},
		{"too many lines", sealed("truechimer drift\nformat 1\nfrequency_ppm 1\nskew_ppm 2\nwritten " + when + "\nmore\n"), "lines"},
		{"format 0", sealed("truechimer drift\nformat 0\nfrequency_ppm 1\nskew_ppm 2\nwritten " + when + "\n"), "spelt"},
		{"no number", text("fast", "2", when), "a line"},
		{"NaN", text("NaN", "2", when), "a frequency of NaN ppm is impossible"},
		{"infinite", text("-Inf", "2", when), "impossible"},
		{"too fast", text("100000.1", "2", when), "a frequency of 100000.1 ppm is impossible"},
		{"too slow", text("-100001", "2", when), "impossible"},
		{"too large for a float", text("1e999", "2", when), "a line"},
		{"skew NaN", text("1", "NaN", when), "a skew of NaN ppm is impossible"},
		{"skew negative", text("1", "-0.1", when), "a skew of -0.1 ppm is impossible"},
		{"skew infinite", text("1", "Inf", when), "impossible"},
		{"skew too large", text("1", "100001", when), "impossible"},
		{"no time", text("1", "2", "yesterday"), "a line"},
		{"before its time", text("1", "2", "1999-12-31T23:59:59Z"), "the year 1999 is impossible"},
		{"another spelling", text("1.0", "2", when), "spelt"},
		{"hexadecimal", text("0x1p3", "2", when), "spelt"},
		{"another zone", text("1", "2", "2026-11-22T06:42:10+01:00"), "spelt"},
		{"names missing", sealed("truechimer drift\nformat 1\n1\n2\n" + when + "\n"), "spelt"},
		{"after the end", goodDriftText + "x", "checksum"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), DriftName)
			must(t, os.WriteFile(path, []byte(test.text), 0o600))
			d, err := ReadDrift(path)
			var refused *DriftError
			if !errors.As(err, &refused) || d != (Drift{}) {
				t.Fatalf("read %+v, error %v", d, err)
			}
			if !strings.Contains(refused.Cause.Error(), test.want) {
				t.Errorf("cause %q, want %q", refused.Cause, test.want)
			}
			if refused.Path != path || refused.Newer != (test.name == "newer") || !strings.Contains(err.Error(), "starting without it") {
				t.Errorf("refused with %+v: %v", refused, err)
			}
		})
	}
}

// A file that was cut off, or has one bit that is not as it was written, is never read.
func TestDriftDamage(t *testing.T) {
	for i := range goodDriftText {
		if d, err := decodeDrift(goodDriftText[:i]); err == nil {
			t.Errorf("cut off at %d it reads as %+v", i, d)
		}
		for bit := range 8 {
			damaged := []byte(goodDriftText)
			damaged[i] ^= 1 << bit
			if d, err := decodeDrift(string(damaged)); err == nil {
				t.Errorf("with bit %d of byte %d flipped it reads as %+v", bit, i, d)
			}
		}
	}
}

func FuzzDrift(f *testing.F) {
	f.Add("-12.5", "0.1", "2026-11-22T06:42:10Z")
	f.Add("1e999", "NaN", "")
	f.Fuzz(func(t *testing.T, frequency, skew, written string) {
		text := sealed("truechimer drift\nformat 1\nfrequency_ppm " + frequency + "\nskew_ppm " + skew + "\nwritten " + written + "\n")
		d, err := decodeDrift(text)
		if err != nil {
			return
		}
		if d.valid() != nil || string(d.encode()) != text {
			t.Errorf("%q reads as %+v", text, d)
		}
	})
}

func TestWriteDrift(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, DriftName)
	if _, err := ReadDrift(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want that there is none", err)
	}
	must(t, os.WriteFile(path+".tmp", []byte("a leftover"), 0o400))
	for _, d := range []Drift{
		goodDrift(),
		{Written: goodDrift().Written},
		{FrequencyPPM: driftMaxPPM, SkewPPM: driftMaxPPM, Written: goodDrift().Written},
		{FrequencyPPM: -driftMaxPPM, SkewPPM: math.SmallestNonzeroFloat64, Written: goodDrift().Written},
		{FrequencyPPM: -1.0 / 3, SkewPPM: 1e-7 / 3, Written: goodDrift().Written},
	} {
		must(t, WriteDrift(path, d))
		got, err := ReadDrift(path)
		if err != nil || got != d {
			t.Errorf("read %+v, %v; want %+v", got, err, d)
		}
		onlyFile(t, dir, DriftName)
	}
	zoned := goodDrift()
	zoned.Written = zoned.Written.In(time.FixedZone("", 3600)).Add(999 * time.Millisecond)
	must(t, WriteDrift(path, zoned))
	if got, err := ReadDrift(path); err != nil || got != goodDrift() {
		t.Errorf("read %+v, %v", got, err)
	}
}

func TestWriteDriftFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, DriftName)
	must(t, WriteDrift(path, goodDrift()))
	for _, d := range []Drift{
		{FrequencyPPM: math.NaN(), Written: goodDrift().Written},
		{SkewPPM: -1, Written: goodDrift().Written},
		{SkewPPM: math.Inf(1), Written: goodDrift().Written},
		{},
	} {
		if err := WriteDrift(path, d); err == nil {
			t.Errorf("%+v was written", d)
		}
	}
	if got, err := ReadDrift(path); err != nil || got != goodDrift() {
		t.Errorf("after refusals it reads %+v, %v", got, err)
	}
	if err := WriteDrift(filepath.Join(dir, "none", DriftName), goodDrift()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	// What cannot be replaced leaves nothing behind.
	taken := filepath.Join(dir, "taken")
	must(t, os.MkdirAll(filepath.Join(taken, "x"), 0o700))
	if err := WriteDrift(taken, goodDrift()); err == nil {
		t.Error("a directory was replaced")
	}
	if _, err := os.Stat(taken + ".tmp"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a temporary file was left behind: %v", err)
	}
}

// What is not a file is not waited for.
func TestReadDriftOdd(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	must(t, syscall.Mkfifo(fifo, 0o600))
	large := filepath.Join(dir, "large")
	must(t, os.WriteFile(large, []byte(sealed("truechimer drift\nformat 2\n"+strings.Repeat("x", driftLenMax))), 0o600))
	for _, path := range []string{dir, fifo, large} {
		_, err := ReadDrift(path)
		var refused *DriftError
		if !errors.As(err, &refused) || refused.Newer {
			t.Errorf("%s: error %v", path, err)
		}
	}
}
