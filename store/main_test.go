package store

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// seedFlag reproduces a failure: every randomised test prints the seed that it ran with.
var seedFlag = flag.Uint64("seed", 1, "seed of the randomised tests")

// childEnv names what a re-run of the test binary does instead of testing.
const childEnv = "TRUECHIMER_STORE_CHILD"

func TestMain(m *testing.M) {
	if mode := os.Getenv(childEnv); mode != "" {
		if err := child(mode, os.Args[len(os.Args)-2], os.Args[len(os.Args)-1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// leakFree fails the test when it leaves a goroutine behind. Every test calls it, but those
// in a bubble, which checks that by itself, and those of the fence: what a fenced store
// leaves is parked for good, or waits inside Pebble for one that is.
func leakFree(t *testing.T) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}
