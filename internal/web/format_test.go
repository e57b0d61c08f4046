package web

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"math"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/truechimer/truechimer/internal/rpc"
)

// TestWords: values as people read them.
func TestWords(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{nanos(0), "0 ns"}, {nanos(1), "1 ns"}, {nanos(999), "999 ns"}, {nanos(1000), "1.00 µs"}, {nanos(9_994), "9.99 µs"}, {nanos(9_996), "10.0 µs"},
		{nanos(99_949), "99.9 µs"}, {nanos(99_951), "100 µs"}, {nanos(999_499), "999 µs"}, {nanos(999_501), "1.00 ms"}, {nanos(-18_402), "−18.4 µs"},
		{nanos(50_000_000), "50.0 ms"}, {nanos(1_500_000_000), "1.50 s"}, {nanos(123_456_000_000), "123 s"},
		{signed(5_000), "+5.00 µs"}, {signed(-5_000), "−5.00 µs"}, {signed(0), "0 ns"},
		{boundText(-1), "none"}, {boundText(math.MaxInt64), "none"}, {boundText(0), "0 ns"}, {boundText(1_000_000), "1.00 ms"},
		{secondsText(math.NaN()), "–"}, {secondsText(-0.0000000001), "0 ns"},
		{lasting(-5), "0 s"}, {lasting(0), "0 s"}, {lasting(1_500_000), "1.50 ms"}, {lasting(9_990_000_000), "9.99 s"}, {lasting(10e9), "10 s"}, {lasting(99e9), "99 s"},
		{lasting(100e9), "1 min 40 s"}, {lasting(120e9), "2 min"}, {lasting(3599e9), "59 min 59 s"}, {lasting(3600e9), "1 h"}, {lasting(47 * 3600e9), "47 h"},
		{lasting(48 * 3600e9), "2 d"}, {lasting(50*3600e9 + 59e9), "2 d 2 h"}, {lasting(7 * 31_557_600e9), "7.0 years"}, {lasting(math.MaxInt64), "without end"},
		{ago(100e9, 0), "never"}, {ago(100e9, 80e9), "20 s ago"}, {ago(80e9, 100e9), "0 s ago"},
		{utc(0), "never"}, {utc(noon), "2026-11-18 11:06:40 UTC"}, {iso(noon + 5), "2026-11-18T11:06:40.000000005Z"},
		{count(0), "0"}, {count(999), "999"}, {count(1000), "1 000"}, {count(uint64(1_234_567)), "1 234 567"}, {count(-1234), "-1 234"}, {apart("1234.5"), "1234.5"},
		{bytesText(0), "0 B"}, {bytesText(999), "999 B"}, {bytesText(1_000), "1.00 kB"}, {bytesText(1 << 30), "1.07 GB"}, {bytesText(math.MaxUint64), "18.4 EB"},
		{ppm(-12.3471), "−12.347"}, {ppm(0), "0.000"}, {timestampText(0), "–"}, {alarmsText(make([]*rpc.Alarm, 1)), "1 alarm"}, {alarmsText(make([]*rpc.Alarm, 2)), "2 alarms"},
		{inPerSecond.text(9.994), "9.99/s"}, {inPerSecond.text(10_477.4), "10 477/s"}, {inPPM.text(-1), "−1.000 ppm"}, {inNumber.text(0), "0"}, {inSeconds.text(0.001), "1.00 ms"},
		{inSeconds.between(0.001, 0.002), "1.00 to 2.00 ms"}, {inSeconds.between(0.0001, 0.002), "100 µs to 2.00 ms"}, {inPerSecond.between(1, 2), "1.00 to 2.00/s"},
	} {
		got := strings.NewReplacer("\u00a0", " ", "\u202f", " ").Replace(c.got)
		if got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// TestDays: a day is what is worst in it, and says all of it.
func TestDays(t *testing.T) {
	for _, c := range []struct {
		day   *rpc.DayVerdicts
		level string
		text  string
	}{
		{&rpc.DayVerdicts{Ok: 86_400}, "", "OK 24 h"},
		{&rpc.DayVerdicts{Ok: 86_399, Warn: 1}, levelWarn, "WARN 1.00 s, OK 23 h 59 min"},
		{&rpc.DayVerdicts{Ok: 86_398, Warn: 1, Gap: 1}, levelUnknown, "not observed 1.00 s, WARN 1.00 s, OK 23 h 59 min"},
		{&rpc.DayVerdicts{Ok: 86_398, Warn: 1, Unknown: 1}, levelUnknown, "UNKNOWN 1.00 s, WARN 1.00 s, OK 23 h 59 min"},
		{&rpc.DayVerdicts{Ok: 1, Warn: 1, Unknown: 1, Gap: 1, Breach: 60}, levelBad, "BREACH 60 s, UNKNOWN 1.00 s, not observed 1.00 s, WARN 1.00 s, OK 1.00 s"},
		{&rpc.DayVerdicts{}, "to-come", "nothing yet"},
	} {
		if level, text := dayLevel(c.day), strings.ReplaceAll(dayText(c.day), "\u00a0", " "); level != c.level || text != c.text {
			t.Errorf("%v: %q, %q", c.day, level, text)
		}
	}
}

// TestLevels: what is well, what is not, and what nobody knows.
func TestLevels(t *testing.T) {
	for status, want := range map[string]string{
		"selected": levelGood, "combined": levelGood, "falseticker": levelBad, "no_majority": levelBad, "waiting": levelUnknown, "noselect": levelUnknown, "unreachable": levelWarn, "new word": levelWarn,
	} {
		if got := sourceLevel(status); got != want {
			t.Errorf("%s is %s", status, got)
		}
	}
	for v, want := range map[rpc.Verdict][2]string{
		rpc.Verdict_VERDICT_OK: {"OK", levelGood}, rpc.Verdict_VERDICT_WARN: {"WARN", levelWarn}, rpc.Verdict_VERDICT_BREACH: {"BREACH", levelBad},
		rpc.Verdict_VERDICT_UNKNOWN: {"UNKNOWN", levelUnknown}, rpc.Verdict_VERDICT_UNSPECIFIED: {"UNKNOWN", levelUnknown},
	} {
		if verdictWord(v) != want[0] || verdictLevel(v) != want[1] {
			t.Errorf("%v is %s, %s", v, verdictWord(v), verdictLevel(v))
		}
	}
	if level(nil) != levelUnknown {
		t.Error("a node of which nothing is known is well, or not")
	}
}

// TestAssets: what others made is as they made it, and all of it is listed; every file is found under
// its hash, and can be kept for ever.
func TestAssets(t *testing.T) {
	list, err := os.ReadFile("assets/README.md")
	if err != nil {
		t.Fatal(err)
	}
	names, err := fs.Glob(embedded, "assets/*")
	if err != nil || len(names) != 5 {
		t.Fatalf("%d files, %v", len(names), err)
	}
	h := New(NewFake(), Options{Logger: quiet})
	for _, name := range names {
		text, err := fs.ReadFile(embedded, name)
		if err != nil {
			t.Fatal(err)
		}
		name = strings.TrimPrefix(name, "assets/")
		w := ask(h, http.MethodGet, asset(name))
		served := w.Body.Bytes()
		hash := sha256.Sum256(served)
		if !strings.Contains(asset(name), hex.EncodeToString(hash[:8])) || len(served) == 0 {
			t.Errorf("%s is not served under its hash", name)
		}
		if got := w.Header().Get("Cache-Control"); got != "public, max-age=31536000, immutable" {
			t.Errorf("%s: Cache-Control is %q", name, got)
		}
		if got := w.Header().Get("Content-Type"); !strings.HasPrefix(got, "text/javascript") && !strings.HasPrefix(got, "text/css") {
			t.Errorf("%s is served as %q", name, got)
		}
		original := sha256.Sum256(text)
		ours := name == "dashboard.js" || name == "dashboard.css" || name == "login.css"
		if listed := strings.Contains(string(list), "| "+name+" |") && strings.Contains(string(list), "| "+hex.EncodeToString(original[:])+" |"); listed == ours {
			t.Errorf("%s: listed with its hash: %v, ours: %v", name, listed, ours)
		}
		if !ours && string(served) != string(text) {
			t.Errorf("%s is served with changes", name)
		}
	}
	for name, w := range map[string]string{"page": get(t, NewFake(), "/"), "login": loginPage()} {
		for _, part := range strings.Split(w, AssetsPath)[1:] {
			path := AssetsPath + part[:strings.IndexAny(part, `">`)]
			if got := ask(h, http.MethodGet, path).Code; got != http.StatusOK {
				t.Errorf("the %s needs %s: %d", name, path, got)
			}
		}
	}
}
