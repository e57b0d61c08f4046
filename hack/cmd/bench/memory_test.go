package main

import (
	"math"
	"testing"
)

func TestSourceOf(t *testing.T) {
	const sources = 100_003
	for _, sources := range []int{1, 2, 6, 30, 1000, 30_030, sources} {
		seen := map[[4]byte]bool{}
		for n := range sources {
			a := sourceOf(n, sources)
			if a[0] != 127 || a[1] < 128 || seen[a] {
				t.Fatalf("request %d of %d comes from %v, seen before: %t", n, sources, a, seen[a])
			}
			seen[a] = true
		}
	}
	if sourceOf(sources, sources) != sourceOf(0, sources) {
		t.Error("the second pass is not like the first")
	}
	if a := sourceOf(sourcesMax-1, sourcesMax); a[0] != 127 {
		t.Errorf("beyond loopback: %v", a)
	}
	if sourceOf(5, 1) != sourceOf(0, 1) {
		t.Error("one source is not one")
	}
}

func TestFlatness(t *testing.T) {
	for name, c := range map[string]struct {
		samples []int64
		want    float64
	}{
		"flat": {[]int64{7, 7, 7}, 0}, "grows": {[]int64{100, 110, 120}, 10.0 / 110}, "falls": {[]int64{100, 100, 90}, 0.1}, "none": {nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := flatness(c.samples); math.Abs(got-c.want) > 1e-12 {
				t.Errorf("got %g, want %g", got, c.want)
			}
		})
	}
}
