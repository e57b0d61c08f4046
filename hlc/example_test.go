package hlc_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/truechimer/truechimer/hlc"
)

// at returns a physical clock that stands at the given time; a program takes
// Physical.Now or a function of its own.
func at(text string) func() int64 {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		panic(err)
	}
	return t.UnixNano
}

func ExampleClock_Now() {
	// Physical time is a line over the monotonic clock, so that nobody who sets the wall
	// clock can drive the hybrid one. Steer it once, and again whenever more is known.
	physical := hlc.NewPhysical(hlc.Monotonic())
	physical.Steer(hlc.Target{Unix: time.Now().UnixNano()})

	clock, err := hlc.New(hlc.Options{Physical: physical.Now, Ceiling: hlc.Max})
	if err != nil {
		fmt.Println(err)
		return
	}
	first, err := clock.Now()
	if err != nil {
		fmt.Println(err)
		return
	}
	second, err := clock.Now()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(first < second)
	// Output: true
}

// Two servers of a chat whose clocks are 3 ms apart. Bob reads Alice's message and
// answers at once; by the wall clocks his answer is older than what it answers.
func ExampleClock_Observe() {
	alice, _ := hlc.New(hlc.Options{Physical: at("2026-11-22T06:42:10.123Z"), Ceiling: hlc.Max})
	bob, _ := hlc.New(hlc.Options{Physical: at("2026-11-22T06:42:10.120Z"), Ceiling: hlc.Max})

	question, _ := alice.Now()
	fmt.Println("alice:", question, "Lunch?")

	careless, _ := bob.Now()
	fmt.Println("bob:  ", careless, "Yes! (by his own clock: before the question)")

	answer, _ := bob.Observe(question)
	fmt.Println("bob:  ", answer, "Yes! (having observed it)")

	// A server whose clock is wrong by an hour does not drag the others along.
	mallory, _ := hlc.New(hlc.Options{Physical: at("2026-11-22T07:42:10.123Z"), Ceiling: hlc.Max})
	wrong, _ := mallory.Now()
	_, err := bob.Observe(wrong)
	fmt.Println(errors.Is(err, hlc.ErrLead))

	// Output:
	// alice: 2026-11-22T06:42:10.122999808Z+0000 Lunch?
	// bob:   2026-11-22T06:42:10.119999488Z+0000 Yes! (by his own clock: before the question)
	// bob:   2026-11-22T06:42:10.122999808Z+0001 Yes! (having observed it)
	// true
}

func ExampleTimestamp_UUID() {
	t, err := hlc.Parse("2026-11-22T06:42:10.123456512Z+0017")
	if err != nil {
		fmt.Println(err)
		return
	}
	u := t.UUID(7)
	fmt.Printf("%x-%x-%x-%x-%x\n", u[:4], u[4:6], u[6:8], u[8:10], u[10:])

	back, node, err := hlc.FromUUID(u)
	fmt.Println(back, node, err)
	// Output:
	// 01a201fd-a64b-76f7-9440-01c000000000
	// 2026-11-22T06:42:10.123456512Z+0017 7 <nil>
}
