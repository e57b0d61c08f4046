package alert

import (
	"fmt"
	"testing"
	"time"
)

// at is a second of a test: both clocks, of which one is far from zero.
func at(second int) (unix int64, now time.Duration) {
	return 1_800_000_000e9 + int64(second)*1e9, time.Duration(second) * time.Second
}

func warn(name string, labels ...string) Condition {
	c := Condition{Name: name, Sentence: name + " is bad"}
	for i := 0; i < len(labels); i += 2 {
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		c.Labels[labels[i]] = labels[i+1]
	}
	return c
}

func critical(name string, labels ...string) Condition {
	c := warn(name, labels...)
	c.Critical = true
	return c
}

func told(changes []change) string {
	text := ""
	for _, c := range changes {
		sign := "+"
		if c.resolved {
			sign = "-"
		}
		text += sign + c.alarm.Name + "/" + c.alarm.severity() + " "
	}
	return text
}

func TestBook(t *testing.T) {
	a, b := warn("a"), warn("b")
	for name, steps := range map[string][]struct {
		second int
		stands []Condition
		want   string
	}{
		"raised at once, over after the hold": {
			{0, []Condition{a}, "+a/warning "}, {1, []Condition{a}, ""}, {2, nil, ""}, {31, nil, ""}, {32, nil, "-a/warning "}, {33, nil, ""},
		},
		"flapping is one alarm": {
			{0, []Condition{a}, "+a/warning "}, {1, nil, ""}, {30, []Condition{a}, ""}, {31, nil, ""}, {60, nil, ""}, {61, nil, "-a/warning "},
		},
		"and again": {
			{0, []Condition{a}, "+a/warning "}, {1, nil, ""}, {31, nil, "-a/warning "}, {32, []Condition{a}, "+a/warning "},
		},
		"told twice is once":       {{0, []Condition{a, a}, "+a/warning "}},
		"in the order given":       {{0, []Condition{b, a}, "+b/warning +a/warning "}},
		"the oldest is over first": {{0, []Condition{b}, "+b/warning "}, {1, []Condition{a, b}, "+a/warning "}, {2, nil, ""}, {32, nil, "-b/warning -a/warning "}},
		"critical is another alarm": {
			{0, []Condition{a}, "+a/warning "}, {1, []Condition{critical("a")}, "+a/critical "}, {31, []Condition{critical("a")}, "-a/warning "},
		},
		"labels tell alarms apart": {
			{0, []Condition{warn("a", "x", "1")}, "+a/warning "}, {1, []Condition{warn("a", "x", "2"), warn("a", "x", "1")}, "+a/warning "},
		},
		"quotes do not": {
			{0, []Condition{warn("a", "x", `1" "y"="2`), warn("a", "x", "1", "y", "2")}, "+a/warning +a/warning "},
		},
	} {
		t.Run(name, func(t *testing.T) {
			book, _ := newBook("n", nil)
			for _, s := range steps {
				unix, now := at(s.second)
				if got := told(book.update(unix, now, s.stands)); got != s.want {
					t.Errorf("second %d: got %q, want %q", s.second, got, s.want)
				}
			}
		})
	}
}

func TestBookIDs(t *testing.T) {
	seen := map[string]bool{}
	for _, node := range []string{"n", "m"} {
		for second := range 3 {
			book, _ := newBook(node, nil)
			unix, now := at(second)
			for _, c := range book.update(unix, now, []Condition{warn("a"), critical("a"), warn("a", "x", "1"), warn("b")}) {
				if seen[c.alarm.ID] {
					t.Errorf("the id of %v was there before", c.alarm)
				}
				seen[c.alarm.ID] = true
				if c.alarm.Since != unix {
					t.Errorf("since %d, want %d", c.alarm.Since, unix)
				}
			}
		}
	}
	if len(seen) != 24 {
		t.Errorf("%d ids, want 24", len(seen))
	}
}

func TestBookKeepsTheLastSentence(t *testing.T) {
	book, _ := newBook("n", nil)
	book.update(1, 0, []Condition{warn("a")})
	c := warn("a")
	c.Sentence = "worse"
	book.update(2, time.Second, []Condition{c})
	if got := book.standing(); len(got) != 1 || got[0].Sentence != "worse" || got[0].Since != 1 {
		t.Errorf("got %v", got)
	}
}

// The hold goes by the steady clock: a step of the other one neither cuts it short nor
// stretches it.
func TestBookHoldAndSteps(t *testing.T) {
	book, _ := newBook("n", nil)
	book.update(1e18, 0, []Condition{warn("a")})
	book.update(2e18, 1*time.Second, nil)
	if got := book.update(3e18, 30*time.Second, nil); got != nil {
		t.Errorf("over too early: %v", got)
	}
	if got := told(book.update(1, 31*time.Second, nil)); got != "-a/warning " {
		t.Errorf("got %q", got)
	}
}

func TestBookIsBounded(t *testing.T) {
	book, _ := newBook("n", nil)
	var many []Condition
	for i := range alarmsMax + 5 {
		many = append(many, warn("a", "i", fmt.Sprint(i)))
	}
	if got := book.update(1, 0, many); len(got) != alarmsMax || book.leftOut != 5 {
		t.Errorf("%d raised, %d left out", len(got), book.leftOut)
	}
	if got := told(book.update(2, time.Second, append(many, critical(TooMany)))); got != "+alert_too_many/critical " {
		t.Errorf("got %q", got)
	}
	book.update(3, 2*time.Second, many[:3])
	if book.leftOut != 0 {
		t.Errorf("%d left out", book.leftOut)
	}
}

func TestBookTakesUp(t *testing.T) {
	old := Alarm{Condition: warn("a"), ID: "1", Since: 5}
	again := Alarm{Condition: warn("a"), ID: "2", Since: 6}
	book, twice := newBook("n", []Alarm{old, again})
	if len(twice) != 1 || twice[0].ID != "2" {
		t.Errorf("twice: %v", twice)
	}
	if got := book.update(7, 0, []Condition{warn("a")}); got != nil {
		t.Errorf("raised again: %v", got)
	}
	book.update(8, time.Second, nil)
	got := book.update(9, 31*time.Second, nil)
	if len(got) != 1 || got[0].alarm.ID != "1" || !got[0].resolved {
		t.Errorf("got %v", got)
	}
}
