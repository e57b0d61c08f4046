package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTargets(t *testing.T) {
	const listed = "ok  \tm/a\t0.01s\nFuzzX\nFuzzY\nok  \tm/b\t0.02s\n?   \tm/c\t[no test files]\nFuzzX\nok  \tm/d\t(cached)\n"
	want := []target{{"m/b", "FuzzX"}, {"m/b", "FuzzY"}, {"m/d", "FuzzX"}}
	if d := cmp.Diff(want, targets(listed), cmp.AllowUnexported(target{})); d != "" {
		t.Error(d)
	}
}
