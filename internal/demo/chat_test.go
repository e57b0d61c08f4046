package demo

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

var seedFlag = flag.Uint64("conversation", uint64(os.Getpid()), "seed of the conversations")

// counting is a log in memory.
func counting() Append {
	var last uint64
	return func(string) (uint64, error) { last++; return last, nil }
}

func converse(t testing.TB, o Options) []Message {
	t.Helper()
	m, err := Converse(o, counting())
	if err != nil {
		t.Fatalf("%+v: %v", o, err)
	}
	return m
}

// TestOrders: whatever the clocks show within the max lead, neither hybrid timestamps nor
// sequences ever put a message above one that its author knew, and a sequence is final.
func TestOrders(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Options{
			Seed:     rapid.Uint64().Draw(t, "seed"),
			Messages: rapid.IntRange(2, 120).Draw(t, "messages"),
			Reply:    time.Duration(rapid.Int64Range(0, int64(30*time.Millisecond)).Draw(t, "reply")),
		}
		o.Skews[0] = time.Duration(rapid.Int64Range(-int64(SkewMax), int64(SkewMax)).Draw(t, "skew of A"))
		low, high := max(-SkewMax, o.Skews[0]-SkewMax), min(SkewMax, o.Skews[0]+SkewMax)
		o.Skews[1] = time.Duration(rapid.Int64Range(int64(low), int64(high)).Draw(t, "skew of B"))
		m, err := Converse(o, counting())
		if err != nil {
			t.Fatal(err)
		}
		if len(m) != o.Messages {
			t.Fatalf("%d messages, want %d", len(m), o.Messages)
		}
		for _, by := range []Order{ByHybrid, BySequence} {
			if v := Sort(m, by); v.Inversions != 0 || v.Broken != 0 {
				t.Fatalf("order %d: %d inversions, %d pairs broken", by, v.Inversions, v.Broken)
			}
		}
		if v := Sort(m, BySequence); v.Late != 0 {
			t.Fatalf("by sequence %d lines are late", v.Late)
		}
		for i := range m {
			if m[i].Sequence != uint64(i+1) || m[i].Answers > m[i].Read || m[i].Read >= m[i].Sequence || m[i].Logged < m[i].Written {
				t.Fatalf("message %d: %+v", i, m[i])
			}
			if lead := m[i].Hybrid.Time().UnixNano() - m[i].ServerUnixNs; lead < -int64(time.Microsecond)*2 || lead > int64(SkewMax) {
				t.Fatalf("message %d: the hybrid timestamp is %d ns ahead of its server", i, lead)
			}
		}
	})
}

// TestServerClocksInvert: with clocks further apart than any answer takes, every answer
// from the server behind to the one ahead stands above its question; with clocks that agree none does.
func TestServerClocksInvert(t *testing.T) {
	t.Logf("-conversation=%d", *seedFlag)
	for i := range uint64(200) {
		o := Options{Seed: *seedFlag + i, Messages: 60, Reply: time.Millisecond, Skews: [2]time.Duration{400 * time.Millisecond, -400 * time.Millisecond}}
		m := converse(t, o)
		want := 0
		for _, one := range m {
			if one.Answers > 0 && one.Server == 1 && m[one.Answers-1].Server == 0 {
				want++
			}
		}
		if v := Sort(m, ByServer); want < 5 || v.Inversions != want || v.Broken < want {
			t.Errorf("%+v: %d inversions, %d pairs broken, want %d", o, v.Inversions, v.Broken, want)
		}
		o.Skews = [2]time.Duration{time.Millisecond, time.Millisecond}
		if v := Sort(converse(t, o), ByServer); v.Inversions != 0 || v.Broken != 0 {
			t.Errorf("%+v: %d inversions, %d pairs broken, want none", o, v.Inversions, v.Broken)
		}
	}
}

// TestUsualSkews: at a few milliseconds, what the demo shows by default, some answers are
// above their questions in most conversations, and no more than the answers there are.
func TestUsualSkews(t *testing.T) {
	t.Logf("-conversation=%d", *seedFlag)
	some, late := 0, 0
	for i := range uint64(200) {
		m := converse(t, Options{Seed: *seedFlag + i, Messages: 16, Reply: 4 * time.Millisecond, Skews: [2]time.Duration{3 * time.Millisecond, -2 * time.Millisecond}})
		if v := Sort(m, ByServer); v.Inversions > 0 && v.Late > 0 {
			some++
		}
		if Sort(m, ByHybrid).Late > 0 {
			late++
		}
	}
	if some < 180 {
		t.Errorf("of 200 conversations %d have inversions by the servers' clocks", some)
	}
	if late < 50 {
		t.Errorf("of 200 conversations %d have late lines by hybrid timestamps: nothing shows what a sequence is for", late)
	}
}

// TestDeterminate: a seed is a conversation, and another seed another.
func TestDeterminate(t *testing.T) {
	o := Options{Seed: 7, Messages: 100, Reply: 4 * time.Millisecond, Skews: [2]time.Duration{3 * time.Millisecond, -2 * time.Millisecond}}
	first := fmt.Sprint(converse(t, o))
	if again := fmt.Sprint(converse(t, o)); again != first {
		t.Error("the same seed gave another conversation")
	}
	o.Seed++
	if fmt.Sprint(converse(t, o)) == first {
		t.Error("another seed gave the same conversation")
	}
}

// TestSort goes through a conversation by hand.
func TestSort(t *testing.T) {
	m := []Message{
		{Sequence: 1, Server: 0, Written: 1, ServerUnixNs: 104, Hybrid: 104},
		{Sequence: 2, Server: 1, Written: 3, ServerUnixNs: 101, Hybrid: 105, Read: 1, Answers: 1},
		{Sequence: 3, Server: 0, Written: 2, ServerUnixNs: 105, Hybrid: 105},
		{Sequence: 4, Server: 0, Written: 5, ServerUnixNs: 108, Hybrid: 108, Read: 2, Answers: 2},
	}
	for _, c := range []struct {
		stepped                  bool
		by                       Order
		order                    []uint64
		inverted, late           []uint64
		inversions, broken, came int
	}{
		{by: ByServer, order: []uint64{2, 1, 3, 4}, inverted: []uint64{2}, late: []uint64{2}, inversions: 1, broken: 1, came: 1},
		{by: ByHybrid, order: []uint64{1, 3, 2, 4}, late: []uint64{3}, came: 1},
		{by: BySequence, order: []uint64{1, 2, 3, 4}},
		{stepped: true, by: ByServer, order: []uint64{3, 2, 1, 4}, inverted: []uint64{2}, late: []uint64{3, 2}, inversions: 1, broken: 2, came: 2},
	} {
		if c.stepped { // the clock of A, backwards
			m[2].ServerUnixNs = 100
		}
		v := Sort(m, c.by)
		var order, inverted, late []uint64
		for _, l := range v.Lines {
			order = append(order, l.Sequence)
			if l.Inverted {
				inverted = append(inverted, l.Sequence)
			}
			if l.Late {
				late = append(late, l.Sequence)
			}
		}
		if !slices.Equal(order, c.order) || !slices.Equal(inverted, c.inverted) || !slices.Equal(late, c.late) ||
			v.Inversions != c.inversions || v.Broken != c.broken || v.Late != c.came {
			t.Errorf("order %d: %v, inverted %v, late %v, %d, %d, %d; want %+v", c.by, order, inverted, late, v.Inversions, v.Broken, v.Late, c)
		}
	}
}

func TestCheck(t *testing.T) {
	good := Options{Messages: 2}
	for name, c := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"good": {func(*Options) {}, ""},
		"the limits": {func(o *Options) {
			*o = Options{Messages: MessagesMax, Reply: ReplyMax, Skews: [2]time.Duration{SkewMax, 0}}
		}, ""},
		"one message":    {func(o *Options) { o.Messages = 1 }, "a conversation of 1 messages (want 2 to 1000)"},
		"too many":       {func(o *Options) { o.Messages = MessagesMax + 1 }, "a conversation of 1001 messages"},
		"negative reply": {func(o *Options) { o.Reply = -1 }, "answers after -1ns on average"},
		"slow reply":     {func(o *Options) { o.Reply = ReplyMax + 1 }, "(want 0s to 1m0s)"},
		"A":              {func(o *Options) { o.Skews[0] = -SkewMax - 1 }, "a skew of -1.000000001s at server A (want -1s to 1s)"},
		"B":              {func(o *Options) { o.Skews[1] = 1<<63 - 1 }, "at server B"},
		"least number":   {func(o *Options) { o.Skews[1] = -1 << 63 }, "at server B"},
		"difference":     {func(o *Options) { o.Skews = [2]time.Duration{SkewMax, -1} }, "clocks that differ by 1.000000001s: beyond the max lead of 1s hybrid clocks refuse each other's timestamps"},
	} {
		o := good
		c.change(&o)
		err := o.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
		if _, converseErr := Converse(o, counting()); (converseErr == nil) != (err == nil) {
			t.Errorf("%s: Converse: %v", name, converseErr)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than one sentence: %v", name, err)
		}
	}
}

// TestLogFails: what the log says ends the conversation.
func TestLogFails(t *testing.T) {
	full := errors.New("full")
	n := 0
	_, err := Converse(Options{Messages: 10}, func(string) (uint64, error) {
		if n++; n == 5 {
			return 0, full
		}
		return uint64(n), nil
	})
	if !errors.Is(err, full) || n != 5 {
		t.Errorf("%v after %d messages", err, n)
	}
}

func TestTopics(t *testing.T) {
	for _, lines := range topics() {
		for _, line := range lines {
			if utf8.RuneCountInString(line) > 14 {
				t.Errorf("%q is too long to stand beside two others", line)
			}
		}
	}
}
