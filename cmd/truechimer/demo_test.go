package main

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/truechimer/truechimer/internal/demo"
)

// converse invents a conversation without a disk.
func converse(t *testing.T, o demo.Options) []demo.Message {
	t.Helper()
	last := uint64(0)
	m, err := demo.Converse(o, func(string) (uint64, error) { last++; return last, nil })
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func usualChat() demo.Options {
	return demo.Options{Seed: 1, Messages: 9, Reply: 4 * time.Millisecond, Skews: [2]time.Duration{3 * time.Millisecond, -2 * time.Millisecond}}
}

// TestDemoPicture is the picture on a usual terminal, letter by letter.
func TestDemoPicture(t *testing.T) {
	o := usualChat()
	var b strings.Builder
	if err := writeChat(&b, &o, converse(t, o), false, 80); err != nil {
		t.Fatal(err)
	}
	const want = `9 messages in 19.5ms, seed 1. amy and ann are at server A, whose clock is 3.00ms
fast; ben and bob at B, whose clock is 2.00ms slow.

by the servers' clocks     by hybrid timestamp        by sequence
─────────────────────────  ─────────────────────────  ─────────────────────────
▲3›1 bob at 42              1   ann sell 100?          1   ann sell 100?
 1   ann sell 100?         +3›1 bob at 42              2   amy ball to you
▲4›2 ben got it             2   amy ball to you        3›1 bob at 42
 2   amy ball to you        4›2 ben got it             4›2 ben got it
▲7›5 bob deal               5›3 ann make it 41         5›3 ann make it 41
 5›3 ann make it 41        +7›5 bob deal               6›4 amy shoot!
▲8›6 ben goal               6›4 amy shoot!             7›5 bob deal
 6›4 amy shoot!             8›6 ben goal               8›6 ben goal
 9›7 ann booked             9›7 ann booked             9›7 ann booked
─────────────────────────  ─────────────────────────  ─────────────────────────
▲ 4 inversions, + 0 late   ▲ 0 inversions, + 2 late   ▲ 0 inversions, + 0 late

8›7 is message 8, which answers 7. ▲ inversion: an answer stands above what it
answers. + late: it came when a line below it had been read already, as ▲ did
too.

The servers' clocks differ by 5.00ms. An answer that takes less than that can be
stamped before its question: 4 of them were.
A hybrid timestamp is greater than all that its server had seen, so no answer
stands above its question. But of two messages that were written at once either
can come first: 2 came when a later one had been read.
A sequence is given once, when the message is on disk. All read the same lines
in the same order, and a new one is always the last.

Do it yourself, with truechimer serve in another terminal:
  truechimer append chat 'deploy now?'     prints its sequence and timestamp
  truechimer append chat --observe TS yes  an answer to what has timestamp TS
  truechimer read chat                     in the agreed order
  truechimer watch chat                    and what comes from now on
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

// TestDemoWidths: no line is longer than the terminal, whatever its width, the colours, and
// the length of the conversation; all messages are in all orders.
func TestDemoWidths(t *testing.T) {
	commands := regexp.MustCompile(`(?m)^  truechimer .*\n( +.*\n)*`) // what is to be typed is not broken
	for _, width := range []int{0, 24, 40, 60, 80, 100, 103, 120, 200} {
		for _, messages := range []int{2, 16, 300} {
			for _, coloured := range []bool{false, true} {
				o := usualChat()
				o.Messages = messages
				var b strings.Builder
				if err := writeChat(&b, &o, converse(t, o), coloured, width); err != nil {
					t.Fatal(err)
				}
				room := width
				if width == 0 {
					room = widthUsual
				}
				for line := range strings.Lines(commands.ReplaceAllString(b.String(), "")) {
					line = strings.TrimSuffix(line, "\n")
					if shown(line) > room {
						t.Errorf("%d of %d letters: %s", shown(line), room, line)
					}
					if !coloured && (strings.HasSuffix(line, " ") || strings.ContainsRune(line, 0x1b)) {
						t.Errorf("width %d: %q", width, line)
					}
				}
				if got := len(regexp.MustCompile(`\b(amy|ann|ben|bob)\s`).FindAllString(b.String(), -1)) - 4; got != 3*messages {
					t.Errorf("width %d: %d authors in three orders of %d messages", width, got, messages)
				}
				if coloured != strings.Contains(b.String(), "\x1b[") {
					t.Errorf("colours: %q", b.String())
				}
			}
		}
	}
}

// TestDemoSays: what is said of the clocks is so.
func TestDemoSays(t *testing.T) {
	for _, c := range []struct {
		change func(*demo.Options)
		want   []string
	}{
		{func(o *demo.Options) { o.Skews = [2]time.Duration{} }, []string{"whose clock is right; ben and bob at B, whose clock is right", "The servers' clocks agree", "▲ 0 inversions"}},
		{func(o *demo.Options) { o.Skews = [2]time.Duration{0, time.Microsecond} }, []string{"whose clock is 1.00µs fast", "differ by 1.00µs, and by luck"}},
		{func(o *demo.Options) { o.Skews = [2]time.Duration{-400 * time.Millisecond, 0} }, []string{"whose clock is 400ms slow", "differ by 400ms. An answer"}},
	} {
		o := usualChat()
		c.change(&o)
		var b strings.Builder
		if err := writeChat(&b, &o, converse(t, o), false, 200); err != nil {
			t.Fatal(err)
		}
		for _, want := range c.want {
			if !strings.Contains(b.String(), want) {
				t.Errorf("does not say %q:\n%s", want, b.String())
			}
		}
	}
}

// TestDemoCommand: the flags are what it goes by, it is the same each time, and JSON has it all.
func TestDemoCommand(t *testing.T) {
	ask := func(args string) (int, string, string) {
		var out, log strings.Builder
		code := run(t.Context(), append([]string{"demo", "chat"}, strings.Fields(args)...), streams{strings.NewReader(""), &out, &log})
		return code, out.String(), log.String()
	}
	const args = "--seed 5 --skew-a 400ms --skew-b -400ms --reply 1ms --messages 30"
	code, first, log := ask(args + " --json")
	if code != 0 || log != "" {
		t.Fatalf("exit code %d, %s", code, log)
	}
	if _, again, _ := ask(args + " --json"); again != first {
		t.Error("the same flags gave another conversation")
	}
	var got chatJSON
	if err := json.Unmarshal([]byte(first), &got); err != nil {
		t.Fatal(err)
	}
	o := demo.Options{Seed: 5, Messages: 30, Reply: time.Millisecond, Skews: [2]time.Duration{400 * time.Millisecond, -400 * time.Millisecond}}
	messages := converse(t, o)
	if got.Seed != "5" || got.SkewANs != "400000000" || got.SkewBNs != "-400000000" || len(got.Messages) != 30 || len(got.Orders) != 3 {
		t.Fatalf("%+v", got)
	}
	for i, by := range demo.Orders() {
		v := demo.Sort(messages, by)
		one := got.Orders[i]
		if one.Inversions != v.Inversions || one.Broken != v.Broken || one.Late != v.Late || len(one.Sequences) != 30 || one.Order != []string{"server", "hybrid", "sequence"}[i] {
			t.Errorf("%+v, want %+v", one, v)
		}
		if by == demo.ByServer && (one.Inversions == 0 || slices.IsSorted(one.Sequences)) {
			t.Errorf("nothing is inverted: %+v", one)
		}
	}
	code, text, _ := ask(args)
	if code != 0 || utf8.RuneCountInString(text) < 1000 {
		t.Errorf("exit code %d\n%s", code, text)
	}
	for args, want := range map[string]string{
		"--messages 1":                   "a conversation of 1 messages (want 2 to 1000)",
		"--skew-a 2s":                    "a skew of 2s at server A (want -1s to 1s)",
		"--skew-a 800ms --skew-b -300ms": "clocks that differ by 1.1s: beyond the max lead of 1s hybrid clocks refuse each other's timestamps",
		"--reply 2m":                     "answers after 2m0s on average (want 0s to 1m0s)",
		"x":                              "truechimer demo chat takes no arguments, not 1 arguments; see truechimer demo chat --help",
	} {
		if code, _, log := ask(args); code != exitUsage || log != "truechimer: "+want+"\n" {
			t.Errorf("%s: exit code %d, %q, want %q", args, code, log, want)
		}
	}
}
